"""Hold captions out for evaluation, and augment the others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import torch

from demask import rng

Captions = tuple[str, ...]
"""The captions of one image: the main one first, then alternatives."""


def hold_out(
    captions: Sequence[Captions], fraction: float, seed: int = 0
) -> tuple[list[Captions], list[tuple[int, str]]]:
    """Hold out some alternative captions, to evaluate on unseen words.

    The main caption of an image is never held out, nor is an alternative that occurs more than once
    in the data, ignoring case. The selection depends only on the texts, not on the order of the
    images.

    Args:
        captions: the captions of each image.
        fraction: the fraction of all alternatives that is held out, in [0, 1]; it is less if too
            few alternatives are unique.
        seed: seed of the selection.

    Returns:
        The remaining captions of each image, and the held-out ones, each with its image's index.

    Raises:
        ValueError: a fraction outside of [0, 1].
    """
    if not 0 <= fraction <= 1:
        raise ValueError(f"the held-out fraction must be within 0 and 1, not {fraction}")
    counts = Counter(normalized(caption) for texts in captions for caption in texts)
    alternatives = [(i, text) for i, texts in enumerate(captions) for text in texts[1:]]
    unique = [(i, text) for i, text in alternatives if counts[normalized(text)] == 1]
    unique.sort(key=lambda pair: rng.derive(seed, "held-out caption", normalized(pair[1])))
    held = sorted(unique[: round(fraction * len(alternatives))])
    gone = set(held)
    left = [
        tuple(text for n, text in enumerate(texts) if n == 0 or (i, text) not in gone)
        for i, texts in enumerate(captions)
    ]
    return left, held


def normalized(caption: str) -> str:
    """A caption for comparison: lower case, single spaces."""
    return " ".join(caption.casefold().split())


def vary(caption: str, generator: torch.Generator, shuffle: float, drop: float) -> str:
    """Augment a caption: shuffle its words and drop some of them.

    Consumes the same number of random numbers for every ``shuffle`` and ``drop``; with both 0 the
    caption is unchanged.

    Args:
        caption: words separated by spaces.
        generator: random generator.
        shuffle: probability of shuffling the words.
        drop: probability of dropping a word; at least one is kept.

    Raises:
        ValueError: a probability outside of [0, 1].
    """
    for name, chance in (("shuffle", shuffle), ("drop", drop)):
        if not 0 <= chance <= 1:
            raise ValueError(f"{name} must be within 0 and 1, not {chance}")
    words = caption.split()
    luck, *draws = torch.rand(1 + 2 * len(words), generator=generator, dtype=torch.float64).tolist()
    places, stays = draws[: len(words)], draws[len(words) :]
    kept = [n for n, stay in enumerate(stays) if stay >= drop or stay == max(stays)]
    if luck < shuffle:
        kept.sort(key=places.__getitem__)
    changed = kept != list(range(len(words)))
    return " ".join(words[n] for n in kept) if changed else caption
