"""Load a whole model, networks and vocabulary, from our layout or the public hub layout."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from demask.checkpoint.architectures import ARCHITECTURES
from demask.checkpoint.hub import has_pipeline, is_hub_id, locate, locate_pipeline, refuse_editing
from demask.checkpoint.identify import described
from demask.checkpoint.layout import HALF, PICKLED, SAFE, conventional, parse_json
from demask.checkpoint.load import CheckpointError, load_model, read_metadata
from demask.checkpoint.published import PUBLISHED_MODELS, PublishedModel, published_model
from demask.checkpoint.read import read_tensors
from demask.checkpoint.text_encoder import fitted, load_text_encoder
from demask.transformer.condition import TextEncoder
from demask.transformer.protocols import SupportsPredict, SupportsPrompts, supports
from demask.types import Tokenizer

OUR_PARTS = ("transformer.safetensors", "tokenizer.safetensors")
PUBLIC_PARTS = ("transformer", "vqvae", "text_encoder", "tokenizer")
INDEX = "model_index.json"


@dataclass(frozen=True)
class Parts:
    """The networks of a model.

    Attributes:
        transformer: ids + condition -> logits.
        tokenizer: pixels <-> ids.
        text: text encoder of a text model, or None.
        class_names: of a class-conditional model.
        schedule: the mask schedule of a public layout, or None.
        published: the public model that the transformer is, or None.
    """

    transformer: nn.Module
    tokenizer: nn.Module
    text: TextEncoder | None = None
    class_names: tuple[str, ...] = ()
    schedule: str | None = None
    published: PublishedModel | None = None


def is_public(model: str, place: Path) -> bool:
    """Whether a name is a pipeline in the public layout, on disk or in the hub.

    Raises:
        CheckpointError: the hub has no such repository, or cannot be reached.
    """
    if place.exists() or not is_hub_id(model):
        return (place / INDEX).is_file()
    return has_pipeline(model)


def refuse_several(model: str, place: Path) -> None:
    """Raise a CheckpointError for a hub repository that publishes several models as files."""
    files = [row.source for row in PUBLISHED_MODELS.values() if row.source.startswith(f"{model}/")]
    if files and not place.exists():
        raise CheckpointError(f"{model} holds several models; name one: {', '.join(files)}")


def load_public(
    model: str, dtype: torch.dtype | None, device: str, variant: str | None = None
) -> Parts:
    """Load a pipeline in the public layout: ``model_index.json`` and its parts.

    Args:
        model: a folder or a hub id.
        dtype: dtype of the weights; float32 by default.
        device: device of the networks.
        variant: variant of the files, such as ``fp16``; for the default see `read_tensors`.

    Raises:
        CheckpointError: a part is missing or broken; the line says which.
    """
    # download only what will be read
    folder = locate_pipeline(model, variant=variant or (HALF if dtype == torch.float16 else None))
    if absent := [part for part in PUBLIC_PARTS if not (folder / part).is_dir()]:
        raise CheckpointError(
            f"{folder} lacks {', '.join(absent)}; a model of prompts needs the folders "
            f"{', '.join(PUBLIC_PARTS)}"
        )
    dtype = dtype or torch.float32
    options: dict[str, Any] = {"dtype": dtype, "device": device, "variant": variant}
    transformer = load_model(folder / "transformer", **options)
    tokenizer = load_model(folder / "vqvae", **options)
    text = load_text_encoder(folder / "text_encoder", folder / "tokenizer", dtype, device, variant)
    settings = folder / "scheduler" / "scheduler_config.json"
    facts = parse_json(settings.read_bytes(), settings) if settings.is_file() else {}
    mask_id = getattr(transformer, "mask_id", None)
    if facts.get("mask_token_id", mask_id) != mask_id:
        raise CheckpointError(
            f"{settings}: mask_token_id {facts['mask_token_id']}, the transformer's is {mask_id}"
        )
    schedule = facts.get("masking_schedule", "cosine")
    known = published_model(transformer, model)
    return Parts(transformer, tokenizer, text, schedule=schedule, published=known)


def load_ours(
    model: str,
    place: Path,
    tokenizer: str | None,
    dtype: torch.dtype | None,
    device: str,
    text_encoder: str | None = None,
) -> Parts:
    """Load a folder that training wrote, or a transformer checkpoint and its parts.

    A folder may hold both under any names. Parts that are not named and not beside the transformer
    are those of `PUBLISHED_MODELS`, if the transformer comes from the hub. The tokenizer may be a
    whole pipeline, whose text encoder is then taken, too: one-step generators are published without
    either.

    Raises:
        CheckpointError: a part is missing or broken; the line says which.
    """
    refuse_pipeline(model, place)
    beside = place.parent if place.is_file() else place
    source, files = str(place / OUR_PARTS[0]), networks_in(place)
    if not Path(source).is_file():
        source = files.get("transformer", model)
    transformer = load_model(source, dtype=dtype or torch.float32, device=device)
    check_part(source, transformer, SupportsPredict, "transformer")
    known = published_model(transformer, model)
    other = Path(files.get("tokenizer", beside / OUR_PARTS[1]))
    pixels = tokenizer or part_of(model, other, known.tokenizer if known else None)
    if pixels is None:
        raise CheckpointError(
            f"{model} has no tokenizer beside it: a folder needs transformer.safetensors and "
            f"tokenizer.safetensors, or name one (tokenizer=..., --tokenizer){hint(known)}"
        )
    whole = is_public(pixels, Path(pixels))
    part = "vqvae" if whole else ""
    # half precision saves little in convolutions and may overflow
    network = load_model(pixels, subfolder=part, dtype=torch.float32, device=device)
    check_part(pixels, network, Tokenizer, "tokenizer")
    if not supports(transformer, SupportsPrompts):
        names = class_names(source, transformer)
        return Parts(transformer, network, class_names=names, published=known)
    public = known.text_encoder if known else None
    folder = text_encoder or part_of(model, beside / "text_encoder", public)
    if folder is None and not whole:
        raise CheckpointError(
            f"{model} reads prompts and lacks a text encoder: no folder {beside / 'text_encoder'}"
        )
    text = text_encoder_of(folder, pixels, dtype or torch.float32, device)
    return Parts(transformer, network, fitted(text, transformer, network), published=known)


def refuse_pipeline(model: str, place: Path) -> None:
    """Raise a CheckpointError for a whole pipeline, whose parts are not chosen one by one."""
    refuse_editing(place)
    if (place / INDEX).is_file():
        raise CheckpointError(f"{model} is a whole pipeline with a tokenizer of its own: name none")


def text_encoder_of(
    folder: str | None, pipeline: str, dtype: torch.dtype, device: str
) -> TextEncoder:
    """Load the text encoder in a folder; without one, that of a pipeline."""
    place = locate(folder) if folder else locate(pipeline, "text_encoder")
    words = None if folder else locate(pipeline, "tokenizer")
    return load_text_encoder(place, words, dtype, device)


def networks_in(folder: Path) -> dict[str, str]:
    """The files of a folder with several weights files of any names, by the part that each holds.

    Raises:
        CheckpointError: a file holds no known network, or two hold the same part.
    """
    if not folder.is_dir() or (folder / OUR_PARTS[0]).is_file():
        return {}
    names = sorted(path.name for path in folder.iterdir() if path.suffix in (SAFE, *PICKLED))
    if len(names) < 2 or conventional(names):
        return {}
    found: dict[str, str] = {}
    for path in map(folder.joinpath, names):
        try:
            part = ARCHITECTURES[described(*read_tensors(path))[0]].part
        except CheckpointError as error:
            raise CheckpointError(f"{path}: {str(error).removeprefix(f'{path}: ')}") from None
        if part in found:
            raise CheckpointError(
                f"{folder}: both {Path(found[part]).name} and {path.name} hold a {part}; name one"
            )
        found[part] = str(path)
    return found


def check_part(source: str, network: nn.Module, part: type, name: str) -> None:
    """Raise a CheckpointError for a network that is not the part of a model that it should be."""
    if not supports(network, part):
        raise CheckpointError(f"{source} holds a {type(network).__name__}, which is not a {name}")


def part_of(model: str, beside: Path, public: str | None) -> str | None:
    """A part of a model: the one beside it, or the public one of a model of the hub."""
    if beside.exists():
        return str(beside)
    return public or None if not Path(model).exists() else None


def hint(known: PublishedModel | None) -> str:
    """Which public tokenizer is meant, for a message."""
    return f"; that of {known.source} is {known.tokenizer}" if known and known.tokenizer else ""


def class_names(source: str, transformer: nn.Module) -> tuple[str, ...]:
    """The class names in the checkpoint's metadata, or the class numbers.

    Raises:
        CheckpointError: names that are not texts, or not one for each class.
    """
    count: int = getattr(getattr(transformer, "config", None), "num_classes", 0)
    named = read_metadata(source).get("class_names") or ()
    if not isinstance(named, list | tuple) or not all(isinstance(name, str) for name in named):
        raise CheckpointError(f"{source}: class_names should be a list of texts, not {named!r:.60}")
    if named and len(named) != count:
        raise CheckpointError(f"{source}: {len(named)} class names for {count} classes")
    return tuple(named) or tuple(map(str, range(count)))
