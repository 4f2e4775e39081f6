"""`demask evaluate`: measure images against real ones."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from demask.cli.command import Command, OptionGroup, Several
from demask.cli.options import (
    CLASS,
    CONTENT,
    PRESET,
    SETTINGS,
    ModelChoice,
    add,
    check_device,
    with_model,
)
from demask.cli.progress import counting

if TYPE_CHECKING:
    from demask.cli.measured import Samples
    from demask.evaluation.extractors import Extractor
    from demask.evaluation.metrics import Score

SHIPPED = ("cifar10_conv", "cifar10_patches")
SCENES = "scenes"
"""The metric that needs neither extractor nor reference."""

PICTURES = OptionGroup(
    "Images",
    [
        click.option(
            "--samples",
            type=click.Path(path_type=Path),
            help="The images to measure: an .npz file or a folder. Or let --model generate them.",
        ),
        click.option(
            "--reference",
            metavar="PATH",
            help="Real ones: a folder, parquet or .npz. Needed, but for the metric scenes.",
        ),
    ],
)

MEASURE = OptionGroup(
    "Measurement",
    [
        click.option(
            "--extractor",
            "extractors",
            cls=Several,
            metavar="NAME...",
            default=SHIPPED,
            show_default=True,
            help="Whose features; also inception:weights=PATH and clip:folder=PATH.",
        ),
        click.option(
            "--metric",
            "metrics",
            cls=Several,
            metavar="NAME...",
            help="frechet, kid, ... or scenes; default: all that can be measured.",
        ),
        click.option(
            "--resamples",
            type=int,
            default=30,
            show_default=True,
            help="Random halves for the intervals; 0: none.",
        ),
        click.option(
            "--out",
            type=click.Path(path_type=Path, dir_okay=False),
            help="Also a report: a JSON file.",
        ),
        click.option(
            "--cache",
            type=click.Path(path_type=Path, file_okay=False),
            help="Where a reference's features are kept; default: ~/.cache/demask.",
        ),
    ],
)

PAINT = OptionGroup(
    CONTENT,
    [
        click.option(
            "-n",
            "--num-images",
            type=int,
            metavar="N",
            default=1000,
            show_default=True,
            help="How many the model generates.",
        ),
        click.option(
            "--prompt",
            "prompts",
            cls=Several,
            metavar="TEXT...",
            help="What a model of prompts generates, in turn.",
        ),
        *CLASS,
        click.option(
            "--batch-size", type=int, default=64, show_default=True, help="Generated together."
        ),
        click.option(
            "--seed",
            type=int,
            default=0,
            show_default=True,
            help="Of the first image generated, the next ones count on; and of the halves.",
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
    extractors: tuple[str, ...],
    metrics: tuple[str, ...],
    resamples: int,
    out: Path | None,
    cache: Path | None,
    num_images: int,
    prompts: tuple[str, ...],
    classes: tuple[str, ...],
    batch_size: int,
    seed: int,
    choice: ModelChoice,
    **settings: Any,
) -> None:
    """Measure images, or a model's, against real ones.

    Fréchet and kernel distance, precision, recall, density, coverage, class score and accuracy,
    each with a 95 % interval and the name of the network whose features it is made of. Or, of a
    model of scenes, --metric scenes: what is right by an exact scorer, and diversity.
    """
    import torch

    from demask.cli.measured import read_samples, samples_of_model, see_reference, with_meaning
    from demask.evaluation.extractors import load_extractor
    from demask.evaluation.features import extract_all
    from demask.evaluation.metrics import METRICS, measure

    context = click.get_current_context()
    check_one_source(context, samples)
    check_device(choice.device)
    if SCENES in metrics:
        measure_scenes(context, choice, settings)
        return
    if reference is None:
        raise ValueError("name the real images to compare with: --reference PATH")
    for name in metrics:
        METRICS[name]
    device = choice.device or ("cuda" if torch.cuda.is_available() else "cpu")
    networks = [load_extractor(name, device) for name in extractors]
    if samples:
        given = read_samples(samples)
    else:
        wanted = (prompts, classes, num_images, seed, batch_size)
        given = samples_of_model(choice, *wanted, settings)
    with counting("looking at samples", given.count) as progress:
        seen = extract_all(given.batches(), networks, progress)
    seen = [with_meaning(f, n, given) for f, n in zip(seen, networks, strict=True)]
    real, facts = see_reference(reference, seen[0].size, given.class_names, networks, cache)
    scores = [
        score
        for mine, theirs in zip(seen, real, strict=True)
        for score in measure(mine, theirs, metrics or None, seed, resamples)
    ]
    show(f"{given.count} images against {facts['count']} real ones", scores)
    if out:
        write_report(out, context, given, facts, networks, scores)


def measure_scenes(context: click.Context, choice: ModelChoice, settings: dict[str, Any]) -> None:
    """The metric scenes, with the other options of the command."""
    from demask.cli.scenes import SceneOptions, evaluate_scenes

    given = context.params
    explicit = context.get_parameter_source("extractors") is not ParameterSource.DEFAULT
    unused = {"--reference": given["reference"], "--extractor": explicit}
    asked = SceneOptions(
        given["samples"],
        given["metrics"],
        [name for name, value in unused.items() if value],
        given["num_images"],
        given["prompts"],
        given["classes"],
    )
    samples, scores = evaluate_scenes(asked, choice, given["seed"], given["batch_size"], settings)
    show(f"{samples.count} images of scenes", scores)
    if given["out"]:
        write_report(given["out"], context, samples, {}, [], scores)


def check_one_source(context: click.Context, samples: Path | None) -> None:
    """Raise a ValueError unless there are samples or a model, and not both."""
    generated = context.get_parameter_source("model") is not ParameterSource.DEFAULT
    if generated and samples:
        raise ValueError("--samples and --model both name images to measure; leave one out")
    if not generated and not samples:
        raise ValueError("no images to measure: name them with --samples, or a --model")


def show(title: str, scores: list[Score]) -> None:
    """A table on stdout."""
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


def write_report(
    path: Path,
    context: click.Context,
    samples: Samples,
    reference: dict[str, Any],
    extractors: list[Extractor],
    scores: list[Score],
) -> None:
    """A JSON file with the numbers and everything that is needed to measure them again."""
    import datetime

    import torch

    from demask import __version__
    from demask.checkpoint.save import write_text
    from demask.sweeps.runner import command_line, commit

    measuring = {"metrics", "resamples", "seed"}
    options = {
        name: value
        for name, value in context.params.items()
        if name in measuring
        or context.get_parameter_source(name) not in (ParameterSource.DEFAULT, None)
    }
    report = {
        "demask": __version__,
        "options": options,
        "samples": {"count": samples.count, **samples.facts},
        "reference": reference,
        "extractors": [{"name": e.name, "fingerprint": e.fingerprint} for e in extractors],
        "scores": [asdict(score) for score in scores],
        "commit": commit(),
        "command": command_line(),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "threads": torch.get_num_threads(),
    }
    text = json.dumps(report, indent=2, default=str, ensure_ascii=False) + "\n"
    write_text(path, text)
