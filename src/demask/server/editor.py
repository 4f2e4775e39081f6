"""Generate a part of an image anew, giving up when nobody waits for it any more."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from torch import Tensor

from demask import editing
from demask.generator import GeneratedImage, Generator
from demask.server.request import Ticket
from demask.settings import Settings
from demask.types import Condition, Predict, Prediction, Step


@dataclass(frozen=True)
class Interruptible:
    """A `Predict` that asks before each pass whether anybody still waits."""

    predict: Predict
    ticket: Ticket

    def __call__(self, ids_BL: Tensor, condition: Condition, step: Step) -> Prediction:
        error = self.ticket.gave_up
        if error is not None:
            raise error
        return self.predict(ids_BL, condition, step)

    def __getattr__(self, name: str) -> Any:
        """What else the predictor can do, such as another scale of guidance."""
        return getattr(self.predict, name)


@dataclass(frozen=True)
class InterruptibleGenerator(Generator):
    """A generator that stops between steps once its ticket has given up."""

    ticket: Ticket | None = None

    def guided(self, settings: Settings) -> Predict:
        """As a `Generator`, interruptible."""
        assert self.ticket is not None
        return Interruptible(super().guided(settings), self.ticket)


def run_edit(generator: Generator, ticket: Ticket) -> GeneratedImage:
    """The image that `demask.editing.inpaint` gives for a ticket's seed and settings.

    Raises:
        ValueError: a mask without white, or an unknown class or setting.
        EngineError: the ticket gave up on the way.
    """
    request = ticket.request
    edit = request.edit
    assert edit is not None
    parts = {f.name: getattr(generator, f.name) for f in fields(generator)}
    interruptible = InterruptibleGenerator(**parts, ticket=ticket)
    condition_input, feather = [request.condition_input], edit.feather
    (image,) = editing.inpaint(
        interruptible,
        edit.image,
        edit.mask,
        condition_input,
        1,
        request.seed,
        feather,
        **request.settings,
    )
    return image
