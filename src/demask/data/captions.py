"""What a model learns of its captions: some stay unseen to measure on, the others vary."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import torch

from demask import rng

Captions = tuple[str, ...]
"""What one image shows in words: the main caption first, then the alternatives."""


def hold_out(
    captions: Sequence[Captions], fraction: float, seed: int = 0
) -> tuple[list[Captions], list[tuple[int, str]]]:
    """Take some alternatives away, to measure later whether unseen words are understood.

    The first caption of an image always stays. So does an alternative whose words any image has
    another time, in whatever case: it would not be unseen. Which ones go depends on the texts
    alone, not on the order of the images.

    Args:
        captions: those of each image.
        fraction: of all alternatives; rounded, and fewer only where too few are unique.
        seed: another one takes others.

    Returns:
        The captions that are left to each image, and the held-out ones, each with the index of
        its image.

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
    """A caption as it is compared with others: without case and superfluous spaces."""
    return " ".join(caption.casefold().split())


def vary(caption: str, generator: torch.Generator, shuffle: float, drop: float) -> str:
    """A caption with its words in another order, or without some of them.

    Takes the same number of draws for every ``shuffle`` and ``drop``; at 0 and 0 the caption stays
    as it is.

    Args:
        caption: words with spaces between.
        generator: the source of chance.
        shuffle: the probability that the words come in random order.
        drop: the probability that a word goes; at least one stays.

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
