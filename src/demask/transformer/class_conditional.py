"""What class-conditional transformers of one fixed grid have in common.

Shape legend: B batch, L image tokens, P prefix, S sequence (P, then the image's positions), N any
part of it, K codebook, D width, V vocabulary of the output.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from demask.transformer.feature_selection import FeatureSelectionConfig
from demask.transformer.hooks import NO_HOOKS, PassHooks
from demask.types import Condition, Grid, Prediction, Step, TokenLayout


class ClassConditionalConfig(Protocol):
    """The sizes that `ClassConditional` reads."""

    @property
    def codebook_size(self) -> int:
        """K."""
        ...

    @property
    def num_classes(self) -> int:
        """Classes; the id after them is the null class."""
        ...

    @property
    def grid(self) -> Grid:
        """Rows and columns of the image's tokens."""
        ...

    @property
    def width(self) -> int:
        """D."""
        ...

    @property
    def depth(self) -> int:
        """Blocks."""
        ...


class ClassConditional(nn.Module):
    """Partly masked ids + class -> logits, on the grid of its learned positions.

    The mask id is K. The sequence is a prefix of P tokens, then the image's positions row by row.

    Args:
        config: the sizes.
        parts: tokens at each position.

    Attributes:
        prefix: P.
        blocks: called as ``block(x_BND, around, extra_BND, hook)``.
    """

    prefix: int
    blocks: nn.ModuleList

    def __init__(self, config: ClassConditionalConfig, parts: int = 1) -> None:
        super().__init__()
        self.sizes = config
        self.codebook_size = self.mask_id = config.codebook_size
        self.null_class = config.num_classes
        self.layout = TokenLayout(config.grid, parts)
        self.resizable, self.grid_multiple = False, 1

    @abstractmethod
    def embedded(self, ids_BL: Tensor, class_ids_B: Tensor, hooks: PassHooks = NO_HOOKS) -> Tensor:
        """The first block's input (B, S, D)."""

    def around(self, class_ids_B: Tensor) -> Tensor | None:
        """What every block reads beside the sequence, if anything."""
        return None

    def final(self, x_BND: Tensor, around: Tensor | None) -> Tensor:
        """The hidden states that the head reads, from the last block's output."""
        return x_BND

    @abstractmethod
    def head(self, x_BND: Tensor, position_BN: Tensor | None, columns: int | None) -> Tensor:
        """Logits of the first ``columns`` ids, or of all.

        Args:
            x_BND: hidden states of image tokens.
            position_BN: their positions in the image; None: all, in order.
            columns: the number of ids.
        """

    @abstractmethod
    def received(self, x_BSD: Tensor, around: Tensor | None) -> Tensor:
        """The attention that each token receives in the last block (B, S), from its input."""

    def check_length(self, ids_BL: Tensor) -> None:
        """Raise a ValueError for a number of tokens other than that of the learned positions."""
        if ids_BL.shape[1] != self.layout.tokens:
            sides = "x".join(map(str, self.layout.dims))
            raise ValueError(
                f"{ids_BL.shape[1]} tokens; this model's learned positions take exactly "
                f"{self.layout.tokens} ({sides})"
            )

    def states(
        self,
        ids_BL: Tensor,
        class_ids_B: Tensor,
        extra_values: Sequence[Tensor] | None = None,
        hooks: PassHooks = NO_HOOKS,
    ) -> Iterator[Tensor]:
        """The first block's input, then every block's output: depth + 1 tensors (B, S, D).

        The last one is what the head reads.

        Args:
            ids_BL: in row-major order; masked ones hold ``mask_id``.
            class_ids_B: classes; ``null_class`` for none.
            extra_values: additional value input (B, S, D) per block (self-guidance).
            hooks: hooks of an accelerator.

        Raises:
            ValueError: see `check_length`.
        """
        self.check_length(ids_BL)
        x_BND, around = self.embedded(ids_BL, class_ids_B, hooks), self.around(class_ids_B)
        yield x_BND
        x_BND = hooks.select_input(x_BND, prefix=self.prefix)
        last = len(self.blocks) - 1
        for index, block in enumerate(self.blocks):
            extra_BND = None if extra_values is None else extra_values[index]
            hook = hooks(index, x_BND[:, self.prefix :], extra_BND, self.layout.grid)
            x_BND = block(x_BND, around, extra_BND, hook)
            yield x_BND if index < last else self.final(x_BND, around)

    def features(self, ids_BL: Tensor, class_ids_B: Tensor, hooks: PassHooks = NO_HOOKS) -> Tensor:
        """The hidden states that the head reads (B, S, D), prefix included."""
        for state_BSD in self.states(ids_BL, class_ids_B, hooks=hooks):
            last_BSD = state_BSD
        return last_BSD

    def forward(self, ids_BL: Tensor, class_ids_B: Tensor) -> Tensor:
        """Logits (B, L, V) of the whole vocabulary, as trained; the id of the mask is in it."""
        return self.apply_head(self.features(ids_BL, class_ids_B), self.layout, vocabulary=True)

    def apply_head(
        self, features_BSD: Tensor, layout: TokenLayout, *, vocabulary: bool = False
    ) -> Tensor:
        """The head at the image positions: (B, L, K), or (B, L, V) of the whole vocabulary."""
        columns = None if vocabulary else self.codebook_size
        return self.head(features_BSD[:, self.prefix :], None, columns)

    def predict(
        self, ids_BL: Tensor, condition: Condition, step: Step, hooks: PassHooks = NO_HOOKS
    ) -> Prediction:
        """A `Predict`; the condition holds ``class_ids`` (B), ``null_class`` for no class."""
        features_BND = self.features(ids_BL, condition["class_ids"], hooks)
        return Prediction(self.logits(features_BND, ids_BL, hooks), features_BND)

    def logits(self, features_BND: Tensor, ids_BL: Tensor, hooks: PassHooks) -> Tensor:
        """Logits of the codes at the image's tokens that the hooks select (B, N - P, K)."""
        position_BN = None
        positions = self.layout.positions
        if features_BND.shape[1] != self.prefix + positions:
            index_S = torch.arange(-self.prefix, positions, device=ids_BL.device)
            index_BS1 = index_S[:, None].expand(len(ids_BL), -1, 1)
            position_BN = hooks.select_input(index_BS1, prefix=self.prefix)[:, self.prefix :, 0]
        return self.head(features_BND[:, self.prefix :], position_BN, self.codebook_size)

    def predict_with_attention(
        self, ids_BL: Tensor, condition: Condition, step: Step, hooks: PassHooks = NO_HOOKS
    ) -> tuple[Prediction, Tensor]:
        """As `predict`; and the attention that tokens receive in the last block (B, L), mean 1."""
        class_ids_B = condition["class_ids"]
        states = self.states(ids_BL, class_ids_B, hooks=hooks)
        before_BSD, last_BSD = deque(states, maxlen=2)
        seen_BL = self.received(before_BSD, self.around(class_ids_B))[:, self.prefix :]
        prediction = Prediction(self.logits(last_BSD, ids_BL, hooks), last_BSD)
        seen_BL = seen_BL.repeat_interleave(self.layout.parts, dim=1)
        return prediction, seen_BL / seen_BL.mean(-1, keepdim=True)

    def embed_tokens(self, ids_BL: Tensor, condition: Condition, grid: Grid) -> Tensor:
        """The first block's input at the image positions (B, L, D)."""
        return self.embedded(ids_BL, condition["class_ids"])[:, self.prefix :]

    def unconditional(self) -> Condition:
        """The null condition, a batch of 1, as trained by class dropout."""
        device = next(self.parameters()).device
        return Condition({"class_ids": torch.tensor([self.null_class], device=device)})

    def feature_selection(self) -> FeatureSelectionConfig:
        """The sizes of a self-guidance module for it; it has a null class, too."""
        sizes = self.sizes
        return FeatureSelectionConfig(sizes.width, sizes.depth, sizes.num_classes + 1, norm=True)

    def second_pass(
        self,
        extra_values: Sequence[Tensor],
        condition: Condition,
        step: Step,
        blank: bool,
        hooks: PassHooks = NO_HOOKS,
    ) -> Iterator[Tensor]:
        """Self-guidance's smoothed pass (arXiv 2410.13136); see `feature_selection.Base`."""
        class_ids_B = condition["class_ids"]
        shape = (len(class_ids_B), self.layout.tokens)
        ids_BL = class_ids_B.new_full(shape, self.mask_id)
        told_B = torch.full_like(class_ids_B, self.null_class) if blank else class_ids_B
        return self.states(ids_BL, told_B, extra_values, hooks)
