"""Local steps: between full ones, only the tokens that matter now are computed (ReCAP, LazyMAR).

Shape legend: B batch, L ids, N tokens of the picture, S sequence (a prefix of text or class, then
the picture's tokens), D width, V codebook, R rows of all pictures.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import torch
from torch import Tensor

from demask.acceleration.accelerator import Accelerator, Inside, seamed
from demask.acceleration.kept import Kept, Rows, along, joined, pieces, pooled, recalled
from demask.acceleration.local_pass import LocalPass, WholePass
from demask.transformer.seam import Seams
from demask.types import Condition, Prediction, Step, Transformer

LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class LocalSteps(Accelerator):
    """Compute only the rows that are read or have changed, against cached keys and values.

    The idea of ReCAP (arXiv 2505.19089) and LazyMAR, mended: the rows' own keys and values are
    written into the cache before attention, so that no token looks at what it was before it was
    decided.

    Attributes:
        period: a full pass every so many steps; 1 is off.
        full: so many full passes at the beginning.
        agreement: make a local pass before each later full one as well, and log how often both
            find the same code the likeliest; a diagnosis, which takes time.

    Raises:
        ValueError: a number that is not a whole one, or below 1.
    """

    period: int = 4
    full: int = 2
    agreement: bool = False

    def __post_init__(self) -> None:
        for name in ("period", "full"):
            given: object = getattr(self, name)  # a person may have written anything
            if type(given) is not int or given < 1:
                raise ValueError(f"local_steps: {name} is a whole number from 1 on, not {given}")

    def around(self, transformer: Transformer) -> Transformer:
        """The transformer with local steps between its full ones; itself at a period of 1."""
        if self.period == 1:
            return transformer
        return LocalTransformer(seamed(transformer, "local_steps"), self)

    def due(self, kept: Kept, step: Step) -> bool:
        """Whether a pass has to be a full one."""
        return step.index < self.full or step.index - kept.full >= self.period


class Output(NamedTuple):
    """What a pass computed: of all tokens, or of some."""

    features_BSD: Tensor
    logits_BLV: Tensor | None = None
    attention_BL: Tensor | None = None


Forward = Callable[[Seams], Output]


@dataclass(frozen=True)
class LocalTransformer(Inside):
    """A transformer under `LocalSteps`, for one batch of pictures on their way.

    Each of a guidance's passes is remembered by its name (`demask.types.Step.passes`); one without
    a name is made in full and forgotten. A pass that sat out a full step makes its own when it
    comes back.

    Attributes:
        how: the settings.
        memory: what each pass left behind.
    """

    how: LocalSteps
    memory: dict[str, Kept] = field(default_factory=dict)

    def predict(self, ids_BL: Tensor, condition: Condition, step: Step) -> Prediction:
        """Local or in full; rows that were not asked for keep the logits they had last."""

        def forward(seams: Seams) -> Output:
            prediction = self.base.predict(ids_BL, condition, step, seams)
            assert prediction.features is not None, "who offers a seam shows its features"
            return Output(prediction.features, prediction.logits_BLV)

        found = self.passed(ids_BL, condition, step, forward)
        assert found.logits_BLV is not None
        return Prediction(found.logits_BLV, found.features_BSD)

    @property
    def attended(self) -> Callable[[Tensor, Condition, Step], tuple[Prediction, Tensor]]:
        """As `predict`, with the attention of the last full pass."""
        base = self.base.attended

        def attended(ids_BL: Tensor, told: Condition, step: Step) -> tuple[Prediction, Tensor]:
            def forward(seams: Seams) -> Output:
                if isinstance(seams, LocalPass):
                    prediction, attention_BL = self.base.predict(ids_BL, told, step, seams), None
                else:
                    prediction, attention_BL = base(ids_BL, told, step, seams)
                assert prediction.features is not None
                return Output(prediction.features, prediction.logits_BLV, attention_BL)

            for name in step.passes:
                if name in self.memory and self.memory[name].attention_BL is None:
                    del self.memory[name]
            found = self.passed(ids_BL, told, step, forward)
            assert found.logits_BLV is not None
            assert found.attention_BL is not None
            return Prediction(found.logits_BLV, found.features_BSD), found.attention_BL

        return attended

    def second_pass(
        self, extra_values: Sequence[Tensor], condition: Condition, step: Step, blank: bool
    ) -> Iterator[Tensor]:
        """Self-guidance's smoothed pass: the whole last state alone.

        What was sent into its values changed where the first pass computed anything.
        """

        def forward(seams: Seams) -> Output:
            states = self.base.second_pass(extra_values, condition, step, blank, seams)
            (last_BSD,) = deque(states, maxlen=1)
            return Output(last_BSD)

        named = replace(step, passes=("smoothed",))
        yield self.passed(extra_values[0], condition, named, forward).features_BSD

    def passed(self, seen: Tensor, condition: Condition, step: Step, forward: Forward) -> Output:
        """One pass, for all parts of the batch alike: full, local, or none at all.

        Args:
            seen: its input, ids (B, L) or vectors (B, S, D), whose changes tell what to compute.
            condition: what it is told.
            step: which rows are read, and what the parts of the batch are.
            forward: makes the pass.
        """
        parts = len(step.passes)
        if not parts:
            return forward(Seams())
        told, before = recalled(self.memory, seen, condition, step)
        if len(before) < parts:
            return self.in_full(seen, told, step, forward, None)
        asked_BL = step.rows_BL
        if asked_BL is not None and not asked_BL.any():
            for kept in before:
                if self.how.due(kept, step):
                    kept.full = step.index  # as if it had batch mates that ask
            return together(before)
        if asked_BL is None or any(self.how.due(kept, step) for kept in before):
            local = self.how.agreement and asked_BL is not None and step.index >= self.how.full
            near = self.written(seen, step, before, forward) if local else None
            whole = self.in_full(seen, told, step, forward, before)
            if near is not None:
                compare(together(near), whole, step)
            return whole
        self.memory.update(zip(step.passes, self.written(seen, step, before, forward), strict=True))
        return together([self.memory[name] for name in step.passes])

    def in_full(
        self,
        seen: Tensor,
        told: list[Condition],
        step: Step,
        forward: Forward,
        before: list[Kept] | None,
    ) -> Output:
        """A full pass that is remembered, but not for pictures of which nothing is asked."""
        seams, parts = WholePass(), len(told)
        found = forward(seams)
        features, logits, attention = (pieces(tensor, parts) for tensor in found)
        for i, (name, words) in enumerate(zip(step.passes, told, strict=True)):
            features_BSD = features[i]
            assert features_BSD is not None
            kept = Kept(
                seen=seen.chunk(parts)[i],
                condition=words,
                grid=step.grid,
                full=step.index,
                latest=step.index,
                features_BSD=features_BSD,
                logits_BLV=logits[i],
                attention_BL=attention[i],
                keys=[keys.chunk(parts)[i] for keys in seams.keys],
                values=[values.chunk(parts)[i] for values in seams.values],
            )
            if before is not None and step.rows_BL is not None:
                asked_B = step.rows_BL.chunk(parts)[i].any(-1)
                kept = kept if bool(asked_B.all()) else kept.only(asked_B, before[i])
            self.memory[name] = kept
        return found

    def asked(self, seen: Tensor, step: Step, before: list[Kept]) -> Tensor:
        """The tokens to compute, (B, N): those that are read, and those that have changed.

        A picture of which nothing is read waits, whatever has changed in it.
        """
        assert step.rows_BL is not None, "a pass that is read everywhere is a full one"
        side = self.base.grid_multiple
        read_BN = pooled(step.rows_BL, step.grid, side)
        parts = zip(before, seen.chunk(len(before)), strict=True)
        changed = torch.cat([kept.changed(one) for kept, one in parts])
        if seen.ndim == 2:
            changed = pooled(changed, step.grid, side)
        changed_BN = changed[:, -read_BN.shape[1] :]
        return read_BN | (changed_BN & read_BN.any(-1, keepdim=True))

    def written(self, seen: Tensor, step: Step, before: list[Kept], forward: Forward) -> list[Kept]:
        """A local pass: what is then kept of each part; its keys and values change in place."""
        asked_BN, parts, side = self.asked(seen, step, before), len(before), self.base.grid_multiple
        seams = LocalPass(Rows.of(asked_BN), before, side)
        found = forward(seams)
        features, logits, _ = (pieces(tensor, parts) for tensor in found)
        ids = seams.tokens.ids(step.grid, side).parts(parts)
        some = asked_BN.any(-1).chunk(parts)
        after = []
        for i, (kept, one) in enumerate(zip(before, seen.chunk(parts), strict=True)):
            now, features_BMD, logits_BMV = kept.logits_BLV, features[i], logits[i]
            assert features_BMD is not None
            after.append(
                replace(
                    kept,
                    seen=torch.where(along(some[i], one), one, kept.seen),
                    latest=step.index,
                    features_BSD=seams.parts[i].among(features_BMD, kept.features_BSD),
                    logits_BLV=None
                    if now is None or logits_BMV is None
                    else ids[i].among(logits_BMV, now),
                )
            )
        return after


def together(parts: list[Kept]) -> Output:
    """What several passes left behind, as one batch."""
    features_BSD = joined([kept.features_BSD for kept in parts])
    assert features_BSD is not None
    return Output(
        features_BSD,
        joined([kept.logits_BLV for kept in parts]),
        joined([kept.attention_BL for kept in parts]),
    )


def compare(near: Output, whole: Output, step: Step) -> None:
    """Log how often a local pass and a full one find the same code the likeliest."""
    if near.logits_BLV is None or whole.logits_BLV is None:
        return
    assert step.rows_BL is not None
    same_R = (near.logits_BLV.argmax(-1) == whole.logits_BLV.argmax(-1))[step.rows_BL]
    share = 100 * float(same_R.double().mean())
    LOG.info("step %d: local and full agree at %.1f %% of %d", step.index, share, len(same_R))
