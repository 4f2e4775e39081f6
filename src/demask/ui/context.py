"""What every part of the page needs: the engine, its models and how images are written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from demask.conditioning import ConditionInput
from demask.generator import Generator
from demask.server.engine import Edit, Engine, Request
from demask.server.provenance import Provenance

EXAMPLES = {
    "emoji": (
        "red apple",
        "smiling cat with heart eyes",
        "rocket",
        "octopus",
        "waving hand dark skin tone",
    )
}
ANY_EXAMPLES = ("a red apple", "a lighthouse at night", "a fox in the snow", "a bowl of noodles")
MOST_PARTIALS = 24  # of an image; more would only make the page slow


@dataclass(frozen=True)
class PageContext:
    """The engine, as the page sees it.

    Attributes:
        engine: generates.
        provenance: what is written into finished images.
    """

    engine: Engine
    provenance: Provenance = field(default_factory=Provenance)

    @property
    def names(self) -> list[str]:
        """Of the models; the first is shown first."""
        return list(self.engine.generators)

    def model(self, name: str) -> Generator:
        """A model by its name."""
        return self.engine.generators[name]

    def examples(self, name: str) -> tuple[str, ...]:
        """Prompts to begin with; none for a model of classes."""
        return () if self.model(name).class_names else EXAMPLES.get(name, ANY_EXAMPLES)

    def requests(
        self,
        name: str,
        condition_input: ConditionInput,
        seeds: Sequence[int],
        settings: dict[str, Any],
        edit: Edit | None = None,
    ) -> list[Request]:
        """One request a seed, showing its steps."""
        steps = int(settings.get("steps") or self.model(name).settings.steps)
        partials = min(steps, MOST_PARTIALS)
        return [
            Request(name, condition_input or None, seed, settings, partials, edit) for seed in seeds
        ]
