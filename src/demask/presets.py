"""Models by name: which files, which settings, and how good they were measured to be."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn

from demask.acceleration.packing import pack
from demask.checkpoint.load import CheckpointError, load_model, read_metadata
from demask.generator import Generator
from demask.registry import Table, unknown
from demask.settings import Settings
from demask.types import Tokenizer, Transformer

WEIGHTS = Path(__file__).parent / "weights"


@dataclass(frozen=True)
class Preset:
    """A model that ships with Demask.

    Attributes:
        about: one line for ``demask models list``.
        license: of the weights.
        score: the measured number, with the settings that it was measured at.
        settings: the defaults.
    """

    about: str
    license: str
    score: str
    settings: Settings = field(default_factory=Settings)


PRESETS: Table[Preset] = Table(
    "model",
    {
        "cifar10": Preset(
            about="32x32 pictures of the ten CIFAR-10 classes",
            license="Apache-2.0; trained on CIFAR-10 (A. Krizhevsky, 2009)",
            score="not measured yet; reconstruction and cross-entropy are in docs/numbers.md",
            settings=Settings(steps=12, noise=4.5, guidance=6.0, guidance_schedule="ramp"),
        ),
    },
)


def load(
    model: str,
    tokenizer: str | None = None,
    device: str | None = None,
    dtype: torch.dtype | None = None,
) -> Generator:
    """A generator from a shipped model's name, a folder, a file or a hub id.

    Args:
        model: a row of `PRESETS`; or a folder with ``transformer.safetensors`` and
            ``tokenizer.safetensors``, as training writes them; or a transformer checkpoint.
        tokenizer: a tokenizer checkpoint, where the model comes without one.
        device: ``cpu``, ``cuda``, ...; by default a GPU where there is one.
        dtype: of the weights; by default float32.

    Raises:
        ValueError: nothing of that name, or a checkpoint that is broken or incomplete.
    """
    place = WEIGHTS / model if model in PRESETS else Path(model)
    if model not in PRESETS and not place.exists() and "/" not in model:
        raise ValueError(unknown("model", model, PRESETS) + "; or a path or a hub id owner/name")
    settings = PRESETS[model].settings if model in PRESETS else Settings()
    pair = place / "transformer.safetensors", place / "tokenizer.safetensors"
    if all(path.is_file() for path in pair):
        model_source, tokenizer_source = str(pair[0]), tokenizer or str(pair[1])
    elif tokenizer is None:
        raise CheckpointError(
            f"{model} has no tokenizer beside it: a folder needs transformer.safetensors and "
            "tokenizer.safetensors, or name one (tokenizer=..., --tokenizer)"
        )
    else:
        model_source, tokenizer_source = model, tokenizer
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    network = load_model(model_source, dtype=dtype or torch.float32).to(device).eval()
    pixels = load_model(tokenizer_source, dtype=torch.float32).to(device).eval()
    check_pair(network, pixels)
    pack(network)
    count: int = network.config.num_classes  # type: ignore[union-attr, assignment]
    names = read_metadata(model_source).get("class_names") or map(str, range(count))
    return Generator(model, pixels, network, tuple(names), settings)  # type: ignore[arg-type]


def check_pair(transformer: nn.Module, tokenizer: nn.Module) -> None:
    """Raise a ValueError unless one module is a transformer for the other's codes."""
    if not hasattr(transformer, "predict"):
        raise CheckpointError(f"{type(transformer).__name__} is not a transformer")
    if not hasattr(tokenizer, "decode"):
        raise CheckpointError(f"{type(tokenizer).__name__} is not a tokenizer")
    codes: tuple[Transformer, Tokenizer] = (transformer, tokenizer)  # type: ignore[assignment]
    if codes[0].codebook_size != codes[1].codebook_size:
        raise CheckpointError(
            f"the transformer knows {codes[0].codebook_size} codes, the tokenizer "
            f"{codes[1].codebook_size}: they do not belong together"
        )
