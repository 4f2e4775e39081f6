"""From a recipe to a trained model in a folder.

Both trainings of a model share one folder: ``tokenizer.safetensors`` and
``transformer.safetensors`` land there, and `demask.load` takes it as it is. Adapters of a model
have a folder of their own.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch

from demask.assembly import load, load_parts
from demask.checkpoint.load import load_model
from demask.checkpoint.pipeline import Parts
from demask.data.images import ImageDataset
from demask.data.tokens import TokenCache, build_tokens
from demask.data.views import Views
from demask.training.loop import Trainer, main_process_first
from demask.training.recipes import (
    ClassifierTraining,
    LoraTraining,
    MaskedTraining,
    ScorerTraining,
    SelfGuidanceTraining,
    ShortcutTraining,
    TokenCriticTraining,
    TokenizerTraining,
)
from demask.training.start import start_from, with_its_tokenizer
from demask.training.task import Task
from demask.training.train_classifier import ClassifierTask
from demask.training.train_lora import LoraTask
from demask.training.train_scorer import ScorerTask
from demask.training.train_self_guidance import PromptSelfGuidanceTask, SelfGuidanceTask
from demask.training.train_shortcut import ShortcutTask
from demask.training.train_token_critic import TokenCriticTask
from demask.training.train_tokenizer import TokenizerTask
from demask.transformer.meissonic import Meissonic
from demask.types import Tokenizer

log = logging.getLogger(__name__)


def train_tokenizer(
    recipe: TokenizerTraining, out: Path, strict: bool = False, init: str | None = None
) -> Path:
    """Train a tokenizer, or go on where it stopped; return its file.

    Args:
        recipe: what to train.
        out: the model's folder.
        strict: an unreadable image is an error.
        init: a checkpoint to start from; by default random weights.

    Raises:
        ValueError: data that cannot be read, or a folder that holds another run.
    """
    images, held_out = recipe.data.open(strict)
    torch.manual_seed(recipe.run.seed)
    task = TokenizerTask(recipe.tokenizer, images, held_out)
    if init:
        start_from(task.modules[task.main], init)
    return Trainer(task, recipe.run, out).fit()


def train_masked(
    recipe: MaskedTraining,
    out: Path,
    strict: bool = False,
    init: str | None = None,
    tokenizer: Path | None = None,
) -> Path:
    """Train a masked transformer on a tokenizer's ids, or go on; return its file.

    Args:
        recipe: what to train.
        out: the model's folder.
        strict: an unreadable image is an error.
        init: a checkpoint to start from, of a text model with its text encoder; by default random
            weights.
        tokenizer: its checkpoint; by default the one in ``out``.

    Raises:
        ValueError: no tokenizer, data that cannot be read, or a folder that holds another run.
    """
    path = tokenizer or out / "tokenizer.safetensors"
    if not path.exists():
        raise ValueError(
            f"no tokenizer at {path}: run 'demask train tokenizer' with the same --out"
        )
    if init and recipe.meissonic:
        recipe = replace(recipe, meissonic=with_its_tokenizer(recipe.meissonic, init))
    pixels = load_model(str(path), dtype=torch.float32).eval()
    pixels = pixels.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    images, held_out = recipe.data.open(strict)
    tokens, measured = both_cached(pixels, images, held_out, recipe.views, out)
    torch.manual_seed(recipe.run.seed)
    task = recipe.task(tokens, measured, pixels.cpu())
    if init:
        start_from(task.modules[task.main], init)
    return Trainer(task, recipe.run, out).fit()


def train_lora(recipe: LoraTraining, model: str, out: Path, strict: bool = False) -> Path:
    """Train adapters of a model that reads prompts, or go on; return their file.

    Args:
        recipe: what to train.
        model: a shipped model, a folder that training wrote, or a folder or hub id in Meissonic's
            layout.
        out: the folder of the adapters.
        strict: an unreadable image is an error.

    Raises:
        ValueError: no such model, or one that generates classes; data that cannot be read or has no
            captions; or a folder that holds another run.
    """
    measured_on = recipe.data.held_out or recipe.data.pictures
    images, held_out = replace(recipe.data, held_out=measured_on).open(strict)
    parts = load_parts(model)
    transformer, text, pixels = parts.transformer, parts.text, cast(Any, parts.tokenizer)
    if not isinstance(transformer, Meissonic) or text is None:
        raise ValueError(f"{model} generates classes; a LoRA adapts a model of prompts")
    views = recipe.views.of(transformer, pixels)
    tokens, measured = both_cached(pixels, images, held_out, views, out)
    torch.manual_seed(recipe.run.seed)
    base = Path(model).resolve().name if Path(model).exists() else model
    task = LoraTask(recipe.lora, base, transformer, text, tokens, measured, pixels.cpu())
    return Trainer(task, recipe.run, out).fit()


def train_classifier(recipe: ClassifierTraining, out: Path, strict: bool = False) -> Path:
    """Train a classifier to measure with, or go on where it stopped; return its file.

    Args:
        recipe: what to train.
        out: its folder.
        strict: an unreadable image is an error.

    Raises:
        ValueError: data that cannot be read or has other classes, or a folder that holds another
            run.
    """
    images, held_out = recipe.data.open(strict)
    torch.manual_seed(recipe.run.seed)
    return Trainer(ClassifierTask(recipe.classifier, images, held_out), recipe.run, out).fit()


def train_scorer(recipe: ScorerTraining, out: Path, strict: bool = False) -> Path:
    """Train a scorer of images and words, or go on where it stopped; return its file.

    Args:
        recipe: what to train.
        out: its folder.
        strict: an unreadable image is an error.

    Raises:
        ValueError: data that cannot be read or has no captions, no such codec, or a folder that
            holds another run.
    """
    images, held_out = recipe.data.open(strict)
    codec = recipe.scorer.codec
    tokenizer = cast(Any, load_parts(codec.model).tokenizer) if codec else None
    torch.manual_seed(recipe.run.seed)
    dtype = torch.bfloat16 if recipe.run.precision == "bf16" else torch.float32
    task = ScorerTask(recipe.scorer, images, held_out, tokenizer, recipe.run.seed, dtype)
    return Trainer(task, recipe.run, out).fit()


def train_self_guidance(
    recipe: SelfGuidanceTraining, model: str, out: Path, strict: bool = False
) -> Path:
    """Train self-guidance's module beside a model, or go on; return its file.

    Args:
        recipe: how to train.
        model: a shipped model, a folder that training wrote, a transformer with a tokenizer beside
            it, or a folder or hub id in Meissonic's layout.
        out: the folder of the module.
        strict: an unreadable image is an error.

    Raises:
        ValueError: no such model; data that cannot be read, or has other classes or no captions; or
            a folder that holds another run.
    """
    parts = load_parts(model)
    data = data_for(parts, recipe, out, strict)
    torch.manual_seed(recipe.run.seed)
    transformer: Any = parts.transformer
    task: Task
    if parts.text is not None:
        task = PromptSelfGuidanceTask(recipe.self_guidance, transformer, parts.text, *data)
    else:
        task = SelfGuidanceTask(recipe.self_guidance, transformer, *data)
    return Trainer(task, recipe.run, out).fit()


def train_token_critic(
    recipe: TokenCriticTraining, model: str, out: Path, strict: bool = False
) -> Path:
    """Train a Token-Critic beside a model of classes, or go on; return its file.

    Args:
        recipe: how to train.
        model: a shipped model, a folder that training wrote, or a transformer with a tokenizer
            beside it.
        out: the folder of the critic.
        strict: an unreadable image is an error.

    Raises:
        ValueError: no such model, or one of prompts; data that cannot be read or has other classes;
            or a folder that holds another run.
    """
    parts = load_parts(model)
    if parts.text is not None:
        raise ValueError(f"{model} reads prompts; a Token-Critic is for a model of classes")
    data = data_for(parts, recipe, out, strict)
    torch.manual_seed(recipe.run.seed)
    task = TokenCriticTask(recipe.token_critic, parts.transformer, *data)
    return Trainer(task, recipe.run, out).fit()


def train_shortcut(
    recipe: ShortcutTraining, model: str, out: Path, prompts: Sequence[str] = ()
) -> Path:
    """Train a shortcut beside a model, or go on; return its file.

    Args:
        recipe: how to train.
        model: a shipped model, a folder that training wrote, a transformer with a tokenizer beside
            it, or a folder or hub id in Meissonic's layout.
        out: the folder of the shortcut.
        prompts: what a model of prompts generates to learn from.

    Raises:
        ValueError: no such model, one of prompts without any, settings that it refuses, or a
            folder that holds another run.
    """
    generator = load(model, low_memory=True)
    if not (generator.class_names or prompts):
        raise ValueError(f"{model} generates prompts: name some to learn from with --prompts FILE")
    if generator.class_names and prompts:
        raise ValueError(f"{model} generates classes and has no prompts: leave --prompts out")
    generator = replace(generator, settings=generator.chosen(**recipe.shortcut.settings))
    torch.manual_seed(recipe.run.seed)
    task = ShortcutTask(recipe.shortcut, generator, list(prompts) or None)
    return Trainer(task, recipe.run, out).fit()


def data_for(
    parts: Parts, recipe: SelfGuidanceTraining | TokenCriticTraining, out: Path, strict: bool
) -> tuple[TokenCache, TokenCache, Tokenizer]:
    """The tokens to train and to measure on beside a model, and its tokenizer, on the CPU."""
    names = recipe.data.class_names or parts.class_names
    images, held_out = replace(recipe.data, class_names=names).open(strict)
    transformer, pixels = cast(Any, parts.transformer), cast(Any, parts.tokenizer)
    views = recipe.views.of(transformer, pixels)
    tokens, measured = both_cached(pixels, images, held_out, views, out)
    return tokens, measured, pixels.cpu()


def both_cached(
    tokenizer: Any, images: ImageDataset, held_out: ImageDataset, views: Views, out: Path
) -> tuple[TokenCache, TokenCache]:
    """The tokens of the images to train on, and of the plain view of those to measure on.

    The tokenizer, a module, is left on the GPU where there is one.
    """
    tokenizer = tokenizer.to("cuda" if torch.cuda.is_available() else "cpu")
    with main_process_first():
        tokens = cached(tokenizer, images, views, out, "training")
        return tokens, cached(tokenizer, held_out, replace(views, count=1), out, "held-out")


def cached(
    tokenizer: Tokenizer, images: ImageDataset, views: Views, out: Path, what: str
) -> TokenCache:
    """The images' tokens, made on the first run."""
    tenth = max(len(images) // 10, 1)
    on_cpu = next(cast(Any, tokenizer).parameters()).device.type == "cpu"
    batch = 128 if on_cpu else 1024

    def progress(done: int) -> None:
        if done % tenth < batch or done == len(images):
            log.info("tokenising the %s images: %d of %d", what, done, len(images))

    return build_tokens(tokenizer, images, views, out / "tokens", progress, batch)
