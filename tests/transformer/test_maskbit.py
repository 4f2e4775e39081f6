"""MaskBit's transformer: bits of parts, and what its guidance by features sees.

Shape legend: B batch, P positions, S parts, L = P S tokens, K codes of a part, X bits, D width.
"""

from __future__ import annotations

import pytest
import torch

from demask.acceleration import accelerate, parse_accelerator
from demask.transformer.feature_selection import FeatureSelection
from demask.transformer.maskbit import MaskBit, MaskBitConfig
from demask.types import Condition, Prediction, Step

CONDITION = Condition({"class_ids": torch.tensor([1, 4])})


def model(depth: int = 2) -> MaskBit:
    """2x3 positions of 2 parts of 3 bits, in float64."""
    torch.manual_seed(0)
    network = MaskBit(MaskBitConfig(6, 2, 4, (2, 3), 16, depth, 2, mlp_width=24)).double()
    for parameter in network.eval().requires_grad_(False).parameters():
        parameter.normal_(std=0.4)
    return network


def ids() -> torch.Tensor:
    ids_BL = torch.randint(8, (2, 12), generator=torch.Generator().manual_seed(1))
    ids_BL[:, ::3] = 8
    return ids_BL


def predict(network: MaskBit, ids_BL: torch.Tensor) -> Prediction:
    step = Step(0, 4, network.layout, torch.full((2,), 0.5))
    return network.predict(ids_BL, CONDITION, step)


def test_bits_of_a_position_and_zeros_where_a_part_is_masked() -> None:
    ids_BL = torch.tensor([[5, 8, 8, 6] + [0] * 8])
    signs_BPX = model().signs(ids_BL)
    assert signs_BPX.shape == (1, 6, 6)
    assert signs_BPX[0, 0].tolist() == [1, -1, 1, 0, 0, 0]  # 5 is 101, the lowest bit first
    assert signs_BPX[0, 1].tolist() == [0, 0, 0, -1, 1, 1]
    assert signs_BPX[0, 2:].eq(-1).all()


def test_every_part_has_its_own_codes() -> None:
    network = model()
    prediction = predict(network, ids())
    assert prediction.logits_BLV.shape == (2, 12, 8)
    assert prediction.features is not None
    assert prediction.features.shape == (2, 7, 16)  # the class, and the positions
    network.output.bias[8:] += 100.0 * torch.arange(8)
    other_BLV = predict(network, ids()).logits_BLV
    assert torch.equal(other_BLV[:, ::2], prediction.logits_BLV[:, ::2])
    assert (other_BLV[:, 1::2].argmax(-1) == 7).all()


def test_the_known_part_of_a_position_is_read() -> None:
    network, ids_BL = model(), ids()
    other_BL = ids_BL.clone()
    other_BL[0, 1] = (other_BL[0, 1] + 1) % 8  # beside it the other part is masked
    first, second = (predict(network, given).logits_BLV for given in (ids_BL, other_BL))
    assert not torch.allclose(first[0], second[0])
    assert torch.equal(first[1], second[1])


def test_a_number_of_tokens_that_does_not_fit_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"6 tokens; .* take exactly 12 \(2x3x2\)"):
        predict(model(), ids()[:, :6])


@pytest.mark.parametrize(
    ("bits", "splits", "line"),
    [(9, 2, "9 bits do not split into 2 equal parts"), (8, 0, "split into 0"), (0, 1, "0 bits")],
)
def test_bits_must_split_evenly(bits: int, splits: int, line: str) -> None:
    with pytest.raises(ValueError, match=line):
        MaskBitConfig(bits, splits)


def test_self_guidance_reads_features_of_positions_and_gives_logits_of_parts() -> None:
    network = model()
    torch.manual_seed(2)
    module = FeatureSelection(network.feature_selection()).double().eval().requires_grad_(False)
    for parameter in module.parameters():
        parameter.normal_(std=0.5)
    prediction = predict(network, ids())
    step = Step(0, 4, network.layout, torch.full((2,), 0.5))
    smoothed_BLV = module.smoothed_logits(network, prediction.features, CONDITION, step)  # type: ignore[arg-type]
    assert smoothed_BLV.shape == prediction.logits_BLV.shape
    assert not torch.allclose(smoothed_BLV, prediction.logits_BLV)


def test_a_local_pass_of_one_block_is_exact() -> None:
    network = model(depth=1)
    fast = accelerate(network, [parse_accelerator("local_steps:9,full=1")])
    first_BL, second_BL, read_BL = ids(), ids(), torch.zeros(2, 12, dtype=torch.bool)
    second_BL[0, 3], second_BL[1, [4, 11]] = 5, 8
    read_BL[0, [0, 7]] = read_BL[1, 1] = True
    half_B = torch.full((2,), 0.5)
    fast.predict(first_BL, CONDITION, Step(0, 4, network.layout, half_B))
    step = Step(1, 4, network.layout, half_B, read_BL)
    near_BLV = fast.predict(second_BL, CONDITION, step).logits_BLV
    whole_BLV = network.predict(second_BL, CONDITION, step).logits_BLV
    assert torch.allclose(near_BLV[read_BL], whole_BLV[read_BL], atol=1e-12)
    old_BLV = network.predict(first_BL, CONDITION, step).logits_BLV
    assert not torch.allclose(old_BLV[read_BL], whole_BLV[read_BL], atol=1e-6)


def test_attention_is_of_tokens() -> None:
    network = model()
    step = Step(0, 4, network.layout, torch.full((2,), 0.5))
    seen_BL = network.predict_with_attention(ids(), CONDITION, step)[1]
    assert seen_BL.shape == (2, 12)
    assert torch.equal(seen_BL[:, ::2], seen_BL[:, 1::2])
    assert torch.allclose(seen_BL.mean(-1), torch.ones(2).double())
