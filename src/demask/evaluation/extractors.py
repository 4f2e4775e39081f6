"""Extractors of features, by name.

Shape legend: B batch, C channels, D width of the features, H W rows and columns, K classes.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from demask.evaluation.networks import load_classifier
from demask.fingerprint import file_fingerprint
from demask.registry import Table, build

WEIGHTS = Path(__file__).parents[1] / "weights"


class Extractor(Protocol):
    """Images -> features, and class logits if the network is a classifier.

    Attributes:
        name: its name in scores.
        fingerprint: hash of everything that the features depend on: weights, resizing.
        size: side of the network's square input in pixels; images are resized to it.
        class_names: the classes of the logits; empty if they are not known.
    """

    name: str
    fingerprint: str
    size: int
    class_names: tuple[str, ...]

    def __call__(self, image_BCHW: Tensor) -> tuple[Tensor, Tensor | None]:
        """Images (B, 3, H, W) in [0, 1], of any size -> features (B, D), logits (B, K) or None."""
        ...


class ClassifierExtractor:
    """A network that ``demask train classifier`` wrote.

    Args:
        name: see `Extractor`.
        path: the file of the network.
        device: the device of the network.

    Raises:
        ValueError: no such file, or it holds no such network.
    """

    def __init__(self, name: str, path: Path, device: str = "cpu") -> None:
        loaded = load_classifier(path)
        self.name, self.size, self.class_names = name, loaded.size, loaded.class_names
        self.fingerprint = file_fingerprint(name, self.size, files=[path])
        self.device = torch.device(device)
        self.network = loaded.network.to(self.device)

    @torch.inference_mode()
    def __call__(self, image_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        """See `Extractor`."""
        features_BD, logits_BK = self.network(resized(image_BCHW.to(self.device), self.size))
        return features_BD.float().cpu(), logits_BK.float().cpu()


def resized(image_BCHW: Tensor, size: int) -> Tensor:
    """Resize images to squares of ``size`` pixels a side (bilinear, antialiased)."""
    if image_BCHW.shape[-2:] == (size, size):
        return image_BCHW
    return F.interpolate(image_BCHW, (size, size), mode="bilinear", antialias=True)


def cifar10_conv(weights: str = "", *, device: str = "cpu") -> Extractor:
    """The shipped `SmallConv`; ``weights`` names another file of its kind."""
    return shipped("cifar10_conv", weights, device)


def cifar10_patches(weights: str = "", *, device: str = "cpu") -> Extractor:
    """The shipped `PatchMixer`; ``weights`` names another file of its kind."""
    return shipped("cifar10_patches", weights, device)


def shipped(name: str, weights: str, device: str) -> Extractor:
    """A shipped network, or one of its kind from a file, named ``name:FOLDER`` after its folder."""
    path = Path(weights).expanduser() if weights else WEIGHTS / name / "classifier.safetensors"
    label = f"{name}:{path.parent.name}" if weights else name
    return ClassifierExtractor(label, path, device)


class Pixels:
    """The pixels as features, for retrieval.

    Args:
        size: see `Extractor`.
    """

    def __init__(self, size: int) -> None:
        self.name, self.size = "pixels", size
        self.class_names: tuple[str, ...] = ()
        self.fingerprint = file_fingerprint(self.name, size, files=[])

    def __call__(self, image_BCHW: Tensor) -> tuple[Tensor, None]:
        """See `Extractor`."""
        return resized(image_BCHW, self.size).flatten(1), None


def pixels(size: str = "64", *, device: str = "cpu") -> Extractor:
    """The pixels at a size; ``device`` is ignored."""
    if not (size.isdecimal() and int(size) > 0):
        raise ValueError(f"pixels: the size must be a whole number of at least 1, not {size}")
    return Pixels(int(size))


def inception(weights: str, *, device: str = "cpu") -> Extractor:
    """Inception v3 from the public file ``pt_inception-2015-12-05-6726825d.pth``."""
    from demask.evaluation.inception import Inception

    return Inception(Path(weights).expanduser(), device)


def clip(folder: str, *, device: str = "cpu") -> Extractor:
    """CLIP from a folder in the layout of Hugging Face."""
    from demask.evaluation.clip import Clip

    return Clip(Path(folder).expanduser(), device)


EXTRACTORS: Table[Callable[..., Extractor]] = Table(
    "extractor",
    {
        "cifar10_conv": cifar10_conv,
        "cifar10_patches": cifar10_patches,
        "pixels": pixels,
        "inception": inception,
        "clip": clip,
    },
)


def load_extractor(text: str, device: str = "cpu") -> Extractor:
    """The extractor that a text names: ``cifar10_conv``, ``inception:weights=PATH``, ...

    Args:
        text: a row of `EXTRACTORS`, with its option after a colon.
        device: the device of its network.

    Raises:
        ValueError: an unknown name or option, or a file that is missing or broken.
    """
    return build(EXTRACTORS, text, device=device)
