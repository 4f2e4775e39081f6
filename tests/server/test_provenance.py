"""What an image says of itself."""

from __future__ import annotations

import io
import json
from pathlib import Path

import c2pa
import numpy as np
import pytest
from PIL import ExifTags, Image

from demask.generator import GeneratedImage, Generator
from demask.server.credentials import GENERATED, Credentials, Signing
from demask.server.provenance import Provenance


@pytest.fixture(scope="module")
def result(generators: dict[str, Generator]) -> GeneratedImage:
    return generators["tiny"].generate("cat", seed=7, steps=3)[0]


def told(png: bytes) -> dict[str, object]:
    with c2pa.Reader("image/png", io.BytesIO(png)) as reader:
        return json.loads(reader.json())


def test_a_signed_image_says_that_it_is_generated_and_how(result: GeneratedImage) -> None:
    png = Provenance(credentials=Credentials(Signing.make())).png(result)
    image = Image.open(io.BytesIO(png))
    assert np.array_equal(np.asarray(image), np.asarray(result.image))
    assert image.text["seed"] == "7"
    read = told(png)
    manifest = read["manifests"][read["active_manifest"]]
    actions, facts = (a["data"] for a in manifest["assertions"])
    assert actions["actions"][0]["digitalSourceType"] == GENERATED
    assert (facts["model"], facts["seed"], facts["settings"]["steps"]) == ("tiny", 7, 3)
    codes = [status["code"] for status in read["validation_status"]]
    assert codes == ["signingCredential.untrusted"]  # right, by somebody whom nobody knows


def test_a_changed_image_is_found_out(result: GeneratedImage) -> None:
    png = bytearray(Provenance(credentials=Credentials(Signing.make())).png(result))
    png[png.rindex(b"IDAT") + 12] ^= 1
    codes = [status["code"] for status in told(bytes(png))["validation_status"]]
    assert "assertion.dataHash.mismatch" in codes


@pytest.mark.parametrize("kind", ["jpeg", "webp"])
def test_other_formats_say_the_same(result: GeneratedImage, kind: str) -> None:
    data = Provenance(credentials=Credentials(Signing.make())).file(result, kind)
    with c2pa.Reader(f"image/{kind}", io.BytesIO(data)) as reader:
        read = json.loads(reader.json())
    manifest = read["manifests"][read["active_manifest"]]
    actions, facts = (a["data"] for a in manifest["assertions"])
    assert actions["actions"][0]["digitalSourceType"] == GENERATED
    assert facts["seed"] == 7
    assert [one["code"] for one in read["validation_status"]] == ["signingCredential.untrusted"]
    tags = Image.open(io.BytesIO(data)).getexif()
    assert json.loads(tags[ExifTags.Base.ImageDescription])["seed"] == 7
    assert "generated" in tags[ExifTags.Base.Software]


def test_what_another_program_writes_anew_says_nothing(result: GeneratedImage) -> None:
    """As docs/server.md says: neither the text nor the manifest survives."""
    png = Provenance(credentials=Credentials(Signing.make())).png(result)
    again = io.BytesIO()
    Image.open(io.BytesIO(png)).save(again, "JPEG")
    assert not Image.open(again).getexif()
    with pytest.raises(c2pa.C2paError), c2pa.Reader("image/jpeg", again) as reader:
        reader.json()


def test_the_operator_can_turn_it_off(result: GeneratedImage) -> None:
    png = Provenance(text=False).png(result)
    assert not Image.open(io.BytesIO(png)).info
    with pytest.raises(c2pa.C2paError):
        told(png)


def test_keys_come_from_files(tmp_path: Path, result: GeneratedImage) -> None:
    made = Signing.make()
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    chain.write_bytes(made.chain)
    key.write_bytes(made.key)
    assert told(Provenance(credentials=Credentials(Signing.read(chain, key))).png(result))
    key.write_bytes(Signing.make().key)
    with pytest.raises(ValueError, match="is not the key of the first certificate"):
        Signing.read(chain, key)
    key.write_text("nothing")
    with pytest.raises(ValueError, match="no private key"):
        Signing.read(chain, key)
