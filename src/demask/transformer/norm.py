"""Root-mean-square normalisation."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class RMSNorm(nn.RMSNorm):
    """`torch.nn.RMSNorm` (arXiv 1910.07467) that casts its weight to the input's dtype.

    Under autocast the input is of lower precision than the weight, for which PyTorch has no fused
    kernel and warns.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Normalise over the last dimensions; same shape and dtype in and out."""
        weight = self.weight.to(x.dtype) if self.elementwise_affine else None
        return F.rms_norm(x, self.normalized_shape, weight, self.eps)
