"""A tiny random model that every test of the pipeline can share."""

from __future__ import annotations

from pathlib import Path

import torch

from demask.checkpoint.save import save_model
from demask.generator import Generator
from demask.tokenizer.conv_tokenizer import ConvTokenizer, ConvTokenizerConfig
from demask.transformer.modern_maskgit import ModernMaskGIT, ModernMaskGITConfig

CLASS_NAMES = ("dog", "cat", "ship")


def tiny_tokenizer() -> ConvTokenizer:
    """16x16 pixels <-> 4x4 tokens of 15 codes."""
    torch.manual_seed(0)
    config = ConvTokenizerConfig((5, 3), (16, 16), (1, 1), (1, 1), pixel_width=16)
    return ConvTokenizer(config).eval()


def tiny_transformer() -> ModernMaskGIT:
    """4x4 tokens of 15 codes, 3 classes; its head is random, so that logits differ."""
    torch.manual_seed(1)
    config = ModernMaskGITConfig(
        codebook_size=15, num_classes=3, grid=(4, 4), width=32, depth=2, heads=2, mlp_width=32
    )
    model = ModernMaskGIT(config).eval()
    torch.nn.init.normal_(model.head.weight, std=0.5)
    return model


def tiny_generator() -> Generator:
    """Both, as `demask.load` would put them together."""
    return Generator("tiny", tiny_tokenizer(), tiny_transformer(), CLASS_NAMES)


def save_tiny(folder: Path) -> Path:
    """Write both in the layout that `demask.load` takes."""
    save_model(folder / "tokenizer.safetensors", tiny_tokenizer(), "conv_tokenizer")
    save_model(
        folder / "transformer.safetensors",
        tiny_transformer(),
        "modern_maskgit",
        class_names=list(CLASS_NAMES),
    )
    return folder
