"""The original MaskGIT files: flax msgpack of the transformer or of the tokenizer.

All arrays are under ``params``. An array is msgpack extension 1, a packed (shape, dtype name,
bytes). Dense kernels are (in, out), convolutions HWIO, attention kernels (width, heads, head) for
query, key and value and (heads, head, width) for the output. The configuration is inferred from the
shapes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from demask.checkpoint.convert.converted import Converted
from demask.checkpoint.key_map import KeyRule, translate
from demask.checkpoint.read import CheckpointError, Tensors
from demask.tokenizer.vqgan import VQGANConfig
from demask.transformer.maskgit import MaskGITConfig

ARRAY = 1
DTYPES = ("float16", "float32", "float64", "int32", "int64", "uint8", "uint32")
PUBLISHED_CODEBOOK = 1024


def convert(path: Path, codebook_size: int | None = None) -> list[Converted]:
    """Convert a transformer or a tokenizer, detected by its keys.

    Args:
        path: the msgpack file.
        codebook_size: K of a transformer, whose file only has K + classes + 1 embeddings
            (default: 1024, that of the published tokenizer).

    Raises:
        CheckpointError: not such a file, or arrays that do not match the key map.
    """
    arrays = read_msgpack(path)
    try:
        if "Embed_0/word_embeddings/embedding" in arrays:
            return [transformer(arrays, codebook_size or PUBLISHED_CODEBOOK)]
        if "quantizer/codebook" in arrays:
            return [tokenizer(arrays)]
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None
    except (KeyError, IndexError, ValueError, TypeError, ArithmeticError) as error:
        raise CheckpointError(f"{path}: not MaskGIT's arrays ({error!r})") from None
    raise CheckpointError(f"{path}: holds neither MaskGIT's transformer nor its tokenizer")


def read_msgpack(path: Path) -> Tensors:
    """Read the arrays under ``params``; nested names are joined by slashes.

    Raises:
        CheckpointError: not a flax msgpack file.
        ValueError: the optional package ``msgpack`` is not installed.
    """
    try:
        import msgpack
    except ImportError:
        raise ValueError(
            "JAX checkpoints need the package msgpack: pip install 'demask[convert]'"
        ) from None

    def array(code: int, data: bytes) -> Tensor:
        if code != ARRAY:
            raise ValueError(f"extension type {code}, not an array")
        shape, dtype, raw = msgpack.unpackb(data, raw=False)
        if dtype not in DTYPES:
            raise ValueError(f"an array of type {dtype}; valid: {', '.join(DTYPES)}")
        return torch.from_numpy(np.frombuffer(raw, dtype).reshape(shape).copy())

    try:
        tree = msgpack.unpackb(path.read_bytes(), ext_hook=array, raw=False)
    except (ValueError, TypeError, OSError, msgpack.exceptions.UnpackException) as error:
        reason = str(error) or type(error).__name__
        raise CheckpointError(f"{path}: not a readable flax msgpack file ({reason})") from None
    if not isinstance(tree, dict) or not isinstance(tree.get("params"), dict):
        raise CheckpointError(f"{path}: not a flax checkpoint (nothing under 'params')")
    arrays = dict(_flatten(tree["params"], ""))
    strangers = sorted(name for name, array in arrays.items() if not isinstance(array, Tensor))
    if strangers:
        raise CheckpointError(f"{path}: not arrays: {', '.join(strangers)}")
    return arrays


def _flatten(tree: dict[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{name}/")
        else:
            yield f"{prefix}{name}", value


def transformer(arrays: Tensors, codebook_size: int) -> Converted:
    """Convert the transformer; its embedding and output matrix are tied, as in the original."""
    words, width = arrays["Embed_0/word_embeddings/embedding"].shape
    positions = len(arrays["Embed_0/position_embeddings/embedding"]) - 1
    side = math.isqrt(positions)
    if side * side != positions:
        raise CheckpointError(f"{positions} image positions are not a square grid")
    if words < codebook_size + 2:
        raise CheckpointError(
            f"{words} words are too few for a codebook of {codebook_size}, a class and a mask"
        )
    depth = 1 + max(_numbers(arrays, "TransformerLayer_"))
    first = "TransformerLayer_0/"
    config = MaskGITConfig(
        codebook_size=codebook_size,
        num_classes=words - codebook_size - 1,
        grid=(side, side),
        width=width,
        depth=depth,
        heads=arrays[f"{first}Attention_0/self_attention/query/kernel"].shape[1],
        mlp_width=arrays[f"{first}Mlp_0/intermediate_output/kernel"].shape[1],
        tied=True,
    )
    return Converted("maskgit", config, translate(transformer_rows(depth), arrays))


def transformer_rows(depth: int) -> Iterator[KeyRule]:
    """The transformer's key map."""
    for name in ("word", "position"):
        yield KeyRule(f"embed.{name}_embeddings.weight", f"Embed_0/{name}_embeddings/embedding")
    yield from _norm("embed.embeddings_ln", "Embed_0/embeddings_ln")
    for index in range(depth):
        ours, theirs = f"transformer_layers.{index}", f"TransformerLayer_{index}"
        for name in ("query", "key", "value"):
            source = f"{theirs}/Attention_0/self_attention/{name}"
            yield KeyRule(f"{ours}.attention.{name}.weight", f"{source}/kernel", _into_heads)
            yield KeyRule(f"{ours}.attention.{name}.bias", f"{source}/bias", torch.flatten)
        source = f"{theirs}/Attention_0/self_attention/out"
        yield KeyRule(f"{ours}.attention.out.weight", f"{source}/kernel", _out_of_heads)
        yield KeyRule(f"{ours}.attention.out.bias", f"{source}/bias")
        yield from _norm(f"{ours}.attn_layer_norm", f"{theirs}/Attention_0/attention_output_ln")
        for name in ("intermediate_output", "layer_output"):
            yield from _dense(f"{ours}.ffn.{name}", f"{theirs}/Mlp_0/{name}")
        yield from _norm(f"{ours}.ffn.layer_norm", f"{theirs}/Mlp_0/layer_output_ln")
    yield from _dense("mlm_layer.mlm_dense", "MlmLayer_0/mlm_dense")
    yield from _norm("mlm_layer.mlm_ln", "MlmLayer_0/mlm_ln")
    yield KeyRule("mlm_layer.to_logits.bias", "MlmLayer_0/mlm_bias/bias")


