"""Halton-MaskGIT, MaskGIT-pytorch 1.0 and Monetico on golden weights, through every door.

Shape legend: B batch, L tokens.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import demask
from demask.checkpoint.load import load_model
from demask.checkpoint.save import save_model
from demask.types import Condition, Step
from doors import array, check_evaluate, check_server
from golden_models import TOKENIZERS, class_generator, monetico, with_sizes
from serving import Running, serving

NAMES = (*TOKENIZERS, "monetico")
HALTON = {"order": "halton", "schedule": "halton", "steps": 6}


@pytest.fixture(scope="module")
def generators(
    golden: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, demask.Generator]:
    folder = tmp_path_factory.mktemp("models")
    found = {name: class_generator(golden, name, folder / name) for name in TOKENIZERS}
    small = demask.load(monetico(golden, folder / "monetico"), device="cpu")
    # 32x32 tokens are the published size; any other is allowed
    found["monetico"] = replace(small, settings=small.settings.updated(width=32, height=32))
    return found


@pytest.fixture(scope="module")
def server(generators: dict[str, demask.Generator]) -> Iterator[Running]:
    with serving(generators) as running:
        yield running


def condition_of(generator: demask.Generator, index: int) -> str:
    return str(index % 3) if generator.class_names else ("the red apple", "apple", "")[index % 3]


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_of_the_server_is_each_image_alone(
    name: str, server: Running, generators: dict[str, demask.Generator]
) -> None:
    generator, settings = generators[name], {"guidance_scale": 2.5, **HALTON}
    check_server(server, name, generator, condition_of(generator, 1), **settings)


@pytest.mark.parametrize("name", NAMES)
def test_evaluate(name: str, generators: dict[str, demask.Generator], tmp_path: Path) -> None:
    check_evaluate(generators[name], tmp_path, 24, **HALTON)


@pytest.mark.parametrize("name", NAMES)
def test_save_and_load(name: str, generators: dict[str, demask.Generator], tmp_path: Path) -> None:
    transformer = generators[name].transformer
    kinds = {"HaltonMaskGIT": "halton_maskgit", "MaskGITV1": "maskgit_v1", "Meissonic": "meissonic"}
    path = tmp_path / "transformer.safetensors"
    save_model(path, transformer, kinds[type(transformer).__name__])  # type: ignore[arg-type]
    words = generators[name].condition([condition_of(generators[name], 0)])
    condition = Condition({key: tensor.clone() for key, tensor in words.tensors.items()})
    layout = transformer.layout
    ids_BL = torch.full((1, layout.tokens), transformer.mask_id)
    step = Step(0, 4, layout, torch.ones(1))
    # with gradients, layers that are packed for inference use the plain product
    before, after = (
        network.predict(ids_BL, condition, step).logits_BLV  # type: ignore[operator]
        for network in (transformer, load_model(path))
    )
    assert float(before.detach().std()) > 0.01
    assert torch.equal(before, after)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_off_changes_nothing(name: str, generators: dict[str, demask.Generator]) -> None:
    generator = generators[name]
    prompt = condition_of(generator, 0)
    plain = generator.generate(prompt, seed=2, guidance_scale=1, **HALTON)[0]
    for off in (
        {"guidance_schedule": "endpoints"},
        {"accelerators": "local_steps:1"},
        {"corrections": "redraw:0"},
        {"temperature_decay": "sharpening:end=1"},
        {"start": "masked"},
    ):
        same = generator.generate(prompt, seed=2, guidance_scale=1, **HALTON, **off)[0]  # type: ignore[arg-type]
        assert np.array_equal(array(same.image), array(plain.image)), off


@pytest.mark.parametrize("name", NAMES)
def test_fast_settings_and_edits(name: str, generators: dict[str, demask.Generator]) -> None:
    """An image is the same alone under local steps, and an edit keeps what it should."""
    generator = generators[name]
    prompt = condition_of(generator, 2)
    fast = {**HALTON, "accelerators": "local_steps:2,full=1"}
    images = generator.generate(prompt, 2, seed=1, guidance_scale=3, **fast)
    alone = generator.generate(prompt, 1, seed=2, guidance_scale=3, **fast)
    assert np.array_equal(array(images[1].image), array(alone[0].image))
    photo, mask = images[0].image, Image.new("L", images[0].image.size)
    width, height = photo.size
    mask.paste(255, (0, 0, width // 2, height))
    (edited,) = generator.inpaint(photo, mask, prompt, seed=5, feather=0, **HALTON)
    kept = array(edited.image)[:, width // 2 :] == array(photo)[:, width // 2 :]
    assert kept.all()
    assert not np.array_equal(array(edited.image), array(photo))


@pytest.mark.parametrize("name", ["maskgit_v1", "monetico"])
def test_one_step(name: str, generators: dict[str, demask.Generator]) -> None:
    generator = generators[name]
    settings = {"start": "one_step", "steps": 1, "guidance_scale": 1.0}
    prompt = condition_of(generator, 0)
    images = generator.generate(prompt, 2, seed=6, **settings)  # type: ignore[arg-type]
    alone = generator.generate(prompt, 1, seed=7, **settings)  # type: ignore[arg-type]
    assert np.array_equal(array(images[1].image), array(alone[0].image))
    assert images[1].settings.start == "one_step"


def test_a_tokenizer_of_other_codes_is_refused(golden: Path, tmp_path: Path) -> None:
    file = with_sizes(golden / "halton", tmp_path)
    with pytest.raises(ValueError, match="knows 64 codes, the tokenizer 32: they do not belong"):
        demask.load(file, str(golden / TOKENIZERS["maskgit_v1"]))


def test_the_published_grid_of_monetico(golden: Path, tmp_path: Path) -> None:
    generator = demask.load(monetico(golden, tmp_path / "model"), device="cpu")
    assert generator.transformer.layout.grid == (32, 32)
    assert generator.transformer.grid_multiple == 1
