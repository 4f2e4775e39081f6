"""Quantisers with a learned codebook, or by signs: latents <-> ids.

Shape legend: B batch, D latent width, H W rows and columns, N vectors, K codebook.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MAX_DISTANCES = 1 << 24
"""Entries of the distance matrix held at once (64 MiB in float32)."""


class VectorQuantizer(nn.Module):
    """Each latent vector is replaced by the nearest row of a codebook (arXiv 1711.00937, eq. 1).

    Args:
        codebook_size: K.
        width: D.
        unit: scale vectors and codes to unit length (ViT-VQGAN, arXiv 2110.04627, section 3.2).
    """

    def __init__(self, codebook_size: int, width: int, *, unit: bool = False) -> None:
        super().__init__()
        self.codebook_size, self.unit = codebook_size, unit
        self.embedding = nn.Embedding(codebook_size, width)

    def ids(self, latent_BDHW: Tensor) -> Tensor:
        """Latents -> the ids (B, H, W) of the nearest codes by squared distance.

        Vectors are compared in chunks, so memory does not grow with the image.
        """
        batch, width, height, columns = latent_BDHW.shape
        vectors_ND = latent_BDHW.permute(0, 2, 3, 1).reshape(-1, width)
        codes_KD = self.embedding.weight
        if self.unit:
            vectors_ND, codes_KD = F.normalize(vectors_ND), F.normalize(codes_KD)
        squares_K = codes_KD.square().sum(-1)
        chunk = max(1, MAX_DISTANCES // self.codebook_size)
        # |z - e|^2 without |z|^2, which is the same for every code
        nearest = [
            torch.addmm(squares_K, part_ND, codes_KD.T, alpha=-2).argmin(-1)
            for part_ND in vectors_ND.split(chunk)
        ]
        return torch.cat(nearest).view(batch, height, columns)

    def values(self, ids_BHW: Tensor) -> Tensor:
        """Ids -> the codes (B, D, H, W) that they stand for."""
        codes_BDHW = self.embedding(ids_BHW).movedim(-1, 1)
        return F.normalize(codes_BDHW, dim=1) if self.unit else codes_BDHW


class LookupFreeQuantizer(nn.Module):
    """Each channel of a latent becomes its sign: bit c of the id is 1 where channel c is positive.

    Lookup-free quantisation (LFQ, arXiv 2310.05737, section 3.1). There is no codebook.

    Args:
        bits: D.
    """

    shifts: Tensor

    def __init__(self, bits: int) -> None:
        super().__init__()
        self.register_buffer("shifts", torch.arange(bits)[:, None, None], persistent=False)

    def ids(self, latent_BDHW: Tensor) -> Tensor:
        """Latents -> ids (B, H, W); channel 0 is the lowest bit."""
        return ((latent_BDHW > 0).long() << self.shifts).sum(1)

    def values(self, ids_BHW: Tensor) -> Tensor:
        """Ids -> -1 and 1 (B, D, H, W), int64."""
        return 2 * (ids_BHW[:, None] >> self.shifts & 1) - 1
