"""Read a CLIP in the layout of open_clip, such as HPSv2, as a ``CLIPModel`` of transformers.

open_clip itself would need torchvision. Besides the names, two things differ: open_clip holds the
projections of queries, keys and values in one matrix, and its two output projections are
transposed.

Shape legend: D width of a tower, P width of the features.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from demask.evaluation.clip import reason
from demask.evaluation.networks import read_tensors

Tensors = dict[str, Tensor]

PLAIN = {
    "logit_scale": "logit_scale",
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "ln_final.weight": "text_model.final_layer_norm.weight",
    "ln_final.bias": "text_model.final_layer_norm.bias",
    "visual.class_embedding": "vision_model.embeddings.class_embedding",
    "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
    "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "visual.ln_pre.weight": "vision_model.pre_layrnorm.weight",  # spelt so in transformers
    "visual.ln_pre.bias": "vision_model.pre_layrnorm.bias",
    "visual.ln_post.weight": "vision_model.post_layernorm.weight",
    "visual.ln_post.bias": "vision_model.post_layernorm.bias",
}
TRANSPOSED = {
    "text_projection": "text_projection.weight",
    "visual.proj": "visual_projection.weight",
}
LAYER = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "attn.out_proj": "self_attn.out_proj",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}
FUSED = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")
TOWERS = {"transformer.resblocks": "text_model", "visual.transformer.resblocks": "vision_model"}
DERIVED = ("attn_mask", "text_model.embeddings.position_ids")
"""Tensors that some files hold and that are ignored: they follow from the sizes."""


@dataclass(frozen=True)
class ClipSizes:
    """The part of the configuration that does not follow from the shapes of the tensors.

    Attributes:
        size: side of the images, in pixels.
        text_heads: attention heads of the text tower.
        vision_heads: attention heads of the image tower.
        activation: the activation of both towers' MLPs, by its name in transformers.
    """

    size: int = 224
    text_heads: int = 16
    vision_heads: int = 16
    activation: str = "gelu"


VIT_H_14 = ClipSizes()
"""open_clip's ViT-H-14: an image tower of 32 layers of width 1,280, a text tower of 24 of 1,024."""


def layers_of(tensors: Mapping[str, Tensor], tower: str) -> int:
    """The number of layers of a tower."""
    numbers = {n[len(tower) + 1 :].partition(".")[0] for n in tensors if n.startswith(f"{tower}.")}
    return len(numbers)


def key_map(text_layers: int, vision_layers: int) -> dict[str, tuple[str, ...]]:
    """Name in open_clip -> the name in transformers, or the three of queries, keys and values."""
    names: dict[str, tuple[str, ...]] = {
        theirs: (ours,) for theirs, ours in (PLAIN | TRANSPOSED).items()
    }
    for (theirs, ours), count in zip(TOWERS.items(), (text_layers, vision_layers), strict=True):
        for number in range(count):
            source, target = f"{theirs}.{number}", f"{ours}.encoder.layers.{number}"
            for kind in ("weight", "bias"):
                for before, after in LAYER.items():
                    names[f"{source}.{before}.{kind}"] = (f"{target}.{after}.{kind}",)
                names[f"{source}.attn.in_proj_{kind}"] = tuple(
                    f"{target}.{part}.{kind}" for part in FUSED
                )
    return names


def to_transformers(tensors: Mapping[str, Tensor]) -> Tensors:
    """The tensors of open_clip under the names of transformers' ``CLIPModel``, in float32.

    Raises:
        ValueError: names are missing or unexpected.
    """
    names = key_map(*(layers_of(tensors, tower) for tower in TOWERS))
    check_names(set(tensors) - set(DERIVED), set(names))
    found: Tensors = {}
    for theirs, ours in names.items():
        tensor = tensors[theirs].T if theirs in TRANSPOSED else tensors[theirs]
        parts = tensor.chunk(len(ours)) if len(ours) > 1 else [tensor]
        found |= {name: p.float().contiguous() for name, p in zip(ours, parts, strict=True)}
    return found


def check_names(given: set[str], expected: set[str]) -> None:
    """Raise a ValueError that names what is missing and what is unexpected."""
    parts = []
    for what, names in (("missing", expected - given), ("unexpected", given - expected)):
        if names:
            shown = ", ".join(sorted(names)[:3])
            parts.append(f"{len(names)} {what} ({shown}{', ...' if len(names) > 3 else ''})")
    if parts:
        raise ValueError(f"tensors are {'; '.join(parts)}")


def read_checkpoint(path: Path) -> Tensors:
    """The tensors of a ``.pt`` or ``.safetensors`` file; no code in it is run.

    Raises:
        ValueError: no such file, or it holds something else.
    """
    if not path.is_file():
        raise ValueError(f"{path}: no such file; docs/methods/preference.md says where to get it")
    loaded = read_tensors(path, "of HPSv2, take HPS_v2.1_compressed.pt")
    tensors = loaded.get("state_dict", loaded)
    if not tensors or not all(isinstance(tensor, Tensor) for tensor in tensors.values()):
        raise ValueError(f"{path}: holds no named tensors, nor a 'state_dict' of them")
    return {name.removeprefix("module."): tensor for name, tensor in tensors.items()}


def build(path: Path, tokenizer: Any, sizes: ClipSizes = VIT_H_14) -> Any:
    """The ``CLIPModel`` of transformers with the tensors of an open_clip file, in float32.

    Args:
        path: the file.
        tokenizer: the ``CLIPTokenizer``; the text tower pools at its end-of-text token.
        sizes: the sizes that do not follow from the tensors.

    Raises:
        ValueError: no such file, or it holds other tensors.
    """
    from transformers import CLIPConfig, CLIPModel

    theirs = read_checkpoint(path)
    try:
        tensors = to_transformers(theirs)
        with torch.device("meta"):
            model = CLIPModel(CLIPConfig(**config_of(theirs, tokenizer, sizes)))
        # position ids are derived from the sizes: they are not in the file, nor valid on "meta"
        model.to_empty(device="cpu")
        for module in model.modules():
            ids = getattr(module, "position_ids", None)
            if isinstance(ids, Tensor):
                ids.copy_(torch.arange(ids.shape[-1])[None])
        model.load_state_dict(tensors, strict=True)
    except (KeyError, RuntimeError, ValueError) as error:
        raise ValueError(f"{path}: no CLIP in open_clip's layout: {reason(error)}") from None
    return model.eval()


def config_of(tensors: Mapping[str, Tensor], tokenizer: Any, sizes: ClipSizes) -> dict[str, Any]:
    """The arguments of ``CLIPConfig``, from the shapes of open_clip's tensors."""
    text, vision = TOWERS
    words, text_width = tensors["token_embedding.weight"].shape
    vision_width, _, patch, _ = tensors["visual.conv1.weight"].shape
    return {
        "projection_dim": tensors["visual.proj"].shape[1],
        "text_config": {
            "vocab_size": words,
            "hidden_size": text_width,
            "intermediate_size": len(tensors[f"{text}.0.mlp.c_fc.bias"]),
            "num_hidden_layers": layers_of(tensors, text),
            "num_attention_heads": sizes.text_heads,
            "max_position_embeddings": len(tensors["positional_embedding"]),
            "hidden_act": sizes.activation,
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
        },
        "vision_config": {
            "hidden_size": vision_width,
            "intermediate_size": len(tensors[f"{vision}.0.mlp.c_fc.bias"]),
            "num_hidden_layers": layers_of(tensors, vision),
            "num_attention_heads": sizes.vision_heads,
            "image_size": sizes.size,
            "patch_size": patch,
            "hidden_act": sizes.activation,
        },
    }
