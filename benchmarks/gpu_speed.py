"""The published sizes with random weights on a GPU: images a second in several ways of computing.

MaskGIT-256 in 18 steps without guidance, and Meissonic at 1024x1024 pixels in 32 steps with
classifier-free guidance, both in bfloat16 through the ordinary decode loop, with the tokenizer:

- ``exact``: as `demask.load` makes it;
- ``local steps``: three of four steps compute only what changes;
- ``CUDA graph``: a pass is recorded once and replayed;
- ``compiled``: `torch.compile`, whose passes are recorded, too;
- ``float8``: compiled, and the matrix products inside the blocks are of float8 numbers (e4m3) with
  a scale for each row of the input and of the weights.

Ways that need a CUDA device are left out without one. A row is written as soon as it is measured,
the cheap ones first; ``--seconds`` ends the measurement before the next row.

    python benchmarks/gpu_speed.py [--seconds 120] [--tiny] [--result results/gpu.json]
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from gpu_speed_models import MODELS, Compiled, Graph, Model, Pass, forward_of, models, to_float8
from result_file import Row, Setting, Value, add_result_option, write_if_asked
from torch import Tensor

from demask import rng
from demask.acceleration import LocalSteps, accelerate
from demask.guidance import ClassifierFree, Constant
from demask.sampling.decode import decode
from demask.sampling.edit import blank
from demask.sampling.sampler import Sampler
from demask.sampling.schedule import arccos
from demask.sampling.select import Halton
from demask.transformer.meissonic import Meissonic
from demask.types import Condition, Predict, Prediction, Step

WAYS = ("exact", "local steps", "CUDA graph", "compiled", "float8")
ON_CUDA = WAYS[2:]


def predict_of(way: str, transformer: Any) -> Predict:
    """The prediction that the decode loop calls."""
    if way == "exact":
        return transformer.predict
    if way == "local steps":
        return accelerate(transformer, [LocalSteps(4, 2)]).predict
    forward = forward_of(transformer)
    run: Pass = Graph(forward) if way == "CUDA graph" else Compiled(forward)

    def predict(ids_BL: Tensor, condition: Condition, step: Step) -> Prediction:
        ratio_B = step.mask_ratio_B
        timed = isinstance(transformer, Meissonic)
        time_B = transformer.time(step, ids_BL) if timed else ratio_B.to(ids_BL.device)
        return Prediction(run(ids_BL, time_B, **condition.tensors))

    return predict


@dataclass
class Loaded:
    """A model on the device."""

    model: Model
    transformer: Any
    tokenizer: Any
    device: torch.device

    def condition(self, batch: int) -> Condition:
        """The condition, in the type of the weights."""
        found = self.model.condition(batch, self.transformer).to(self.device)
        kinds = {
            n: t.bfloat16() if n in ("states", "pooled") else t for n, t in found.tensors.items()
        }
        return Condition(kinds)

    @property
    def size(self) -> int:
        """The bytes of the weights."""
        parts = self.transformer, self.tokenizer
        return sum(t.numel() * t.element_size() for p in parts for t in p.state_dict().values())

    @torch.inference_mode()
    def images(self, predict: Predict, way: str, batch: int) -> Tensor:
        """Decode a batch."""
        if self.model.guided:
            predict = ClassifierFree(predict, self.condition(1), Constant(9.0))
        steps, local = self.model.steps, way == "local steps"
        sampler = Sampler(steps=steps, order=Halton(), schedule=arccos) if local else Sampler(steps)
        transformer = self.transformer
        canvas = blank(batch, transformer.layout, transformer.mask_id, self.device)
        generators = rng.image_generators(range(batch))
        for state in decode(predict, self.condition(batch), canvas, generators, sampler):
            ids_BL = state.ids_BL
        image: Tensor = self.tokenizer.decode(ids_BL.unflatten(1, transformer.layout.dims))
        return image

    @torch.inference_mode()
    def agreement(self, predict: Predict) -> float:
        """The fraction of most likely codes that a way shares with the exact one, all masked."""
        layout, batch = self.transformer.layout, 1
        ids_BL = blank(batch, layout, self.transformer.mask_id, self.device).ids_BL
        step = Step(0, self.model.steps, layout, torch.ones(batch, dtype=torch.float64))
        asked = ids_BL, self.condition(batch), step
        says = [p(*asked).logits_BLV.argmax(-1) for p in (self.transformer.predict, predict)]
        return float((says[0] == says[1]).float().mean())


def loaded(model: Model, device: torch.device) -> Loaded:
    """A model with random weights, made on the device."""
    torch.manual_seed(0)
    with torch.device(device):
        parts = [make().eval() for make in (model.make, model.make_tokenizer)]
    parts = [part.to(torch.bfloat16).requires_grad_(False) for part in parts]
    return Loaded(model, parts[0], parts[1], device)


def measure(found: Loaded, way: str, batch: int, rounds: int = 2) -> Row:
    """Images a second of a way, and the seconds of the first round, which compiles."""
    on_cuda = found.device.type == "cuda"
    if on_cuda:
        torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated() - found.size if on_cuda else 0
    if way == "float8":
        kept, found = (
            found,
            replace(found, transformer=loaded(found.model, found.device).transformer),
        )
        to_float8(found.transformer)
        predict = predict_of(way, found.transformer)
        agreement = replace(found, transformer=kept.transformer).agreement(predict)
    else:
        predict = predict_of(way, found.transformer)
        agreement = found.agreement(predict)
    start = time.perf_counter()
    found.images(predict, way, batch)
    synchronise(on_cuda)
    first = time.perf_counter() - start
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        found.images(predict, way, batch)
        synchronise(on_cuda)
        times.append(time.perf_counter() - start)
    peak = torch.cuda.max_memory_allocated() - before if on_cuda else resident()
    values = {
        "images a second": Value(batch / min(times)),
        "seconds": Value(min(times) / batch, unit="s"),
        "first batch": Value(first, unit="s"),
        "peak memory": Value(peak / 2**30, unit="GiB"),
        "same codes": Value(agreement),
    }
    settings: dict[str, Setting] = {
        "model": found.model.name,
        "way": way,
        "batch": batch,
        "steps": found.model.steps,
    }
    return Row(f"{found.model.name}, batch {batch}, {way}", values, settings)


def synchronise(on_cuda: bool) -> None:
    """Wait for the device."""
    if on_cuda:
        torch.cuda.synchronize()


def resident() -> int:
    """The peak of this process's memory, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def cases(chosen: argparse.Namespace, device: torch.device) -> Iterator[tuple[Model, str, int]]:
    """All measurements in order: the ways of both models in turn, the fast ones first."""
    for way in chosen.ways:
        for model in models(chosen.tiny, chosen.models):
            for batch in model.batches:
                if way not in ON_CUDA or device.type == "cuda":
                    yield model, way, batch


