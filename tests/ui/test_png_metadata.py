import io

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngImageFile, PngInfo

from broken_png import bomb
from demask.server.engine import Engine
from demask.server.provenance import Provenance
from demask.ui import png_metadata
from demask.ui.frames import data_address
from demask.ui.png_metadata import from_address, read_facts, read_usable
from tiny import tiny_generator


def png(**text):
    info = PngInfo()
    for name, value in text.items():
        info.add_text(name, value)
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4)).save(buffer, "PNG", pnginfo=info)
    return buffer.getvalue()


def test_an_image_gives_back_what_it_was_generated_with():
    (image,) = tiny_generator().generate("cat", seed=5, steps=3, top_p=0.9, order="halton")
    facts = read_facts(from_address(data_address(Provenance().png(image), "png")))
    assert (facts.model, facts.prompt, facts.seed) == ("tiny", "cat", 5)
    assert facts.settings == image.settings


FACTS = {"model": "tiny", "prompt": "cat", "seed": "1", "settings": "{}"}


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "no PNG"),
        (png(), "no settings"),
        (png(**{**FACTS, "seed": "one"}), "cannot be read"),
        (png(**{**FACTS, "seed": "-1"}), "cannot be read"),
        (png(**{**FACTS, "settings": "[1]"}), "cannot be read"),
        (png(**{**FACTS, "settings": '{"stepz": 1}'}), "stepz"),
        (png(**{**FACTS, "settings": '{"steps": "many"}'}), "steps"),
        (png(**{**FACTS, "prompt": "x" * 70000}), "too long"),
        (png(**{**FACTS, "settings": "[" * 60000}), "cannot be read: too many brackets"),
        (png(**{**FACTS, "load": '{"a":' * 12000}), "cannot be read: too many brackets"),
        (png(**{**FACTS, "settings": '{"guidance_scale": NaN}'}), "from -100 to 100, not nan"),
        (png(**{**FACTS, "settings": '{"guidance_scale": 1e9}'}), "from -100 to 100, not 1000000"),
        (bomb(4097, 4096), "4097x4096 pixels, more than 16777216"),
        (bomb(12000, 12000), "too many pixels"),
    ],
)
def test_another_file_is_refused(data, said):
    with pytest.raises(ValueError, match=said):
        read_facts(data)


def test_an_image_of_too_many_pixels_is_not_decoded(monkeypatch):
    data = png(**FACTS)
    monkeypatch.setattr(png_metadata, "MOST_PIXELS", 15)
    monkeypatch.setattr(PngImageFile, "load", lambda _self: pytest.fail("it was decoded"))
    with pytest.raises(ValueError, match="4x4 pixels, more than 15"):
        read_facts(data)


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"settings": '{"steps": 1000000000}'}, "steps must be 1 to 16"),
        ({"settings": '{"width": 4096, "height": 4096}'}, "at most 262144 pixels"),
        ({"prompt": "cow"}, "unknown class 'cow'"),
        ({"model": "other"}, "'other', not served here"),
    ],
)
def test_settings_that_the_server_cannot_use_are_not_restored(facts, said):
    engine = Engine({"tiny": tiny_generator()})
    assert read_usable(engine, png(**FACTS)).prompt == "cat"
    with pytest.raises(ValueError, match=said):
        read_usable(engine, png(**{**FACTS, **facts}))


@pytest.mark.parametrize(
    "address", [None, "", "http://example.org/a.png", "data:image/png;base64,%"]
)
def test_only_data_addresses_are_read(address):
    with pytest.raises(ValueError, match="received"):
        from_address(address)
