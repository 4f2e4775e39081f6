"""Train a shortcut for a frozen model, on the model's own trajectories (arXiv 2602.23996).

No image data is needed. The features of the model are recorded while it generates images; the
shortcut is trained to predict them from those of the previous step.

Shape legend: B batch, P passes of guidance, R steps in a row, L ids, S sequence of the base's
features, N tokens of the image, D width, V codebook.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from demask.acceleration import ShortcutSteps
from demask.acceleration.cache import pooled
from demask.assembly import load
from demask.checkpoint.lora import base_fingerprint
from demask.checkpoint.save import save_model
from demask.conditioning import ConditionInput
from demask.generator import Generator
from demask.training.engine.config import TrainConfig
from demask.training.engine.identity import describe
from demask.training.engine.optim import Optim
from demask.training.engine.task import Batch, Phase, Task
from demask.training.engine.training import TrainInputs
from demask.training.samples import sample_grid
from demask.training.trajectories import Trajectories, sampled
from demask.transformer.protocols import SupportsShortcut, apply_head, supports
from demask.transformer.shortcut import Extended, Shortcut, ShortcutConfig, advance
from demask.types import Condition, TokenLayout, Transformer

log = logging.getLogger(__name__)

HELD_OUT = 64
"""Held-out images of a validation."""
HELD_OUT_SEED = 1 << 40
"""Seed of the first held-out image."""
SHOWN = 16
"""Images in a sample."""


@dataclass(frozen=True)
class ShortcutOptim(Optim):
    """`Optim`, for a small network."""

    learning_rate: float = 2e-3
    weight_decay: float = 0.0
    warmup: int = 50
    decay: str = "cosine"
    decay_fraction: float = 1.0


@dataclass(frozen=True)
class ShortcutTrainConfig(TrainConfig):
    """`TrainConfig`, for a small network."""

    steps: int = 1000
    batch_size: int = 32
    ema_decay: float = 0.99
    save_every: int = 200
    validate_every: int = 500


@dataclass(frozen=True)
class ShortcutRecipe:
    """The configuration of the shortcut and its training.

    Attributes:
        width: width of the shortcut; 0 = half of the model's.
        heads: attention heads.
        mlp_width: hidden channels of its MLP; 0 = twice its width.
        pictures: number of trajectories to train on, which are kept in memory.
        rollout: number of consecutive steps, each from the shortcut's output of the previous one.
        features: weight of the error of the features.
        logits: weight of the divergence of the guided distributions.
        settings: settings that differ from the defaults of the model.
        optim: the optimiser.
    """

    width: int = 0
    heads: int = 2
    mlp_width: int = 0
    pictures: int = 768
    rollout: int = 2
    features: float = 1.0
    logits: float = 1.0
    settings: dict[str, Any] = field(default_factory=dict)
    optim: ShortcutOptim = field(default_factory=ShortcutOptim)

    def __post_init__(self) -> None:
        for name in ("pictures", "rollout"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        if min(self.features, self.logits) < 0 or self.features + self.logits == 0:
            raise ValueError("features and logits must be at least 0, and one of them above 0")

    def config(self, base_width: int) -> ShortcutConfig:
        """The sizes of the shortcut of a model of width ``base_width``."""
        multiple = 4 * self.heads
        width = self.width or max(multiple, base_width // 2 // multiple * multiple)
        return ShortcutConfig(base_width, width, self.heads, self.mlp_width or 2 * width)


class ShortcutTask(Task):
    """Trains a `Shortcut` of a model.

    Args:
        recipe: the configuration.
        generator: the model, with its settings; it is frozen.
        condition_inputs: conditions, used in turn; None = the defaults of the model.

    Raises:
        ValueError: the model does not support shortcuts, or its settings have too few steps.
    """

    main = "shortcut"

    def __init__(
        self,
        recipe: ShortcutRecipe,
        generator: Generator,
        condition_inputs: Sequence[ConditionInput] | None,
    ) -> None:
        self.recipe, self.generator, self.condition_inputs = recipe, generator, condition_inputs
        self.frozen = cast(nn.Module, generator.transformer).eval().requires_grad_(False)
        if not supports(self.frozen, SupportsShortcut):
            raise ValueError(f"{type(self.frozen).__name__} does not support shortcuts")
        if generator.settings.steps <= recipe.rollout:
            raise ValueError(
                f"{generator.settings.steps} steps are too few for a rollout of {recipe.rollout}"
            )
        self.fingerprint = base_fingerprint(self.frozen)
        self.pool = sampled(generator, condition_inputs, recipe.pictures, 0, self.tell)
        self.held_out = sampled(
            generator, condition_inputs, min(HELD_OUT, recipe.pictures), HELD_OUT_SEED
        )
        self.examples = len(self.pool)
        width = self.pool.features_NPTSD.shape[-1]
        self.modules: dict[str, nn.Module] = {self.main: Shortcut(recipe.config(width))}
        self.phases = {"advance": Phase(self.main, recipe.optim)}

    @property
    def base(self) -> Extended:
        """The frozen model, with its protocol."""
        return cast(Extended, self.frozen)

    def tell(self, done: int) -> None:
        """Log how many images have been generated."""
        if done % 256 == 0 or done == self.recipe.pictures:
            log.info("generating trajectories: %d of %d", done, self.recipe.pictures)

    def identity(self) -> str:
        """The recipe, the model and its settings."""
        return describe(
            task="shortcut",
            recipe=self.recipe,
            base=self.fingerprint,
            settings=asdict(self.generator.settings),
            wishes=self.condition_inputs,
        )

    def load(self, indices: Tensor, generator: torch.Generator) -> Batch:
        """Consecutive steps of each image, from a random step on."""
        starts = self.pool.ids_NTL.shape[1] - self.recipe.rollout
        start_B = torch.randint(starts, indices.shape, generator=generator)
        return self.rows(self.pool, indices, start_B)

    def rows(self, pool: Trajectories, index_B: Tensor, start_B: Tensor) -> Batch:
        """The steps ``start_B`` of the images ``index_B``, and the ``rollout`` steps after each."""
        step_BR = start_B[:, None] + torch.arange(self.recipe.rollout + 1)
        features_BPTSD = pool.features_NPTSD[index_B]
        own_B = torch.arange(len(index_B))
        batch = {
            "ids_BRL": pool.ids_NTL[index_B[:, None], step_BR],
            "features_BRPSD": features_BPTSD.transpose(1, 2)[own_B[:, None], step_BR].float(),
            "scale_BR": pool.scale_T[step_BR],
            "shape": torch.tensor(pool.layout.shape),
        }
        condition = Condition.join([one.take(index_B) for one in pool.conditions])
        return batch | {f"condition.{name}": tensor for name, tensor in condition.tensors.items()}

    def loss(
        self, phase: str, batch: Batch, step: int, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Both errors, each the mean over the steps of a rollout."""
        error, divergence = self.errors(self.modules[self.main], batch)
        total = self.recipe.features * error + self.recipe.logits * divergence
        return total, {"error": error, "divergence": divergence}

    def errors(self, network: nn.Module | None, batch: Batch) -> tuple[Tensor, Tensor]:
        """Relative squared error of the features, and divergence of the guided distributions.

        Args:
            network: the shortcut; None = a cache that repeats the features of the previous step.
            batch: see `rows`.
        """
        ids_BRL, features_BRPSD = batch["ids_BRL"], batch["features_BRPSD"]
        self.frozen.to(ids_BRL.device)
        layout = TokenLayout(tuple(batch["shape"].tolist()))
        grid, passes = layout.grid, features_BRPSD.shape[2]
        named = ((name.partition("."), tensor) for name, tensor in batch.items())
        condition = Condition({key: t for (kind, _, key), t in named if kind == "condition"})
        errors, divergences = [], []
        now_XSD = features_BRPSD[:, 0].transpose(0, 1).flatten(0, 1)
        for r in range(1, ids_BRL.shape[1]):
            ids_BL, true_XSD = ids_BRL[:, r], features_BRPSD[:, r].transpose(0, 1).flatten(0, 1)
            masked_BL = ids_BL == self.base.mask_id
            if network is not None:
                changed_BN = pooled(ids_BL != ids_BRL[:, r - 1], grid, self.base.grid_multiple)
                now_XSD = advance(
                    network,
                    self.base,
                    now_XSD,
                    ids_BL.repeat(passes, 1),
                    changed_BN.repeat(passes, 1),
                    condition,
                    masked_BL.float().mean(-1).repeat(passes),
                    grid,
                )
            errors.append(((now_XSD - true_XSD).pow(2).mean(-1) / true_XSD.pow(2).mean(-1)).mean())
            scale_B11 = batch["scale_BR"][:, r, None, None]
            heads = (
                apply_head(self.base, x_XSD, condition, layout) for x_XSD in (now_XSD, true_XSD)
            )
            predicted, target = (
                guide(logits_XLV, passes, scale_B11)[masked_BL].log_softmax(-1)
                for logits_XLV in heads
            )
            divergences.append(F.kl_div(predicted, target, reduction="batchmean", log_target=True))
        return torch.stack(errors).mean(), torch.stack(divergences).mean()

    def validate(self, model: nn.Module) -> dict[str, float]:
        """The means over all start steps of both errors on held-out images; the same of a cache."""
        device = next(model.parameters()).device
        count, steps = self.held_out.ids_NTL.shape[:2]
        sums = torch.zeros(4, dtype=torch.float64)
        starts = range(steps - self.recipe.rollout)
        for start in starts:
            index_B = torch.arange(count)
            batch = self.rows(self.held_out, index_B, torch.full_like(index_B, start))
            batch = {name: tensor.to(device) for name, tensor in batch.items()}
            found = [*self.errors(model, batch), *self.errors(None, batch)]
            sums += torch.stack(found).double().cpu() / len(starts)
        names = ("error", "divergence", "error of a cache", "divergence of a cache")
        return dict(zip(names, sums.tolist(), strict=True))

    def sample(self, model: nn.Module) -> Tensor:
        """Images that are decoded with a shortcut in every second step, without guidance."""
        device = next(model.parameters()).device
        self.frozen.to(device)
        fast = ShortcutSteps().attach(model).around(cast(Transformer, self.frozen))
        condition = self.held_out.conditions[0]
        condition = condition.take(slice(min(SHOWN, len(condition)))).to(device)
        return sample_grid(fast, condition, self.held_out.layout, self.generator.tokenizer)

    def export(self, model: nn.Module, path: Path, facts: dict[str, object]) -> None:
        """Write the shortcut in half precision, with the fingerprint of its model."""
        save_model(path, model, "shortcut", torch.float16, base=self.fingerprint, training=facts)


