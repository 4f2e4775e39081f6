"""Features of many images: extracted once, in batches, and those of a reference kept on disk.

Shape legend: B batch, C channels, D width of the features, H W rows and columns, K classes,
N images.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from demask.evaluation.extractors import Extractor
from demask.evaluation.reference import Reference
from demask.files import write_atomically

log = logging.getLogger(__name__)

FORMAT = 1
"""Of the cached files; to be raised when anything changes that their key does not name."""
CACHE = Path("~/.cache/demask")

Batch = tuple[Tensor, Tensor | None]
"""Images, uint8 (B, H, W, 3), and their classes (B) where they have some."""


@dataclass(frozen=True)
class Features:
    """What one extractor sees in some images.

    Attributes:
        features_ND: float32.
        extractor: its name.
        fingerprint: of the extractor.
        size: height and width of the images, in pixels.
        logits_NK: of the extractor's classes; None where it has none.
        labels_N: the class that each image was meant to show; None where that is not known.
        class_names: what the extractor's logits mean.
        texts_ND: features of the words that each image was meant to show, of an extractor that
            reads words.
        answers_N: the reference's label that each image should be nearest to.
    """

    features_ND: Tensor
    extractor: str
    fingerprint: str
    size: tuple[int, int]
    logits_NK: Tensor | None = None
    labels_N: Tensor | None = None
    class_names: tuple[str, ...] = ()
    texts_ND: Tensor | None = None
    answers_N: Tensor | None = None

    def __len__(self) -> int:
        return len(self.features_ND)

    @cached_property
    def alone(self) -> Reference:
        """What metrics need of these alone, where they are the reference."""
        return Reference(self.features_ND)


def extract(
    batches: Iterable[Batch],
    extractor: Extractor,
    progress: Callable[[int], None] | None = None,
) -> Features:
    """Show all images to one extractor.

    Args:
        batches: the images; none of them is kept.
        extractor: sees each once.
        progress: is told how many it has seen.

    Raises:
        ValueError: no images, or images of several sizes.
    """
    return extract_all(batches, [extractor], progress)[0]


def extract_all(
    batches: Iterable[Batch],
    extractors: Sequence[Extractor],
    progress: Callable[[int], None] | None = None,
) -> list[Features]:
    """Show all images to several extractors at once; see `extract`."""
    size: tuple[int, int] | None = None
    seen: list[tuple[list[Tensor], list[Tensor]]] = [([], []) for _ in extractors]
    labels: list[Tensor | None] = []
    done = 0
    for pixels_BHWC, label_B in batches:
        height, width = pixels_BHWC.shape[1:3]
        size = size or (height, width)
        if size != (height, width):
            raise ValueError(
                f"images of several sizes: {size[1]}x{size[0]} and {width}x{height} (image "
                f"{done}); all must have one"
            )
        image_BCHW = pixels_BHWC.permute(0, 3, 1, 2).float() / 255
        for extractor, (features, logits) in zip(extractors, seen, strict=True):
            features_BD, logits_BK = extractor(image_BCHW)
            features.append(features_BD)
            if logits_BK is not None:
                logits.append(logits_BK)
        labels.append(label_B)
        done += len(pixels_BHWC)
        if progress:
            progress(done)
    if size is None:
        raise ValueError("no images to measure")
    known = [label_B for label_B in labels if label_B is not None]
    return [
        Features(
            torch.cat(features),
            extractor.name,
            extractor.fingerprint,
            size,
            torch.cat(logits) if logits else None,
            torch.cat(known).long() if len(known) == len(labels) else None,
            extractor.class_names,
        )
        for extractor, (features, logits) in zip(extractors, seen, strict=True)
    ]


def reference_features(
    batches: Callable[[], Iterable[Batch]],
    data: str,
    extractor: Extractor,
    cache: Path | None = None,
    progress: Callable[[int], None] | None = None,
) -> Features:
    """The features of images that are measured against again and again.

    Args:
        batches: begins to read the images; only called where the cache does not hold them.
        data: names exactly these images at this size, such as a data set's fingerprint.
        extractor: see `extract`.
        cache: the folder to keep them in (default: ``~/.cache/demask``).
        progress: see `extract`.

    Raises:
        ValueError: no images, or images of several sizes.
    """
    folder = (cache or CACHE).expanduser() / "features"
    path = folder / f"{cache_key(data, extractor)}.safetensors"
    cached = read_features(path, extractor)
    if cached is not None:
        return cached
    features = extract(batches(), extractor, progress)
    try:
        write_features(path, features)
    except OSError as error:
        log.warning("features are not kept: %s", error)
    return features


def cache_key(data: str, extractor: Extractor) -> str:
    """Names everything that cached features depend on."""
    facts = json.dumps([FORMAT, data, extractor.name, extractor.fingerprint])
    return hashlib.blake2b(facts.encode(), digest_size=12).hexdigest()


def write_features(path: Path, features: Features) -> None:
    """Write features as safetensors, atomically.

    Raises:
        OSError: the disk is full, or the place may not be written.
    """
    from safetensors.torch import save_file

    tensors = {
        name: tensor.contiguous()
        for name in ("features_ND", "logits_NK", "labels_N")
        if (tensor := getattr(features, name)) is not None
    }
    facts = {"size": features.size, "fingerprint": features.fingerprint}
    header = {"demask": json.dumps(facts)}
    write_atomically(path, lambda temporary: save_file(tensors, temporary, header))


def read_features(path: Path, extractor: Extractor) -> Features | None:
    """Features that `write_features` wrote for this extractor; None for no, or a broken file."""
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            facts: dict[str, Any] = json.loads((file.metadata() or {})["demask"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        features_ND = tensors.pop("features_ND")
        size = (int(facts["size"][0]), int(facts["size"][1]))
        return Features(
            features_ND,
            extractor.name,
            extractor.fingerprint,
            size,
            class_names=extractor.class_names,
            **tensors,
        )
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        log.warning("%s is broken (%s) and is made anew", path, error)
        return None
