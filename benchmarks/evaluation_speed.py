"""The time of an evaluation of 10,000 images: both shipped extractors, every metric.

    python benchmarks/evaluation_speed.py [--count N] [--threads N]

Images are noise of 32x32 pixels; the reference's features are extracted too, as on a first run.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator

import torch
from result_file import Row, Value, add_result_option, write_if_asked
from torch import Tensor

from demask.evaluation.extractors import load_extractor
from demask.evaluation.features import extract_all
from demask.evaluation.metrics import METRICS, measure, possible

BATCH = 250


def batches(count: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Images of noise, with classes."""
    generator = torch.Generator().manual_seed(seed)
    for start in range(0, count, BATCH):
        here = min(BATCH, count - start)
        pixels_BHWC = torch.randint(256, (here, 32, 32, 3), generator=generator, dtype=torch.uint8)
        yield pixels_BHWC, torch.randint(10, (here,), generator=generator)


def main() -> None:
    """Print the seconds of each part and their sum."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--threads", type=int, default=2)
    add_result_option(parser)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    extractors = [load_extractor(name) for name in ("cifar10_conv", "cifar10_patches")]
    began = time.perf_counter()
    sides = []
    for what, seed in (("samples", 0), ("reference", 1)):
        start = time.perf_counter()
        sides.append(extract_all(batches(given.count, seed), extractors))
        print(f"features of the {what}: {time.perf_counter() - start:.1f} s")
    looked = time.perf_counter() - began
    for samples, reference in zip(*sides, strict=True):
        for name in METRICS:
            if name in possible(samples):
                start = time.perf_counter()
                measure(samples, reference, [name])
                print(f"{name}, {samples.extractor}: {time.perf_counter() - start:.1f} s")
    seconds = {"in all": time.perf_counter() - began, "features": looked}
    print(f"{given.count} images in all: {seconds['in all']:.1f} s")
    rows = [
        Row(name, {"seconds": Value(round(took, 1), unit="s")}, {"images": given.count})
        for name, took in seconds.items()
    ]
    write_if_asked(given.result, "How long does measuring take?", rows, "0, 1")


if __name__ == "__main__":
    main()
