"""Train LoRA adapters (arXiv 2106.09685) of a text-to-image model on a few images.

The model is frozen; adapters of its layers are trained. See `demask.checkpoint.lora`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from demask.assembly import load_parts
from demask.checkpoint.lora import add_adapters, fingerprints, matching_layers, save_lora
from demask.data.tokens import TokenCache
from demask.data.views import ModelViews
from demask.training.adapted import Adapted
from demask.training.captioned import CaptionedTask, CaptionRecipe
from demask.training.data import DataConfig, token_caches
from demask.training.engine.config import TrainConfig
from demask.training.engine.early_stop import EarlyStop
from demask.training.engine.identity import describe
from demask.training.engine.optim import Optim
from demask.training.engine.task import Batch, Phase, Task
from demask.training.engine.training import TrainInputs
from demask.training.masking import Masking
from demask.training.prior import (
    drift,
    join,
    partly_masked,
    random_prompts,
    whole_words,
    without_adapters,
)
from demask.transformer.amused import Amused
from demask.transformer.condition import TextEncoder
from demask.transformer.meissonic import Meissonic
from demask.types import Tokenizer

ATTENTION = (
    "attn.to_q",
    "attn.to_k",
    "attn.to_v",
    "attn.to_out.0",
    "attn.add_q_proj",
    "attn.add_k_proj",
    "attn.add_v_proj",
    "attn.to_add_out",
)
MLPS = ("net.0.proj", "net.2", "proj_mlp", "proj_out")
AMUSED = ("to_q", "to_k", "to_v", "to_out.0", "net.0.proj", "net.2")
"""What the defaults, which are Meissonic's layers, mean in aMUSEd."""
ADAPTED = (Meissonic, Amused)
"""The transformers that a LoRA can be trained for."""
TEXT = ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2")
MEASURED = 128
"""The least number of masked held-out images in a validation; few images are used repeatedly."""
NAMED_CAPTIONS = 20
"""The most captions in the metadata of the adapters, as examples of prompts."""


@dataclass(frozen=True)
class LoraOptim(Optim):
    """`Optim`, for a few hundred steps of small matrices."""

    learning_rate: float = 3e-3
    weight_decay: float = 0.0
    warmup: int = 20
    decay: str = "cosine"
    decay_fraction: float = 0.8


@dataclass(frozen=True)
class LoraCaptions(CaptionRecipe):
    """`CaptionRecipe` without dropout, since the prior preserves the unconditional predictions."""

    dropout: float = 0.0


@dataclass(frozen=True)
class LoraTrainConfig(TrainConfig):
    """`TrainConfig`, for a few images."""

    steps: int = 300
    batch_size: int = 16
    ema_decay: float = 0.97
    save_every: int = 100
    validate_every: int = 50


@dataclass(frozen=True)
class LoraRecipe:
    """The configuration of the adapters and their training.

    Attributes:
        rank: rank of the adapters; a higher one learns more, and changes other prompts more.
        alpha: the output of the adapters is scaled by alpha / rank.
        dropout: dropout on the input of the adapters.
        targets: layers of the transformer, by the last parts of their names; the defaults are the
            attention and the MLPs.
        text: whether the text encoder is adapted too, for new words.
        text_targets: layers of the text encoder, by the last parts of their names.
        prior: weight of prior preservation; 0 is twice as fast, but changes other prompts.
        captions: how captions are used.
        label_smoothing: label smoothing of the cross-entropy.
        masking: how tokens are masked.
        optim: the optimiser.
        early_stop: the rule of early stopping.
    """

    rank: int = 16
    alpha: float = 16.0
    dropout: float = 0.0
    targets: tuple[str, ...] = ATTENTION + MLPS
    text: bool = True
    text_targets: tuple[str, ...] = TEXT
    prior: float = 1.0
    captions: LoraCaptions = field(default_factory=LoraCaptions)
    label_smoothing: float = 0.0
    masking: Masking = field(default_factory=Masking)
    optim: LoraOptim = field(default_factory=LoraOptim)
    early_stop: EarlyStop = field(default_factory=EarlyStop)

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise ValueError(f"rank must be at least 1, not {self.rank}")
        if self.alpha <= 0:
            raise ValueError(f"alpha must be above 0, not {self.alpha}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be at least 0 and below 1, not {self.dropout}")
        if self.prior < 0:
            raise ValueError(f"prior must be at least 0, not {self.prior}")
        if not self.targets:
            raise ValueError(f"targets must name a layer, such as {', '.join(ATTENTION)}")

    def layers(self, transformer: nn.Module, text: nn.Module) -> list[str]:
        """The names of the layers to adapt, in a `TextToImage`.

        Raises:
            ValueError: a target that matches no layer.
        """
        usual = isinstance(transformer, Amused) and self.targets == ATTENTION + MLPS
        targets = AMUSED if usual else self.targets
        names = [f"transformer.{n}" for n in matching_layers(transformer, targets)]
        if self.text:
            names += [f"text.{n}" for n in matching_layers(text, self.text_targets)]
        return names