def main() -> None:
    """Measure and print one table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=600, help="when to begin no more rows")
    parser.add_argument("--ways", nargs="+", default=WAYS, choices=WAYS)
    parser.add_argument("--models", nargs="+", default=MODELS, choices=MODELS)
    parser.add_argument("--tiny", action="store_true", help="tiny models, to try the benchmark")
    add_result_option(parser)
    chosen = parser.parse_args()
    end = time.perf_counter() + chosen.seconds
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    ready: dict[str, Loaded] = {}
    rows: list[Row] = []
    notes = [] if device.type == "cuda" else [f"No CUDA device: without {', '.join(ON_CUDA)}."]
    for model, way, batch in cases(chosen, device):
        if time.perf_counter() > end:
            notes.append("The time ended before all rows were measured.")
            break
        try:
            if model.name not in ready:
                ready[model.name] = loaded(model, device)
            rows.append(measure(ready[model.name], way, batch))
        except (RuntimeError, ValueError, TypeError) as error:
            notes.append(f"{model.name}, batch {batch}, {way} failed: {first_line(error)}")
            print(notes[-1], file=sys.stderr, flush=True)
            continue
        shown = {n: f"{v.value:.3g}{v.unit and ' ' + v.unit}" for n, v in rows[-1].values.items()}
        print(rows[-1].name, "; ".join(f"{n} {v}" for n, v in shown.items()), flush=True)
        title = "How many images a second do the published sizes make on a GPU?"
        note = " ".join(["Random weights, bfloat16.", *notes])
        write_if_asked(chosen.result, title, rows, note=note)
    if not rows:
        raise SystemExit("nothing was measured")


def first_line(error: Exception) -> str:
    """The first line of an error message."""
    return next(iter(str(error).splitlines()), type(error).__name__)[:200]


if __name__ == "__main__":
    main()
