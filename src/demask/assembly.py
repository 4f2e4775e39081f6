"""Load a model: find its files, put its parts together, choose its settings."""

from __future__ import annotations

import copy
import logging
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import cast

import torch
from torch import nn

from demask.acceleration.packing import pack
from demask.acceleration.quantization import SCHEMES, quantize, quantized_layers
from demask.auxiliary import AuxiliaryNetworks, check_auxiliary, find_auxiliary
from demask.checkpoint.hub import in_hub
from demask.checkpoint.load import CheckpointError, load_model
from demask.checkpoint.lora import apply_loras, base_fingerprint
from demask.checkpoint.pipeline import Parts, is_public, load_ours, load_public, refuse_several
from demask.checkpoint.quantized import name_origin
from demask.checkpoint.text_encoder import reading_of
from demask.conditioning import Classes, Conditioner, Prompts
from demask.device import checked_device
from demask.generator import Generator
from demask.layouts import image_size
from demask.preset_file import FILE, PresetFile, read_presets
from demask.presets import (
    PUBLIC_SETTINGS,
    PUBLISHED_PRESETS,
    SHIPPED_MODELS,
    model_folder,
    model_path,
)
from demask.registry import unknown
from demask.settings import DTYPES, Settings
from demask.transformer.number_range import FLOAT16_MAX, largest_activation
from demask.transformer.protocols import SupportsPredict, supports
from demask.types import Step, Tokenizer, TokenLayout, Transformer

log = logging.getLogger(__name__)
FLOAT16_MARGIN = 16
"""How many times larger than in one pass the activations may become."""


def load(
    model: str | Path,
    tokenizer: str | None = None,
    device: str | None = None,
    dtype: torch.dtype | str | None = None,
    *,
    loras: Sequence[str] = (),
    aux: Sequence[str] = (),
    variant: str | None = None,
    low_memory: bool = False,
    preset: str | None = None,
) -> Generator:
    """Load a generator: a shipped model by its name, a folder, a file or a hub id.

    Args:
        model: a row of `SHIPPED_MODELS`; a folder written by training
            (``transformer.safetensors``, ``tokenizer.safetensors``, and ``text_encoder`` for a
            model of prompts); a folder or hub id in Meissonic's layout (``model_index.json``); or a
            transformer checkpoint.
        tokenizer: a tokenizer checkpoint, for a model without one.
        device: ``cpu``, ``cuda``, ...; by default a GPU if there is one.
        dtype: of the weights, or its name; by default float32. `torch.int8` multiplies inside the
            blocks in 8 bits, several times as fast on a CPU; see docs/methods/low_precision.md.
        loras: folders or files of LoRA adapters, followed by ``:weight`` if that is not 1.
        aux: networks beside the model (a self-guidance module, a Token-Critic, a weaker
            transformer), before those in its folder.
        variant: of a public layout's files, such as ``fp16``.
        low_memory: guidance makes two passes of half the size, and weights are not packed.
        preset: named settings of the model that are to be its defaults, in the type of weights that
            they were measured in unless ``dtype`` says another.

    Raises:
        ValueError: no such model, device or type, or a checkpoint that is broken or incomplete.
    """
    if not isinstance(model, str | Path):
        raise ValueError(f"model must be a name, a path or a hub id, not {model!r}")
    model, device = str(model), checked_device(device)
    measured = read_presets(model_folder(model) / FILE)
    if preset is not None and dtype is None and measured.by_name:
        dtype = measured[preset].dtype or "float32"
    dtype = parse_dtype(dtype)
    floating = torch.float32 if dtype == torch.int8 else dtype
    parts = parts_in_range(model, tokenizer, device, floating, variant)
    if loras:
        refuse_low_precision(parts.transformer, model)
        apply_loras(parts.transformer, parts.text.model if parts.text else None, loras)
    if dtype == torch.int8:
        to_int8(model, parts.transformer, aux)
    if not low_memory:
        pack(parts.transformer)
    settings, presets = settings_of(measured, parts, preset)
    return Generator(
        name=model,
        tokenizer=parts.tokenizer,  # type: ignore[arg-type]
        transformer=parts.transformer,  # type: ignore[arg-type]
        conditioner=conditioner(model, parts),
        settings=settings,
        low_memory=low_memory,
        aux=auxiliary_networks(model, parts.transformer, aux, packed=not low_memory),
        presets=presets,
        loaded=load_arguments(tokenizer, dtype, loras, aux, variant),
    )


