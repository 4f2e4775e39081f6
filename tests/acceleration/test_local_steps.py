"""Local steps: which rows are computed, what they see, and what is remembered.

Shape legend: B batch, L ids, N tokens.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from demask import rng
from demask.acceleration import LocalSteps, TokenMerging, accelerate, parse_accelerator
from demask.acceleration.cache import TokenSubset, pooled
from demask.guidance import (
    ClassifierFree,
    Constant,
    Interval,
    Refreshed,
    Scale,
    SelfGuidance,
    Spatial,
)
from demask.sampling.decode import decode, last
from demask.sampling.edit import blank
from demask.sampling.sampler import Sampler
from demask.sampling.select import Halton
from demask.transformer.amused import Amused
from demask.transformer.feature_selection import FeatureSelection
from demask.transformer.maskgit import MaskGIT, MaskGITConfig
from demask.types import Condition, Predict, Prediction, Step, TokenLayout
from tiny import tiny_amused, tiny_generator, tiny_meissonic, tiny_transformer

GRID = (4, 4)
CONDITION = Condition(
    {
        "class_ids": torch.tensor([0, 2]),
        "states": torch.randn(2, 6, 16, generator=torch.Generator().manual_seed(0)),
        "pooled": torch.randn(2, 16, generator=torch.Generator().manual_seed(1)),
        "micro": torch.tensor([[16.0, 16, 0, 0, 6]]).expand(2, -1),
    }
)


def maskgit() -> MaskGIT:
    torch.manual_seed(4)
    return MaskGIT(MaskGITConfig(15, 3, GRID, width=16, depth=2, heads=2, mlp_width=16)).eval()


MODELS: dict[str, Any] = {
    "maskgit": maskgit,
    "modern_maskgit": tiny_transformer,
    "meissonic": tiny_meissonic,
    "amused": tiny_amused,
    "amused, 2x2 ids a token": partial(tiny_amused, compress=True),
}


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest) -> Any:
    """A random model in float64."""
    transformer = MODELS[request.param]().double().requires_grad_(False)
    generator = torch.Generator().manual_seed(1)
    for parameter in transformer.parameters():
        parameter += 0.2 * torch.randn(parameter.shape, generator=generator)
    return transformer


def at(index: int, rows_BL: Tensor | None = None) -> Step:
    return Step(index, 12, TokenLayout(GRID), torch.full((2,), 0.5), rows_BL)


def some(*positions: list[int]) -> Tensor:
    """A mask of a few positions, a list for each image."""
    rows_BL = torch.zeros(len(positions), 16, dtype=torch.bool)
    for row_L, chosen in zip(rows_BL, positions, strict=True):
        row_L[chosen] = True
    return rows_BL


def ids(seed: int) -> Tensor:
    return torch.randint(15, (2, 16), generator=torch.Generator().manual_seed(seed))


def lengths(layer: nn.Module) -> list[int]:
    """How many tokens a layer sees, call by call."""
    counts: list[int] = []
    layer.register_forward_hook(lambda _m, given, _out: counts.append(given[0].shape[1]))
    return counts


def skip_convolutions(model: Any) -> None:
    """aMUSEd's first convolutions carry a change to tokens that a local step does not compute."""
    if isinstance(model, Amused):
        pytest.skip("a local step is less accurate after convolutions; see docs/methods")


def image_layer(model: Any) -> nn.Module:
    found = {
        "MaskGIT": lambda: model.blocks[1].attention.query,
        "ModernMaskGIT": lambda: model.blocks[1].attention.qkv,
        "Amused": lambda: model.transformer_layers[1].attn1.to_k,
        "Meissonic": lambda: model.single_transformer_blocks[0].attn.to_k,
    }
    return found[type(model).__name__]()


@torch.no_grad()
def test_a_full_step_is_the_plain_one(model) -> None:
    fast = LocalSteps(4, 1).around(model)
    plain, same = (m.predict(ids(0), CONDITION, at(0, some([1], [2]))) for m in (model, fast))
    assert torch.equal(same.logits_BLV, plain.logits_BLV)
    assert torch.equal(same.features, plain.features)


