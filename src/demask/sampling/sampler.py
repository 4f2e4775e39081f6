"""The settings of the decode loop, and the check that they fit the guidance."""

from __future__ import annotations

from dataclasses import dataclass, field

from demask.sampling.correction import Correction
from demask.sampling.filter import Filter
from demask.sampling.schedule import Schedule, cosine
from demask.sampling.select import Confidence, Order
from demask.sampling.start import Masked, Start
from demask.sampling.temperature import Temperature
from demask.types import Guided, Predict


@dataclass(frozen=True)
class Sampler:
    """The settings of the decode loop.

    Attributes:
        steps: from 1 to the number of tokens; the loop ends earlier once no token can change.
        schedule: the fraction of the tokens that is masked after each step.
        order: selects the positions that a step unmasks.
        temperature: the softmax temperature of each step; 0 takes the most likely code.
        filter: restricts the codes that may be drawn (top-k, top-p).
        corrections: change the logits of a step or its result, applied in turn.
        start: what the first step reads.
    """

    steps: int = 12
    schedule: Schedule = cosine
    order: Order = field(default_factory=Confidence)
    temperature: Temperature = field(default_factory=Temperature)
    filter: Filter = field(default_factory=Filter)
    corrections: tuple[Correction, ...] = ()
    start: Start = field(default_factory=Masked)

    @property
    def parts(self) -> tuple[Order | Correction, ...]:
        """The order and the corrections."""
        return (self.order, *self.corrections)

    @property
    def may_remask(self) -> bool:
        """Whether decoded tokens may be masked or changed again."""
        return any(part.may_remask for part in self.parts)


def check_guidance(sampler: Sampler, predict: Predict) -> None:
    """Check that a sampler and the guidance fit together.

    Raises:
        ValueError: a correction needs guidance and there is none, or the sampler may change
            decoded tokens and the guidance is not refreshed in every step, so that its stored
            difference does not fit the changed tokens; or a one-step generator is given more than
            one step, guidance or corrections.
    """
    if sampler.start.one_pass:
        if sampler.steps != 1:
            raise ValueError(f"one_step makes one step: set steps to 1, not {sampler.steps}")
        if isinstance(predict, Guided):
            raise ValueError("one_step samples without guidance: set guidance_scale to 1")
        if sampler.corrections:
            raise ValueError("one_step has no steps to correct: leave out the corrections")
    for correction in sampler.corrections:
        if correction.needs_guidance and not isinstance(predict, Guided):
            name = type(correction).__name__.lower()
            raise ValueError(f"{name} needs guidance: choose a scale other than 1")
    every = getattr(predict, "every", 1)
    for part in sampler.parts:
        if every > 1 and part.may_remask:
            name = type(part).__name__.lower()
            raise ValueError(
                f"{name} changes decided tokens: set guidance_refresh to 1, not {every}"
            )
