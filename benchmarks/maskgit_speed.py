"""How close a full-size MaskGIT-256 comes to the machine's own matrix-product rate.

Random weights of the published size, 18 steps, fp32, through the ordinary decode loop. After every
step the rate of a large matrix product is measured too, in the same process: the share of it that
the median step reaches is the result, so that a busy or throttled machine affects both alike.

    python benchmarks/maskgit_speed.py [--steps 18] [--batch 1] [--threads N] [--no-pack]
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time

import torch
from matrix_product import SIZE, MatrixProduct
from result_file import Row, Value, add_result_option, write_if_asked

from demask import rng
from demask.acceleration.packing import pack
from demask.sampling.decode import decode
from demask.sampling.edit import blank
from demask.sampling.sampler import Sampler
from demask.tokenizer.vqgan import VQGAN, VQGANConfig
from demask.transformer.maskgit import MaskGIT, MaskGITConfig
from demask.types import Condition, Predict, Prediction, Step


def forward_flops(config: MaskGITConfig, batch: int) -> float:
    """Multiplications and additions of one forward pass: matrices, attention, the output matrix."""
    width, tokens = config.width, config.sequence
    layer = 2 * tokens * (4 * width**2 + 2 * width * config.mlp_width)
    attention = 2 * 2 * tokens**2 * width
    head = 2 * (tokens - 1) * (width**2 + width * config.codebook_size)
    return batch * (config.depth * (layer + attention) + head)


def main() -> None:
    """Measure and print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=18)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--no-pack", action="store_true", help="without packed weights")
    add_result_option(parser)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    torch.manual_seed(0)
    config = MaskGITConfig.imagenet_256()
    model, tokenizer = MaskGIT(config).eval(), VQGAN(VQGANConfig()).eval()
    packed = 0 if chosen.no_pack else pack(model)
    condition = Condition({"class_ids": torch.zeros(chosen.batch, dtype=torch.int64)})
    canvas = blank(chosen.batch, model.layout, model.mask_id)
    product = MatrixProduct()

    trunk: list[float] = []

    def predict(ids_BL: torch.Tensor, condition: Condition, step: Step) -> Prediction:
        start = time.perf_counter()
        prediction = model.predict(ids_BL, condition, step)
        trunk.append(time.perf_counter() - start)
        return prediction

    def generate(predict: Predict, steps: int) -> tuple[list[float], list[float], torch.Tensor]:
        generators = rng.image_generators(range(chosen.batch))
        step_seconds, products, ids_BL = [], [], canvas.ids_BL
        start = time.perf_counter()
        for state in decode(predict, condition, canvas, generators, Sampler(steps=steps)):
            step_seconds.append(time.perf_counter() - start)
            ids_BL = state.ids_BL
            products.append(product.seconds())
            start = time.perf_counter()
        return step_seconds, products, ids_BL

    generate(model.predict, 2)
    step_seconds, products, ids_BL = generate(predict, chosen.steps)
    start = time.perf_counter()
    with torch.inference_mode():
        tokenizer.decode(ids_BL.unflatten(1, model.layout.dims))
    pixels = time.perf_counter() - start

    flops = forward_flops(config, chosen.batch)
    rate = product.rate(statistics.median(products))
    step = statistics.median(step_seconds)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"MaskGIT-256, {chosen.steps} steps, batch {chosen.batch}, {chosen.threads} threads, fp32"
    )
    print(f"  matrix product, median    {rate / 1e9:8.1f} GFLOP/s ({SIZE} x {SIZE})")
    print(
        f"  decode step, median       {flops / step / 1e9:8.1f} GFLOP/s ({flops / 1e9:.0f} GFLOP)"
    )
    print(f"  share of the product rate {flops / step / rate:8.1%}")
    print(f"  seconds an image         {sum(step_seconds) / chosen.batch:8.2f}")
    print(f"    of that the transformer {sum(trunk) / chosen.batch:8.2f}")
    print(f"    and sampling            {(sum(step_seconds) - sum(trunk)) / chosen.batch:8.2f}")
    print(f"  tokens to pixels          {pixels / chosen.batch:8.2f} s more")
    print(f"  packed layers             {packed:8d}")
    print(f"  peak memory               {peak:8.2f} GiB")
    values = {
        "share of torch.mm": Value(flops / step / rate),
        "seconds": Value(sum(step_seconds) / chosen.batch, unit="s"),
        "transformer": Value(sum(trunk) / chosen.batch, unit="s"),
        "tokenizer": Value(pixels / chosen.batch, unit="s"),
        "peak memory": Value(round(peak, 2), unit="GiB"),
    }
    row = Row("MaskGIT-256", values, {"batch": chosen.batch, "steps": chosen.steps})
    title = "How close does MaskGIT-256 come to the rate of a matrix product?"
    write_if_asked(chosen.result, title, [row])


if __name__ == "__main__":
    main()
