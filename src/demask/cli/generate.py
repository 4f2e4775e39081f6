"""`demask generate`: generate images."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from demask.cli.command import Command, OptionGroup, number, path_option
from demask.cli.geneval import generate_geneval
from demask.cli.options import (
    CLASS,
    CONTENT,
    COUNT,
    PRESET,
    SETTINGS,
    ModelChoice,
    add,
    condition_inputs,
    one_or_each,
    with_model,
)

if TYPE_CHECKING:
    from demask.bulk.resume import BulkRun
    from demask.conditioning import ConditionInput
    from demask.generator import Generator
    from demask.image import GeneratedImage
    from demask.jobs import Job

PROMPTS = OptionGroup(
    CONTENT,
    [
        path_option(
            "--prompts",
            "file",
            help="A text file with one prompt per line, in addition to those given here.",
        ),
        click.option(
            "--unconditional",
            is_flag=True,
            help="Generate without a prompt, by a model of prompts.",
        ),
    ],
)

OUTPUT = OptionGroup(
    "Output",
    [
        number("--batch-size", default=64, help="Images generated together."),
        path_option(
            "--out",
            default="out",
            show_default=True,
            help="The folder, or the .npz file, to write.",
        ),
        click.option(
            "--format",
            "kind",
            type=click.Choice(["png", "npz", "tar", "parquet", "geneval"]),
            help="Default: npz if --out ends in .npz, else png. geneval: -n images per prompt.",
        ),
        number("--shard-size", default=1000, help="Images per tar or parquet file, or NPZ part."),
        click.option(
            "--overwrite",
            is_flag=True,
            help="Replace images of other settings; by default they are refused.",
        ),
        click.option("--trace", is_flag=True, help="Also write trace.gif, animating the steps."),
    ],
)


@click.command(cls=Command)
@click.argument("prompts", nargs=-1, metavar="[PROMPT]...")
@add(PROMPTS, CLASS, COUNT, OUTPUT)
@with_model
@add(PRESET, SETTINGS)
def generate(
    prompts: tuple[str, ...],
    file: Path | None,
    unconditional: bool,
    classes: tuple[str, ...],
    num_images: int | None,
    seeds: tuple[int, ...],
    batch_size: int,
    out: Path,
    kind: str | None,
    shard_size: int,
    overwrite: bool,
    trace: bool,
    choice: ModelChoice,
    **settings: Any,
) -> None:
    """Generate images of prompts or of classes.

    Writes one PNG per image and a contact sheet, one NPZ file for an evaluator, tar or parquet
    files, or the folders of GenEval. A stopped command goes on when it is run again. Settings that
    are not given have the model's defaults; see 'demask models show'.
    """
    kind = kind or ("npz" if out.suffix == ".npz" else "png")
    check_output(out, kind, trace)
    if kind == "geneval":
        if prompts or classes:
            raise ValueError("--format geneval takes its prompts from --prompts alone")
        words: dict[str, Any] = {
            "file": file,
            "each": num_images,
            "seeds": seeds,
            "batch_size": batch_size,
        }
        click.echo(generate_geneval(choice, **words, out=out, settings=settings))
        return
    texts = [*prompts, *(read_lines(file) if file else ())]
    generator = choice.load(settings.get("preset"))
    given = condition_inputs(texts, classes, generator)
    check_prompts(generator, texts, unconditional=unconditional)
    request = {"num_images": num_images, "seed": one_or_each(seeds), "batch_size": batch_size}
    output = {"out": out, "kind": kind, "shard_size": shard_size, "overwrite": overwrite}
    run = prepare(generator, given, {**request, **settings}, output)
    write_images(generator, run, trace=trace)
    click.echo(f"{run.count:,} {'image' if run.count == 1 else 'images'} in {out}")


def prepare(
    generator: Generator,
    given: list[ConditionInput] | None,
    request: dict[str, Any],
    output: dict[str, Any],
) -> BulkRun:
    """The run of a request, which is checked; the output holds arguments of `run_of`."""
    from demask.bulk.resume import run_of

    conditions = generator.conditioner.condition_inputs(given)
    words = [generator.conditioner.parse(condition).prompt for condition in conditions]
    seeds = generator.seeds(request["seed"], len(conditions), request["num_images"])
    jobs = generator.jobs(conditions, **request)
    return run_of(generator, words, jobs, seeds, batch_size=request["batch_size"], **output)


def check_prompts(generator: Generator, texts: list[str], *, unconditional: bool) -> None:
    """Refuse to generate without a prompt, unless that is asked for.

    Raises:
        ValueError: no prompt or an empty one without ``unconditional``, or a prompt with it.
    """
    if unconditional and (texts or generator.class_names):
        raise ValueError("--unconditional is for a model of prompts, without any prompt")
    if generator.class_names or unconditional:
        return
    if not texts or not all(text.strip() for text in texts):
        raise ValueError(
            f"{generator.name} is a model of prompts: give one, such as 'red apple', or "
            "--unconditional"
        )


def write_images(generator: Generator, run: BulkRun, *, trace: bool) -> None:
    """Generate the missing images of a run, and write them as they are finished."""
    from demask.bulk.generate import generate_jobs
    from demask.bulk.trace import Trace
    from demask.cli.progress import generating

    tracing = Trace(generator)
    with generating(run.count) as bar:
        watchers = [bar.watch, tracing] if trace else [bar.watch]

        def generated(jobs: Iterator[Job]) -> Iterator[GeneratedImage]:
            bar.done = run.written()
            return bar.count(generate_jobs(generator, jobs, *watchers))

        try:
            run.write(generated)
        except KeyboardInterrupt:
            done = f"{run.written():,} of {run.count:,} images in {run.out}"
            click.echo(f"stopped, {done}; run the same command to go on", err=True)
            raise
    if trace and not tracing.frames:
        raise ValueError(
            f"{run.out} holds all images, none was left for --trace; name another --out"
        )
    if trace:
        tracing.write(run.out / "trace.gif")


def read_lines(path: Path) -> list[str]:
    """The non-empty lines of a text file.

    Raises:
        OSError: no such file.
        ValueError: it is not UTF-8 text, or has no line.
    """
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text") from error
    found = [line for line in lines if line]
    if not found:
        raise ValueError(f"{path} has no prompts")
    return found


def check_output(out: Path, kind: str, trace: bool) -> None:
    """Raise a ValueError for an output that cannot be written, before any work is done."""
    if kind != "png" and trace:
        raise ValueError(f"--trace needs a folder; it cannot be used with --format {kind}")
    if kind == "parquet":
        from demask.data.parquet import import_pyarrow

        import_pyarrow()
    if kind == "npz" and out.is_dir():
        raise ValueError(f"{out} is a folder; name an .npz file with --out")
    if kind != "npz" and out.exists() and not out.is_dir():
        raise ValueError(f"{out} is a file; name a folder with --out")
