"""Quantize a model: calibrate it on images, round the weights, fine-tune and save it.

Shape legend: B batch, L tokens, C H W channels, rows and columns of pixels.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from demask.acceleration.quantization import SCHEMES, Rows, own_rows, quantize, quantized_layers
from demask.acceleration.quantization_calibration import calibrate
from demask.auxiliary import AUXILIARY
from demask.checkpoint.architectures import ARCHITECTURES
from demask.checkpoint.lora import base_fingerprint
from demask.checkpoint.quantized import name_origin, save_quantized
from demask.checkpoint.save import save_model
from demask.checkpoint.text_encoder import save_text_encoder
from demask.conditioning import ConditionInput, Prompts
from demask.data import open_images
from demask.data.images import ImageSample
from demask.data.transforms import to_tensor
from demask.files import copy_file, copy_files, files_written_together
from demask.generator import Generator
from demask.preset_file import FILE, Preset, PresetFile, write_presets
from demask.presets import model_folder
from demask.training.masking import Masking, mask_tokens
from demask.training.quantize_tuning import finetune_quantized
from demask.types import Condition, Step

UNIFORM = Masking("uniform", corruption=0.0)
"""All mask ratios are equally likely, since all occur in decoding."""


@dataclass(frozen=True)
class Quantization:
    """How to quantize a model.

    Attributes:
        scheme: a row of `SCHEMES`.
        share: fraction of layers with int8 activations under ``w4a8``; None = the default.
        pictures: number of calibration images, evenly spread over the data.
        batch: images per batch.
        tune: steps of fine-tuning of the scales, biases and norms; 0 = none.
        seed: seed of the masks.
    """

    scheme: str = "int8"
    share: float | None = None
    pictures: int = 256
    batch: int = 32
    tune: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        scheme = SCHEMES[self.scheme]
        if self.share is not None and not (0 < scheme.share < 1 and 0 <= self.share <= 1):
            raise ValueError(
                f"share must be within 0 and 1 and needs scheme w4a8, not {self.share} with "
                f"{self.scheme}"
            )
        if min(self.pictures, self.batch) < 1 or self.tune < 0:
            raise ValueError("images and batch must be at least 1, tuning steps at least 0")

    def check_data(self, data: str | None) -> None:
        """Raise a ValueError if images are needed and none are named."""
        if data is None and SCHEMES[self.scheme].calibrated:
            raise ValueError(f"{self.scheme} is calibrated on images: name some with --data PATH")
        if data is None and self.tune:
            raise ValueError("fine-tuning needs images: name some with --data PATH")


@dataclass(frozen=True)
class Examples:
    """Masked images in batches, the same ones each time.

    Attributes:
        ids_BL: the true ids of all images.
        condition: the condition of each image.
        generator: the model.
        recipe: the batch size and the seed.
    """

    ids_BL: Tensor
    condition: Condition
    generator: Generator
    recipe: Quantization

    def batches(self, turn: int = 0) -> Iterator[tuple[Tensor, Condition, Step, Tensor]]:
        """Input ids, condition, step and masked positions of each batch, masked by ``turn``."""
        network, device = self.generator.transformer, self.generator.device
        random = torch.Generator().manual_seed(self.recipe.seed + turn)
        for part in torch.arange(len(self.ids_BL)).split(self.recipe.batch):
            ids_BL = self.ids_BL[part]
            masked = mask_tokens(ids_BL, UNIFORM, network.codebook_size, network.mask_id, random)
            ratio_B = masked.masked_BL.double().mean(-1)
            # for models that read the step instead of the ratio: the step with the mean ratio
            index = int((1 - float(ratio_B.mean())) * self.generator.settings.steps)
            step = Step(index, self.generator.settings.steps, network.layout, ratio_B)
            given = self.condition.take(part.to(device))
            yield masked.input_BL.to(device), given, step, masked.masked_BL.to(device)


@torch.inference_mode()
def read_examples(generator: Generator, data: str, recipe: Quantization) -> Examples:
    """Tokenise the calibration images, with their classes or captions.

    Raises:
        ValueError: the data cannot be read, or has other classes than the model.
    """
    names = generator.class_names
    meant = names if names and not all(name.isdecimal() for name in names) else None
    images = open_images(data, class_names=meant)
    every = max(1, len(images) // recipe.pictures)
    chosen = range(0, every * min(recipe.pictures, len(images)), every)
    ids, parts = [], []
    for start in range(0, len(chosen), recipe.batch):
        some = [images[i] for i in chosen[start : start + recipe.batch]]
        image_BCHW = torch.stack([to_tensor(p.image, generator.size) for p in some])
        ids.append(generator.tokens(image_BCHW).flatten(1).cpu())
        parts.append(generator.condition([shown(generator, p) for p in some]))
    return Examples(torch.cat(ids), Condition.join(parts), generator, recipe)


def shown(generator: Generator, image: ImageSample) -> ConditionInput:
    """The class or the main caption of an image, as condition input."""
    if generator.class_names:
        return image.label
    return image.captions[0] if image.captions else ""


def quantize_generator(
    generator: Generator, recipe: Quantization, data: str | None, rows: Rows = own_rows
) -> int:
    """Quantize the transformer of a model.

    Args:
        generator: the model; its transformer is modified.
        recipe: the scheme and the calibration.
        data: a source of images for `demask.data.open_images`; None if none are needed.
        rows: the function that rounds a weight to int8.

    Returns:
        The number of quantized layers.

    Raises:
        ValueError: the model is quantized already, images are needed, or it has no layer to
            quantize.
    """
    recipe.check_data(data)
    network, scheme = generator.transformer, SCHEMES[recipe.scheme]
    assert isinstance(network, nn.Module)
    if quantized_layers(network):
        raise ValueError(f"{generator.name} is quantized already; name the full model")
    base = base_fingerprint(network)
    full = copy.deepcopy(network) if recipe.tune else None
    if data is None:
        count = quantize(network, scheme, rows=rows)
    else:
        examples = read_examples(generator, data, recipe)
        count = calibrate(network, scheme, recipe.share, forwards(examples), rows)
        if full is not None:
            finetune_quantized(network, full, examples.batches, recipe.tune)
    if not count:
        raise ValueError(f"{generator.name} has no linear layers in blocks to quantize")
    name_origin(network, base)
    return count


def forwards(examples: Examples) -> Callable[[], Iterator[None]]:
    """A function that runs the transformer over the examples, one batch per yield."""

    def run() -> Iterator[None]:
        for ids_BL, condition, step, _hidden_BL in examples.batches():
            examples.generator.transformer.predict(ids_BL, condition, step)
            yield

    return run


def save_generator(
    generator: Generator, scheme: str, out: Path, tokenizer: str | None = None
) -> list[Path]:
    """Write a quantized model as a folder that `demask.load` reads.

    The tokenizer, the text encoder, auxiliary networks and presets are written, too; files of the
    model's folder are copied unchanged, as they may be smaller than newly saved ones.

    Args:
        generator: the model.
        scheme: the name of its scheme, for the metadata.
        out: the folder.
        tokenizer: the source of its tokenizer, if that is not the model's folder.

    Returns:
        The paths of the transformer and of the tokenizer.

    Raises:
        ValueError: ``out`` is the model's own folder.
    """
    source = model_folder(generator.name)
    if out.resolve() == source.resolve():
        raise ValueError(f"{out} is the folder of the model; name another one")
    network = generator.transformer
    assert isinstance(network, nn.Module)
    names = {"class_names": list(generator.class_names)} if generator.class_names else {}
    files = ("transformer.safetensors", "tokenizer.safetensors")
    with files_written_together(out) as work:
        copy_or_save_tokenizer(generator, source if tokenizer is None else None, work / files[1])
        if isinstance(generator.conditioner, Prompts):
            if (source / "text_encoder" / "vocab.json").is_file():
                copy_files(source / "text_encoder", work / "text_encoder")
            else:
                save_text_encoder(work / "text_encoder", generator.conditioner.text)
        for kind in AUXILIARY:
            if (beside := source / f"{kind}.safetensors").is_file():
                copy_file(beside, work / beside.name)
        presets = generator.presets
        if presets.default is None:
            usual = {"usual": Preset(generator.settings), **presets.by_name}
            presets = PresetFile(usual, "usual")
        write_presets(work / FILE, presets)
        save_quantized(work / files[0], network, architecture_of(network), scheme, **names)
    return [out / name for name in files]


def copy_or_save_tokenizer(generator: Generator, source: Path | None, file: Path) -> None:
    """Write a model's tokenizer: a copy of its file in ``source``, if there is one."""
    if source is not None and (source / file.name).is_file():
        copy_file(source / file.name, file)
        return
    assert isinstance(generator.tokenizer, nn.Module)
    save_model(file, generator.tokenizer, architecture_of(generator.tokenizer))


def architecture_of(network: nn.Module) -> str:
    """The name in `ARCHITECTURES` of a network's type."""
    return next(name for name, row in ARCHITECTURES.items() if row.module is type(network))


def stored_bytes(network: nn.Module) -> int:
    """The memory of a network's weights and scales, in bytes."""
    return sum(t.numel() * t.element_size() for t in network.state_dict().values())


__all__ = ["Quantization", "quantize_generator", "save_generator", "stored_bytes"]
