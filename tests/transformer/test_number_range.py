"""Activations: how large they are, and where they stop being finite."""

import logging

import numpy as np
import pytest
import torch
from torch import nn

import demask
from demask.transformer.number_range import first_non_finite, largest_activation


def network() -> nn.Sequential:
    layers = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2))
    nn.init.constant_(layers[0].weight, 1000.0)
    nn.init.constant_(layers[2].weight, 0.001)
    for layer in (layers[0], layers[2]):
        nn.init.zeros_(layer.bias)
    return layers


def test_the_largest_activation_is_that_of_the_layer_inside() -> None:
    layers = network()
    assert largest_activation(layers, lambda: layers(torch.ones(1, 2))) == 2000.0


def test_the_first_layer_that_is_not_finite_is_named() -> None:
    layers = network()
    assert first_non_finite(layers, lambda: layers(torch.ones(1, 2))) is None
    assert first_non_finite(layers, lambda: layers(torch.full((1, 2), 1e37))) == "0"
    nn.init.constant_(layers[2].weight, float("nan"))
    assert first_non_finite(layers, lambda: layers(torch.ones(1, 2))) == "2"
    assert not layers[0]._forward_hooks  # the hooks are removed


def test_float16_generates_what_bfloat16_does_where_it_would_overflow(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING):
        half = demask.load("emoji", dtype=torch.float16)
    assert "exceed the range of float16; bfloat16 is used" in caplog.text
    made = half.generate(["rocket", "red apple"], seed=3, steps=4)
    expected = demask.load("emoji", dtype=torch.bfloat16).generate(
        ["rocket", "red apple"], seed=3, steps=4
    )
    for one, other in zip(made, expected, strict=True):
        assert np.array_equal(np.asarray(one.image), np.asarray(other.image))


def test_float16_stays_where_it_fits(caplog: pytest.LogCaptureFixture) -> None:
    generator = demask.load("cifar10", dtype=torch.float16)
    assert next(generator.transformer.parameters()).dtype == torch.float16  # type: ignore[attr-defined]
    assert not caplog.records
    assert len(generator.generate("cat", num_images=1, steps=2)) == 1


def test_an_overflow_names_the_layer() -> None:
    with pytest.raises(ValueError, match=r"emoji, step 1: the logits .* not finite; .* cond_embed"):
        demask.load("emoji").generate("rocket", micro_conditions="score=1e150")