def parts_in_range(
    model: str, tokenizer: str | None, device: str, dtype: torch.dtype | None, variant: str | None
) -> Parts:
    """The networks of a model in a type of weights; in bfloat16 where float16 would overflow.

    Raises:
        ValueError: as `load_parts`, or a transformer and a tokenizer that do not fit.
    """
    parts = load_parts(model, tokenizer, device, dtype, variant)
    check_pair(parts.transformer, parts.tokenizer)
    if dtype != torch.float16 or fits_float16(parts, conditioner(model, parts)):
        return parts
    log.warning("%s: its activations exceed the range of float16; bfloat16 is used", model)
    return load_parts(model, tokenizer, device, torch.bfloat16, variant)


def parse_dtype(dtype: torch.dtype | str | None) -> torch.dtype | None:
    """A type of weights, or its name as `GeneratedImage.loaded` holds it, as a type.

    Raises:
        ValueError: a type or name that is not in `DTYPES`.
    """
    if dtype is None:
        return None
    name = str(dtype).removeprefix("torch.")
    if name not in DTYPES:
        raise ValueError(unknown("dtype", name, DTYPES))
    parsed: torch.dtype = getattr(torch, name)
    return parsed


def fits_float16(parts: Parts, conditioner: Conditioner) -> bool:
    """Whether the activations of a model stay within float16, by a wide margin.

    A copy in bfloat16, which has the range of float32, makes one pass over masked tokens. The
    models of Meissonic's published layout are released in float16 and are not measured.
    """
    if parts.schedule is not None:
        return True
    network = copy.deepcopy(parts.transformer).to(torch.bfloat16)
    transformer: Transformer = network  # type: ignore[assignment]
    layout = transformer.layout
    settings = Settings()
    chosen = [conditioner.parse(one) for one in conditioner.default_conditions()[:1]]
    size = image_size(cast(Tokenizer, parts.tokenizer), layout)
    condition = conditioner.condition(chosen, size, settings)
    device = next(network.parameters()).device
    ids_BL = torch.full((1, layout.tokens), transformer.mask_id, device=device)
    step = Step(0, 1, layout, torch.ones(1))
    largest = largest_activation(network, lambda: transformer.predict(ids_BL, condition, step))
    return largest < FLOAT16_MAX / FLOAT16_MARGIN


def load_arguments(
    tokenizer: str | None,
    dtype: torch.dtype | None,
    loras: Sequence[str],
    aux: Sequence[str],
    variant: str | None,
) -> dict[str, str | list[str]]:
    """The arguments of `load` that change images and differ from the defaults, for metadata."""
    named = {
        "tokenizer": tokenizer,
        "dtype": None if dtype in (None, torch.float32) else str(dtype).removeprefix("torch."),
        "loras": list(map(str, loras)),
        "aux": list(map(str, aux)),
        "variant": variant,
    }
    return {name: value for name, value in named.items() if value}


def to_int8(model: str, transformer: nn.Module, aux: Sequence[str]) -> None:
    """Quantize the blocks of a transformer to 8 bits.

    Auxiliary networks refer to the fingerprint of the full network, which is computed before.
    """
    if find_auxiliary(model_folder(model), aux):
        name_origin(transformer, base_fingerprint(transformer))
    quantize(transformer, SCHEMES["int8"])


def refuse_low_precision(transformer: nn.Module, model: str) -> None:
    """Raise a ValueError for a quantized model, whose weights a LoRA cannot change."""
    if quantized_layers(transformer):
        raise ValueError(
            f"{model} is quantized: apply a LoRA to the full model (then --dtype int8)"
        )


