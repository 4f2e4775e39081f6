"""What happens inside the blocks: a full pass is remembered, a local one reads what was kept.

Shape legend: B batch, N sequence (a prefix of text or class, then the picture's tokens), M of them
that are computed, S the whole sequence, T text tokens, D width, H heads, K channels of a head.
"""

from __future__ import annotations

import torch
from torch import Tensor

from demask.acceleration.kept import Kept, Rows
from demask.transformer.seam import Seam, Seams
from demask.types import Grid


class WholePass(Seams):
    """A full pass, whose keys and values are kept: (B, S, H, K) of each block."""

    def __init__(self) -> None:
        self.keys: list[Tensor] = []
        self.values: list[Tensor] = []

    def __call__(self, block: int, image_BND: Tensor, extra_BND: Tensor | None, grid: Grid) -> Seam:
        return Recorder(self)


class Recorder(Seam):
    """A block of a full pass."""

    def __init__(self, whole: WholePass) -> None:
        self.whole = whole

    def attend(
        self, query_BHMK: Tensor, key_BHMK: Tensor, value_BHMK: Tensor, dropout: float = 0.0
    ) -> Tensor:
        self.whole.keys.append(key_BHMK.transpose(1, 2).contiguous())
        self.whole.values.append(value_BHMK.transpose(1, 2).contiguous())
        return super().attend(query_BHMK, key_BHMK, value_BHMK, dropout)


class LocalPass(Seams):
    """A pass that computes some tokens; a text with a stream of its own is not computed at all.

    Attributes:
        tokens: the picture's.
        rows: those, and the prefix that stands before them.
        parts: the same, of each part of the batch.
        before: the caches of those.
        side: ids of a token's side.
    """

    def __init__(self, tokens: Rows, before: list[Kept], side: int) -> None:
        self.tokens = self.rows = tokens
        self.before, self.side = before, side
        self.parts = tokens.parts(len(before))
        self.turned: Tensor | None = None

    def __call__(self, block: int, image_BND: Tensor, extra_BND: Tensor | None, grid: Grid) -> Seam:
        return LocalSeam(self, block)

    def enter(self, x_BND: Tensor, prefix: int = 0) -> Tensor:
        self.rows = self.tokens.after(prefix)
        self.parts = self.rows.parts(len(self.before))
        return self.rows.take(x_BND)

    def enter_text(self, text_BTD: Tensor) -> Tensor:
        return text_BTD[:, :0]

    def leave(self, grid: Grid) -> Grid:
        return self.side, self.side * self.tokens.index_BM.shape[1]


class LocalSeam(Seam):
    """A block of a local pass: its rows' keys and values are written before they attend to all."""

    def __init__(self, local: LocalPass, block: int) -> None:
        self.local, self.block = local, block

    def turn(self, rotary: Tensor) -> Tensor:
        if self.local.turned is None:
            rows = self.local.rows
            self.local.turned = rotary[:, rows.index_BM + (rotary.shape[1] - rows.length)]
        return self.local.turned

    def take_extra(self, extra_BND: Tensor | None) -> Tensor | None:
        return None if extra_BND is None else self.local.rows.take(extra_BND)

    def attend(
        self, query_BHMK: Tensor, key_BHMK: Tensor, value_BHMK: Tensor, dropout: float = 0.0
    ) -> Tensor:
        before = self.local.before
        parts = [x.chunk(len(before)) for x in (query_BHMK, key_BHMK, value_BHMK)]
        gathered = []
        for kept, rows, query, key, value in zip(before, self.local.parts, *parts, strict=True):
            keys, values = kept.keys[self.block], kept.values[self.block]
            rows.put(key.transpose(1, 2), keys)
            rows.put(value.transpose(1, 2), values)
            pair = keys.transpose(1, 2), values.transpose(1, 2)
            gathered.append(super().attend(query, *pair, dropout))
        return gathered[0] if len(gathered) == 1 else torch.cat(gathered)
