"""The second pass: what it costs, what it sees, and that it fits every kind of model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from demask.guidance.scale import Constant
from demask.guidance.self_guidance import SelfGuidance
from demask.rng import image_generators
from demask.sampling.decode import decode
from demask.sampling.edit import blank
from demask.sampling.sampler import Sampler
from demask.transformer.feature_selection import FeatureSelection, FeatureSelectionConfig
from demask.transformer.maskgit import MaskGIT, MaskGITConfig
from demask.types import Condition, Step, TokenLayout
from tiny import tiny_amused, tiny_meissonic, tiny_transformer

BASES = ("maskgit", "modern_maskgit", "meissonic", "amused")
GRID = (4, 4)


def base_of(name: str) -> Any:
    """A tiny random model of 4x4 tokens of 15 codes, in float64."""
    if name == "maskgit":
        torch.manual_seed(4)
        config = MaskGITConfig(15, 3, GRID, width=16, depth=3, heads=2, mlp_width=16)
        base = MaskGIT(config).eval().double()
        for parameter in base.parameters():
            nn.init.normal_(parameter, std=0.3)
        return base
    made = {"modern_maskgit": tiny_transformer, "meissonic": tiny_meissonic, "amused": tiny_amused}
    return made[name]().double()


def blocks_of(base: nn.Module) -> list[nn.Module]:
    lists = ("transformer_layers", "blocks", "transformer_blocks", "single_transformer_blocks")
    children = dict(base.named_children())
    return [block for name in lists if name in children for block in children[name]]  # type: ignore[attr-defined]


def condition_of(base: nn.Module, count: int = 3) -> Condition:
    generator = torch.Generator().manual_seed(5)
    if hasattr(base, "context"):
        states, pooled = torch.randn(count, 7, 16, generator=generator).double().split([6, 1], 1)
        micro = torch.tensor([[16.0, 16, 0, 0, 6]]).expand(count, -1)
        return Condition({"states": states, "pooled": pooled[:, 0], "micro": micro})
    return Condition({"class_ids": torch.arange(count)})


def module_of(base: Any, **changes: Any) -> FeatureSelection:
    """A random module, so that everything that it may see counts."""
    torch.manual_seed(6)
    module = FeatureSelection(replace(base.feature_selection(), **changes)).double()
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.5)
    return module.eval()


def example(base: Any, count: int = 3) -> tuple[Tensor, Condition, Step]:
    """Partly masked ids and what goes with them."""
    ids_BL = torch.randint(0, 15, (count, 16), generator=torch.Generator().manual_seed(7))
    ids_BL[:, ::2] = base.mask_id
    return (
        ids_BL,
        condition_of(base, count),
        Step(1, 4, TokenLayout(GRID), torch.full((count,), 0.5).double()),
    )


def smoothed(base: Any, module: FeatureSelection, *given: Any) -> Tensor:
    features_BSD = base.predict(*given).features
    return module.smoothed_logits(base, features_BSD, *given[1:])


@contextmanager
def counted(base: nn.Module) -> Iterator[list[nn.Module]]:
    """The blocks that are called inside."""
    called: list[nn.Module] = []
    hooks = [b.register_forward_hook(lambda b, *_: called.append(b)) for b in blocks_of(base)]
    yield called
    for hook in hooks:
        hook.remove()


@pytest.mark.parametrize("name", BASES)
@torch.inference_mode()
def test_a_guided_step_costs_two_forwards_never_three(name: str) -> None:
    base = base_of(name)
    module, condition = module_of(base), condition_of(base, 2)
    guided = SelfGuidance(
        base.predict, Constant(2.0), lambda *given: module.smoothed_logits(base, *given)
    )
    canvas = blank(2, TokenLayout(GRID), base.mask_id)
    with counted(base) as called:
        list(decode(guided, condition, canvas, image_generators([0, 1]), Sampler(steps=3)))
    assert len(called) == 3 * 2 * len(blocks_of(base))


@pytest.mark.parametrize("name", BASES)
@torch.inference_mode()
def test_each_image_is_its_own(name: str) -> None:
    base = base_of(name)
    module, (ids_BL, condition, step) = module_of(base), example(base)
    together_BLV = smoothed(base, module, ids_BL, condition, step)
    assert together_BLV.shape == (3, 16, 15)
    for i in range(3):
        own = slice(i, i + 1)
        one = replace(step, mask_ratio_B=step.mask_ratio_B[own])
        alone_BLV = smoothed(base, module, ids_BL[own], condition.take(own), one)
        assert torch.allclose(together_BLV[own], alone_BLV, atol=1e-10)


@pytest.mark.parametrize("name", BASES)
@torch.inference_mode()
def test_it_sees_the_features_and_the_anchor_alone(name: str) -> None:
    base = base_of(name)
    module, (ids_BL, condition, step) = module_of(base, blank_condition=True), example(base)
    features_BSD = base.predict(ids_BL, condition, step).features
    first_BLV = module.smoothed_logits(base, features_BSD, condition, step)
    moved_BLV = module.smoothed_logits(base, features_BSD.roll(1, 0), condition, step)
    assert not torch.allclose(first_BLV, moved_BLV, atol=1e-6, rtol=0)

    module.cls_anchor_gen.mlp_c.weight.data.zero_()
    other = condition_of(base)
    other = other.take(torch.tensor([2, 0, 1]))
    assert torch.equal(
        module.smoothed_logits(base, features_BSD, condition, step),
        module.smoothed_logits(base, features_BSD, other, step),
    ), "with anchors that are all alike, nothing tells what the images should show"


@pytest.mark.parametrize("name", BASES)
@torch.inference_mode()
def test_the_condition_can_be_told(name: str) -> None:
    base = base_of(name)
    ids_BL, condition, step = example(base)
    hidden, told = (module_of(base, blank_condition=blank) for blank in (True, False))
    assert not torch.allclose(
        smoothed(base, hidden, ids_BL, condition, step),
        smoothed(base, told, ids_BL, condition, step),
        atol=1e-6,
        rtol=0,
    )


@pytest.mark.parametrize("name", BASES)
@torch.inference_mode()
def test_every_decoder_speaks_to_its_own_layer(name: str) -> None:
    base = base_of(name)
    ids_BL, condition, step = example(base)
    features_BSD = base.predict(ids_BL, condition, step).features
    module = module_of(base)
    before = list(module.second_pass(base, features_BSD, condition, step))
    assert len(before) == module.config.depth + 1 == len(blocks_of(base)) + 1
    for layer, decoder in enumerate(module.decoders):
        other = module_of(base)
        other.decoders[layer].linear2.weight.data.zero_()  # type: ignore[union-attr]
        after = list(other.second_pass(base, features_BSD, condition, step))
        same = [torch.allclose(x, y, atol=1e-12) for x, y in zip(before, after, strict=True)]
        assert same[: layer + 1] == [True] * (layer + 1), decoder
        assert not any(same[layer + 1 :])


@torch.inference_mode()
def test_without_what_was_selected_it_is_the_models_own_guess_of_anything() -> None:
    base = base_of("modern_maskgit")
    module, (ids_BL, condition, step) = module_of(base), example(base)
    for decoder in module.decoders:
        decoder.linear2.weight.data.zero_()  # type: ignore[union-attr]
    masked_BL, any_B = torch.full_like(ids_BL, base.mask_id), torch.full((3,), base.null_class)
    guess_BLV = base.predict(masked_BL, Condition({"class_ids": any_B}), step).logits_BLV
    assert torch.allclose(smoothed(base, module, ids_BL, condition, step), guess_BLV, atol=1e-12)


@pytest.mark.parametrize("name", BASES)
def test_in_training_the_module_learns_and_the_model_does_not(name: str) -> None:
    base = base_of(name).requires_grad_(False)
    module = module_of(base)
    logits_BLV, error = module(base, *example(base))
    assert logits_BLV.shape == (3, 16, 19 if name == "maskgit" else 15)
    assert error > 0
    error.backward(retain_graph=True)
    learned = {name for name, p in module.named_parameters() if p.grad is not None}
    assert learned == {f"decoders.{d}.linear.weight" for d in range(module.config.depth)}
    logits_BLV.square().sum().backward()
    assert all(p.grad is not None and p.grad.norm() > 0 for p in module.parameters())
    assert all(p.grad is None for p in base.parameters())


def test_a_class_more_means_any_where_the_model_knows_it() -> None:
    base = base_of("modern_maskgit")
    module, condition = module_of(base), Condition({"class_ids": torch.tensor([base.null_class])})
    assert module.cls_anchor_gen(condition).shape == (1, 32)
    assert base_of("maskgit").feature_selection().num_classes == 3


def test_the_published_module_has_its_published_size() -> None:
    with torch.device("meta"):
        module = FeatureSelection(FeatureSelectionConfig())
    assert sum(p.numel() for p in module.parameters()) == 41_793_808


def test_sizes_that_make_no_module_are_refused() -> None:
    with pytest.raises(ValueError, match="one of num_classes and pooled_width"):
        FeatureSelectionConfig(num_classes=10, pooled_width=16)
    with pytest.raises(ValueError, match="one of num_classes and pooled_width"):
        FeatureSelectionConfig(num_classes=0)
    with pytest.raises(ValueError, match="factors must be at least 1, not 0"):
        FeatureSelectionConfig(factors=0)
