from __future__ import annotations

import json
import os
import pickle
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save, save_file

from demask.checkpoint import read
from demask.checkpoint.read import CheckpointError, read_description, read_tensors
from demask.transformer.maskgit import MaskGIT


class Evil:
    """A pickle of this runs a command when loaded the careless way."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return os.system, (f"touch {self.path}",)


def one_line(error: pytest.ExceptionInfo) -> str:
    text = str(error.value)
    assert "\n" not in text
    return text


def zipped(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def test_every_layout_gives_the_same_tensors(model: MaskGIT, public: Path, tmp_path: Path) -> None:
    state = model.state_dict()
    config = (public / "config.json").read_bytes()
    weights = (public / "pytorch_model.bin").read_bytes()

    sharded = tmp_path / "sharded"
    sharded.mkdir()
    names = list(state)
    places = {}
    for part, keys in (("a", names[::2]), ("b", names[1::2])):
        save_file({k: state[k] for k in keys}, sharded / f"{part}.safetensors")
        places |= dict.fromkeys(keys, f"{part}.safetensors")
    index = sharded / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": places}))
    (sharded / "config.json").write_bytes(config)

    nested = tmp_path / "lightning.ckpt"
    torch.save({"epoch": 3, "state_dict": state}, nested)
    plain = tmp_path / "plain.safetensors"
    save_file(state, plain)
    inner = {"256/config.json": config, "256/pytorch_model.bin": weights, "__MACOSX/x.bin": b""}
    layouts = [
        (public, True),
        (public / "pytorch_model.bin", True),
        (zipped(tmp_path / "bin.zip", inner), True),
        (
            zipped(tmp_path / "safe.zip", {"config.json": config, "m.safetensors": save(state)}),
            True,
        ),
        (sharded, True),
        (index, True),
        (nested, False),
        (plain, False),
    ]
    for path, described in layouts:
        tensors, description = read_tensors(path)
        assert tensors.keys() == state.keys(), path
        assert all(torch.equal(tensors[name], state[name]) for name in state), path
        assert description == (json.loads(config) if described else {}), path
        assert read_description(path) == description


def test_our_own_metadata_comes_before_a_config(saved: Path) -> None:
    saved.with_name("config.json").write_text('{"_class_name": "Other"}')
    assert read_description(saved)["architecture"] == "maskgit"
    assert read_tensors(saved)[1]["architecture"] == "maskgit"


def test_a_conventional_name_comes_first_among_several(public: Path) -> None:
    save_file({"x": torch.zeros(1)}, public / "case.safetensors")
    assert "x" not in read_tensors(public)[0]
    save_file({"x": torch.zeros(1)}, public / "model.safetensors")
    assert "x" in read_tensors(public)[0]


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_every_layout_is_converted(model: MaskGIT, tmp_path: Path, dtype: torch.dtype) -> None:
    state = model.state_dict() | {"count": torch.tensor(3)}
    save_file(state, tmp_path / "m.safetensors")
    torch.save(state, tmp_path / "m.bin")
    zipped(tmp_path / "safe.zip", {"m.safetensors": save(state)})
    zipped(tmp_path / "bin.zip", {"m.bin": (tmp_path / "m.bin").read_bytes()})
    for name in ("m.safetensors", "m.bin", "safe.zip", "bin.zip"):
        tensors, _ = read_tensors(tmp_path / name, dtype=dtype)
        assert tensors.pop("count").dtype == torch.int64, name
        assert tensors.keys() == model.state_dict().keys()
        assert all(torch.equal(tensors[n], state[n].to(dtype)) for n in tensors), name


def test_several_unknown_names_are_named(tmp_path: Path) -> None:
    for name in "ab":
        save_file({"x": torch.zeros(1)}, tmp_path / f"{name}.safetensors")
    with pytest.raises(CheckpointError, match=r"several weights files.* a.safetensors, b.safe"):
        read_tensors(tmp_path)


@pytest.mark.parametrize("zip_format", [True, False])
def test_a_pickle_with_code_is_refused(tmp_path: Path, zip_format: bool) -> None:
    path, touched = tmp_path / "evil.bin", tmp_path / "touched"
    content = {"x": torch.zeros(1), "evil": Evil(touched)}
    torch.save(content, path, _use_new_zipfile_serialization=zip_format)
    with pytest.raises(CheckpointError, match=r"Python objects beside tensors.*refused") as error:
        read_tensors(path)
    assert "evil.bin" in one_line(error)
    assert not touched.exists()


def test_a_bare_pickle_with_code_is_refused(tmp_path: Path) -> None:
    path, touched = tmp_path / "evil.pt", tmp_path / "touched"
    path.write_bytes(pickle.dumps(Evil(touched), protocol=2))
    with pytest.raises(CheckpointError, match="evil.pt") as error:
        read_tensors(path)
    one_line(error)
    assert not touched.exists()


def test_a_pickle_with_code_in_a_zip_is_refused(tmp_path: Path) -> None:
    torch.save({"evil": Evil(tmp_path / "touched")}, tmp_path / "evil.bin")
    path = zipped(tmp_path / "evil.zip", {"m/evil.bin": (tmp_path / "evil.bin").read_bytes()})
    with pytest.raises(CheckpointError, match="refused"):
        read_tensors(path)
    assert not (tmp_path / "touched").exists()


@pytest.mark.parametrize("name", ["m.safetensors", "m.bin", "m.zip"])
@pytest.mark.parametrize("part", [0, 0.3, 0.98])
def test_a_truncated_file_is_refused(
    model: MaskGIT, tmp_path: Path, name: str, part: float
) -> None:
    path = tmp_path / name
    if name.endswith(".bin"):
        torch.save(model.state_dict(), path)
    elif name.endswith(".zip"):
        zipped(path, {"m.safetensors": save(model.state_dict())})
    else:
        save_file(model.state_dict(), path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(part * len(whole))])
    with pytest.raises(CheckpointError, match=name) as error:
        read_tensors(path)
    one_line(error)


@pytest.mark.parametrize("name", ["m.safetensors", "m.bin", "m.ckpt", "m.zip", "m.xyz"])
def test_a_file_of_something_else_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"hello, I am a text file and not a checkpoint at all")
    with pytest.raises(CheckpointError, match=name) as error:
        read_tensors(path)
    one_line(error)


@pytest.mark.parametrize("content", [[torch.zeros(1)], {"x": 1}, torch.zeros(1)])
def test_a_pickle_without_named_tensors_is_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "m.pt")
    with pytest.raises(CheckpointError, match="does not hold a table of named tensors"):
        read_tensors(tmp_path / "m.pt")


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "config.json: not valid JSON"), ("[1]", "config.json: should be a JSON object")],
)
def test_a_broken_config_is_refused(public: Path, text: str, message: str) -> None:
    (public / "config.json").write_text(text)
    with pytest.raises(CheckpointError, match=message):
        read_tensors(public)


def test_broken_metadata_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    save_file({"x": torch.zeros(1)}, path, {"demask": "{"})
    with pytest.raises(CheckpointError, match="metadata 'demask': not valid JSON"):
        read_tensors(path)


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such file or directory"):
        read_tensors(tmp_path / "absent.safetensors")
    with pytest.raises(CheckpointError, match=r"no weights file; valid: \.safetensors, \.bin"):
        read_tensors(tmp_path)
    with pytest.raises(CheckpointError, match="should hold one folder with a weights file; has no"):
        read_tensors(zipped(tmp_path / "e.zip", {"readme.txt": b""}))
    with pytest.raises(CheckpointError, match="has 256, 512"):
        read_tensors(zipped(tmp_path / "t.zip", {"512/a.bin": b"", "256/a.bin": b""}))


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ({}, "no 'weight_map'"),
        ({"weight_map": {"x": 3}}, "no 'weight_map'"),
        ({"weight_map": {"x": "../up.safetensors"}}, "no safetensors file '../up.safetensors'"),
        ({"weight_map": {"x": "m.bin"}}, "no safetensors file 'm.bin'"),
        ({"weight_map": {"x": "absent.safetensors"}}, "no safetensors file 'absent.safetensors'"),
        ({"weight_map": {"x": "m.safetensors", "z": "m.safetensors"}}, "its files lack z"),
    ],
)
def test_a_broken_index_is_refused(tmp_path: Path, index: dict, message: str) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for path in (folder / "m.safetensors", tmp_path / "up.safetensors"):
        save_file({"x": torch.zeros(1)}, path)
    torch.save({"x": torch.zeros(1)}, folder / "m.bin")
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(CheckpointError, match=message):
        read_tensors(folder)


def test_a_zip_that_unpacks_to_too_much_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = zipped(tmp_path / "bomb.zip", {"m.bin": bytes(100_000)})
    monkeypatch.setattr(read, "MAX_ZIP_BYTES", 99_999)
    with pytest.raises(CheckpointError, match=r"bomb.zip, m.bin: unpacks to 100000 bytes"):
        read_tensors(path)


def test_names_in_a_zip_never_become_paths(model: MaskGIT, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    content = save(model.state_dict())
    path = zipped(folder / "up.zip", {"../../escaped.safetensors": content})
    assert read_tensors(path)[0].keys() == model.state_dict().keys()
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["in", "up.zip"]


def test_tensors_outlive_their_file(saved: Path, model: MaskGIT) -> None:
    tensors, _ = read_tensors(saved)
    saved.write_bytes(b"")
    assert all(torch.equal(tensors[name], t) for name, t in model.state_dict().items())
