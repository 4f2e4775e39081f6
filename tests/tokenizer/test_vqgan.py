from __future__ import annotations

import pytest
import torch

from demask.tokenizer.vqgan import VQGAN, VQGANConfig

TINY = VQGANConfig(channels=32, multipliers=(1, 2), blocks=1, codebook_size=16, latent_width=4)


def model() -> VQGAN:
    torch.manual_seed(0)
    return VQGAN(TINY).eval().requires_grad_(False)


def test_published_size() -> None:
    with torch.device("meta"):
        net = VQGAN(VQGANConfig.imagenet())
    assert sum(p.numel() for p in net.parameters()) == 54_515_587
    assert net.downsampling == 16
    assert net.codebook_size == 1024


@pytest.mark.parametrize("size", [(8, 8), (4, 10), (6, 2)])
def test_any_multiple_of_the_downsampling_goes_there_and_back(size: tuple[int, int]) -> None:
    net = model()
    image_BCHW = torch.rand(2, 3, *size)
    before = image_BCHW.clone()
    ids_BHW = net.encode(image_BCHW)
    assert ids_BHW.shape == (2, size[0] // 2, size[1] // 2)
    assert ids_BHW.dtype == torch.int64
    assert int(ids_BHW.max()) < 16
    assert net.decode(ids_BHW).shape == image_BCHW.shape
    assert torch.equal(image_BCHW, before)


def test_other_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="9x8 pixels: both sides must be multiples of 2"):
        model().encode(torch.rand(1, 3, 8, 9))


def test_decoded_pixels_are_clipped() -> None:
    net = model()
    net.decoder.conv_out.bias.copy_(torch.tensor([5.0, -5.0, 0.0]))
    image_BCHW = net.decode(torch.zeros(1, 2, 2, dtype=torch.int64))
    assert float(image_BCHW.min()) == 0
    assert float(image_BCHW.max()) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"channels": 40}, "channels 40 must be a multiple of 32"),
        ({"multipliers": ()}, "multipliers needs one entry"),
        ({"multipliers": (1, 0)}, "multipliers needs one entry of at least 1"),
    ],
)
def test_bad_sizes_are_refused(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        VQGANConfig(**{**vars(TINY), **change})
