"""A tiny random model that every test of the pipeline can share."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from demask.checkpoint.save import save_model
from demask.checkpoint.text_encoder import save_text_encoder
from demask.conditioning import Classes, Prompts
from demask.generator import Generator
from demask.sampling.select import ORDERS, Order
from demask.tokenizer.conv_tokenizer import ConvTokenizer, ConvTokenizerConfig
from demask.transformer.amused import Amused, AmusedConfig
from demask.transformer.clip_text import ClipText, ClipTextConfig
from demask.transformer.condition import TextEncoder, train_text_tokenizer
from demask.transformer.meissonic import Meissonic, MeissonicConfig
from demask.transformer.modern_maskgit import ModernMaskGIT, ModernMaskGITConfig
from demask.types import Condition, Step, TokenLayout

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


class TinyTokens:
    """A cache of images for the tiny transformer that are all of class 1 and of code 2."""

    class_names, layout, views, fingerprint = CLASS_NAMES, TokenLayout((4, 4)), 1, "tiny"

    def __len__(self) -> int:
        return 4000

    def read(self, index_B: Tensor, view_B: Tensor) -> tuple[Tensor, Tensor]:
        return torch.full((len(index_B), 16), 2), torch.ones_like(index_B)


def tiny_generator() -> Generator:
    """Both, as `demask.load` would put them together."""
    transformer = tiny_transformer()
    return Generator(
        "tiny", tiny_tokenizer(), transformer, Classes("tiny", transformer, CLASS_NAMES)
    )


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


def tiny_text_encoder() -> TextEncoder:
    """Six text tokens of a vocabulary that knows a few words."""
    torch.manual_seed(2)
    tokenizer = train_text_tokenizer(["red apple", "green apple", "blue heart"] * 4, 530, 6)
    config = ClipTextConfig(
        vocabulary=tokenizer.encoding.get_vocab_size(),
        end_id=tokenizer.end_id,
        length=6,
        width=16,
        mlp_width=16,
        layers=2,
        heads=2,
        pooled_width=16,
    )
    return TextEncoder(tokenizer, ClipText(config).eval())


def tiny_meissonic() -> Meissonic:
    """4x4 tokens of 15 codes, compressed 2x2; its head is random, so that logits differ."""
    torch.manual_seed(3)
    config = MeissonicConfig(
        codebook_size=15,
        vocabulary=16,
        heads=2,
        head_width=8,
        blocks=1,
        single_blocks=1,
        text_width=16,
        pooled_width=16,
        axes=(0, 4, 4),
        time="mask_ratio",
        grid=(4, 4),
    )
    model = Meissonic(config).eval()
    torch.nn.init.normal_(model.mlm_layer.conv2.weight, std=0.5)
    return model


def tiny_amused(compress: bool = False) -> Amused:
    """4x4 tokens of 15 codes; its head is random, so that logits differ."""
    torch.manual_seed(3)
    config = AmusedConfig(
        codebook_size=15,
        vocabulary=17,
        width=16,
        depth=2,
        heads=2,
        mlp_width=16,
        embed_width=12,
        channels=8,
        channel_heads=2,
        res_blocks=1,
        text_width=16,
        pooled_width=16,
        micro_width=8,
        compress=compress,
        grid=(4, 4),
    )
    model = Amused(config).eval()
    torch.nn.init.normal_(model.mlm_layer.conv2.weight, std=0.5)
    return model


def tiny_text_generator() -> Generator:
    """A model of prompts, as `demask.load` would put it together."""
    conditioner = Prompts(tiny_text_encoder())
    return Generator("tiny_text", tiny_tokenizer(), tiny_meissonic(), conditioner)


def save_tiny_text(folder: Path) -> Path:
    """Write a model of prompts in the layout that `demask.load` takes."""
    save_model(folder / "tokenizer.safetensors", tiny_tokenizer(), "conv_tokenizer")
    save_model(folder / "transformer.safetensors", tiny_meissonic(), "meissonic")
    save_text_encoder(folder / "text_encoder", tiny_text_encoder())
    return folder


class ToyCritic(nn.Module):
    """A Token-Critic made of arithmetic: every token is judged by all others."""

    def score(self, ids_BL: Tensor, condition: Condition, step: Step) -> Tensor:
        position_L = torch.arange(ids_BL.shape[1], dtype=torch.float64)
        context_B1 = torch.sin(ids_BL.double() + position_L).sum(-1, keepdim=True)
        return 3 * torch.cos(1.3 * ids_BL + context_B1 + 0.7 * position_L)


AUXILIARY = {"token_critic": ToyCritic}
"""A toy for each kind of network that an order may need."""


def order_of(name: str) -> Order:
    """A row of the table, with a toy for the network that it needs."""
    order = ORDERS[name]()
    return order if order.aux_kind is None else order.attach(AUXILIARY[order.aux_kind]())
