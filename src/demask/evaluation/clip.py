"""CLIP as an extractor: features of images and of texts.

"Learning Transferable Visual Models From Natural Language Supervision" (arXiv 2103.00020), from a
local folder in the layout of Hugging Face.

Shape legend: B batch, C channels, D width of the features, H W rows and columns, T texts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from demask.fingerprint import file_fingerprint

MEAN = (0.48145466, 0.4578275, 0.40821073)
DEVIATION = (0.26862954, 0.26130258, 0.27577711)
WEIGHTS = ("*.safetensors", "*.bin")
BATCH = 250
"""Texts of a batch."""

Shaped = Callable[[Tensor, int], Tensor]
"""Images (B, C, H, W) of any shape and a size -> squares of that size."""


class TwoTowers:
    """A loaded CLIP: images and texts -> features of the same space.

    Args:
        model: a ``CLIPModel`` of transformers.
        tokenizer: a ``CLIPTokenizer`` of transformers.
        device: the device of the model.
        shaped: resizes images to squares; by default `centred`.
    """

    def __init__(
        self, model: Any, tokenizer: Any, device: str = "cpu", shaped: Shaped | None = None
    ) -> None:
        self.model, self.tokenizer, self.shaped = model, tokenizer, shaped or centred
        self.device = torch.device(device)
        self.model.to(self.device)
        self.size: int = self.model.config.vision_config.image_size

    @torch.inference_mode()
    def images(self, image_BCHW: Tensor) -> Tensor:
        """Features (B, D) of images (B, 3, H, W) in [0, 1], of any size."""
        image_BCHW = self.shaped(image_BCHW.to(self.device), self.size)
        mean_C11, deviation_C11 = (
            torch.tensor(numbers, device=self.device)[:, None, None]
            for numbers in (MEAN, DEVIATION)
        )
        seen = self.model.vision_model(pixel_values=(image_BCHW - mean_C11) / deviation_C11)
        features_BD: Tensor = self.model.visual_projection(seen.pooler_output)
        return features_BD.float().cpu()

    @torch.inference_mode()
    def texts(self, words: Sequence[str]) -> Tensor:
        """Features of texts, (T, D); texts that are too long are truncated."""
        known = list(dict.fromkeys(words))
        parts = [known[start : start + BATCH] for start in range(0, len(known), BATCH)]
        text_TD = torch.cat([self.read_texts(part) for part in parts])
        row = {word: position for position, word in enumerate(known)}
        return text_TD[[row[word] for word in words]]

    def read_texts(self, words: list[str]) -> Tensor:
        """Features of texts of one batch, (T, D)."""
        length = self.model.config.text_config.max_position_embeddings
        options = {"padding": True, "truncation": True, "max_length": length}
        ids = self.tokenizer(words, return_tensors="pt", **options).to(self.device)
        seen = self.model.text_model(ids["input_ids"], ids["attention_mask"])
        return self.model.text_projection(seen.pooler_output).float().cpu()


class Clip(TwoTowers):
    """CLIP's image features as an extractor.

    Args:
        folder: a folder with ``config.json``, the weights and the tokenizer's files.
        device: the device of the model.

    Raises:
        ValueError: no such folder, or no CLIP in it.
    """

    class_names: tuple[str, ...] = ()

    def __init__(self, folder: Path, device: str = "cpu") -> None:
        super().__init__(*read(folder), device)
        self.name = f"clip:{folder.resolve().name}"
        self.fingerprint = file_fingerprint("bicubic", files=files_of(folder))

    def __call__(self, image_BCHW: Tensor) -> tuple[Tensor, None]:
        """See `demask.evaluation.extractors.Extractor`."""
        return self.images(image_BCHW), None


def files_of(folder: Path) -> list[Path]:
    """The files that a model in a folder depends on."""
    found = sorted({path for pattern in WEIGHTS for path in folder.glob(pattern)})
    return [folder / "config.json", *found]


def read(folder: Path, words: Path | None = None) -> tuple[Any, Any]:
    """The model of a folder, in float32, and its tokenizer.

    Args:
        folder: the folder of the model.
        words: the folder of the tokenizer's files, if they are not in ``folder``.

    Raises:
        ValueError: no such folder, or it holds no complete CLIP.
    """
    if not (folder / "config.json").is_file():
        raise ValueError(f"{folder}: no CLIP, which is a folder with a config.json")
    from transformers import CLIPModel

    try:
        with silence():
            model, found = CLIPModel.from_pretrained(
                folder, output_loading_info=True, local_files_only=True
            )
    except Exception as error:  # transformers raises many types of errors
        raise ValueError(f"{folder}: holds no CLIP that can be read ({reason(error)})") from None
    if missing := sorted(found["missing_keys"]):  # transformers initializes them at random
        count = f"{len(missing)} tensors, such as {missing[0]}"
        raise ValueError(f"{folder}: holds no CLIP of images and words; it lacks {count}")
    return model.float().eval(), read_tokenizer(words or folder)


def read_tokenizer(folder: Path) -> Any:
    """CLIP's tokenizer from ``vocab.json`` and ``merges.txt`` of a folder.

    Raises:
        ValueError: the files are missing or broken.
    """
    for name in ("vocab.json", "merges.txt"):
        if not (folder / name).is_file() and not (folder / "tokenizer.json").is_file():
            raise ValueError(
                f"{folder}: no CLIP tokenizer, which is a vocab.json and a merges.txt, "
                "or a tokenizer.json"
            )
    from transformers import CLIPTokenizer

    try:
        with silence():
            return CLIPTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # transformers raises many types of errors
        raise ValueError(
            f"{folder}: holds no CLIP tokenizer that can be read ({reason(error)})"
        ) from None


def reason(error: Exception) -> str:
    """The message of an exception, in one line of at most 160 characters."""
    return (" ".join(str(error).split()) or type(error).__name__)[:160]


@contextmanager
def silence() -> Iterator[None]:
    """A context in which transformers shows no progress bars and no warnings."""
    from transformers.utils import logging

    bars, verbosity = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def centred(image_BCHW: Tensor, size: int) -> Tensor:
    """Resize the shorter side to ``size`` pixels (bicubic), then crop the centre square."""
    height, width = image_BCHW.shape[-2:]
    shorter = min(height, width)
    tall, wide = height * size // shorter, width * size // shorter  # rounded down, as in CLIP
    if (tall, wide) != (height, width):
        image_BCHW = F.interpolate(image_BCHW, (tall, wide), mode="bicubic", antialias=True)
    top, left = (tall - size) // 2, (wide - size) // 2
    return image_BCHW[..., top : top + size, left : left + size].clamp(0, 1)


def padded(image_BCHW: Tensor, size: int) -> Tensor:
    """Resize the longer side to ``size`` pixels (bicubic), then pad with black to a square."""
    height, width = image_BCHW.shape[-2:]
    longer = max(height, width)
    tall, wide = round(height * size / longer), round(width * size / longer)
    if (tall, wide) != (height, width):
        image_BCHW = F.interpolate(image_BCHW, (tall, wide), mode="bicubic", antialias=True)
    left, top = (size - wide) // 2, (size - tall) // 2
    edges = (left, size - wide - left, top, size - tall - top)
    return F.pad(image_BCHW.clamp(0, 1), edges)
