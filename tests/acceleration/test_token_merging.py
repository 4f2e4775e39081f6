"""Token merging: which tokens become one, what blocks compute of them, and who may use it.

Shape legend: B batch, N tokens of the image, D width.
"""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from demask.acceleration import TokenMerging, accelerate, parse_accelerator
from demask.acceleration.token_merging import SHARED, MergingPass, destinations, drawn, merged
from demask.transformer.feature_selection import FeatureSelection
from demask.transformer.hooks import NO_HOOK
from demask.transformer.maskgit import MaskGIT, MaskGITConfig
from demask.types import Condition, Prediction, Step, TokenLayout
from tiny import tiny_generator, tiny_meissonic, tiny_transformer

GRIDS = [(1, 1), (1, 5), (4, 1), (2, 2), (3, 3), (4, 6), (5, 7)]
STEP = Step(1, 4, TokenLayout((4, 4)), torch.full((2,), 0.5))
CLASSES = Condition({"class_ids": torch.tensor([0, 2])})
TEXTS = Condition(
    {
        "states": torch.randn(2, 6, 16, generator=torch.Generator().manual_seed(0)),
        "pooled": torch.randn(2, 16, generator=torch.Generator().manual_seed(1)),
        "micro": torch.tensor([[16.0, 16, 0, 0, 6]]).expand(2, -1),
    }
)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def by_hand(x_ND: Tensor, grid: tuple[int, int], order: list[int], count: int) -> Tensor:
    """The result of merging and copying back, written as plain loops over one image."""
    cells: dict[tuple[int, int], list[int]] = {}
    for token in range(len(x_ND)):
        row, column = divmod(token, grid[1])
        cells.setdefault((row // 2, column // 2), []).append(token)
    targets = [max(cell, key=lambda token: order[token]) for cell in cells.values()]
    unit_ND = x_ND / x_ND.norm(dim=-1, keepdim=True)
    pairs = []
    for source in set(range(len(x_ND))) - set(targets):
        best = max(targets, key=lambda target: float(unit_ND[source] @ unit_ND[target]))
        pairs.append((float(unit_ND[source] @ unit_ND[best]), source, best))
    bags = {target: [target] for target in targets}
    for _, source, target in sorted(pairs, reverse=True)[:count]:
        bags[target].append(source)
    result = x_ND.clone()
    for bag in bags.values():
        result[bag] = x_ND[bag].mean(0)
    return result


@pytest.mark.parametrize("grid", GRIDS)
def test_every_cell_keeps_one_destination(grid: tuple[int, int]) -> None:
    counts = torch.zeros(math.ceil(grid[0] / 2), math.ceil(grid[1] / 2))
    for token in destinations(grid, drawn(0, 0, grid[0] * grid[1])).tolist():
        row, column = divmod(token, grid[1])
        counts[row // 2, column // 2] += 1
    assert (counts == 1).all()


def test_which_one_is_chance() -> None:
    """Each of the four is taken about as often, and steps and maps differ."""
    taken = torch.cat([destinations((8, 8), drawn(step, 0, 64)) for step in range(100)])
    corner = 2 * (taken // 8 % 2) + taken % 2
    assert (torch.bincount(corner) - 400).abs().max() < 80
    assert not torch.equal(drawn(0, 0, 64), drawn(1, 0, 64))
    assert not torch.equal(drawn(0, 0, 64), drawn(0, 1, 64))
    assert torch.equal(drawn(3, 1, 64), drawn(3, 1, 64))


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("ratio", [0.1, 0.25, 0.5, 0.75])
def test_the_map_is_that_of_plain_loops(grid: tuple[int, int], ratio: float) -> None:
    tokens = grid[0] * grid[1]
    x_BND, order_N = noise(3, tokens, 8), drawn(2, 0, tokens)
    few = merged(x_BND, grid, order_N, int(ratio * tokens))
    sources = tokens - len(destinations(grid, order_N))
    taken = few.select_tokens(x_BND)
    assert taken.shape == (3, tokens - min(int(ratio * tokens), sources), 8)
    for x_ND, back_ND in zip(x_BND, few.restore_tokens(taken), strict=True):
        expected_ND = by_hand(x_ND, grid, order_N.tolist(), int(ratio * tokens))
        torch.testing.assert_close(back_ND, expected_ND)


def test_what_stands_before_the_image_stays() -> None:
    few = merged(noise(2, 16, 8), (4, 4), drawn(0, 0, 16), 8)
    x_BND = noise(2, 3 + 16, 8, seed=1)
    taken = few.select_tokens(x_BND)
    assert torch.equal(taken[:, :3], x_BND[:, :3])
    assert torch.equal(taken[:, 3:], few.select_tokens(x_BND[:, 3:]))
    assert torch.equal(few.restore_tokens(taken)[:, 3:], few.restore_tokens(taken[:, 3:]))
    assert torch.equal(few.restore_tokens(taken)[:, :3], x_BND[:, :3])


def test_positions_are_merged_with_the_same_map() -> None:
    few = merged(noise(2, 16, 8), (4, 4), drawn(0, 0, 16), 8)
    rotary = noise(2, 5 + 16, 4, seed=1)
    turned = few.select_rotary(rotary)
    assert turned.shape == (2, 2, 5 + 8, 4)
    for table, merged_table in zip(rotary, turned, strict=True):
        torch.testing.assert_close(merged_table, few.select_tokens(table.expand(2, -1, -1)))


@pytest.mark.parametrize("rounding", [0.0, 1e-4])
def test_tokens_that_are_all_alike_merge_with_their_neighbours(rounding: float) -> None:
    """At the first step all are masked: rounding must not choose, nor all go to one place."""
    order_N = drawn(0, 0, 64)
    plain = merged(torch.ones(1, 64, 16), (8, 8), order_N, 32)
    x_BND = torch.ones(3, 64, 16) + rounding * noise(3, 64, 16).float()
    slots_BN = merged(x_BND, (8, 8), order_N, 32).slots_BN
    assert torch.equal(slots_BN, plain.slots_BN.expand(3, -1))
    for slot in range(32):
        token = (slots_BN[0] == slot).nonzero()[:, 0]
        for place in (token // 8, token % 8):
            assert place.max() - place.min() <= 2
    halves = [(slots_BN[0, part] < 16).sum() for part in (slice(32), slice(32, None))]
    assert min(halves) > 3, "what is not merged lies everywhere"


def test_five_blocks_share_a_map() -> None:
    hooks = MergingPass(0.5, STEP)
    found = [hooks(block, noise(1, 16, 8, seed=block), None, (4, 4)) for block in range(2 * SHARED)]
    assert all(hook is found[0] for hook in found[:SHARED])
    assert all(hook is found[SHARED] for hook in found[SHARED:])
    assert found[0] is not found[SHARED]


def test_too_small_a_ratio_merges_nothing() -> None:
    assert MergingPass(0.2, STEP)(0, noise(1, 4, 8), None, (2, 2)) is NO_HOOK


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(dtype: torch.dtype) -> None:
    x_BND = noise(2, 16, 8).to(dtype)
    few = merged(x_BND, (4, 4), drawn(0, 0, 16), 8)
    assert few.restore_tokens(few.select_tokens(x_BND)).dtype == dtype


@pytest.mark.parametrize("ratio", [-0.1, 0.76, math.nan, math.inf, None, "a half"])
def test_a_ratio_out_of_range(ratio: Any) -> None:
    with pytest.raises(ValueError, match="the ratio is 0 \\(off\\) to 0.75"):
        TokenMerging(ratio)


def test_the_first_option_needs_no_name() -> None:
    assert parse_accelerator("token_merging:0.5") == TokenMerging(0.5)
    assert parse_accelerator("token_merging:ratio=0.5") == TokenMerging(0.5)
    assert parse_accelerator("token_merging") == TokenMerging(0.25)
    with pytest.raises(ValueError, match="did you mean 'token_merging'"):
        parse_accelerator("token_mergin:0.5")
    with pytest.raises(ValueError, match="cannot read ratio in .*; write ratio=0.5"):
        parse_accelerator("token_merging:half")


def test_who_has_no_hook_is_refused() -> None:
    class Foreign:
        def predict(self, ids_BL: Tensor, condition: Condition, step: Step) -> Prediction: ...

    foreign: Any = Foreign()
    with pytest.raises(ValueError, match="does not work with Foreign"):
        TokenMerging().around(foreign)
    with pytest.raises(ValueError, match="another accelerator"):
        accelerate(tiny_transformer(), [TokenMerging(), TokenMerging()])
    assert TokenMerging(0.0).around(foreign) is foreign


def computed(layer: torch.nn.Module) -> list[int]:
    """How many tokens a layer sees, call by call."""
    counts: list[int] = []
    layer.register_forward_hook(lambda _m, given, _out: counts.append(given[0].shape[1]))
    return counts


@torch.no_grad()
def test_blocks_compute_fewer_tokens() -> None:
    modern, meissonic = tiny_transformer(), tiny_meissonic()
    meissonic.layout = TokenLayout((8, 8))
    config = MaskGITConfig(11, 3, (4, 4), width=16, depth=2, heads=2, mlp_width=16)
    maskgit = MaskGIT(config).eval()
    multi, single = meissonic.transformer_blocks[0], meissonic.single_transformer_blocks[0]
    cases = [
        (modern, modern.blocks[0].attention.qkv, 8, CLASSES),
        (modern, modern.blocks[1].mlp.up, 8, CLASSES),
        (maskgit, maskgit.blocks[0].attention.value, 1 + 8, CLASSES),
        (maskgit, maskgit.blocks[1].ffn.layer_output, 1 + 8, CLASSES),
        (meissonic, multi.attn.to_k, 8, TEXTS),
        (meissonic, multi.attn.add_k_proj, 6, TEXTS),
        (meissonic, multi.ff.net[2], 8, TEXTS),
        (meissonic, single.proj_mlp, 6 + 8, TEXTS),
        (meissonic, single.attn.to_q, 6 + 8, TEXTS),
    ]
    for model, layer, expected, condition in cases:
        counts = computed(layer)
        side = 8 if model is meissonic else 4
        ids_BL = torch.arange(side * side).expand(2, -1) % 11
        step = Step(1, 4, TokenLayout((side, side)), torch.full((2,), 0.5))
        TokenMerging(0.5).around(model).predict(ids_BL, condition, step)
        assert counts == [expected]


@pytest.mark.parametrize("model", [tiny_transformer(), tiny_meissonic()], ids=["classes", "words"])
@torch.no_grad()
def test_self_guidance_merges_in_both_passes(model: Any) -> None:
    """The features of a merged pass are whole, and the second pass merges what it is sent."""
    condition = CLASSES if hasattr(model, "embed_class") else TEXTS
    module = FeatureSelection(model.feature_selection()).eval()
    for parameter in module.parameters():
        parameter += 0.1
    ids_BL = torch.arange(16).expand(2, -1) % 15
    fast = TokenMerging(0.5).around(model)
    features = fast.predict(ids_BL, condition, STEP).features
    assert features is not None
    assert features.shape == model.predict(ids_BL, condition, STEP).features.shape
    plain, quick, off = (
        module.smoothed_logits(base, features, condition, STEP)
        for base in (model, fast, TokenMerging(0.0).around(model))
    )
    assert torch.equal(off, plain)
    assert quick.shape == plain.shape
    assert not torch.allclose(quick, plain)


@torch.no_grad()
def test_a_blank_pass_is_matched_by_what_the_values_read() -> None:
    """All its tokens are alike; the second input of the values tells them apart."""
    extra_BND = noise(1, 1 + 16, 8)  # with a prefix, as MaskGIT's
    alike_BND = torch.ones(1, 16, 8, dtype=torch.float64)
    found = MergingPass(0.5, STEP)(0, alike_BND, extra_BND, (4, 4))
    expected = merged(alike_BND + extra_BND[:, 1:], (4, 4), drawn(1, 0, 16), 8)
    assert torch.equal(found.slots_BN, expected.slots_BN)  # type: ignore[attr-defined]


@torch.no_grad()
def test_attention_guidance_sees_all_tokens() -> None:
    fast: Any = TokenMerging(0.5).around(tiny_transformer())
    ids_BL = torch.arange(16).expand(2, -1) % 15
    prediction, attention_BL = fast.predict_with_attention(ids_BL, CLASSES, STEP)
    torch.testing.assert_close(
        prediction.logits_BLV, fast.predict(ids_BL, CLASSES, STEP).logits_BLV
    )
    assert attention_BL.shape == (2, 16)
    assert not hasattr(TokenMerging(0.5).around(tiny_meissonic()), "predict_with_attention")


def test_a_generator_generates_with_it() -> None:
    generator = tiny_generator()
    how = {"steps": 4, "accelerators": ("token_merging:0.5",), "seed": 5}
    several = generator.generate(["dog", "cat", "ship"], **how)
    alone = generator.generate(["cat"], **{**how, "seed": 6})
    assert several[1].image.tobytes() == alone[0].image.tobytes()
    plain = generator.generate(["dog", "cat", "ship"], steps=4, seed=5)
    assert any(a.image.tobytes() != b.image.tobytes() for a, b in zip(several, plain, strict=True))
    off = generator.generate(["dog"], **{**how, "accelerators": ("token_merging:0",)})
    assert off[0].image.tobytes() == plain[0].image.tobytes()
    written = [chunk[1] for chunk in several[0].png_text().chunks]
    assert any(b'"accelerators": ["token_merging:0.5"]' in value for value in written)
    with pytest.raises(ValueError, match="not 0.9"):
        generator.generate(["dog"], accelerators=("token_merging:0.9",))


def test_the_weaker_model_of_autoguidance_is_merged_alike() -> None:
    generator = tiny_generator()
    weaker = tiny_transformer()
    generator.aux.loaded["weaker"] = weaker
    counts = computed(weaker.blocks[0].attention.qkv)
    generator.generate(
        ["dog"],
        steps=2,
        guidance_scale=2.0,
        guidance_method="autoguidance",
        accelerators=("token_merging:0.25",),
    )
    assert counts == [12, 12]
