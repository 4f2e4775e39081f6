"""aMUSEd on golden weights: generate, the server, evaluate, edits, every variant, save and load."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import demask
from demask import editing, rng
from demask.acceleration.quantization import SCHEMES, quantize, quantized_layers
from demask.checkpoint.load import load_model
from demask.checkpoint.save import save_model
from demask.checkpoint.text_encoder import save_text_encoder
from demask.conditioning import Prompts
from demask.guidance import GUIDANCES
from demask.presets import PUBLISHED_PRESETS
from demask.sampling.correction import CORRECTIONS
from demask.sampling.decode import decode
from demask.sampling.edit import image_to_image, start_of
from demask.sampling.schedule import cosine
from demask.sampling.select import ORDERS
from demask.types import DecodeState
from doors import array, check_evaluate, check_server
from serving import Running, serving

FAST = {"steps": 4, "width": 24, "height": 16}
PROMPTS = ["the red apple", "blue"]


@pytest.fixture(scope="module")
def generator(golden: Path) -> demask.Generator:
    """In float64, in which nothing hangs on the rounding of a batch."""
    loaded = demask.load(golden / "amused", device="cpu", low_memory=True)
    assert isinstance(loaded.conditioner, Prompts)
    for network in (loaded.transformer, loaded.tokenizer, loaded.conditioner.text.model):
        network.double()  # type: ignore[union-attr]
    return replace(loaded, low_memory=False)


@pytest.fixture(scope="module")
def server(generator: demask.Generator) -> Iterator[Running]:
    with serving({"amused": generator}) as running:
        yield running


def example(width: int = 28, height: int = 20) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    return Image.fromarray(pixels)


def test_it_is_sampled_as_released(golden: Path, generator: demask.Generator) -> None:
    settings = generator.settings
    assert (settings.steps, settings.guidance_scale, settings.negative_prompt) == (12, 10.0, "")
    assert (settings.choice_temperature, settings.choice_temperature_decay) == (2.0, "endpoints")
    assert generator.presets.default == "published"
    assert generator.presets["inpaint"].settings.schedule == "linear_float32"
    inpaint = demask.load(golden / "amused", device="cpu", preset="inpaint")
    assert inpaint.settings.schedule == "linear_float32"
    with pytest.raises(ValueError, match="unknown preset 'steps3'"):
        demask.load(golden / "amused", device="cpu", preset="steps3")
    for size in (256, 512):
        assert (PUBLISHED_PRESETS / f"amused_{size}.toml").is_file()


def test_images_alone_and_in_a_batch(generator: demask.Generator) -> None:
    assert "8x8 tokens of 64 codes" in repr(generator)
    images = generator.generate(PROMPTS, 3, **FAST)
    assert [image.image.size for image in images] == [(24, 16)] * 3
    (alone,) = generator.generate(PROMPTS[1], seed=1, **FAST)
    assert np.array_equal(array(alone.image), array(images[1].image))
    with pytest.raises(ValueError, match="both sides must be multiples of 4"):
        generator.generate("blue", width=30)


def test_a_batch_of_the_server_is_each_image_alone(
    server: Running, generator: demask.Generator
) -> None:
    check_server(server, "amused", generator, "blue", **FAST)


def test_evaluate(generator: demask.Generator, tmp_path: Path) -> None:
    check_evaluate(generator, tmp_path, generator.size[0], PROMPTS[:2], steps=4)


@pytest.mark.parametrize(
    "changes",
    [{"order": name} for name in ORDERS if ORDERS[name].aux_kind is None]
    + [{"corrections": name} for name in CORRECTIONS]
    + [{"accelerators": "token_merging:0.25"}, {"accelerators": "local_steps:2,full=1"}]
    + [{"guidance_method": "spatial"}]
    + [{"guidance_refresh": 2, "guidance_schedule": "ramp"}, {"top_k": 3}, {"top_p": 0.9}],
    ids=str,
)
def test_every_variant(changes: dict, generator: demask.Generator) -> None:
    images = generator.generate("the red apple", 2, seed=1, **FAST, **changes)
    (alone,) = generator.generate("the red apple", seed=2, **FAST, **changes)
    assert np.array_equal(array(images[1].image), array(alone.image))


def test_what_is_off_changes_nothing(generator: demask.Generator) -> None:
    plain = generator.generate("blue", seed=2, guidance_scale=1, **FAST)[0]
    off = [{"guidance_method": name} for name in GUIDANCES]
    off += [{"accelerators": "token_merging:0"}, {"accelerators": "local_steps:1"}]
    off += [{"corrections": "noise_regularization:0"}]
    for one in off:
        same = generator.generate("blue", seed=2, guidance_scale=1, **FAST, **one)[0]
        assert np.array_equal(array(same.image), array(plain.image)), one


def test_inpainting_on_any_grid(generator: demask.Generator) -> None:
    """7 x 5 tokens, which the released program cannot do; a stroke thinner than a token counts."""
    mask = Image.new("L", (28, 20))
    mask.paste(255, (13, 0, 14, 20))
    edited, other = generator.inpaint(example(), mask, "blue", 2, seed=5, feather=0, **FAST)
    assert edited.image.size == (28, 20)
    before, after = array(example()), array(edited.image)
    assert np.array_equal(np.delete(before, 13, 1), np.delete(after, 13, 1))
    assert not np.array_equal(array(other.image)[:, 13], after[:, 13]), "it is generated"
    (wide,) = generator.outpaint(example(), right=4, seed=2, **FAST)
    assert wide.image.size == (32, 20)


def test_image_to_image(generator: demask.Generator) -> None:
    """A strength of 1 keeps nothing of the source, one of 0 all of its tokens."""
    other = Image.fromarray(255 - array(example()))
    one, two = (generator.variations(i, 1.0, "blue", seed=3, **FAST)[0] for i in (example(), other))
    assert np.array_equal(array(one.image), array(two.image))
    ids_BHW = torch.randint(64, (1, 5, 7), generator=torch.Generator().manual_seed(0))
    mask_id = generator.transformer.mask_id
    for strength, masked in ((0.0, 0), (0.5, 18), (1.0, 35)):
        canvas = image_to_image(ids_BHW, strength, rng.image_generators([0]), mask_id)
        assert int(canvas.masked_BL.sum()) == masked


def test_image_to_image_by_steps(generator: demask.Generator) -> None:
    """The last half of 8 steps, from the mask ratio before them; at 1 everything, all steps."""
    assert start_of(0.5, "steps", cosine, 8) == (4, pytest.approx(math.cos(math.pi / 4)))
    assert start_of(1.0, "steps", cosine, 8) == (0, 1.0)
    assert start_of(0.1, "steps", cosine, 8) == (8, pytest.approx(0, abs=1e-6))
    how = {**FAST, "steps": 8, "strength_of": "steps"}
    other = Image.fromarray(255 - array(example()))
    one, two = (generator.variations(i, 1.0, "blue", seed=3, **how)[0] for i in (example(), other))
    assert np.array_equal(array(one.image), array(two.image))
    kept, half = (generator.variations(example(), s, "blue", seed=3, **how)[0] for s in (0, 0.5))
    assert kept.image.size == half.image.size == example().size
    assert not np.array_equal(array(kept.image), array(half.image))
    with pytest.raises(ValueError, match="unknown strength_of 'pixels'.*tokens, steps"):
        generator.variations(example(), 0.5, strength_of="pixels")
    with pytest.raises(ValueError, match="cannot start in the middle; cosine can"):
        generator.variations(example(), 0.5, strength_of="steps", schedule="halton")


def test_the_steps_of_image_to_image(
    generator: demask.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its loop is that of the recorded run: the same indices and the same counts."""
    seen = []

    def watched(*arguments: Any, **keywords: Any) -> Iterator[DecodeState]:
        for state in decode(*arguments, **keywords):
            seen.append((state.step.index, int(state.masked_BL.sum())))
            yield state

    monkeypatch.setattr(editing, "decode", watched)
    size = {"steps": 8, "width": 32, "height": 24}
    generator.variations(example(32, 24), 0.5, "blue", strength_of="steps", **size)
    assert seen == [(4, 26), (5, 18), (6, 9), (7, 0)]


