"""Train self-guidance's feature selection for a frozen model (arXiv 2410.13136, section 3.3).

The model reads partly masked images in which some visible tokens are wrong. The second pass, which
reads the model's features but no tokens, is trained to predict the right ones. So it keeps the
content of an image and smooths its details.

Shape legend: B batch, L tokens, T text tokens, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from demask.assembly import load_parts
from demask.checkpoint.save import save_model
from demask.data.tokens import TokenCache
from demask.data.views import ModelViews
from demask.registry import unknown
from demask.training.auxiliary_task import AuxiliaryTask
from demask.training.captioned import CaptionedTask, CaptionRecipe
from demask.training.data import DataConfig, tokens_for_model
from demask.training.engine.config import TrainConfig
from demask.training.engine.optim import Optim
from demask.training.engine.task import Batch, Phase, Task
from demask.training.engine.training import TrainInputs
from demask.training.losses import token_cross_entropy
from demask.training.masking import Masking
from demask.training.substitution import SUBSTITUTIONS, Corruption, step_of
from demask.training.two_passes import held_out_scores, one_step_images
from demask.transformer.condition import TextEncoder
from demask.transformer.feature_selection import Base, FeatureSelection
from demask.transformer.meissonic import Meissonic
from demask.types import Condition, Tokenizer, TokenLayout

HELD_OUT = 500
"""Held-out images of a validation."""
SHOWN = 8
"""Images in a sample."""


@dataclass(frozen=True)
class SelfGuidanceOptim(Optim):
    """`Optim`, for some hundred steps with a small model."""

    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    warmup: int = 50
    decay: str = "cosine"
    decay_fraction: float = 1.0


@dataclass(frozen=True)
class SelfGuidanceTrainConfig(TrainConfig):
    """`TrainConfig`, for a small model."""

    steps: int = 800
    batch_size: int = 64
    ema_decay: float = 0.99
    save_every: int = 100
    validate_every: int = 200


@dataclass(frozen=True)
class SelfGuidanceRecipe:
    """The configuration of the module and its training.

    Attributes:
        substitution: the source of wrong tokens, a row of `SUBSTITUTIONS`.
        replaced: fraction of the visible tokens that are replaced by wrong ones.
        reconstruction: loss weight of the decoders.
        label_smoothing: label smoothing of the cross-entropy.
        factors: number of vectors that an anchor is mixed from.
        class_dropout: probability of the null class; ignored for a model without one.
        captions: how captions are used, for a model of prompts.
        optim: the optimiser.
    """

    substitution: str = "model"
    replaced: float = 0.3
    reconstruction: float = 0.1
    label_smoothing: float = 0.1
    factors: int = 16
    class_dropout: float = 0.1
    captions: CaptionRecipe = field(default_factory=CaptionRecipe)
    optim: SelfGuidanceOptim = field(default_factory=SelfGuidanceOptim)

    masking = Masking()  # `CaptionedTask` needs one; its masked ids are not used

    def __post_init__(self) -> None:
        if self.substitution not in SUBSTITUTIONS:
            raise ValueError(unknown(SUBSTITUTIONS.kind, self.substitution, SUBSTITUTIONS))
        if not 0 < self.replaced <= 1:
            raise ValueError(f"replaced must be above 0 and at most 1, not {self.replaced}")
        if self.reconstruction < 0:
            raise ValueError(f"reconstruction must be at least 0, not {self.reconstruction}")
        if self.factors < 1:
            raise ValueError(f"factors must be at least 1, not {self.factors}")


def finetuning_losses(
    logits_BLV: Tensor,
    error: Tensor,
    target_BL: Tensor,
    replaced_BL: Tensor,
    label_smoothing: float = 0.1,
    weight: float = 0.1,
) -> tuple[Tensor, Tensor]:
    """Cross-entropy of the second pass at replaced tokens, and the decoders' weighted error.

    Args:
        logits_BLV: logits of the second pass, over the whole vocabulary of the base.
        error: see `FeatureSelection.forward`.
        target_BL: the true tokens.
        replaced_BL: where the first pass read another token; the loss is 0 if there is none.
        label_smoothing: label smoothing of the cross-entropy.
        weight: weight of the error.
    """
    ce = token_cross_entropy(logits_BLV, target_BL, replaced_BL.float(), label_smoothing)
    return ce, weight * error


class SelfGuidanceTask(AuxiliaryTask):
    """Trains a `FeatureSelection` of a model of classes; see `AuxiliaryTask`."""

    main = "self_guidance"

    recipe: SelfGuidanceRecipe

    def build(self, recipe: SelfGuidanceRecipe, base: nn.Module) -> None:
        """Freeze the model, and make the module."""
        super().build(recipe, base)
        self.corruption = Corruption(self.frozen, recipe.substitution, recipe.replaced)
        sizes = replace(self.base.feature_selection(), factors=recipe.factors)
        self.modules: dict[str, nn.Module] = {self.main: FeatureSelection(sizes)}
        self.phases = {"predict": Phase(self.main, recipe.optim)}

    @property
    def base(self) -> Base:
        """The frozen model, with its protocol."""
        return self.corruption.base

    def load(self, indices: Tensor, generator: torch.Generator) -> Batch:
        """Ids (B, L) of one view of each image, and class ids (B), some of them dropped."""
        ids_BL, class_ids_B = self.read(indices, generator)
        shape = torch.tensor(self.tokens.layout.shape)
        return {"target_BL": ids_BL, "class_ids": class_ids_B, "shape": shape}

    def condition(self, batch: Batch) -> Condition:
        """The condition of a batch."""
        return Condition({"class_ids": batch["class_ids"]})

    def loss(
        self, phase: str, batch: Batch, step: int, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Both parts of the loss; see `finetuning_losses`."""
        self.frozen.to(batch["target_BL"].device)
        layout = TokenLayout(tuple(batch["shape"].tolist()))
        condition, target_BL = self.condition(batch), batch["target_BL"]
        seen_BL, replaced_BL = self.corruption(target_BL, condition, layout, generator)
        where = step_of(seen_BL == self.base.mask_id, layout)
        logits_BLV, error = self.modules[self.main](self.base, seen_BL, condition, where)
        smoothing, weight = self.recipe.label_smoothing, self.recipe.reconstruction
        ce, reconstruction = finetuning_losses(
            logits_BLV, error, target_BL, replaced_BL, smoothing, weight
        )
        return ce + reconstruction, {"loss": ce, "reconstruction": reconstruction}

    def measured(self, count: int) -> tuple[Tensor, Condition]:
        """Ids and condition of ``count`` held-out images, spread over the data."""
        count = min(count, len(self.held_out))
        index_B = torch.linspace(0, len(self.held_out) - 1, count).long()
        ids_BL, class_ids_B = self.held_out.read(index_B, torch.zeros_like(index_B))
        device = next(self.frozen.parameters()).device
        return ids_BL.to(device), Condition({"class_ids": class_ids_B.to(device)})

    def validate(self, model: nn.Module) -> dict[str, float]:
        """See `held_out_scores`."""
        assert isinstance(model, FeatureSelection)
        ids_BL, condition = self.measured(HELD_OUT)
        return held_out_scores(self.corruption, model, ids_BL, condition, self.held_out.layout)

    def sample(self, model: nn.Module) -> Tensor:
        """The `one_step_images` of held-out images."""
        assert isinstance(model, FeatureSelection)
        ids_BL, condition = self.measured(SHOWN)
        layout = self.held_out.layout
        return one_step_images(self.base, model, ids_BL, condition, layout, self.tokenizer)

    def export(self, model: nn.Module, path: Path, facts: dict[str, object]) -> None:
        """Write the module in half precision, with the fingerprint of its model."""
        more = {"base": self.fingerprint, "substitution": self.recipe.substitution}
        save_model(path, model, "feature_selection", torch.float16, training=facts, **more)


