from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from demask.tokenizer.blocks import Level, ResBlock, same_conv


def branch(block: ResBlock, x_BCHW: torch.Tensor) -> torch.Tensor:
    x_BCHW = block.conv1(F.silu(block.norm1(x_BCHW)))
    return block.conv2(F.silu(block.norm2(x_BCHW)))


@torch.no_grad()
def test_a_block_of_one_width_adds_its_input() -> None:
    block, x_BCHW = ResBlock(32, 32), torch.randn(1, 32, 4, 4)
    assert block.nin_shortcut is None
    torch.testing.assert_close(block(x_BCHW), x_BCHW + branch(block, x_BCHW))


@torch.no_grad()
def test_a_block_that_widens_adds_its_shortcut_of_the_processed_branch() -> None:
    block, x_BCHW = ResBlock(32, 64), torch.randn(1, 32, 4, 4)
    assert block.nin_shortcut is not None
    processed = branch(block, x_BCHW)
    torch.testing.assert_close(block(x_BCHW), processed + block.nin_shortcut(processed))


@torch.no_grad()
def test_a_level_upsamples_after_its_blocks() -> None:
    level = Level(32, 64, 2, 0.0, upsamples=True)
    assert level(torch.randn(1, 32, 3, 5)).shape == (1, 64, 6, 10)
    assert [b.nin_shortcut is None for b in level.block] == [False, True]


def test_even_kernels_are_not_symmetric() -> None:
    with pytest.raises(AssertionError):
        same_conv(3, 3, 2, bias=False)