@torch.no_grad()
def test_a_local_step_of_all_rows_is_a_full_one(model) -> None:
    """Its keys and values are fresh, and in their places; the last of the first image too."""
    fast = LocalSteps(4, 1).around(model)
    fast.predict(ids(0), CONDITION, at(0))
    everything = torch.ones(2, 16, dtype=torch.bool)
    everything[1, [0, 1, 4, 5]] = False  # as ragged as tokens of 2x2 ids can be
    same_BL = ids(0).where(~everything, ids(1))
    near = fast.predict(same_BL, CONDITION, at(1, everything))
    # the second image's other rows are only as old as the full step, which saw other tokens
    whole = model.predict(same_BL, CONDITION, at(1))
    text_is_old = type(model).__name__ == "Meissonic"
    far = 1e-9 if not text_is_old else 0.5
    assert (near.logits_BLV[0] - whole.logits_BLV[0]).abs().max() < far


@torch.no_grad()
def test_nothing_new_gives_what_a_full_step_gives(model) -> None:
    """Whatever the rows: their context is what it was."""
    fast = LocalSteps(4, 1).around(model)
    whole = fast.predict(ids(0), CONDITION, at(0))
    rows_BL = some([3, 4, 9], [15])
    near = fast.predict(ids(0), CONDITION, at(1, rows_BL))
    torch.testing.assert_close(near.logits_BLV, whole.logits_BLV)
    torch.testing.assert_close(near.features, whole.features)


@torch.no_grad()
def test_rows_see_what_was_just_decided(model) -> None:
    """A decided token's keys and values are written before the others look at it."""
    skip_convolutions(model)
    fast = LocalSteps(4, 1).around(model)
    fast.predict(ids(0), CONDITION, at(0))
    unmasked_now_BL = ids(0)
    unmasked_now_BL[:, 3] = (unmasked_now_BL[:, 3] + 1) % 15
    rows_BL = some([12], [12])
    near = fast.predict(unmasked_now_BL, CONDITION, at(1, rows_BL)).logits_BLV[rows_BL]
    deaf = LocalSteps(4, 1).around(model)
    deaf.predict(ids(0), CONDITION, at(0))
    stale = deaf.predict(ids(0), CONDITION, at(1, rows_BL)).logits_BLV[rows_BL]
    whole = model.predict(unmasked_now_BL, CONDITION, at(1)).logits_BLV[rows_BL]
    assert (near - whole).abs().max() < 0.7 * (stale - whole).abs().max()


@torch.no_grad()
def test_only_asked_and_changed_tokens_are_computed(model) -> None:
    counts = lengths(image_layer(model))
    fast = LocalSteps(4, 1).around(model)
    fast.predict(ids(0), CONDITION, at(0))
    changed_BL = ids(0)
    changed_BL[0, 0] = (changed_BL[0, 0] + 1) % 15
    fast.predict(changed_BL, CONDITION, at(1, some([2, 3, 15], [7])))
    fast.predict(changed_BL, CONDITION, at(2, some([2], [7])))
    name = type(model).__name__
    image = 16 // model.grid_multiple**2
    whole = {"MaskGIT": image + 1, "Meissonic": 6 + image}.get(name, image)
    prefix = 1 if name == "MaskGIT" else 0
    # with 2x2 ids a token, ids 2 and 3 are one; of Meissonic, the text is not computed
    first, second = (3, 1) if model.grid_multiple == 2 else (4, 1)
    assert counts == [whole, prefix + first, prefix + second]


@torch.no_grad()
def test_the_text_stream_stands_still() -> None:
    model = tiny_meissonic()
    counts = lengths(model.transformer_blocks[0].attn.add_k_proj)
    fast = LocalSteps(2, 1).around(model)
    for index in range(4):
        fast.predict(ids(0), CONDITION, at(index, some([1], [2])))
    assert counts == [6, 6]


@pytest.mark.parametrize(
    ("period", "full", "expected"),
    [(2, 1, "F.F.F.F."), (4, 2, "FF...F.."), (3, 3, "FFF..F.."), (9, 1, "F.......")],
)
@torch.no_grad()
def test_when_a_step_is_full(period: int, full: int, expected: str) -> None:
    model = tiny_transformer()
    counts = lengths(model.blocks[0].attention.qkv)
    fast = LocalSteps(period, full).around(model)
    for index in range(8):
        fast.predict(ids(0), CONDITION, at(index, some([1], [2])))
    assert "".join("F" if count == 16 else "." for count in counts) == expected


