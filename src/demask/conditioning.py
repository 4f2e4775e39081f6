"""Conditions: prompts or classes -> the tensors that a transformer reads.

Shape legend: B batch.
"""

from __future__ import annotations

import numbers
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from demask.registry import unknown
from demask.setting_info import check_unicode
from demask.settings import Settings
from demask.transformer.condition import PromptReading, TextEncoder, encode_micro_conditions
from demask.transformer.protocols import SupportsUnconditional, supports
from demask.types import Condition, Transformer

ConditionInput = str | int | None
"""What an image shows: a prompt, a class name or a class number; None for no condition."""


def check_condition_input(value: object) -> None:
    """Raise a ValueError for what is no `ConditionInput`."""
    if isinstance(value, str):
        check_unicode("the prompt", value)
        return
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise ValueError(
            f"a condition must be a prompt, a class name, a class number or None, not {value!r}"
        )


@dataclass(frozen=True)
class ParsedCondition:
    """A condition input after validation.

    Attributes:
        prompt: the prompt, or the class name; "" for no condition.
        label: the class number; -1 for none.
    """

    prompt: str = ""
    label: int = -1


class Conditioner(ABC):
    """Parses condition inputs and makes the condition of a batch.

    Attributes:
        class_names: of a class-conditional model; () for a model of prompts.
    """

    class_names: tuple[str, ...] = ()

    @abstractmethod
    def default_conditions(self) -> list[ConditionInput]:
        """The conditions of a request that names none."""

    def condition_inputs(
        self, conditions: ConditionInput | Sequence[ConditionInput]
    ) -> list[ConditionInput]:
        """The conditions as a list; None becomes the default ones.

        Raises:
            ValueError: an empty list of them, or something that is no condition.
        """
        if conditions is None:
            return self.default_conditions()
        given: Any = conditions
        several = isinstance(given, Iterable) and not isinstance(given, str | bytes | Mapping)
        condition_inputs: list[ConditionInput] = list(given) if several else [given]
        for condition_input in condition_inputs:
            check_condition_input(condition_input)
        if not condition_inputs:
            raise ValueError("the list of conditions is empty; None means the model's default")
        return condition_inputs

    @abstractmethod
    def parse(self, condition_input: ConditionInput) -> ParsedCondition:
        """Validate a condition input.

        Raises:
            ValueError: the model has no such class, or takes no classes.
        """

    @abstractmethod
    def check(self, settings: Settings) -> None:
        """Raise a ValueError for settings that this kind of model cannot use."""

    @abstractmethod
    def condition(
        self,
        parsed_conditions: Sequence[ParsedCondition],
        size: tuple[int, int],
        settings: Settings,
    ) -> Condition:
        """The condition of a batch; ``size`` is height and width in pixels."""

    @abstractmethod
    def reference(self, size: tuple[int, int], settings: Settings) -> Condition:
        """The reference of classifier-free guidance, a batch of 1."""


@dataclass(frozen=True)
class Classes(Conditioner):
    """Conditions of a class-conditional model: class names and numbers.

    Attributes:
        name: of the model, for messages.
        transformer: reads ``class_ids`` (B).
        class_names: in the order of the class numbers.
    """

    name: str
    transformer: Transformer
    class_names: tuple[str, ...]

    def default_conditions(self) -> list[ConditionInput]:
        """All classes."""
        return list(range(len(self.class_names)))

    def parse(self, condition_input: ConditionInput) -> ParsedCondition:
        """A class by its name or number; None and "" are no class."""
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
        """Refuse the settings of models of prompts."""
        for name in ("negative_prompt", "micro_conditions"):
            if getattr(settings, name):
                raise ValueError(
                    f"{self.name} is class-conditional; '{name}' is for models of prompts"
                )

    def condition(
        self,
        parsed_conditions: Sequence[ParsedCondition],
        size: tuple[int, int],
        settings: Settings,
    ) -> Condition:
        """``class_ids`` (B); no class becomes the unconditional one."""
        class_ids_B = torch.tensor([s.label for s in parsed_conditions], device=self._device)
        if (class_ids_B < 0).any():
            unconditional_1 = self.reference(size, settings)["class_ids"]
            class_ids_B = torch.where(class_ids_B < 0, unconditional_1, class_ids_B)
        return Condition({"class_ids": class_ids_B})

    def reference(self, size: tuple[int, int], settings: Settings) -> Condition:
        """The unconditional class.

        Raises:
            ValueError: the model was trained without class dropout.
        """
        if not supports(self.transformer, SupportsUnconditional):
            raise ValueError(
                f"{self.name} was trained without class dropout: name a class; guidance_scale is 1"
            )
        return self.transformer.unconditional()

    @property
    def _device(self) -> torch.device:
        assert isinstance(self.transformer, nn.Module)
        return next(self.transformer.parameters()).device


@dataclass(frozen=True)
class Prompts(Conditioner):
    """Conditions of a model of prompts: text, encoded once for all steps, and micro-conditions.

    See Meissonic (arXiv 2410.08261, section 2.3).

    Attributes:
        text: the text encoder.
        reading: how the model reads prompts.
    """

    text: TextEncoder
    reading: PromptReading = field(default_factory=PromptReading)

    def default_conditions(self) -> list[ConditionInput]:
        """The empty prompt."""
        return [""]

    def parse(self, condition_input: ConditionInput) -> ParsedCondition:
        """Any text; a number becomes its digits."""
        return ParsedCondition("" if condition_input is None else str(condition_input))

    def check(self, settings: Settings) -> None:
        """Check the micro-conditions."""
        encode_micro_conditions(1, 1, settings.micro_conditions, self.reading)

    def condition(
        self,
        parsed_conditions: Sequence[ParsedCondition],
        size: tuple[int, int],
        settings: Settings,
    ) -> Condition:
        """``states`` (B, T, D), ``pooled`` (B, P) and ``micro`` (B, 5)."""
        tensors = self.text.encode([parsed.prompt for parsed in parsed_conditions])
        micro_15 = encode_micro_conditions(*size, settings.micro_conditions, self.reading).to(
            tensors["pooled"].device
        )
        return Condition({**tensors, "micro": micro_15.expand(len(parsed_conditions), -1)})

    def reference(self, size: tuple[int, int], settings: Settings) -> Condition:
        """The negative prompt, or the empty one."""
        return self.condition([ParsedCondition(settings.negative_prompt or "")], size, settings)
