"""Does a LoRA of twelve drawings generate their subject, and does the model still compose?

Draws a "zorp", a plain figure with one eye that no model was trained on, twelve times, trains a
LoRA of a model of emoji on them, and generates 16 seeds of "a zorp" and "a green zorp". A zorp is
right if its nearest image is one of the twelve, and not one of all emoji in all styles. A green one
is right if its dominant colour is green; whether it is a zorp is measured as for unseen pairs, with
all drawings in the colour that the image has. Shares have Wilson's 95 % interval.

    python benchmarks/lora_zorp.py --model emoji --data FOLDER --out runs/zorp [--set run.steps=300]
        [--sheet zorp.png]

FOLDER holds the parquet files of the emoji. Training takes some minutes of one core; a second run
resumes it.

Shape legend: N images, P pixels times channels.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from emoji_numbers import Numbers, Sampled, named
from emoji_references import Measure, color_seen
from figures import COUNT, SIDE, write_zorps, zorp, zorps
from PIL import Image

import demask
from demask.bulk.contact_sheet import CaptionedImage, contact_sheet
from demask.config import override, parse
from demask.data.composition.colors import PALETTE
from demask.data.composition.composed import open_composed
from demask.training import tasks
from demask.training.tasks.lora import LoraTraining

SEEDS = 16
PROMPT, GREEN = "a zorp", "a green zorp"
OTHERS = 40
"""How many names of emoji are asked for beside, to see whether the model has forgotten them."""


def train(model: str, out: Path, changes: Sequence[str]) -> None:
    """Train the LoRA, or resume its training."""
    write_zorps(out / "drawings")
    given = [f"data.pictures={out / 'drawings'}", "run.tracker=none", *changes]
    began = time.monotonic()
    tasks.train("lora", parse(LoraTraining, override({}, given)), out, model=model)
    print(f"  trained for {time.monotonic() - began:.0f} s")


def is_zorp(model: Sampled, images: Sequence[Image.Image], colors: Sequence[str]) -> list[bool]:
    """Whether each image is nearer to a zorp than to any emoji, in the colour that it has."""
    image_NP = model.pixels(images)
    distance_N = model.measure.nearest_of_any_color(image_NP, colors)[0]
    right = []
    for image_P, color, distance in zip(image_NP, colors, distance_N.tolist(), strict=True):
        drawn = zorps()
        if color in PALETTE:
            drawn += [zorp(number, PALETTE[color]) for number in range(COUNT)]
        apart_A = torch.cdist(image_P[None], model.pixels(drawn))[0] / len(image_P) ** 0.5
        right.append(float(apart_A.min()) < distance)
    return right


def measured(model: Sampled, out: Numbers) -> list[CaptionedImage]:
    """Print the shares; the images, with their captions."""
    zorp_images = model.images([PROMPT] * SEEDS)
    zorp_NP = model.pixels(zorp_images)
    zorp_drawn_NP = model.pixels(zorps())
    own_N = torch.cdist(zorp_NP, zorp_drawn_NP).min(1)[0] / zorp_NP.shape[1] ** 0.5
    other_N = model.measure.nearest(zorp_NP)[0]
    out.share(f"{PROMPT!r} is a zorp", (own_N < other_N).tolist())
    out.value("distance to the nearest zorp", 255 * float(own_N.mean()), "of 255")
    floor_N = (model.returned(zorp_drawn_NP) - zorp_drawn_NP).square().mean(1).sqrt()
    out.value("of zorps after the tokenizer", 255 * float(floor_N.mean()), "of 255")
    green_images = model.images([GREEN] * SEEDS)
    colors = [color_seen(image) for image in green_images]
    out.share(f"{GREEN!r} is green", [color == "green" for color in colors])
    shape = is_zorp(model, green_images, colors)
    out.share(f"{GREEN!r} is a zorp", shape)
    tiles = [CaptionedImage(image, f"zorp {n}") for n, image in enumerate(zorps())]
    generated = [(image, PROMPT) for image in zorp_images]
    generated += [(image, GREEN) for image in green_images]
    larger = [(image.resize((SIDE, SIDE)), prompt) for image, prompt in generated]
    return tiles + [CaptionedImage(image, prompt) for image, prompt in larger]


def main() -> None:
    """Train, generate, compare and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="emoji")
    parser.add_argument("--data", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--set", dest="changes", nargs="*", default=[])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sheet", type=Path, help="an image of the drawings and what came out")
    chosen = parser.parse_args()
    train(chosen.model, chosen.out, chosen.changes)
    generator = demask.load(chosen.model, loras=[str(chosen.out)])
    catalog = open_composed(f"emoji:{chosen.data},held-out").catalog
    measure = Measure(catalog, generator.size[0])
    model, out = Sampled(generator, measure, chosen.seed, {}), Numbers()
    tiles = measured(model, out)
    names = [d.concept for d in catalog.drawings[: len(catalog.of_concept)] if not d.variant]
    kept = names[:: max(1, len(names) // OTHERS)]
    named(model, [(name, name) for name in kept], "names of emoji, with the LoRA", out)
    if chosen.sheet:
        contact_sheet(tiles).save(chosen.sheet)


if __name__ == "__main__":
    main()
