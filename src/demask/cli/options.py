"""The options that several commands share, each written once."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from demask.cli.command import Several

if TYPE_CHECKING:
    from demask.conditioning import ConditionInput
    from demask.generator import Generator

F = TypeVar("F", bound=Callable[..., Any])

DEFAULT_MODEL = "emoji"

MODEL = [
    click.option(
        "--model",
        metavar="NAME|PATH",
        default=DEFAULT_MODEL,
        show_default=True,
        help="A shipped model, a folder that training wrote, a checkpoint or a hub id.",
    ),
    click.option("--tokenizer", metavar="PATH", help="A model's tokenizer, if kept elsewhere."),
    click.option("--device", metavar="NAME", help="cpu, cuda, cuda:1, mps; default: the best."),
    click.option(
        "--dtype",
        type=click.Choice(["float32", "bfloat16", "float16", "int8"]),
        help="Of the weights; int8 is fast on a CPU; default: float32.",
    ),
    click.option(
        "--lora",
        "loras",
        cls=Several,
        metavar="PATH[:WEIGHT]...",
        help="Folders of LoRA adapters, as 'demask train lora' writes them.",
    ),
    click.option(
        "--aux",
        "aux",
        cls=Several,
        metavar="PATH...",
        help="Networks beside the model: a self-guidance module, a Token-Critic, a weaker model.",
    ),
    click.option("--low-memory", is_flag=True, help="Slower, in about half the memory."),
]

CLASS = click.option(
    "--class",
    "classes",
    cls=Several,
    metavar="NAME...",
    help="For a model of classes: names or numbers, shown in turn; default: all of them.",
)

NEW_PART = [
    click.option(
        "--prompt",
        "prompts",
        cls=Several,
        metavar="TEXT...",
        help="What the new part shows, in turn; default: whatever fits.",
    ),
    click.option(
        "--class",
        "classes",
        cls=Several,
        metavar="NAME...",
        help="The same for a model of classes: names or numbers.",
    ),
]

COUNT = [
    click.option(
        "-n", "--num-images", type=int, metavar="N", help="How many; default: one a prompt."
    ),
    click.option(
        "--seed",
        "seeds",
        type=int,
        cls=Several,
        metavar="N...",
        default=(0,),
        show_default="0",
        help="Of the first image, the next ones count on; or one for each.",
    ),
]

SETTINGS = [
    click.option("--steps", type=int, help="Forward passes."),
    click.option("--schedule", metavar="NAME", help="Mask schedule, such as cosine, power:2.5."),
    click.option("--order", metavar="NAME", help="Selection order, such as confidence, halton."),
    click.option("--choice-temperature", type=float, help="Choice temperature of the order."),
    click.option(
        "--choice-temperature-decay", metavar="NAME", help="Its decay, such as linear, cumulative."
    ),
    click.option("--temperature", type=float, help="Softmax temperature."),
    click.option("--temperature-decay", metavar="NAME", help="Its decay, such as line:0.5."),
    click.option("--top-k", type=int, help="Draw only from the K most likely codes; 0: all."),
    click.option("--top-p", type=float, help="Draw only from codes that hold this probability."),
    click.option("--guidance-scale", type=float, help="Scale of guidance; 1: off."),
    click.option("--guidance-schedule", metavar="NAME", help="How it changes over the steps."),
    click.option(
        "--guidance-method", metavar="NAME", help="classifier_free, self_guidance, ...; see docs."
    ),
    click.option(
        "--guidance-refresh", type=int, metavar="N", help="Both passes every N steps; 1: in each."
    ),
    click.option(
        "--correction",
        "corrections",
        cls=Several,
        metavar="NAME...",
        callback=lambda _context, _option, names: names or None,
        help="Corrections, applied in turn.",
    ),
    click.option(
        "--accelerate",
        "accelerators",
        cls=Several,
        metavar="NAME...",
        callback=lambda _context, _option, names: names or None,
        help="Accelerators, such as token_merging:0.25; see docs.",
    ),
    click.option("--negative-prompt", metavar="TEXT", help="What guidance moves away from."),
    click.option("--width", type=int, metavar="PIXELS", help="Of the image; default: trained."),
    click.option("--height", type=int, metavar="PIXELS", help="Of the image; default: trained."),
    click.option(
        "--micro-conditions",
        metavar="NAME=VALUE,...",
        help="Micro-conditions: width, height, crop_top, crop_left, score.",
    ),
]

PRESET = [
    click.option(
        "--preset", metavar="NAME", help="Named settings of the model; see 'demask models show'."
    )
]

FOLDER = [
    click.option(
        "--out",
        type=click.Path(path_type=Path, file_okay=False),
        default="out",
        show_default=True,
        help="The folder to write to.",
    )
]


@dataclass(frozen=True)
class ModelChoice:
    """What the options of `MODEL` say."""

    model: str
    tokenizer: str | None
    device: str | None
    dtype: str | None
    loras: tuple[str, ...]
    aux: tuple[str, ...]
    low_memory: bool

    def load(self, preset: str | None = None) -> Generator:
        """The generator that they name, in the type of a preset unless ``--dtype`` says another.

        Raises:
            ValueError: no such model, device or preset, or a broken checkpoint.
        """
        import torch

        from demask.presets import load

        check_device(self.device)
        return load(
            self.model,
            self.tokenizer,
            self.device,
            getattr(torch, self.dtype) if self.dtype else None,
            loras=self.loras,
            aux=self.aux,
            low_memory=self.low_memory,
            preset=preset,
        )


def with_model(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of `MODEL`, and hand them over as one ``choice``."""
    names = [f.name for f in fields(ModelChoice)]

    @functools.wraps(command)
    def chosen(**options: Any) -> None:
        command(choice=ModelChoice(**{name: options.pop(name) for name in names}), **options)

    return add(MODEL)(chosen)


def add(*groups: Sequence[Callable[[F], F]]) -> Callable[[F], F]:
    """Give a command several groups of options, in this order."""

    def decorate(function: F) -> F:
        for option in reversed([option for group in groups for option in group]):
            function = option(function)
        return function

    return decorate


def check_device(name: str | None) -> None:
    """Raise a ValueError for a device that is not there."""
    import torch

    if name is None:
        return
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError, NotImplementedError):
        there = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
        if torch.backends.mps.is_available():
            there.append("mps")
        raise ValueError(f"there is no device '{name}' here; valid: {', '.join(there)}") from None


def condition_inputs(
    prompts: Sequence[str], classes: Sequence[str], generator: Generator
) -> list[ConditionInput] | None:
    """The prompts, and the classes that ``--class`` names, lists with commas taken apart.

    Returns:
        What the model understands; None where nothing is named.

    Raises:
        ValueError: an unknown class, or classes for a model of prompts.
    """
    if classes and not generator.class_names:
        raise ValueError(
            f"{generator.name} generates prompts and has no classes: leave --class out"
        )
    found: list[ConditionInput] = list(prompts)
    for text in classes:
        # a class name may itself hold a comma
        parts = [text] if text in generator.class_names else text.split(",")
        found += [part.strip() for part in parts if part.strip()]
    for condition_input in found:
        generator.conditioner.parse(condition_input)
    return found or None


def one_or_each(seeds: Sequence[int]) -> int | list[int]:
    """The seed of the first image, or those of all."""
    return seeds[0] if len(seeds) == 1 else list(seeds)
