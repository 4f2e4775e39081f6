"""Shortcut steps: when they are taken, what they see, and what is remembered.

Shape legend: B batch, L ids.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import demask
from demask import rng
from demask.acceleration import ShortcutSteps, TokenMerging, accelerate, parse_accelerator
from demask.auxiliary import AuxiliaryNetworks
from demask.checkpoint.lora import base_fingerprint
from demask.checkpoint.save import save_model
from demask.guidance import ClassifierFree, Constant, Interval, Refreshed, Scale
from demask.sampling.decode import decode, last
from demask.sampling.edit import blank
from demask.sampling.sampler import Sampler
from demask.sweeps.cost import CostMeter
from demask.transformer.shortcut import Shortcut, ShortcutConfig
from demask.types import Condition, Step, TokenLayout
from tiny import save_tiny, tiny_amused, tiny_generator, tiny_meissonic, tiny_transformer

LAYOUT = TokenLayout((4, 4))
CONDITION = Condition(
    {
        "class_ids": torch.tensor([0, 2]),
        "states": torch.randn(2, 6, 16, generator=torch.Generator().manual_seed(0)),
        "pooled": torch.randn(2, 16, generator=torch.Generator().manual_seed(1)),
        "micro": torch.tensor([[16.0, 16, 0, 0, 6]]).expand(2, -1),
    }
)


def shortcut(base: Any) -> Shortcut:
    """A random one that fits."""
    torch.manual_seed(5)
    network = Shortcut(ShortcutConfig(base.config.width, 8, 1, 8)).eval().requires_grad_(False)
    nn.init.normal_(network.leave.weight)
    return network


@pytest.fixture(params=[tiny_transformer, tiny_meissonic, tiny_amused])
def base(request: pytest.FixtureRequest) -> Any:
    return request.param().requires_grad_(False)


def at(index: int) -> Step:
    return Step(index, 8, LAYOUT, torch.full((2,), 0.5))


def half(base: Any) -> Tensor:
    ids_BL = torch.arange(32).view(2, 16) % 11
    return ids_BL.where(ids_BL % 2 == 0, base.mask_id)


def passes(base: Any, period: int, full: int, scale: Scale, refresh: int = 1) -> list[int]:
    """How many images pass through the base and through the shortcut, in a loop of 8 steps."""
    network, meter, short = shortcut(base), CostMeter(), []
    network.register_forward_pre_hook(lambda _, inputs: short.append(len(inputs[0])))
    base.predict = meter.counted(base.predict)
    predict = ShortcutSteps(period, full).attach(network).around(base).predict
    nothing = CONDITION.take(torch.tensor([1]))
    guided = Refreshed(ClassifierFree(predict, nothing, scale), refresh)
    canvas = blank(2, LAYOUT, base.mask_id)
    last(decode(guided, CONDITION, canvas, rng.image_generators([1, 2]), Sampler(8)))
    del base.predict
    return [meter.forwards, sum(short)]


def test_full_steps_are_those_of_the_period(base: Any) -> None:
    off = Constant(1.0)
    assert passes(base, 2, 1, off) == [2 * 4, 2 * 4]  # 0 2 4 6
    assert passes(base, 3, 1, off) == [2 * 3, 2 * 5]  # 0 3 6
    assert passes(base, 4, 3, off) == [2 * 4, 2 * 4]  # 0 1 2 6
    assert passes(base, 2, 1, Constant(3.0)) == [4 * 4, 4 * 4]


def test_a_half_without_memory_is_made_in_full(base: Any) -> None:
    """Guidance begins at step 2 with halves of which one is new; then every second step is full."""
    found = passes(base, 3, 1, Interval(3.0, start=0.3))
    assert found == [2 + 4 + 4, 2 + 4 + 4 + 4 + 4]


def test_it_goes_with_refreshed_guidance(base: Any) -> None:
    full, short = passes(base, 2, 1, Constant(3.0), refresh=2)
    assert full + short == 2 * 8 + 2 * 4
    assert short > 0


def test_a_shortcut_of_no_weight_keeps_the_features(base: Any) -> None:
    network = shortcut(base)
    nn.init.zeros_(network.leave.weight)
    fast = ShortcutSteps().attach(network).around(base)
    masked_BL = torch.full((2, 16), base.mask_id)
    first = fast.predict(masked_BL, CONDITION, at(0))
    second = fast.predict(half(base), CONDITION, at(1))
    assert torch.equal(first.logits_BLV, second.logits_BLV)
    assert not torch.equal(fast.predict(half(base), CONDITION, at(2)).logits_BLV, first.logits_BLV)


def test_it_sees_what_has_changed(base: Any) -> None:
    network = shortcut(base)
    masked_BL = torch.full((2, 16), base.mask_id)

    def after(ids_BL: Tensor) -> Tensor:
        fast = ShortcutSteps().attach(network).around(base)
        fast.predict(masked_BL, CONDITION, at(0))
        return fast.predict(ids_BL, CONDITION, at(1)).logits_BLV

    other_BL = half(base)
    other_BL[0, 0] += 1
    one, other = after(half(base)), after(other_BL)
    assert not torch.equal(one[0], other[0])
    assert torch.equal(one[1], other[1])


def test_other_images_are_begun_anew(base: Any) -> None:
    fast = ShortcutSteps(8).attach(shortcut(base)).around(base)
    fast.predict(half(base), CONDITION, at(0))
    other = CONDITION.take(torch.tensor([1, 0]))
    assert torch.equal(
        fast.predict(half(base), other, at(1)).logits_BLV,
        base.predict(half(base), other, at(1)).logits_BLV,
    )


def test_what_it_refuses() -> None:
    for wrong in ("shortcut:0", "shortcut:full=1.5", "shortcut:period=True"):
        with pytest.raises(ValueError, match="a whole number from 1 on|cannot read .*; write "):
            parse_accelerator(wrong)
    with pytest.raises(ValueError, match="comes from beside the model|unknown option .* 'network'"):
        parse_accelerator("shortcut:network=3")
    base = tiny_transformer()
    steps = ShortcutSteps().attach(shortcut(base))
    with pytest.raises(ValueError, match="another accelerator looks into"):
        accelerate(base, [TokenMerging(), steps])
    generator = tiny_generator()
    with pytest.raises(ValueError, match="no shortcut network: train one with"):
        generator.generate("cat", accelerators=("shortcut",))
    weaker = replace(
        generator, aux=AuxiliaryNetworks(loaded={"weaker": base, "shortcut": shortcut(base)})
    )
    with pytest.raises(ValueError, match="not made for a weaker model"):
        weaker.generate(
            "cat", guidance_scale=2.0, guidance_method="autoguidance", accelerators=("shortcut",)
        )


def test_a_model_finds_its_shortcut_and_refuses_anothers(tmp_path: Any) -> None:
    folder, base = save_tiny(tmp_path), tiny_transformer()
    path = folder / "shortcut.safetensors"
    save_model(path, shortcut(base), "shortcut", base=base_fingerprint(base))
    generator = demask.load(str(folder))
    plain, off, on = (
        generator.generate("cat", steps=6, accelerators=names)[0].image.tobytes()
        for names in ((), ("shortcut:1",), ("shortcut:3",))
    )
    assert plain == off != on
    save_model(path, shortcut(base), "shortcut", base="0123456789abcdef")
    with pytest.raises(ValueError, match="trained beside another model"):
        demask.load(str(folder)).generate("cat", accelerators=("shortcut",))
