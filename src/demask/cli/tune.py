"""`demask tune`: search the schedules of a model for a number of steps; save the best."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from demask.cli.command import Command, OptionGroup, number, path_option, several
from demask.cli.options import PRESET, SETTINGS, ModelChoice, add, with_model
from demask.cli.sweep import MEASURE, open_runner

if TYPE_CHECKING:
    from demask.sweeps.result import Result
    from demask.sweeps.tune import Tuned

SEARCH = OptionGroup(
    "Search",
    [
        number("--budget", default=24, help="Evaluations of parametric curves."),
        number(
            "--refine",
            default=0,
            help="Further evaluations, with separate values for each step.",
        ),
        several(
            "--search",
            "parts",
            metavar="PART...",
            help=(
                "schedule, choice_temperature, temperature, guidance_scale; default: all that "
                "the settings have."
            ),
        ),
        click.option(
            "--metric",
            default="frechet",
            show_default=True,
            metavar="NAME",
            help="The metric to improve.",
        ),
        number("--count", default=1000, help="Images per evaluation."),
        number(
            "--final-count",
            default=2000,
            help="Images, of other seeds, for the second measurement of the finalists.",
        ),
        number("--finalists", default=3, help="Number of finalists."),
        number("--seed", default=0, help="Random seed: image i uses seed + i."),
        number("--batch-size", default=100, help="Images generated together."),
    ],
)

PRESETS = path_option(
    "--presets",
    "file",
    dir_okay=False,
    help=(
        "The file to save to; default: presets.toml in the model's folder, or in --out"
        " for a model that ships with Demask."
    ),
)

SAVE = OptionGroup(
    "Output",
    [
        click.option(
            "--save", "name", metavar="NAME", required=True, help="Name of the preset to save."
        ),
        click.option("--default", is_flag=True, help="Also make it the default of the model."),
        PRESETS,
        path_option(
            "--out",
            file_okay=False,
            help="The folder of the search; default: runs/tune/, then the preset's name.",
        ),
    ],
)


@click.command(cls=Command)
@add(MEASURE, SEARCH, SAVE)
@with_model
@add(PRESET, SETTINGS)
def tune(
    reference: str | None,
    extractors: tuple[str, ...],
    batch_size: int,
    name: str,
    default: bool,
    file: Path | None,
    out: Path | None,
    choice: ModelChoice,
    **options: Any,
) -> None:
    """Search mask schedule, temperatures and guidance for a number of steps.

    The search starts at the settings of the model, changed by the given ones. An interrupted search
    continues where it stopped. The finalists are measured again with other seeds; the best is saved
    as a preset.
    """
    from demask.cli.sweep_progress import shown
    from demask.preset_file import check_name, read_presets, write_presets
    from demask.sweeps.recipe import Measuring
    from demask.sweeps.tune import Tuning
    from demask.sweeps.tune import tune as run

    check_name(name)
    folder = out or Path("runs/tune") / name
    target = file or presets_of(choice.model, folder)
    search = {f.name: options.pop(f.name) for f in fields(Tuning) if f.name in options}
    tuning = Tuning(**search, final_seed=search["seed"] + 2_000_000)
    measure = Measuring(count=tuning.count, batch_size=batch_size)
    runner, generator = open_runner(choice, measure, reference, extractors, folder)
    read_presets(target)  # report an invalid file before the search
    with shown() as progress:
        tuned = run(runner, generator.chosen(**options), tuning, progress)
    presets = read_presets(target)  # another program may have changed it meanwhile
    write_presets(target, presets.with_preset(name, tuned.to_preset(), default=default))
    for line in report(tuned, tuning.metric):
        click.echo(line)
    click.echo(f"preset '{name}' in {target}")


def presets_of(model: str, folder: Path) -> Path:
    """The file of a model's presets: in its folder, unless it ships with Demask."""
    from demask.preset_file import FILE
    from demask.presets import SHIPPED_MODELS, model_folder

    beside = model_folder(model)
    shared = model in SHIPPED_MODELS or not beside.is_dir()
    return (folder if shared else beside) / FILE


def report(tuned: Tuned, metric: str) -> list[str]:
    """A line for each finalist and for the start, best first."""
    from demask.sweeps.table import number

    def line(result: Result) -> str:
        found = [v for v in result.values if v.metric == metric]
        mark = "start" if result is tuned.start else "tuned"
        return f"{mark}: " + ", ".join(f"{metric} {number(v)} [{v.extractor}]" for v in found)

    return [line(result) for result in tuned.finalists]
