"""`demask reconstruct`: encode and decode images, to measure what a tokenizer preserves.

Shape legend: C channels, H W rows and columns of pixels, B = 1.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from demask.cli.command import Command
from demask.cli.options import DEFAULT_MODEL, DEVICE, FOLDER, add
from demask.device import check_device

if TYPE_CHECKING:
    from PIL import Image

    from demask.types import Tokenizer


@click.command(cls=Command)
@click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--model",
    metavar="NAME|PATH",
    show_default=DEFAULT_MODEL,
    help="The model that the tokenizer belongs to.",
)
@click.option(
    "--tokenizer", metavar="PATH", help="A tokenizer checkpoint, alone or that of the model."
)
@click.option("--prompt", help="What the images show, for a model whose decoder reads it.")
@add([DEVICE], FOLDER)
def reconstruct(
    images: tuple[Path, ...],
    model: str | None,
    tokenizer: str | None,
    prompt: str | None,
    device: str | None,
    out: Path,
) -> None:
    """Encode and decode images with a tokenizer, and print the PSNR.

    Sides that are not a whole number of tokens are cropped equally at both ends. A tokenizer of
    one size gets the middle of each image in this size.
    """
    data = [path.read_bytes() for path in images]

    from demask.bulk.contact_sheet import CaptionedImage, contact_sheet
    from demask.bulk.folder import write_png
    from demask.data.images import read_image
    from demask.data.transforms import psnr, to_pixels

    opened = [read_image(content, str(path)) for content, path in zip(data, images, strict=True)]

    network = load_tokenizer(model, tokenizer, prompt, device)
    befores = [fit(image, network, path) for image, path in zip(opened, images, strict=True)]
    scores = []
    for number, (path, before) in enumerate(zip(images, befores, strict=True)):
        after = round_trip(before, network)
        scores.append(psnr(to_pixels(before), to_pixels(after), peak=255))
        tiles = [
            CaptionedImage(before, "before"),
            CaptionedImage(after, f"after: {scores[-1]:.2f} dB"),
        ]
        target = out / f"{number:06}_{path.stem}.png"
        write_png(target, contact_sheet(tiles))
        click.echo(f"{scores[-1]:6.2f} dB  {path}")
    click.echo(f"{sum(scores) / len(scores):6.2f} dB  mean of {len(scores)}, side by side in {out}")


def load_tokenizer(
    model: str | None, tokenizer: str | None, prompt: str | None, device: str | None
) -> Tokenizer:
    """The tokenizer of a model, which may be kept elsewhere, or of a checkpoint alone.

    Raises:
        ValueError: no such model or device, a checkpoint that holds no tokenizer, or a prompt for a
            tokenizer that reads none, or none for one that does.
    """
    import torch

    from demask.assembly import load
    from demask.checkpoint.load import load_model
    from demask.transformer.protocols import supports
    from demask.types import ReadsCondition, Tokenizer

    check_device(device)
    if tokenizer is None or model is not None:
        generator = load(model or DEFAULT_MODEL, tokenizer, device=device)
        if prompt is not None and not supports(generator.tokenizer, ReadsCondition):
            raise ValueError(f"the decoder of {generator.name} reads no prompt: leave --prompt out")
        return generator.tokenizer_for(1, None if prompt is None else generator.condition([prompt]))
    network = load_model(tokenizer, dtype=torch.float32, device=device or "cpu").eval()
    if not supports(network, Tokenizer):
        raise ValueError(f"{tokenizer} holds a {type(network).__name__}, which is not a tokenizer")
    if prompt is not None or supports(network, ReadsCondition):
        raise ValueError(f"a prompt is read by a whole model: name it (--model) beside {tokenizer}")
    return network


def fit(image: Image.Image, tokenizer: Tokenizer, path: Path) -> Image.Image:
    """An image of a size that the tokenizer takes; see `cut`.

    Raises:
        ValueError: the image is smaller than one token.
    """
    from demask.data.transforms import cover

    size: tuple[int, int] | None = getattr(tokenizer, "image_size", None)
    return cut(image, tokenizer.downsampling, path) if size is None else cover(image, *size)


def cut(image: Image.Image, multiple: int, path: Path) -> Image.Image:
    """Crop an image at its centre to sides that are multiples of a number.

    Raises:
        ValueError: the image is smaller than one token.
    """
    width, height = (side - side % multiple for side in image.size)
    if not (width and height):
        raise ValueError(
            f"{path}: {image.width}x{image.height} pixels are less than one token, "
            f"{multiple}x{multiple}"
        )
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))


def round_trip(image: Image.Image, tokenizer: Tokenizer) -> Image.Image:
    """Image -> tokens -> image."""
    import torch
    from torch import nn

    from demask.data.transforms import to_image, to_pixels

    assert isinstance(tokenizer, nn.Module)
    device = next(tokenizer.parameters()).device
    image_HWC = torch.from_numpy(to_pixels(image))
    image_BCHW = image_HWC.permute(2, 0, 1)[None].float() / 255
    with torch.inference_mode():
        return to_image(tokenizer.decode(tokenizer.encode(image_BCHW.to(device)))[0])