@torch.no_grad()
def test_a_step_that_reads_everything_is_full() -> None:
    model = tiny_transformer()
    counts = lengths(model.blocks[0].attention.qkv)
    fast = LocalSteps(4, 1).around(model)
    for index, rows_BL in enumerate([None, some([1], [2]), None, *[some([1], [2])] * 4]):
        fast.predict(ids(0), CONDITION, at(index, rows_BL))
    assert counts == [16, 1, 16, 1, 1, 1, 16]


@torch.no_grad()
def test_a_step_that_reads_nothing_costs_nothing() -> None:
    model = tiny_transformer()
    counts = lengths(model.blocks[0].attention.qkv)
    fast = LocalSteps(3, 1).around(model)
    first = fast.predict(ids(0), CONDITION, at(0))
    other_BL = (ids(0) + 1) % 15
    again = fast.predict(other_BL, CONDITION, at(1, some([], [])))
    assert torch.equal(again.logits_BLV, first.logits_BLV)
    assert counts == [16]
    fast.predict(other_BL, CONDITION, at(2, some([1], [])))
    assert counts == [16, 16], "all that changed meanwhile"


def widths(transformer: Any, scale: Scale, batched: bool) -> list[tuple[int, int]]:
    """Images and tokens of each pass of eight guided steps."""
    seen: list[tuple[int, int]] = []
    layer = transformer.blocks[0].attention.qkv
    layer.register_forward_hook(lambda _m, given, _out: seen.append(given[0].shape[:2]))
    fast = LocalSteps(4, 1).around(transformer)
    nothing = Condition({"class_ids": torch.tensor([3])})
    guide = ClassifierFree(fast.predict, nothing, scale, batched)
    classes = Condition({"class_ids": torch.tensor([0, 2])})
    for index in range(8):
        guide(ids(0), classes, at(index, some([1], [2])))
    return seen


@torch.no_grad()
def test_each_half_of_a_guidance_has_its_own_memory() -> None:
    both = widths(tiny_transformer(), Constant(2.0), batched=True)
    assert both == [(4, 16), (4, 1), (4, 1), (4, 1)] * 2
    apart = widths(tiny_transformer(), Constant(2.0), batched=False)
    assert apart == [(2, 16), (2, 16), *[(2, 1)] * 6] * 2
    # from the fourth step on (of twelve) guidance sets in, and its half begins with a full pass
    late = widths(tiny_transformer(), Interval(2.0, start=0.3), batched=True)
    assert late == [(2, 16), (2, 1), (2, 1), (4, 16), (4, 1), (4, 1), (4, 1), (4, 16)]


