"""CLIP as an extractor: features of pictures, and of words to compare them with.

"Learning Transferable Visual Models From Natural Language Supervision" (arXiv 2103.00020), from a
local folder in the layout of Hugging Face.

Shape legend: B batch, C channels, D width of the features, H W rows and columns, T words.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from demask.evaluation.extractors import fingerprint

MEAN = (0.48145466, 0.4578275, 0.40821073)
DEVIATION = (0.26862954, 0.26130258, 0.27577711)
WEIGHTS = ("*.safetensors", "*.bin")


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
        if not (folder / "config.json").is_file():
            raise ValueError(f"{folder}: no CLIP, which is a folder with a config.json")
        from transformers import CLIPModel, CLIPTokenizer

        try:
            self.model: Any = CLIPModel.from_pretrained(folder, local_files_only=True).eval()
            self.tokenizer: Any = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
        except Exception as error:  # transformers raises what it likes
            reason = (" ".join(str(error).split()) or type(error).__name__)[:160]
            raise ValueError(f"{folder}: holds no CLIP that can be read ({reason})") from None
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
        known = dict.fromkeys(words)
        read = self.tokenizer(list(known), padding=True, truncation=True, return_tensors="pt")
        ids = {name: read[name].to(self.device) for name in ("input_ids", "attention_mask")}
        pooled = self.model.text_model(**ids).pooler_output
        text_TD = self.model.text_projection(pooled).float().cpu()
        row = {word: position for position, word in enumerate(known)}
        return text_TD[[row[word] for word in words]]


def centred(image_BCHW: Tensor, size: int) -> Tensor:
    """The shorter side resampled to ``size`` (bicubic), and the middle square of that."""
    height, width = image_BCHW.shape[-2:]
    scale = size / min(height, width)
    tall, wide = max(size, round(height * scale)), max(size, round(width * scale))
    if (tall, wide) != (height, width):
        image_BCHW = F.interpolate(image_BCHW, (tall, wide), mode="bicubic", antialias=True)
    top, left = (tall - size) // 2, (wide - size) // 2
    return image_BCHW[..., top : top + size, left : left + size].clamp(0, 1)
