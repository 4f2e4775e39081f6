"""The published sizes with random weights, and ways of computing their passes on a GPU.

Shape legend: B batch, L ids, M output channels, K input channels, N rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from demask.acceleration.quantization import linear_layers
from demask.tokenizer.vq_model import VQModel, VQModelConfig
from demask.tokenizer.vqgan import VQGAN, VQGANConfig
from demask.transformer.maskgit import MaskGIT, MaskGITConfig
from demask.transformer.meissonic import Meissonic, MeissonicConfig
from demask.types import Condition

MODELS = ("MaskGIT-256", "Meissonic-1024")
TEXT = 77
TOP = 448.0
"""The largest number of e4m3."""

Pass = Callable[..., Tensor]
"""Ids and named tensors -> logits."""


class Float8Linear(nn.Module):
    """A linear layer whose product is of float8 numbers; made from a layer in bfloat16."""

    codes_KM: Tensor
    scale_1M: Tensor
    bias: Tensor | None

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        weight_MK = layer.weight.detach().float()
        scale_M1 = weight_MK.abs().amax(1, keepdim=True).clamp_min(1e-12) / TOP
        codes_MK = (weight_MK / scale_M1).to(torch.float8_e4m3fn)
        self.register_buffer("codes_KM", codes_MK.contiguous().t())
        self.register_buffer("scale_1M", scale_M1.t().contiguous())
        self.bias = layer.bias

    def forward(self, x: Tensor) -> Tensor:
        """(..., K) -> (..., M)."""
        codes_KM, scale_1M, bias = self.codes_KM, self.scale_1M, self.bias
        assert isinstance(codes_KM, torch.Tensor)
        assert isinstance(scale_1M, torch.Tensor)
        x_NK = x.flatten(0, -2)
        scale_N1 = x_NK.abs().amax(1, keepdim=True).float().clamp_min(1e-12) / TOP
        codes_NK = (x_NK / scale_N1).to(torch.float8_e4m3fn)
        y_NM = torch._scaled_mm(codes_NK, codes_KM, scale_N1, scale_1M, out_dtype=torch.bfloat16)
        y_NM = y_NM if bias is None else y_NM + bias
        return y_NM.unflatten(0, x.shape[:-1])


def to_float8(network: nn.Module) -> int:
    """Replace the linear layers inside the blocks; return how many."""
    layers = list(linear_layers(network))
    for parent, name, _, layer in layers:
        setattr(parent, name, Float8Linear(layer))
    return len(layers)


@dataclass(frozen=True)
class Model:
    """What is measured.

    Attributes:
        make: creates the transformer.
        make_tokenizer: creates its tokenizer.
        condition: the condition of a batch, for a transformer.
        steps: the number of decoding steps.
        guided: whether with classifier-free guidance.
        batches: the batch sizes to measure.
    """

    name: str
    make: Callable[[], Any]
    make_tokenizer: Callable[[], Any]
    condition: Callable[[int, Any], Condition]
    steps: int
    guided: bool
    batches: tuple[int, ...]


def classes(batch: int, transformer: Any) -> Condition:
    """A class for each image."""
    return Condition({"class_ids": torch.arange(batch) % transformer.config.num_classes})


def texts(batch: int, transformer: Any) -> Condition:
    """Random states in place of those of a text encoder."""
    config, generator = transformer.config, torch.Generator().manual_seed(batch)
    states = torch.randn(batch, TEXT, config.text_width, generator=generator)
    pooled = torch.randn(batch, config.pooled_width, generator=generator)
    side = config.grid[0] * 16
    micro = torch.tensor([[side, side, 0, 0, 6.0]]).expand(batch, -1)
    return Condition({"states": states, "pooled": pooled, "micro": micro})


def models(tiny: bool, names: Sequence[str] = MODELS) -> list[Model]:
    """Models of the published sizes, or tiny ones to try the benchmark."""
    maskgit, meissonic = MaskGITConfig.imagenet_256(), MeissonicConfig()
    vqgan, vq_model = VQGANConfig(), VQModelConfig()
    if tiny:
        maskgit = replace(maskgit, width=32, depth=2, heads=2, mlp_width=64, grid=(4, 4))
        small = MeissonicConfig(heads=2, head_width=16, blocks=1, single_blocks=1, axes=(4, 6, 6))
        meissonic = replace(small, text_width=16, pooled_width=16, grid=(4, 4))
        vqgan = replace(vqgan, channels=32, blocks=1)
        vq_model = replace(vq_model, widths=(32,) * 5, blocks=1)
    steps = (4, 4) if tiny else (18, 32)
    batches = ((1, 2), (1,)) if tiny else ((1, 64), (1, 4))
    both = [
        Model(
            MODELS[0],
            lambda: MaskGIT(maskgit),
            lambda: VQGAN(vqgan),
            classes,
            steps[0],
            False,
            batches[0],
        ),
        Model(
            MODELS[1],
            lambda: Meissonic(meissonic),
            lambda: VQModel(vq_model),
            texts,
            steps[1],
            True,
            batches[1],
        ),
    ]
    return [model for model in both if model.name in names]


def forward_of(transformer: Any) -> Pass:
    """A pass as a function of plain tensors, which graphs and compilers need."""
    if isinstance(transformer, MaskGIT):
        return lambda ids_BL, time_B, class_ids: transformer(ids_BL, class_ids)

    def forward(ids_BL: Tensor, time_B: Tensor, **tensors: Tensor) -> Tensor:
        logits: Tensor = transformer(ids_BL, Condition(tensors), time_B)
        return logits

    return forward


class Graph:
    """A pass that is recorded for each shape at its first call and replayed."""

    def __init__(self, forward: Pass) -> None:
        self.forward = forward
        self.kept: dict[int, tuple[dict[str, Tensor], Tensor, torch.cuda.CUDAGraph]] = {}

    def __call__(self, ids_BL: Tensor, time_B: Tensor, **tensors: Tensor) -> Tensor:
        given = {"ids_BL": ids_BL, "time_B": time_B, **tensors}
        if len(ids_BL) not in self.kept:
            self.kept[len(ids_BL)] = self.record(given)
        inputs, output, graph = self.kept[len(ids_BL)]
        for name, tensor in given.items():
            inputs[name].copy_(tensor)
        graph.replay()
        return output

    def record(
        self, given: dict[str, Tensor]
    ) -> tuple[dict[str, Tensor], Tensor, torch.cuda.CUDAGraph]:
        """The inputs, the output and the graph of a pass."""
        inputs = {name: tensor.clone() for name, tensor in given.items()}
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(2):
                self.forward(**inputs)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            output = self.forward(**inputs)
        return inputs, output, graph


class Compiled:
    """A compiled pass, whose result is copied before the next pass overwrites it."""

    def __init__(self, forward: Pass) -> None:
        torch._dynamo.config.cache_size_limit = 64  # a graph for each batch size and way
        self.forward = torch.compile(forward, mode="reduce-overhead", dynamic=False)

    def __call__(self, *given: Tensor, **tensors: Tensor) -> Tensor:
        torch.compiler.cudagraph_mark_step_begin()
        return self.forward(*given, **tensors).clone()