class LoraTask(CaptionedTask):
    """Trains adapters of a model that reads prompts; see `CaptionedTask`.

    Args:
        base: the name of the model.
        transformer: its transformer; adapters are added to it.
        text: its text encoder; adapters are added to it.

    Raises:
        ValueError: images without captions, or a target that matches no layer.
    """

    main = "adapter_model"

    def __init__(
        self,
        recipe: LoraRecipe,
        base: str,
        transformer: Meissonic | Amused,
        text: TextEncoder,
        tokens: TokenCache,
        held_out: TokenCache,
        tokenizer: Tokenizer,
    ) -> None:
        super().__init__(recipe, tokens, held_out, tokenizer)
        self.recipe, self.base, self.early_stop = recipe, base, recipe.early_stop
        self.text_tokenizer, self.config = text.tokenizer, transformer.config
        self.fingerprints = fingerprints({"transformer": transformer, "text": text.model})
        layers = recipe.layers(transformer, text.model)
        model = Adapted(transformer, text.model, frozen=not recipe.text)
        add_adapters(model, layers, recipe.rank, recipe.alpha, recipe.dropout, base)
        self.model, self.known_words = model.train(), whole_words(text.tokenizer)
        self.modules = {self.main: model}
        self.phases = {"predict": Phase(self.main, recipe.optim)}

    def identity(self) -> str:
        """The recipe, the model and the token cache."""
        return describe(
            task="lora",
            recipe=self.recipe,
            base=self.fingerprints,
            tokens=self.tokens.fingerprint,
        )

    def loss(
        self, phase: str, batch: Batch, step: int, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The cross-entropy of the images, and the drift of the predictions for other prompts."""
        if not self.recipe.prior:
            return super().loss(phase, batch, step, generator)
        count = len(batch["input_BL"])
        other, before_BLV = self.other_prompts(batch, (count + 1) // 2, generator)
        logits_BLV = self.logits(
            join(batch, other)
        )  # one pass, which distributed training requires
        loss = self.cross_entropy(logits_BLV[:count], batch)
        moved = drift(logits_BLV[count:], before_BLV, other["masked_BL"])
        return loss + self.recipe.prior * moved, {"loss": loss, "drift": moved}

    def other_prompts(
        self, batch: Batch, count: int, generator: torch.Generator
    ) -> tuple[Batch, Tensor]:
        """Random prompts on partly decoded grids, with the original predictions (B, L, V)."""
        text_BT = self.text_tokenizer.ids(random_prompts(self.known_words, count, generator))
        text_BT = text_BT.to(batch["text_BT"].device)
        micro_B5, (rows, columns) = batch["micro_B5"][:count], batch["shape"].tolist()
        mask_id = self.config.vocabulary - 1
        ids_BL = torch.full_like(batch["input_BL"][:count], mask_id)

        def predict(ids_BL: Tensor) -> Tensor:
            ratio_B = (ids_BL == mask_id).float().mean(-1)
            return self.model(ids_BL, text_BT, micro_B5, ratio_B, (rows, columns))

        with without_adapters(self.model):
            ids_BL = partly_masked(predict(ids_BL), mask_id, generator)
            before_BLV = predict(ids_BL)
        facts = {"text_BT": text_BT, "micro_B5": micro_B5, "input_BL": ids_BL}
        return {**facts, "masked_BL": ids_BL == mask_id, "shape": batch["shape"]}, before_BLV

    def validation_index(self) -> Tensor:
        """The held-out images, repeated if there are few."""
        index = super().validation_index()
        return index.repeat(-(-MEASURED // len(index)))

    def export(self, model: nn.Module, path: Path, facts: dict[str, object]) -> None:
        """Write the adapters, with their base model and some of their captions."""
        captions = list(dict.fromkeys(first for first, *_ in self.captions))[:NAMED_CAPTIONS]
        made_for = {"base": self.base, "fingerprints": self.fingerprints}
        save_lora(path.parent, model, {**made_for, "captions": captions, "training": facts})


@dataclass(frozen=True)
class LoraTraining:
    """A recipe of ``demask train lora``; every table has defaults.

    Attributes:
        lora: the adapters and their training.
        views: how the images are tokenised.
        run: the length, batches and reports.
        data: the images; without held-out images, the training images are used for validation.
    """

    lora: LoraRecipe = field(default_factory=LoraRecipe)
    views: ModelViews = field(default_factory=ModelViews)
    run: LoraTrainConfig = field(default_factory=LoraTrainConfig)
    data: DataConfig = field(default_factory=DataConfig)

    def task(self, inputs: TrainInputs) -> Task:
        """See `TrainRecipe.task`."""
        data = replace(self.data, held_out=self.data.held_out or self.data.pictures)
        images, held_out = data.open(inputs.strict)
        model = inputs.model
        parts = load_parts(model)
        transformer, text, tokenizer = parts.transformer, parts.text, cast(Any, parts.tokenizer)
        if text is None:
            raise ValueError(f"{model} is a model of classes; LoRA adapts models of prompts")
        if not isinstance(transformer, ADAPTED):
            names = ", ".join(kind.__name__ for kind in ADAPTED)
            raise ValueError(f"{model} holds a {type(transformer).__name__}; LoRA adapts {names}")
        views = self.views.of(transformer, tokenizer)
        caches = token_caches(tokenizer, images, held_out, views, inputs.out)
        torch.manual_seed(self.run.seed)
        base = Path(model).resolve().name if Path(model).exists() else model
        return LoraTask(self.lora, base, transformer, text, *caches, tokenizer.cpu())
