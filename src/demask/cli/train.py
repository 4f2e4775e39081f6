"""`demask train`: a tokenizer, a masked transformer on its tokens, or adapters of a whole model."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, TypeVar, Unpack

import click

from demask.cli.command import Group, Several
from demask.cli.options import add

if TYPE_CHECKING:
    from demask.training.recipes import (
        ClassifierTraining,
        LoraTraining,
        MaskedTraining,
        ScorerTraining,
        SelfGuidanceTraining,
        TokenCriticTraining,
        TokenizerTraining,
    )

P = TypeVar("P")
R = TypeVar(
    "R",
    "ClassifierTraining",
    "LoraTraining",
    "MaskedTraining",
    "ScorerTraining",
    "SelfGuidanceTraining",
    "TokenCriticTraining",
    "TokenizerTraining",
)


class TrainOptions(TypedDict):
    """What every training is told: its recipe, and what the command line changes in it."""

    recipe: Path | None
    data: str | None
    held_out: str | None
    overrides: tuple[str, ...]


DATA = click.option(
    "--data",
    metavar="PATH",
    help="Images: a folder, parquet, web shards, hf:owner/name, scenes:SEED,COUNT or "
    "emoji:FOLDER,COPIES.",
)

CHANGES = click.option(
    "--set",
    "overrides",
    cls=Several,
    metavar="KEY=VALUE...",
    help="Change keys of the recipe, such as run.steps=100.",
)

STRICT = click.option(
    "--strict", is_flag=True, help="An unreadable image is an error, not skipped."
)

INIT = click.option(
    "--init", metavar="PATH", help="A checkpoint to start from, to fine-tune it; or a hub id."
)

RUN = [
    click.option(
        "--recipe", type=click.Path(path_type=Path), required=True, help="What to train: a file."
    ),
    DATA,
    click.option(
        "--held-out", metavar="PATH", help="Others to measure on; default: a part of --data."
    ),
    click.option(
        "--out",
        type=click.Path(path_type=Path, file_okay=False),
        help="The model's folder; default: runs/, then the name of the recipe's folder.",
    ),
    CHANGES,
    INIT,
    STRICT,
]

ALONE = [option for option in RUN if option is not INIT]

LORA = [
    click.option(
        "--model",
        metavar="NAME|PATH",
        required=True,
        help="The model to adapt: a shipped one, a folder that training wrote or a hub id.",
    ),
    click.option(
        "--recipe",
        type=click.Path(path_type=Path),
        help="How to train: a file; default: what suits a few images.",
    ),
    DATA,
    click.option(
        "--held-out", metavar="PATH", help="Others to measure on; default: those of --data."
    ),
    click.option(
        "--out",
        type=click.Path(path_type=Path, file_okay=False),
        required=True,
        help="The adapters' folder, for --lora.",
    ),
    CHANGES,
    STRICT,
]

MODEL = [
    click.option(
        "--model",
        metavar="NAME|PATH",
        required=True,
        help="The model beside which it learns: a shipped one, a folder or a hub id.",
    ),
    click.option(
        "--recipe",
        type=click.Path(path_type=Path),
        help="How to train: a file; default: what suits a small model.",
    ),
]

BESIDE = [
    *MODEL,
    DATA,
    click.option(
        "--held-out", metavar="PATH", help="Others to measure on; default: a part of --data."
    ),
    click.option(
        "--out",
        type=click.Path(path_type=Path, file_okay=False),
        help="The new network's folder; default: runs/, then the model's name.",
    ),
    CHANGES,
    STRICT,
]


@click.group(cls=Group, no_args_is_help=False)
def train() -> None:
    """Train a model on images.

    The same command again goes on where it stopped.
    """


@train.command()
@add(RUN)
def tokenizer(
    out: Path | None, init: str | None, strict: bool, **options: Unpack[TrainOptions]
) -> None:
    """Train pixels <-> tokens."""
    from demask.training.commands import train_tokenizer
    from demask.training.recipes import TokenizerTraining

    training = read_recipe(TokenizerTraining, options)
    click.echo(train_tokenizer(training, out or run_folder(options), strict, init))


@train.command()
@add(RUN)
@click.option(
    "--tokenizer",
    type=click.Path(path_type=Path),
    help="Its checkpoint; default: the one in the model's folder.",
)
def masked(
    out: Path | None,
    init: str | None,
    strict: bool,
    tokenizer: Path | None,
    **options: Unpack[TrainOptions],
) -> None:
    """Train a masked transformer on the tokens of a trained tokenizer."""
    from demask.training.commands import train_masked
    from demask.training.recipes import MaskedTraining

    training = read_recipe(MaskedTraining, options)
    click.echo(train_masked(training, out or run_folder(options), strict, init, tokenizer))


@train.command()
@add(LORA)
def lora(model: str, out: Path, strict: bool, **options: Unpack[TrainOptions]) -> None:
    """Teach a model of prompts something new from a few captioned images."""
    from demask.training.commands import train_lora
    from demask.training.recipes import LoraTraining

    training = read_recipe(LoraTraining, options)
    click.echo(train_lora(training, model, out, strict).parent)


@train.command()
@add(ALONE)
def classifier(out: Path | None, strict: bool, **options: Unpack[TrainOptions]) -> None:
    """Train a small network that 'demask evaluate' measures with."""
    from demask.training.commands import train_classifier
    from demask.training.recipes import ClassifierTraining

    training = read_recipe(ClassifierTraining, options)
    click.echo(train_classifier(training, out or recipe_folder(options), strict))


@train.command()
@add(ALONE)
def scorer(out: Path | None, strict: bool, **options: Unpack[TrainOptions]) -> None:
    """Train a small network that 'demask compare' judges images of words with."""
    from demask.training.commands import train_scorer
    from demask.training.recipes import ScorerTraining

    training = read_recipe(ScorerTraining, options)
    click.echo(train_scorer(training, out or recipe_folder(options), strict))


@train.command("self-guidance")
@add(BESIDE)
def self_guidance(
    model: str, out: Path | None, strict: bool, **options: Unpack[TrainOptions]
) -> None:
    """Train the module that lets a model guide itself."""
    from demask.training.commands import train_self_guidance
    from demask.training.recipes import SelfGuidanceTraining

    training = read_recipe(SelfGuidanceTraining, options)
    click.echo(train_self_guidance(training, model, out or checkpoint_folder(model), strict))


@train.command("token-critic")
@add(BESIDE)
def token_critic(
    model: str, out: Path | None, strict: bool, **options: Unpack[TrainOptions]
) -> None:
    """Train a second network that tells real tokens from a model's guesses."""
    from demask.training.commands import train_token_critic
    from demask.training.recipes import TokenCriticTraining

    training = read_recipe(TokenCriticTraining, options)
    click.echo(train_token_critic(training, model, out or checkpoint_folder(model), strict))


