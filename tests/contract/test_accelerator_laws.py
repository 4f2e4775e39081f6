"""Laws 2, 4 and 5 of accelerators: off is the identity, no image depends on its batch, and
inputs stay as they are.

Shape legend: B batch, L ids.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch
from torch import nn

from demask import rng
from demask.acceleration import ACCELERATORS, Accelerator, accelerate, parse_accelerator
from demask.checkpoint.load import load_model
from demask.guidance import ClassifierFree, Interval
from demask.layouts import layouts_of
from demask.sampling.correction import Informed, Remask, Zigzag
from demask.sampling.decode import decode, last
from demask.sampling.edit import Canvas, blank
from demask.sampling.sampler import Sampler
from demask.sampling.select import Halton, Random
from demask.transformer.halton_maskgit import HaltonMaskGIT, HaltonMaskGITConfig
from demask.transformer.image_bert import ImageBert, ImageBertConfig
from demask.transformer.maskbit import MaskBit, MaskBitConfig
from demask.transformer.maskgen import MaskGen, MaskGenConfig
from demask.transformer.maskgit import MaskGIT, MaskGITConfig
from demask.transformer.meissonic import Meissonic
from demask.transformer.modern_maskgit import ModernMaskGIT
from demask.transformer.shortcut import Shortcut, ShortcutConfig
from demask.transformer.uvit import UViT, UViTConfig
from demask.types import Condition, Grid, Step, TokenLayout, Transformer
from golden_models import with_sizes
from tiny import tiny_meissonic, tiny_transformer

Shape = tuple[int, ...]
# a new accelerator gets a line in each
OFF = {
    "token_merging": "token_merging:0",
    "local_steps": "local_steps:1",
    "shortcut": "shortcut:1",
}
ON = {
    "token_merging": "token_merging:0.5",
    "local_steps": "local_steps:3,full=1",
    "shortcut": "shortcut:3",
}
BATCH = 5
SEEDS = [21, 22, 23, 24, 25]
SAMPLERS = {
    "confidence": Sampler(steps=4),
    "halton": Sampler(steps=6, order=Halton()),
    "revised": Sampler(steps=5, corrections=(Remask(0.5), Informed(0.3), Zigzag())),
}


def maskgit() -> tuple[Transformer, Shape]:
    config = MaskGITConfig(
        codebook_size=11, num_classes=6, grid=(5, 3), width=16, depth=6, heads=2, mlp_width=16
    )
    return MaskGIT(config), (5, 3)


def modern() -> tuple[Transformer, Shape]:
    config = replace(tiny_transformer().config, num_classes=5, depth=6, width=16)
    return ModernMaskGIT(config), (5, 7)


def halton() -> tuple[Transformer, Shape]:
    # two registers, and heads that do not divide the width
    config = HaltonMaskGITConfig(11, 5, (5, 3), 16, 6, 3, mlp_width=16, registers=2)
    return HaltonMaskGIT(config), (5, 3)


def of_golden_case(name: str) -> tuple[Transformer, Shape]:
    folder = Path(os.environ.get("DEMASK_GOLDEN", Path(__file__).parents[1] / "golden_cases"))
    with TemporaryDirectory() as copy_of_it:
        network = load_model(with_sizes(folder / name, Path(copy_of_it)))
    return network, network.layout.grid  # type: ignore[return-value]


def maskbit() -> tuple[Transformer, Shape]:
    return MaskBit(MaskBitConfig(8, 2, 5, (5, 3), 16, 6, 2, mlp_width=16)), (5, 3)


def image_bert() -> tuple[Transformer, Shape]:
    sizes = {"width": 16, "depth": 6, "heads": 2, "mlp_width": 16}
    return ImageBert(ImageBertConfig(11, 5, (1, 15), **sizes)), (15,)


def uvit() -> tuple[Transformer, Shape]:
    return UViT(UViTConfig(11, 5, tokens=15, width=16, depth=4, heads=2, mlp_width=16)), (15,)


def maskgen() -> tuple[Transformer, Shape]:
    sizes = {"text_width": 16, "pooled_width": 16, "micro_width": 4}
    return MaskGen(MaskGenConfig(11, 12, 15, width=16, depth=4, heads=2, **sizes)), (15,)


def meissonic(compress: bool) -> tuple[Transformer, Shape]:
    config = replace(tiny_meissonic().config, blocks=3, single_blocks=3, compress=compress)
    return Meissonic(config), (6, 10) if compress else (5, 3)


def amused(name: str) -> tuple[Transformer, Grid]:
    """With its golden weights, which read texts of another width."""
    folder = Path(os.environ.get("DEMASK_GOLDEN", Path(__file__).parents[1] / "golden_cases"))
    model = load_model(folder / name, subfolder="transformer")
    return model, (6, 10) if name == "amused_512" else (5, 3)  # type: ignore[return-value]


MODELS: dict[str, Callable[[], tuple[Transformer, Shape]]] = {
    "maskgit": maskgit,
    "modern_maskgit": modern,
    "halton_maskgit": halton,
    "maskbit": maskbit,
    "image_bert": image_bert,
    "uvit": uvit,
    "maskgen": maskgen,
    "halton, golden": lambda: of_golden_case("halton"),
    "maskgit_v1, golden": lambda: of_golden_case("maskgit_v1"),
    "meissonic": lambda: meissonic(True),
    "meissonic, one id a token": lambda: meissonic(False),
    "amused, golden": lambda: amused("amused"),
    "amused_512, golden": lambda: amused("amused_512"),
}


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest) -> tuple[Transformer, TokenLayout]:
    """A random model in float64, and a layout, of odd sides where that can be."""
    transformer, grid = MODELS[request.param]()
    assert isinstance(transformer, nn.Module)
    generator = torch.Generator().manual_seed(1)
    for parameter in transformer.double().eval().requires_grad_(False).parameters():
        if "golden" in request.param:
            continue
        parameter += 0.2 * torch.randn(parameter.shape, generator=generator)
    layout = replace(transformer.layout, shape=grid)
    name = request.node.callspec.params.get("name")
    if name is not None and not layouts_of(ACCELERATORS[name]).serve(layout):
        pytest.skip(f"{name} does not serve {layout}")
    return transformer, layout


def conditions(batch: int, transformer: Transformer) -> Condition:
    """What the models read, different for every image."""
    config = transformer.config  # type: ignore[attr-defined]
    text, pooled = getattr(config, "text_width", 16), getattr(config, "pooled_width", 16)
    generator = torch.Generator().manual_seed(2)
    return Condition(
        {
            "class_ids": torch.arange(batch),
            "states": torch.randn(batch, 4, text, generator=generator, dtype=torch.float64),
            "pooled": torch.randn(batch, pooled, generator=generator, dtype=torch.float64),
            "micro": torch.tensor([[8.0, 8, 0, 0, 6]]).expand(batch, -1),
        }
    )


def named(text: str, transformer: Transformer) -> Accelerator:
    """An accelerator, with a random network of the kind that it needs."""
    accelerator = parse_accelerator(text)
    if accelerator.aux_kind is None:
        return accelerator
    assert accelerator.aux_kind == "shortcut"
    torch.manual_seed(4)
    network = Shortcut(ShortcutConfig(transformer.config.width, 8, 1, 8))  # type: ignore[attr-defined]
    nn.init.normal_(network.leave.weight)
    return accelerator.attach(network.double().eval().requires_grad_(False))


def half_hidden(transformer: Transformer, layout: TokenLayout) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    ids_BL = torch.randint(11, (BATCH, layout.tokens), generator=generator)
    return ids_BL.where(torch.rand(ids_BL.shape, generator=generator) < 0.5, transformer.mask_id)


def uneven(transformer: Transformer, layout: TokenLayout) -> Canvas:
    """Images of which everything, a lot, a little, nothing and one token is masked."""
    tokens = layout.tokens
    known_BL = torch.arange(tokens) >= torch.tensor([tokens, 9, 3, 0, 1])[:, None]
    ids_BL = (torch.arange(BATCH * tokens) % 11).view(BATCH, tokens)
    return Canvas(
        ids_BL.where(known_BL, transformer.mask_id), known_BL, layout, transformer.mask_id
    )


def generate(
    transformer: Transformer, everywhere: Canvas, index: list[int], sampler: Sampler, batched: bool
) -> torch.Tensor:
    everything = conditions(BATCH + 1, transformer)
    nothing = everything.take(torch.tensor([BATCH]))
    guided = ClassifierFree(transformer.predict, nothing, Interval(2.0, start=0.2), batched)
    generators = rng.image_generators([SEEDS[i] for i in index])
    canvas = replace(
        everywhere, ids_BL=everywhere.ids_BL[index], known_BL=everywhere.known_BL[index]
    )
    wanted = everything.take(torch.tensor(index))
    return last(decode(guided, wanted, canvas, generators, sampler)).ids_BL


def test_every_accelerator_has_its_lines() -> None:
    assert OFF.keys() == ON.keys() == ACCELERATORS.keys()


@pytest.mark.parametrize("name", ACCELERATORS)
@torch.no_grad()
def test_off_is_the_identity(name: str, model) -> None:
    """In two steps: one may remember the first in the second."""
    transformer, layout = model
    ids_BL = half_hidden(transformer, layout)
    masked_BL = ids_BL == transformer.mask_id
    before_BL = torch.full_like(ids_BL, transformer.mask_id)
    place_L = torch.arange(ids_BL.shape[1])
    read_BL = masked_BL & (place_L % 2 == 0) & (place_L < len(place_L) // 2)
    half_B = torch.full((BATCH,), 0.5)

    def second(names: list[str]) -> torch.Tensor:
        predict = accelerate(transformer, [named(name, transformer) for name in names]).predict
        predict(before_BL, conditions(BATCH, transformer), Step(0, 4, layout, half_B))
        return predict(
            ids_BL, conditions(BATCH, transformer), Step(1, 4, layout, half_B, read_BL)
        ).logits_BLV

    plain, off, on = (second(names) for names in ([], [OFF[name]], [ON[name]]))
    assert torch.equal(off, plain)
    assert on.shape == plain.shape
    assert on.isfinite().all()
    assert not torch.allclose(on[read_BL], plain[read_BL])


@pytest.mark.parametrize("name", ACCELERATORS)
@pytest.mark.parametrize(
    ("sampler", "given", "batched"),
    [
        ("confidence", "blank", True),
        ("halton", "blank", False),
        ("halton", "uneven", True),
        ("revised", "uneven", False),
    ],
)
def test_an_image_does_not_depend_on_its_batch(
    name: str, sampler: str, given: str, batched: bool, model
) -> None:
    transformer, layout = model
    canvas = blank(BATCH, layout, transformer.mask_id)
    canvas = uneven(transformer, layout) if given == "uneven" else canvas
    chosen = SAMPLERS[sampler]
    if not chosen.order.layouts.serve(layout):
        chosen = replace(chosen, order=Random())

    def generated(index: list[int]) -> torch.Tensor:
        # made anew for every batch, as the generator does
        fast = accelerate(transformer, [named(ON[name], transformer)])
        return generate(fast, canvas, index, chosen, batched)

    whole_BL = generated(list(range(BATCH)))
    assert (whole_BL != transformer.mask_id).all()
    for index in ([0], [3], [4, 2, 0], [1, 3]):
        assert torch.equal(generated(index), whole_BL[index])


@pytest.mark.parametrize("name", ACCELERATORS)
@torch.no_grad()
def test_nothing_is_modified_in_place(name: str, model) -> None:
    transformer, layout = model
    ids_BL, condition = half_hidden(transformer, layout), conditions(BATCH, transformer)
    step = Step(1, 4, layout, torch.full((BATCH,), 0.5))
    before = copy.deepcopy((ids_BL, condition))
    state = copy.deepcopy(transformer.state_dict())  # type: ignore[attr-defined]
    fast = accelerate(transformer, [named(ON[name], transformer)])
    first, second = (fast.predict(ids_BL, condition, step).logits_BLV for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(ids_BL, before[0])
    for key, tensor in condition.tensors.items():
        assert torch.equal(tensor, before[1][key])
    for key, tensor in transformer.state_dict().items():  # type: ignore[attr-defined]
        assert torch.equal(tensor, state[key])