class PromptSelfGuidanceTask(SelfGuidanceTask, CaptionedTask):
    """Trains a `FeatureSelection` of a model of prompts; see `CaptionedTask`.

    Args:
        base: the model; it is frozen.
        text: its text encoder; it is frozen.
    """

    def __init__(
        self,
        recipe: SelfGuidanceRecipe,
        base: Meissonic,
        text: TextEncoder,
        tokens: TokenCache,
        held_out: TokenCache,
        tokenizer: Tokenizer,
    ) -> None:
        self.build(recipe, base)
        self.text_tokenizer, self.config = text.tokenizer, base.config
        self.text = text.model.eval().requires_grad_(False)
        CaptionedTask.__init__(self, recipe, tokens, held_out, tokenizer)

    def load(self, indices: Tensor, generator: torch.Generator) -> Batch:
        """Ids (B, L) of one view of each image, and its text tokens (B, T)."""
        return CaptionedTask.load(self, indices, generator)

    @torch.no_grad()
    def condition(self, batch: Batch) -> Condition:
        """The condition of a batch."""
        states, pooled = self.text.to(batch["text_BT"].device)(batch["text_BT"])
        return Condition({"states": states, "pooled": pooled, "micro": batch["micro_B5"]})

    def measured(self, count: int) -> tuple[Tensor, Condition]:
        """Ids and condition of ``count`` held-out images of the main size."""
        found = torch.from_numpy(self.held_out.groups[0].indices)
        index_B = found[torch.linspace(0, len(found) - 1, min(count, len(found))).long()]
        ids_BL = self.held_out.read(index_B, torch.zeros_like(index_B))[0]
        text_BT = self.text_tokenizer.ids([self.held_out.captions[i][0] for i in index_B.tolist()])
        micro_B5 = self.micro(self.held_out.layout.grid).expand(len(index_B), -1)
        device = next(self.frozen.parameters()).device
        inputs = {"text_BT": text_BT.to(device), "micro_B5": micro_B5.to(device)}
        return ids_BL.to(device), self.condition(inputs)


@dataclass(frozen=True)
class SelfGuidanceTraining:
    """A recipe of ``demask train self-guidance``; every table has defaults.

    Attributes:
        self_guidance: the module and its training.
        views: how the images are tokenised.
        run: the length, batches and reports.
        data: the images; the model's class names are used if they have none.
    """

    self_guidance: SelfGuidanceRecipe = field(default_factory=SelfGuidanceRecipe)
    views: ModelViews = field(default_factory=ModelViews)
    run: SelfGuidanceTrainConfig = field(default_factory=SelfGuidanceTrainConfig)
    data: DataConfig = field(default_factory=DataConfig)

    def task(self, inputs: TrainInputs) -> Task:
        """See `TrainRecipe.task`."""
        parts = load_parts(inputs.model)
        data = tokens_for_model(parts, self.data, self.views, inputs.out, inputs.strict)
        torch.manual_seed(self.run.seed)
        transformer: Any = parts.transformer
        if parts.text is not None:
            return PromptSelfGuidanceTask(self.self_guidance, transformer, parts.text, *data)
        return SelfGuidanceTask(self.self_guidance, transformer, *data)
