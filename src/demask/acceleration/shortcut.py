"""Shortcut steps: between full passes, a narrow block predicts the next hidden states.

Shape legend: B batch, L ids, N tokens of the image, S sequence (a prefix of class or nothing,
then the image's tokens), D width, V codebook.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from demask.acceleration.accelerator import Accelerator, WrappedTransformer, hookable
from demask.acceleration.cache import PassCache, join_parts, look_up, pooled, split_parts
from demask.layouts import PLAIN_GRIDS, Layouts
from demask.transformer.protocols import SupportsShortcut, apply_head, supports
from demask.transformer.shortcut import Extended, Shortcut, advance
from demask.types import Condition, Prediction, Step, Transformer


@dataclass(frozen=True)
class ShortcutSteps(Accelerator):
    """Replace most passes by a learned shortcut (arXiv 2602.23996).

    Attributes:
        period: a full pass every ``period`` steps; 1 is off.
        full: number of full passes at the start.
        network: the shortcut, an auxiliary network of the model.

    Raises:
        ValueError: a number that is not an integer of at least 1.
    """

    period: int = 2
    full: int = 1
    network: nn.Module | None = field(default=None, repr=False, compare=False)
    aux_kind: ClassVar[str] = "shortcut"
    layouts: ClassVar[Layouts] = PLAIN_GRIDS

    def __post_init__(self) -> None:
        for name in ("period", "full"):
            given: object = getattr(self, name)  # user input of any type
            if type(given) is not int or given < 1:
                raise ValueError(f"shortcut: {name} is a whole number from 1 on, not {given}")
        if not isinstance(cast(object, self.network), nn.Module | None):
            raise ValueError("shortcut: the network comes from beside the model, as --aux")

    def attach(self, network: nn.Module) -> ShortcutSteps:
        return replace(self, network=network)

    def around(self, transformer: Transformer) -> Transformer:
        """The transformer with shortcut steps; the transformer itself at period 1."""
        if self.period == 1:
            return transformer
        base = hookable(transformer, "shortcut")
        if not supports(base, SupportsShortcut):
            raise ValueError(f"shortcut does not work with {type(transformer).__name__}")
        assert isinstance(self.network, Shortcut), "the generator gives this its network"
        return ShortcutTransformer(base, self, self.network)

    def due(self, kept: PassCache, step: Step) -> bool:
        """Whether a full pass is due."""
        return step.index < self.full or step.index - kept.full >= self.period


@dataclass(frozen=True)
class ShortcutTransformer(WrappedTransformer):
    """A transformer under `ShortcutSteps`, for one batch of images.

    Each pass of a guidance is cached under its name (`demask.types.Step.pass_names`); an unnamed
    pass is computed in full and not cached. A pass is full if any part of the batch has no cache.

    Attributes:
        how: the settings.
        network: the shortcut.
        memory: caches by pass name.
    """

    how: ShortcutSteps
    network: Shortcut
    memory: dict[str, PassCache] = field(default_factory=dict)

    def predict(self, ids_BL: Tensor, condition: Condition, step: Step) -> Prediction:
        """A full pass, or a shortcut from the cached hidden states."""
        parts = len(step.pass_names)
        if not parts:
            return self.base.predict(ids_BL, condition, step)
        conditions, caches = look_up(self.memory, ids_BL, condition, step)
        if len(caches) < parts:
            found = self.base.predict(ids_BL, condition, step)
            return self.keep(found, ids_BL, conditions, step, step.index)
        due = any(self.how.due(kept, step) for kept in caches)
        queried_B = torch.ones(len(ids_BL), dtype=torch.bool, device=ids_BL.device)
        if step.rows_BL is not None:
            queried_B = step.rows_BL.any(-1)
        if not queried_B.any():
            for kept in caches:
                kept.full = (
                    step.index if due else kept.full
                )  # as in a batch in which other images require rows
            return join_caches(caches)
        if due:
            found = self.base.predict(ids_BL, condition, step)
            return self.keep(found, ids_BL, conditions, step, step.index, queried_B, caches)
        changed_BL = torch.cat(
            [k.changed(x) for k, x in zip(caches, ids_BL.chunk(parts), strict=True)]
        )
        if (
            caches[0].latest == step.index
        ):  # same step again: images with unchanged ids keep their cache
            queried_B = queried_B & changed_BL.any(-1)
        found = self.advanced(ids_BL, changed_BL, condition, step, caches)
        return self.keep(found, ids_BL, conditions, step, caches[0].full, queried_B, caches)

    @property
    def predict_with_attention(self) -> Callable[..., Any]:
        """The transformer's own method: a shortcut computes no attention."""
        return self.base.predict_with_attention

    def advanced(
        self,
        ids_BL: Tensor,
        changed_BL: Tensor,
        condition: Condition,
        step: Step,
        caches: list[PassCache],
    ) -> Prediction:
        """The shortcut's prediction from the previous step."""
        base = cast(Extended, self.base)
        changed_BN = pooled(changed_BL, step.layout.grid, base.grid_multiple)
        features_BSD = advance(
            self.network,
            base,
            torch.cat([kept.features_BSD for kept in caches]),
            ids_BL,
            changed_BN,
            condition,
            step.mask_ratio_B.to(ids_BL.device),
            step.layout.grid,
        )
        return Prediction(apply_head(base, features_BSD, condition, step.layout), features_BSD)

    def keep(
        self,
        found: Prediction,
        ids_BL: Tensor,
        conditions: list[Condition],
        step: Step,
        full: int,
        queried_B: Tensor | None = None,
        caches: Sequence[PassCache] = (),
    ) -> Prediction:
        """Cache a pass and return it; images that were not queried keep their older cache.

        Args:
            found: the prediction of the pass.
            ids_BL: its input.
            conditions: the condition of each part of the batch.
            step: the step.
            full: step index of the last full pass.
            queried_B: images with required rows; None means all.
            caches: the older caches.
        """
        parts = len(conditions)
        assert found.features is not None, "a transformer with hooks returns its features"
        features, logits = (split_parts(t, parts) for t in (found.features, found.logits_BLV))
        for i, (name, words) in enumerate(zip(step.pass_names, conditions, strict=True)):
            features_BSD, seen_BL = features[i], ids_BL.chunk(parts)[i]
            assert features_BSD is not None
            now = PassCache(
                seen_BL,
                words,
                step.layout.grid,
                full,
                step.index,
                features_BSD,
                logits[i],
                None,
                [],
                [],
            )
            if queried_B is not None and not queried_B.all():
                now = now.only(queried_B.chunk(parts)[i], caches[i])
            self.memory[name] = now
        return join_caches([self.memory[name] for name in step.pass_names])


def join_caches(parts: list[PassCache]) -> Prediction:
    """Concatenate the caches of several passes into one batch."""
    logits_BLV = join_parts([kept.logits_BLV for kept in parts])
    features_BSD = join_parts([kept.features_BSD for kept in parts])
    assert logits_BLV is not None
    return Prediction(logits_BLV, features_BSD)
