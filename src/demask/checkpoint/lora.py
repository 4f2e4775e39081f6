"""LoRA: a few small matrices that change a model's large ones (arXiv 2106.09685), in peft's layout.

A folder of adapters holds three files: ``adapter_config.json`` and ``adapter_model.safetensors`` as
peft writes them, and ``demask.json``, which says what they were made for.
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
from demask.checkpoint.quantized import made_from
from demask.checkpoint.read import CheckpointError, parse_json, read_tensors
from demask.files import write_atomically, write_text
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
"""What peft writes before the name of each tensor."""
PARTS = ("transformer", "text")
"""The networks of a model: the beginnings of the names of its layers."""
WEIGHTED = re.compile(r"(.+):([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)")
INSIDE_A_BLOCK = re.compile(r"^.*?\.\d+\.")


@dataclass(frozen=True)
class Lora:
    """A folder of adapters.

    Attributes:
        folder: where it is.
        weight: what it adds is multiplied by this.
        base: the name of the model that it was made for.
        fingerprints: of that model's networks, by their names in `PARTS`.
    """

    folder: Path
    weight: float
    base: str
    fingerprints: Mapping[str, str]


def base_fingerprint(network: nn.Module) -> str:
    """A short name of a network's weights, however they are stored.

    Names, shapes and values; the values are rounded to float16 and then to bfloat16, so that a
    network has the same one in float32 and float16, and where it is stored as float16 or bfloat16,
    in both of those too. One of low precision has that of the network that it was made from.
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
    """The names of the linear layers that end in one of the targets.

    Args:
        network: any.
        targets: the last parts of names, such as "to_q" or "attn.to_q".

    Raises:
        ValueError: a target that is no layer's; the line lists what a layer is called in its block.
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
    """Put adapters that change nothing yet on some layers, and freeze all the rest.

    Args:
        model: holds the networks under their names in `PARTS`; it is changed.
        layers: the names of linear layers.
        rank: of the adapters.
        alpha: what they add is scaled by alpha / rank.
        dropout: on what they read.
        base: the name of the model.
    """
    from peft import LoraConfig, inject_adapter_in_model  # brings transformers: slow, and large

    config = LoraConfig(
        r=rank,
        lora_alpha=alpha,
        lora_dropout=dropout,
        target_modules=list(layers),
        base_model_name_or_path=base,
    )
    inject_adapter_in_model(config, model, ADAPTER)


def weigh_adapters(model: nn.Module, weight: float) -> None:
    """Multiply what adapters add by ``weight``, as they were trained; 0 is the model without."""
    from peft.tuners.lora import LoraLayer

    for layer in model.modules():
        if isinstance(layer, LoraLayer):
            layer.set_scale(ADAPTER, weight)


def save_lora(folder: Path, model: nn.Module, facts: Mapping[str, Any]) -> None:
    """Write the adapters of a model; each file whole or not at all, the weights last.

    Args:
        folder: where to.
        model: after `add_adapters`.
        facts: what ``demask.json`` says: ``base``, ``fingerprints`` and more.
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
    """Write a JSON object, whole or not at all."""
    text = json.dumps(values, indent=1, sort_keys=True, ensure_ascii=False, default=str)
    write_text(path, text)


def apply_loras(
    transformer: nn.Module, text_encoder: nn.Module | None, loras: Sequence[str]
) -> None:
    """Add adapters to the weights of a model, which is then as fast as without them.

    Of several each adds its part, so their order only matters to rounding. A weight of 0 changes
    nothing at all.

    Args:
        transformer: in any type, before its layers are packed; it is changed.
        text_encoder: the same, of a model that has one.
        loras: folders, each with ``:weight`` behind it if that is not 1.

    Raises:
        CheckpointError: a file is missing or broken, or the adapters are those of another model.
    """
    read = [read_lora(entry) for entry in loras]
    networks = {"transformer": transformer} | ({"text": text_encoder} if text_encoder else {})
    own = fingerprints(networks) if read else {}
    for lora in read:
        check_base(lora, own)
    tensors = [read_tensors(lora.folder / WEIGHTS)[0] for lora in read]
    model = nn.ModuleDict(networks)
    for lora, given in zip(read, tensors, strict=True):
        if lora.weight:
            merge(model, lora, given)


def read_lora(entry: str) -> Lora:
    """What a person means by ``PATH`` or ``PATH:weight``.

    Raises:
        CheckpointError: a file is missing, or says not what it was made for.
    """
    weighted = WEIGHTED.fullmatch(entry)
    folder, weight = (Path(weighted[1]), float(weighted[2])) if weighted else (Path(entry), 1.0)
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
    """Raise a CheckpointError unless the adapters were made for the networks of ``own``."""
    other = [name for name in own if lora.fingerprints[name] != own[name]]
    if other:
        theirs = ", ".join(f"{name} {lora.fingerprints[name]}" for name in other)
        ours = ", ".join(f"{name} {own[name]}" for name in other)
        raise CheckpointError(
            f"{lora.folder} is a LoRA of the model '{lora.base}' ({theirs}), not of this ({ours})"
        )


def merge(model: nn.ModuleDict, lora: Lora, tensors: Mapping[str, torch.Tensor]) -> None:
    """Add the adapters to the weights of the model's networks.

    Raises:
        CheckpointError: the configuration is broken, or the tensors are not those of its adapters.
    """
    from peft import LoraConfig, LoraModel, get_peft_model_state_dict, set_peft_model_state_dict

    try:
        config = LoraConfig.from_pretrained(str(lora.folder))
        with torch.random.fork_rng(devices=[]):  # new adapters begin with random values
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
