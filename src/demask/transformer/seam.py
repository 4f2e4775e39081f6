"""The seam inside a transformer's blocks, where an accelerator may look in.

A block computes its attention and its MLP on what `Seam.take` makes of their input, and adds to its
residual stream what `Seam.give` makes of their result. As it stands the seam does nothing, and the
blocks are those of the papers; an accelerator derives its own from it.

Shape legend: B batch, N tokens (a prefix of text or class, then the picture's), M of them that are
computed, D width, K channels of a head.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from torch import Tensor

from demask.types import Condition, Grid, Prediction, Step, Transformer


class Seam:
    """What an accelerator does inside one block; by default nothing."""

    def take(self, x_BND: Tensor) -> Tensor:
        """The tokens (B, M, D) that a branch computes, out of all.

        The picture's tokens are the last ones, whatever stands before them.
        """
        return x_BND

    def give(self, x_BMD: Tensor) -> Tensor:
        """What a branch says of all tokens (B, N, D), out of those that it computed."""
        return x_BMD

    def turn(self, rotary: Tensor) -> Tensor:
        """Rotary tables of the tokens of `take`: (2, N, K / 2) -> the same, or (2, B, M, K / 2)."""
        return rotary

    def take_extra(self, extra_BND: Tensor | None) -> Tensor | None:
        """As `take`, for a second input of the values, where there is one."""
        return None if extra_BND is None else self.take(extra_BND)


PLAIN = Seam()
"""The seam that nobody looks into."""

Seams = Callable[[int, Tensor, Tensor | None, Grid], Seam]
"""``(block, image_BND, extra_BND, grid) -> Seam``: asked before every block of one pass.

``image_BND`` are the picture's tokens in the block's input, ``extra_BND`` the second input of its
values, as long or with the prefix in front, and ``grid`` the rows and columns of the tokens, which
under feature compression are fewer than the ids.
"""


def plain(block: int, image_BND: Tensor, extra_BND: Tensor | None, grid: Grid) -> Seam:
    """The `Seams` of an ordinary pass."""
    return PLAIN


class Seamed(Transformer, Protocol):
    """A transformer whose passes can be looked into."""

    def predict(
        self, ids_BL: Tensor, condition: Condition, step: Step, seams: Seams = plain
    ) -> Prediction:
        """As `Transformer.predict`."""
        ...

    def attended(
        self, ids_BL: Tensor, condition: Condition, step: Step, seams: Seams = plain
    ) -> tuple[Prediction, Tensor]:
        """As ``predict``, with the attention that tokens receive; only some transformers tell."""
        ...

    def second_pass(
        self,
        extra_values: Sequence[Tensor],
        condition: Condition,
        step: Step,
        blank: bool,
        seams: Seams = plain,
    ) -> Iterator[Tensor]:
        """As `feature_selection.Base.second_pass`."""
        ...
