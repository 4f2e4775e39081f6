"""`demask train`: a command for each row of the table of trainings."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from demask.cli.command import Command, Group, Several
from demask.cli.generate import read_lines
from demask.training.engine.training import Training, TrainRecipe
from demask.training.tasks import TRAININGS

DATA_HELP = (
    "Images: a folder, parquet, web shards, hf:owner/name, scenes:SEED,COUNT or "
    "emoji:FOLDER,COPIES."
)
FOLDERS = {
    "folder": "runs/, then the name of the recipe's folder",
    "recipe": "runs/, then the name of the recipe",
    "model": "runs/, then the model's name",
}
FILE = click.Path(path_type=Path)


class Trainings(Group):
    """The commands of `TRAININGS`, including rows that are added at run time."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of the rows, with hyphens."""
        return [name.replace("_", "-") for name in TRAININGS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of a row; None if there is no such row."""
        name = cmd_name.replace("-", "_")
        return training_command(name, TRAININGS[name]) if name in TRAININGS else None


@click.group(cls=Trainings, no_args_is_help=False)
def train() -> None:
    """Train a model on images.

    The same command again resumes the training from its newest checkpoint.
    """


def training_command(name: str, training: Training) -> click.Command:
    """The command that runs a training."""

    def run(**options: Any) -> None:
        from demask.training.tasks import train as run_training

        start_log()
        recipe = read_recipe(training, options)
        out = options["out"] or default_folder(training, options)
        given = ("init", "model", "strict", "tokenizer")
        inputs = {key: options[key] for key in given if key in options}
        if options.get("prompts"):
            inputs["prompts"] = tuple(read_lines(options["prompts"]))
        path = run_training(name, recipe, out, **inputs)
        click.echo(path if training.result == "file" else path.parent)

    return Command(
        name.replace("_", "-"),
        callback=run,
        params=list(options_of(training)),
        help=training.help,
    )


def options_of(training: Training) -> Iterator[click.Option]:
    """The options of a training, from its row of the table."""
    takes = training.inputs
    if "model" in takes:
        model = "The trained model to start from: a shipped one, a folder or a hub id."
        yield click.Option(["--model"], metavar="NAME|PATH", required=True, help=model)
    recipe = "The recipe, a TOML file" + ("; default: the defaults." if "model" in takes else ".")
    yield click.Option(["--recipe"], type=FILE, required="model" not in takes, help=recipe)
    if "data" in takes:
        yield click.Option(["--data"], metavar="PATH", help=DATA_HELP)
        held_out = f"Other images for the held-out scores; default: {training.held_out}."
        yield click.Option(["--held-out"], metavar="PATH", help=held_out)
    if "prompts" in takes:
        prompts = (
            "A text file with one prompt per line, for a model of prompts: it is trained on their "
            "images."
        )
        yield click.Option(["--prompts"], type=FILE, help=prompts)
    folder = FOLDERS.get(training.folder or "")
    yield click.Option(
        ["--out"],
        type=click.Path(path_type=Path, file_okay=False),
        required=folder is None,
        help="The folder of the run" + (f"; default: {folder}." if folder else "."),
    )
    overrides = "Change keys of the recipe, such as run.steps=100."
    yield Several(["--set", "overrides"], metavar="KEY=VALUE...", help=overrides)
    if "init" in takes:
        init = "A checkpoint or hub id with the initial weights; default: random weights."
        yield click.Option(["--init"], metavar="PATH", help=init)
    if "data" in takes:
        strict = "Stop at an unreadable image, which is skipped otherwise."
        yield click.Option(["--strict"], is_flag=True, help=strict)
    if "tokenizer" in takes:
        tokenizer = "The tokenizer's checkpoint; default: the one in the folder of the run."
        yield click.Option(["--tokenizer"], type=FILE, help=tokenizer)


def read_recipe(training: Training, options: Mapping[str, Any]) -> TrainRecipe:
    """The recipe of a file, changed by the options ``--set``, ``--data`` and ``--held-out``.

    Raises:
        ValueError: the file or a change is invalid.
    """
    from demask.config import load_toml, override, parse

    path = options["recipe"]
    tables = override(load_toml(path) if path else {}, options["overrides"])
    recipe: Any = parse(training.recipe(), tables, path or "--set")
    if "data" not in training.inputs:
        return recipe
    data = replace(
        recipe.data,
        pictures=options["data"] or recipe.data.pictures,
        held_out=options["held_out"] or recipe.data.held_out,
    )
    return replace(recipe, data=data)


def default_folder(training: Training, options: Mapping[str, Any]) -> Path:
    """The folder of a run without ``--out``; see `Training.folder`."""
    if training.folder == "model":
        place = Path(options["model"]).resolve()
        return Path("runs") / (place.parent if place.is_file() else place).name
    recipe: Path = options["recipe"].resolve()
    return Path("runs") / (recipe.stem if training.folder == "recipe" else recipe.parent.name)


def start_log() -> None:
    """Print the log of Demask on stderr: in columns on a terminal, else with the time."""
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
