"""How images are sampled and guided: `Settings`, which checks itself and fits into an image's file.

A new setting is a field here and its row in `SettingsChanges`, for type checkers. The command line,
presets, recipes, the server and the metadata of images take it from the field.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from demask import variants
from demask.foreign_names import unknown_setting
from demask.setting_info import info_of, named, pixels, setting

if TYPE_CHECKING:
    from demask.acceleration import Accelerator
    from demask.guidance import Guidance
    from demask.guidance.scale import Scale
    from demask.sampling.correction import Correction
    from demask.sampling.sampler import Sampler
    from demask.sampling.select import Order
    from demask.sampling.start import Start
    from demask.types import Step, TokenLayout

DTYPES = ("float32", "bfloat16", "float16", "int8")
"""The types of a model's weights, by name."""

LISTED = 4000
"""Characters of a text that may list a number for each step."""


class SettingsChanges(TypedDict, total=False):
    """The fields of `Settings` as keyword arguments; None leaves a setting as it is.

    A variant is named by a text (``"halton"``, ``"power:2.5"``) or by its object.
    """

    steps: int | None
    schedule: str | Callable[[float], float] | None
    order: str | Order | type[Order] | None
    start: str | Start | type[Start] | None
    choice_temperature: float | None
    choice_temperature_decay: str | Callable[[Step], float] | None
    temperature: float | None
    temperature_decay: str | Callable[[Step], float] | None
    top_k: int | None
    top_p: float | None
    guidance_scale: float | None
    guidance_schedule: str | Scale | type[Scale] | None
    guidance_method: str | type[Guidance] | None
    guidance_refresh: int | None
    corrections: str | Correction | Sequence[str | Correction] | None
    accelerators: str | Accelerator | Sequence[str | Accelerator] | None
    negative_prompt: str | None
    width: int | None
    height: int | None
    micro_conditions: str | None


class SettingsKwargs(SettingsChanges, total=False):
    """What `Generator.generate` takes as settings: those of a preset, with changes."""

    preset: str | None


