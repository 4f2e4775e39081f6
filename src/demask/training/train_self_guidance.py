"""Train self-guidance's feature selection beside a frozen model (arXiv 2410.13136, section 3.3).

The model paints half-hidden pictures in which some of the visible tokens are wrong; the second pass,
which sees no token, learns to say what these should have been. So it keeps what a picture shows and
smooths its details away.

Shape legend: B batch, L tokens, V codebook or vocabulary, C classes, R replaced tokens.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from demask.checkpoint.lora import base_fingerprint
from demask.checkpoint.save import save_model
from demask.data.tokens import TokenCache
from demask.registry import unknown
from demask.training.captioned import CaptionedTask, CaptionRecipe
from demask.training.loop import Run, describe
from demask.training.losses import token_cross_entropy
from demask.training.masking import Masking
from demask.training.optim import Optim
from demask.training.substitution import SUBSTITUTIONS, choose, others
from demask.training.task import Batch, Phase, Task
from demask.transformer.condition import TextEncoder
from demask.transformer.feature_selection import Base, FeatureSelection
from demask.transformer.meissonic import Meissonic
from demask.types import Condition, Grid, Step, Tokenizer

HELD_OUT = 500
"""Pictures that are measured on."""
SHOWN = 8
"""Pictures in a sample, of which `HIDDEN` is hidden."""
HIDDEN = 0.9
USUAL_STEPS = 64
"""Of a decode, for models that are told which step it is."""
MOST_KNOWN = 2**28
"""So many logits at most are kept of fully hidden grids: half a gigabyte."""


@dataclass(frozen=True)
class SelfGuidanceOptim(Optim):
    """`Optim`, for some hundred steps beside a small model."""

    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    warmup: int = 50
    decay: str = "cosine"
    decay_fraction: float = 1.0


@dataclass(frozen=True)
class SelfGuidanceRun(Run):
    """`Run`, for a small model."""

    steps: int = 800
    batch_size: int = 64
    ema_decay: float = 0.99
    save_every: int = 100
    validate_every: int = 200


@dataclass(frozen=True)
class SelfGuidanceRecipe:
    """What to learn, and how.

    Attributes:
        substitution: where wrong tokens come from, a row of `SUBSTITUTIONS`.
        replaced: the fraction of the visible tokens that is replaced by wrong ones.
        reconstruction: the weight of the decoders' part of the loss.
        label_smoothing: of the cross-entropy.
        factors: vectors that an anchor is mixed from.
        class_dropout: how often the class is "any"; never where the model has not learned that.
        captions: how captions are used, beside a model of prompts.
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

    masking = Masking()  # what `CaptionedTask` hides is not looked at

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
        logits_BLV: of the second pass, over all that the base was trained to tell apart.
        error: see `FeatureSelection.forward`.
        target_BL: the true tokens.
        replaced_BL: where the first pass saw another; if that is nowhere, the loss is 0.
        label_smoothing: of the cross-entropy.
        weight: of the error.
    """
    ce = token_cross_entropy(logits_BLV, target_BL, replaced_BL.float(), label_smoothing)
    return ce, weight * error


def step_of(hidden_BL: Tensor, grid: Grid) -> Step:
    """Where a cosine decode stands that has hidden so much, on average over the batch."""
    ratio_B = hidden_BL.double().mean(-1)
    progress = math.acos(min(float(ratio_B.mean()), 1.0)) * 2 / math.pi
    return Step(min(int(progress * USUAL_STEPS), USUAL_STEPS - 1), USUAL_STEPS, grid, ratio_B)


class SelfGuidanceTask(Task):
    """Trains a `FeatureSelection` beside a model of classes.

    Args:
        recipe: how to learn.
        base: the model; it is frozen.
        tokens: the pictures' tokens.
        held_out: other pictures' tokens, to measure on.
        tokenizer: paints the samples.

    Raises:
        ValueError: the pictures are not of the model's classes.
    """

    main = "self_guidance"

    def __init__(
        self,
        recipe: SelfGuidanceRecipe,
        base: nn.Module,
        tokens: TokenCache,
        held_out: TokenCache,
        tokenizer: Tokenizer,
    ) -> None:
        self.prepare(recipe, base)
        self.tokens, self.held_out, self.tokenizer = tokens, held_out, tokenizer
        self.examples = len(tokens)
        count: int = base.config.num_classes  # type: ignore[union-attr, assignment]
        if len(tokens.class_names) != count:
            raise ValueError(
                f"the pictures have {len(tokens.class_names)} classes, the model has {count}"
            )

    def prepare(self, recipe: SelfGuidanceRecipe, base: nn.Module) -> None:
        """The module, the frozen model and its fingerprint."""
        self.recipe, self.frozen = recipe, base.eval().requires_grad_(False)
        self.fingerprint = base_fingerprint(base)
        sizes = replace(self.base.feature_selection(), factors=recipe.factors)
        self.modules: dict[str, nn.Module] = {self.main: FeatureSelection(sizes)}
        self.phases = {"predict": Phase(self.main, recipe.optim)}
        self.known_CLV: Tensor | None = None

    @property
    def base(self) -> Base:
        """The frozen model, by what it offers."""
        return cast(Base, self.frozen)

    def identity(self) -> str:
        """The recipe, the model and the token cache."""
        return describe(
            task="self_guidance",
            recipe=asdict(self.recipe),
            base=self.fingerprint,
            tokens=self.tokens.fingerprint,
        )

    def load(self, indices: Tensor, generator: torch.Generator) -> Batch:
        """Ids (B, L) of one view of each picture, and class ids (B), some of them dropped."""
        view_B = torch.randint(self.tokens.views, indices.shape, generator=generator)
        ids_BL, class_ids_B = self.tokens.read(indices, view_B)
        dropped_B = torch.rand(class_ids_B.shape, generator=generator) < self.recipe.class_dropout
        if (null := getattr(self.frozen, "null_class", None)) is not None:
            class_ids_B = torch.where(dropped_B, null, class_ids_B)
        grid = torch.tensor(self.tokens.grid)
        return {"target_BL": ids_BL, "class_ids": class_ids_B, "grid_2": grid}

    def condition(self, batch: Batch) -> Condition:
        """What the pictures of a batch show."""
        return Condition({"class_ids": batch["class_ids"]})

    def loss(
        self, phase: str, batch: Batch, step: int, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Both parts of the loss; see `finetuning_losses`."""
        self.frozen.to(batch["target_BL"].device)
        rows, columns = batch["grid_2"].tolist()
        condition, target_BL = self.condition(batch), batch["target_BL"]
        seen_BL, replaced_BL = self.corrupt(target_BL, condition, (rows, columns), generator)
        where = step_of(seen_BL == self.base.mask_id, (rows, columns))
        logits_BLV, error = self.modules[self.main](self.base, seen_BL, condition, where)
        smoothing, weight = self.recipe.label_smoothing, self.recipe.reconstruction
        ce, reconstruction = finetuning_losses(
            logits_BLV, error, target_BL, replaced_BL, smoothing, weight
        )
        return ce + reconstruction, {"loss": ce, "reconstruction": reconstruction}

    def corrupt(
        self, target_BL: Tensor, condition: Condition, grid: Grid, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Ids half hidden and partly wrong, and where they are wrong (B, L)."""
        count, tokens = target_BL.shape
        kind_BL = choose(count, tokens, self.recipe.replaced, generator).to(target_BL.device)
        hidden_BL, replaced_BL = kind_BL == 0, kind_BL == 1
        seen_BL = torch.where(hidden_BL, self.base.mask_id, target_BL)
        logits_RV = SUBSTITUTIONS[self.recipe.substitution](
            self.prior(condition, grid)[replaced_BL]
        )
        seen_BL[replaced_BL] = others(logits_RV, target_BL[replaced_BL], generator)
        return seen_BL, replaced_BL

    @torch.no_grad()
    def prior(self, condition: Condition, grid: Grid) -> Tensor:
        """What the model says of fully hidden grids (B, L, V); kept where that is little memory."""
        hidden = (len(condition), grid[0] * grid[1])
        device = next(self.frozen.parameters()).device
        ids_BL = torch.full(hidden, self.base.mask_id, device=device)
        if self.recipe.substitution == "uniform":
            return torch.zeros(*hidden, self.base.codebook_size, device=device)
        classes = self.conditions()
        if not 0 < classes * hidden[1] * self.base.codebook_size <= MOST_KNOWN:
            return self.base.predict(ids_BL, condition, step_of(ids_BL >= 0, grid)).logits_BLV
        if self.known_CLV is None:
            self.known_CLV = self.prior_of_classes(classes, grid)
        return self.known_CLV[condition["class_ids"]].float()

    def conditions(self) -> int:
        """How many conditions there are; 0 where they are texts."""
        return self.base.feature_selection().num_classes

    def prior_of_classes(self, classes: int, grid: Grid) -> Tensor:
        """What the model says of a fully hidden grid of each class (C, L, V), in half precision."""
        device = next(self.frozen.parameters()).device
        parts = []
        for class_ids_B in torch.arange(classes, device=device).split(64):
            ids_BL = class_ids_B.new_full((len(class_ids_B), grid[0] * grid[1]), self.base.mask_id)
            condition = Condition({"class_ids": class_ids_B})
            prediction = self.base.predict(ids_BL, condition, step_of(ids_BL >= 0, grid))
            parts.append(prediction.logits_BLV.half())
        return torch.cat(parts)

    def measured(self, count: int) -> tuple[Tensor, Condition]:
        """Ids and condition of so many held-out pictures, from all over the data."""
        count = min(count, len(self.held_out))
        index_B = torch.linspace(0, len(self.held_out) - 1, count).long()
        ids_BL, class_ids_B = self.held_out.read(index_B, torch.zeros_like(index_B))
        device = next(self.frozen.parameters()).device
        return ids_BL.to(device), Condition({"class_ids": class_ids_B.to(device)})

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Cross-entropy in nats a token, without label smoothing.

        ``replaced``: of the second pass at wrong tokens, which is what is trained. At hidden tokens:
        of the model (``hidden``), of the second pass (``hidden_smoothed``), and of both together at
        the published scale (``hidden_guided``).
        """
        assert isinstance(model, FeatureSelection)
        ids_BL, condition = self.measured(HELD_OUT)
        generator, grid = torch.Generator().manual_seed(0), self.held_out.grid
        sums = {
            name: [0.0, 0] for name in ("replaced", "hidden", "hidden_smoothed", "hidden_guided")
        }
        for part in torch.arange(len(ids_BL), device=ids_BL.device).split(100):
            target_BL, told = ids_BL[part], condition.take(part)
            seen_BL, replaced_BL = self.corrupt(target_BL, told, grid, generator)
            hidden_BL = seen_BL == self.base.mask_id
            plain_BLV, smoothed_BLV = self.two_passes(model, seen_BL, told, grid)
            guided_BLV = smoothed_BLV + 2 * (plain_BLV - smoothed_BLV)
            for name, logits_BLV, where_BL in (
                ("replaced", smoothed_BLV, replaced_BL),
                ("hidden", plain_BLV, hidden_BL),
                ("hidden_smoothed", smoothed_BLV, hidden_BL),
                ("hidden_guided", guided_BLV, hidden_BL),
            ):
                nll_R = nn.functional.cross_entropy(
                    logits_BLV[where_BL].float(), target_BL[where_BL], reduction="none"
                )
                sums[name][0] += float(nll_R.sum())
                sums[name][1] += len(nll_R)
        return {name: total / max(count, 1) for name, (total, count) in sums.items()}

    def two_passes(
        self, model: FeatureSelection, ids_BL: Tensor, condition: Condition, grid: Grid
    ) -> tuple[Tensor, Tensor]:
        """The logits (B, L, V) of the model and of its second pass."""
        step = step_of(ids_BL == self.base.mask_id, grid)
        plain = self.base.predict(ids_BL, condition, step)
        assert plain.features is not None
        return plain.logits_BLV, model.smoothed(self.base, plain.features, condition, step)

    def sample(self, model: nn.Module) -> Tensor:
        """Held-out pictures with most tokens hidden, painted in one step.

        Rows: the true tokens, the model alone, the second pass alone, and self-guided.
        """
        assert isinstance(model, FeatureSelection)
        ids_BL, condition = self.measured(SHOWN)
        grid, tokens = self.held_out.grid, ids_BL.shape[1]
        order_BL = torch.rand(ids_BL.shape, generator=torch.Generator().manual_seed(0)).argsort(-1)
        hidden_BL = (order_BL < math.ceil(HIDDEN * tokens)).to(ids_BL.device)
        seen_BL = torch.where(hidden_BL, self.base.mask_id, ids_BL)
        plain_BLV, smoothed_BLV = self.two_passes(model, seen_BL, condition, grid)
        guided_BLV = smoothed_BLV + 2 * (plain_BLV - smoothed_BLV)
        rows = [ids_BL]
        for logits_BLV in (plain_BLV, smoothed_BLV, guided_BLV):
            rows.append(torch.where(hidden_BL, logits_BLV.argmax(-1), ids_BL))
        pictures = [self.tokenizer.decode(row.unflatten(1, grid).cpu()) for row in rows]
        return torch.cat([torch.cat(list(row), dim=-1) for row in pictures], dim=-2)

    def export(self, model: nn.Module, path: Path, facts: dict[str, object]) -> None:
        """Write the module alone in half precision, with what it was made for."""
        more = {"base": self.fingerprint, "substitution": self.recipe.substitution}
        save_model(path, model, "feature_selection", torch.float16, training=facts, **more)


class PromptSelfGuidanceTask(SelfGuidanceTask, CaptionedTask):
    """Trains a `FeatureSelection` beside a model of prompts.

    Args:
        recipe: how to learn.
        base: the model; it is frozen.
        text: its text encoder; it is frozen.
        tokens: the pictures' tokens and captions.
        held_out: tokens and captions to measure on.
        tokenizer: paints the samples.

    Raises:
        ValueError: pictures without captions.
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
        self.prepare(recipe, base)
        self.words, self.config = text.words, base.config
        self.text = text.model.eval().requires_grad_(False)
        CaptionedTask.__init__(self, recipe, tokens, held_out, tokenizer)

    def load(self, indices: Tensor, generator: torch.Generator) -> Batch:
        """Ids (B, L) of one view of each picture, and its text tokens (B, T)."""
        return CaptionedTask.load(self, indices, generator)

    @torch.no_grad()
    def condition(self, batch: Batch) -> Condition:
        """What the pictures of a batch show."""
        states, pooled = self.text.to(batch["text_BT"].device)(batch["text_BT"])
        return Condition({"states": states, "pooled": pooled, "micro": batch["micro_B5"]})

    def measured(self, count: int) -> tuple[Tensor, Condition]:
        """Ids and condition of so many held-out pictures, of those of the main size."""
        found = torch.from_numpy(self.held_out.groups[0].indices)
        index_B = found[torch.linspace(0, len(found) - 1, min(count, len(found))).long()]
        ids_BL = self.held_out.read(index_B, torch.zeros_like(index_B))[0]
        text_BT = self.words.ids([self.held_out.captions[i][0] for i in index_B.tolist()])
        micro_B5 = self.micro(self.held_out.grid).expand(len(index_B), -1)
        device = next(self.frozen.parameters()).device
        told = {"text_BT": text_BT.to(device), "micro_B5": micro_B5.to(device)}
        return ids_BL.to(device), self.condition(told)