@torch.no_grad()
def test_save_and_load(golden: Path, tmp_path: Path) -> None:
    first = demask.load(golden / "amused", device="cpu")
    assert isinstance(first.conditioner, Prompts)
    for part, folder, name in (
        ("transformer", "transformer", "amused"),
        ("tokenizer", "vqvae", "vq_model"),
    ):
        network = load_model(golden / "amused", subfolder=folder)
        save_model(tmp_path / f"{part}.safetensors", network, name)
    save_text_encoder(tmp_path / "text_encoder", first.conditioner.text)
    again = demask.load(tmp_path, device="cpu")
    how = {**FAST, "guidance_scale": 10, "choice_temperature": 2.0}
    images = [
        model.generate("blue", seed=1, choice_temperature_decay="endpoints", **how)[0].image
        for model in (first, again)
    ]
    assert np.array_equal(*map(array, images))
    files = ((golden / "amused", "transformer"), (tmp_path, "transformer.safetensors"))
    one, two = (load_model(path, subfolder=folder).state_dict() for path, folder in files)
    assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize("scheme", ["int8", "int4"])
def test_quantized(golden: Path, scheme: str) -> None:
    """The transformer layers alone; eight bits change the logits by a few percent."""
    model = load_model(golden / "amused", subfolder="transformer")
    assert quantize(model, SCHEMES[scheme]) > 0
    assert all(name.startswith("transformer_layers.") for name in quantized_layers(model))


def test_int8_generates(golden: Path) -> None:
    model = demask.load(golden / "amused", device="cpu", dtype="int8")
    (image,) = model.generate("blue", **FAST)
    assert float(np.array(image.image).std()) > 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(golden: Path, dtype: torch.dtype) -> None:
    model = demask.load(golden / "amused", device="cpu", dtype=dtype)
    (image,) = model.generate("blue", **FAST)
    assert float(np.array(image.image).std()) > 0
