"""The perceptual loss."""

from pathlib import Path

import pytest
import torch

from demask.evaluation.extractors import WEIGHTS
from demask.training.perceptual import PerceptualLoss
from demask.training.tasks.tokenizer import TokenizerLoss

CONV = WEIGHTS / "cifar10_conv" / "classifier.safetensors"


def test_it_is_zero_for_equal_images_and_grows_with_the_difference() -> None:
    loss = PerceptualLoss(CONV)
    image_BCHW = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    noise_BCHW = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    distances = [float(loss(image_BCHW + s * noise_BCHW, image_BCHW)) for s in (0, 0.02, 0.1)]
    assert distances[0] == 0
    assert distances[0] < distances[1] < distances[2]


def test_only_the_image_gets_gradients_and_the_network_stays_frozen() -> None:
    loss = PerceptualLoss(CONV)
    statistics = {n: b.clone() for n, b in loss.network.named_buffers()}
    image_BCHW, target_BCHW = (torch.rand(2, 3, 32, 32, requires_grad=True) for _ in range(2))
    loss(image_BCHW, target_BCHW).backward()
    assert image_BCHW.grad is not None
    assert image_BCHW.grad.abs().sum() > 0
    assert target_BCHW.grad is None
    assert not any(p.requires_grad for p in loss.parameters())
    for name, buffer in loss.network.named_buffers():
        assert torch.equal(buffer, statistics[name]), name


def test_another_network_or_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="small_conv"):
        PerceptualLoss(WEIGHTS / "cifar10_patches" / "classifier.safetensors")
    with pytest.raises(ValueError, match="no such file"):
        PerceptualLoss(tmp_path / "none.safetensors")
    with pytest.raises(ValueError, match="name its file as 'network'"):
        TokenizerLoss(perceptual=1.0)
