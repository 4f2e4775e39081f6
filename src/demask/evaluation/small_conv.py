"""A small convolutional classifier, for the evaluation of small images.

Shape legend: B batch, C channels, D width of the features, H W rows and columns, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class SmallConvConfig:
    """The sizes of a `SmallConv`.

    Attributes:
        num_classes: K.
        widths: channels of the stages; each halves height and width by pooling.
        features: D.
        residual: index of the stage with a residual pair of convolutions.
    """

    num_classes: int = 10
    widths: tuple[int, ...] = (32, 64, 128)
    features: int = 160
    residual: int = 2

    def __post_init__(self) -> None:
        if not 0 <= self.residual < len(self.widths):
            raise ValueError(f"residual must be within 0 and {len(self.widths) - 1}")


class Convolution(nn.Module):
    """3x3 convolution, batch norm, ReLU."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(channels_out)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Same height and width in and out."""
        return F.relu(self.norm(self.conv(x_BCHW)))


class Residual(nn.Module):
    """Two convolutions with a residual connection."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first, self.second = Convolution(channels, channels), Convolution(channels, channels)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Same shape in and out."""
        return x_BCHW + self.second(self.first(x_BCHW))


class SmallConv(nn.Module):
    """Convolutions and pooling, with one residual pair.

    Args:
        config: its sizes.
    """

    def __init__(self, config: SmallConvConfig) -> None:
        super().__init__()
        self.config = config
        layers: list[nn.Module] = []
        for stage, (before, width) in enumerate(
            zip((3, *config.widths), config.widths, strict=False)
        ):
            layers.append(Convolution(before, width))
            layers.append(nn.MaxPool2d(2))
            if stage == config.residual:
                layers.insert(-1, Residual(width))
        self.body = nn.Sequential(*layers, Convolution(config.widths[-1], config.features))
        self.head = nn.Linear(config.features, config.num_classes)

    def forward(self, image_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        """Images in [0, 1] -> features (B, D) and logits (B, K)."""
        x_BCHW = self.body((image_BCHW * 4 - 2).contiguous(memory_format=torch.channels_last))
        features_BD = x_BCHW.mean((2, 3))
        return features_BD, self.head(features_BD)
