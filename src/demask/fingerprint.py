"""Fingerprints: short hexadecimal hashes of facts, files and weights.

Caches, checkpoints and result files store them. A change of an algorithm here makes every stored
fingerprint invalid.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn


def fingerprint(*facts: object) -> str:
    """The hash of a sequence of facts, by their texts and their order."""
    digest = hashlib.blake2b(digest_size=8)
    for fact in facts:
        text = str(fact).encode()
        digest.update(len(text).to_bytes(8, "big") + text)
    return digest.hexdigest()


def file_fingerprint(*facts: object, files: Iterable[Path]) -> str:
    """The hash of facts and of the content of files.

    Raises:
        OSError: a file cannot be read.
    """
    digest = hashlib.blake2b(repr(facts).encode(), digest_size=8)
    for path in files:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


SAMPLED, BLOCK = 16, 4096
"""How many blocks of a file are read, and their bytes; a small file is read as a whole."""


def file_sample(path: Path) -> str:
    """A hash of a file's size and of blocks from all over it.

    It is the same for a copy, whatever its time, and reads at most 64 KiB.

    Raises:
        OSError: the file cannot be read.
    """
    size = path.stat().st_size
    digest = hashlib.blake2b(str(size).encode(), digest_size=8)
    with path.open("rb") as file:
        if size <= SAMPLED * BLOCK:
            digest.update(file.read())
        else:
            for number in range(SAMPLED):
                file.seek((size - BLOCK) * number // (SAMPLED - 1))
                digest.update(file.read(BLOCK))
    return digest.hexdigest()


def weights_fingerprint(module: nn.Module) -> str:
    """The hash of the names and the float32 values of a module's tensors."""
    digest = hashlib.blake2b(digest_size=8)
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().float().numpy().tobytes())
    return digest.hexdigest()
