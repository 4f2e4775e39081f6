"""What a picture says of itself."""

from __future__ import annotations

import io
import json
from pathlib import Path

import c2pa
import numpy as np
import pytest
from PIL import Image

from demask.generator import Generator, Picture
from demask.server.credentials import GENERATED, Credentials, Signing
from demask.server.provenance import Provenance


@pytest.fixture(scope="module")
def picture(generators: dict[str, Generator]) -> Picture:
    return generators["tiny"].generate("cat", seed=7, steps=3)[0]


def told(png: bytes) -> dict[str, object]:
    with c2pa.Reader("image/png", io.BytesIO(png)) as reader:
        return json.loads(reader.json())


def test_a_signed_picture_says_that_it_is_generated_and_how(picture: Picture) -> None:
    png = Provenance(credentials=Credentials(Signing.make())).png(picture)
    image = Image.open(io.BytesIO(png))
    assert np.array_equal(np.asarray(image), np.asarray(picture.image))
    assert image.text["seed"] == "7"
    read = told(png)
    manifest = read["manifests"][read["active_manifest"]]
    actions, facts = (a["data"] for a in manifest["assertions"])
    assert actions["actions"][0]["digitalSourceType"] == GENERATED
    assert (facts["model"], facts["seed"], facts["settings"]["steps"]) == ("tiny", 7, 3)
    codes = [status["code"] for status in read["validation_status"]]
    assert codes == ["signingCredential.untrusted"]  # right, by somebody whom nobody knows


def test_a_changed_picture_is_found_out(picture: Picture) -> None:
    png = bytearray(Provenance(credentials=Credentials(Signing.make())).png(picture))
    png[png.rindex(b"IDAT") + 12] ^= 1
    codes = [status["code"] for status in told(bytes(png))["validation_status"]]
    assert "assertion.dataHash.mismatch" in codes


def test_the_operator_can_turn_it_off(picture: Picture) -> None:
    png = Provenance(text=False).png(picture)
    assert not Image.open(io.BytesIO(png)).info
    with pytest.raises(c2pa.C2paError):
        told(png)


def test_keys_come_from_files(tmp_path: Path, picture: Picture) -> None:
    made = Signing.make()
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    chain.write_bytes(made.chain)
    key.write_bytes(made.key)
    assert told(Provenance(credentials=Credentials(Signing.read(chain, key))).png(picture))
    key.write_bytes(Signing.make().key)
    with pytest.raises(ValueError, match="is not the key of the first certificate"):
        Signing.read(chain, key)
    key.write_text("nothing")
    with pytest.raises(ValueError, match="no private key"):
        Signing.read(chain, key)