def tokenizer(arrays: Tensors) -> Converted:
    """Convert the tokenizer."""
    levels = max(_numbers(arrays, "decoder/Conv_"))
    residual = 1 + max(_numbers(arrays, "encoder/ResBlock_"))
    if residual % (levels + 1):
        raise CheckpointError(f"{residual} residual blocks do not fill {levels} levels and middle")
    blocks = residual // (levels + 1)
    channels = arrays["encoder/Conv_0/kernel"].shape[3]
    ends = [arrays[f"encoder/ResBlock_{i * blocks}/Conv_0/kernel"] for i in range(levels)]
    codebook_size, latent_width = arrays["quantizer/codebook"].shape
    config = VQGANConfig(
        channels=channels,
        multipliers=tuple(kernel.shape[3] // channels for kernel in ends),
        blocks=blocks,
        codebook_size=codebook_size,
        latent_width=latent_width,
        image_channels=arrays["encoder/Conv_0/kernel"].shape[2],
    )
    return Converted("vqgan", config, translate(tokenizer_rows(config), arrays))


def tokenizer_rows(config: VQGANConfig) -> Iterator[KeyRule]:
    """The tokenizer's key map; blocks are numbered in execution order."""
    levels, blocks = len(config.multipliers), config.blocks
    inside = range(blocks)
    encoder = [f"down.{level}.block.{b}" for level in range(levels) for b in inside]
    encoder += [f"mid.{b}" for b in inside]
    decoder = [f"mid.{b}" for b in inside]
    decoder += [f"up.{level}.block.{b}" for level in reversed(range(levels)) for b in inside]

    yield KeyRule("quantize.embedding.weight", "quantizer/codebook")
    changes = _width_changes(config)
    for half, names in (("encoder", encoder), ("decoder", decoder)):
        for index, name in enumerate(names):
            ours, theirs = f"{half}.{name}", f"{half}/ResBlock_{index}"
            for number in (1, 2):
                yield from _norm(f"{ours}.norm{number}", f"{theirs}/GroupNorm_{number - 1}")
                yield _kernel(f"{ours}.conv{number}", f"{theirs}/Conv_{number - 1}")
            if ours in changes:
                yield _kernel(f"{ours}.nin_shortcut", f"{theirs}/Conv_2")
        yield from _norm(f"{half}.norm_out", f"{half}/GroupNorm_0")
    yield _kernel("encoder.conv_in", "encoder/Conv_0")
    yield from _conv("encoder.conv_out", "encoder/Conv_1")
    yield from _conv("decoder.conv_in", "decoder/Conv_0")
    for level in range(1, levels):
        yield from _conv(f"decoder.up.{level}.upsample_conv", f"decoder/Conv_{levels - level}")
    yield from _conv("decoder.conv_out", f"decoder/Conv_{levels}")


def _width_changes(config: VQGANConfig) -> set[str]:
    """The residual blocks with a shortcut: the first of a level whose width differs."""
    down = (config.channels, *config.widths)
    up = (*config.widths, config.widths[-1])
    levels = range(len(config.widths))
    changes = {f"encoder.down.{i}.block.0" for i in levels if down[i] != down[i + 1]}
    return changes | {f"decoder.up.{i}.block.0" for i in levels if up[i] != up[i + 1]}


def _numbers(arrays: Tensors, prefix: str) -> set[int]:
    """The numbers after a prefix in the keys."""
    return {int(n.removeprefix(prefix).split("/")[0]) for n in arrays if n.startswith(prefix)}


def _into_heads(kernel_DHC: Tensor) -> Tensor:
    return kernel_DHC.flatten(1).T


def _out_of_heads(kernel_HCD: Tensor) -> Tensor:
    return kernel_HCD.flatten(0, 1).T


def _norm(ours: str, theirs: str) -> Iterator[KeyRule]:
    yield KeyRule(f"{ours}.weight", f"{theirs}/scale")
    yield KeyRule(f"{ours}.bias", f"{theirs}/bias")


def _dense(ours: str, theirs: str) -> Iterator[KeyRule]:
    yield KeyRule(f"{ours}.weight", f"{theirs}/kernel", torch.t)
    yield KeyRule(f"{ours}.bias", f"{theirs}/bias")


def _kernel(ours: str, theirs: str) -> KeyRule:
    """A convolution's kernel, from HWIO to OIHW."""
    return KeyRule(f"{ours}.weight", f"{theirs}/kernel", partial(torch.permute, dims=(3, 2, 0, 1)))


def _conv(ours: str, theirs: str) -> Iterator[KeyRule]:
    yield _kernel(ours, theirs)
    yield KeyRule(f"{ours}.bias", f"{theirs}/bias")
