"""Read safetensors as a stream, one tensor after the other.

The safetensors library maps the file into memory. Mapped pages count as resident memory in addition
to the tensors that are copied or converted from them, so loading would need twice the memory of the
model; a file that is truncated while mapped crashes the process; and members of a zip cannot be
mapped. Here the data is read directly into the final tensors and converted in chunks.

Format: eight bytes with the header's length, a JSON header, and the tensors' data without gaps
(https://huggingface.co/docs/safetensors).

Shape legend: N entries of a flattened tensor.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from io import BufferedIOBase
from typing import Any

import torch
from torch import Tensor

DTYPES = {
    "BOOL": torch.bool,
    "U8": torch.uint8,
    "I8": torch.int8,
    "U16": torch.uint16,
    "I16": torch.int16,
    "U32": torch.uint32,
    "I32": torch.int32,
    "U64": torch.uint64,
    "I64": torch.int64,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F32": torch.float32,
    "F64": torch.float64,
}
MAX_HEADER_BYTES = 100_000_000
"""The limit of the safetensors library."""
MAX_TENSORS = 100_000
"""More than any network of the supported kinds has."""
PIECE_BYTES = 4 << 20


@dataclass(frozen=True)
class Stored:
    """The entry of a tensor in a header; ``begin`` is the offset of its data after the header."""

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]
    begin: int

    @property
    def end(self) -> int:
        """The offset of the end of its data."""
        return self.begin + self.dtype.itemsize * math.prod(self.shape)


def read_header(stream: BufferedIOBase, size: int) -> tuple[list[Stored], dict[str, str]]:
    """Read the header: the tensors in the order of their data, and the metadata.

    Args:
        stream: positioned at its start; afterwards at the data of the first tensor.
        size: size of the stream in bytes; the header must match it.

    Raises:
        ValueError: not a safetensors file, or a truncated one.
    """
    length = int.from_bytes(stream.read(8), "little")
    if size < 8 or length > min(size - 8, MAX_HEADER_BYTES):
        raise ValueError("no header")
    try:
        header = json.loads(stream.read(length))
    except (ValueError, RecursionError):
        raise ValueError("the header is not JSON") from None
    if not isinstance(header, dict):
        raise ValueError("the header is not a JSON object")
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise ValueError("the metadata is not a table of texts")
    if len(header) > MAX_TENSORS:
        raise ValueError(f"{len(header)} tensors; at most {MAX_TENSORS} are read")
    tensors = [_stored(name, facts) for name, facts in header.items()]
    tensors.sort(key=lambda stored: (stored.begin, stored.end))
    ends = [0, *(stored.end for stored in tensors)]
    if [stored.begin for stored in tensors] != ends[:-1]:
        raise ValueError("the tensors overlap, or leave gaps")
    if ends[-1] != size - 8 - length:
        raise ValueError(f"the tensors take {ends[-1]} bytes, there are {size - 8 - length}")
    return tensors, metadata


def _stored(name: str, facts: Mapping[str, Any]) -> Stored:
    try:
        begin, end = facts["data_offsets"]
        stored = Stored(name, DTYPES[facts["dtype"]], tuple(facts["shape"]), begin)
        numbers = *stored.shape, begin, end
        whole = all(type(number) is int and 0 <= number < 1 << 63 for number in numbers)
    except (LookupError, TypeError, ValueError):
        raise ValueError(f"tensor {name!r} is not described in a known way") from None
    if not whole or stored.end != end:
        raise ValueError(f"tensor {name!r}: its shape and its place do not agree")
    return stored


def read_stream(
    stream: BufferedIOBase, size: int, dtype: torch.dtype | None = None
) -> dict[str, Tensor]:
    """Read all tensors by name; see `read_header`.

    Args:
        stream: positioned at its start.
        size: size of the stream in bytes.
        dtype: convert floating-point tensors to this type (default: as they are stored).

    Raises:
        ValueError: not a safetensors file, or a truncated one.
        RuntimeError: a shape or conversion that torch does not support.
    """
    # one buffer for all tensors: freeing buffers in between would fragment the heap
    bytes_N = torch.empty(PIECE_BYTES, dtype=torch.uint8, device="cpu")
    tensors = {}
    for stored in read_header(stream, size)[0]:
        if dtype is None or dtype == stored.dtype or not stored.dtype.is_floating_point:
            tensors[stored.name] = read_tensor(stream, stored)
        else:
            tensors[stored.name] = read_converted(stream, stored, dtype, bytes_N)
    return tensors


def read_tensor(stream: BufferedIOBase, stored: Stored) -> Tensor:
    """Read the next tensor of the stream."""
    size = stored.end - stored.begin
    bytes_N = torch.empty(size, dtype=torch.uint8, device="cpu")
    fill(stream, bytes_N)
    return bytes_N.view(stored.dtype).view(stored.shape)


def read_converted(
    stream: BufferedIOBase, stored: Stored, dtype: torch.dtype, bytes_N: Tensor
) -> Tensor:
    """Read the next tensor and convert it; ``bytes_N`` is the buffer."""
    tensor_N = torch.empty(math.prod(stored.shape), dtype=dtype, device="cpu")
    for part_N in tensor_N.split(len(bytes_N) // stored.dtype.itemsize):
        piece_N = bytes_N[: len(part_N) * stored.dtype.itemsize]
        fill(stream, piece_N)
        part_N.copy_(piece_N.view(stored.dtype))
    return tensor_N.view(stored.shape)


def fill(stream: BufferedIOBase, bytes_N: Tensor) -> None:
    """Fill a tensor of bytes from the stream."""
    rest = bytes_N.numpy().data
    while rest:
        # in chunks: a zip stream copies each read once more
        count = stream.readinto(rest[:PIECE_BYTES])
        if not count:
            raise ValueError("the data is cut short")
        rest = rest[count:]
