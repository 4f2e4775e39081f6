"""What came of a contest, as tables in Markdown: one for each scorer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from demask.sweeps.compare import Outcome
    from demask.sweeps.contest import Contest

HEAD = ("setting", "win rate (95 %)", "wins / ties / losses", "mean score", "difference (95 %)")
COST = ("forwards", "ms")


def table(contest: Contest, outcomes: Sequence[Outcome]) -> str:
    """All of it: what was asked, a table for each scorer with its notice, the command."""
    base = contest.variants[0].name
    told = (
        f"{contest.generator.name}: {len(contest.prompts):,} prompts, {contest.seeds} seeds each "
        f"from {contest.first_seed} on. Win rates are against '{base}' on the same prompt and "
        f"seed, ties count half; intervals by {contest.resamples:,} resamples of the prompts.\n"
    )
    parts = [told]
    for scorer in contest.scorers:
        rows = [outcome for outcome in outcomes if outcome.scorer == scorer.name]
        parts.append(f"## {scorer.name}\n\n{scorer.notice[0].upper()}{scorer.notice[1:]}.\n")
        parts.append(rows_of(rows))
    if contest.command:
        parts.append(f"Made by\n\n    {contest.command}\n")
    return "\n".join(parts)


def rows_of(outcomes: Sequence[Outcome]) -> str:
    """One table."""
    lines = [list(HEAD + COST), ["---"] + ["---:"] * (len(HEAD) + len(COST) - 1)]
    for outcome in outcomes:
        paired = outcome.paired
        cells = [outcome.variant, "base", "", f"{outcome.mean:.2f}", ""]
        if paired is not None:
            cells[1] = percent(paired.rate, paired.rate_low, paired.rate_high)
            cells[2] = f"{paired.wins:,} / {paired.ties:,} / {paired.losses:,}"
            ends = paired.difference_low, paired.difference_high
            cells[4] = between(f"{paired.difference:+.2f}", *(f"{end:+.2f}" for end in ends))
        lines.append([*cells, f"{outcome.forwards:.1f}", f"{1000 * outcome.seconds:.1f}"])
    return "".join(f"| {' | '.join(cell.replace('|', '/') for cell in row)} |\n" for row in lines)


def percent(rate: float, low: float, high: float) -> str:
    """A rate and its interval."""
    return between(f"{rate:.1%}", f"{low:.1%}", f"{high:.1%}")


def between(value: str, low: str, high: str) -> str:
    """A number and its interval, where there is one."""
    return value if "nan" in (low.strip("+%") + high) else f"{value} ({low} to {high})"
