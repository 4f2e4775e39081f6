"""LoRA adapters (arXiv 2106.09685) in peft's layout.

A folder of adapters holds three files: ``adapter_config.json`` and ``adapter_model.safetensors`` as
written by peft, and ``demask.json``, which describes the base model.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save_file
from torch import nn

from demask.checkpoint.load import check_tensors
from demask.checkpoint.published_lora import Pair, published_file, read_published
from demask.checkpoint.quantized import made_from
from demask.checkpoint.read import CheckpointError, parse_json, read_tensors
from demask.files import write_atomically, write_text
from demask.quiet import quiet_torchao
from demask.registry import unknown

if TYPE_CHECKING:
    from peft import LoraConfig

CONFIG, FACTS, WEIGHTS = FILES = (
    "adapter_config.json",
    "demask.json",
    "adapter_model.safetensors",
)
ADAPTER = "default"
PREFIX = "base_model.model."
"""Prefix of tensor names in peft's files."""
PARTS = ("transformer", "text")
"""The networks of a model: first parts of the names of its layers."""
WEIGHTED = re.compile(r"(.+):([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)")
INSIDE_A_BLOCK = re.compile(r"^.*?\.\d+\.")


@dataclass(frozen=True)
class Lora:
    """A folder of adapters.

    Attributes:
        folder: the folder.
        weight: factor of the adapters.
        base: name of the base model.
        fingerprints: fingerprints of the base model's networks, by their names in `PARTS`.
    """

    folder: Path
    weight: float
    base: str
    fingerprints: Mapping[str, str]


