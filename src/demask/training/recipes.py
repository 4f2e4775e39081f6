"""What a recipe file says: a dataclass for each training, of its images, network and run."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from demask import rng
from demask.data import open_images
from demask.data.images import ImageDataset, Subset
from demask.data.tokens import TokenCache
from demask.data.views import ModelViews, Views
from demask.training.config import TrainConfig
from demask.training.task import Task
from demask.training.train_classifier import ClassifierRecipe
from demask.training.train_lora import LoraRecipe, LoraTrainConfig
from demask.training.train_masked import MaskedRecipe, MaskedTask
from demask.training.train_scorer import ScorerRecipe
from demask.training.train_self_guidance import SelfGuidanceRecipe, SelfGuidanceTrainConfig
from demask.training.train_shortcut import ShortcutRecipe, ShortcutTrainConfig
from demask.training.train_text import MeissonicRecipe, TextTask
from demask.training.train_token_critic import TokenCriticRecipe, TokenCriticTrainConfig
from demask.training.train_tokenizer import TokenizerRecipe
from demask.types import Tokenizer


@dataclass(frozen=True)
class Source:
    """Where the images come from.

    Attributes:
        pictures: a folder, a parquet file or folder, web shards, a hub data set (``hf:...``), or
            generated scenes (``scenes:SEED,COUNT``).
        held_out: other images to measure on; by default a part of ``pictures``.
        held_out_fraction: how large that part is.
        class_names: where the data does not name its classes.
    """

    pictures: str = ""
    held_out: str = ""
    held_out_fraction: float = 0.02
    class_names: tuple[str, ...] = ()

    def open(self, strict: bool) -> tuple[ImageDataset, ImageDataset]:
        """The images to train on and those to measure on.

        Raises:
            ValueError: no data was named, or it cannot be read.
        """
        if not self.pictures:
            raise ValueError("no training images: name them with --data PATH")
        names = self.class_names or None
        images = open_images(self.pictures, strict=strict, class_names=names)
        if self.held_out:
            return images, open_images(self.held_out, strict=strict, class_names=images.class_names)
        count = max(1, round(self.held_out_fraction * len(images)))
        if len(images) < 2:
            raise ValueError(f"{self.pictures} holds {len(images)} images; at least 2 are needed")
        generator = torch.Generator().manual_seed(rng.derive(0, "held out"))
        order = torch.randperm(len(images), generator=generator).tolist()
        return Subset(images, sorted(order[count:])), Subset(images, sorted(order[:count]))


@dataclass(frozen=True)
class TokenizerTraining:
    """A recipe file for `train_tokenizer`."""

    tokenizer: TokenizerRecipe
    run: TrainConfig
    data: Source = field(default_factory=Source)


@dataclass(frozen=True)
class MaskedTraining:
    """A recipe file for `train_masked`.

    Attributes:
        views: how the images are tokenised.
        run: how long to train.
        transformer: a class-conditional model, or ...
        meissonic: ... one that reads captions.
        data: where the images come from.
    """

    views: Views
    run: TrainConfig
    transformer: MaskedRecipe | None = None
    meissonic: MeissonicRecipe | None = None
    data: Source = field(default_factory=Source)

    def __post_init__(self) -> None:
        if (self.transformer is None) == (self.meissonic is None):
            raise ValueError("one of the tables [transformer] and [meissonic] says what to train")
        if self.transformer is not None and len(self.views.buckets) > 1:
            raise ValueError("several buckets are for [meissonic]; a model of classes has one size")

    def task(self, tokens: TokenCache, held_out: TokenCache, tokenizer: Tokenizer) -> Task:
        """What is trained."""
        if self.meissonic is not None:
            return TextTask(self.meissonic, tokens, held_out, tokenizer)
        assert self.transformer is not None
        return MaskedTask(self.transformer, tokens, held_out, tokenizer)


@dataclass(frozen=True)
class LoraTraining:
    """A recipe file for `train_lora`; all of it may be left out.

    Attributes:
        lora: what to adapt, and how to learn.
        views: how the images are tokenised.
        run: how long to train.
        data: where the images come from; without held-out ones, they are measured on themselves.
    """

    lora: LoraRecipe = field(default_factory=LoraRecipe)
    views: ModelViews = field(default_factory=ModelViews)
    run: LoraTrainConfig = field(default_factory=LoraTrainConfig)
    data: Source = field(default_factory=Source)


@dataclass(frozen=True)
class ClassifierTraining:
    """A recipe file for `train_classifier`."""

    classifier: ClassifierRecipe
    run: TrainConfig
    data: Source = field(default_factory=Source)


@dataclass(frozen=True)
class ScorerTraining:
    """A recipe file for `train_scorer`."""

    scorer: ScorerRecipe
    run: TrainConfig
    data: Source = field(default_factory=Source)


@dataclass(frozen=True)
class SelfGuidanceTraining:
    """A recipe file for `train_self_guidance`; all of it may be left out.

    Attributes:
        self_guidance: what to learn, and how.
        views: how the images are tokenised.
        run: how long to train.
        data: where the images come from; where they don't name their classes, the model does.
    """

    self_guidance: SelfGuidanceRecipe = field(default_factory=SelfGuidanceRecipe)
    views: ModelViews = field(default_factory=ModelViews)
    run: SelfGuidanceTrainConfig = field(default_factory=SelfGuidanceTrainConfig)
    data: Source = field(default_factory=Source)


@dataclass(frozen=True)
class TokenCriticTraining:
    """A recipe file for `train_token_critic`; all of it may be left out.

    Attributes:
        token_critic: what to train, and how.
        views: how the images are tokenised.
        run: how long to train.
        data: where the images come from; where they don't name their classes, the model does.
    """

    token_critic: TokenCriticRecipe = field(default_factory=TokenCriticRecipe)
    views: ModelViews = field(default_factory=ModelViews)
    run: TokenCriticTrainConfig = field(default_factory=TokenCriticTrainConfig)
    data: Source = field(default_factory=Source)


@dataclass(frozen=True)
class ShortcutTraining:
    """A recipe file for `train_shortcut`; all of it may be left out.

    Attributes:
        shortcut: what to learn, and how.
        run: how long to train.
    """

    shortcut: ShortcutRecipe = field(default_factory=ShortcutRecipe)
    run: ShortcutTrainConfig = field(default_factory=ShortcutTrainConfig)
