"""Seeds as a person types them."""

from __future__ import annotations

import re
import secrets

from demask import rng

MOST = 16
COUNTS = (1, 4, 8)


def parse_seeds(text: str, count: int) -> list[int]:
    """``7`` counts up from 7, ``3-6`` and ``1, 5, 9`` name each; nothing draws one at random.

    Args:
        text: what was typed.
        count: how many images, where the text does not say.

    Raises:
        ValueError: no number, too large a one, or more than 16 of them.
    """
    parts = re.split(r"[\s,;]+", text.strip()) if text.strip() else []
    if not parts:
        first = secrets.randbelow(10**6)
        return list(range(first, first + count))
    seeds: list[int] = []
    for part in parts:
        match = re.fullmatch(r"(\d{1,20})(?:-(\d{1,20}))?", part)
        if match is None:
            raise ValueError(f"seeds are numbers such as 7, or 1, 5, 9, or 3-6; not '{part}'")
        first = int(match[1])
        last = int(match[2] or first)
        if not 0 <= last - first < MOST:
            raise ValueError(f"{part}: at most {MOST} seeds, counting up")
        seeds += range(first, last + 1)
    if len(seeds) == 1 and "-" not in text:
        seeds = list(range(seeds[0], seeds[0] + count))
    if len(seeds) > MOST:
        raise ValueError(f"{len(seeds)} seeds; at most {MOST} at once")
    for seed in seeds:
        rng.check_seed(seed)
    return seeds
