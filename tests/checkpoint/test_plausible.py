"""Checkpoints that would cost much, or give nonsense, are one line before anything is built."""

import json
import time
import zipfile
from pathlib import Path

import pytest
import torch

from demask.checkpoint import stream, zipped
from demask.checkpoint.load import load_model, read_metadata
from demask.checkpoint.read import CheckpointError, read_tensors
from demask.checkpoint.save import save_tensors
from demask.transformer.maskgit import MaskGIT


def changed(saved: Path, name: str, tensor: torch.Tensor) -> Path:
    """The saved model with one other tensor."""
    path = saved.with_name("changed.safetensors")
    save_tensors(path, load_model(saved).state_dict() | {name: tensor}, read_metadata(saved))
    return path


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_named(saved: Path, value: float) -> None:
    tensors = load_model(saved).state_dict()
    name = sorted(n for n, t in tensors.items() if t.ndim == 2)[0]
    wild = tensors[name].clone()
    wild[-1, -1] = value
    with pytest.raises(CheckpointError, match=rf"not finite \(NaN or Inf\): {name}"):
        load_model(changed(saved, name, wild))


def test_large_finite_weights_of_half_precision_pass(saved: Path) -> None:
    tensors = load_model(saved).state_dict()
    name = sorted(n for n, t in tensors.items() if t.ndim == 2)[0]
    large = torch.full_like(tensors[name], 65504.0)
    assert load_model(changed(saved, name, large.half())).state_dict()[name].max() == 65504


def test_whole_numbers_in_place_of_weights_are_named(saved: Path) -> None:
    name, tensor = next(iter(load_model(saved).state_dict().items()))
    with pytest.raises(CheckpointError, match=rf"whole numbers \(torch.int64\).*{name}"):
        load_model(changed(saved, name, tensor.long()))


def test_a_huge_description_is_refused_at_once(saved: Path) -> None:
    tensors, metadata = load_model(saved).state_dict(), read_metadata(saved)
    metadata["config"]["depth"] = 10_000_000
    save_tensors(saved, tensors, metadata)
    start = time.perf_counter()
    with pytest.raises(CheckpointError, match="do not belong together"):
        load_model(saved)
    assert time.perf_counter() - start < 2


def test_a_million_empty_tensors_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "MAX_TENSORS", 100)
    path = tmp_path / "many.safetensors"
    save_tensors(path, {f"t{i}": torch.zeros(0) for i in range(101)}, {})
    with pytest.raises(CheckpointError, match="10[0-9] tensors; at most 100 are read"):
        read_tensors(path)


def test_a_zip_that_unpacks_to_many_times_its_size_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zipped, "FREE_ZIP_BYTES", 1 << 20)
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", json.dumps({}))
        archive.writestr("model.safetensors", bytes(4 << 20))
    with pytest.raises(CheckpointError, match="times its size; refused"):
        read_tensors(path)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod.", "ema."])
def test_known_prefixes_are_taken_off(
    saved: Path, model: MaskGIT, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    tensors = {prefix + n: t for n, t in load_model(saved).state_dict().items()}
    path = saved.with_name("prefixed.safetensors")
    save_tensors(path, tensors, read_metadata(saved))
    loaded = load_model(path).state_dict()
    assert all(torch.equal(loaded[n], t) for n, t in model.state_dict().items())
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == prefix.count(".")
    assert all("tensors begin with '" in line for line in said)


def test_a_message_names_a_few_keys_and_counts_the_rest(saved: Path) -> None:
    tensors = {f"other.{n}": t for n, t in load_model(saved).state_dict().items()}
    path = saved.with_name("other.safetensors")
    save_tensors(path, tensors, read_metadata(saved))
    with pytest.raises(CheckpointError, match=r"missing: .* and \d+ more; unexpected: ") as caught:
        load_model(path)
    assert len(str(caught.value)) < 1500


@pytest.mark.parametrize("name", ["model.safetensors", "model.pth", "model.bin"])
def test_a_git_lfs_pointer_is_called_by_its_name(tmp_path: Path, name: str) -> None:
    lines = ["version https://git-lfs.github.com/spec/v1", f"oid sha256:{'a' * 64}", "size 2415000"]
    path = tmp_path / name
    path.write_text("\n".join([*lines, ""]))
    (tmp_path / "config.json").write_text('{"_class_name": "UVit2DModel"}')
    for source in (path, tmp_path):
        with pytest.raises(
            CheckpointError, match="a git-lfs pointer, not the file of 2,415,000 by"
        ):
            load_model(source)
