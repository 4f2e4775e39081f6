"""Say so where a request is far from what a model was trained on, in one line of the log.

Shape legend: C channels, H W rows and columns of tokens, Y X of pixels.
"""

from __future__ import annotations

import logging

import torch
from torch import Tensor

from demask.data.transforms import psnr
from demask.types import Tokenizer, TokenLayout

log = logging.getLogger(__name__)

FAR = 1.5
"""A side that is longer or shorter than in training by more than this factor is named."""
LEAST_PSNR = 14.0
"""In dB. The tokenizer of ``emoji`` gives held-out drawings back at 14.1 to 26.4 and photographs of
CIFAR-10 at 12.0 in the median; that of ``cifar10`` gives held-out photographs back at 20 to 30."""


def warn_of_size(name: str, layout: TokenLayout, trained: TokenLayout, downsampling: int) -> None:
    """Warn where a side of an image is far from that of the training.

    Args:
        name: of the model.
        layout: of the image's tokens.
        trained: that of the training; one that is no grid has a single size.
        downsampling: pixels of a token's side.
    """
    if len(trained.shape) != 2:
        return
    grid, usual_grid = layout.grid, trained.grid
    if any(not 1 / FAR <= n / usual <= FAR for n, usual in zip(grid, usual_grid, strict=True)):
        (rows, columns), (usual_rows, usual_columns) = grid, usual_grid
        log.warning(
            "%s was trained on images of %dx%d pixels; at %dx%d, expect repeated or broken objects",
            name,
            usual_columns * downsampling,
            usual_rows * downsampling,
            columns * downsampling,
            rows * downsampling,
        )


@torch.inference_mode()
def warn_of_other_images(
    name: str, tokenizer: Tokenizer, pixels_CYX: Tensor, ids_HW: Tensor, kept_YX: Tensor
) -> None:
    """Warn where a tokenizer cannot give an image back: the model was trained on other ones.

    Args:
        name: of the model.
        tokenizer: of the model.
        pixels_CYX: the image, in [0, 1].
        ids_HW: its tokens.
        kept_YX: True at the pixels that count.
    """
    if not kept_YX.any():
        return
    given_CYX = tokenizer.decode(ids_HW[None])[0].float().cpu()
    found = psnr(pixels_CYX[:, kept_YX].numpy(), given_CYX[:, kept_YX].numpy(), peak=1.0)
    if found < LEAST_PSNR:
        log.warning(
            "%s was trained on other images: its tokenizer gives this one back at %.1f dB PSNR, "
            "and new parts may not fit",
            name,
            found,
        )
