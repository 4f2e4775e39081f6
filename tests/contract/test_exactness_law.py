"""Law 7: with an oracle, one token a step at temperature 1 reproduces the joint distribution.

Shape legend: B batch, L tokens, V codebook, S the V ** L states of the joint distribution.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from demask import rng
from demask.sampling.decode import decode
from demask.sampling.edit import blank
from demask.sampling.sampler import Sampler
from demask.sampling.schedule import linear
from demask.sampling.select import ORDERS, Confidence, Entropy, Halton, Order
from demask.sampling.temperature import Temperature
from demask.types import Condition, Prediction, Step, TokenLayout

TOKENS, CODES, PICTURES = 4, 3, 12_000
STATES_SL = torch.cartesian_prod(*[torch.arange(CODES)] * TOKENS)
ORDERS_UNBIASED = {
    **{name: ORDERS[name]() for name in ORDERS if ORDERS[name]().unbiased},
    "halton without roll": Halton(roll=False),
}
ORDERS_BIASED = {
    "confidence": Confidence(),
    "greedy confidence": Confidence(Temperature(0.0)),
    "choose_then_sample": ORDERS["choose_then_sample"](),
    "entropy, unbounded": Entropy(bound=1e9),
}


@pytest.fixture(scope="module")
def joint_S() -> Tensor:
    """A random distribution over all images, far from independent and nowhere tiny."""
    generator = torch.Generator().manual_seed(5)
    logits_S = torch.randn(len(STATES_SL), generator=generator, dtype=torch.float64)
    return (1.0 * logits_S).softmax(0)


def p_value(joint_S: Tensor, order: Order, temperature: float = 1.0) -> float:
    """Chi-square test of thousands of sampled images against the joint distribution."""
    codes_SLV = torch.nn.functional.one_hot(STATES_SL, CODES).double()

    def oracle(ids_BL: Tensor, condition: Condition, step: Step) -> Prediction:
        agrees_BSL = (ids_BL[:, None] == CODES) | (ids_BL[:, None] == STATES_SL)
        weight_BS = agrees_BSL.all(-1) * joint_S
        return Prediction(torch.einsum("bs,slv->blv", weight_BS, codes_SLV).log())

    sampler = Sampler(TOKENS, linear, order, Temperature(temperature))
    generators = rng.image_generators(range(PICTURES))
    canvas = blank(PICTURES, TokenLayout((2, 2)), mask_id=CODES)
    *_, last = decode(oracle, Condition({}), canvas, generators, sampler)
    state_B = (last.ids_BL * CODES ** torch.arange(TOKENS - 1, -1, -1)).sum(-1)
    found_S = torch.bincount(state_B, minlength=len(joint_S)).double()
    expected_S = PICTURES * joint_S
    assert expected_S.min() > 5, "too few expected images for a chi-square test"
    chi_square = ((found_S - expected_S) ** 2 / expected_S).sum()
    freedom = torch.tensor((len(joint_S) - 1) / 2, dtype=torch.float64)
    return torch.special.gammaincc(freedom, chi_square / 2).item()


@pytest.mark.parametrize("name", ORDERS_UNBIASED)
def test_unbiased_orders_sample_the_joint(name: str, joint_S: Tensor) -> None:
    assert p_value(joint_S, ORDERS_UNBIASED[name]) > 1e-3


@pytest.mark.parametrize("name", ORDERS_BIASED)
def test_the_test_has_power_against_biased_orders(name: str, joint_S: Tensor) -> None:
    assert p_value(joint_S, ORDERS_BIASED[name]) < 1e-6


def test_the_test_has_power_against_a_slightly_wrong_temperature(joint_S: Tensor) -> None:
    assert p_value(joint_S, ORDERS["random"](), temperature=0.8) < 1e-6
