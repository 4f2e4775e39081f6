"""`demask evaluate`: compare images with real ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from demask.cli.command import Command, OptionGroup, number, path_option, several
from demask.cli.options import (
    CLASS,
    CONTENT,
    PRESET,
    SETTINGS,
    ModelChoice,
    add,
    condition_inputs,
    with_model,
)
from demask.cli.progress import counting
from demask.device import check_device

if TYPE_CHECKING:
    from demask.evaluation.metrics import Score

PICTURES = OptionGroup(
    "Images",
    [
        path_option(
            "--samples",
            help="Images to measure: an .npz file or a folder; or let --model generate them.",
        ),
        click.option(
            "--reference",
            metavar="PATH",
            help="Real images: a folder, parquet or .npz; required, except for --metric scenes.",
        ),
    ],
)

MEASURE = OptionGroup(
    "Measurement",
    [
        several(
            "--extractor",
            "extractors",
            metavar="NAME...",
            help="Networks such as inception:weights=PATH; default: cifar10_conv cifar10_patches.",
        ),
        several(
            "--metric",
            "metrics",
            metavar="NAME...",
            help="frechet, kid, ... or scenes; default: all that can be measured.",
        ),
        number("--resamples", default=30, help="Random halves for the intervals; 0: none."),
        path_option("--out", dir_okay=False, help="Also write a report: .json or .csv."),
        path_option(
            "--cache",
            file_okay=False,
            help="Folder of the reference's features; default: ~/.cache/demask.",
        ),
    ],
)

PAINT = OptionGroup(
    CONTENT,
    [
        number(
            "-n",
            "--num-images",
            metavar="N",
            default=1000,
            help="Number of images that the model generates.",
        ),
        several("--prompt", "prompts", metavar="TEXT...", help="Prompts, one per image in turn."),
        *CLASS,
        number("--batch-size", default=64, help="Images generated together."),
        number(
            "--seed", default=0, help="Random seed: image i uses seed + i; also for the intervals."
        ),
    ],
)


@click.command(cls=Command)
@add(PICTURES, MEASURE, PAINT)
@with_model
@add(PRESET, SETTINGS)
def evaluate(
    samples: Path | None,
    reference: str | None,
    metrics: tuple[str, ...],
    out: Path | None,
    prompts: tuple[str, ...],
    classes: tuple[str, ...],
    choice: ModelChoice,
    **options: Any,
) -> None:
    """Compare images, or those of a model, with real images.

    Fréchet and kernel distance, precision, recall, density, coverage, class score and accuracy,
    each with a 95 % interval and the name of the extractor. For scenes, --metric scenes: the
    fraction of correct images by an exact scorer, and diversity.
    """
    from demask.measuring.evaluate import SCENES
    from demask.measuring.evaluate import evaluate as run
    from demask.measuring.records import check_format
    from demask.measuring.samples import open_reference

    check_one_source(click.get_current_context(), samples)
    check_device(choice.device)
    if out is not None:
        check_format(out)
    if SCENES not in metrics:
        if reference is None:
            raise ValueError("name the real images to compare with: --reference PATH")
        open_reference(reference)
    given: dict[str, Any] = {"samples": samples}
    if samples is None:
        generator = choice.load(options.get("preset"))
        conditions = condition_inputs(prompts, classes, generator)
        given = {"samples": generator, "conditions": conditions}
    result = run(
        reference=reference,
        metrics=metrics,
        device=choice.device,
        progress=counting,
        **given,
        **{name: value for name, value in options.items() if value is not None},
    )
    of = f"against {result.reference['count']} real ones" if result.reference else "of scenes"
    show(f"{result.samples['count']} images {of}", result.scores)
    if out is not None:
        result.write(out)


def check_one_source(context: click.Context, samples: Path | None) -> None:
    """Raise a ValueError unless there are samples or a model, and not both."""
    generated = context.get_parameter_source("model") is not ParameterSource.DEFAULT
    if generated and samples:
        raise ValueError("--samples and --model both name images to measure; leave one out")
    if not generated and not samples:
        raise ValueError("no images to measure: name them with --samples, or a --model")


def show(title: str, scores: Sequence[Score]) -> None:
    """Print a table of scores on stdout."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    table.add_column("measured")
    for column in ("value", "95 % interval"):
        table.add_column(column, justify="right")
    table.add_column("best")
    for score in scores:
        interval = "" if score.low is None else f"{score.low:.4g} to {score.high:.4g}"
        table.add_row(score.name, f"{score.value:.4g}", interval, score.best)
    Console().print(table)
