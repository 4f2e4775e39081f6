from __future__ import annotations

import errno
import json
import sys
import zipfile
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
import torch
from torch import Tensor

from demask.checkpoint.architectures import FEATURE_SELECTION
from demask.checkpoint.convert import convert, jax_maskgit, unlockmgm
from demask.checkpoint.identify import split
from demask.checkpoint.load import load_model
from demask.checkpoint.lora import base_fingerprint
from demask.checkpoint.read import CheckpointError, read_tensors
from demask.checkpoint.save import save_model
from demask.transformer.maskgit import MaskGIT, MaskGITConfig

Tree = dict[str, Any]


@pytest.fixture
def authors(golden: Path) -> Path:
    return golden / "unlockmgm_transformer"


@pytest.fixture
def jax(golden: Path) -> Path:
    return golden / "maskgit_jax"


def same(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> bool:
    return ours.keys() == theirs.keys() and all(torch.equal(ours[n], theirs[n]) for n in ours)


def array(value: np.ndarray) -> msgpack.ExtType:
    return msgpack.ExtType(1, msgpack.packb((value.shape, value.dtype.name, value.tobytes())))


def edited(path: Path, out: Path, edit: Any) -> Path:
    """A copy of a msgpack file, its tree changed by ``edit``."""
    tree = msgpack.unpackb(path.read_bytes())
    edit(tree)
    out.write_bytes(msgpack.packb(tree))
    return out


def test_the_authors_directory_is_split_in_two(authors: Path, tmp_path: Path) -> None:
    paths = convert(authors, tmp_path / "new" / "out")
    assert [p.name for p in paths] == ["transformer.safetensors", "self_guidance.safetensors"]
    base, selection = split(read_tensors(authors)[0], FEATURE_SELECTION)
    assert same(read_tensors(paths[0])[0], base)
    tensors, description = read_tensors(paths[1])
    assert same(tensors, selection)
    assert description["architecture"] == "feature_selection"
    width = base["embed.word_embeddings.weight"].shape[1]
    assert description["config"]["width"] == width

    model, loaded = load_model(authors), load_model(paths[0])
    assert description["base"] == base_fingerprint(loaded) == base_fingerprint(model)
    assert isinstance(model, MaskGIT)
    assert loaded.config == model.config
    ids = torch.full((1, model.config.sequence - 1), model.mask_id), torch.tensor([1])
    assert torch.equal(loaded(*ids), model(*ids))


def test_the_authors_zip_gives_the_same(authors: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in ("config.json", "pytorch_model.bin"):
            archive.write(authors / name, f"maskgit/{name}")
    zipped = convert(tmp_path / "a.zip", tmp_path / "zip")
    plain = convert(authors, tmp_path / "dir")
    assert [p.read_bytes() for p in zipped] == [p.read_bytes() for p in plain]


def test_a_feature_selection_that_does_not_fit_is_refused(authors: Path, tmp_path: Path) -> None:
    tensors, public = read_tensors(authors)
    del tensors["decoders.0.linear.weight"]
    tensors["decoders.99.linear.weight"] = torch.zeros(1)
    tensors["top_down_transform"] = torch.zeros(1, 2)
    with pytest.raises(CheckpointError) as error:
        unlockmgm.networks(tensors, public)
    for part in ("missing: decoders.0.lin", "unexpected: decoders.99.lin", "top_down_transform (1"):
        assert part in str(error.value)


def test_a_public_tokenizer(golden: Path, tmp_path: Path) -> None:
    (path,) = convert(golden / "maskgit_vqgan", tmp_path)
    assert path.name == "tokenizer.safetensors"
    assert same(read_tensors(path)[0], read_tensors(golden / "maskgit_vqgan")[0])


def test_our_own_file_comes_out_as_it_was(tmp_path: Path) -> None:
    model = MaskGIT(MaskGITConfig(4, 1, (1, 2), 4, 1, 1, 4, tied=True))
    save_model(tmp_path / "m.safetensors", model, "maskgit")
    (path,) = convert(tmp_path / "m.safetensors", tmp_path / "out")
    assert path.read_bytes() == (tmp_path / "m.safetensors").read_bytes()


def test_jax_networks_are_recognised_and_sized_by_their_arrays(jax: Path, tmp_path: Path) -> None:
    (path,) = convert(jax / "transformer_checkpoint", tmp_path)
    tensors, description = read_tensors(path)
    assert path.name == "transformer.safetensors"
    assert description["config"]["tied"] is True
    assert "mlm_layer.to_logits.weight" not in tensors
    words = len(tensors["embed.word_embeddings.weight"])
    assert description["config"]["codebook_size"] == 1024
    assert description["config"]["num_classes"] == words - 1025
    (path,) = convert(jax / "tokenizer_checkpoint", tmp_path, kind="jax_maskgit")
    assert path.name == "tokenizer.safetensors"


def test_a_jax_transformer_with_another_codebook(jax: Path) -> None:
    (network,) = jax_maskgit.convert(jax / "transformer_checkpoint", codebook_size=512)
    words = len(network.tensors["embed.word_embeddings.weight"])
    assert network.config.num_classes == words - 513
    with pytest.raises(CheckpointError, match="too few for a codebook of 2000"):
        jax_maskgit.convert(jax / "transformer_checkpoint", codebook_size=2000)


def test_jax_arrays_that_do_not_fit_are_all_named(jax: Path, tmp_path: Path) -> None:
    def edit(tree: Tree) -> None:
        del tree["params"]["MlmLayer_0"]["mlm_ln"]
        tree["params"]["Extra_0"] = {"bias": array(np.zeros(2, np.float32))}
        tree["params"]["Extra_1"] = array(np.zeros(2, np.float32))

    path = edited(jax / "transformer_checkpoint", tmp_path / "edited", edit)
    with pytest.raises(CheckpointError) as error:
        convert(path, tmp_path / "out")
    text = str(error.value)
    assert "missing: MlmLayer_0/mlm_ln/bias, MlmLayer_0/mlm_ln/scale" in text
    assert "unexpected: Extra_0/bias, Extra_1" in text
    assert "\n" not in text
    assert not (tmp_path / "out").exists()


def test_a_mis_shaped_jax_array_is_named_and_nothing_written(jax: Path, tmp_path: Path) -> None:
    def edit(tree: Tree) -> None:
        tree["params"]["MlmLayer_0"]["mlm_ln"]["bias"] = array(np.zeros(5, np.float32))

    path = edited(jax / "transformer_checkpoint", tmp_path / "edited", edit)
    with pytest.raises(CheckpointError, match=r"mis-shaped: mlm_layer.mlm_ln.bias \(5,\) for"):
        convert(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a readable flax msgpack file"),
        (b"hello, I am a text", "not a readable flax msgpack file"),
        (msgpack.packb([1]), "nothing under 'params'"),
        (msgpack.packb({"params": [1]}), "nothing under 'params'"),
        (msgpack.packb({"params": {"a": {"b": 1}}}), "not arrays: a/b"),
        (msgpack.packb({"params": {}}), "neither MaskGIT's transformer nor its tokenizer"),
        (msgpack.packb({"params": {"a": msgpack.ExtType(2, b"x")}}), "extension type 2"),
        (msgpack.packb({"params": {"a": array(np.zeros(1, complex))}}), "an array of type complex"),
        (
            msgpack.packb({"params": {"quantizer": {"codebook": array(np.zeros((2, 2)))}}}),
            "not MaskGIT's arrays",
        ),
    ],
)
def test_what_is_not_a_jax_checkpoint_is_refused(
    tmp_path: Path, content: bytes, message: str
) -> None:
    path = tmp_path / "checkpoint_100"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=message) as error:
        convert(path, tmp_path / "out")
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("part", [0.01, 0.5, 0.99])
def test_a_truncated_jax_checkpoint_is_refused(jax: Path, tmp_path: Path, part: float) -> None:
    whole = (jax / "tokenizer_checkpoint").read_bytes()
    (tmp_path / "cut").write_bytes(whole[: int(part * len(whole))])
    with pytest.raises(CheckpointError, match="cut: not a readable flax msgpack file"):
        convert(tmp_path / "cut", tmp_path / "out")


