"""`demask sweep`: generate under many settings, measure each, and plot the results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from demask.cli.command import Command, OptionGroup, path_option, several
from demask.cli.options import ModelChoice, add, with_model

if TYPE_CHECKING:
    from demask.evaluation.extractors import Extractor
    from demask.generator import Generator
    from demask.sweeps.evaluators import FeatureEvaluator
    from demask.sweeps.names import Names
    from demask.sweeps.recipe import Measuring, SweepRecipe
    from demask.sweeps.runner import Evaluator, SweepRunner

RETRIEVAL = "retrieval"

RECIPE = OptionGroup(
    "Recipe",
    [
        path_option(
            "--recipe",
            required=True,
            help="The recipe, such as recipes/sweeps/cifar10_methods.toml.",
        ),
        several(
            "--set",
            "overrides",
            metavar="KEY=VALUE...",
            help="Change keys of the recipe, such as measure.count=100.",
        ),
        several(
            "--only", metavar="METHOD...", help="Methods of the recipe to measure; default: all."
        ),
    ],
)

MEASURE = OptionGroup(
    "Measurement",
    [
        click.option(
            "--reference", metavar="PATH", help="Real images: a folder, parquet or npz. Required."
        ),
        several(
            "--extractor",
            "extractors",
            metavar="NAME...",
            help="Networks for features; default: those of the recipe or of 'evaluate'.",
        ),
    ],
)

OUT = OptionGroup(
    "Output",
    [
        path_option(
            "--out",
            file_okay=False,
            required=True,
            help="The folder of the results; the same command again measures what is missing.",
        ),
        click.option(
            "--plot-only", is_flag=True, help="Plot what was measured so far; measure nothing."
        ),
    ],
)


@click.command(cls=Command)
@add(RECIPE, MEASURE, OUT)
@with_model
def sweep(
    recipe: Path,
    overrides: tuple[str, ...],
    only: tuple[str, ...],
    reference: str | None,
    extractors: tuple[str, ...],
    out: Path,
    plot_only: bool,
    choice: ModelChoice,
) -> None:
    """Compare settings of a model: tables and plots of quality, diversity and time.

    Each trial of the recipe is measured once; an interrupted sweep continues where it stopped.
    """
    plan = read_recipe(recipe, overrides).only(only)
    if not plot_only:
        from demask.cli.sweep_progress import shown
        from demask.sweeps.sweep import sweep as run

        runner, generator = open_runner(choice, plan.measure, reference, extractors, out)
        with shown() as progress:
            run(runner, plan, generator.presets, progress)
    for path in draw(out):
        click.echo(path)


def draw(out: Path) -> list[Path]:
    """Draw the plots of a sweep; return their paths and that of the table."""
    from demask.sweeps.plot import draw_all
    from demask.sweeps.sweep import TABLE, read_results

    return [out / TABLE, *draw_all(read_results(out), out)]


def read_recipe(path: Path, overrides: tuple[str, ...]) -> SweepRecipe:
    """The recipe of a file, with the changes of the command line.

    Raises:
        ValueError: the file or a change is not valid.
    """
    from demask.config import load_toml, override, parse
    from demask.sweeps.recipe import SweepRecipe

    return parse(SweepRecipe, override(load_toml(path), overrides), path)


def open_runner(
    choice: ModelChoice,
    measure: Measuring,
    reference: str | None,
    extractors: tuple[str, ...],
    out: Path,
    *,
    quality: bool = True,
) -> tuple[SweepRunner, Generator]:
    """A sweep runner for the model, and the model without auxiliary networks.

    Args:
        choice: the model.
        measure: how each trial is measured.
        reference: the source of real images.
        extractors: extractors in place of the recipe's.
        out: the folder of the results.
        quality: whether quality is measured; otherwise only cost is.

    Raises:
        ValueError: no reference, or a model, extractor or reference that cannot be opened.
    """
    from demask.measuring.evaluate import SCENES
    from demask.sweeps.runner import SweepRunner, command_line

    scenes = SCENES in measure.metrics
    if scenes and (reference or extractors or measure.extractors or len(measure.metrics) > 1):
        raise ValueError("the metric scenes takes no other metrics, reference or extractors")
    if reference is None and quality and not scenes:
        raise ValueError("name the real images to compare with: --reference PATH")

    def load(aux: tuple[str, ...], dtype: str | None) -> Generator:
        beside = (*choice.aux, *aux)
        return replace(choice, aux=beside, dtype=dtype or choice.dtype).load()

    generator = load((), None)
    opened: tuple[Sequence[Evaluator], tuple[str, ...] | None] = [], None
    if scenes and quality:
        opened = open_scorer(generator, measure.count)
    elif reference:
        opened = open_evaluators(generator, measure, reference, extractors)
    runner = SweepRunner(
        load=load,
        evaluators=opened[0],
        folder=out,
        batch_size=measure.batch_size,
        command=command_line(),
        condition_inputs=opened[1],
    )
    runner.generators[(), None] = generator
    return runner, generator


def open_evaluators(
    generator: Generator, measure: Measuring, reference: str, extractors: tuple[str, ...]
) -> tuple[list[FeatureEvaluator], tuple[str, ...] | None]:
    """The evaluators, and the conditions to generate; None for the default conditions."""
    from demask.cli.progress import counting
    from demask.evaluation.extractors import load_extractor
    from demask.evaluation.metrics import METRICS
    from demask.measuring.evaluate import SHIPPED
    from demask.measuring.samples import features_of_reference
    from demask.sweeps.evaluators import evaluators

    for metric in measure.metrics:
        METRICS[metric]
    wanted = extractors or measure.extractors or SHIPPED
    networks = [load_extractor(name, str(generator.device)) for name in wanted]
    classes, numbers = tuple(generator.class_names), (measure.metrics, measure.resamples)
    if RETRIEVAL in measure.metrics:
        names = open_names(reference, generator, networks, measure.leave_out)
        inputs = names.condition_inputs
        return evaluators(
            networks, names.features, names.fingerprint, (), *numbers, names.answers
        ), inputs
    features, facts = features_of_reference(
        reference, generator.size, classes, networks, progress=counting
    )
    return evaluators(networks, features, facts["data"], classes, *numbers), None


def open_scorer(
    generator: Generator, count: int
) -> tuple[Sequence[Evaluator], tuple[str, ...] | None]:
    """The scorer of scenes, and the captions to generate; None for all classes in turn.

    Raises:
        ValueError: a model that generates no scenes.
    """
    from demask.evaluation.scenes_scores import open_captions
    from demask.measuring.scenes import check_model
    from demask.sweeps.scene_evaluator import SceneEvaluator, scene_prompts

    check_model(generator)
    if generator.class_names:
        return [SceneEvaluator()], None
    return [SceneEvaluator(tuple(open_captions(1)))], scene_prompts(count)


def open_names(
    reference: str, generator: Generator, extractors: list[Extractor], leave_out: tuple[str, ...]
) -> Names:
    """The prompts in the captions of the reference, and its images.

    Raises:
        ValueError: a class-conditional model, or a reference without captions.
    """
    from demask.cli.progress import counting
    from demask.data import open_images
    from demask.sweeps.names import read_names

    if generator.class_names:
        raise ValueError(
            f"{generator.name} is a model of classes; {RETRIEVAL} is for models of prompts"
        )
    images = open_images(reference)
    with counting("features of the reference", len(images)) as progress:
        return read_names(images, generator.size, extractors, leave_out, progress)
