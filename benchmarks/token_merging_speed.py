"""The time that token merging saves in a step of a full-size Meissonic.

Random weights of the published size, classifier-free guidance as one batch, fp32, through the
ordinary decode loop. The ratios alternate step by step, in a rotating order, so that other programs
disturb all of them alike; the result is the median step of each as a fraction of the
plain one's, by the clock and by processor time, which is the steadier one on a busy machine.

    python benchmarks/token_merging_speed.py [--size 1024] [--rounds 3] [--ratios 0 0.25 0.5]
        [--depth 42]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import torch
from meissonic_speed import DOWNSAMPLING, condition, random_model
from result_file import Row, Value, add_result_option, write_if_asked

from demask import rng
from demask.acceleration import TokenMerging
from demask.guidance import ClassifierFree, Constant
from demask.sampling.decode import decode
from demask.sampling.edit import blank
from demask.sampling.sampler import Sampler
from demask.transformer.meissonic import Meissonic
from demask.types import DecodeState, TokenLayout


@dataclass
class Timed:
    """The steps of one ratio."""

    states: Iterator[DecodeState]
    clock: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)

    def step(self) -> None:
        """Make a step and record its time."""
        clock, processor = time.perf_counter(), time.process_time()
        next(self.states)
        self.clock.append(time.perf_counter() - clock)
        self.processor.append(time.process_time() - processor)


def generated(model: Meissonic, ratio: float, size: int, steps: int) -> Iterator[DecodeState]:
    """The states of one image under token merging and guidance."""
    side = size // DOWNSAMPLING
    predict = TokenMerging(ratio).around(model).predict
    guided = ClassifierFree(predict, condition(model, 1, size), Constant(9.0))
    canvas, generators = (
        blank(1, TokenLayout((side, side)), model.mask_id),
        rng.image_generators([0]),
    )
    return decode(guided, condition(model, 1, size), canvas, generators, Sampler(steps=steps))


def main() -> None:
    """Measure and print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ratios", type=float, nargs="+", default=[0.0, 0.25, 0.5])
    parser.add_argument("--depth", type=int, help="blocks that are left of 42, for a quick look")
    add_result_option(parser)
    chosen = parser.parse_args()
    model = random_model()
    if chosen.depth is not None:
        third = chosen.depth // 3
        model.transformer_blocks = model.transformer_blocks[:third]
        model.single_transformer_blocks = model.single_transformer_blocks[: chosen.depth - third]
        model.config = replace(model.config, blocks=third, single_blocks=chosen.depth - third)
    list(generated(model, 0.0, 256, 1))  # every weight is read once
    timed = {r: Timed(generated(model, r, chosen.size, chosen.rounds)) for r in chosen.ratios}
    for turn in range(chosen.rounds):
        first = turn % len(chosen.ratios)
        for ratio in [*chosen.ratios[first:], *chosen.ratios[:first]]:
            timed[ratio].step()
            clock, processor = timed[ratio].clock[-1], timed[ratio].processor[-1]
            print(f"  {ratio:5.2f} {clock:9.2f} s {processor:9.2f} s", flush=True)
    rows = report(timed, chosen.size)
    title = "What does token merging save of a step of Meissonic?"
    note = f"Random weights, {chosen.size} pixels wide, classifier-free guidance, float32."
    write_if_asked(chosen.result, title, rows, note=note)


def report(timed: dict[float, Timed], size: int) -> list[Row]:
    """Print the medians, and return them."""
    rows = []
    threads = torch.get_num_threads()
    print(f"Meissonic, {size} px, guidance as one batch, batch 1, fp32, {threads} threads")
    print("  ratio        step   of the first   processor time   of the first")
    medians = [[statistics.median(t) for t in (one.clock, one.processor)] for one in timed.values()]
    for ratio, (clock, processor) in zip(timed, medians, strict=True):
        shares = clock / medians[0][0], processor / medians[0][1]
        print(
            f"  {ratio:5.2f} {clock:9.2f} s {shares[0]:14.1%} {processor:14.2f} s {shares[1]:14.1%}"
        )
        values = {"CPU seconds": Value(processor, unit="s"), "share": Value(shares[1])}
        rows.append(Row(f"ratio {ratio:g}", values, {"ratio": ratio}))
    return rows


if __name__ == "__main__":
    main()
