"""The published sizes with random weights: seconds an image in every type and way of saving time.

MaskGIT-256 with self-guidance, 18 steps, at batch 1 and 4; Meissonic at 1024x1024 pixels with
classifier-free guidance, 32 steps. Three rows a type: every pass in full (``exact``), with local
steps, and with local steps and guidance that is computed in every fourth step. Each type runs in a
process of its own, so that its peak memory is its own.

Between the steps large matrix products are measured: ``torch.mm`` in float32, the rate of an
ordinary program, and the fastest product of the row's own type, with packed weights.
Shares are of their medians, for exact rows: all products of the network and its module, attention's
among them. Local rows compute less, so they have no share.

With OMP_NUM_THREADS=1 the seconds are processor time of one core, which other programs disturb
less.

Seconds a step of Meissonic are the mean of a whole run of 32 steps; for exact rows, whose steps all
cost the same but for sampling, that of the first two, in which most is sampled.

    python benchmarks/full_size.py [--quick] [--models maskgit meissonic] [--dtypes ...]
        [--ways exact steps refresh] [--batches 1 4]
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from full_size_models import MODELS, Model
from matrix_product import FastestProduct, MatrixProduct, now
from result_file import Row, Setting, Value, add_result_option, write_if_asked
from torch import Tensor

from demask import rng
from demask.acceleration import Accelerator, LocalSteps, accelerate
from demask.auxiliary import AuxiliaryNetworks
from demask.guidance import Constant, parse_guidance
from demask.guidance_provider import ModelProvider
from demask.sampling.decode import decode
from demask.sampling.edit import blank
from demask.sampling.sampler import Sampler
from demask.sampling.schedule import arccos
from demask.sampling.select import Halton

DTYPES = ("float32", "bfloat16", "int8")


@dataclass(frozen=True)
class Way:
    """How an image is generated."""

    name: str
    accelerators: tuple[Accelerator, ...] = ()
    refresh: int = 1

    def sampler(self, steps: int) -> Sampler:
        """The sampler; local steps need an order that is known before the pass."""
        if not self.accelerators:
            return Sampler(steps=steps)
        return Sampler(steps=steps, order=Halton(), schedule=arccos)


WAYS = (
    Way("exact"),
    Way("local steps", (LocalSteps(4, 2),)),
    Way("local steps, refresh", (LocalSteps(4, 1),), 4),
)
NAMES = tuple(way.name.split()[-1] for way in WAYS)


@dataclass(frozen=True)
class Result:
    """A row; seconds are an image's (MaskGIT) or a step's (Meissonic).

    Attributes:
        steps: the number of measured steps.
        rates: the rates of the products, in float32 and in the row's own type.
        shares: the fractions of these rates, or None.
        memory: the peak memory of the process, in bytes.
    """

    model: str
    dtype: str
    way: str
    batch: int
    steps: int
    seconds: float
    trunk: float
    head: float
    sampling: float
    tokenizer: float
    rates: tuple[float, float]
    shares: tuple[float, float] | None
    memory: int


class Clock:
    """Sums the seconds of a function's calls."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The same function, timed."""

        def timed(*given: Any, **named: Any) -> Any:
            start = now()
            answer = function(*given, **named)
            self.seconds += now() - start
            return answer

        return timed


def status(what: str) -> int:
    """A line of this process's status, in bytes; 0 if the system has none."""
    path = Path("/proc/self/status")
    lines = path.read_text().splitlines() if path.is_file() else []
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(what)), 0)


def generated(
    model: Model, way: Way, batch: int, passes: Clock, steps: int | None = None
) -> Iterator[Tensor]:
    """Generate a batch; the ids after each step."""
    transformer = accelerate(model.transformer, way.accelerators)
    networks: dict[str, Any] = {"self_guidance": model, "weaker": model.transformer}
    provider = ModelProvider(
        transformer,
        model.tokenizer,
        partial(model.condition, 1),
        AuxiliaryNetworks(loaded=networks),
        way.accelerators,
    )
    guided = parse_guidance(
        model.guidance, transformer.predict, Constant(model.scale), provider, way.refresh
    )
    canvas = blank(batch, model.layout, transformer.mask_id)
    sampler, generators = way.sampler(model.steps), rng.image_generators(range(batch))
    states = decode(passes.around(guided), model.condition(batch), canvas, generators, sampler)
    for state in islice(states, steps):
        yield state.ids_BL


def measure(model: Model, way: Way, batch: int, steps: int, seconds: float) -> Result:
    """Measure one row; ``seconds`` are those of the tokenizer for an image."""
    warm = 3 if way.accelerators and not model.by_step else 1
    list(generated(model, way, batch, Clock(), warm))  # kernels are made at their first call
    model.head.seconds = 0.0
    reset = Path("/proc/self/clear_refs")
    if reset.is_file():
        reset.write_text("5")  # the peak counts from here
    passes, times = Clock(), []
    products = MatrixProduct(), FastestProduct(getattr(torch, model.dtype))
    taken: list[list[float]] = [[], []]
    start = now()
    for _ in generated(model, way, batch, passes, steps):
        times.append(now() - start)
        for product, found in zip(products, taken, strict=True):
            found.append(product.seconds())
        start = now()
    rates = [MatrixProduct.rate(statistics.median(found)) for found in taken]
    per = len(times) if model.by_step else batch
    flops = model.step_flops(batch) * len(times) / sum(times)
    return Result(
        model.name,
        model.dtype,
        way.name,
        batch,
        len(times),
        sum(times) / per + (0 if model.by_step else seconds),
        (passes.seconds - model.head.seconds) / per,
        model.head.seconds / per,
        (sum(times) - passes.seconds) / per,
        seconds,
        (rates[0], rates[1]),
        None if way.accelerators else (flops / rates[0], flops / rates[1]),
        status("VmHWM"),
    )


