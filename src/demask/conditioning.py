"""What a person asks for -> what a transformer reads: classes or words.

Shape legend: B batch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from demask.registry import unknown
from demask.settings import Settings
from demask.transformer.condition import TextEncoder, encode_micro_conditions
from demask.transformer.protocols import SupportsUnconditional, supports
from demask.types import Condition, Transformer

ConditionInput = str | int | None
"""What an image should show: a prompt, a class name or number; None for anything."""


@dataclass(frozen=True)
class ParsedCondition:
    """A condition input that a model understands.

    Attributes:
        prompt: in words; the class name for a class, nothing for anything.
        label: the class number; -1 where there is none.
    """

    prompt: str = ""
    label: int = -1


class Conditioner(ABC):
    """How a model is told what to generate.

    Attributes:
        class_names: of a class-conditional model; () for one that reads prompts.
    """

    class_names: tuple[str, ...] = ()

    @abstractmethod
    def default_conditions(self) -> list[ConditionInput]:
        """What is generated where nothing is asked for."""

    @abstractmethod
    def parse(self, condition_input: ConditionInput) -> ParsedCondition:
        """Understand a condition input.

        Raises:
            ValueError: the model knows nothing of the kind.
        """

    @abstractmethod
    def check(self, settings: Settings) -> None:
        """Raise a ValueError for settings that this kind of model does not have."""

    @abstractmethod
    def condition(
        self,
        parsed_conditions: Sequence[ParsedCondition],
        size: tuple[int, int],
        settings: Settings,
    ) -> Condition:
        """What the transformer reads; ``size`` is height and width in pixels."""

    @abstractmethod
    def reference(self, size: tuple[int, int], settings: Settings) -> Condition:
        """What classifier-free guidance moves away from, a batch of 1."""


@dataclass(frozen=True)
class Classes(Conditioner):
    """Class names and numbers.

    Attributes:
        name: of the model, for messages.
        transformer: reads ``class_ids`` (B).
        class_names: in the order of their numbers.
    """

    name: str
    transformer: Transformer
    class_names: tuple[str, ...]

    def default_conditions(self) -> list[ConditionInput]:
        """All classes in turn."""
        return list(range(len(self.class_names)))

    def parse(self, condition_input: ConditionInput) -> ParsedCondition:
        """A class by name or number, or any class."""
        if condition_input is None or condition_input == "":
            return ParsedCondition()
        if isinstance(condition_input, str) and not condition_input.lstrip("-").isdigit():
            if condition_input not in self.class_names:
                raise ValueError(unknown("class", condition_input, self.class_names))
            return ParsedCondition(condition_input, self.class_names.index(condition_input))
        number = int(condition_input)
        if not 0 <= number < len(self.class_names):
            raise ValueError(
                f"class {number} is out of range; valid: 0 to {len(self.class_names) - 1}"
            )
        return ParsedCondition(self.class_names[number], number)

    def check(self, settings: Settings) -> None:
        """No words, so no negative ones."""
        for name in ("negative_prompt", "micro_conditions"):
            if getattr(settings, name):
                raise ValueError(
                    f"{self.name} generates classes; '{name}' is for models of prompts"
                )

    def condition(
        self,
        parsed_conditions: Sequence[ParsedCondition],
        size: tuple[int, int],
        settings: Settings,
    ) -> Condition:
        """``class_ids`` (B); any class is the unconditional one."""
        class_ids_B = torch.tensor([s.label for s in parsed_conditions], device=self._device)
        if (class_ids_B < 0).any():
            anything_1 = self.reference(size, settings)["class_ids"]
            class_ids_B = torch.where(class_ids_B < 0, anything_1, class_ids_B)
        return Condition({"class_ids": class_ids_B})

    def reference(self, size: tuple[int, int], settings: Settings) -> Condition:
        """The condition of any class.

        Raises:
            ValueError: the model was trained without class dropout.
        """
        if not supports(self.transformer, SupportsUnconditional):
            raise ValueError(
                f"{self.name} was trained without class dropout: name a class, keep guidance at 1"
            )
        return self.transformer.unconditional()

    @property
    def _device(self) -> torch.device:
        assert isinstance(self.transformer, nn.Module)
        return next(self.transformer.parameters()).device


@dataclass(frozen=True)
class Prompts(Conditioner):
    """Words, read once for all steps, with micro-conditions (arXiv 2410.08261, section 2.3).

    Attributes:
        text: the text encoder.
    """

    text: TextEncoder

    def default_conditions(self) -> list[ConditionInput]:
        """The empty prompt."""
        return [""]

    def parse(self, condition_input: ConditionInput) -> ParsedCondition:
        """Any text; a number is its digits."""
        return ParsedCondition("" if condition_input is None else str(condition_input))

    def check(self, settings: Settings) -> None:
        """The names of micro-conditions."""
        encode_micro_conditions(1, 1, settings.micro_conditions)

    def condition(
        self,
        parsed_conditions: Sequence[ParsedCondition],
        size: tuple[int, int],
        settings: Settings,
    ) -> Condition:
        """``states`` (B, T, D), ``pooled`` (B, P) and ``micro`` (B, 5)."""
        tensors = self.text.encode([parsed.prompt for parsed in parsed_conditions])
        micro_15 = encode_micro_conditions(*size, settings.micro_conditions).to(
            tensors["pooled"].device
        )
        return Condition({**tensors, "micro": micro_15.expand(len(parsed_conditions), -1)})

    def reference(self, size: tuple[int, int], settings: Settings) -> Condition:
        """The negative prompt, or the empty one."""
        return self.condition([ParsedCondition(settings.negative_prompt or "")], size, settings)
