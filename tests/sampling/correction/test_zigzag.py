from __future__ import annotations

from dataclasses import dataclass, field

import pytest
import torch

from demask import rng
from demask.generator import Generator
from demask.guidance import ClassifierFree, Constant
from demask.sampling.correction import Zigzag, parse_correction
from demask.sampling.decode import decode, last
from demask.sampling.edit import blank, keep
from demask.sampling.sampler import Sampler
from demask.sampling.schedule import linear
from demask.sweeps.cost import CostMeter
from demask.types import Condition, DecodeState, Prediction, Step, TokenLayout
from tiny import tiny_generator, tiny_text_generator

CODES = MASK = 3
NOTHING = 1


@dataclass
class Model:
    """Without a condition it is surer of a token the further left in the grid it lies."""

    asked: list[tuple[str, torch.Tensor, Step]] = field(default_factory=list)

    def __call__(self, ids_BL, condition, step) -> Prediction:
        bare = bool((condition["class_ids"] == NOTHING).all())
        self.asked.append(("bare" if bare else "told", ids_BL, step))
        sure_L = torch.linspace(9, 1, ids_BL.shape[1]) if bare else torch.zeros(ids_BL.shape[1])
        logits_BLV = torch.zeros(*ids_BL.shape, CODES)
        logits_BLV[..., 0] += sure_L
        return Prediction(logits_BLV)


def generate(
    correction, model=None, canvas=None, steps=4, scale=3.0, images=1
) -> list[DecodeState]:
    canvas = canvas or blank(images, TokenLayout((4, 4)), MASK)
    images = len(canvas.ids_BL)
    nothing = Condition({"class_ids": torch.tensor([NOTHING])})
    guided = ClassifierFree(model or Model(), nothing, Constant(scale), batched=False)
    told = Condition({"class_ids": torch.zeros(images, dtype=torch.long)})
    sampler = Sampler(steps, linear, corrections=(correction,))
    return list(decode(guided, told, canvas, rng.image_generators(range(images)), sampler))


def test_forward_back_and_forward_again() -> None:
    """Linear, 4 steps of 16 tokens: 4 decided, 3 masked again, 3 decided."""
    model = Model()
    states = generate(Zigzag(), model)
    assert [kind for kind, *_ in model.asked] == ["told", "bare", "bare", "told", "bare"] * 3 + [
        "told",
        "bare",
    ]
    num_masked = [int((ids_BL == MASK).sum()) for _, ids_BL, _ in model.asked]
    zig, back, zag = num_masked[0::5], num_masked[2::5], num_masked[3::5]
    assert zig == [16, 12, 8, 4]
    assert back == [12, 8, 4]
    assert zag == [15, 11, 7]
    assert [int(state.masked_BL.sum()) for state in states] == [12, 8, 4, 0]
    assert [step.index for *_, step in model.asked] == [0] * 5 + [1] * 5 + [2] * 5 + [3] * 2
    for _, ids_BL, step in model.asked:
        assert step.mask_ratio_B.tolist() == [(ids_BL == MASK).double().mean()]


def test_the_surest_without_guidance_are_masked_again() -> None:
    model = Model()
    generate(Zigzag(), model)
    for k in range(3):
        after_L, again_L = (model.asked[5 * k + i][1][0] for i in (2, 3))
        known = (after_L != MASK).nonzero()[:, 0].tolist()
        gone = ((again_L == MASK) & (after_L != MASK)).nonzero()[:, 0].tolist()
        assert gone == known[:3]


def test_the_step_again_looks_back_at_the_step_before() -> None:
    for k, state in enumerate(generate(Zigzag())):
        assert state.previous is not None
        assert state.previous.previous is None
        assert (state.previous.logits_BLV is None) == (k == 0)
        assert int(state.queried_BL.sum()) == 16 - 4 * k - (k < 3)


def test_the_counts_are_the_images_own_and_known_tokens_stay() -> None:
    ids_BHW = torch.full((2, 4, 4), MASK)
    ids_BHW[0, :2] = 1
    canvas = keep(ids_BHW, ids_BHW != MASK, MASK)
    model = Model()
    for state in generate(Zigzag(), model, canvas):
        assert (state.ids_BL[0, :8] == 1).all()
    num_masked = [(ids_BL == MASK).sum(-1).tolist() for _, ids_BL, _ in model.asked]
    assert num_masked[0::5] == [[8, 16], [6, 12], [4, 8], [2, 4]]
    assert num_masked[3::5] == [[7, 15], [5, 11], [3, 7]]


def test_half_a_zigzag_and_a_part_of_the_loop() -> None:
    model = Model()
    generate(Zigzag(0.5, start=0.25, stop=0.5), model)
    num_masked = [int((ids_BL == MASK).sum()) for _, ids_BL, _ in model.asked]
    # the second step alone: round(0.5 * 3) = 2 of 4 are masked again
    assert num_masked == [16, 16, 12, 12, 8, 10, 10, 8, 8, 4, 4]


def test_the_way_back_may_have_another_scale() -> None:
    model = Model()
    generate(Zigzag(scale=1.0), model)
    assert [kind for kind, *_ in model.asked][:5] == ["told", "bare", "told", "told", "bare"]


@pytest.mark.parametrize("make", [tiny_generator, tiny_text_generator])
@pytest.mark.parametrize("images", [1, 3])
def test_forwards_are_counted_as_they_are(make, images: int) -> None:
    """3 T - 2 predictions, of which 2 T - 1 are guided and cost two forwards."""
    generator: Generator = make()
    (job,) = generator.jobs(
        num_images=images, steps=5, guidance_scale=3.0, corrections=("zigzag",), schedule="linear"
    )
    meter = CostMeter()
    state = last(meter.metered(generator).decode(job, generator.blank(job)))
    assert not state.masked_BL.any()
    assert meter.forwards == images * (2 * (2 * 5 - 1) + (5 - 1))


def test_without_guidance_it_is_one_clear_line() -> None:
    with pytest.raises(ValueError, match="zigzag needs guidance: choose a scale other than 1"):
        tiny_generator().generate(["cat"], corrections=("zigzag",), guidance_scale=1.0)
    with pytest.raises(ValueError, match="zigzag needs guidance"):
        next(
            decode(
                Model(),
                Condition({}),
                blank(1, TokenLayout((4, 4)), MASK),
                rng.image_generators([0]),
                Sampler(4, corrections=(Zigzag(),)),
            )
        )
    assert tiny_generator().generate(
        ["cat"], corrections=("zigzag:strength=0",), guidance_scale=1.0
    )


def test_parse_and_mistakes() -> None:
    assert parse_correction("zigzag:strength=0.5,scale=1,stop=0.5") == Zigzag(0.5, 1, stop=0.5)
    for text, message in (
        ("strength=2", "from 0 \\(off\\) to 1"),
        ("start=0.5,stop=0.5", "0 <= start < stop <= 1"),
    ):
        with pytest.raises(ValueError, match=message):
            parse_correction(f"zigzag:{text}")
