"""`demask compare`: win rates of settings over a base, by a scorer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from demask.cli.command import Command, OptionGroup, number, path_option, several
from demask.cli.generate import read_lines
from demask.cli.options import CONTENT, ModelChoice, add, with_model
from demask.cli.progress import counting
from demask.device import check_device

if TYPE_CHECKING:
    from demask.sweeps.comparison import Comparison

CSV = "results.csv"

WHAT = OptionGroup(
    CONTENT,
    [
        path_option(
            "--prompts", "file", required=True, help="A text file with one prompt per line."
        ),
        several(
            "--variant",
            "variants",
            metavar="'NAME: SETTING=VALUE ...'...",
            required=True,
            help="The base, then variants of it, such as 'more: steps=16' or 'NAME: preset=NAME'.",
        ),
        number("--num-seeds", default=4, help="Images of each prompt."),
        number("--seed", default=0, help="Random seed: image i uses seed + i."),
        number("--batch-size", default=64, help="Images generated together."),
    ],
)

JUDGE = OptionGroup(
    "Scores",
    [
        several(
            "--scorer",
            "scorers",
            metavar="NAME...",
            default=("emoji_pairs",),
            help="Scorers; also hps_v2:..., pick_score:..., clip_score:... from local files.",
        ),
        click.option(
            "--control",
            is_flag=True,
            help="Also score the base's images with other prompts, which must lose.",
        ),
        number("--resamples", default=2000, help="Resamples of the prompts, for the intervals."),
    ],
)

OUT = OptionGroup(
    "Output",
    [
        click.option(
            "--gallery",
            type=int,
            default=0,
            metavar="N",
            help="Also write gallery.png: images of the first N prompts, a row per variant.",
        ),
        path_option(
            "--out",
            file_okay=False,
            required=True,
            help="The folder of the results; the same command again measures what is missing.",
        ),
    ],
)


@click.command(cls=Command)
@add(WHAT, JUDGE, OUT)
@with_model
def compare(
    file: Path,
    variants: tuple[str, ...],
    gallery: int,
    out: Path,
    choice: ModelChoice,
    **options: Any,
) -> None:
    """Compare settings of a model of prompts: win rates against the first of them.

    All variants generate the same prompts with the same seeds; the image with the higher score
    wins. An interrupted comparison continues where it stopped.
    """
    from demask.cli.figure import read_variant
    from demask.measuring.compare import open_comparison, run_comparison
    from demask.sweeps.compare import TABLE

    prompts = read_lines(file)
    rows = [read_variant(text) for text in variants]
    if gallery < 0:
        raise ValueError(f"--gallery must be at least 0, not {gallery}")
    check_device(choice.device)
    comparison = open_comparison(choice.load(), rows, prompts, device=choice.device, **options)
    run_comparison(comparison, out, counting).write(out / CSV)
    click.echo((out / TABLE).read_text(encoding="utf-8"), nl=False)
    click.echo(f"\n{out / TABLE}")
    if gallery:
        click.echo(draw(comparison, gallery, out))


def draw(comparison: Comparison, count: int, out: Path) -> Path:
    """Draw the images of the first prompts, a row per variant."""
    from demask.bulk.folder import write_png
    from demask.sweeps.compare import GALLERY
    from demask.sweeps.gallery import same_seeds

    prompts = list(comparison.prompts)[:count]
    image = same_seeds(
        comparison.generator, comparison.variants, prompts, len(prompts), comparison.first_seed
    )
    write_png(out / GALLERY, image)
    return out / GALLERY
