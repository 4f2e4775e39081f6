"""Compare settings on the same prompts and seeds by the scores of their images.

Shape legend: B batch, C channels, H W rows and columns, N images, P prompts, S seeds.
"""

from __future__ import annotations

import datetime
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from demask.evaluation.win_rate import few_prompts, paired_comparison
from demask.files import write_text
from demask.sweeps.compare_table import table
from demask.sweeps.comparison import CONTROL, Comparison
from demask.sweeps.cost import CostMeter
from demask.sweeps.gallery import Variant
from demask.sweeps.outcome import Outcome
from demask.sweeps.runner import commit, decode_job

log = logging.getLogger(__name__)
RESULTS, TABLE, GALLERY = "results.json", "table.md", "gallery.png"

OnScored = Callable[[str, int], None]
"""Called with the name of a variant and the number of its images that are scored."""


@dataclass
class Scores:
    """The scores of a variant so far.

    Attributes:
        name: the name of the variant.
        settings: all settings.
        scores: scorer -> the score of each image.
        control: scorer -> the score of each image with another prompt; empty without a control.
        forwards: forward passes, summed over all images.
        seconds: wall-clock time, without scoring.
        cpu_seconds: processor time of all cores.
    """

    name: str
    settings: dict[str, Any]
    scores: dict[str, list[float]] = field(default_factory=dict)
    control: dict[str, list[float]] = field(default_factory=dict)
    forwards: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0

    @property
    def done(self) -> int:
        """The number of images scored."""
        return min((len(numbers) for numbers in self.scores.values()), default=0)


def run(
    comparison: Comparison, out: Path, on_scored: OnScored = lambda name, done: None
) -> list[Outcome]:
    """Measure what is missing, and write ``results.json`` and ``table.md``.

    Args:
        comparison: the settings, prompts, seeds and scorers.
        out: the folder; scores in it are not measured again.
        on_scored: called with the name of the variant and the number of images scored.

    Raises:
        ValueError: a file of scores in the folder is broken.
    """
    if note := few_prompts(len(comparison.prompts)):
        log.warning("%s", note)
    measured = [measure(comparison, variant, out, on_scored) for variant in comparison.variants]
    outcomes = judge(comparison, measured)
    write_results(comparison, measured, outcomes, out)
    return outcomes


def measure(comparison: Comparison, variant: Variant, out: Path, on_scored: OnScored) -> Scores:
    """Score the images of a variant, and write the scores after each batch."""
    path = out / "scores" / f"{comparison.key(variant)}.json"
    found = read_scores(path, comparison, variant)
    meter, controlled = CostMeter(), comparison.control and variant is comparison.variants[0]
    if found.done == comparison.count:
        return found
    generator = comparison.generator_for(variant)
    metered = meter.metered(generator)
    for job in comparison.jobs(generator, variant, found.done):
        forwards, seconds, cpu = meter.forwards, meter.seconds, meter.cpu_seconds
        with meter.timing():
            pixels_BHWC = decode_job(metered, job)
        here = slice(found.done, found.done + len(pixels_BHWC))
        add(found.scores, comparison, pixels_BHWC, comparison.words[here])
        if controlled:
            add(found.control, comparison, pixels_BHWC, comparison.other_words[here])
        found.forwards += meter.forwards - forwards
        found.seconds += meter.seconds - seconds
        found.cpu_seconds += meter.cpu_seconds - cpu
        write_text(path, json.dumps(asdict(found), ensure_ascii=False) + "\n")
        on_scored(variant.name, found.done)
    return found


def add(
    scores: dict[str, list[float]],
    comparison: Comparison,
    pixels_BHWC: Tensor,
    words: Sequence[str],
) -> None:
    """Score some images and append the scores."""
    image_BCHW = pixels_BHWC.permute(0, 3, 1, 2).float() / 255
    for scorer in comparison.scorers:
        scores.setdefault(scorer.name, []).extend(scorer(image_BCHW, words).tolist())


def read_scores(path: Path, comparison: Comparison, variant: Variant) -> Scores:
    """The scores of a variant so far, from its file if there is one.

    Raises:
        ValueError: the file is broken.
    """
    empty = Scores(variant.name, asdict(comparison.settings(variant)))
    if not path.is_file():
        return empty
    try:
        found = Scores(**json.loads(path.read_text(encoding="utf-8")))
        lengths = {len(numbers) for numbers in (found.scores | found.control).values()}
        if len(lengths) != 1 or found.done > comparison.count:
            raise ValueError("lists of several lengths")
    except (TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"{path} holds no scores; delete it to measure again") from error
    found.name = variant.name
    return found


def judge(comparison: Comparison, measured: Sequence[Scores]) -> list[Outcome]:
    """Compare each variant with the first one, for each scorer."""
    base = measured[0]
    outcomes = []
    for scorer in comparison.scorers:
        rows = [(one.name, one.scores[scorer.name], one) for one in measured]
        if comparison.control:
            rows.insert(1, (CONTROL, base.control[scorer.name], base))
        for name, numbers, one in rows:
            mine_PS = by_prompt(numbers, comparison)
            paired = None
            if one is not base or name == CONTROL:
                base_PS = by_prompt(base.scores[scorer.name], comparison)
                paired = paired_comparison(
                    mine_PS, base_PS, comparison.first_seed, comparison.resamples
                )
            cost = one.forwards / comparison.count, one.seconds / comparison.count
            outcomes.append(Outcome(name, scorer.name, float(mine_PS.mean()), paired, *cost))
    return outcomes


def by_prompt(numbers: Sequence[float], comparison: Comparison) -> Tensor:
    """The scores of each prompt's images, (P, S)."""
    number_N = torch.tensor(numbers, dtype=torch.float64)
    return number_N.unflatten(0, (comparison.num_seeds, len(comparison.prompts))).T


def write_results(
    comparison: Comparison, measured: Sequence[Scores], outcomes: Sequence[Outcome], out: Path
) -> None:
    """Write ``results.json`` and ``table.md``."""
    results = {
        "model": comparison.generator.name,
        "networks": comparison.networks(comparison.variants[0]),
        "prompts": list(comparison.prompts),
        "seeds": comparison.num_seeds,
        "first_seed": comparison.first_seed,
        "base": comparison.variants[0].name,
        "scorers": [
            {"name": s.name, "fingerprint": s.fingerprint, "notice": s.notice}
            for s in comparison.scorers
        ],
        "outcomes": [asdict(outcome) for outcome in outcomes],
        "variants": [asdict(one) for one in measured],
        "device": str(comparison.generator.device),
        "threads": torch.get_num_threads(),
        "commit": commit(),
        "command": comparison.command,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
    write_text(out / RESULTS, json.dumps(results, indent=1, ensure_ascii=False) + "\n")
    write_text(out / TABLE, table(comparison, outcomes))
