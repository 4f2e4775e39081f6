"""Losses of the tokenizers and of the masked models.

Shape legend: B batch, C channels, H W rows and columns, L tokens, V codebook.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def spectrum_l1(image_BCHW: Tensor, target_BCHW: Tensor) -> Tensor:
    """L1 distance of the Fourier magnitudes (arXiv 2012.12821): asks for texture, not its place."""
    spectra = [torch.fft.rfft2(x.float(), norm="ortho").abs() for x in (image_BCHW, target_BCHW)]
    return (spectra[0] - spectra[1]).abs().mean()


def edge_l1(image_BCHW: Tensor, target_BCHW: Tensor) -> Tensor:
    """L1 distance of the differences between neighbouring pixels: keeps outlines sharp."""
    error_BCHW = image_BCHW - target_BCHW
    return error_BCHW.diff(dim=-1).abs().mean() + error_BCHW.diff(dim=-2).abs().mean()


def feature_matching(features: list[Tensor], targets: list[Tensor]) -> Tensor:
    """Mean L1 distance of a discriminator's features (arXiv 1512.09300)."""
    pairs = zip(features, targets, strict=True)
    return torch.stack([(f - t.detach()).abs().mean() for f, t in pairs]).mean()


def hinge_discriminator(real_scores: Tensor, fake_scores: Tensor) -> Tensor:
    """Real above 1, fake below -1."""
    return (F.relu(1 - real_scores).mean() + F.relu(1 + fake_scores).mean()) / 2


def balance(reconstruction: Tensor, adversarial: Tensor, weight: Tensor) -> Tensor:
    """The adversarial weight that equals both losses' gradients at ``weight``.

    VQGAN, arXiv 2012.09841, equation 7; at most 10.
    """
    (pull,) = torch.autograd.grad(reconstruction, weight, retain_graph=True)
    (push,) = torch.autograd.grad(adversarial, weight, retain_graph=True)
    return (pull.norm() / (push.norm() + 1e-6)).clamp(0, 10).detach()


def token_cross_entropy(
    logits_BLV: Tensor, target_BL: Tensor, weight_BL: Tensor, label_smoothing: float
) -> Tensor:
    """Weighted mean over tokens of the cross-entropy, in nats."""
    loss_BL = F.cross_entropy(
        logits_BLV.flatten(0, 1).float(),
        target_BL.flatten(),
        reduction="none",
        label_smoothing=label_smoothing,
    ).view_as(target_BL)
    return (loss_BL * weight_BL).sum() / weight_BL.sum().clamp_min(1e-6)
