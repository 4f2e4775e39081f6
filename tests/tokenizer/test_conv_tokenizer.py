"""Our small tokenizer."""

from __future__ import annotations

import pytest
import torch

from demask.tokenizer.conv_tokenizer import ConvTokenizerConfig
from tiny import tiny_tokenizer


def test_any_multiple_of_the_downsampling_works() -> None:
    tokenizer = tiny_tokenizer()
    image_BCHW = torch.rand(2, 3, 12, 20, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        ids_BHW = tokenizer.encode(image_BCHW)
        made_BCHW = tokenizer.decode(ids_BHW)
        assert torch.allclose(tokenizer(image_BCHW).clamp(0, 1), made_BCHW, atol=1e-5)
    assert ids_BHW.shape == (2, 3, 5)
    assert ids_BHW.max() < tokenizer.codebook_size == 15
    assert made_BCHW.shape == image_BCHW.shape
    assert made_BCHW.min() >= 0
    assert made_BCHW.max() <= 1


def test_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="18x16 pixels: both sides must be multiples of 4"):
        tiny_tokenizer().encode(torch.rand(1, 3, 16, 18))


@pytest.mark.parametrize(
    "sizes",
    [
        {"widths": (16,)},
        {"widths": (20, 16)},
        {"levels": (1, 5)},
        {"pixel_width": 8},
    ],
)
def test_sizes_that_cannot_be_built_are_refused(sizes: dict) -> None:
    with pytest.raises(ValueError, match="widths|levels|level"):
        ConvTokenizerConfig(**sizes)


def test_usage_counts_codes() -> None:
    assert tiny_tokenizer().usage(torch.tensor([[[0, 1], [1, 2]]])) == 3 / 15
