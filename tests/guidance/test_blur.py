from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from demask.guidance.blur import blur_tokens
from demask.tokenizer.conv_tokenizer import ConvTokenizer, ConvTokenizerConfig
from demask.tokenizer.finite_scalar import FiniteScalarQuantizer
from demask.tokenizer.vq_model import VQModel, VQModelConfig
from demask.tokenizer.vqgan import VQGAN, VQGANConfig

HIDDEN = 100


@dataclass(frozen=True)
class Greys:
    """Codes 0 to 99 that are their own latents."""

    codebook_size: int = HIDDEN

    def latents(self, ids_BHW: Tensor) -> Tensor:
        return ids_BHW[:, None].float()

    def nearest(self, latents_BCHW: Tensor) -> Tensor:
        return latents_BCHW[:, 0].round().long()


def test_every_visible_token_is_the_weighted_mean_of_those_around() -> None:
    ids_BL = torch.tensor([[10, 50, 90, 20, HIDDEN, 60]])
    sigma = 0.8
    found = blur_tokens(Greys(), ids_BL, (2, 3), sigma)[0].tolist()
    places = [(r, c) for r in range(2) for c in range(3)]
    for place, (row, column) in enumerate(places):
        near = [(r - row) ** 2 + (c - column) ** 2 for r, c in places]
        weight_L = torch.tensor([-d / (2 * sigma**2) for d in near]).exp()
        weight_L[4] = 0  # a masked token adds nothing
        mean = (weight_L * ids_BL[0]).sum() / weight_L.sum()
        assert found[place] == (HIDDEN if place == 4 else round(mean.item()))


def test_the_sharpest_blur_changes_nothing_and_the_widest_levels_all() -> None:
    ids_BL = torch.tensor([[10, 50, 90, HIDDEN], [HIDDEN] * 4])
    assert torch.equal(blur_tokens(Greys(), ids_BL, (2, 2), 0.05), ids_BL)
    level = blur_tokens(Greys(), ids_BL, (2, 2), 1e6)
    assert level.tolist() == [[50, 50, 50, HIDDEN], [HIDDEN] * 4]


@pytest.mark.parametrize(
    "make",
    [
        lambda: ConvTokenizer(ConvTokenizerConfig((8, 5, 4), (16,), (1,), (1,), 16)),
        lambda: VQGAN(VQGANConfig(32, (1, 1), 1, codebook_size=160, latent_width=4)),
        lambda: VQModel(VQModelConfig((8, 16), 1, 160, 3, code_width=3, groups=4)),
    ],
    ids=["conv_tokenizer", "vqgan", "vq_model"],
)
@torch.no_grad()
def test_every_tokenizer_finds_its_codes_again(make) -> None:
    torch.manual_seed(0)
    tokenizer = make().eval()
    ids_BHW = torch.arange(160).view(2, 8, 10)
    latents_BCHW = tokenizer.latents(ids_BHW)
    assert torch.equal(tokenizer.nearest(latents_BCHW), ids_BHW)
    ids_BL = torch.cat([ids_BHW.flatten(1), torch.full((2, 10), 160)], dim=1)
    found_BL = blur_tokens(tokenizer, ids_BL, (9, 10), 1.0)
    assert (found_BL[:, 80:] == 160).all()
    assert found_BL[:, :80].max() < 160
    assert not torch.equal(found_BL, ids_BL)


def test_levels_are_rounded_and_kept_within_their_range() -> None:
    quantizer = FiniteScalarQuantizer((4, 5))
    values = torch.tensor([[0.3, 0.2], [2.0, -3.0], [-0.8, 0.8]]).T[None, :, :, None]
    # 4 levels at -1, -0.5, 0, 0.5; 5 levels at -1 to 1 by halves
    nearest = quantizer.values(quantizer.nearest(values))[0, :, :, 0].T
    assert nearest.tolist() == [[0.5, 0.0], [0.5, -1.0], [-1.0, 1.0]]
