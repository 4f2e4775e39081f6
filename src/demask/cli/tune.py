"""`demask tune`: search the schedules of a model for a number of steps, and save what is best."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from demask.cli.command import Command, OptionGroup, Several
from demask.cli.options import PRESET, SETTINGS, ModelChoice, add, with_model
from demask.cli.sweep import MEASURE, open_runner

if TYPE_CHECKING:
    from demask.sweeps.result import Result
    from demask.sweeps.tune import Tuned

SEARCH = OptionGroup(
    "Search",
    [
        click.option(
            "--budget", type=int, default=24, show_default=True, help="Evaluations of whole curves."
        ),
        click.option(
            "--refine",
            type=int,
            default=0,
            show_default=True,
            help="Evaluations after those, each step by itself.",
        ),
        click.option(
            "--search",
            "parts",
            cls=Several,
            metavar="PART...",
            help="schedule, choice_temperature, temperature, guidance_scale; default: all that "
            "the settings have.",
        ),
        click.option(
            "--metric",
            default="frechet",
            show_default=True,
            metavar="NAME",
            help="What to improve.",
        ),
        click.option(
            "--count", type=int, default=1000, show_default=True, help="Images of an evaluation."
        ),
        click.option(
            "--final-count",
            type=int,
            default=2000,
            show_default=True,
            help="Images on which the best few are measured again, of other seeds.",
        ),
        click.option(
            "--finalists", type=int, default=3, show_default=True, help="How many those are."
        ),
        click.option("--seed", type=int, default=0, show_default=True, help="Of the first image."),
        click.option(
            "--batch-size", type=int, default=100, show_default=True, help="Generated together."
        ),
    ],
)

PRESETS = click.option(
    "--presets",
    "file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The file to save to; default: presets.toml in the model's folder, or in --out"
    " for a model that ships with Demask.",
)

SAVE = OptionGroup(
    "Output",
    [
        click.option(
            "--save", "name", metavar="NAME", required=True, help="The preset that it is to be."
        ),
        click.option("--default", is_flag=True, help="It is to be the model's default, too."),
        PRESETS,
        click.option(
            "--out",
            type=click.Path(path_type=Path, file_okay=False),
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
    budget: int,
    refine: int,
    parts: tuple[str, ...],
    metric: str,
    count: int,
    final_count: int,
    finalists: int,
    seed: int,
    batch_size: int,
    name: str,
    default: bool,
    file: Path | None,
    out: Path | None,
    choice: ModelChoice,
    **settings: Any,
) -> None:
    """Search mask schedule, temperatures and guidance for a number of steps.

    Begins at the model's settings, with those changed that are given. An interrupted search goes
    on where it stopped. The best few are measured again with other seeds; the winner is saved.
    """
    from demask.cli.sweep_progress import shown
    from demask.preset_file import check_name, read_presets, write_presets
    from demask.sweeps.recipe import Measuring
    from demask.sweeps.tune import Tuning
    from demask.sweeps.tune import tune as run

    check_name(name)
    folder = out or Path("runs/tune") / name
    target = file or presets_of(choice.model, folder)
    tuning = Tuning(
        budget, refine, count, seed, metric, parts, finalists, final_count, seed + 2_000_000
    )
    measure = Measuring(count=count, batch_size=batch_size)
    runner, generator = open_runner(choice, measure, reference, extractors, folder)
    read_presets(target)  # a broken file is found before the search
    with shown() as progress:
        tuned = run(runner, generator.chosen(**settings), tuning, progress)
    presets = read_presets(target)  # which may have become more meanwhile
    write_presets(target, presets.with_preset(name, tuned.to_preset(), default=default))
    for line in report(tuned, metric):
        click.echo(line)
    click.echo(f"preset '{name}' in {target}")


def presets_of(model: str, folder: Path) -> Path:
    """Where a model's presets are saved: beside its weights, unless those ship with Demask."""
    from demask.preset_file import FILE
    from demask.presets import SHIPPED_MODELS, model_folder

    beside = model_folder(model)
    shared = model in SHIPPED_MODELS or not beside.is_dir()
    return (folder if shared else beside) / FILE


def report(tuned: Tuned, metric: str) -> list[str]:
    """The finalists, from the best on, and what became of the start."""
    from demask.sweeps.table import number

    def line(result: Result) -> str:
        found = [v for v in result.values if v.metric == metric]
        mark = "start" if result is tuned.start else "tuned"
        return f"{mark}: " + ", ".join(f"{metric} {number(v)} [{v.extractor}]" for v in found)

    return [line(result) for result in tuned.finalists]
