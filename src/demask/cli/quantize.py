"""`demask quantize`: write a model with 8- or 4-bit weights."""

from __future__ import annotations

from pathlib import Path

import click

from demask.cli.command import Command, number
from demask.cli.options import DEVICE, FOLDER, SOURCE, add
from demask.device import check_device

HOW = [
    *SOURCE,
    DEVICE,
    click.option(
        "--scheme",
        default="int8",
        show_default=True,
        metavar="NAME",
        help="int8 (fast on a CPU), int4 (small), w4a8 (int4, some layers with int8 activations).",
    ),
    click.option("--data", metavar="PATH", help="Images to calibrate on; int8 needs none."),
    number("-n", "--num-images", default=256, help="Number of calibration images."),
    click.option(
        "--share",
        type=float,
        help="w4a8: fraction of the layers with int8 activations; default: 0.33.",
    ),
    number(
        "--tune",
        default=0,
        metavar="STEPS",
        help="Steps of fine-tuning scales, biases and norms to the outputs of the full model.",
    ),
    number("--seed", default=0, help="Random seed of the masks."),
]


@click.command(cls=Command)
@add(HOW, FOLDER)
def quantize(
    model: str,
    tokenizer: str | None,
    device: str | None,
    scheme: str,
    data: str | None,
    num_images: int,
    share: float | None,
    tune: int,
    seed: int,
    out: Path,
) -> None:
    """Write a model with 8- or 4-bit weights: smaller on disk and in memory.

    The embeddings, the first and last layers and the norms are not quantized. The folder is a
    model: 'demask generate --model FOLDER'. '--dtype int8' quantizes a model when it is loaded.
    """
    from demask.acceleration.quantization_torchao import torchao_rows
    from demask.assembly import load
    from demask.training.quantize import (
        Quantization,
        quantize_generator,
        save_generator,
        stored_bytes,
    )

    recipe = Quantization(scheme=scheme, share=share, pictures=num_images, tune=tune, seed=seed)
    recipe.check_data(data)
    check_device(device)
    generator = load(model, tokenizer=tokenizer, device=device, low_memory=True)
    before = stored_bytes(generator.transformer)  # type: ignore[arg-type]
    count = quantize_generator(generator, recipe, data, torchao_rows)
    after = stored_bytes(generator.transformer)  # type: ignore[arg-type]
    written = save_generator(generator, scheme, out, tokenizer)
    click.echo(
        f"{count} layers in {scheme}: the transformer takes {after / 1e6:.1f} MB of memory, "
        f"{before / 1e6:.1f} MB before"
    )
    for path in written:
        click.echo(f"{path.stat().st_size / 1e6:6.1f} MB  {path}")
