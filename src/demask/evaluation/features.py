"""Features of many images, extracted in batches; those of a reference are cached on disk.

Shape legend: B batch, C channels, D width of the features, H W rows and columns, K classes,
N images.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
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
"""Version of the cached files; raised when anything changes that their key does not contain."""
CACHE = Path("~/.cache/demask")

Batch = tuple[Tensor, Tensor | None]
"""Images, uint8 (B, H, W, 3), and their classes (B), or None."""


@dataclass(frozen=True)
class Features:
    """The features of some images, by one extractor.

    Attributes:
        features_ND: float32.
        extractor: the name of the extractor.
        fingerprint: the fingerprint of the extractor.
        size: height and width of the images, in pixels.
        logits_NK: logits of the extractor's classes; None if it has none.
        labels_N: the intended class of each image; None if it is not known.
        class_names: the classes of the logits.
        texts_ND: features of the prompt of each image, by an extractor of images and texts.
        answers_N: for `retrieval`, the label of the reference image that each prompt names.
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
        """The cached statistics of these features as a reference."""
        return Reference(self.features_ND)


def extract(
    batches: Iterable[Batch],
    extractor: Extractor,
    progress: Callable[[int], None] | None = None,
) -> Features:
    """Extract the features of all images.

    Args:
        batches: the images, read one batch at a time.
        extractor: the extractor.
        progress: called with the number of images done.

    Raises:
        ValueError: no images, or images of several sizes.
    """
    return extract_all(batches, [extractor], progress)[0]


def extract_all(
    batches: Iterable[Batch],
    extractors: Sequence[Extractor],
    progress: Callable[[int], None] | None = None,
) -> list[Features]:
    """Extract the features of all images by several extractors in one pass; see `extract`."""
    seen: list[tuple[list[Tensor], list[Tensor]]] = [([], []) for _ in extractors]
    labels: list[Tensor | None] = []
    done = 0
    for pixels_BHWC, label_B in of_one_size(batches):
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
    height, width = pixels_BHWC.shape[1:3]
    known = [label_B for label_B in labels if label_B is not None]
    return [
        Features(
            torch.cat(features),
            extractor.name,
            extractor.fingerprint,
            (height, width),
            torch.cat(logits) if logits else None,
            torch.cat(known).long() if len(known) == len(labels) else None,
            extractor.class_names,
        )
        for extractor, (features, logits) in zip(extractors, seen, strict=True)
    ]


def of_one_size(batches: Iterable[Batch]) -> Iterator[Batch]:
    """The batches unchanged, after a check of their sizes.

    Raises:
        ValueError: no images, or images of several sizes.
    """
    done = 0
    for batch in batches:
        height, width = batch[0].shape[1:3]
        if not done:
            size = (height, width)
        if size != (height, width):
            raise ValueError(
                f"images of several sizes: {size[1]}x{size[0]} and {width}x{height} (image "
                f"{done}); all must have one"
            )
        yield batch
        done += len(batch[0])
    if not done:
        raise ValueError("no images to measure")


def reference_features(
    batches: Callable[[], Iterable[Batch]],
    data: str,
    extractor: Extractor,
    cache: Path | None = None,
    progress: Callable[[int], None] | None = None,
) -> Features:
    """The features of reference images, from the cache if they are in it.

    Args:
        batches: opens the images; only called if they are not in the cache.
        data: identifies these images at this size, such as a data set's fingerprint.
        extractor: see `extract`.
        cache: the cache folder (default: ``~/.cache/demask``).
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
        log.warning("features are not cached: %s", error)
    return features


def cache_key(data: str, extractor: Extractor) -> str:
    """The hash of everything that cached features depend on."""
    facts = json.dumps([FORMAT, data, extractor.name, extractor.fingerprint])
    return hashlib.blake2b(facts.encode(), digest_size=12).hexdigest()


def write_features(path: Path, features: Features) -> None:
    """Write features as safetensors, atomically.

    Raises:
        OSError: the disk is full, or the folder is not writable.
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
    """Features written by `write_features` for this extractor; None if missing or broken."""
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
        log.warning("%s is broken (%s); the features are extracted again", path, error)
        return None