def auxiliary_networks(
    model: str, transformer: nn.Module, paths: Sequence[str], *, packed: bool
) -> AuxiliaryNetworks:
    """The auxiliary networks in a model's folder, and those of ``paths``.

    Raises:
        ValueError: one of ``paths`` cannot be read, or is not an auxiliary network.
    """
    weights = next(transformer.parameters())
    fingerprint = cache(lambda: base_fingerprint(transformer))

    def read(kind: str, path: Path) -> nn.Module:
        network = load_model(path, dtype=weights.dtype, device=weights.device)
        check_auxiliary(path, network, transformer, fingerprint)
        if packed:
            pack(network)
        return network

    return AuxiliaryNetworks(model, find_auxiliary(model_folder(model), paths), read)


def settings_of(own: PresetFile, parts: Parts, preset: str | None) -> tuple[Settings, PresetFile]:
    """The settings of a model's preset, by default those of its default one, and its presets.

    A public model without presets of its own has those of its authors, by default with the mask
    schedule that its scheduler names.

    Raises:
        ValueError: there is no such preset.
    """
    presets, known = own, parts.published
    if known and known.presets and not presets.by_name:
        presets = read_presets(PUBLISHED_PRESETS / f"{known.presets}.toml")
        if preset is None and parts.schedule is not None:
            usual = presets[presets.default or ""].settings
            return usual.updated(schedule=parts.schedule), presets
    name = presets.default if preset is None else preset
    if name is not None:
        return presets[name].settings, presets
    return usual_settings(parts), presets


def load_parts(
    model: str,
    tokenizer: str | None = None,
    device: str = "cpu",
    dtype: torch.dtype | None = None,
    variant: str | None = None,
) -> Parts:
    """The networks of a model, without guidance or LoRAs; see `load`.

    Raises:
        ValueError: no such model, or a part is missing or broken.
    """
    place = model_path(model)
    if not place.exists() and not in_hub(model):
        raise ValueError(
            unknown("model", model, SHIPPED_MODELS) + "; or a path or a hub id owner/name"
        )
    refuse_several(model, place)
    if tokenizer is None and is_public(model, place):
        return load_public(model, dtype, device, variant)
    return load_ours(model, place, tokenizer, dtype, device)


def usual_settings(parts: Parts) -> Settings:
    """The default settings of a model without presets."""
    if parts.schedule is None:
        return Settings()
    return PUBLIC_SETTINGS.updated(schedule=parts.schedule)


def conditioner(model: str, parts: Parts) -> Conditioner:
    """The conditioner of a model of prompts or of classes."""
    if parts.text is not None:
        return Prompts(parts.text, reading_of(parts.transformer))
    return Classes(model, parts.transformer, parts.class_names)  # type: ignore[arg-type]


def check_pair(transformer: nn.Module, tokenizer: nn.Module) -> None:
    """Raise a ValueError unless the transformer was made for the codes of the tokenizer."""
    if not supports(transformer, SupportsPredict):
        raise CheckpointError(f"{type(transformer).__name__} is not a transformer")
    if not supports(tokenizer, Tokenizer):
        raise CheckpointError(f"{type(tokenizer).__name__} is not a tokenizer")
    codes: tuple[Transformer, Tokenizer] = (transformer, tokenizer)  # type: ignore[assignment]
    known = codes[0].codebook_size ** codes[0].layout.parts
    if known != codes[1].codebook_size:
        raise CheckpointError(
            f"the transformer knows {known} codes, the tokenizer "
            f"{codes[1].codebook_size}: they do not belong together"
        )
    made: TokenLayout | None = getattr(tokenizer, "layout", None)  # of one whose ids are a row
    shape = codes[0].layout.shape
    if (made is not None or len(shape) == 1) and (made is None or made.shape != shape):
        raise CheckpointError(
            f"the transformer's tokens are {codes[0].layout}, the tokenizer's "
            f"{made or 'a grid'}: they do not belong together"
        )
