"""The options that several commands share."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, TypeVar

import click

from demask.cli.command import OptionGroup, path_option, several
from demask.cli.settings_options import settings_options
from demask.device import check_device
from demask.settings import DTYPES

if TYPE_CHECKING:
    from demask.conditioning import ConditionInput
    from demask.generator import Generator

F = TypeVar("F", bound=Callable[..., Any])

DEFAULT_MODEL = "emoji"

CONTENT, MODEL_TITLE, OUTPUT = "What to generate", "Model", "Output"
"""Headings of help pages."""

SOURCE = [
    click.option(
        "--model",
        metavar="NAME|PATH",
        default=DEFAULT_MODEL,
        show_default=True,
        help="A shipped model, a folder written by training, a checkpoint or a hub id.",
    ),
    click.option(
        "--tokenizer", metavar="PATH", help="Tokenizer checkpoint, if it is not in the model."
    ),
]
DEVICE = click.option(
    "--device", metavar="NAME", help="cpu, cuda, cuda:1, mps; default: a GPU if present."
)

MODEL = OptionGroup(
    MODEL_TITLE,
    [
        *SOURCE,
        DEVICE,
        click.option(
            "--dtype",
            type=click.Choice(DTYPES),
            help="Type of the weights; int8 is fast on a CPU; default: float32.",
        ),
        several(
            "--lora",
            "loras",
            metavar="PATH[:WEIGHT]...",
            help="LoRA adapters: folders of 'demask train lora', or published files.",
        ),
        several(
            "--aux",
            "aux",
            metavar="PATH...",
            help="Auxiliary networks: a self-guidance module, a Token-Critic, a weaker model.",
        ),
        click.option("--low-memory", is_flag=True, help="About half the memory, but slower."),
    ],
)

CLASS = OptionGroup(
    CONTENT,
    [
        several(
            "--class",
            "classes",
            metavar="NAME...",
            help="Class names or numbers, one per image in turn; default: all classes.",
        )
    ],
)

NEW_PART = OptionGroup(
    CONTENT,
    [
        several(
            "--prompt",
            "prompts",
            metavar="TEXT...",
            help="Prompts of the new part, one per image in turn; default: none.",
        ),
        several(
            "--class",
            "classes",
            metavar="NAME...",
            help="The same for a class-conditional model: class names or numbers.",
        ),
    ],
)

COUNT = OptionGroup(
    CONTENT,
    [
        click.option(
            "-n",
            "--num-images",
            type=int,
            metavar="N",
            help="Number of images; default: one per prompt, class or seed.",
        ),
        several(
            "--seed",
            "seeds",
            type=int,
            metavar="N...",
            default=(0,),
            help="Random seed. One value: image i uses seed + i. Several: one per image.",
        ),
    ],
)

PRESET = OptionGroup(
    "Sampling",
    [
        click.option(
            "--preset",
            metavar="NAME",
            help="Named settings of the model to start from; see 'demask models show'.",
        )
    ],
)

SETTINGS = [option for group in settings_options() for option in group]
"""The options of all settings, each under the heading of its group."""

FOLDER = OptionGroup(
    OUTPUT,
    [
        path_option(
            "--out",
            file_okay=False,
            default="out",
            show_default=True,
            help="The folder to write to.",
        )
    ],
)


@dataclass(frozen=True)
class ModelChoice:
    """The values of the options of `MODEL`."""

    model: str
    tokenizer: str | None
    device: str | None
    dtype: str | None
    loras: tuple[str, ...]
    aux: tuple[str, ...]
    low_memory: bool

    def load(self, preset: str | None = None) -> Generator:
        """Load the generator, with weights of the preset's type unless ``--dtype`` is given.

        Raises:
            ValueError: no such model, device or preset, or a broken checkpoint.
        """
        from demask.assembly import load

        check_device(self.device)
        return load(
            self.model,
            tokenizer=self.tokenizer,
            device=self.device,
            dtype=self.dtype,
            loras=self.loras,
            aux=self.aux,
            low_memory=self.low_memory,
            preset=preset,
        )


def with_model(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options of `MODEL` to a command, which gets their values as one ``choice``."""
    names = [f.name for f in fields(ModelChoice)]

    @functools.wraps(command)
    def chosen(**options: Any) -> None:
        command(choice=ModelChoice(**{name: options.pop(name) for name in names}), **options)

    return add(MODEL)(chosen)


def add(*groups: Sequence[Callable[[F], F]]) -> Callable[[F], F]:
    """Add several groups of options to a command, in this order."""

    def decorate(function: F) -> F:
        for option in reversed([option for group in groups for option in group]):
            function = option(function)
        return function

    return decorate


def condition_inputs(
    prompts: Sequence[str], classes: Sequence[str], generator: Generator
) -> list[ConditionInput] | None:
    """The prompts and the classes, where ``--class cat,ship`` counts as two.

    Returns:
        Inputs that the model can parse; None if there are none.

    Raises:
        ValueError: an unknown class, or classes for a model of prompts.
    """
    if classes and not generator.class_names:
        raise ValueError(
            f"{generator.name} is a model of prompts and has no classes: leave --class out"
        )
    found: list[ConditionInput] = list(prompts)
    for text in classes:
        # a class name may contain a comma
        parts = [text] if text in generator.class_names else text.split(",")
        found += [part.strip() for part in parts if part.strip()]
    for condition_input in found:
        generator.conditioner.parse(condition_input)
    return found or None


def one_or_each(seeds: Sequence[int]) -> int | list[int]:
    """The seed of the first image, or the seeds of all images."""
    return seeds[0] if len(seeds) == 1 else list(seeds)
