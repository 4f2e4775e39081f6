"""Regenerate a part of an image; stop early when the request is cancelled or late."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

from demask import editing
from demask.generator import GeneratedImage, Generator
from demask.guidance.passes import wrap_passes
from demask.server.engine.request import Ticket
from demask.settings import Settings
from demask.types import Predict


@dataclass(frozen=True)
class InterruptibleGenerator(Generator):
    """A generator that stops before its next pass once its ticket is cancelled or late.

    Attributes:
        ticket: the request.
    """

    ticket: Ticket | None = None

    def guided(self, settings: Settings) -> Predict:
        """As `Generator.guided`; each pass may raise the ticket's `EngineError`."""
        return wrap_passes(super().guided(settings), self.interruptible)

    def interruptible(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """A pass that checks the ticket first."""

        def checked(*arguments: Any) -> Any:
            assert self.ticket is not None
            error = self.ticket.gave_up
            if error is not None:
                raise error
            return call(*arguments)

        return checked


def run_edit(generator: Generator, ticket: Ticket) -> GeneratedImage:
    """The image that `demask.editing.inpaint` gives for a ticket's seed and settings.

    Raises:
        ValueError: the mask has no white pixel, or a class or setting is unknown.
        EngineError: the ticket was cancelled or its deadline passed meanwhile.
    """
    request = ticket.request
    edit = request.edit
    assert edit is not None
    parts = {f.name: getattr(generator, f.name) for f in fields(generator)}
    interruptible = InterruptibleGenerator(**parts, ticket=ticket)
    (image,) = editing.inpaint(
        interruptible,
        edit.image,
        edit.mask,
        [request.condition_input],
        1,
        request.seed,
        edit.feather,
        **request.settings,
    )
    return image
