"""Does the shipped model ``emoji`` generate what it is asked for?

One image is generated for each name without a skin tone, and one for each alias that was held out
of training. It is right if, of all training images, its nearest is the one that bears the name;
training images that are equal to the pixel count as one. The distance is the root mean square
difference of the pixels, in RGB at the model's size.

    python benchmarks/emoji_numbers.py --data train.parquet [--model emoji] [--seed 0]
        [--wrong wrong.png]

Shape legend: N images, C H W as usual, A all training images.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from result_file import Row, Value, add_result_option, write_if_asked
from torch import Tensor

import demask
from demask.bulk.contact_sheet import CaptionedImage, contact_sheet
from demask.data import open_images
from demask.data.captions import hold_out
from demask.data.images import ImageDataset
from demask.data.transforms import to_image, to_pixels, to_tensor
from demask.generator import Generator

HELD_OUT = 0.1
"""As in recipes/emoji/masked.toml."""


def read(generated_images: ImageDataset, size: int) -> tuple[Tensor, list[tuple[str, ...]]]:
    """All training images (A, C, H, W), and their captions."""
    picked = [generated_images[i] for i in range(len(generated_images))]
    images = torch.stack([to_tensor(p.image, size) for p in picked])
    return images, [p.captions for p in picked]


def nearest(image_NCHW: Tensor, all_ACHW: Tensor) -> Tensor:
    """The number of the nearest training image of each image (N)."""
    return torch.cdist(image_NCHW.flatten(1), all_ACHW.flatten(1)).argmin(-1)


def generate(generator: Generator, prompts: Sequence[str], seed: int, settings: Any) -> Tensor:
    """One image a prompt, (N, C, H, W)."""
    generated = generator.images(list(prompts), seed=seed, **settings)
    pixels = [torch.from_numpy(to_pixels(generated.image)) for generated in generated]
    return torch.stack(pixels).permute(0, 3, 1, 2).float() / 255


def main() -> None:
    """Generate, compare and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="emoji")
    parser.add_argument("--data", required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--guidance-scale", type=float)
    parser.add_argument("--choice-temperature", type=float)
    parser.add_argument("--temperature", type=float)
    parser.add_argument("--every", type=int, default=1, help="only every n-th name")
    parser.add_argument("--wrong", type=Path, help="an image of what went wrong")
    add_result_option(parser)
    chosen = parser.parse_args()
    names = ("steps", "guidance_scale", "choice_temperature", "temperature")
    settings = {name: getattr(chosen, name) for name in names if getattr(chosen, name) is not None}
    generator = demask.load(chosen.model)
    all_ACHW, captions = read(open_images(chosen.data), generator.size[0])
    # equal images have one number
    first_of = torch.unique(all_ACHW.flatten(1), dim=0, return_inverse=True)[1]

    plain = [(i, texts[0]) for i, texts in enumerate(captions) if "skin tone" not in texts[0]]
    held = hold_out(captions, HELD_OUT)[1]
    print(f"{chosen.model}, seed {chosen.seed}, {settings or 'its own settings'}")
    tiles, rows = [], []
    for what, wanted in (("names", plain[:: chosen.every]), ("held-out aliases", held)):
        prompts = [text for _, text in wanted]
        generated_NCHW = generate(generator, prompts, chosen.seed, settings)
        found = nearest(generated_NCHW, all_ACHW)
        right = first_of[found] == first_of[torch.tensor([i for i, _ in wanted])]
        print(
            f"  {what:18} {int(right.sum()):5} of {len(right):5} right: {right.float().mean():.1%}"
        )
        counts = {"images": len(right), "right images": int(right.sum())}
        rows.append(Row(what, {"right": Value(float(right.float().mean()))}, counts))
        wrong = [n for n in range(len(right)) if not right[n]]
        tiles += [CaptionedImage(to_image(generated_NCHW[n]), prompts[n]) for n in wrong[:32]]
    if chosen.wrong and tiles:
        contact_sheet(tiles).save(chosen.wrong)
    title = f"Does {chosen.model} generate the image that its prompt names?"
    write_if_asked(chosen.result, title, rows, str(chosen.seed))


if __name__ == "__main__":
    main()
