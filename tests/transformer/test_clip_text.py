"""CLIP's text encoder, on its own; tests/parity compares it with the public one."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from demask.transformer.clip_text import ACTIVATIONS, ClipText, ClipTextConfig

END = 9
CONFIG = ClipTextConfig(
    vocabulary=10, end_id=END, length=6, width=8, mlp_width=12, layers=3, heads=2, pooled_width=5
)
TEXT = torch.tensor([[8, 1, 2, END, END, END], [8, 3, 4, 5, 6, END]])


def model(**change: object) -> ClipText:
    torch.manual_seed(0)
    return ClipText(replace(CONFIG, **change)).eval().requires_grad_(False)


def test_states_of_all_tokens_and_one_vector_a_text() -> None:
    before = TEXT.clone()
    states, pooled = model()(TEXT)
    assert states.shape == (2, 6, 8)
    assert pooled.shape == (2, 5)
    assert torch.equal(TEXT, before)


def test_a_token_sees_those_before_it() -> None:
    changed = TEXT.clone()
    changed[0, 2] = 7
    states, other = (model()(text)[0][0] for text in (TEXT, changed))
    assert torch.allclose(states[:2], other[:2], atol=1e-7)
    assert ((states[2:] - other[2:]).abs().amax(-1) > 1e-5).all()


def test_the_vector_is_taken_at_the_first_end() -> None:
    changed = TEXT.clone()
    changed[0, 4:] = 1
    _, pooled = model()(TEXT)
    assert torch.allclose(model()(changed)[1], pooled, atol=1e-6), "what follows is padding"
    changed[0, 3] = 1
    changed[0, 5] = END
    assert not torch.allclose(model()(changed)[1][0], pooled[0], atol=1e-4)


def test_the_states_are_those_before_the_last_layer() -> None:
    first, other = model(), model()
    for parameter in other.text_model.encoder.layers[-1].parameters():
        parameter.add_(torch.randn_like(parameter))
    states, pooled = first(TEXT)
    assert torch.equal(other(TEXT)[0], states)
    assert not torch.allclose(other(TEXT)[1], pooled, atol=1e-4)
    for parameter in other.text_model.encoder.layers[-2].parameters():
        parameter.add_(torch.randn_like(parameter))
    assert not torch.allclose(other(TEXT)[0], states, atol=1e-4)


def test_the_states_are_not_normed() -> None:
    network = model()
    states, _ = network(TEXT)
    network.text_model.final_layer_norm.weight.zero_()
    assert torch.equal(network(TEXT)[0], states)
    assert float(network(TEXT)[1].abs().max()) == 0


def test_texts_of_a_batch_do_not_meet() -> None:
    network = model().double()
    together, alone = network(TEXT), network(TEXT[1:])
    assert all(torch.allclose(a[1:], b, atol=1e-12) for a, b in zip(together, alone, strict=True))


def test_the_activation_is_the_one_that_is_named() -> None:
    outputs = [model(activation=name)(TEXT)[1] for name in ACTIVATIONS]
    assert not torch.allclose(*outputs, atol=1e-6)
    x = torch.linspace(-4, 4, 9)
    assert torch.allclose(ACTIVATIONS["quick_gelu"](x), x * torch.sigmoid(1.702 * x))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"activation": "glu"}, "unknown activation 'glu'; did you mean 'gelu'"),
        ({"heads": 3}, "width 8 must be a multiple of 3 heads"),
        ({"layers": 1}, "at least 2 layers"),
    ],
)
def test_sizes_that_make_no_sense(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(CONFIG, **change)
