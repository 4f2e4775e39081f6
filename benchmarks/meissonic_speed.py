"""How close a full-size Meissonic comes to the machine's own matrix-product rate.

Random weights of the published size, a few steps of 1024x1024 pixels with classifier-free guidance,
in fp32, through the ordinary decode loop. After every step the rate of a large matrix product is
measured too, in the same process: the share of it that the median step reaches is the result.

    python benchmarks/meissonic_speed.py [--steps 4] [--size 1024] [--batch 1] [--profile]
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
from demask.guidance import ClassifierFree, Constant
from demask.sampling.decode import decode
from demask.sampling.edit import blank
from demask.sampling.sampler import Sampler
from demask.transformer.meissonic import Meissonic, MeissonicConfig
from demask.types import Condition, Grid, Prediction, Step, TokenLayout

TEXT = 77
DOWNSAMPLING = 16


def forward_flops(config: MeissonicConfig, grid: Grid, batch: int) -> tuple[float, float]:
    """Multiplications and additions of one forward pass: layers, and attention's own products."""
    width, ids = config.width, grid[0] * grid[1]
    image = ids // 4 if config.compress else ids
    tokens, depth = image + TEXT, config.blocks + config.single_blocks
    block = 2 * tokens * 12 * width**2
    ends = 2 * ids * (2 * width**2 + width * config.codebook_size)  # embedding, head
    ends += 2 * image * 2 * width**2  # into and out of the blocks
    if config.compress:
        ends += 2 * image * 8 * width**2
    ends += 2 * TEXT * config.text_width * width
    return batch * (depth * block + ends), batch * depth * 4 * tokens**2 * width


def random_model() -> Meissonic:
    """The published size, with small random weights."""
    with torch.device("meta"):
        model = Meissonic(MeissonicConfig())
    model.to_empty(device="cpu")
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        parameter.data.uniform_(-0.03, 0.03, generator=generator)
    return model.eval().requires_grad_(False)


def condition(model: Meissonic, batch: int, size: int) -> Condition:
    """Random states in place of those of a text encoder."""
    config, micro = model.config, torch.tensor([[size, size, 0, 0, 6.0]])
    return Condition(
        {
            "states": torch.randn(batch, TEXT, config.text_width),
            "pooled": torch.randn(batch, config.pooled_width),
            "micro": micro.expand(batch, -1),
        }
    )


def main() -> None:
    """Measure and print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--profile", action="store_true", help="where one forward's time goes")
    add_result_option(parser)
    chosen = parser.parse_args()
    model = random_model()
    side = chosen.size // DOWNSAMPLING
    guided = model.predict
    if chosen.profile:
        profile(model, chosen.size)
    trunk: list[float] = []

    def predict(ids_BL: torch.Tensor, wanted: Condition, step: Step) -> Prediction:
        start = time.perf_counter()
        prediction = guided(ids_BL, wanted, step)
        trunk.append(time.perf_counter() - start)
        return prediction

    classifier_free = ClassifierFree(predict, condition(model, 1, chosen.size), Constant(9.0))
    canvas = blank(chosen.batch, TokenLayout((side, side)), model.mask_id)
    wanted = condition(model, chosen.batch, chosen.size)
    generators = rng.image_generators(range(chosen.batch))
    product = MatrixProduct()
    step_seconds, products = [], []
    start = time.perf_counter()
    for _ in decode(classifier_free, wanted, canvas, generators, Sampler(steps=chosen.steps)):
        step_seconds.append(time.perf_counter() - start)
        products += [product.seconds() for _ in range(3)]
        start = time.perf_counter()

    layers, attention = forward_flops(model.config, (side, side), 2 * chosen.batch)
    rate = product.rate(statistics.median(products))
    step, forward = statistics.median(step_seconds), statistics.median(trunk)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"Meissonic, {chosen.size} px, guidance as one batch, batch {chosen.batch}, fp32")
    print(f"  matrix product, median    {rate / 1e9:8.1f} GFLOP/s ({SIZE} x {SIZE})")
    print(
        f"  step, median              {step:8.2f} s ({layers / 1e12:.2f} TFLOP, "
        f"and {attention / 1e12:.2f} of attention's products)"
    )
    print(f"    of that the transformer {forward:8.2f} s")
    print(f"    and sampling            {step - forward:8.2f} s")
    for what, flops in (("", layers + attention), (" without attention's", layers)):
        print(f"  share of the product rate{what}")
        print(f"    step                    {flops / step / rate:8.1%}")
        print(f"    transformer             {flops / forward / rate:8.1%}")
    print(f"  peak memory               {peak:8.2f} GiB")
    values = {
        "share of torch.mm": Value((layers + attention) / step / rate),
        "step": Value(step, unit="s"),
        "transformer": Value(forward, unit="s"),
        "peak memory": Value(round(peak, 2), unit="GiB"),
    }
    row = Row("Meissonic", values, {"batch": chosen.batch, "pixels": chosen.size})
    title = "How close does Meissonic come to the rate of a matrix product?"
    write_if_asked(chosen.result, title, [row])


@torch.inference_mode()
def profile(model: Meissonic, size: int) -> None:
    """Print where the time of one forward pass of two images goes."""
    side = size // DOWNSAMPLING
    ids_BL = torch.full((2, side * side), model.mask_id)
    step = Step(0, 4, TokenLayout((side, side)), torch.ones(2))
    wanted = condition(model, 2, size)
    model.predict(ids_BL, wanted, step)
    with torch.profiler.profile() as watched:
        model.predict(ids_BL, wanted, step)
    print(watched.key_averages().table(sort_by="self_cpu_time_total", row_limit=14))


if __name__ == "__main__":
    main()
