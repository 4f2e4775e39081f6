"""Sample images of a model in training.

Shape legend: B batch, L ids, C channels, H W rows and columns.
"""

from __future__ import annotations

import torch
from torch import Tensor

from demask import rng
from demask.sampling.decode import decode, last
from demask.sampling.edit import blank
from demask.sampling.sampler import Sampler
from demask.sampling.select import Confidence, Order
from demask.types import Condition, Tokenizer, TokenLayout, Transformer

STEPS = 12
ACROSS = 8


def sample_grid(
    transformer: Transformer,
    condition: Condition,
    layout: TokenLayout,
    tokenizer: Tokenizer,
    order: Order | None = None,
) -> Tensor:
    """One image per condition with seeds from 0 on, eight per row: (C, H, W) in [0, 1]."""
    count = len(condition)
    device = next(iter(condition.tensors.values())).device
    canvas = blank(count, layout, transformer.mask_id, device)
    sampler = Sampler(min(STEPS, canvas.ids_BL.shape[1]), order=order or Confidence())
    generators = rng.image_generators(range(count))
    state = last(decode(transformer.predict, condition, canvas, generators, sampler))
    return tiled(tokenizer.decode(layout.join(state.ids_BL, transformer.codebook_size).cpu()))


def tiled(image_BCHW: Tensor, across: int = ACROSS) -> Tensor:
    """Images as one image (C, rows of H, ``across`` of W); the last row is filled with white."""
    missing = image_BCHW.new_ones(-len(image_BCHW) % across, *image_BCHW.shape[1:])
    rows = torch.cat([image_BCHW, missing]).split(across)
    return torch.cat([torch.cat(list(row), dim=-1) for row in rows], dim=-2)
