"""Initial weights from a checkpoint: tensors that fit are copied, all others stay random.

Shape legend: V rows of an embedding, D width.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from demask.checkpoint.hub import locate, locate_pipeline
from demask.checkpoint.pipeline import OUR_PARTS, is_public
from demask.checkpoint.read import Tensors, read_tensors
from demask.training.captioned import TextToImage
from demask.training.tasks.text import MeissonicRecipe
from demask.transformer.meissonic import Meissonic

log = logging.getLogger(__name__)

EMBEDDING = "embed.embeddings.weight"


def transformer_of(checkpoint: str) -> Path:
    """The path of a text-to-image model's transformer.

    Args:
        checkpoint: a transformer's file or folder, a model's folder, or a folder or hub id in
            Meissonic's layout.

    Raises:
        ValueError: there is no such checkpoint.
    """
    place = Path(checkpoint)
    if is_public(checkpoint, place):
        return locate_pipeline(checkpoint) / "transformer"
    ours = place / OUR_PARTS[0]
    return ours if ours.is_file() else locate(checkpoint)


def with_its_tokenizer(recipe: MeissonicRecipe, checkpoint: str) -> MeissonicRecipe:
    """The recipe with the text encoder that a checkpoint's transformer was trained with.

    The recipe is unchanged if there is none.

    Raises:
        ValueError: there is no such checkpoint.
    """
    folder = transformer_of(checkpoint).parent / "text_encoder"
    if not folder.is_dir():
        return recipe
    return replace(recipe, text=replace(recipe.text, pretrained=str(folder)))


def start_from(module: nn.Module, checkpoint: str) -> None:
    """Copy the tensors of a checkpoint that have the same shapes; all others stay random.

    For example, a class embedding does not fit another number of classes. Only the transformer of a
    text-to-image model is copied; for its text encoder see `with_its_tokenizer`.

    Raises:
        ValueError: the checkpoint cannot be read, or none of its tensors fits.
    """
    if isinstance(module, TextToImage):
        module, path = module.transformer, transformer_of(checkpoint)
    else:
        path = locate(checkpoint)
    given = read_tensors(path)[0]
    if isinstance(module, Meissonic):
        given = with_our_vocabulary(given, module)
    own = module.state_dict()
    fitting = {n: t for n, t in given.items() if n in own and own[n].shape == t.shape}
    if not fitting:
        raise ValueError(f"{checkpoint}: none of its tensors fits a {type(module).__name__}")
    module.load_state_dict(fitting, strict=False)
    fresh = sorted(set(own) - set(fitting))
    log.info("starting from %s%s", checkpoint, f"; random: {', '.join(fresh)}" if fresh else "")


def with_our_vocabulary(given: Tensors, model: Meissonic) -> Tensors:
    """The tensors without the unused rows of Meissonic's embedding between codes and mask token."""
    head = given.get("mlm_layer.conv2.weight")
    if EMBEDDING not in given or head is None or len(head) != model.codebook_size:
        return given
    rows_VD = given[EMBEDDING]
    return given | {EMBEDDING: torch.cat([rows_VD[: model.codebook_size], rows_VD[-1:]])}
