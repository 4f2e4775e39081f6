"""The discriminator of a tokenizer's training: real against reconstructed patches.

Shape legend: B batch, C channels, H W rows and columns.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm


class PatchDiscriminator(nn.Module):
    """Scores overlapping patches (as in arXiv 1611.07004), spectrally normalised."""

    def __init__(self) -> None:
        super().__init__()
        width = 48  # of the first layer; doubled at each of the two halvings
        self.layers = nn.ModuleList(
            [
                spectral_norm(nn.Conv2d(3, width, 4, stride=2, padding=1)),
                spectral_norm(nn.Conv2d(width, 2 * width, 4, stride=2, padding=1)),
                spectral_norm(nn.Conv2d(2 * width, 4 * width, 3, padding=1)),
            ]
        )
        self.score = spectral_norm(nn.Conv2d(4 * width, 1, 3, padding=1))

    def forward(self, image_BCHW: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Patch scores (B, 1, h, w), high for real, and each layer's features."""
        hidden_BCHW, features = image_BCHW * 2 - 1, []
        for layer in self.layers:
            hidden_BCHW = F.leaky_relu(layer(hidden_BCHW), 0.2)
            features.append(hidden_BCHW)
        return self.score(hidden_BCHW), features
