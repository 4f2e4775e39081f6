from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from demask.tokenizer.vq_layers import Downsampler, ResnetBlock
from demask.tokenizer.vq_model import VQModel, VQModelConfig

TINY = VQModelConfig((8, 8, 16), 1, codebook_size=16, latent_width=6, code_width=4, groups=4)


def model(config: VQModelConfig = TINY) -> VQModel:
    torch.manual_seed(0)
    return VQModel(config).eval().requires_grad_(False)


def test_published_size() -> None:
    with torch.device("meta"):
        net = VQModel(VQModelConfig.meissonic())
    assert sum(p.numel() for p in net.parameters()) == 146_244_675
    assert net.downsampling == 16
    assert net.codebook_size == 8192


@pytest.mark.parametrize("size", [(8, 8), (4, 12), (12, 4)])
def test_any_multiple_of_the_downsampling_goes_there_and_back(size: tuple[int, int]) -> None:
    net = model()
    image_BCHW = torch.rand(2, 3, *size)
    before = image_BCHW.clone()
    ids_BHW = net.encode(image_BCHW)
    assert ids_BHW.shape == (2, size[0] // 4, size[1] // 4)
    assert ids_BHW.dtype == torch.int64
    assert int(ids_BHW.max()) < 16
    assert net.decode(ids_BHW).shape == image_BCHW.shape
    assert torch.equal(image_BCHW, before)


def test_other_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="9x8 pixels: both sides must be multiples of 4"):
        model().encode(torch.rand(1, 3, 8, 9))


def test_decoded_pixels_are_clipped() -> None:
    net = model()
    net.decoder.conv_out.bias.copy_(torch.tensor([9.0, -9.0, 0.0]))
    image_BCHW = net.decode(torch.zeros(1, 2, 2, dtype=torch.int64))
    assert float(image_BCHW.min()) == 0
    assert float(image_BCHW.max()) == 1


def test_a_block_that_widens_adds_its_shortcut_of_the_input() -> None:
    block = ResnetBlock(4, 8, 2).requires_grad_(False)
    block.conv2.weight.zero_()
    block.conv2.bias.zero_()
    x_BCHW = torch.randn(1, 4, 3, 3)
    assert block.conv_shortcut is not None
    assert torch.equal(block(x_BCHW), block.conv_shortcut(x_BCHW))


def test_a_smaller_image_begins_at_its_first_pixel() -> None:
    shrink = Downsampler(1).requires_grad_(False)
    shrink.conv.weight.zero_()
    shrink.conv.weight[..., 0, 0] = 1
    shrink.conv.bias.zero_()
    x_BCHW = torch.arange(16.0).view(1, 1, 4, 4)
    assert torch.equal(shrink(x_BCHW), x_BCHW[..., ::2, ::2])


def overflows(net: VQModel) -> VQModel:
    """The same images, through activations that no float16 can hold."""
    net.decoder.up_blocks[0].resnets[0].conv2.bias.fill_(60_000)
    net.decoder.up_blocks[0].resnets[1].conv2.bias.fill_(60_000)
    net.encoder.mid_block.resnets[0].conv2.bias.fill_(60_000)
    net.encoder.mid_block.resnets[1].conv2.bias.fill_(60_000)
    return net


@pytest.mark.parametrize("as_it_runs", [torch.no_grad, torch.inference_mode])
def test_float16_weights_are_computed_with_in_float32(as_it_runs: Callable) -> None:
    half = overflows(model()).half()
    exact = overflows(model()).half().float()
    image_BCHW = torch.rand(1, 3, 8, 8)
    with as_it_runs():
        ids_BHW = half.encode(image_BCHW)
        decoded_BCHW = half.decode(ids_BHW)
        assert torch.equal(ids_BHW, exact.encode(image_BCHW))
        assert torch.equal(decoded_BCHW, exact.decode(ids_BHW))
    assert decoded_BCHW.dtype == torch.float32
    assert {p.dtype for p in half.parameters()} == {torch.float16}


@pytest.mark.parametrize(
    ("config", "stored", "computed"),
    [
        (TINY, torch.float16, torch.float32),
        (TINY, torch.bfloat16, torch.bfloat16),
        (TINY, torch.float64, torch.float64),
        (replace(TINY, force_upcast=False), torch.float16, torch.float16),
    ],
)
def test_only_float16_is_upcast(
    config: VQModelConfig, stored: torch.dtype, computed: torch.dtype
) -> None:
    net = model(config).to(stored)
    ids_BHW = net.encode(torch.rand(1, 3, 4, 4))
    decoded_BCHW: Tensor = net.decode(ids_BHW)
    assert decoded_BCHW.dtype == computed


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"widths": ()}, "widths needs one entry"),
        ({"widths": (8, 10)}, r"widths \(8, 10\) must be multiples of groups 4"),
        ({"groups": 0}, "groups and blocks must be at least 1"),
        ({"blocks": 0}, "groups and blocks must be at least 1"),
    ],
)
def test_bad_sizes_are_refused(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(TINY, **change)
