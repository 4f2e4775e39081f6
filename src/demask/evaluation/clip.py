"""CLIP as an extractor: features of pictures, and of words to compare them with.

"Learning Transferable Visual Models From Natural Language Supervision" (arXiv 2103.00020), from a
local folder in the layout of Hugging Face.

Shape legend: B batch, C channels, D width of the features, H W rows and columns, T words.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from demask.evaluation.extractors import fingerprint

MEAN = (0.48145466, 0.4578275, 0.40821073)
DEVIATION = (0.26862954, 0.26130258, 0.27577711)
WEIGHTS = ("*.safetensors", "*.bin")
BATCH = 250
"""How many texts are read together."""


class Clip:
    """The extractor.

    Args:
        folder: ``config.json``, weights, and the tokenizer's files.
        device: where it runs.

    Raises:
        ValueError: no such folder, or no CLIP in it.
    """

    class_names: tuple[str, ...] = ()

    def __init__(self, folder: Path, device: str = "cpu") -> None:
        self.model, self.tokenizer = read(folder)
        self.device = torch.device(device)
        self.model.to(self.device)
        self.size: int = self.model.config.vision_config.image_size
        self.name = f"clip:{folder.resolve().name}"
        files = sorted({path for pattern in WEIGHTS for path in folder.glob(pattern)})
        self.fingerprint = fingerprint("bicubic", files=[folder / "config.json", *files])

    @torch.inference_mode()
    def __call__(self, image_BCHW: Tensor) -> tuple[Tensor, None]:
        """See `demask.evaluation.extractors.Extractor`."""
        image_BCHW = centred(image_BCHW.to(self.device), self.size)
        mean_C11, deviation_C11 = (
            torch.tensor(numbers, device=self.device)[:, None, None]
            for numbers in (MEAN, DEVIATION)
        )
        seen = self.model.vision_model(pixel_values=(image_BCHW - mean_C11) / deviation_C11)
        return self.model.visual_projection(seen.pooler_output).float().cpu(), None

    @torch.inference_mode()
    def texts(self, words: Sequence[str]) -> Tensor:
        """Features of words, (T, D); what is longer than the model reads is cut."""
        known = list(dict.fromkeys(words))
        parts = [known[start : start + BATCH] for start in range(0, len(known), BATCH)]
        text_TD = torch.cat([self.read_texts(part) for part in parts])
        row = {word: position for position, word in enumerate(known)}
        return text_TD[[row[word] for word in words]]

    def read_texts(self, words: list[str]) -> Tensor:
        """Features of words that are read together, (T, D)."""
        length = self.model.config.text_config.max_position_embeddings
        options = {"padding": True, "truncation": True, "max_length": length}
        ids = self.tokenizer(words, return_tensors="pt", **options).to(self.device)
        seen = self.model.text_model(ids["input_ids"], ids["attention_mask"])
        return self.model.text_projection(seen.pooler_output).float().cpu()


def read(folder: Path) -> tuple[Any, Any]:
    """The model, in float32 whatever it is stored in, and the tokenizer of a folder.

    Raises:
        ValueError: no such folder, or no whole CLIP in it.
    """
    if not (folder / "config.json").is_file():
        raise ValueError(f"{folder}: no CLIP, which is a folder with a config.json")
    from transformers import CLIPModel, CLIPTokenizer

    options = {"local_files_only": True}
    try:
        with silence():
            model, found = CLIPModel.from_pretrained(folder, output_loading_info=True, **options)
            tokenizer = CLIPTokenizer.from_pretrained(folder, **options)
    except Exception as error:  # transformers raises what it likes
        reason = (" ".join(str(error).split()) or type(error).__name__)[:160]
        raise ValueError(f"{folder}: holds no CLIP that can be read ({reason})") from None
    if missing := sorted(found["missing_keys"]):  # transformers would leave them random
        count = f"{len(missing)} tensors, such as {missing[0]}"
        raise ValueError(f"{folder}: holds no CLIP of pictures and words; it lacks {count}")
    return model.float().eval(), tokenizer


@contextmanager
def silence() -> Iterator[None]:
    """Transformers shows no bars and no warnings within."""
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
    """The shorter side resampled to ``size`` (bicubic), and the middle square of that."""
    height, width = image_BCHW.shape[-2:]
    shorter = min(height, width)
    tall, wide = height * size // shorter, width * size // shorter  # rounded down, as CLIP's are
    if (tall, wide) != (height, width):
        image_BCHW = F.interpolate(image_BCHW, (tall, wide), mode="bicubic", antialias=True)
    top, left = (tall - size) // 2, (wide - size) // 2
    return image_BCHW[..., top : top + size, left : left + size].clamp(0, 1)