def base_fingerprint(network: nn.Module) -> str:
    """A fingerprint of a network's weights that does not depend on their dtype.

    A hash of names, shapes and values. Values are rounded to float16 and then to bfloat16, so that
    float32, float16 and bfloat16 copies of a network have the same fingerprint. A quantized network
    has that of its full-precision original.
    """
    if (known := made_from(network)) is not None:
        return known
    digest = hashlib.blake2b(digest_size=8)
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)} ".encode())
        plain = tensor.detach()
        if plain.is_floating_point():
            plain = plain.half().bfloat16().view(torch.int16)
        digest.update(plain.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def fingerprints(networks: Mapping[str, nn.Module]) -> dict[str, str]:
    """The `base_fingerprint` of each network."""
    return {name: base_fingerprint(network) for name, network in networks.items()}


def matching_layers(network: nn.Module, targets: Sequence[str]) -> list[str]:
    """The names of the linear layers whose last parts equal one of the targets.

    Args:
        network: the network.
        targets: the last parts of names, such as "to_q" or "attn.to_q".

    Raises:
        ValueError: a target that matches no layer; the message lists the names in a block.
    """
    names = [n for n, layer in network.named_modules() if isinstance(layer, nn.Linear)]
    for target in targets:
        if not any(f".{name}".endswith(f".{target}") for name in names):
            valid = dict.fromkeys(INSIDE_A_BLOCK.sub("", name) for name in names)
            raise ValueError(unknown("LoRA target", target, valid))
    endings = tuple(f".{target}" for target in targets)
    return [name for name in names if f".{name}".endswith(endings)]


def add_adapters(
    model: nn.Module, layers: Sequence[str], rank: int, alpha: float, dropout: float, base: str
) -> None:
    """Add adapters, initialised to no effect, to some layers and freeze everything else.

    Args:
        model: holds the networks under their names in `PARTS`; modified in place.
        layers: the names of linear layers.
        rank: rank of the adapters.
        alpha: the adapters are scaled by alpha / rank.
        dropout: on the adapters' input.
        base: name of the base model.
    """
    with quiet_torchao():
        from peft import LoraConfig, inject_adapter_in_model  # imports transformers, which is slow

        config = LoraConfig(
            r=rank,
            lora_alpha=alpha,
            lora_dropout=dropout,
            target_modules=list(layers),
            base_model_name_or_path=base,
        )
        inject_adapter_in_model(config, model, ADAPTER)


def weigh_adapters(model: nn.Module, weight: float) -> None:
    """Set the weight of the adapters: 1 as trained, 0 is the base model."""
    from peft.tuners.lora import LoraLayer

    for layer in model.modules():
        if isinstance(layer, LoraLayer):
            layer.set_scale(ADAPTER, weight)


def save_lora(folder: Path, model: nn.Module, facts: Mapping[str, Any]) -> None:
    """Write the adapters of a model; each file atomically, the weights last.

    Args:
        folder: the folder to write.
        model: a model with adapters.
        facts: content of ``demask.json``: ``base``, ``fingerprints`` and more.
    """
    from peft import get_peft_model_state_dict

    config: LoraConfig = model.peft_config[ADAPTER]  # type: ignore[index]
    values = {k: sorted(v) if isinstance(v, set) else v for k, v in config.to_dict().items()}
    values["inference_mode"] = True
    state = get_peft_model_state_dict(model, adapter_name=ADAPTER, save_embedding_layers=False)
    tensors = {PREFIX + name: t.detach().cpu().contiguous() for name, t in state.items()}
    write_json(folder / CONFIG, values)
    write_json(folder / FACTS, facts)
    write_atomically(
        folder / WEIGHTS, lambda temporary: save_file(tensors, temporary, {"format": "pt"})
    )


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write a JSON object atomically."""
    text = json.dumps(values, indent=1, sort_keys=True, ensure_ascii=False, default=str)
    write_text(path, text)


def apply_loras(
    transformer: nn.Module, text_encoder: nn.Module | None, loras: Sequence[str]
) -> None:
    """Merge adapters into the weights of a model, so that inference costs nothing extra.

    Several adapters add up; their order matters only to rounding. A weight of 0 changes nothing.

    Args:
        transformer: of any dtype, not yet packed; modified in place.
        text_encoder: the text encoder of a text model; modified in place.
        loras: folders, or files of `demask.checkpoint.published_lora`, each optionally followed by
            ``:weight``.

    Raises:
        CheckpointError: a file is missing or broken, or the adapters belong to another model.
    """
    networks = {"transformer": transformer} | ({"text": text_encoder} if text_encoder else {})
    pairs: list[Pair] = []
    read: list[Lora] = []
    for entry in loras:
        path, weight = split_weight(entry)
        if file := published_file(path):
            pairs += read_published(file, weight, networks)
        else:
            read.append(read_lora(entry))
    own = fingerprints(networks) if read else {}
    for lora in read:
        check_base(lora, own)
    tensors = [read_tensors(lora.folder / WEIGHTS)[0] for lora in read]
    model = nn.ModuleDict(networks)
    for lora, given in zip(read, tensors, strict=True):
        if lora.weight:
            merge(model, lora, given)
    for pair in pairs:
        pair.merge()


def split_weight(entry: str) -> tuple[Path, float | None]:
    """``PATH`` or ``PATH:weight``; a path that exists is taken as it is."""
    weighted = None if Path(entry).exists() else WEIGHTED.fullmatch(entry)
    return (Path(weighted[1]), float(weighted[2])) if weighted else (Path(entry), None)


def read_lora(entry: str) -> Lora:
    """Parse ``PATH`` or ``PATH:weight`` and read its description.

    Raises:
        CheckpointError: a file is missing or does not name its base model.
    """
    folder, given = split_weight(entry)
    weight = 1.0 if given is None else given
    if not folder.is_dir():
        raise CheckpointError(f"{folder}: no such folder of LoRA adapters")
    if absent := [name for name in FILES if not (folder / name).is_file()]:
        raise CheckpointError(
            f"{folder} is no LoRA of 'demask train lora': it lacks {', '.join(absent)}"
        )
    facts = parse_json((folder / FACTS).read_bytes(), folder / FACTS)
    made_for = facts.get("fingerprints")
    if not isinstance(made_for, dict) or not set(PARTS) <= set(made_for):
        raise CheckpointError(f"{folder / FACTS}: no 'fingerprints' of {' and '.join(PARTS)}")
    return Lora(folder, weight, str(facts.get("base")), made_for)


def check_base(lora: Lora, own: Mapping[str, str]) -> None:
    """Raise a CheckpointError unless the adapters belong to the networks of ``own``."""
    other = [name for name in own if lora.fingerprints[name] != own[name]]
    if other:
        theirs = ", ".join(f"{name} {lora.fingerprints[name]}" for name in other)
        ours = ", ".join(f"{name} {own[name]}" for name in other)
        raise CheckpointError(
            f"{lora.folder} is a LoRA of the model '{lora.base}' ({theirs}), not of this ({ours})"
        )


def merge(model: nn.ModuleDict, lora: Lora, tensors: Mapping[str, torch.Tensor]) -> None:
    """Merge the adapters into the weights of the model's networks.

    Raises:
        CheckpointError: the configuration is broken, or the tensors do not match it.
    """
    with quiet_torchao():
        from peft import LoraConfig, LoraModel, get_peft_model_state_dict, set_peft_model_state_dict

    try:
        config = LoraConfig.from_pretrained(str(lora.folder))
        # new adapters start with random values
        with torch.random.fork_rng(devices=[]), quiet_torchao():
            tuner = LoraModel(model, config, ADAPTER)
    except (TypeError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(f"{lora.folder / CONFIG}: not for this model ({reason})") from None
    try:
        state = get_peft_model_state_dict(model, adapter_name=ADAPTER, save_embedding_layers=False)
        check_tensors(
            {PREFIX + name: tensor.shape for name, tensor in state.items()}, dict(tensors)
        )
        set_peft_model_state_dict(model, dict(tensors), ADAPTER)
        weigh_adapters(model, lora.weight)
        tuner.merge_adapter()
    except CheckpointError as error:
        raise CheckpointError(f"{lora.folder / WEIGHTS}: {error}") from None
    finally:
        tuner.unload()