def read_recipe(kind: type[R], options: TrainOptions) -> R:
    """`parsed`, with the images that the command line names.

    Raises:
        ValueError: the file or a change cannot be used.
    """
    training = parsed(kind, options["recipe"], options["overrides"])
    source = training.data
    source = replace(
        source,
        pictures=options["data"] or source.pictures,
        held_out=options["held_out"] or source.held_out,
    )
    return replace(training, data=source)


def parsed(kind: type[P], recipe: Path | None, overrides: tuple[str, ...]) -> P:
    """What a recipe file says, or nothing does, with what the command line changes.

    It also begins to show what Demask logs, since a training begins.

    Raises:
        ValueError: the file or a change cannot be used.
    """
    from demask.config import load_toml, override, parse

    start_log()
    written = load_toml(recipe) if recipe else {}
    return parse(kind, override(written, overrides), recipe or "--set")


def run_folder(options: TrainOptions) -> Path:
    """Where a run goes that was given no folder: the recipes of one model share it."""
    assert options["recipe"] is not None, "the option is required"
    return Path("runs") / options["recipe"].resolve().parent.name


def recipe_folder(options: TrainOptions) -> Path:
    """Where a network of its own goes that was given no folder."""
    assert options["recipe"] is not None, "the option is required"
    return Path("runs") / options["recipe"].stem


def checkpoint_folder(model: str) -> Path:
    """Where a network beside a model goes that was given no folder."""
    place = Path(model).resolve()
    return Path("runs") / (place.parent if place.is_file() else place).name


def start_log() -> None:
    """Show what Demask logs: in columns at a terminal, as plain lines elsewhere."""
    from rich.console import Console
    from rich.logging import RichHandler

    console = Console(stderr=True)
    handler: logging.Handler
    if console.is_terminal:
        handler = RichHandler(console=console, show_path=False, show_level=False)
        form = "%(message)s"
    else:
        handler, form = logging.StreamHandler(), "%(asctime)s %(message)s"
    logging.basicConfig(level=logging.WARNING, format=form, datefmt="%X", handlers=[handler])
    logging.getLogger("demask").setLevel(logging.INFO)
