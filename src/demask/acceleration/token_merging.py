"""Token merging: blocks compute similar tokens as one (ToMe, TomeMGT).

Shape legend: B batch, N tokens of the image, P those before them (text or class), M = N - merged,
S sources, C destinations (one a cell), D width, K channels of a head, R rows (tokens of all
images).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from demask import rng
from demask.acceleration.accelerator import Accelerator, add_hooks
from demask.layouts import GRIDS, Layouts
from demask.transformer.hooks import NO_HOOK, BlockHook, PassHooks
from demask.types import Grid, Step, Transformer

SHARED = 5
"""Number of consecutive blocks that share a map."""

TIE = 1e-5
"""Similarities that differ by less are ties: masked tokens are identical in the first blocks, and
rounding, which depends on the batch size, must not break the ties."""


@dataclass(frozen=True)
class TokenMerging(Accelerator):
    """Merge a fraction of the tokens before attention and MLP (arXiv 2411.10781; ToMe, 2303.17604).

    Each cell of 2x2 tokens keeps one destination. The other tokens, the sources, are matched with
    the destinations by the cosine similarity of the block's input, and the most similar ones are
    averaged with theirs. The result is copied back to all of them, so the residual stream keeps its
    length.

    The destination of a cell is random but equal for all images: it depends only on the step, the
    position of the map in the network and the grid. So both passes of a guidance merge alike, and
    the random streams of the images are not used.

    Attributes:
        ratio: fraction of the image's tokens that are merged; 0.25 as released, 0 is off.

    Raises:
        ValueError: a ratio outside [0, 0.75].
    """

    ratio: float = 0.25
    layouts: ClassVar[Layouts] = GRIDS

    def __post_init__(self) -> None:
        given: object = self.ratio  # user input of any type
        if not isinstance(given, int | float) or not 0 <= given <= 0.75:
            raise ValueError(
                "token_merging: the ratio is 0 (off) to 0.75 (one token of four is left), "
                f"not {self.ratio}"
            )

    def around(self, transformer: Transformer) -> Transformer:
        """The transformer with merged tokens; the transformer itself at ratio 0."""
        if self.ratio == 0:
            return transformer
        return add_hooks(transformer, partial(MergingPass, self.ratio), "token_merging")


class MergingPass(PassHooks):
    """One pass with merged tokens: a new map every `SHARED` blocks.

    Args:
        ratio: see `TokenMerging`.
        step: of the decode loop.
    """

    def __init__(self, ratio: float, step: Step) -> None:
        self.ratio, self.step = ratio, step
        self.hook = NO_HOOK

    def __call__(
        self, block: int, image_BND: Tensor, extra_BND: Tensor | None, grid: Grid
    ) -> BlockHook:
        """The map of a block, made from its input or shared with an earlier block."""
        tokens = grid[0] * grid[1]
        count = int(self.ratio * tokens)
        if count and block % SHARED == 0:
            if (
                extra_BND is not None
            ):  # the values also read this; in a blank pass only this differs between tokens
                image_BND = image_BND + extra_BND[:, -tokens:]
            order_N = drawn(self.step.index, block // SHARED, tokens)
            self.hook = merged(image_BND, grid, order_N.to(image_BND.device), count)
        return self.hook


def drawn(step: int, place: int, tokens: int) -> Tensor:
    """A random order of the tokens (N) on the CPU, derived as described in `TokenMerging`."""
    seed = rng.derive(0, "token_merging", step, place, tokens)
    return torch.randperm(tokens, generator=torch.Generator().manual_seed(seed))


def destinations(grid: Grid, order_N: Tensor) -> Tensor:
    """The token of the highest number in each 2x2 cell (C).

    With an odd side, the last cells have two tokens or one.
    """
    rows, columns = (math.ceil(side / 2) for side in grid)
    odd = (0, 2 * columns - grid[1], 0, 2 * rows - grid[0])
    number_HW = F.pad(order_N.view(grid), odd, value=-1)
    number_C4 = number_HW.view(rows, 2, columns, 2).transpose(1, 2).reshape(-1, 4)
    token_HW = F.pad(torch.arange(order_N.numel(), device=order_N.device).view(grid), odd)
    token_C4 = token_HW.view(rows, 2, columns, 2).transpose(1, 2).reshape(-1, 4)
    return token_C4.gather(1, number_C4.argmax(1, keepdim=True))[:, 0].sort().values


def merged(x_BND: Tensor, grid: Grid, order_N: Tensor, count: int) -> Merged:
    """The map that merges the ``count`` sources most similar to a destination.

    Args:
        x_BND: vectors to compare.
        grid: rows and columns of the N tokens.
        order_N: a rank for each token; the highest of a cell is its destination, and ties between
            sources go to the highest.
        count: number of sources to merge; clipped to the number of sources.
    """
    batch, tokens = x_BND.shape[:2]
    target_C = destinations(grid, order_N)
    is_target_N = torch.zeros(tokens, dtype=torch.bool, device=x_BND.device)
    is_target_N[target_C] = True
    source_S = (~is_target_N).nonzero()[:, 0]
    count = min(count, len(source_S))

    likeness_BS, match_BS = matched(x_BND, grid, source_S, target_C)
    # stable, so that ties follow the random order
    by_order_S = order_N[source_S].argsort(descending=True)
    alike_BS = (likeness_BS / TIE).round()[:, by_order_S]
    ranked_BS = by_order_S[alike_BS.argsort(dim=1, descending=True, stable=True)]

    kept = len(source_S) - count
    slots_BN = torch.empty(batch, tokens, dtype=torch.long, device=x_BND.device)
    slots_BN[:, target_C] = torch.arange(len(target_C), device=x_BND.device) + kept
    slot_BS = kept + match_BS
    own_S = torch.arange(kept, device=x_BND.device).expand(batch, -1)
    slot_BS = slot_BS.scatter(1, ranked_BS[:, count:], own_S)
    slots_BN[:, source_S] = slot_BS
    return Merged(slots_BN, tokens - count)


def matched(x_BND: Tensor, grid: Grid, source_S: Tensor, target_C: Tensor) -> tuple[Tensor, Tensor]:
    """Similarity of each source to its destination (B, S), and the destination (B, S).

    The destination is the most similar one by cosine; ties go to the nearest.
    """
    wide = x_BND if x_BND.dtype == torch.float64 else x_BND.float()
    unit_BND = F.normalize(wide, dim=-1)
    likeness_BSC = unit_BND[:, source_S] @ unit_BND[:, target_C].transpose(1, 2)
    best_BS1 = likeness_BSC.amax(-1, keepdim=True)
    down_SC = source_S[:, None] // grid[1] - target_C // grid[1]
    right_SC = source_S[:, None] % grid[1] - target_C % grid[1]
    distance_SC = (down_SC**2 + right_SC**2).to(best_BS1.dtype)
    distance_BSC = distance_SC.where(likeness_BSC > best_BS1 - TIE, torch.inf)
    nearest_BS = distance_BSC.argmin(-1)  # argmin returns the first minimum
    return best_BS1[..., 0], nearest_BS


class Merged(BlockHook):
    """A map from an image's tokens to fewer ones, and back.

    Args:
        slots_BN: index of the merged token of each token.
        slots: M, the number of merged tokens.
    """

    def __init__(self, slots_BN: Tensor, slots: int) -> None:
        self.slots_BN, self.slots = slots_BN, slots
        self.bags: dict[int, Bags] = {}

    def after(self, prefix: int) -> Bags:
        """The map for sequences with a prefix of this length."""
        if prefix not in self.bags:
            self.bags[prefix] = Bags.after(prefix, self.slots_BN, self.slots)
        return self.bags[prefix]

    def select_tokens(self, x_BND: Tensor) -> Tensor:
        """Average merged tokens, (B, P + M, D)."""
        return self.after(x_BND.shape[1] - self.slots_BN.shape[1]).means(x_BND)

    def restore_tokens(self, x_BMD: Tensor) -> Tensor:
        """Copy each merged token back to its tokens, (B, P + N, D)."""
        return self.after(x_BMD.shape[1] - self.slots).copies(x_BMD)

    def select_rotary(self, rotary: Tensor) -> Tensor:
        """Average the cosines and sines, (2, B, P + M, K / 2)."""
        both_BNK = torch.cat(rotary.unbind(), dim=-1).expand(len(self.slots_BN), -1, -1)
        return torch.stack(self.select_tokens(both_BNK).chunk(2, dim=-1))


@dataclass(frozen=True)
class Bags:
    """The map over the rows of all images, in the form of `torch.nn.functional.embedding_bag`.

    It is 10 to 100 times faster here than `scatter_reduce`, and deterministic.

    Attributes:
        slot_R: index of the merged row of each row.
        sorted_R: the rows, sorted by slot.
        first: offset of each slot in ``sorted_R``.
    """

    slot_R: Tensor
    sorted_R: Tensor
    first: Tensor

    @classmethod
    def after(cls, prefix: int, slots_BN: Tensor, slots: int) -> Bags:
        """The map for sequences with a prefix of this length, which is not merged."""
        batch, total = len(slots_BN), prefix + slots
        own = torch.arange(total, device=slots_BN.device).expand(batch, -1)
        slot_BN = torch.cat([own[:, :prefix], slots_BN + prefix], dim=1)
        slot_R = (slot_BN + total * torch.arange(batch, device=own.device)[:, None]).flatten()
        size = slot_R.bincount(minlength=batch * total)
        return cls(slot_R, slot_R.argsort(stable=True), size.cumsum(0) - size)

    def means(self, x_BND: Tensor) -> Tensor:
        """Average the rows of each slot."""
        batch = len(x_BND)
        means = F.embedding_bag(self.sorted_R, x_BND.flatten(0, 1), self.first, mode="mean")
        return means.unflatten(0, (batch, -1))

    def copies(self, x_BMD: Tensor) -> Tensor:
        """Copy each slot to its rows."""
        batch = len(x_BMD)
        return x_BMD.flatten(0, 1).index_select(0, self.slot_R).unflatten(0, (batch, -1))