@dataclass(frozen=True)
class Settings:
    """How to sample and guide.

    Raises:
        ValueError: a value of another type or out of bounds; one line that names the setting.
    """

    steps: int = setting(int, 12, "Decoding steps", low=1)
    schedule: str = named(
        "cosine", "Mask schedule, such as cosine, power:2.5", variants.schedules, longest=LISTED
    )
    order: str = named("confidence", "Selection order, such as confidence, halton", variants.orders)
    start: str = named(
        "masked", "Input of the first step: masked, or one_step of Di[M]O", variants.starts
    )
    choice_temperature: float | None = setting(
        float, None, "Choice temperature of the order (MaskGIT's tau)", low=0, high=1000
    )
    choice_temperature_decay: str | None = named(
        None,
        "Its decay over the steps, such as linear, cumulative",
        variants.decays,
        longest=LISTED,
    )
    temperature: float = setting(
        float, 1.0, "Softmax temperature", low=0.001, high=100, or_zero=True
    )
    temperature_decay: str = named(
        "constant", "Its decay over the steps, such as line:0.5", variants.decays, longest=LISTED
    )
    top_k: int = setting(int, 0, "Draw from the K most likely codes; 0: all", low=0, high=2**31)
    top_p: float = setting(
        float,
        1.0,
        "Draw from the most likely codes of this total probability",
        low=0,
        high=1,
        above=True,
    )
    guidance_scale: float = setting(
        float, 1.0, "Scale of guidance; 1: off", group="Guidance", low=-100, high=100
    )
    guidance_schedule: str = named(
        "constant",
        "The scale over the steps, such as ramp, interval:start=0.2",
        variants.guidance_scales,
        group="Guidance",
        without=("value",),
        longest=LISTED,
    )
    guidance_method: str = named(
        "classifier_free",
        "Guidance, such as classifier_free, self_guidance",
        variants.guidances,
        group="Guidance",
    )
    guidance_refresh: int = setting(
        int, 1, "Compute the reference every N steps", group="Guidance", metavar="N", low=1
    )
    corrections: tuple[str, ...] = named(
        (), "Corrections, applied in turn", variants.corrections, flag="--correction"
    )
    accelerators: tuple[str, ...] = named(
        (),
        "Accelerators, the innermost first, such as token_merging:0.25",
        variants.accelerators,
        group="Speed",
        flag="--accelerate",
    )
    negative_prompt: str = setting(
        str,
        "",
        "The prompt that guidance moves away from",
        group="Guidance",
        metavar="TEXT",
        longest=4000,
    )
    width: int | None = pixels("Width")
    height: int | None = pixels("Height")
    micro_conditions: str = setting(
        str,
        "",
        "Micro-conditions: width, height, crop_top, crop_left, score",
        group="Image",
        metavar="NAME=VALUE,...",
    )

    def __post_init__(self) -> None:
        scale = self.guidance_schedule
        for entry in fields(self):
            value = info_of(entry).check(entry.name, getattr(self, entry.name))
            object.__setattr__(self, entry.name, value)
        inner = getattr(scale, "value", self.guidance_scale)
        if inner != self.guidance_scale and not isinstance(scale, type):
            raise ValueError(
                f"guidance_schedule: the object's scale is {inner}, but guidance_scale is "
                f"{self.guidance_scale}; give both the same"
            )

    def updated(self, **changes: Unpack[SettingsChanges]) -> Settings:
        """These settings with some changed; None leaves a setting as it is.

        Raises:
            ValueError: an unknown setting, or a value that is not valid.
        """
        check_names(changes)
        return replace(self, **{k: v for k, v in changes.items() if v is not None})  # type: ignore[arg-type]

    @property
    def sampler(self) -> Sampler:
        """The arguments of `demask.decode`.

        Raises:
            ValueError: an unknown name, a list of another number of steps, or accelerators of a
                one-step generator.
        """
        from demask.sampling.correction import parse_correction
        from demask.sampling.filter import Filter
        from demask.sampling.sampler import Sampler
        from demask.sampling.schedule import parse_schedule
        from demask.sampling.select import parse_order
        from demask.sampling.start import parse_start
        from demask.sampling.temperature import Temperature

        choice = None
        if self.choice_temperature is not None:
            choice = Temperature(self.choice_temperature, self.choice_temperature_decay or "linear")
        elif self.choice_temperature_decay is not None:
            raise ValueError(
                f"choice_temperature_decay '{self.choice_temperature_decay}' needs a "
                "choice_temperature that it decays"
            )
        temperature = Temperature(self.temperature, self.temperature_decay)
        start = parse_start(self.start)
        if start.one_pass and self.accelerators:
            raise ValueError("one_step has no steps to speed up: leave out the accelerators")
        for decayed in (choice, temperature):
            if decayed is not None:
                decayed.at(self.first)
        return Sampler(
            steps=self.steps,
            schedule=parse_schedule(self.schedule),
            order=parse_order(self.order, choice),
            temperature=temperature,
            filter=Filter(self.top_k, self.top_p),
            corrections=tuple(parse_correction(name) for name in self.corrections),
            start=start,
        )

    @property
    def scale(self) -> Scale:
        """The guidance scale over the steps.

        Raises:
            ValueError: an unknown schedule, or one for another number of steps.
        """
        from demask.guidance.scale import parse_scale

        scale = parse_scale(self.guidance_schedule, self.guidance_scale)
        scale(self.first)
        return scale

    @property
    def acceleration(self) -> tuple[Accelerator, ...]:
        """The accelerators, the innermost first.

        Raises:
            ValueError: an unknown accelerator, or a number out of range.
        """
        from demask.acceleration import parse_accelerator

        return tuple(parse_accelerator(name) for name in self.accelerators)

    def check_layout(self, layout: TokenLayout) -> None:
        """Raise a ValueError for a variant that cannot serve a layout, or too many steps for it."""
        from demask.layouts import check_layout

        guided = self.guidance_scale != 1
        chosen = {
            "order": ((self.order,), variants.orders),
            "guidance_method": ((self.guidance_method,) * guided, variants.guidances),
            "corrections": (self.corrections, variants.corrections),
            "accelerators": (self.accelerators, variants.accelerators),
        }
        for setting_name, (texts, tables) in chosen.items():
            for text in texts:
                check_layout(layout, setting_name, text.partition(":")[0], tables()[0])
        if self.steps > layout.tokens:
            raise ValueError(f"steps must be 1 to {layout.tokens} (the tokens), not {self.steps}")

    @property
    def first(self) -> Step:
        """The first step, at which a list of one value per step checks its length."""
        import torch

        from demask.types import Step, TokenLayout

        return Step(0, self.steps, TokenLayout((1,)), torch.ones(1))


def check_names(names: Iterable[str]) -> None:
    """Raise a ValueError for a name that is no setting, with the name that Demask uses."""
    valid = [entry.name for entry in fields(Settings)]
    for name in names:
        if name not in valid:
            raise ValueError(unknown_setting(name, [*valid, "preset"]))


def settings_from(values: Mapping[str, Any]) -> Settings:
    """Settings from a file; those that it leaves out have their defaults.

    Raises:
        ValueError: an unknown setting, or a value that is not valid.
    """
    check_names(values)
    return Settings(**values)
