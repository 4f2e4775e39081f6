"""The images and the cached tokens that a training reads."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch

from demask import rng
from demask.checkpoint.pipeline import Parts
from demask.data import open_images
from demask.data.images import ImageDataset, Subset
from demask.data.tokens import TokenCache, build_tokens
from demask.data.views import ModelViews, Views
from demask.device import default_device
from demask.training.engine.loop import main_process_first
from demask.types import Tokenizer

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DataConfig:
    """The training images and the held-out images; the table ``[data]`` of a recipe.

    Attributes:
        pictures: a folder, a parquet file or folder, web shards, a hub data set (``hf:...``), or
            generated scenes (``scenes:SEED,COUNT``).
        held_out: other images for the held-out scores; empty = a part of ``pictures``.
        held_out_fraction: the size of that part, as a fraction of ``pictures``.
        class_names: the names of the classes, for data without them.
    """

    pictures: str = ""
    held_out: str = ""
    held_out_fraction: float = 0.02
    class_names: tuple[str, ...] = ()

    def open(self, strict: bool) -> tuple[ImageDataset, ImageDataset]:
        """The data sets of training images and of held-out images.

        Args:
            strict: raise an error for an unreadable image, which is skipped otherwise.

        Raises:
            ValueError: ``pictures`` is empty, or a source cannot be read or has too few images.
        """
        if not self.pictures:
            raise ValueError("no training images: name them with --data PATH")
        names = self.class_names or None
        images = open_images(self.pictures, strict=strict, class_names=names)
        if self.held_out:
            return images, open_images(self.held_out, strict=strict, class_names=images.class_names)
        count = max(1, round(self.held_out_fraction * len(images)))
        if len(images) < 2:
            raise ValueError(f"{self.pictures} holds {len(images)} images; at least 2 are needed")
        generator = torch.Generator().manual_seed(rng.derive(0, "held out"))
        order = torch.randperm(len(images), generator=generator).tolist()
        return Subset(images, sorted(order[count:])), Subset(images, sorted(order[:count]))


def tokens_for_model(
    parts: Parts, data: DataConfig, views: ModelViews, out: Path, strict: bool
) -> tuple[TokenCache, TokenCache, Tokenizer]:
    """The tokens of training and held-out images by a model's tokenizer, and it, on the CPU.

    Args:
        parts: the model, whose class names are used if the data has none.
        data: the images.
        views: how the images are tokenised.
        out: the folder of the run.
        strict: see `DataConfig.open`.

    Raises:
        ValueError: see `DataConfig.open`.
    """
    named = replace(data, class_names=data.class_names or parts.class_names)
    images, held_out = named.open(strict)
    transformer, tokenizer = cast(Any, parts.transformer), cast(Any, parts.tokenizer)
    caches = token_caches(tokenizer, images, held_out, views.of(transformer, tokenizer), out)
    return *caches, tokenizer.cpu()


def token_caches(
    tokenizer: Any, images: ImageDataset, held_out: ImageDataset, views: Views, out: Path
) -> tuple[TokenCache, TokenCache]:
    """The tokens of the training images, and of the first view of the held-out images.

    The tokenizer, a module, is on the default device afterwards.
    """
    tokenizer = tokenizer.to(default_device())
    with main_process_first():
        tokens = token_cache(tokenizer, images, views, out, "training")
        return tokens, token_cache(tokenizer, held_out, replace(views, count=1), out, "held-out")


def token_cache(
    tokenizer: Tokenizer, images: ImageDataset, views: Views, out: Path, split: str
) -> TokenCache:
    """The tokens of images, computed in the first run and read from ``out / "tokens"`` later."""
    tenth = max(len(images) // 10, 1)
    on_cpu = next(cast(Any, tokenizer).parameters()).device.type == "cpu"
    batch = 128 if on_cpu else 1024

    def progress(done: int) -> None:
        if done % tenth < batch or done == len(images):
            log.info("tokenising the %s images: %d of %d", split, done, len(images))

    return build_tokens(tokenizer, images, views, out / "tokens", progress, batch)
