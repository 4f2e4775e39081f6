"""The public models that Demask loads: what they are, and which files they need beside them.

`docs/models.md` is made from this table by ``benchmarks/write_models.py``. A network is recognised
by its files; a row of this table fits it by its configuration.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from demask.checkpoint.architectures import ARCHITECTURES
from demask.registry import Table


@dataclass(frozen=True)
class PublishedModel:
    """A public model.

    Attributes:
        source: what `demask.load` takes: a hub id, or the file of one.
        architecture: a row of `ARCHITECTURES`.
        config: the entries of its configuration that differ from the defaults, or that tell it
            from others of its architecture.
        pixels: the width and height of its images in training.
        parameters: the number of parameters of the transformer.
        reads: ``classes`` of ImageNet, or ``prompts``.
        tokenizer: the hub id or file of its tokenizer, unless the source contains it.
        text_encoder: the hub id of its text encoder, unless the source contains it.
        presets: the file in ``published_presets`` with the authors' sampling settings, without
            its suffix; "" = none.
        score: the authors' own numbers.
        tested: the golden case, made by the authors' program, that tests compare with.
    """

    source: str
    architecture: str
    config: Mapping[str, Any]
    pixels: int
    parameters: int
    reads: str = "classes"
    tokenizer: str = ""
    text_encoder: str = ""
    presets: str = ""
    score: str = ""
    tested: str = ""

    def fits(self, network: nn.Module) -> bool:
        """Whether a network has this architecture and these sizes."""
        config = getattr(network, "config", None)
        return type(config) is ARCHITECTURES[self.architecture].config and all(
            getattr(config, name) == value for name, value in self.config.items()
        )


LLAMAGEN = "FoundationVision/LlamaGen/vq_ds16_c2i.pt"
V1 = "llvictorll/Maskgit-pytorch/pretrained_maskgit"
CLIP_L = "openai/clip-vit-large-patch14-336"


def halton(size: str, side: int, parameters: int, score: str) -> PublishedModel:
    """A size of Halton-MaskGIT (arXiv 2503.17076), for side x side tokens."""
    widths = {"tiny": 384, "small": 512, "base": 768, "large": 1024}
    depths = {"tiny": 6, "small": 12, "base": 12, "large": 24}
    return PublishedModel(
        f"llvictorll/Halton-MaskGIT/ImageNet_{side * 16}_{size}.pth",
        "halton_maskgit",
        {"width": widths[size], "depth": depths[size], "grid": (side, side)},
        side * 16,
        parameters,
        tokenizer=LLAMAGEN,
        presets=f"halton_{size}_{side * 16}",
        score=score,
        tested="halton, halton_uneven_heads",
    )


def maskbit(bits: int, parameters: int, score: str) -> PublishedModel:
    """The generator of MaskBit (arXiv 2409.16211) for tokens of so many bits."""
    return PublishedModel(
        f"markweber/maskbit_generator_{bits}bit",
        "maskbit",
        {"bits": bits, "width": 1024, "depth": 24},
        256,
        parameters,
        tokenizer=f"markweber/maskbit_tokenizer_{bits}bit",
        presets=f"maskbit_{bits}bit",
        score=score,
        tested="maskbit_generator, maskbit_tokenizer",
    )


def titok(name: str, score: str, **facts: Any) -> PublishedModel:
    """A generator of TiTok (arXiv 2406.07550)."""
    return PublishedModel(
        f"yucornetto/generator_titok_{name}_imagenet",
        pixels=256,
        tokenizer=f"yucornetto/tokenizer_titok_{name}_imagenet",
        presets=f"titok_{name}",
        score=score,
        **facts,
    )


def maskgen(size: str, width: int, depth: int, parameters: int, score: str) -> PublishedModel:
    """A size of MaskGen-VQ (arXiv 2501.07730)."""
    return PublishedModel(
        f"turkeyju/generator_maskgen_vq_{size}",
        "maskgen",
        {"width": width, "depth": depth},
        256,
        parameters,
        reads="prompts",
        tokenizer="turkeyju/tokenizer_tatitok_bl128_vq",
        text_encoder=CLIP_L,
        presets="maskgen",
        score=score,
        tested="maskgen",
    )


PUBLISHED_MODELS: Table[PublishedModel] = Table(
    "public model",
    {
        "Meissonic": PublishedModel(
            "MeissonFlow/Meissonic",
            "meissonic",
            {"compress": True, "blocks": 14, "single_blocks": 28},
            1024,
            1_006_946_304,
            reads="prompts",
            presets="meissonic",
            tested="meissonic",
        ),
        "Monetico": PublishedModel(
            "Collov-Labs/Monetico",
            "meissonic",
            {"compress": False, "blocks": 14, "single_blocks": 28, "grid": (32, 32)},
            512,
            998_555_648,
            reads="prompts",
            presets="monetico",
            tested="meissonic_512",
        ),
        "aMUSEd 256": PublishedModel(
            "amused/amused-256",
            "amused",
            {"compress": False},
            256,
            603_537_664,
            reads="prompts",
            presets="amused_256",
            tested="amused, amused_edit",
        ),
        "aMUSEd 512": PublishedModel(
            "amused/amused-512",
            "amused",
            {"compress": True, "grid": (32, 32)},
            512,
            608_257_792,
            reads="prompts",
            presets="amused_512",
            tested="amused_512",
        ),
        "Halton-MaskGIT tiny": halton("tiny", 16, 23_031_425, "FID 10.2, IS 185"),
        "Halton-MaskGIT small": halton("small", 16, 69_344_769, "FID 6.40, IS 255"),
        "Halton-MaskGIT base": halton("base", 16, 142_224_641, "FID 4.17, IS 263"),
        "Halton-MaskGIT small 384": halton("small", 24, 69_508_609, "FID 6.11, IS 241"),
        "Halton-MaskGIT base 384": halton("base", 24, 142_470_401, "FID 4.15, IS 257"),
        "Halton-MaskGIT large 384": halton("large", 24, 479_984_641, "FID 2.59, IS 281"),
        "MaskGIT-pytorch 256": PublishedModel(
            f"{V1}/MaskGIT/MaskGIT_ImageNet_256.pth",
            "maskgit_v1",
            {"width": 768, "depth": 24, "grid": (16, 16)},
            256,
            174_160_874,
            tokenizer=f"{V1}/VQGAN/last.ckpt",
            presets="maskgit_v1_256",
            score="FID 6.80, IS 214.0",
            tested="maskgit_v1, taming_vqgan",
        ),
        "MaskGIT-pytorch 512": PublishedModel(
            f"{V1}/MaskGIT/MaskGIT_ImageNet_512.pth",
            "maskgit_v1",
            {"width": 768, "depth": 24, "grid": (32, 32)},
            512,
            176_306_666,
            tokenizer=f"{V1}/VQGAN/last.ckpt",
            presets="maskgit_v1_512",
            score="FID 7.26, IS 223.1",
            tested="maskgit_v1, taming_vqgan",
        ),
        "Di[M]O MaskGIT": PublishedModel(
            "Yuanzhi/DiMO/maskgit/pytorch_model.bin",
            "maskgit_v1",
            {"width": 768, "depth": 24, "grid": (16, 16)},
            256,
            174_160_874,
            tokenizer=f"{V1}/VQGAN/last.ckpt",
            presets="dimo_maskgit",
            score="one step: FID 6.91, IS 214.0",
            tested="maskgit_v1 (the network)",
        ),
        "Di[M]O Meissonic": PublishedModel(
            "Yuanzhi/DiMO/meissonic/transformer/diffusion_pytorch_model.safetensors",
            "meissonic",
            {"compress": True, "blocks": 14, "single_blocks": 28},
            1024,
            1_006_946_304,
            reads="prompts",
            tokenizer="MeissonFlow/Meissonic",
            presets="dimo_meissonic",
            score="one step: HPSv2 28.11, GenEval 0.43",
            tested="meissonic (the network)",
        ),
        "MaskBit 10 bit": maskbit(10, 304_728_128, "FID 1.68"),
        "MaskBit 12 bit": maskbit(12, 304_795_776, "FID 1.65"),
        "MaskBit 14 bit": maskbit(14, 304_929_024, "FID 1.62 (128 steps 1.56, 256 steps 1.52)"),
        "MaskBit 16 bit": maskbit(16, 305_193_472, "FID 1.64"),
        "MaskBit 18 bit": maskbit(18, 305_720_320, "FID 1.67"),
        "TiTok L-32": titok(
            "l32",
            "FID 2.77",
            architecture="image_bert",
            config={"grid": (1, 32), "codebook_size": 4096, "depth": 24},
            parameters=177_202_432,
            tested="titok_imagebert, titok_two_stage",
        ),
        "TiTok B-64": titok(
            "b64",
            "FID 2.48",
            architecture="image_bert",
            config={"grid": (1, 64), "codebook_size": 4096, "depth": 24},
            parameters=177_227_008,
            tested="titok_imagebert, titok_two_stage",
        ),
        "TiTok S-128": titok(
            "s128",
            "FID 1.97",
            architecture="uvit",
            config={"tokens": 128, "width": 1024, "depth": 20},
            parameters=294_990_848,
            tested="titok_uvit, titok_two_stage",
        ),
        "MaskGen-VQ L": maskgen("l", 1024, 16, 604_311_552, "MJHQ-30K FID 7.74, GenEval 0.53"),
        "MaskGen-VQ XL": maskgen("xl", 1280, 20, 1_176_611_840, "MJHQ-30K FID 7.51, GenEval 0.57"),
    },
)


def published_model(network: nn.Module, source: str = "") -> PublishedModel | None:
    """The public model that a transformer is, or None.

    Args:
        network: the transformer.
        source: where it comes from; decides between models of the same architecture and sizes.
    """
    rows = [row for row in PUBLISHED_MODELS.values() if row.fits(network)]
    return next((row for row in rows if row.source == source), rows[0] if rows else None)