def work(name: str, dtype: str, chosen: argparse.Namespace) -> Iterator[Result]:
    """All rows of a model in a type."""
    model, quick = MODELS[name](dtype), chosen.quick
    tokenizer = Clock()
    tokenizer.around(model.pixels)(torch.zeros(1, *model.layout.shape, dtype=torch.int64))
    batches = [batch for batch in model.batches if batch in chosen.batches]
    for batch in batches[: 1 if quick else None]:
        for way in [way for way in WAYS if way.name.split()[-1] in chosen.ways]:
            if model.by_step and dtype == "float32" and way.accelerators:
                continue  # minutes
            steps = 2 if model.by_step and not way.accelerators else model.steps
            yield measure(model, way, batch, min(steps, 8) if quick else steps, tokenizer.seconds)


def row(found: Result, exact: Result | None) -> str:
    """A row of the table."""
    ratio = "" if exact is None else f"{exact.seconds / found.seconds:.1f}x"
    shares = ["", ""] if found.shares is None else [f"{share:.0%}" for share in found.shares]
    parts = (found.trunk, found.head, found.sampling, found.tokenizer)
    cells = [
        f"{found.model}, batch {found.batch}",
        found.dtype,
        found.way,
        f"{found.seconds:.2f}",
        ratio,
        *shares,
        *(f"{part:.2f}" for part in parts),
        f"{found.memory / 2**30:.2f}",
    ]
    return f"| {' | '.join(cells)} |"


def result_row(found: Result, exact: Result | None) -> Row:
    """A row of a result file."""
    parts = {name: getattr(found, name) for name in ("seconds", "trunk", "head", "sampling")}
    values = {name: Value(part, unit="s") for name, part in parts.items()}
    values["tokenizer"] = Value(found.tokenizer, unit="s")
    values["peak memory"] = Value(round(found.memory / 2**30, 2), unit="GiB")
    if exact is not None:
        values["over exact float32"] = Value(exact.seconds / found.seconds)
    if found.shares is not None:
        values["share of torch.mm"] = Value(found.shares[0])
        values["share of own product"] = Value(found.shares[1])
    model = f"{found.model}, batch {found.batch}"
    settings: dict[str, Setting] = {
        "model": model,
        "dtype": found.dtype,
        "way": found.way,
        "steps": found.steps,
    }
    return Row(f"{model}, {found.dtype}, {found.way}", values, settings)


def main() -> None:
    """Measure and print one table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=MODELS)
    parser.add_argument("--dtypes", nargs="+", default=DTYPES, choices=DTYPES)
    parser.add_argument("--quick", action="store_true", help="one batch size, at most 8 steps")
    parser.add_argument("--ways", nargs="+", default=NAMES, choices=NAMES)
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 4])
    parser.add_argument("--part", action="store_true", help="the rows alone, as JSON")
    add_result_option(parser)
    chosen = parser.parse_args()
    if chosen.part:
        for found in work(chosen.models[0], chosen.dtypes[0], chosen):
            print(json.dumps(asdict(found)), flush=True)
        return
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}; seconds an image with")
    print("its tokenizer (MaskGIT-256, 18 steps), or a step without it (Meissonic, 1024 px).\n")
    heads = "model", "type", "how", "s", "over exact fp32", "of torch.mm fp32", "of own product"
    more = "trunk", "head", "sampling", "tokenizer", "peak GiB"
    print(f"| {' | '.join([*heads, *more])} |\n|{'---|' * (len(heads) + len(more))}", flush=True)
    exact: dict[tuple[str, int], Result] = {}
    rates: dict[tuple[str, str], str] = {}
    rows = []
    for name in chosen.models:
        for dtype in chosen.dtypes:
            for found in results(name, dtype, chosen):
                key = found.model, found.batch
                if found.way == "exact" and dtype == "float32":
                    exact[key] = found
                print(row(found, exact.get(key)), flush=True)
                rows.append(result_row(found, exact.get(key)))
                rate = ", ".join(f"{r / 1e9:.0f}" for r in found.rates)
                rates[name, dtype] = f"{name} {dtype}: {rate}"
    print("\nGFLOP/s of torch.mm in float32, and of the type's own product (last row of each):")
    print("; ".join(rates.values()))
    title = "What do types, local steps and refresh save at the published sizes?"
    write_if_asked(chosen.result, title, rows, note="Random weights.")


def results(name: str, dtype: str, chosen: argparse.Namespace) -> Iterator[Result]:
    """The rows of a process of their own."""
    command = [sys.executable, __file__, "--part", "--models", name, "--dtypes", dtype]
    command += ["--ways", *chosen.ways, "--batches", *map(str, chosen.batches)]
    command += ["--quick"] if chosen.quick else []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            yield Result(**json.loads(line))
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed")


if __name__ == "__main__":
    main()
