"""A perceptual loss: the distance of two images in the features of a frozen classifier.

It is LPIPS (arXiv 1801.03924) without learned weights: the features of every layer are normalised
to unit length over their channels, and their squared differences averaged. The classifier is a file
of ``demask train classifier``; the network of the loss must not be used to evaluate the model.

Shape legend: B batch, C channels, H W rows and columns.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from demask.evaluation.networks import load_classifier
from demask.evaluation.small_conv import SmallConv


class PerceptualLoss(nn.Module):
    """Mean squared distance of normalised features over the layers of a classifier.

    Args:
        path: a file that ``demask train classifier`` wrote with a `SmallConv`.

    Raises:
        ValueError: no such file, or it holds another network.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        network = load_classifier(path).network
        if not isinstance(network, SmallConv):
            raise ValueError(f"{path}: the perceptual loss needs a classifier of 'small_conv'")
        self.network = network.requires_grad_(False).eval()
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def features(self, image_BCHW: Tensor) -> list[Tensor]:
        """The features after every layer except pooling, of unit length over the channels."""
        x_BCHW = (image_BCHW * 4 - 2).contiguous(memory_format=torch.channels_last)
        features = []
        for layer in self.network.body:
            x_BCHW = layer(x_BCHW)
            if not isinstance(layer, nn.MaxPool2d):
                features.append(F.normalize(x_BCHW.float(), dim=1, eps=1e-3))
        return features

    def forward(self, image_BCHW: Tensor, target_BCHW: Tensor) -> Tensor:
        """The loss; gradients flow into the first argument only."""
        with torch.no_grad():
            targets = self.features(target_BCHW)
        pairs = zip(self.features(image_BCHW), targets, strict=True)
        return torch.stack([(f - t).square().sum(1).mean() for f, t in pairs]).mean()
