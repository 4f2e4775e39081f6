"""The numbers of the shipped model ``cifar10``: reconstruction error and held-out cross-entropy.

python benchmarks/cifar10_numbers.py --held-out test.parquet [--model cifar10] [--count 10000]
"""

from __future__ import annotations

import argparse
import math

import torch
from result_file import Row, Value, add_result_option, write_if_asked

import demask
from demask.data import open_images
from demask.data.transforms import to_tensor
from demask.training.losses import held_out_cross_entropy
from demask.types import Condition

RATIOS = {
    "few": "few masked, under 30 %",
    "half": "about half masked, 35 to 65 %",
    "most": "most masked, over 90 %",
}
"""What a row is called, by the word in the name of its score."""


@torch.inference_mode()
def main() -> None:
    """Measure on held-out images and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="cifar10")
    parser.add_argument("--held-out", required=True)
    parser.add_argument("--count", type=int, default=10_000)
    add_result_option(parser)
    chosen = parser.parse_args()
    generator = demask.load(chosen.model)
    tokenizer = generator.tokenizer
    images = open_images(chosen.held_out, class_names=generator.class_names)
    count = min(chosen.count, len(images))

    ids, labels, errors = [], [], []
    for part in torch.arange(count).split(200):
        picked = [images[int(i)] for i in part]
        image_BCHW = torch.stack([to_tensor(p.image, generator.size[0]) for p in picked])
        ids_BHW = tokenizer.encode(image_BCHW)
        errors.append((tokenizer.decode(ids_BHW) - image_BCHW).square().mean((1, 2, 3)))
        ids.append(ids_BHW.flatten(1))
        labels += [p.label for p in picked]
    ids_BL, psnr_B = torch.cat(ids), -10 * torch.log10(torch.cat(errors))
    used = len(ids_BL.unique()) / tokenizer.codebook_size
    print(f"{chosen.model} on {count} held-out images")
    print(f"  tokenizer PSNR            {psnr_B.mean():.2f} dB (sd {psnr_B.std():.2f})")
    print(f"  codes used                {used:.1%} of {tokenizer.codebook_size}")
    condition = Condition({"class_ids": torch.tensor(labels)})
    scores = held_out_cross_entropy(generator.transformer, ids_BL, condition)
    for name, value in scores.items():
        print(f"  {name:<25} {value:.3f} nats a token")
    psnr = {
        "PSNR": Value(float(psnr_B.mean()), unit="dB"),
        "standard deviation": Value(float(psnr_B.std()), unit="dB"),
        "codes used": Value(used),
    }
    sizes = {"codes": tokenizer.codebook_size, "tokens": ids_BL.shape[1], "images": count}
    losses = {ratios(name): value for name, value in scores.items()}
    losses["uniform guess"] = math.log(tokenizer.codebook_size)
    rows = [Row("tokenizer", psnr, sizes)]
    for name, loss in losses.items():
        rows.append(Row(name, {"cross-entropy": Value(loss, unit="nats")}, {"images": count}))
    title = f"How well does {chosen.model} reconstruct and predict held-out images?"
    write_if_asked(chosen.result, title, rows)


def ratios(name: str) -> str:
    """The mask ratios over which a score is the mean."""
    return next((text for word, text in RATIOS.items() if word in name), "all mask ratios")


if __name__ == "__main__":
    main()
