import io

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from demask.server.provenance import Provenance
from demask.ui.frames import data_address
from demask.ui.png_metadata import from_address, read_facts
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
    ],
)
def test_another_file_is_refused(data, said):
    with pytest.raises(ValueError, match=said):
        read_facts(data)


@pytest.mark.parametrize(
    "address", [None, "", "http://example.org/a.png", "data:image/png;base64,%"]
)
def test_only_data_addresses_are_read(address):
    with pytest.raises(ValueError, match="received"):
        from_address(address)
