"""`demask train`: a tokenizer, a masked transformer on its tokens, or adapters of a whole model."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from demask.cli.command import Group, Several
from demask.cli.options import add

if TYPE_CHECKING:
    from demask.training.commands import (
        ClassifierTraining,
        LoraTraining,
        MaskedTraining,
        ScorerTraining,
        SelfGuidanceTraining,
        TokenCriticTraining,
        TokenizerTraining,
    )

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

DATA = click.option(
    "--data", metavar="PATH", help="Pictures: a folder, parquet, web shards or hf:owner/name."
)

CHANGES = click.option(
    "--set",
    "overrides",
    cls=Several,
    metavar="KEY=VALUE...",
    help="Change keys of the recipe, such as run.steps=100.",
)

STRICT = click.option(
    "--strict", is_flag=True, help="An unreadable picture is an error, not skipped."
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
        help="How to train: a file; default: what suits a few pictures.",
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

SELF_GUIDANCE = [
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
    """Train a model on pictures.

    The same command again goes on where it stopped.
    """


@train.command()
@add(RUN)
def tokenizer(
    recipe: Path,
    data: str | None,
    held_out: str | None,
    out: Path | None,
    overrides: tuple[str, ...],
    init: str | None,
    strict: bool,
) -> None:
    """Train pixels <-> tokens."""
    from demask.training.commands import TokenizerTraining, train_tokenizer

    start_log()
    training = read_recipe(TokenizerTraining, recipe, overrides, data, held_out)
    click.echo(train_tokenizer(training, out or run_folder(recipe), strict, init))


@train.command()
@add(RUN)
@click.option(
    "--tokenizer",
    type=click.Path(path_type=Path),
    help="Its checkpoint; default: the one in the model's folder.",
)
def masked(
    recipe: Path,
    data: str | None,
    held_out: str | None,
    out: Path | None,
    overrides: tuple[str, ...],
    init: str | None,
    strict: bool,
    tokenizer: Path | None,
) -> None:
    """Train a masked transformer on the tokens of a trained tokenizer."""
    from demask.training.commands import MaskedTraining, train_masked

    start_log()
    training = read_recipe(MaskedTraining, recipe, overrides, data, held_out)
    click.echo(train_masked(training, out or run_folder(recipe), strict, init, tokenizer))


@train.command()
@add(LORA)
def lora(
    model: str,
    recipe: Path | None,
    data: str | None,
    held_out: str | None,
    out: Path,
    overrides: tuple[str, ...],
    strict: bool,
) -> None:
    """Teach a model of prompts something new from a few captioned pictures."""
    from demask.training.commands import LoraTraining, train_lora

    start_log()
    training = read_recipe(LoraTraining, recipe, overrides, data, held_out)
    click.echo(train_lora(training, model, out, strict).parent)


@train.command()
@add([option for option in RUN if option is not INIT])
def classifier(
    recipe: Path,
    data: str | None,
    held_out: str | None,
    out: Path | None,
    overrides: tuple[str, ...],
    strict: bool,
) -> None:
    """Train a small network that 'demask evaluate' measures with."""
    from demask.training.commands import ClassifierTraining, train_classifier

    start_log()
    training = read_recipe(ClassifierTraining, recipe, overrides, data, held_out)
    click.echo(train_classifier(training, out or Path("runs") / recipe.stem, strict))


@train.command()
@add([option for option in RUN if option is not INIT])
def scorer(
    recipe: Path,
    data: str | None,
    held_out: str | None,
    out: Path | None,
    overrides: tuple[str, ...],
    strict: bool,
) -> None:
    """Train a small network that 'demask compare' judges pictures of words with."""
    from demask.training.commands import ScorerTraining, train_scorer

    start_log()
    training = read_recipe(ScorerTraining, recipe, overrides, data, held_out)
    click.echo(train_scorer(training, out or Path("runs") / recipe.stem, strict))


@train.command("self-guidance")
@add(SELF_GUIDANCE)
def self_guidance(
    model: str,
    recipe: Path | None,
    data: str | None,
    held_out: str | None,
    out: Path | None,
    overrides: tuple[str, ...],
    strict: bool,
) -> None:
    """Train the module that lets a model guide itself."""
    from demask.training.commands import SelfGuidanceTraining, train_self_guidance

    start_log()
    training = read_recipe(SelfGuidanceTraining, recipe, overrides, data, held_out)
    click.echo(train_self_guidance(training, model, out or folder_of(model), strict))


@train.command("token-critic")
@add(SELF_GUIDANCE)
def token_critic(
    model: str,
    recipe: Path | None,
    data: str | None,
    held_out: str | None,
    out: Path | None,
    overrides: tuple[str, ...],
    strict: bool,
) -> None:
    """Train a second network that tells real tokens from a model's guesses."""
    from demask.training.commands import TokenCriticTraining, train_token_critic

    start_log()
    training = read_recipe(TokenCriticTraining, recipe, overrides, data, held_out)
    click.echo(train_token_critic(training, model, out or folder_of(model), strict))


def read_recipe(
    kind: type[R],
    recipe: Path | None,
    overrides: tuple[str, ...],
    data: str | None,
    held_out: str | None,
) -> R:
    """What a recipe file says, or nothing does, with what the command line changes.

    Raises:
        ValueError: the file or a change cannot be used.
    """
    from demask.config import load_toml, override, parse

    written = load_toml(recipe) if recipe else {}
    training = parse(kind, override(written, overrides), recipe or "--set")
    source = training.data
    source = replace(source, pictures=data or source.pictures, held_out=held_out or source.held_out)
    return replace(training, data=source)


def run_folder(recipe: Path) -> Path:
    """Where a run goes that was given no folder: the recipes of one model share it."""
    return Path("runs") / recipe.resolve().parent.name


def folder_of(model: str) -> Path:
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
