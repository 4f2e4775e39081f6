"""Passes that stop when nobody waits for them any more; edits of images, step by step."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any, cast

from demask import editing
from demask.generator import Generator
from demask.guidance.passes import wrap_passes
from demask.server.engine.request import Ticket, Variation
from demask.settings import Settings, SettingsKwargs
from demask.types import Predict


@dataclass(frozen=True)
class InterruptibleGenerator(Generator):
    """A generator that stops before its next pass once all its tickets are cancelled or late.

    Attributes:
        tickets: the requests.
    """

    tickets: Sequence[Ticket] = ()

    @classmethod
    def of(cls, generator: Generator, tickets: Sequence[Ticket]) -> InterruptibleGenerator:
        """The same generator for some requests."""
        parts = {f.name: getattr(generator, f.name) for f in fields(generator)}
        return cls(**parts, tickets=tickets)

    def guided(self, settings: Settings) -> Predict:
        """As `Generator.guided`; each pass may raise the `EngineError` of a ticket."""
        return wrap_passes(super().guided(settings), self.interruptible)

    def interruptible(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """A pass that checks the tickets first."""

        def checked(*arguments: Any) -> Any:
            errors = [ticket.gave_up for ticket in self.tickets]
            wanted = [error for error in errors if error is None]
            if not wanted:
                raise next(error for error in errors if error is not None)
            return call(*arguments)

        return checked


def run_edit(generator: Generator, ticket: Ticket) -> Iterator[editing.Progress]:
    """The steps of an edit, then the image that `demask.editing` gives for its seed and settings.

    Raises:
        ValueError: the mask has no white pixel, or a class or setting is unknown.
        EngineError: the ticket was cancelled or its deadline passed meanwhile.
    """
    request = ticket.request
    edit, settings = request.edit, cast(SettingsKwargs, dict(request.settings))
    assert edit is not None
    alone = InterruptibleGenerator.of(generator, [ticket])
    todo = editing.jobs(alone, [request.condition_input], 1, request.seed, settings)
    if isinstance(edit, Variation):
        original = editing.read_varied(alone, edit.image, edit.strength, settings)
        return editing.vary(alone, todo, original, edit.strength)
    parts = editing.read_masked(alone, edit.image, edit.mask, edit.feather, settings)
    return editing.decode_and_blend(alone, todo, *parts)
