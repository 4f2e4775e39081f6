"""The published sizes with random weights, as the loader prepares them in each type."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from matrix_product import now
from torch import Tensor, nn

from demask.acceleration.packing import pack
from demask.acceleration.quantization import SCHEMES, quantize
from demask.tokenizer.vq_model import VQModel, VQModelConfig
from demask.tokenizer.vqgan import VQGAN, VQGANConfig
from demask.transformer.feature_selection import FeatureSelection
from demask.transformer.maskgit import MaskGIT, MaskGITConfig
from demask.transformer.meissonic import Meissonic, MeissonicConfig
from demask.types import Condition, Step, TokenLayout

TEXT = 77


@dataclass
class Head:
    """The seconds that a head has taken."""

    seconds: float = 0.0

    def watch(self, network: Any, name: str) -> None:
        """Time a method of a network."""
        method = getattr(network, name)

        def timed(*given: Any, **named: Any) -> Tensor:
            start = now()
            out: Tensor = method(*given, **named)
            self.seconds += now() - start
            return out

        setattr(network, name, timed)


@dataclass
class Model:
    """A model to measure.

    Attributes:
        dtype: ``float32``, ``bfloat16`` or ``int8``.
        step_flops: multiplications and additions of an exact step, by the batch size.
        by_step: whether seconds are those of a step instead of an image.
    """

    name: str
    dtype: str
    transformer: Any
    tokenizer: Any
    module: Any
    layout: TokenLayout
    steps: int
    guidance: str
    scale: float
    batches: tuple[int, ...]
    condition: Callable[[int], Condition]
    step_flops: Callable[[int], float]
    by_step: bool
    head: Head = field(default_factory=Head)

    def smoothed_logits(
        self, transformer: Any, features_BSD: Tensor, condition: Condition, step: Step
    ) -> Tensor:
        """Self-guidance's second pass."""
        out: Tensor = self.module.smoothed_logits(transformer, features_BSD, condition, step)
        return out

    @torch.inference_mode()
    def pixels(self, ids_BHW: Tensor) -> Tensor:
        """The pixels of ids."""
        out: Tensor = self.tokenizer.decode(ids_BHW)
        return out


def random(make: Callable[[], nn.Module], dtype: str, seed: int) -> Any:
    """A network with small random weights of its type."""
    floating = torch.bfloat16 if dtype == "bfloat16" else torch.float32
    with torch.device("meta"):
        network = make().to(floating)
    network.to_empty(device="cpu").eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    for parameter in network.parameters():
        parameter.data.uniform_(-0.03, 0.03, generator=generator)
    for name, buffer in network.named_buffers():
        assert not buffer.is_meta, name
    return network


def prepared(network: nn.Module, dtype: str) -> nn.Module:
    """A transformer, prepared as by `demask.load`."""
    if dtype == "int8":
        quantize(network, SCHEMES["int8"])
    pack(network)
    return network


def maskgit(dtype: str) -> Model:
    """MaskGIT-256 with its self-guidance module."""
    config = MaskGITConfig.imagenet_256()
    transformer = random(lambda: MaskGIT(config), dtype, 0)
    selection = transformer.feature_selection()
    module = random(lambda: FeatureSelection(selection), dtype, 1)
    pack(module)
    model = Model(
        "MaskGIT-256",
        dtype,
        prepared(transformer, dtype),
        random(lambda: VQGAN(VQGANConfig()), dtype, 2),
        module,
        TokenLayout(config.grid),
        18,
        "self_guidance",
        2.0,
        (1, 4),
        lambda batch: Condition({"class_ids": torch.arange(batch)}),
        lambda batch: batch * maskgit_flops(config),
        by_step=False,
    )
    model.head.watch(transformer, "apply_head")
    return model


def maskgit_flops(config: MaskGITConfig) -> float:
    """Multiplications and additions of a step: two passes, the selection and the second pass."""
    width, tokens = config.width, config.sequence
    layer = 2 * tokens * (4 * width**2 + 2 * width * config.mlp_width)
    attention = 4 * tokens**2 * width
    head = 2 * (tokens - 1) * (width**2 + width * config.codebook_size)
    selection = 2 * tokens * width**2 * (3 * config.depth + 1)
    return 2 * (config.depth * (layer + attention) + head) + selection


def meissonic(dtype: str) -> Model:
    """Meissonic at 1024x1024 pixels, guided as one batch of two."""
    config = MeissonicConfig()
    transformer = random(lambda: Meissonic(config), dtype, 0)

    def condition(batch: int) -> Condition:
        random = torch.Generator().manual_seed(batch)
        return Condition(
            {
                "states": torch.randn(batch, TEXT, config.text_width, generator=random),
                "pooled": torch.randn(batch, config.pooled_width, generator=random),
                "micro": torch.tensor([[1024, 1024, 0, 0, 6.0]]).expand(batch, -1),
            }
        )

    model = Model(
        "Meissonic",
        dtype,
        prepared(transformer, dtype),
        random(lambda: VQModel(VQModelConfig()), dtype, 2),
        None,
        TokenLayout(config.grid),
        32,
        "classifier_free",
        9.0,
        (1,),
        condition,
        lambda batch: 2 * batch * meissonic_flops(config),
        by_step=True,
    )
    model.head.watch(transformer, "logits")
    return model


def meissonic_flops(config: MeissonicConfig) -> float:
    """Multiplications and additions of one forward pass, including attention."""
    width, ids = config.width, config.grid[0] * config.grid[1]
    image = ids // 4
    tokens, depth = image + TEXT, config.blocks + config.single_blocks
    block = 2 * tokens * 12 * width**2 + 4 * tokens**2 * width
    ends = 2 * ids * (2 * width**2 + width * config.codebook_size)  # embedding, head
    ends += 2 * image * 10 * width**2  # into and out of the blocks, feature compression
    ends += 2 * TEXT * config.text_width * width
    return depth * block + ends


MODELS: dict[str, Callable[[str], Model]] = {"maskgit": maskgit, "meissonic": meissonic}
