"""The context that all parts of the page share: the engine, its models and the provenance."""

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
MAX_PARTIALS = 24
"""Unfinished images per image; more make the page slow."""


@dataclass(frozen=True)
class PageContext:
    """The engine and its models, as the page uses them.

    Attributes:
        engine: the engine, which generates the images.
        provenance: writes the metadata of finished images.
    """

    engine: Engine
    provenance: Provenance = field(default_factory=Provenance)

    @property
    def names(self) -> list[str]:
        """The names of the models; the first is selected at first."""
        return list(self.engine.generators)

    def model(self, name: str) -> Generator:
        """The model of a name."""
        return self.engine.generators[name]

    def examples(self, name: str) -> tuple[str, ...]:
        """Example prompts; none for a model of classes."""
        return () if self.model(name).class_names else EXAMPLES.get(name, ANY_EXAMPLES)

    def requests(
        self,
        name: str,
        condition_input: ConditionInput,
        seeds: Sequence[int],
        settings: dict[str, Any],
        edit: Edit | None = None,
    ) -> list[Request]:
        """One request per seed, with unfinished images."""
        steps = int(settings.get("steps") or self.model(name).settings.steps)
        partials = min(steps, MAX_PARTIALS)
        return [
            Request(name, condition_input or None, seed, settings, partials, edit) for seed in seeds
        ]
