"""Losses of the tokenizers and of the masked models.

Shape legend: B batch, C channels, H W rows and columns, L tokens, V codebook.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from demask.types import Condition, Step, Transformer


def spectrum_l1(image_BCHW: Tensor, target_BCHW: Tensor) -> Tensor:
    """L1 distance of the Fourier magnitudes (arXiv 2012.12821), wherever a texture is."""
    spectra = [torch.fft.rfft2(x.float(), norm="ortho").abs() for x in (image_BCHW, target_BCHW)]
    return (spectra[0] - spectra[1]).abs().mean()


def edge_l1(image_BCHW: Tensor, target_BCHW: Tensor) -> Tensor:
    """L1 distance of the differences between neighbouring pixels, which keeps edges sharp."""
    error_BCHW = image_BCHW - target_BCHW
    return error_BCHW.diff(dim=-1).abs().mean() + error_BCHW.diff(dim=-2).abs().mean()


def feature_matching(features: list[Tensor], targets: list[Tensor]) -> Tensor:
    """Mean L1 distance of a discriminator's features (arXiv 1512.09300)."""
    pairs = zip(features, targets, strict=True)
    return torch.stack([(f - t.detach()).abs().mean() for f, t in pairs]).mean()


def hinge_discriminator(real_scores: Tensor, fake_scores: Tensor) -> Tensor:
    """The hinge loss of a discriminator: real scores above 1, fake scores below -1."""
    return (F.relu(1 - real_scores).mean() + F.relu(1 + fake_scores).mean()) / 2


def balance(reconstruction: Tensor, adversarial: Tensor, weight: Tensor) -> Tensor:
    """The adversarial weight at which both losses have gradients of equal norm.

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


@torch.no_grad()
def held_out_cross_entropy(
    model: Transformer, ids_BL: Tensor, condition: Condition
) -> dict[str, float]:
    """Cross-entropy in nats per masked token, without label smoothing or corruption.

    The mask ratios are spread evenly over the images; the masked positions are drawn with seed 0.

    Args:
        model: a module on any device.
        ids_BL: the true ids, on the CPU.
        condition: the conditions of the images, a batch of B.

    Returns:
        The mean over all masked tokens, and over those of images with few (under 30 %), about
        half (35 to 65 %) and most (over 90 %) of their tokens masked.
    """
    assert isinstance(model, nn.Module)
    device = next(model.parameters()).device
    generator = torch.Generator().manual_seed(0)
    ratio_B = (torch.randperm(len(ids_BL), generator=generator) + 0.5) / len(ids_BL)
    order_BL = torch.rand(ids_BL.shape, generator=generator).argsort(-1)
    masked_BL = order_BL < (ratio_B * ids_BL.shape[1]).ceil()[:, None]
    losses = []
    for part in torch.arange(len(ids_BL)).split(100):
        input_BL = torch.where(masked_BL[part], model.mask_id, ids_BL[part])
        step = Step(0, 1, model.layout, masked_BL[part].double().mean(-1))
        prediction = model.predict(input_BL.to(device), condition.take(part).to(device), step)
        log_p_BLV = prediction.logits_BLV.float().log_softmax(-1).cpu()
        losses.append(-log_p_BLV.gather(-1, ids_BL[part][..., None])[..., 0])
    loss_BL = torch.cat(losses)
    scores = {"cross_entropy": float(loss_BL[masked_BL].mean())}
    for name, low, high in (("few", 0, 0.3), ("half", 0.35, 0.65), ("most", 0.9, 1)):
        rows_BL = masked_BL & ((ratio_B >= low) & (ratio_B <= high))[:, None]
        if rows_BL.any():
            scores[f"cross_entropy_{name}_hidden"] = float(loss_BL[rows_BL].mean())
    return scores
