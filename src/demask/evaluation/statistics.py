"""Intervals of shares."""

from __future__ import annotations

import math

NORMAL_95 = 1.96
"""Standard deviations around the mean that hold 95 % of a normal distribution."""


def wilson(hits: int, count: int) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson, "Probable inference", 1927).

    It stays within 0 and 1 and has a width at 0 and ``count`` hits too.

    Raises:
        ValueError: not 0 <= hits <= count, or a count of 0.
    """
    if not 0 <= hits <= count or count == 0:
        raise ValueError(f"{hits} of {count} is no share; valid: 0 to count, of at least 1")
    share, z = hits / count, NORMAL_95
    centre = share + z * z / (2 * count)
    spread = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    scale = 1 + z * z / count
    # at 0 and at all hits the ends are exact, which rounding would miss
    low = 0.0 if hits == 0 else (centre - spread) / scale
    return low, 1.0 if hits == count else (centre + spread) / scale
