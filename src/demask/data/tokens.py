"""Pictures as tokens, made once and kept on disk: what masked models are trained on.

Shape legend: B batch, W views, L tokens.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from PIL.Image import Image
from torch import Tensor, nn

from demask import rng
from demask.data.pictures import Picture, Pictures, fingerprint
from demask.data.transforms import random_view, to_tensor
from demask.types import Grid, Tokenizer


@dataclass(frozen=True)
class Views:
    """How often each picture is tokenised, and how it is changed before.

    Attributes:
        size: side of the square picture, in pixels.
        count: views of each picture: the plain one, its mirror image if ``flip``, then random ones.
        flip: mirror images are fine (they are not for text or hands).
        shift: random views are moved by up to this many pixels.
    """

    size: int
    count: int = 2
    flip: bool = True
    shift: int = 0

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"count must be at least 1, not {self.count}")

    def view(self, image: Image, index: int, number: int) -> Tensor:
        """View ``number`` of picture ``index``, (3, size, size); the same on every call."""
        plain = to_tensor(image, self.size)
        if number == 0:
            return plain
        if number == 1 and self.flip:
            return plain.flip(-1)
        generator = torch.Generator().manual_seed(rng.derive(index, "view", number))
        return random_view(image, self.size, self.flip, self.shift, generator)


@dataclass(frozen=True)
class TokenCache:
    """Tokens of many pictures, read from disk as they are needed.

    Attributes:
        ids: (pictures, W, L) unsigned integers, memory-mapped.
        labels: class numbers (pictures).
        class_names: what they mean.
        grid: rows and columns of the L tokens.
        fingerprint: names the pictures, the views and the tokenizer that made it.
        captions: what each picture shows in words, the main caption first; () where none is known.
    """

    ids: np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...]
    grid: Grid
    fingerprint: str
    captions: tuple[tuple[str, ...], ...]

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def views(self) -> int:
        """W, the views of each picture."""
        return int(self.ids.shape[1])

    def read(self, index_B: Tensor, view_B: Tensor) -> tuple[Tensor, Tensor]:
        """Ids (B, L) of one view of each picture, and their class numbers (B)."""
        index, view = index_B.numpy(), view_B.numpy()
        ids_BL = torch.from_numpy(self.ids[index, view].astype(np.int64))
        return ids_BL, torch.from_numpy(self.labels[index].astype(np.int64))


def tokenizer_fingerprint(tokenizer: nn.Module) -> str:
    """A short name of a tokenizer's exact weights."""
    digest = hashlib.blake2b(digest_size=8)
    for name, tensor in sorted(tokenizer.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().float().numpy().tobytes())
    return digest.hexdigest()


def load_tokens(folder: Path) -> TokenCache:
    """Open a cache that `build_tokens` made.

    Raises:
        ValueError: the folder holds no whole cache.
    """
    try:
        meta = json.loads((folder / "meta.json").read_text())
        ids = np.load(folder / "ids.npy", mmap_mode="r")
        labels = np.load(folder / "labels.npy")
        captions = read_captions(folder / "captions.json", len(labels))
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(f"{folder} holds no readable token cache ({error})") from error
    grid = (meta["grid"][0], meta["grid"][1])
    return TokenCache(ids, labels, tuple(meta["class_names"]), grid, meta["fingerprint"], captions)


def read_captions(path: Path, count: int) -> tuple[tuple[str, ...], ...]:
    """The captions of each picture; none where the file is missing.

    Raises:
        ValueError: they are not those of ``count`` pictures.
    """
    if not path.exists():
        return ((),) * count
    captions = tuple(map(tuple, json.loads(path.read_text())))
    if len(captions) != count:
        raise ValueError(f"{path.name} has captions of {len(captions)} pictures, not {count}")
    return captions


@torch.no_grad()
def build_tokens(
    tokenizer: Tokenizer,
    pictures: Pictures,
    views: Views,
    folder: Path,
    progress: Callable[[int], None] = lambda done: None,
    batch_size: int = 128,
) -> TokenCache:
    """Tokenise all pictures into a folder of ``folder``, or open it if it is there already.

    The folder's name is the cache's fingerprint, so that another tokenizer, other pictures or
    other views never meet an old cache.

    Args:
        tokenizer: pixels -> ids.
        pictures: what to tokenise.
        views: how to change them before.
        folder: where caches live.
        progress: is told how many pictures are done.
        batch_size: pictures at a time.
    """
    assert isinstance(tokenizer, nn.Module)
    name = fingerprint(tokenizer_fingerprint(tokenizer), asdict(views), pictures.fingerprint)
    place = folder / name
    if place.exists():
        return load_tokens(place)
    side = views.size // tokenizer.downsampling
    meta = {
        "grid": [side, side],
        "class_names": list(pictures.class_names),
        "fingerprint": name,
    }
    with folder_written_whole(place) as work:
        (work / "meta.json").write_text(json.dumps(meta))
        shape = (len(pictures), views.count, side * side)
        width = np.uint16 if tokenizer.codebook_size <= 2**16 else np.uint32
        ids = np.lib.format.open_memmap(work / "ids.npy", "w+", width, shape)
        labels, captions = np.zeros(len(pictures), np.int32), []
        for part in batches(len(pictures), batch_size):
            picked, ids[part.start : part.stop] = tokenise(tokenizer, pictures, views, part)
            labels[part.start : part.stop] = [picture.label for picture in picked]
            captions += [picture.captions for picture in picked]
            progress(part.stop)
        ids.flush()
        np.save(work / "labels.npy", labels)
        (work / "captions.json").write_text(json.dumps(captions))
    return load_tokens(place)


def tokenise(
    tokenizer: Tokenizer, pictures: Pictures, views: Views, part: range
) -> tuple[list[Picture], np.ndarray]:
    """Some pictures (B) and their ids (B, W, L)."""
    assert isinstance(tokenizer, nn.Module)
    device = next(tokenizer.parameters()).device
    with ThreadPoolExecutor(2) as readers:
        picked = list(readers.map(pictures.__getitem__, part))
        images = [picture.image for picture in picked]
        ids = []
        for number in range(views.count):
            seen = readers.map(views.view, images, part, [number] * len(part))
            ids.append(tokenizer.encode(torch.stack(list(seen)).to(device)).flatten(1).cpu())
    return picked, torch.stack(ids, dim=1).numpy()


def batches(count: int, size: int) -> Iterator[range]:
    """Consecutive ranges that cover 0 to ``count``."""
    for start in range(0, count, size):
        yield range(start, min(start + size, count))


@contextmanager
def folder_written_whole(folder: Path) -> Iterator[Path]:
    """A temporary folder that takes its real name only once it is complete."""
    work = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.tmp")
    work.mkdir(parents=True)
    try:
        yield work
        if not folder.exists():  # another process may have been faster
            work.replace(folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)
