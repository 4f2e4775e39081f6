"""Prior preservation for adapters: the predictions for other prompts stay unchanged.

The targets are the predictions of the model without adapters, on images that it has partly
generated (learning without forgetting, arXiv 1606.09282; prior preservation, arXiv 2208.12242).

Shape legend: B batch, L ids, T text tokens, V codebook.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from demask import rng
from demask.checkpoint.lora import weigh_adapters
from demask.training.engine.task import Batch
from demask.transformer.condition import WORD_END, TextTokenizer

MOST_WORDS = 3
EMPTY = 0.1
"""Probability of the empty prompt, which guidance moves away from."""


def whole_words(tokenizer: TextTokenizer) -> list[str]:
    """The entries of a vocabulary that are whole words of at least three letters."""
    entries = (entry for entry in tokenizer.encoding.get_vocab() if entry.endswith(WORD_END))
    plain = (entry.removesuffix(WORD_END) for entry in entries)
    return sorted(word for word in plain if len(word) > 2 and word.isascii() and word.isalpha())


def random_prompts(known: Sequence[str], count: int, generator: torch.Generator) -> list[str]:
    """Prompts of one to three of the ``known`` words; some are empty, and all if ``known`` is."""
    prompts = []
    for _ in range(count):
        empty, length, *draws = torch.rand(2 + MOST_WORDS, generator=generator).tolist()
        chosen = draws[: 1 + int(length * MOST_WORDS)] if known and empty >= EMPTY else []
        prompts.append(" ".join(known[int(draw * len(known))] for draw in chosen))
    return prompts


@contextmanager
def without_adapters(model: nn.Module) -> Iterator[None]:
    """A context in which the adapters are disabled and no gradients are computed."""
    weigh_adapters(model, 0)
    try:
        with torch.no_grad():
            yield
    finally:
        weigh_adapters(model, 1)


def partly_masked(logits_BLV: Tensor, mask_id: int, generator: torch.Generator) -> Tensor:
    """Ids (B, L): in each row a random fraction is drawn from the logits, the rest is masked."""
    count, length = logits_BLV.shape[:2]
    uniform_R = torch.rand(count * length, generator=generator, dtype=torch.float64)
    logits_RV = logits_BLV.flatten(0, 1).double()
    drawn_BL = rng.categorical(logits_RV, uniform_R.to(logits_RV.device)).view(count, length)
    shown_B1 = torch.rand(count, 1, generator=generator)
    rank_BL = torch.rand(count, length, generator=generator)
    at_least_one_masked_BL = rank_BL < rank_BL.amax(-1, keepdim=True)
    shown_BL = (rank_BL < shown_B1) & at_least_one_masked_BL
    return torch.where(shown_BL.to(drawn_BL.device), drawn_BL, mask_id)


def join(first: Batch, second: Batch) -> Batch:
    """The rows of two batches of the same grid as one batch, with the keys that both have."""
    both = {name: torch.cat([first[name], second[name]]) for name in second if name != "shape"}
    return {**both, "shape": first["shape"]}


def drift(logits_BLV: Tensor, before_BLV: Tensor, masked_BL: Tensor) -> Tensor:
    """The change of the predictions: KL(before || now) in nats per masked token."""
    before_BLV, now_BLV = before_BLV.float().log_softmax(-1), logits_BLV.float().log_softmax(-1)
    moved_BL = (before_BLV.exp() * (before_BLV - now_BLV)).sum(-1)
    return moved_BL[masked_BL].mean()
