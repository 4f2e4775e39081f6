"""Two or more settings on the same prompts and seeds: whose pictures do scorers like better?

Shape legend: B batch, C channels, H W rows and columns, N pictures, P prompts, S seeds.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from demask.checkpoint.save import write_text
from demask.evaluation.win_rate import Paired, compare
from demask.sweeps.bench import commit, paint
from demask.sweeps.compare_table import table
from demask.sweeps.contest import CONTROL, Contest
from demask.sweeps.gallery import Variant
from demask.sweeps.tally import Tally

RESULTS, TABLE, GALLERY = "results.json", "table.md", "gallery.png"

Watch = Callable[[str, int], None]
"""Is told how many pictures of a variant are done."""


@dataclass
class Scores:
    """What was measured of one variant so far.

    Attributes:
        name: the variant's.
        settings: all of them.
        scores: by scorer, of each picture in turn.
        control: the same with other words; empty where that was not asked for.
        forwards: passes over a picture's tokens, of all pictures together.
        seconds: by the clock, without scoring.
        cpu_seconds: of all cores.
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
        """How many pictures were scored."""
        return min((len(numbers) for numbers in self.scores.values()), default=0)


@dataclass(frozen=True)
class Outcome:
    """A variant against the base, in the eyes of one scorer.

    Attributes:
        variant: its name.
        scorer: the name of who judged.
        mean: the mean score.
        paired: against the base; None for the base itself.
        forwards: for each picture.
        seconds: for each picture.
    """

    variant: str
    scorer: str
    mean: float
    paired: Paired | None
    forwards: float
    seconds: float


def run(contest: Contest, out: Path, watch: Watch = lambda name, done: None) -> list[Outcome]:
    """Measure what is missing, and write ``results.json`` and ``table.md``.

    Args:
        contest: what to compare.
        out: the folder; scores that lie there already are not measured again.
        watch: is told how it goes on.

    Raises:
        ValueError: a file of scores there is broken.
    """
    measured = [measure(contest, variant, out, watch) for variant in contest.variants]
    outcomes = judge(contest, measured)
    write_results(contest, measured, outcomes, out)
    return outcomes


def measure(contest: Contest, variant: Variant, out: Path, watch: Watch) -> Scores:
    """The scores of a variant's pictures, of which none is kept; they are stored batch by batch."""
    path = out / "scores" / f"{contest.key(variant)}.json"
    found = read_scores(path, contest, variant)
    tally, controlled = Tally(), contest.control and variant is contest.variants[0]
    if found.done == contest.count:
        return found
    generator = contest.beside(variant)
    networks = (generator.transformer, *generator.companions.loaded.values())
    for job in contest.jobs(generator, variant, found.done):
        forwards, seconds, cpu = tally.forwards, tally.seconds, tally.cpu_seconds
        with tally.counting(*networks), tally.timing():
            pixels_BHWC = paint(generator, job)
        here = slice(found.done, found.done + len(pixels_BHWC))
        add(found.scores, contest, pixels_BHWC, contest.words[here])
        if controlled:
            add(found.control, contest, pixels_BHWC, contest.other_words[here])
        found.forwards += tally.forwards - forwards
        found.seconds += tally.seconds - seconds
        found.cpu_seconds += tally.cpu_seconds - cpu
        write_text(path, json.dumps(asdict(found), ensure_ascii=False) + "\n")
        watch(variant.name, found.done)
    return found


def add(
    scores: dict[str, list[float]], contest: Contest, pixels_BHWC: Tensor, words: Sequence[str]
) -> None:
    """Score some pictures, and put the numbers behind those that are there."""
    image_BCHW = pixels_BHWC.permute(0, 3, 1, 2).float() / 255
    for scorer in contest.scorers:
        scores.setdefault(scorer.name, []).extend(scorer(image_BCHW, words).tolist())


def read_scores(path: Path, contest: Contest, variant: Variant) -> Scores:
    """What was measured of a variant before, or nothing yet.

    Raises:
        ValueError: the file is broken.
    """
    empty = Scores(variant.name, asdict(contest.settings(variant)))
    if not path.is_file():
        return empty
    try:
        found = Scores(**json.loads(path.read_text(encoding="utf-8")))
        lengths = {len(numbers) for numbers in (found.scores | found.control).values()}
        if len(lengths) != 1 or found.done > contest.count:
            raise ValueError("lists of several lengths")
    except (TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"{path} holds no scores; delete it to measure again") from error
    found.name = variant.name
    return found


def judge(contest: Contest, measured: Sequence[Scores]) -> list[Outcome]:
    """Each variant against the first, in the eyes of each scorer."""
    base = measured[0]
    outcomes = []
    for scorer in contest.scorers:
        rows = [(one.name, one.scores[scorer.name], one) for one in measured]
        if contest.control:
            rows.insert(1, (CONTROL, base.control[scorer.name], base))
        for name, numbers, one in rows:
            mine_PS = by_prompt(numbers, contest)
            paired = None
            if one is not base or name == CONTROL:
                base_PS = by_prompt(base.scores[scorer.name], contest)
                paired = compare(mine_PS, base_PS, contest.first_seed, contest.resamples)
            cost = one.forwards / contest.count, one.seconds / contest.count
            outcomes.append(Outcome(name, scorer.name, float(mine_PS.mean()), paired, *cost))
    return outcomes


def by_prompt(numbers: Sequence[float], contest: Contest) -> Tensor:
    """The scores of each prompt's pictures, (P, S)."""
    number_N = torch.tensor(numbers, dtype=torch.float64)
    return number_N.unflatten(0, (contest.seeds, len(contest.prompts))).T


def write_results(
    contest: Contest, measured: Sequence[Scores], outcomes: Sequence[Outcome], out: Path
) -> None:
    """Write both files."""
    results = {
        "model": contest.generator.name,
        "networks": contest.networks(contest.variants[0]),
        "prompts": list(contest.prompts),
        "seeds": contest.seeds,
        "first_seed": contest.first_seed,
        "base": contest.variants[0].name,
        "scorers": [
            {"name": s.name, "fingerprint": s.fingerprint, "notice": s.notice}
            for s in contest.scorers
        ],
        "outcomes": [asdict(outcome) for outcome in outcomes],
        "variants": [asdict(one) for one in measured],
        "device": str(contest.generator.device),
        "threads": torch.get_num_threads(),
        "commit": commit(),
        "command": contest.command,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
    write_text(out / RESULTS, json.dumps(results, indent=1, ensure_ascii=False) + "\n")
    write_text(out / TABLE, table(contest, outcomes))
