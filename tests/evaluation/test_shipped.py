"""The extractors that ship."""

from __future__ import annotations

import pytest
import torch

from demask.evaluation.extractors import WEIGHTS, load_extractor


@pytest.mark.parametrize(("name", "width"), [("cifar10_conv", 160), ("cifar10_patches", 128)])
def test_shipped(name: str, width: int) -> None:
    extractor = load_extractor(name)
    assert extractor.name == name
    assert extractor.class_names[3] == "cat"
    blank_BCHW = torch.full((2, 3, 32, 32), 0.5)
    features_BD, logits_BK = extractor(blank_BCHW)
    assert features_BD.shape == (2, width)
    assert logits_BK is not None
    assert logits_BK.shape == (2, 10)
    assert (WEIGHTS / name / "classifier.safetensors").stat().st_size < 1_400_000
