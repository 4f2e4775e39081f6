"""A small mixer of image patches, for the evaluation of small images.

Its design differs from that of `SmallConv`, so results that both agree on are no artefact of one.

Shape legend: B batch, C channels, D width of the features, H W rows and columns, K classes,
N patches.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class PatchMixerConfig:
    """The sizes of a `PatchMixer`.

    Attributes:
        num_classes: K.
        size: side of the images, in pixels.
        stem: channels of the two convolutions that make 4x4 patches.
        width: D.
        depth: number of blocks.
        patch_width: hidden units of the MLPs over patches.
        channel_width: hidden units of the MLPs over channels.
    """

    num_classes: int = 10
    size: int = 32
    stem: tuple[int, int] = (48, 96)
    width: int = 128
    depth: int = 3
    patch_width: int = 128
    channel_width: int = 256

    def __post_init__(self) -> None:
        if self.size % 4:
            raise ValueError(f"size {self.size} is no multiple of 4")


class Block(nn.Module):
    """An MLP over all patches of a channel, then one over all channels of a patch.

    MLP-Mixer (arXiv 2105.01601), section 2.
    """

    def __init__(self, patches: int, config: PatchMixerConfig) -> None:
        super().__init__()
        self.before_patches, self.before_channels = (nn.LayerNorm(config.width) for _ in range(2))
        self.patches_up = nn.Linear(patches, config.patch_width)
        self.patches_down = nn.Linear(config.patch_width, patches)
        self.channels_up = nn.Linear(config.width, config.channel_width)
        self.channels_down = nn.Linear(config.channel_width, config.width)

    def forward(self, x_BND: Tensor) -> Tensor:
        """Same shape in and out."""
        x_BDN = self.before_patches(x_BND).transpose(1, 2)
        x_BND = x_BND + self.patches_down(F.gelu(self.patches_up(x_BDN))).transpose(1, 2)
        return x_BND + self.channels_down(F.gelu(self.channels_up(self.before_channels(x_BND))))


class PatchMixer(nn.Module):
    """Three convolutions that make patches, mixer blocks, the mean over patches.

    Args:
        config: its sizes.
    """

    def __init__(self, config: PatchMixerConfig) -> None:
        super().__init__()
        self.config = config
        first, second = config.stem
        self.stem = nn.Sequential(
            nn.Conv2d(3, first, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(first),
            nn.ReLU(),
            nn.Conv2d(first, second, 3, padding=1, bias=False),
            nn.BatchNorm2d(second),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(second, config.width, 1),
        )
        patches = (config.size // 4) ** 2
        self.blocks = nn.ModuleList(Block(patches, config) for _ in range(config.depth))
        self.norm = nn.LayerNorm(config.width)
        self.head = nn.Linear(config.width, config.num_classes)

    def forward(self, image_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        """Images in [0, 1] -> features (B, D) and logits (B, K)."""
        image_BCHW = (image_BCHW * 4 - 2).contiguous(memory_format=torch.channels_last)
        x_BND = self.stem(image_BCHW).flatten(2).transpose(1, 2)
        for block in self.blocks:
            x_BND = block(x_BND)
        features_BD = self.norm(x_BND).mean(1)
        return features_BD, self.head(features_BD)
