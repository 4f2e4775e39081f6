"""How close a full-size MaskGIT-256 comes to the machine's own matrix-product rate.

Random weights of the published size, one picture, 18 steps, fp32, through the ordinary decode loop.
The rate of a large matrix product is measured before and after, in the same process; the share of
it that the whole decode reaches is the result, so that it means the same on any machine.

    python benchmarks/maskgit_speed.py [--steps 18] [--batch 1] [--threads N]
"""

from __future__ import annotations

import argparse
import resource
import time

import torch
from torch import Tensor

from demask import rng
from demask.sampling.decode import Sampler, decode, last
from demask.sampling.edit import blank
from demask.tokenizer.vqgan import VQGAN, VQGANConfig
from demask.transformer.maskgit import MaskGIT, MaskGITConfig
from demask.types import Condition, Predict, Prediction, Step


def product_rate(size: int = 3072, repeats: int = 6) -> float:
    """The best fp32 rate of a square matrix product, in FLOP/s."""
    a, b = torch.randn(size, size), torch.randn(size, size)
    out = torch.empty(size, size)
    best = 0.0
    for _ in range(repeats):
        start = time.perf_counter()
        torch.mm(a, b, out=out)
        best = max(best, 2 * size**3 / (time.perf_counter() - start))
    return best


def forward_flops(config: MaskGITConfig, batch: int) -> float:
    """Multiplications and additions of one forward pass: matrices, attention, half the head."""
    width, tokens = config.width, config.sequence
    layer = 2 * tokens * (4 * width**2 + 2 * width * config.mlp_width)
    attention = 2 * 2 * tokens**2 * width
    head = 2 * (config.sequence - 1) * (width**2 + width * config.codebook_size)
    return batch * (config.depth * (layer + attention) + head)


class Clock:
    """Adds up the seconds spent in a callable."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def timed(self, predict: Predict) -> Predict:
        """The same callable, on the clock."""

        def run(ids_BL: Tensor, condition: Condition, step: Step) -> Prediction:
            start = time.perf_counter()
            result = predict(ids_BL, condition, step)
            self.seconds += time.perf_counter() - start
            return result

        return run


def main() -> None:
    """Measure and print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=18)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    torch.manual_seed(0)
    config = MaskGITConfig.imagenet_256()
    model, tokenizer = MaskGIT(config).eval(), VQGAN(VQGANConfig()).eval()
    condition = Condition({"class_ids": torch.zeros(chosen.batch, dtype=torch.int64)})
    canvas = blank(chosen.batch, model.grid, model.mask_id)

    def paint(steps: int) -> tuple[float, float, torch.Tensor]:
        clock = Clock()
        generators = rng.image_generators(range(chosen.batch))
        start = time.perf_counter()
        predict = clock.timed(model.predict)
        state = last(decode(predict, condition, canvas, generators, Sampler(steps=steps)))
        return time.perf_counter() - start, clock.seconds, state.ids_BL

    rate = product_rate()
    paint(2)
    total, trunk, ids_BL = paint(chosen.steps)
    rate = max(rate, product_rate())
    start = time.perf_counter()
    with torch.inference_mode():
        tokenizer.decode(ids_BL.unflatten(1, model.grid))
    pixels = time.perf_counter() - start

    flops = chosen.steps * forward_flops(config, chosen.batch)
    print(
        f"MaskGIT-256, {chosen.steps} steps, batch {chosen.batch}, {chosen.threads} threads, fp32"
    )
    print(f"  matrix product            {rate / 1e9:8.1f} GFLOP/s")
    print(f"  decode                    {flops / total / 1e9:8.1f} GFLOP/s")
    print(f"  share of the product rate {flops / total / rate:8.1%}")
    print(f"  seconds a picture         {total / chosen.batch:8.2f}  ({flops / 1e12:.2f} TFLOP)")
    print(f"    of that the transformer {trunk / chosen.batch:8.2f}")
    print(f"    and sampling            {(total - trunk) / chosen.batch:8.2f}")
    print(f"  tokens to pixels          {pixels / chosen.batch:8.2f} s more")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"  peak memory               {peak:8.2f} GiB")


if __name__ == "__main__":
    main()
