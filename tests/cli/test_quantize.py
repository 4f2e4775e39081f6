"""`demask quantize`, and `--dtype int8`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

import demask
from demask.acceleration.quantization import SCHEMES, quantized_layers
from demask.training.quantize import Quantization, quantize_generator, save_generator
from tiny import CLASS_NAMES, tiny_generator


@pytest.fixture
def data(tmp_path: Path) -> str:
    """Six images of a dog, a cat or a ship."""
    for number in range(6):
        folder = tmp_path / "data" / CLASS_NAMES[number % 3]
        folder.mkdir(parents=True, exist_ok=True)
        pixels = torch.randint(0, 256, (16, 16, 3), generator=torch.Generator().manual_seed(number))
        Image.fromarray(pixels.byte().numpy()).save(folder / f"{number}.png")
    return str(tmp_path / "data")


@pytest.mark.parametrize("scheme", SCHEMES)
def test_its_folder_is_a_model(
    scheme: str, run: Callable, model: str, data: str, tmp_path: Path
) -> None:
    pytest.importorskip("torchao")
    out = tmp_path / "low"
    words = ("quantize", "--model", model, "--scheme", scheme, "--device", "cpu", "--out", out)
    result = run(*words, "--data", data, "-n", 6)
    assert result.exit_code == 0, result.stderr
    assert f"8 layers in {scheme}" in result.stdout
    generated = run(
        "generate", "--model", out, "--class", "cat", "--steps", 2, "--out", tmp_path / "o"
    )
    assert generated.exit_code == 0, generated.stderr
    shown = run("models", "show", out).stdout
    assert ("8-bit" if scheme == "int8" else "4-bit") in " ".join(shown.split())
    tokenizers = [Path(folder) / "tokenizer.safetensors" for folder in (model, out)]
    assert tokenizers[0].read_bytes() == tokenizers[1].read_bytes()
    small = (out / "transformer.safetensors").stat().st_size
    assert small < 0.75 * (Path(model) / "transformer.safetensors").stat().st_size


def test_a_model_of_prompts(text_model: str, data: str, tmp_path: Path) -> None:
    generator = demask.load(text_model, low_memory=True)
    quantize_generator(generator, Quantization("w4a8", pictures=4, batch=2), data)
    save_generator(generator, "w4a8", tmp_path / "low")
    loaded = demask.load(str(tmp_path / "low"))
    assert quantized_layers(loaded.transformer)
    images = [g.generate("red apple", steps=2, seed=3)[0].image for g in (generator, loaded)]
    assert images[0].tobytes() == images[1].tobytes()


def test_fine_tuning_brings_it_nearer_to_the_full_model(data: str) -> None:
    from demask.training.quantize import read_examples
    from demask.training.quantize_tuning import divergence

    full = tiny_generator()
    recipe = {"scheme": "int4", "pictures": 6, "batch": 6}
    examples = read_examples(full, data, Quantization(**recipe))
    (batch,) = examples.batches()

    def distance(tune: int) -> float:
        low = tiny_generator()
        quantize_generator(low, Quantization(**recipe, tune=tune), data)
        assert not any(
            layer.scale.requires_grad for layer in quantized_layers(low.transformer).values()
        )
        with torch.no_grad():
            return float(divergence(low.transformer, full.transformer, *batch))

    assert distance(60) < 0.9 * distance(0)


def test_mistakes_are_one_line(refused: Callable, model: str, data: str, tmp_path: Path) -> None:
    low = ("quantize", "--model", model, "--out", tmp_path / "low")
    assert "name some with --data" in refused(*low, "--scheme", "w4a8")
    assert "name some with --data" in refused(*low, "--scheme", "int8", "--tune", 3)
    message = refused(*low, "--scheme", "int3")
    assert all(name in message for name in SCHEMES)
    assert "share" in refused(*low, "--scheme", "int8", "--share", 0.5)
    assert "no such path" in refused(*low, "--scheme", "int4", "--data", tmp_path / "nothing")
    assert not (tmp_path / "low").exists()


def test_its_own_folder_and_a_second_time_are_refused(tmp_path: Path, model: str) -> None:
    generator = demask.load(model, low_memory=True)
    quantize_generator(generator, Quantization(), None)
    with pytest.raises(ValueError, match="name another one"):
        save_generator(generator, "int8", Path(model))
    with pytest.raises(ValueError, match="already"):
        quantize_generator(generator, Quantization(), None)


def test_int8_by_its_option(run: Callable, model: str, tmp_path: Path) -> None:
    words = ("generate", "--model", model, "--dtype", "int8", "--class", "cat", "--steps", 2)
    generated = run(*words, "--out", tmp_path)
    assert generated.exit_code == 0, generated.stderr
