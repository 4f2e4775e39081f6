"""Paint a part of a picture anew, giving up when nobody waits for it any more."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from torch import Tensor

from demask import editing
from demask.generator import Generator, Picture
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
class Watched(Generator):
    """A generator that stops between steps once its ticket has given up."""

    ticket: Ticket | None = None

    def guided(self, settings: Settings) -> Predict:
        """As a `Generator`, interruptible."""
        assert self.ticket is not None
        return Interruptible(super().guided(settings), self.ticket)


def repaint(generator: Generator, ticket: Ticket) -> Picture:
    """The picture that `demask.editing.inpaint` gives for a ticket's seed and settings.

    Raises:
        ValueError: a mask without white, or an unknown class or setting.
        EngineError: the ticket gave up on the way.
    """
    request = ticket.request
    edit = request.edit
    assert edit is not None
    parts = {f.name: getattr(generator, f.name) for f in fields(generator)}
    watched = Watched(**parts, ticket=ticket)
    wish, feather = [request.wish], edit.feather
    (picture,) = editing.inpaint(
        watched, edit.image, edit.mask, wish, 1, request.seed, feather, **request.settings
    )
    return picture
