"""`demask train shortcut`: a narrow block that stands in for the transformer in some steps."""

from __future__ import annotations

from pathlib import Path

import click

from demask.cli.command import Command
from demask.cli.generate import read_lines
from demask.cli.options import add
from demask.cli.train import CHANGES, MODEL, checkpoint_folder, parsed

SHORTCUT = [
    *MODEL,
    click.option(
        "--prompts",
        "file",
        type=click.Path(path_type=Path),
        help="A text file with a prompt per line, for a model of prompts: what to generate.",
    ),
    click.option(
        "--out",
        type=click.Path(path_type=Path, file_okay=False),
        help="The shortcut's folder; default: runs/, then the model's name.",
    ),
    CHANGES,
]


@click.command(cls=Command)
@add(SHORTCUT)
def shortcut(
    model: str,
    recipe: Path | None,
    file: Path | None,
    out: Path | None,
    overrides: tuple[str, ...],
) -> None:
    """Train a narrow block that stands in for the model in some of its steps.

    It learns from images that the model generates; no others are needed.
    """
    from demask.training.commands import train_shortcut
    from demask.training.recipes import ShortcutTraining

    training = parsed(ShortcutTraining, recipe, overrides)
    prompts = read_lines(file) if file else []
    click.echo(train_shortcut(training, model, out or checkpoint_folder(model), prompts))
