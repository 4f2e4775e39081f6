"""A saved image says how it was made, and is made again from what it says."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from demask.generator import Generator
from demask.image import GeneratedImage
from tiny import tiny_generator, tiny_text_generator


@pytest.fixture(scope="module")
def generator() -> Generator:
    return replace(tiny_generator(), loaded={"dtype": "bfloat16", "loras": ["a:0.5"]})


CHANGES = {
    "steps": 3,
    "order": "halton",
    "guidance_scale": 2.0,
    "corrections": "remask",
    "choice_temperature": 1.5,
}


def test_what_is_saved_is_read_and_generated_again(generator: Generator, tmp_path: Path) -> None:
    (image,) = generator.generate("ship", seed=7, **CHANGES)
    path = image.save(tmp_path / "new" / "ship.png")
    read = GeneratedImage.read(path)
    assert replace(read, image=image.image) == image
    assert read.loaded == {"dtype": "bfloat16", "loras": ["a:0.5"]}
    assert np.array_equal(np.array(read.image), np.array(image.image))
    (again,) = generator.generate(**read.arguments)
    assert again == replace(read, image=again.image)
    assert again.image.tobytes() == image.image.tobytes()
    assert [p.name for p in path.parent.iterdir()] == ["ship.png"]


def test_a_prompt_and_no_class_are_generated_again(generator: Generator) -> None:
    for model, conditions in ((tiny_text_generator(), "red apple"), (generator, [None])):
        (image,) = model.generate(conditions, steps=2, seed=3)
        read = GeneratedImage.read(io.BytesIO(image._repr_png_()))
        assert (read.prompt, read.label) == (image.prompt, -1)
        (again,) = model.generate(**read.arguments)
        assert again.image.tobytes() == image.image.tobytes()


def test_only_png_keeps_the_metadata(generator: Generator, tmp_path: Path) -> None:
    (image,) = generator.generate("cat", steps=1)
    with pytest.raises(ValueError, match="saved as .png, not as 'cat.jpg'"):
        image.save(tmp_path / "cat.jpg")
    assert list(tmp_path.iterdir()) == []
    assert repr(image) == "GeneratedImage('cat', 16x16, seed 0, model 'tiny')"


def png(**text: str) -> io.BytesIO:
    info = PngInfo()
    for key, value in text.items():
        info.add_text(key, value)
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4)).save(buffer, "PNG", pnginfo=info)
    buffer.seek(0)
    return buffer


GOOD = {"model": "tiny", "prompt": "cat", "seed": "1", "settings": '{"steps": 3}'}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"seed": "-1"}, "seed -1 is out of range"),
        ({"seed": "x"}, "cannot be read"),
        ({"settings": '{"steps": "3"}'}, "steps must be a whole number of at least 1, not '3'"),
        ({"settings": '{"stepz": 3}'}, "did you mean 'steps'"),
        ({"settings": "[" * 60000}, "cannot be read"),
        ({"settings": '{"temperature": NaN}'}, "temperature must be"),
        ({"settings": json.dumps({"order": "x" * 70000})}, "too long"),
    ],
)
def test_a_broken_file_is_one_line(wrong: dict[str, str], message: str) -> None:
    assert GeneratedImage.read(png(**GOOD)).settings.steps == 3
    with pytest.raises(ValueError, match=message) as caught:
        GeneratedImage.read(png(**{**GOOD, **wrong}))
    assert "\n" not in str(caught.value)


def test_another_program_s_png_is_refused() -> None:
    with pytest.raises(ValueError, match="holds no settings of Demask"):
        GeneratedImage.read(png(parameters="a cat"))
    with pytest.raises(ValueError, match="no PNG"):
        GeneratedImage.read(io.BytesIO(b"nothing"))


def test_a_generator_shows_itself_in_a_few_lines(generator: Generator) -> None:
    lines = repr(replace(generator, settings=generator.settings.updated(steps=8))).splitlines()
    assert lines[0] == "Generator 'tiny' of 3 classes: 16x16 pixels, 4x4 tokens of 15 codes"
    assert "ModernMaskGIT" in lines[1]
    assert lines[2:] == ["  settings: steps=8", "  presets: none"]


def test_the_methods_that_edit_give_what_the_functions_give(generator: Generator) -> None:
    from demask import editing

    photo = Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8))
    mask = Image.new("L", (16, 16))
    mask.paste(255, (0, 0, 8, 16))
    pairs = [
        (
            generator.inpaint(photo, mask, "cat", 2, 5, 1, steps=2),
            editing.inpaint(generator, photo, mask, "cat", 2, 5, 1, steps=2),
        ),
        (
            generator.outpaint(photo, 4, 0, 0, 8, "cat", steps=2),
            editing.outpaint(generator, photo, 4, 0, 0, 8, "cat", steps=2),
        ),
        (
            generator.variations(photo, 0.5, ["dog", "cat"], steps=2),
            editing.variations(generator, photo, 0.5, ["dog", "cat"], steps=2),
        ),
    ]
    for ours, theirs in pairs:
        assert isinstance(ours, list)
        assert [p.image.tobytes() for p in ours] == [p.image.tobytes() for p in theirs]
