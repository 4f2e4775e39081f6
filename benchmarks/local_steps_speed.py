"""The cost of a local step relative to a full one, by the fraction of the tokens that it computes.

MaskGIT-256 of the published size with random weights, and the shipped cifar10, without guidance: a
full pass and local passes in which a share of the tokens is read, half of which were just decided.
They alternate, in a rotating order, so that other programs disturb all of them alike;
the result is the median of each, in processor time and in seconds.

    python benchmarks/local_steps_speed.py [--rounds 5] [--batch 1] [--threads N] [--pack]
        [--dtype float32] [--models cifar10 MaskGIT-256]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from result_file import Row, Value, add_result_option, write_if_asked

import demask
from demask.acceleration import LocalSteps
from demask.acceleration.packing import pack
from demask.transformer.maskgit import MaskGIT, MaskGITConfig
from demask.transformer.modern_maskgit import ModernMaskGIT
from demask.types import Condition, Step, Transformer

SHARES = (1.0, 0.5, 0.25, 0.125, 0.06)
MOST_STEPS = 10_000


@dataclass
class Watched:
    """A model, plain and under local steps, whose passes are timed; a share of 1 is plain."""

    model: Transformer
    batch: int
    step: int = 0
    processor: dict[float, list[float]] = field(default_factory=dict)
    seconds: dict[float, list[float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.local = LocalSteps(MOST_STEPS, 1).around(self.model)
        tokens = self.model.layout.tokens
        self.ids_BL = torch.zeros(self.batch, tokens, dtype=torch.int64)
        self.condition = Condition({"class_ids": torch.zeros(self.batch, dtype=torch.int64)})

    def advance(self, share: float) -> None:
        """Make the next pass: other rows each time, half of them read and half just decided."""
        tokens = self.ids_BL.shape[1]
        count = round(share * tokens)
        generator = torch.Generator().manual_seed(self.step)
        chosen_BN = torch.stack(
            [torch.randperm(tokens, generator=generator)[:count] for _ in range(self.batch)]
        )
        rows_BL = torch.zeros_like(self.ids_BL, dtype=torch.bool)
        rows_BL.scatter_(1, chosen_BN[:, count // 2 :], True)
        if share < 1:
            self.ids_BL = self.ids_BL.scatter(1, chosen_BN[:, : count // 2], self.step % 7 + 1)
        half_B = torch.full((self.batch,), 0.5)
        step = Step(self.step, MOST_STEPS, self.model.layout, half_B, rows_BL)
        predict = self.model.predict if share == 1 else self.local.predict
        processor, start = time.process_time(), time.perf_counter()
        predict(self.ids_BL, self.condition, step)
        self.seconds.setdefault(share, []).append(time.perf_counter() - start)
        self.processor.setdefault(share, []).append(time.process_time() - processor)
        self.step += 1


def maskgit() -> MaskGIT:
    """The published size, with random weights."""
    with torch.device("meta"):
        model = MaskGIT(MaskGITConfig.imagenet_256()).eval()
    model.to_empty(device="cpu")
    for parameter in model.parameters():
        parameter.normal_(0, 0.02)
    return model


def cifar10() -> ModernMaskGIT:
    """The shipped model, without the packing of weights by the loader."""
    loaded = demask.load("cifar10", device="cpu").transformer
    assert isinstance(loaded, ModernMaskGIT)
    model = ModernMaskGIT(loaded.config).eval()
    model.load_state_dict(loaded.state_dict())
    return model


MODELS: dict[str, Callable[[], Any]] = {"cifar10": cifar10, "MaskGIT-256": maskgit}


@torch.no_grad()
def main() -> None:
    """Measure and print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--pack", action="store_true", help="packed weights, as the loader does")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    add_result_option(parser)
    chosen, rows = parser.parse_args(), []
    torch.set_num_threads(chosen.threads)
    for name in chosen.models:
        model: Any = MODELS[name]().to(getattr(torch, chosen.dtype))
        if chosen.pack:
            pack(model)
        watched = Watched(model, chosen.batch)
        watched.advance(0.5)  # a full pass, since nothing is cached yet
        watched.seconds.clear()
        watched.processor.clear()
        for turn in range(chosen.rounds):
            first = turn % len(SHARES)
            for share in [*SHARES[first:], *SHARES[:first]]:
                watched.advance(share)
        packed = ", packed weights" if chosen.pack else ""
        print(f"{name}, batch {chosen.batch}, {chosen.dtype}, {chosen.threads} threads{packed}")
        print("  tokens   processor   of a full one      time   of a full one", flush=True)
        rows += report(name, watched)
    title = "What does a local step cost of a full one?"
    packed = "with packed weights" if chosen.pack else "without packed weights"
    write_if_asked(chosen.result, title, rows, note=f"{chosen.dtype}, {packed}.")


def report(name: str, watched: Watched) -> list[Row]:
    """Print the medians, and return those of local steps."""
    rows = []
    medians = {
        share: [statistics.median(times[share]) for times in (watched.processor, watched.seconds)]
        for share in SHARES
    }
    for share, (processor, seconds) in medians.items():
        shares = processor / medians[1.0][0], seconds / medians[1.0][1]
        print(
            f"  {share:6.1%} {1000 * processor:8.1f} ms {shares[0]:13.1%}"
            f" {1000 * seconds:8.1f} ms {shares[1]:13.1%}"
        )
        if share < 1:
            values = {"CPU share": Value(shares[0]), "share": Value(shares[1])}
            rows.append(Row(f"{name}, {share:g}", values, {"network": name, "tokens": share}))
    return rows


if __name__ == "__main__":
    main()