def test_without_msgpack_one_line_says_what_to_install(
    jax: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "msgpack", None)
    with pytest.raises(ValueError, match=r"pip install 'demask\[convert\]'"):
        convert(jax / "transformer_checkpoint", tmp_path / "out")


def test_an_unknown_kind_lists_the_valid_ones(jax: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"kind of checkpoint 'jax'.* pytorch, jax_maskgit"):
        convert(jax, tmp_path, kind="jax")


def test_a_base_that_does_not_fit_writes_nothing(authors: Path, tmp_path: Path) -> None:
    tensors, _ = read_tensors(authors)
    tensors["surprise"] = torch.zeros(1)
    folder = tmp_path / "in"
    folder.mkdir()
    torch.save(tensors, folder / "pytorch_model.bin")
    (folder / "config.json").write_text((authors / "config.json").read_text())
    with pytest.raises(CheckpointError, match=r"in: .*unexpected: surprise"):
        convert(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_full_disk_leaves_no_half_of_the_result(
    authors: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from demask.checkpoint import save

    real, calls = save.save_file, []

    def full_at_the_second(tensors: Any, path: Path, metadata: Any) -> None:
        calls.append(path)
        if len(calls) == 2:
            path.write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")
        real(tensors, path, metadata)

    monkeypatch.setattr(save, "save_file", full_at_the_second)
    with pytest.raises(OSError, match="No space left"):
        convert(authors, tmp_path / "out")
    assert len(calls) == 2
    assert list((tmp_path / "out").iterdir()) == []


def test_the_config_in_a_converted_file_is_plain_json(jax: Path, tmp_path: Path) -> None:
    (path,) = convert(jax / "tokenizer_checkpoint", tmp_path)
    config = read_tensors(path)[1]["config"]
    assert json.loads(json.dumps(config)) == config
    assert config["multipliers"][0] == 1
