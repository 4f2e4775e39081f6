from __future__ import annotations

import io
import itertools
import json
from typing import Any

import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor

from demask.checkpoint import stream
from demask.checkpoint.stream import DTYPES, read_header, read_stream

F32 = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


def read(content: bytes, dtype: torch.dtype | None = None) -> dict[str, Tensor]:
    return read_stream(io.BytesIO(content), len(content), dtype)


def written(header: Any, data: bytes = bytes(8)) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def test_every_type_is_read_as_the_library_reads_it() -> None:
    numbers = torch.arange(6).view(2, 3)
    tensors = {name: numbers.to(dtype) for name, dtype in DTYPES.items()}
    tensors |= {"scalar": torch.tensor(1.5), "empty": torch.zeros(3, 0), "none": torch.zeros(0)}
    content = save(tensors, {"maker": "test"})
    ours, theirs = read(content), load(content)
    assert ours.keys() == tensors.keys()
    for name, tensor in ours.items():
        assert tensor.dtype == theirs[name].dtype
        assert tensor.shape == theirs[name].shape
        assert torch.equal(tensor.double(), theirs[name].double())
    assert read_header(io.BytesIO(content), len(content))[1] == {"maker": "test"}


@pytest.mark.parametrize("piece", [8, 24, 1 << 20])
@pytest.mark.parametrize("dtype", [None, torch.float16, torch.float32, torch.float64])
def test_pieces_and_conversions_change_nothing_else(
    piece: int, dtype: torch.dtype | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "PIECE_BYTES", piece)
    torch.manual_seed(0)
    tensors = {
        "single": torch.randn(3, 5),
        "half": torch.randn(7).half(),
        "brain": torch.randn(2, 1, 4).bfloat16(),
        "scalar": torch.tensor(1.5, dtype=torch.float64),
        "empty": torch.zeros(0, 2),
        "numbers": torch.arange(9),
        "flags": torch.tensor([True, False, True]),
    }
    ours = read(save(tensors), dtype)
    for name, tensor in tensors.items():
        expected = tensor.to(dtype) if dtype and tensor.is_floating_point() else tensor
        assert ours[name].dtype == expected.dtype
        assert torch.equal(ours[name], expected)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no header"),
        (b"1234567", "no header"),
        ((1 << 60).to_bytes(8, "little") + bytes(50), "no header"),
        (written(b"{"), "the header is not JSON"),
        (written(b"[" * 100_000), "the header is not JSON"),
        (written([]), "not a JSON object"),
        (written({"__metadata__": {"a": 1}, "x": F32}), "not a table of texts"),
        (written({"__metadata__": [], "x": F32}), "not a table of texts"),
        (written({"x": 3}), "'x' is not described in a known way"),
        (written({"x": F32 | {"dtype": "F7"}}), "'x' is not described in a known way"),
        (written({"x": F32 | {"dtype": ["F32"]}}), "'x' is not described in a known way"),
        (written({"x": F32 | {"data_offsets": [0]}}), "'x' is not described in a known way"),
        (written({"x": F32 | {"shape": "2"}}), "shape and its place do not agree"),
        (written({"x": F32 | {"shape": [-1, -2]}}), "shape and its place do not agree"),
        (written({"x": F32 | {"shape": [2.0]}}), "shape and its place do not agree"),
        (written({"x": F32 | {"shape": [2, True]}}), "shape and its place do not agree"),
        (written({"x": F32 | {"shape": [3]}}), "shape and its place do not agree"),
        (written({"a\nb": F32 | {"shape": [10**30]}}), r"'a\\nb': its shape and its place"),
        (written({"x": F32 | {"shape": [0, 2**70]}}), "shape and its place do not agree"),
        (written({"x": F32, "y": F32}), "overlap, or leave gaps"),
        (written({"x": F32 | {"data_offsets": [8, 16]}}, bytes(16)), "overlap, or leave gaps"),
        (written({"x": F32}, bytes(9)), "take 8 bytes, there are 9"),
        (written({"x": F32}, bytes(7)), "take 8 bytes, there are 7"),
        (written({}, bytes(1)), "take 0 bytes, there are 1"),
    ],
    ids=itertools.count(),
)
def test_what_is_no_such_file_is_refused(content: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        read(content)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("dtype", [None, torch.float16])
def test_a_file_that_shrinks_meanwhile_is_refused(dtype: torch.dtype | None) -> None:
    content = written({"x": F32})
    with pytest.raises(ValueError, match="the data is cut short"):
        read_stream(io.BytesIO(content[:-1]), len(content), dtype)
