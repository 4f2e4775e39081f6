"""What token merging saves of a step of a full-size Meissonic.

Random weights of the published size, classifier-free guidance as one batch, fp32, through the
ordinary decode loop. The ratios take turns step by step, in an order that goes round, so that what
else the machine does meets all of them; the result is the median step of each as a share of the
plain one's.

    python benchmarks/token_merging_speed.py [--size 1024] [--rounds 3] [--ratios 0 0.25 0.5]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterator

import torch
from meissonic_speed import DOWNSAMPLING, condition, random_model

from demask import rng
from demask.acceleration import TokenMerging
from demask.guidance import ClassifierFree, Constant
from demask.sampling.decode import Sampler, decode
from demask.sampling.edit import blank
from demask.transformer.meissonic import Meissonic
from demask.types import Condition, DecodeState, Prediction, Step


class Watched:
    """A model under token merging, whose passes are timed."""

    def __init__(self, model: Meissonic, ratio: float) -> None:
        self.predict = TokenMerging(ratio).around(model).predict
        self.passes: list[float] = []
        self.steps: list[float] = []

    def __call__(self, ids_BL: torch.Tensor, wanted: Condition, step: Step) -> Prediction:
        start = time.perf_counter()
        prediction = self.predict(ids_BL, wanted, step)
        self.passes.append(time.perf_counter() - start)
        return prediction

    def steps_of(self, model: Meissonic, size: int, steps: int) -> Iterator[DecodeState]:
        """The states of one picture under guidance."""
        side = size // DOWNSAMPLING
        guided = ClassifierFree(self, condition(model, 1, size), Constant(9.0))
        canvas = blank(1, (side, side), model.mask_id)
        wanted, generators = condition(model, 1, size), rng.image_generators([0])
        return decode(guided, wanted, canvas, generators, Sampler(steps=steps))


def main() -> None:
    """Measure and print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ratios", type=float, nargs="+", default=[0.0, 0.25, 0.5])
    chosen = parser.parse_args()
    model = random_model()
    watched = {ratio: Watched(model, ratio) for ratio in chosen.ratios}
    loops = {
        ratio: one.steps_of(model, chosen.size, chosen.rounds + 1) for ratio, one in watched.items()
    }
    for turn in range(chosen.rounds + 1):
        first = turn % len(chosen.ratios)
        for ratio in [*chosen.ratios[first:], *chosen.ratios[:first]]:
            start = time.perf_counter()
            next(loops[ratio])
            watched[ratio].steps.append(time.perf_counter() - start)
    report(watched, chosen.size)


def report(watched: dict[float, Watched], size: int) -> None:
    """Print the medians; the first step of each only warms up."""
    threads = torch.get_num_threads()
    print(f"Meissonic, {size} px, guidance as one batch, batch 1, fp32, {threads} threads")
    print("  ratio    step       of the first   transformer   of the first")
    medians = [
        [statistics.median(times[1:]) for times in (one.steps, one.passes)]
        for one in watched.values()
    ]
    for ratio, (step, forward) in zip(watched, medians, strict=True):
        shares = step / medians[0][0], forward / medians[0][1]
        print(f"  {ratio:4.2f} {step:9.2f} s {shares[0]:11.1%} {forward:13.2f} s {shares[1]:11.1%}")


if __name__ == "__main__":
    main()
