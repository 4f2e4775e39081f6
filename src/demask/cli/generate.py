"""`demask generate`: paint pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from demask.cli.command import Command
from demask.cli.options import CLASS, COUNT, MODEL, SETTINGS, add, load_generator, wishes

OUTPUT = [
    click.option("--batch-size", type=int, default=64, show_default=True, help="Painted together."),
    click.option(
        "--out",
        type=click.Path(path_type=Path),
        default="out",
        show_default=True,
        help="The folder, or the .npz file, to write.",
    ),
    click.option(
        "--format",
        "kind",
        type=click.Choice(["png", "npz"]),
        help="Default: npz if --out ends so, else png.",
    ),
    click.option("--trace", is_flag=True, help="Also write trace.gif, the tokens appearing."),
]


@click.command(cls=Command)
@add([CLASS], COUNT, OUTPUT, MODEL, SETTINGS)
def generate(
    classes: tuple[str, ...],
    num_images: int | None,
    seed: int,
    batch_size: int,
    out: Path,
    kind: str | None,
    trace: bool,
    model: str,
    tokenizer: str | None,
    device: str | None,
    dtype: str | None,
    **settings: Any,
) -> None:
    """Paint pictures.

    Writes a PNG each and a contact sheet, or one NPZ file for an evaluator.
    Settings that are not given are the model's own; see 'demask models show'.
    """
    kind = kind or ("npz" if out.suffix == ".npz" else "png")
    check_output(out, kind, trace)
    generator = load_generator(model, tokenizer, device, dtype)
    conditions = wishes(classes, generator)
    count = len(generator.wishes(conditions)) if num_images is None else num_images
    jobs = generator.jobs(conditions, count, seed, batch_size, **settings)

    from demask.bulk.folder import write_folder
    from demask.bulk.npz import write_npz
    from demask.bulk.paint import paint
    from demask.bulk.trace import Trace
    from demask.cli.progress import painting

    tracing = Trace(generator)
    with painting(count) as bar:
        watchers = [bar.watch, tracing] if trace else [bar.watch]
        pictures = bar.count(paint(generator, jobs, *watchers))
        if kind == "npz":
            write_npz(out, pictures, count)
        else:
            write_folder(out, pictures)
    if trace:
        tracing.write(out / "trace.gif")
    noun = "picture" if count == 1 else "pictures"
    click.echo(f"{count} {noun} in {out}")


def check_output(out: Path, kind: str, trace: bool) -> None:
    """Raise a ValueError, before any work, for an output that cannot be."""
    if kind == "npz" and trace:
        raise ValueError("--trace needs a folder; it cannot go with --format npz")
    if kind == "npz" and out.is_dir():
        raise ValueError(f"{out} is a folder; name an .npz file with --out")
    if kind == "png" and out.exists() and not out.is_dir():
        raise ValueError(f"{out} is a file; name a folder with --out")