def guide(logits_XLV: Tensor, passes: int, scale_B11: Tensor) -> Tensor:
    """The guided logits (B, L, V) of consecutive passes."""
    parts = logits_XLV.float().chunk(passes)
    return parts[-1] + scale_B11 * (parts[0] - parts[-1])


@dataclass(frozen=True)
class ShortcutTraining:
    """A recipe of ``demask train shortcut``; every table has defaults.

    Attributes:
        shortcut: the shortcut and its training.
        run: the length, batches and reports.
    """

    shortcut: ShortcutRecipe = field(default_factory=ShortcutRecipe)
    run: ShortcutTrainConfig = field(default_factory=ShortcutTrainConfig)

    def task(self, inputs: TrainInputs) -> Task:
        """See `TrainRecipe.task`."""
        model, prompts = inputs.model, list(inputs.prompts)
        generator = load(model, low_memory=True)
        if not (generator.class_names or prompts):
            raise ValueError(
                f"{model} is a model of prompts: name some to generate with --prompts FILE"
            )
        if generator.class_names and prompts:
            raise ValueError(f"{model} is a model of classes: leave --prompts out")
        generator = replace(generator, settings=generator.chosen(**self.shortcut.settings))
        torch.manual_seed(self.run.seed)
        return ShortcutTask(self.shortcut, generator, prompts or None)
