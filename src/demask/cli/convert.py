"""`demask convert`: checkpoints of other programs as safetensors files."""

from __future__ import annotations

from pathlib import Path

import click

from demask.cli.command import Command
from demask.cli.options import FOLDER, add


@click.command(cls=Command)
@click.argument("source", metavar="PATH|HUB_ID")
@click.option(
    "--kind",
    default="auto",
    metavar="NAME",
    show_default=True,
    help="auto (detected from the source), pytorch or jax_maskgit.",
)
@add(FOLDER)
def convert(source: str, kind: str, out: Path) -> None:
    """Write the checkpoint of another program as safetensors, one file per network.

    The source may be a file, a folder, a zip or a hub id 'owner/name'.
    Nothing in it is executed.
    """
    from demask.checkpoint.convert import convert as convert_checkpoint

    for path in convert_checkpoint(source, out, None if kind == "auto" else kind):
        click.echo(path)
