"""The public models that Demask loads: what they are, and which files they need beside them.

`docs/models.md` is made from this table. Nothing is recognised by the name of a repository: a
network is recognised by its files, and found here by its configuration.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from demask.checkpoint.architectures import ARCHITECTURES
from demask.registry import Table
from demask.transformer.halton_maskgit import SIZES


@dataclass(frozen=True)
class PublishedModel:
    """A public model.

    Attributes:
        source: what `demask.load` takes: a hub id, or the file of one.
        architecture: a row of `ARCHITECTURES`.
        config: the entries of its configuration that tell it from others of its architecture.
        task: what it generates, and from what.
        pixels: the trained width and height of its images.
        parameters: of the transformer.
        license: as its repository states it; "" where it states none.
        tokenizer: the hub id or file of its tokenizer, where the source does not hold it.
        text_encoder: the hub id of its text encoder, where the source does not hold it.
        distilled: whether its files have the sizes of another row: it is known by its source.
        presets: the file in ``published_presets`` with the authors' sampling settings, without
            its suffix; "" = none.
        score: the authors' own numbers.
        works: what of Demask works with it.
        tested: what its tests compare with the authors' program.
    """

    source: str
    architecture: str
    task: str
    pixels: int
    parameters: int
    config: Mapping[str, Any] = field(default_factory=dict)
    license: str = ""
    tokenizer: str = ""
    text_encoder: str = ""
    distilled: bool = False
    presets: str = ""
    score: str = ""
    works: str = ""
    tested: str = ""

    def fits(self, network: nn.Module) -> bool:
        """Whether a network has this architecture and these sizes."""
        row = ARCHITECTURES[self.architecture]
        return isinstance(network.config, row.config) and all(
            getattr(network.config, name, None) == value for name, value in self.config.items()
        )


def halton(size: str, side: int, parameters: int, score: str) -> PublishedModel:
    """A row of Halton-MaskGIT, of so many tokens a side."""
    sizes = zip(("width", "depth", "heads", "mlp_width"), SIZES[size], strict=True)
    pixels = 16 * side
    return PublishedModel(
        f"llvictorll/Halton-MaskGIT/ImageNet_{pixels}_{size}.pth",
        "halton_maskgit",
        task="classes",
        pixels=pixels,
        parameters=parameters,
        config={**dict(sizes), "grid": (side, side), **IMAGENET},
        tokenizer="FoundationVision/LlamaGen/vq_ds16_c2i.pt",
        presets=f"halton_{size}_{pixels}",
        score=f"{score} (ImageNet, 32 steps; arXiv 2503.17076)",
        works="all but LoRA and one_step",
        tested=RECORDED,
    )


def maskgit_v1(side: int, parameters: int, score: str) -> PublishedModel:
    """A row of MaskGIT-pytorch 1.0, of so many tokens a side."""
    pixels = 16 * side
    return PublishedModel(
        f"llvictorll/Maskgit-pytorch/pretrained_maskgit/MaskGIT/MaskGIT_ImageNet_{pixels}.pth",
        "maskgit_v1",
        task="classes",
        pixels=pixels,
        parameters=parameters,
        config={"width": 768, "depth": 24, "grid": (side, side), **V1_CODES},
        tokenizer=V1_TOKENIZER,
        presets=f"maskgit_v1_{pixels}",
        score=f"{score} (ImageNet; arXiv 2310.14400)",
        works="all but LoRA",
        tested=RECORDED,
    )


IMAGENET = {"codebook_size": 16384, "num_classes": 1000}
V1_CODES = {"codebook_size": 1024, "num_classes": 1000}
V1_TOKENIZER = "llvictorll/Maskgit-pytorch/pretrained_maskgit/VQGAN/last.ckpt"
MEISSONIC = {"codebook_size": 8192, "blocks": 14, "single_blocks": 28}
RECORDED = "logits, tokenizer, training loss and recorded runs"

PUBLISHED_MODELS: Table[PublishedModel] = Table(
    "published model",
    {
        "halton_tiny_256": halton("tiny", 16, 23_031_425, "FID 10.2, IS 185"),
        "halton_small_256": halton("small", 16, 69_344_769, "FID 6.40, IS 255"),
        "halton_base_256": halton("base", 16, 142_224_641, "FID 4.17, IS 263"),
        "halton_small_384": halton("small", 24, 69_508_609, "FID 6.11, IS 241"),
        "halton_base_384": halton("base", 24, 142_470_401, "FID 4.15, IS 257"),
        "halton_large_384": halton("large", 24, 479_984_641, "FID 2.59, IS 281"),
        "maskgit_v1_256": maskgit_v1(16, 174_160_874, "FID 6.80, IS 214.0"),
        "maskgit_v1_512": maskgit_v1(32, 176_306_666, "FID 7.26, IS 223.1"),
        "monetico": PublishedModel(
            "Collov-Labs/Monetico",
            "meissonic",
            task="prompts",
            pixels=512,
            parameters=998_555_648,
            config={**MEISSONIC, "compress": False},
            presets="monetico",
            works="all",
            tested="logits of the transformer without compression",
        ),
        "dimo_maskgit": PublishedModel(
            "Yuanzhi/DiMO/maskgit/pytorch_model.bin",
            "maskgit_v1",
            task="classes",
            pixels=256,
            parameters=174_160_874,
            config={"width": 768, "depth": 24, "grid": (16, 16), **V1_CODES},
            tokenizer=V1_TOKENIZER,
            distilled=True,
            presets="dimo_maskgit",
            score="FID 6.91, IS 214.0 (ImageNet; arXiv 2503.15457)",
            works="one step",
            tested="logits of the network",
        ),
        "dimo_meissonic": PublishedModel(
            "Yuanzhi/DiMO/meissonic/transformer/diffusion_pytorch_model.safetensors",
            "meissonic",
            task="prompts",
            pixels=1024,
            parameters=1_006_946_304,
            config={**MEISSONIC, "compress": True},
            tokenizer="MeissonFlow/Meissonic",
            distilled=True,
            presets="dimo_meissonic",
            score="HPSv2 28.11, GenEval 0.43 (arXiv 2503.15457)",
            works="one step",
            tested="logits of the network",
        ),
    },
)


def published_model(network: nn.Module, source: str = "") -> PublishedModel | None:
    """The public model that a transformer is by its architecture and sizes, or None.

    Args:
        network: the transformer.
        source: where it was loaded from, which decides between models of the same sizes.
    """
    if not hasattr(network, "config"):
        return None
    fitting = [row for row in PUBLISHED_MODELS.values() if row.fits(network)]
    found = [row for row in fitting if row.source == source]
    return next(iter(found or [row for row in fitting if not row.distilled]), None)
