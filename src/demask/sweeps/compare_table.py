"""The results of a comparison as Markdown: a table for each scorer."""

from __future__ import annotations

from collections.abc import Sequence

from demask.evaluation.win_rate import TIE, few_prompts
from demask.sweeps.comparison import Comparison
from demask.sweeps.outcome import Outcome

HEAD = ("setting", "win rate (95 %)", "wins / ties / losses", "mean score", "difference (95 %)")
COST = ("forwards", "ms")


def table(comparison: Comparison, outcomes: Sequence[Outcome]) -> str:
    """The Markdown text: the setup, a table for each scorer with its notice, the command."""
    base = comparison.variants[0].name
    note = few_prompts(len(comparison.prompts))
    intro = (
        f"{comparison.generator.name}: {len(comparison.prompts):,} prompts, "
        f"{comparison.num_seeds} seeds each from {comparison.first_seed} on. "
        f"Win rates are against '{base}' on the same prompt and seed, ties count "
        f"half; intervals by {comparison.resamples:,} resamples of the prompts. Scores tie if they "
        f"differ by less than {TIE:.0%} of the standard deviation of both settings' scores.\n"
    )
    parts = [intro, f"**{note}**\n"] if note else [intro]
    for scorer in comparison.scorers:
        rows = [outcome for outcome in outcomes if outcome.scorer == scorer.name]
        parts.append(f"## {scorer.name}\n\n{scorer.notice[0].upper()}{scorer.notice[1:]}.\n")
        parts.append(rows_of(rows))
    if comparison.command:
        parts.append(f"Made by\n\n    {comparison.command}\n")
    return "\n".join(parts)


def rows_of(outcomes: Sequence[Outcome]) -> str:
    """The table of one scorer."""
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
    """A number and its interval, or the number alone if the interval is NaN."""
    return value if "nan" in (low.strip("+%") + high) else f"{value} ({low} to {high})"