@torch.no_grad()
def test_guidance_sees_the_same_in_one_batch_and_in_two(model) -> None:
    everything = Condition({n: t[[0, 1, 1]] for n, t in CONDITION.tensors.items()})
    results = []
    for batched in (True, False):
        fast = LocalSteps(4, 1).around(model)
        nothing = everything.take(torch.tensor([2]))
        guide = ClassifierFree(fast.predict, nothing, Constant(3.0), batched)
        for index in range(3):
            rows_BL = some([index, 5], [7])
            prediction = guide(ids(index // 2), CONDITION, at(index, rows_BL))
        results.append(prediction.logits_BLV[rows_BL])
    torch.testing.assert_close(*results)


@torch.no_grad()
def test_another_condition_is_not_answered_from_memory() -> None:
    """A guidance of someone else's may not name its passes."""
    model = tiny_transformer()
    fast = LocalSteps(4, 1).around(model)
    other = Condition({**CONDITION.tensors, "class_ids": torch.tensor([1, 1])})
    fast.predict(ids(0), CONDITION, at(0))
    found = fast.predict(ids(0), other, at(1, some([1], [2])))
    assert torch.equal(found.logits_BLV, model.predict(ids(0), other, at(1)).logits_BLV)


@torch.no_grad()
def test_a_pass_without_a_name_is_forgotten() -> None:
    model = tiny_transformer()
    fast: Any = LocalSteps(4, 1).around(model)
    fast.predict(ids(0), CONDITION, replace(at(0), pass_names=()))
    assert not fast.memory
    plain = model.predict(ids(1), CONDITION, at(1)).logits_BLV
    for index in (1, 2):
        step = replace(at(index, some([1], [2])), pass_names=())
        assert torch.equal(fast.predict(ids(1), CONDITION, step).logits_BLV, plain)


@torch.no_grad()
def test_spatial_guidance_sees_the_attention_of_the_last_full_step() -> None:
    model = tiny_transformer()
    fast: Any = LocalSteps(4, 1).around(model)
    _, whole_BL = fast.predict_with_attention(ids(0), CONDITION, at(0))
    assert torch.equal(whole_BL, model.predict_with_attention(ids(0), CONDITION, at(0))[1])
    rows_BL = some([1], [2, 3])
    prediction, same_BL = fast.predict_with_attention(ids(1), CONDITION, at(1, rows_BL))
    assert torch.equal(same_BL, whole_BL)
    assert prediction.logits_BLV.shape == (2, 16, 15)

    def blurred(ids_BL: Tensor, grid: Any, sigma: float) -> Tensor:
        return (ids_BL + 1) % 15

    guide = Spatial(fast.predict, Constant(2.0), blurred, fast.predict_with_attention)
    guide(ids(1), CONDITION, at(2, rows_BL))
    assert set(fast.memory) == {"conditional"}
    assert not hasattr(LocalSteps().around(tiny_meissonic()), "predict_with_attention")


@torch.no_grad()
def test_self_guidance_has_the_features_of_the_whole_image(model) -> None:
    skip_convolutions(model)
    module = FeatureSelection(model.feature_selection()).double().eval()
    for parameter in module.parameters():
        parameter += 0.1
    # an anchor near all features: where the likeness is clamped to 0, a changed row counts as equal
    features_BSD = module.sized(model.predict(ids(0), CONDITION, at(0)).features)
    module.cls_anchor_gen.mlp_t.weight.zero_()
    module.cls_anchor_gen.mlp_t.bias.copy_(features_BSD.mean((0, 1)))
    anchor_BD = module.cls_anchor_gen(CONDITION)
    assert torch.cosine_similarity(features_BSD, anchor_BD[:, None], dim=-1).min() > 0
    fast = LocalSteps(4, 1).around(model)
    counts = lengths(image_layer(model))

    def guide(base: Any) -> SelfGuidance:
        def smoothed(features: Tensor, condition: Condition, step: Step) -> Tensor:
            return module.smoothed_logits(base, features, condition, step)

        return SelfGuidance(base.predict, Constant(2.0), smoothed)

    plain, quick = guide(model), guide(fast)
    first = [guided(ids(0), CONDITION, at(0)).logits_BLV for guided in (plain, quick)]
    assert torch.equal(*first)
    rows_BL = some([1, 2], [9])
    changed_BL = ids(0)
    changed_BL[:, 0] = (changed_BL[:, 0] + 1) % 15
    del counts[:]
    near = quick(changed_BL, CONDITION, at(1, rows_BL)).logits_BLV[rows_BL]
    assert len(counts) == 2
    assert counts[0] == counts[1] < 5
    whole = plain(changed_BL, CONDITION, at(1)).logits_BLV[rows_BL]
    assert (near - whole).abs().mean() < 0.5 * (first[0][rows_BL] - whole).abs().mean()


@torch.no_grad()
def test_a_refresh_of_guidance_in_step_with_full_steps() -> None:
    model = tiny_transformer()
    sizes: list[Any] = []
    layer = model.blocks[0].attention.qkv
    layer.register_forward_hook(lambda _m, given, _out: sizes.append(tuple(given[0].shape[:2])))
    nothing, classes = (Condition({"class_ids": torch.tensor(c)}) for c in ([3], [0, 2]))
    fast = LocalSteps(4, 1).around(model)
    guide = Refreshed(ClassifierFree(fast.predict, nothing, Constant(2.0)), 4)
    for index in range(8):
        guide(ids(0), classes, at(index, some([1], [2])))
    assert sizes == [(4, 16), (2, 1), (2, 1), (2, 1)] * 2


def generate(predict: Predict, steps: int) -> Tensor:
    canvas, generators = blank(2, TokenLayout(GRID), 15), rng.image_generators([7, 8])
    return last(
        decode(predict, CONDITION, canvas, generators, Sampler(steps, order=Halton()))
    ).ids_BL


def test_a_period_of_one_is_off(model) -> None:
    assert LocalSteps(1).around(model) is model
    if type(model).__name__ == "ModernMaskGIT":  # the others' mask is another id
        plain, near = (generate(LocalSteps(p, 1).around(model).predict, 8) for p in (1, 8))
        assert not torch.equal(plain, near)


def test_agreement_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    model = tiny_transformer()
    plain = generate(LocalSteps(3, 1).around(model).predict, 8)
    with caplog.at_level(logging.INFO, "demask.acceleration.local_steps"):
        told = generate(LocalSteps(3, 1, agreement=True).around(model).predict, 8)
    assert torch.equal(told, plain)
    steps = [record.args[0] for record in caplog.records]
    assert steps == [3, 6]
    assert all(0 <= record.args[1] <= 100 for record in caplog.records)


def test_pooling() -> None:
    mask_BL = some([0], [3, 6])
    assert pooled(mask_BL, GRID, 2).tolist() == [
        [True, False, False, False],
        [False, True, False, False],
    ]
    assert pooled(mask_BL, GRID, 1) is mask_BL


def test_rows_are_put_where_they_were_taken() -> None:
    queried_BN = torch.tensor([[False, True, True, False], [False, False, False, True]])
    rows = TokenSubset.of(queried_BN)
    assert rows.index_BM.tolist() == [[1, 2], [3, 0]]
    assert rows.real_BM.tolist() == [[True, True], [True, False]]
    x_BSD = torch.arange(2 * 6 * 1.0).view(2, 6, 1)  # two more stand before
    assert rows.take(x_BSD)[..., 0].tolist() == [[3, 4], [11, 8]]
    put_BSD = torch.zeros_like(x_BSD)
    rows.put(rows.take(x_BSD), put_BSD)
    assert put_BSD[..., 0].tolist() == [[0, 0, 0, 3, 4, 0], [0, 0, 0, 0, 0, 11]]
    assert rows.after(1).index_BM.tolist() == [[0, 2, 3], [0, 4, 1]]
    # tokens of 2x2 ids in a grid of 4x4: a row of upper ids, then one of lower ones
    assert rows.ids(GRID, 2).index_BM[0].tolist() == [2, 3, 8, 9, 6, 7, 12, 13]


def test_a_position_covers_all_of_its_parts() -> None:
    mask_BL = torch.tensor([[False, False, True, False, False, False, True, True]])
    assert pooled(mask_BL, (2, 2), 1, parts=2).tolist() == [[False, True, False, True]]
    rows = TokenSubset(torch.tensor([[3, 0]]), torch.tensor([[True, False]]), 4)
    ids = rows.ids((2, 2), 1, parts=2)
    assert (ids.index_BM.tolist(), ids.length) == ([[6, 7, 0, 1]], 8)
    assert ids.real_BM.tolist() == [[True, True, False, False]]


@pytest.mark.parametrize("text", ["local_steps:0", "local_steps:4,full=0", "local_steps:1.5"])
def test_numbers_out_of_range(text: str) -> None:
    with pytest.raises(
        ValueError, match="is a whole number from 1 on|cannot read period .*; write period=2"
    ):
        parse_accelerator(text)


def test_who_may_use_it() -> None:
    class Foreign:
        def predict(self, ids_BL: Tensor, condition: Condition, step: Step) -> Prediction: ...

    foreign: Any = Foreign()
    with pytest.raises(ValueError, match="local_steps does not work with Foreign"):
        LocalSteps().around(foreign)
    for pair in ([LocalSteps(), TokenMerging()], [TokenMerging(), LocalSteps()]):
        with pytest.raises(ValueError, match="another accelerator looks into"):
            accelerate(tiny_transformer(), pair)


def test_a_generator_generates_with_it() -> None:
    generator = tiny_generator()
    how = {
        "steps": 6,
        "order": "halton",
        "accelerators": ("local_steps:3,full=1",),
        "guidance_scale": 2.0,
    }
    several = generator.generate(["dog", "cat", "ship"], seed=5, **how)
    alone = generator.generate(["cat"], seed=6, **how)
    assert several[1].image.tobytes() == alone[0].image.tobytes()
    off = generator.generate(["dog"], seed=5, **{**how, "accelerators": ("local_steps:1",)})
    plain = generator.generate(["dog"], seed=5, **{**how, "accelerators": ()})
    assert off[0].image.tobytes() == plain[0].image.tobytes()
