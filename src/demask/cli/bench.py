"""`demask bench`: the cost of settings, and which are on the Pareto front."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from demask.cli.command import Command, OptionGroup
from demask.cli.options import ModelChoice, add, with_model
from demask.cli.sweep import MEASURE, OUT, RECIPE, open_runner, read_recipe
from demask.cli.tune import PRESETS, presets_of

if TYPE_CHECKING:
    from demask.sweeps.front import Front

QUALITY = ("frechet", "retrieval", "kid", "precision")
TABLE, PLOT = "front.md", "front.png"

FRONT = OptionGroup(
    "Front",
    [
        click.option(
            "--front",
            is_flag=True,
            help="Also measure quality, and mark the points on the Pareto front.",
        ),
        click.option(
            "--save", "name", metavar="NAME", help="Save --point as a preset of this name."
        ),
        click.option(
            "--point", metavar="LABEL", help="A point of the front, by its label in the table."
        ),
        PRESETS,
    ],
)


@click.command(cls=Command)
@add(FRONT, RECIPE, MEASURE, OUT)
@with_model
def bench(
    front: bool,
    name: str | None,
    point: str | None,
    file: Path | None,
    recipe: Path,
    overrides: tuple[str, ...],
    only: tuple[str, ...],
    reference: str | None,
    extractors: tuple[str, ...],
    out: Path,
    plot_only: bool,
    choice: ModelChoice,
) -> None:
    """Measure the cost of an image under the settings of a recipe: forward passes and time.

    Each trial is measured once; an interrupted benchmark continues where it stopped. A few images
    are generated before the time is measured.
    """
    from demask.preset_file import check_name

    if (name is None) != (point is None) or (name and not front):
        raise ValueError("a preset is saved with all of --front, --save NAME and --point LABEL")
    if name is not None:
        check_name(name)
    plan = replace(read_recipe(recipe, overrides).only(only), final=None)
    if not plot_only:
        from demask.cli.sweep_progress import shown
        from demask.sweeps.sweep import sweep as run

        real = reference if front else None
        runner, generator = open_runner(choice, plan.measure, real, extractors, out, quality=front)
        with shown() as progress:
            run(runner, plan, generator.presets, progress)
    if not front:
        click.echo(out / "table.md")
        return
    found, lines = draw(out), [str(out / TABLE), str(out / PLOT)]
    if name is not None and point is not None:
        lines.append(save(found, name, point, file or presets_of(choice.model, out)))
    click.echo("\n".join(lines))


def draw(out: Path) -> Front:
    """The front of all results in a folder; writes its table and its plot there.

    Raises:
        ValueError: the folder has no results, or no metric of quality was measured.
    """
    from demask.files import write_text
    from demask.sweeps.curves import first_of, points_of
    from demask.sweeps.front import Front, front_table
    from demask.sweeps.front_plot import draw_front
    from demask.sweeps.result import read_rows

    results = read_rows(out)
    metric = first_of(QUALITY, results)
    if metric is None:
        raise ValueError(f"a front needs one of {', '.join(QUALITY)} in the recipe's metrics")
    front = Front.of(points_of(results), metric)
    write_text(out / TABLE, front_table(front))
    draw_front(front, out / PLOT)
    return front


def save(front: Front, name: str, label: str, target: Path) -> str:
    """Save a point of the front as a preset; return a line about it."""
    from demask.preset_file import read_presets, write_presets

    preset = front.to_preset(label)
    write_presets(target, read_presets(target).with_preset(name, preset))
    return f"preset '{name}' in {target}"
