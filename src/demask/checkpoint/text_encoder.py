"""Read and write a text encoder: a CLIP text model and its vocabulary, in their public layout."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from demask.checkpoint.load import load_model
from demask.checkpoint.read import CheckpointError
from demask.files import write_atomically, write_text
from demask.transformer.clip_text import ClipText, ClipTextConfig
from demask.transformer.condition import (
    PromptReading,
    TextEncoder,
    TextTokenizer,
    load_text_tokenizer,
)
from demask.transformer.protocols import SupportsPromptReading, supports
from demask.types import ReadsCondition


def clip_text_to_public(config: ClipTextConfig, tokenizer: TextTokenizer) -> dict[str, Any]:
    """Convert our configuration to the public ``config.json``."""
    return {
        "architectures": ["CLIPTextModelWithProjection"],
        "model_type": "clip_text_model",
        "vocab_size": config.vocabulary,
        "bos_token_id": tokenizer.start_id,
        "eos_token_id": config.end_id,
        "pad_token_id": tokenizer.pad_id,
        "max_position_embeddings": config.length,
        "hidden_size": config.width,
        "intermediate_size": config.mlp_width,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "projection_dim": config.pooled_width,
        "hidden_act": config.activation,
        "layer_norm_eps": config.norm_eps,
    }


def load_text_encoder(
    folder: Path,
    tokenizer: Path | None = None,
    dtype: torch.dtype | None = None,
    device: torch.device | str = "cpu",
    variant: str | None = None,
) -> TextEncoder:
    """Load a text encoder.

    Args:
        folder: folder of ``config.json`` and the weights.
        tokenizer: folder of ``vocab.json`` and ``merges.txt``; by default ``folder`` itself or the
            folder ``tokenizer`` next to it, as in public pipelines.
        dtype: dtype of the weights; by default as stored.
        device: device of the network.
        variant: variant of the weights' file, such as ``fp16``.

    Raises:
        CheckpointError: a part is missing or broken.
    """
    model = load_model(
        folder, architecture="clip_text", dtype=dtype, device=device, variant=variant
    )
    assert isinstance(model, ClipText)
    tokenizer = tokenizer or tokenizer_folder(folder)
    try:
        vocabulary = load_text_tokenizer(tokenizer)
    except ValueError as error:
        raise CheckpointError(str(error)) from None
    entries = vocabulary.encoding.get_vocab_size()
    if entries > model.config.vocabulary:
        raise CheckpointError(
            f"{tokenizer}: {entries} text tokens, the text encoder in {folder} has "
            f"{model.config.vocabulary}"
        )
    vocabulary.length = min(vocabulary.length, model.config.length)
    return TextEncoder(vocabulary, model)


def reading_of(transformer: nn.Module) -> PromptReading:
    """How a model of prompts reads them."""
    if supports(transformer, SupportsPromptReading):
        return transformer.prompt_reading()
    return PromptReading()


def fitted(text: TextEncoder, transformer: nn.Module, tokenizer: nn.Module) -> TextEncoder:
    """A text encoder as the networks of a model read it.

    Args:
        text: as it is stored.
        transformer: may pad prompts in a way of its own.
        tokenizer: may have a decoder that reads the text.

    Raises:
        CheckpointError: the networks were made for another text encoder.
    """
    config = text.model.config
    for network in (transformer, tokenizer):
        for name, own in (("text_width", config.width), ("pooled_width", config.pooled_width)):
            wanted = getattr(getattr(network, "config", None), name, own)
            if wanted != own:
                raise CheckpointError(
                    f"{type(network).__name__} reads texts of {name} {wanted}, the text encoder "
                    f"has {own}: they do not belong together"
                )
    pad_id, words = reading_of(transformer).pad_id, text.tokenizer
    pad = None if pad_id is None else words.encoding.id_to_token(pad_id)
    if pad is not None:
        words = TextTokenizer(words.encoding, words.length, pad)
    return TextEncoder(words, text.model, supports(tokenizer, ReadsCondition))


def tokenizer_folder(folder: Path) -> Path:
    """The folder of a text encoder's vocabulary."""
    beside = folder.with_name("tokenizer")
    inside = (folder / "vocab.json").is_file() or not (beside / "vocab.json").is_file()
    return folder if inside else beside


def save_text_encoder(folder: Path, text: TextEncoder, dtype: torch.dtype | None = None) -> None:
    """Write a text encoder, as `load_text_encoder` and transformers read it."""
    tensors = {name: t.detach().cpu().contiguous() for name, t in text.model.state_dict().items()}
    if dtype is not None:
        tensors = {name: t.to(dtype) for name, t in tensors.items()}
    facts = json.dumps(clip_text_to_public(text.model.config, text.tokenizer), indent=1)
    text.tokenizer.save(folder)
    write_text(folder / "config.json", facts)
    header = {"format": "pt"}
    write_atomically(
        folder / "model.safetensors", lambda temporary: save_file(tensors, temporary, header)
    )
