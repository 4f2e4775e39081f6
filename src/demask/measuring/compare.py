"""`demask.compare`: win rates of settings over a base, by a scorer."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from demask.device import check_device, default_device
from demask.evaluation.scorers import load_scorer
from demask.evaluation.win_rate import RESAMPLES, Paired
from demask.generator import Generator
from demask.measuring.records import Progress, Record, silent
from demask.setting_info import texts, whole_number
from demask.settings import SettingsKwargs
from demask.sweeps.compare import run
from demask.sweeps.comparison import Comparison
from demask.sweeps.gallery import Variant
from demask.sweeps.outcome import Outcome
from demask.sweeps.runner import command_line

DEFAULT_SCORERS = ("emoji_pairs",)


@dataclass(frozen=True)
class ComparisonResult(Record):
    """The variants, compared with the first of them.

    Attributes:
        outcomes: of each variant and scorer the mean score, win rate with interval, and cost.
        model: the name of the model.
        base: the name of the first variant.
        settings: variant -> its settings that differ from the model's.
        num_prompts: the number of prompts.
        num_seeds: images of each prompt.
        seed: seed of the first image.
        command: the command line of the measurement.
    """

    outcomes: tuple[Outcome, ...]
    model: str
    base: str
    settings: Mapping[str, Mapping[str, Any]]
    num_prompts: int
    num_seeds: int
    seed: int
    command: str

    def rows(self) -> Sequence[Mapping[str, Any]]:
        """A row for each variant and scorer; the base has no win rate."""
        rows = []
        for outcome in self.outcomes:
            row = dict(vars(outcome))
            paired = row.pop("paired")
            rows.append(row | {f.name: getattr(paired, f.name, None) for f in fields(Paired)})
        return rows


def compare(
    generator: Generator,
    variants: Mapping[str, SettingsKwargs],
    prompts: str | Sequence[str],
    num_seeds: int = 4,
    seed: int = 0,
    batch_size: int = 64,
    *,
    scorers: str | Sequence[str] = DEFAULT_SCORERS,
    control: bool = False,
    resamples: int = RESAMPLES,
    out: Path | None = None,
    device: str | None = None,
    progress: Progress = silent,
) -> ComparisonResult:
    """Compare settings of a model of prompts: win rates against the first of them.

    All variants generate the same prompts with the same seeds. The image with the higher score
    wins.

    Args:
        generator: a model of prompts.
        variants: name -> settings; the first is the base.
        prompts: one prompt or several.
        num_seeds: images of each prompt.
        seed: seed of the first image; the following images have the following seeds.
        batch_size: images of a batch.
        scorers: names such as ``emoji_pairs`` or ``hps_v2:weights=PATH,tokenizer=PATH``.
        control: whether the base's images are also scored with other prompts, which must lose.
        resamples: bootstrap resamples of the prompts, for the intervals.
        out: a folder for the scores and a table, in which an interrupted comparison continues.
        device: the device of the scorers; by default a GPU if there is one.
        progress: shows the progress.

    Raises:
        ValueError: nothing to compare, an unknown scorer or setting, a model of classes, or a value
            of another type.
    """
    whole_number("num_seeds", num_seeds)
    whole_number("resamples", resamples)
    check_device(device)
    check_variants(generator, variants)
    comparison = open_comparison(
        generator,
        [Variant(name, settings) for name, settings in variants.items()],
        prompts_of(prompts),
        num_seeds=num_seeds,
        seed=seed,
        batch_size=batch_size,
        scorers=texts("scorers", scorers),
        control=control,
        resamples=resamples,
        device=device,
    )
    if out is not None:
        return run_comparison(comparison, out, progress)
    with tempfile.TemporaryDirectory() as folder:
        return run_comparison(comparison, Path(folder), progress)


def check_variants(generator: object, variants: object) -> None:
    """Raise a ValueError unless these are a generator and a dict of settings by name."""
    if not isinstance(generator, Generator) or not isinstance(variants, Mapping):
        raise ValueError("compare takes a generator and a dict of settings by name")
    for name, settings in variants.items():
        if not isinstance(settings, Mapping):
            raise ValueError(f"variant '{name}' must be a dict of settings, not {settings!r}")


def prompts_of(prompts: str | Sequence[str]) -> list[str]:
    """One prompt or several as a list.

    Raises:
        ValueError: no prompt, or a prompt that is not a text.
    """
    several = texts("prompts", prompts)
    if not several:
        raise ValueError("the list of prompts is empty")
    return list(several)


def open_comparison(
    generator: Generator,
    variants: Sequence[Variant],
    prompts: Sequence[str],
    *,
    num_seeds: int,
    seed: int,
    batch_size: int,
    scorers: Sequence[str],
    control: bool,
    resamples: int,
    device: str | None,
) -> Comparison:
    """A comparison with its scorers loaded; nothing is generated yet.

    Raises:
        ValueError: see `compare`.
    """
    place = device or default_device()
    return Comparison(
        generator,
        variants,
        prompts,
        [load_scorer(name, place) for name in dict.fromkeys(scorers)],
        num_seeds=num_seeds,
        first_seed=seed,
        batch_size=batch_size,
        resamples=resamples,
        control=control,
        command=command_line(),
    )


def run_comparison(
    comparison: Comparison, out: Path, progress: Progress = silent
) -> ComparisonResult:
    """Measure what is missing in a folder, and write its ``results.json`` and ``table.md``."""
    names = [variant.name for variant in comparison.variants]
    with progress("comparing", len(names) * comparison.count) as done:
        outcomes = run(
            comparison,
            out,
            lambda name, images: done(names.index(name) * comparison.count + images),
        )
    return ComparisonResult(
        outcomes=tuple(outcomes),
        model=comparison.generator.name,
        base=names[0],
        settings={variant.name: dict(variant.settings) for variant in comparison.variants},
        num_prompts=len(comparison.prompts),
        num_seeds=comparison.num_seeds,
        seed=comparison.first_seed,
        command=comparison.command,
    )
