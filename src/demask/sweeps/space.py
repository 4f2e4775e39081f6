"""Search spaces over settings: curves of a few numbers, or a number for each step.

Shape legend: T steps.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Protocol

import torch

from demask.registry import unknown
from demask.sampling.select import ORDERS
from demask.settings import Settings
from demask.types import Step, TokenLayout

PARTS = ("schedule", "choice_temperature", "temperature", "guidance_scale")


@dataclass(frozen=True)
class Dimension:
    """One dimension of a search space.

    Attributes:
        low: lower bound.
        high: upper bound.
        start: the initial value.
        log: use a logarithmic scale.
    """

    low: float
    high: float
    start: float
    log: bool = True


class Space(Protocol):
    """A search space over some settings."""

    @property
    def dimensions(self) -> dict[str, Dimension]:
        """The numbers, by name."""
        ...

    def settings(self, point: Mapping[str, float]) -> Settings:
        """The settings of a point."""
        ...


def searchable(start: Settings, wanted: Sequence[str] = ()) -> tuple[str, ...]:
    """The parts of the settings that can be searched, or the wanted ones of them.

    Only some orders have a choice temperature, and a scale of 1 means no guidance.

    Raises:
        ValueError: an unknown part, or one that these settings do not have.
    """
    order = ORDERS[start.order.partition(":")[0]]
    there = {"choice_temperature": "choice_temperature" in inspect.signature(order).parameters}
    there["guidance_scale"] = start.guidance_scale != 1
    parts = tuple(part for part in PARTS if there.get(part, True))
    for part in wanted:
        if part not in parts:
            raise ValueError(unknown(f"part to search of order '{start.order}'", part, parts))
    return tuple(wanted) or parts


@dataclass(frozen=True)
class Curves:
    """Few numbers for all steps: a power of the mask schedule, and two numbers of the other curves.

    Attributes:
        start: the initial settings; parts that are not searched keep their values.
        parts: the searched parts, of `PARTS`.
    """

    start: Settings
    parts: tuple[str, ...]

    @property
    def dimensions(self) -> dict[str, Dimension]:
        """The dimensions by name; they start near the curves of the initial settings."""
        start, found = self.start, dict[str, Dimension]()
        if "schedule" in self.parts:
            found["schedule_power"] = around(number(start.schedule, "power", 2.0), 0.7, 4.0)
        if "choice_temperature" in self.parts:
            found["choice_temperature"] = around(
                4.5 if start.choice_temperature is None else start.choice_temperature, 0.5, 30.0
            )
            found["choice_temperature_power"] = around(
                number(start.choice_temperature_decay, "power", 1.0), 0.3, 3.0
            )
        if "temperature" in self.parts:
            found["temperature"] = around(start.temperature, 0.6, 1.8)
            end = number(start.temperature_decay, "line", 1.0)
            found["temperature_end"] = around(end, 0.4, 1.7)
        if "guidance_scale" in self.parts:
            found["guidance_extra"] = around(
                start.guidance_scale - 1, 0.1, max(5.0, 2 * start.guidance_scale)
            )
            found["guidance_power"] = around(1.0, 0.15, 4.0)
        return found

    def settings(self, point: Mapping[str, float]) -> Settings:
        """The settings of a point."""
        x = {name: round(value, 4) for name, value in point.items()}
        changes: dict[str, Any] = {}
        if "schedule" in self.parts:
            changes["schedule"] = f"power:{x['schedule_power']:g}"
        if "choice_temperature" in self.parts:
            changes |= {
                "choice_temperature": x["choice_temperature"],
                "choice_temperature_decay": f"power:{x['choice_temperature_power']:g}",
            }
        if "temperature" in self.parts:
            end = f"line:{x['temperature_end']:g}"
            changes |= {"temperature": x["temperature"], "temperature_decay": end}
        if "guidance_scale" in self.parts:
            power = f"power_cosine:power={x['guidance_power']:g}"
            changes |= {"guidance_scale": 1 + x["guidance_extra"], "guidance_schedule": power}
        return self.start.updated(**changes)


def around(start: float, low: float, high: float) -> Dimension:
    """A dimension that starts at a number, clamped to the range."""
    return Dimension(low, high, min(max(start, low), high))


def number(text: str | None, name: str, otherwise: float) -> float:
    """The number of ``name:number``; the default for any other text."""
    kind, _, written = (text or "").partition(":")
    return float(written) if kind == name else otherwise


@dataclass(frozen=True)
class Steps:
    """A number for each step: its difference from the initial settings.

    Differences of mask ratios are added to their log-odds, those of temperatures to their
    logarithms, those of guidance scales to the scales.

    Attributes:
        start: the initial settings.
        parts: the searched parts, of `PARTS`.
    """

    start: Settings
    parts: tuple[str, ...]

    @property
    def dimensions(self) -> dict[str, Dimension]:
        """A dimension for each step and part; the last step has no ratio or choice temperature."""
        last = self.start.steps - 1
        counts = {
            "schedule": last,
            "choice_temperature": last,
            "temperature": last + 1,
            "guidance_scale": last + 1,
        }
        move = Dimension(-2.0, 2.0, 0.0, log=False)
        return {f"{part}_{k}": move for part in self.parts for k in range(counts[part])}

    def settings(self, point: Mapping[str, float]) -> Settings:
        """The settings of a point, step by step."""
        steps, changes = self.start.steps, dict[str, Any]()
        own = values_of(self.start)
        moved = {
            part: [(own[part][k], point.get(f"{part}_{k}", 0.0)) for k in range(steps)]
            for part in self.parts
        }
        if "schedule" in moved:
            odds = [logit(ratio) + move for ratio, move in moved["schedule"][:-1]]
            ratios = accumulate((1 / (1 + math.exp(-z)) for z in odds), min)
            changes["schedule"] = f"ratios:{listing([*ratios, 0.0])}"
        if "choice_temperature" in moved:
            factors = [value * math.exp(move) for value, move in moved["choice_temperature"]]
            changes |= {
                "choice_temperature": 1.0,
                "choice_temperature_decay": f"listed:{listing(factors)}",
            }
        if "temperature" in moved:
            factors = [value * math.exp(move / 4) for value, move in moved["temperature"]]
            changes |= {"temperature": 1.0, "temperature_decay": f"listed:{listing(factors)}"}
        if "guidance_scale" in moved:
            factors = [value - 1 + move for value, move in moved["guidance_scale"]]
            changes |= {"guidance_scale": 2.0, "guidance_schedule": f"listed:{listing(factors)}"}
        return self.start.updated(**changes)


def values_of(settings: Settings) -> dict[str, list[float]]:
    """The values of every step: mask ratios, choice and softmax temperatures, guidance scales."""
    sampler, scale = settings.sampler, settings.scale
    steps = [
        Step(k, settings.steps, TokenLayout((1,)), torch.ones(1)) for k in range(settings.steps)
    ]
    choice_temperature = getattr(sampler.order, "choice_temperature", None)
    return {
        "schedule": [sampler.schedule(step.progress) for step in steps],
        "choice_temperature": [
            0.0 if choice_temperature is None else choice_temperature.at(step) for step in steps
        ],
        "temperature": [sampler.temperature.at(step) for step in steps],
        "guidance_scale": [scale(step) for step in steps],
    }


def logit(ratio: float) -> float:
    """The log-odds of a mask ratio, clamped away from 0 and 1."""
    kept = min(max(ratio, 0.002), 0.998)
    return math.log(kept / (1 - kept))


def listing(values: Sequence[float]) -> str:
    """Comma-separated numbers, as in settings."""
    return ",".join(f"{value:.4f}".rstrip("0").rstrip(".") for value in values)
