"""Local steps: between full passes, compute only required and changed tokens (ReCAP, LazyMAR).

Shape legend: B batch, L ids, N tokens of the image, S sequence (a prefix of text or class, then
the image's tokens), D width, V codebook, R rows of all images.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from demask.acceleration.accelerator import Accelerator, WrappedTransformer, hookable
from demask.acceleration.cache import (
    PassCache,
    TokenSubset,
    along,
    join_parts,
    look_up,
    pooled,
    split_parts,
)
from demask.acceleration.local_pass import FullPass, LocalPass
from demask.layouts import Layouts, plane
from demask.transformer.hooks import PassHooks
from demask.types import Condition, Prediction, Step, Transformer

LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class LocalSteps(Accelerator):
    """Compute only rows that are required or have changed, against cached keys and values.

    As ReCAP (arXiv 2505.19089) and LazyMAR, with one change: the keys and values of the computed
    rows are written into the cache before attention, so no token attends to outdated entries of
    these rows.

    Attributes:
        period: a full pass every ``period`` steps; 1 is off.
        full: number of full passes at the start.
        agreement: also run a local pass before each later full pass and log how often their
            most likely codes agree; for diagnosis, slower.

    Raises:
        ValueError: a number that is not an integer of at least 1.
    """

    period: int = 4
    full: int = 2
    agreement: bool = False
    layouts: ClassVar[Layouts] = Layouts((1, 2))

    def __post_init__(self) -> None:
        for name in ("period", "full"):
            given: object = getattr(self, name)  # user input of any type
            if type(given) is not int or given < 1:
                raise ValueError(f"local_steps: {name} is a whole number from 1 on, not {given}")

    def around(self, transformer: Transformer) -> Transformer:
        """The transformer with local steps; the transformer itself at period 1."""
        if self.period == 1:
            return transformer
        return LocalTransformer(hookable(transformer, "local_steps"), self)

    def due(self, kept: PassCache, step: Step) -> bool:
        """Whether a full pass is due."""
        return step.index < self.full or step.index - kept.full >= self.period


class Output(NamedTuple):
    """Output of a pass, for all tokens or a subset."""

    features_BSD: Tensor
    logits_BLV: Tensor | None = None
    attention_BL: Tensor | None = None


Forward = Callable[[PassHooks], Output]


@dataclass(frozen=True)
class LocalTransformer(WrappedTransformer):
    """A transformer under `LocalSteps`, for one batch of images.

    Each pass of a guidance is cached under its name (`demask.types.Step.pass_names`); an unnamed
    pass is computed in full and not cached. A pass that was skipped in a full step runs in full the
    next time.

    Attributes:
        how: the settings.
        memory: caches by pass name.
    """

    how: LocalSteps
    memory: dict[str, PassCache] = field(default_factory=dict)

    def predict(self, ids_BL: Tensor, condition: Condition, step: Step) -> Prediction:
        """A local or full pass; rows that are not required keep their latest logits."""

        def forward(hooks: PassHooks) -> Output:
            prediction = self.base.predict(ids_BL, condition, step, hooks)
            assert prediction.features is not None, "a transformer with hooks returns its features"
            return Output(prediction.features, prediction.logits_BLV)

        found = self.passed(ids_BL, condition, step, forward)
        assert found.logits_BLV is not None
        return Prediction(found.logits_BLV, found.features_BSD)

    @property
    def predict_with_attention(
        self,
    ) -> Callable[[Tensor, Condition, Step], tuple[Prediction, Tensor]]:
        """As `predict`, with the attention of the last full pass."""
        base = self.base.predict_with_attention

        def predict_with_attention(
            ids_BL: Tensor, conditions: Condition, step: Step
        ) -> tuple[Prediction, Tensor]:
            def forward(hooks: PassHooks) -> Output:
                if isinstance(hooks, LocalPass):
                    prediction, attention_BL = (
                        self.base.predict(ids_BL, conditions, step, hooks),
                        None,
                    )
                else:
                    prediction, attention_BL = base(ids_BL, conditions, step, hooks)
                assert prediction.features is not None
                return Output(prediction.features, prediction.logits_BLV, attention_BL)

            for name in step.pass_names:
                if name in self.memory and self.memory[name].attention_BL is None:
                    del self.memory[name]
            found = self.passed(ids_BL, conditions, step, forward)
            assert found.logits_BLV is not None
            assert found.attention_BL is not None
            return Prediction(found.logits_BLV, found.features_BSD), found.attention_BL

        return predict_with_attention

    def second_pass(
        self, extra_values: Sequence[Tensor], condition: Condition, step: Step, blank: bool
    ) -> Iterator[Tensor]:
        """Self-guidance's smoothed pass; yields only the last hidden states.

        Its extra values differ from the cached ones where the first pass computed new features.
        """

        def forward(hooks: PassHooks) -> Output:
            states = self.base.second_pass(extra_values, condition, step, blank, hooks)
            (last_BSD,) = deque(states, maxlen=1)
            return Output(last_BSD)

        named = replace(step, pass_names=("smoothed",))
        yield self.passed(extra_values[0], condition, named, forward).features_BSD

    def passed(self, seen: Tensor, condition: Condition, step: Step, forward: Forward) -> Output:
        """One pass over all parts of the batch: full, local, or skipped.

        Args:
            seen: its input, ids (B, L) or vectors (B, S, D); changed positions are recomputed.
            condition: its condition.
            step: the step, with the required rows and the names of the parts.
            forward: runs the pass with some hooks.
        """
        parts = len(step.pass_names)
        if not parts:
            return forward(PassHooks())
        conditions, caches = look_up(self.memory, seen, condition, step)
        if len(caches) < parts:
            return self.in_full(seen, conditions, step, forward, None)
        queried_BL = step.rows_BL
        if queried_BL is not None and not queried_BL.any():
            for kept in caches:
                if self.how.due(kept, step):
                    kept.full = step.index  # as in a batch in which other images require rows
            return join_caches(caches)
        if queried_BL is None or any(self.how.due(kept, step) for kept in caches):
            local = self.how.agreement and queried_BL is not None and step.index >= self.how.full
            near = self.written(seen, step, caches, forward) if local else None
            whole = self.in_full(seen, conditions, step, forward, caches)
            if near is not None:
                log_agreement(join_caches(near), whole, step)
            return whole
        self.memory.update(
            zip(step.pass_names, self.written(seen, step, caches, forward), strict=True)
        )
        return join_caches([self.memory[name] for name in step.pass_names])

    def in_full(
        self,
        seen: Tensor,
        conditions: list[Condition],
        step: Step,
        forward: Forward,
        caches: list[PassCache] | None,
    ) -> Output:
        """Run and cache a full pass; images without required rows keep their older cache."""
        hooks, parts = FullPass(), len(conditions)
        found = forward(hooks)
        features, logits, attention = (split_parts(tensor, parts) for tensor in found)
        for i, (name, words) in enumerate(zip(step.pass_names, conditions, strict=True)):
            features_BSD = features[i]
            assert features_BSD is not None
            kept = PassCache(
                seen=seen.chunk(parts)[i],
                condition=words,
                grid=plane(step.layout),
                full=step.index,
                latest=step.index,
                features_BSD=features_BSD,
                logits_BLV=logits[i],
                attention_BL=attention[i],
                keys=[keys.chunk(parts)[i] for keys in hooks.keys],
                values=[values.chunk(parts)[i] for values in hooks.values],
            )
            if caches is not None and step.rows_BL is not None:
                queried_B = step.rows_BL.chunk(parts)[i].any(-1)
                kept = kept if bool(queried_B.all()) else kept.only(queried_B, caches[i])
            self.memory[name] = kept
        return found

    def asked(self, seen: Tensor, step: Step, caches: list[PassCache]) -> Tensor:
        """The tokens to compute, (B, N): required ones and changed ones.

        Images without required rows are not computed, even if they have changed.
        """
        assert step.rows_BL is not None, "a pass that is read everywhere is a full one"
        side = self.base.grid_multiple
        laid_out = plane(step.layout), side, step.layout.parts
        read_BN = pooled(step.rows_BL, *laid_out)
        parts = zip(caches, seen.chunk(len(caches)), strict=True)
        changed = torch.cat([kept.changed(one) for kept, one in parts])
        if seen.ndim == 2:
            changed = pooled(changed, *laid_out)
        changed_BN = changed[:, -read_BN.shape[1] :]
        return read_BN | (changed_BN & read_BN.any(-1, keepdim=True))

    def written(
        self, seen: Tensor, step: Step, caches: list[PassCache], forward: Forward
    ) -> list[PassCache]:
        """Run a local pass; return each part's new cache. Keys and values change in place."""
        queried_BN, parts, side = (
            self.asked(seen, step, caches),
            len(caches),
            self.base.grid_multiple,
        )
        hooks = LocalPass(TokenSubset.of(queried_BN), caches, side)
        found = forward(hooks)
        features, logits, _ = (split_parts(tensor, parts) for tensor in found)
        ids = hooks.tokens.ids(plane(step.layout), side, step.layout.parts).parts(parts)
        some = queried_BN.any(-1).chunk(parts)
        after = []
        for i, (kept, one) in enumerate(zip(caches, seen.chunk(parts), strict=True)):
            now, features_BMD, logits_BMV = kept.logits_BLV, features[i], logits[i]
            assert features_BMD is not None
            after.append(
                replace(
                    kept,
                    seen=torch.where(along(some[i], one), one, kept.seen),
                    latest=step.index,
                    features_BSD=hooks.parts[i].among(features_BMD, kept.features_BSD),
                    logits_BLV=None
                    if now is None or logits_BMV is None
                    else ids[i].among(logits_BMV, now),
                )
            )
        return after


def join_caches(parts: list[PassCache]) -> Output:
    """Concatenate the caches of several passes into one batch."""
    features_BSD = join_parts([kept.features_BSD for kept in parts])
    assert features_BSD is not None
    return Output(
        features_BSD,
        join_parts([kept.logits_BLV for kept in parts]),
        join_parts([kept.attention_BL for kept in parts]),
    )


def log_agreement(near: Output, whole: Output, step: Step) -> None:
    """Log how often the most likely codes of a local and a full pass agree."""
    if near.logits_BLV is None or whole.logits_BLV is None:
        return
    assert step.rows_BL is not None
    same_R = (near.logits_BLV.argmax(-1) == whole.logits_BLV.argmax(-1))[step.rows_BL]
    share = 100 * float(same_R.double().mean())
    LOG.info("step %d: local and full agree at %.1f %% of %d", step.index, share, len(same_R))
