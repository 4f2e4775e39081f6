"""Parse the text field of seeds."""

from __future__ import annotations

import re
import secrets

from demask import rng

MAX_SEEDS = 16
COUNTS = (1, 4, 8)


def parse_seeds(text: str, count: int) -> list[int]:
    """Parse seeds: ``7`` counts up from 7, ``3-6`` and ``1, 5, 9`` name each seed.

    Args:
        text: the text of the field; empty draws a random first seed.
        count: the number of images, unless the text names several seeds.

    Raises:
        ValueError: a part is no seed or too large, or there are more than 16 seeds.
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
        if not 0 <= last - first < MAX_SEEDS:
            raise ValueError(f"{part}: at most {MAX_SEEDS} seeds, counting up")
        seeds += range(first, last + 1)
    if len(seeds) == 1 and "-" not in text:
        seeds = list(range(seeds[0], seeds[0] + count))
    if len(seeds) > MAX_SEEDS:
        raise ValueError(f"{len(seeds)} seeds; at most {MAX_SEEDS} at once")
    for seed in seeds:
        rng.check_seed(seed)
    return seeds
