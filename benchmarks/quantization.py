"""Low precision: ratios of the seconds of a forward pass, and the memory of a Meissonic.

Speed: float32 (with packed weights, as it is loaded), bfloat16 and int8 alternately, repeated in
one process, so that a busy machine affects all alike; the minimum of each is the result. With one
thread they are seconds of the processor, which other programs disturb less.

Memory: a Meissonic of the published size with random weights is built in bfloat16 and turned into
``w4a8`` layer by layer, each in a process of its own: bytes of all its tensors, the resident memory
after it, and the peak of building and of one forward at 1024x1024 pixels.

    python benchmarks/quantization.py [--threads 1] [--rounds 5] [--only NAME ...]
"""

from __future__ import annotations

import argparse
import copy
import ctypes
import gc
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from result_file import Row, Value, add_result_option, write_if_asked
from torch import nn

import demask
from demask.acceleration.packing import pack
from demask.acceleration.quantization import (
    SCHEMES,
    SHARE,
    linear_layers,
    precision_of,
    quantize,
    quantized_layers,
)
from demask.checkpoint.unfilled import Unfilled
from demask.transformer.maskgit import MaskGIT, MaskGITConfig
from demask.transformer.meissonic import Meissonic, MeissonicConfig
from demask.transformer.quantized_linear import Precision, QuantizedLinear
from demask.types import Condition, Step

TOKENS, TEXTS = (64, 64), 77


def memory(what: str) -> int:
    """A line of this process's status, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(what))


def forward(network: Any, condition: Condition) -> Callable[[], object]:
    """One prediction of an empty canvas."""
    count = len(condition)
    ids_BL = torch.full((count, network.layout.tokens), network.mask_id)
    step = Step(0, 8, network.layout, torch.ones(count))
    return lambda: network.predict(ids_BL, condition, step)


def shipped(name: str, count: int) -> tuple[Any, Condition]:
    """A shipped model's transformer, and the condition of a batch."""
    model = demask.load(name, device="cpu", low_memory=True)
    condition_inputs = (
        [i % 10 for i in range(count)] if model.class_names else ["red apple"] * count
    )
    return model.transformer, model.condition(condition_inputs)


def published(count: int) -> tuple[Any, Condition]:
    """A MaskGIT-256 with random weights."""
    torch.manual_seed(0)
    network = MaskGIT(MaskGITConfig.imagenet_256(tied=True)).eval()
    return network, Condition({"class_ids": torch.zeros(count, dtype=torch.int64)})


MODELS: dict[str, Callable[[], tuple[Any, Condition]]] = {
    "cifar10, batch 64": lambda: shipped("cifar10", 64),
    "emoji, batch 16": lambda: shipped("emoji", 16),
    "MaskGIT-256, batch 1": lambda: published(1),
    "MaskGIT-256, batch 4": lambda: published(4),
}


@torch.inference_mode()
def speed(name: str, rounds: int) -> Row:
    """Print one line, and return it."""
    network, condition = MODELS[name]()
    low = copy.deepcopy(network)
    quantize(low, SCHEMES["int8"])
    half = copy.deepcopy(network).bfloat16()
    pack(network)
    pack(low)
    runs = {
        "float32": forward(network, condition),
        "bfloat16": forward(half, condition),
        "int8": forward(low, condition),
    }
    seconds: dict[str, list[float]] = {kind: [] for kind in runs}
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    for kind in [*runs, *list(runs) * rounds]:
        start = clock()
        runs[kind]()
        seconds[kind].append(clock() - start)
    least = {kind: min(times[1:]) for kind, times in seconds.items()}
    ratios = ", ".join(
        f"{kind} {least[kind] * 1e3:.1f} ms, {least['float32'] / least[kind]:.2f}x" for kind in runs
    )
    print(f"{name}: {ratios}", flush=True)
    faster = {kind: Value(least["float32"] / least[kind]) for kind in runs if kind != "float32"}
    return Row(name, faster)


def random_fill(network: nn.Module, dtype: torch.dtype) -> None:
    """Small random numbers for every tensor that takes no memory yet."""
    random = torch.Generator().manual_seed(0)
    for module in network.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            if parameter.is_meta:
                values = torch.empty(parameter.shape, dtype=dtype)
                values.uniform_(-0.03, 0.03, generator=random)
                setattr(module, name, nn.Parameter(values, requires_grad=False))


def rounded(precision: Precision, layer: nn.Linear) -> QuantizedLinear:
    """A layer of random numbers in low precision; the weights in floating point never exist."""
    low = QuantizedLinear(layer.in_features, layer.out_features, layer.bias is not None, precision)
    assert low.groups is not None
    random = torch.Generator().manual_seed(0)
    low.codes.copy_(torch.randint(0, 256, low.codes.shape, dtype=torch.uint8, generator=random))
    low.groups.fill_(12)
    low.scale.fill_(2e-4)
    if low.bias is not None:
        low.bias.zero_()
    return low.bfloat16().requires_grad_(False)


@torch.inference_mode()
def meissonic(kind: str) -> None:
    """Build it, and print its numbers as JSON."""
    before = memory("VmRSS")
    with Unfilled():
        network = Meissonic(MeissonicConfig()).eval()
    if kind == "w4a8":
        layers = list(linear_layers(network))
        for index, (parent, name, _, layer) in enumerate(layers):
            precision = precision_of(SCHEMES["w4a8"], layer.in_features)
            assert precision is not None
            if index % round(1 / SHARE) == 0:
                precision = Precision(4, 8, precision.group)
            setattr(parent, name, rounded(precision, layer))
    random_fill(network, torch.bfloat16)
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    weights = sum(t.numel() * t.element_size() for t in network.state_dict().values())
    resident, built = memory("VmRSS") - before, memory("VmHWM") - before
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    condition = Condition(
        {
            "states": torch.zeros(1, TEXTS, 1024),
            "pooled": torch.zeros(1, 1024),
            "micro": torch.full((1, 5), 6.0),
        }
    )
    start = time.process_time()
    forward(network, condition)()
    numbers = {
        "weights": weights,
        "resident": resident,
        "built": built,
        "peak": memory("VmHWM") - before,
        "seconds": time.process_time() - start,
        "layers": len(quantized_layers(network)),
    }
    print(json.dumps(numbers))


def memories(threads: int) -> list[Row]:
    """Print a line for each kind, and the shares, and return them."""
    found = {}
    for kind in ("bfloat16", "w4a8"):
        words = [sys.executable, __file__, "--child", kind, "--threads", str(threads)]
        run = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True)
        found[kind] = json.loads(run.stdout.splitlines()[-1])
        sizes = {k: f"{v / 2**20:.0f} MiB" for k, v in found[kind].items() if v > 1e6}
        seconds = f"a forward {found[kind]['seconds']:.1f} s of the processor"
        print(f"Meissonic in {kind}: {sizes}, {seconds}", flush=True)
    shares = {k: found["w4a8"][k] / found["bfloat16"][k] for k in ("weights", "resident", "peak")}
    print("w4a8 / bfloat16:", ", ".join(f"{k} {v:.3f}" for k, v in shares.items()))
    rows = []
    for kind, numbers in found.items():
        values = {k: Value(round(v / 2**20), unit="MiB") for k, v in numbers.items() if v > 1e6}
        if kind == "w4a8":
            values |= {f"share of {k}": Value(share) for k, share in shares.items()}
        rows.append(Row(f"Meissonic in {kind}", values))
    return rows


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="+", default=[*MODELS, "meissonic"])
    parser.add_argument("--child", help=argparse.SUPPRESS)
    add_result_option(parser)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    if chosen.child:
        meissonic(chosen.child)
        return
    rows: list[Row] = []
    for name in chosen.only:
        if name == "meissonic":
            rows += memories(chosen.threads)
        else:
            rows.append(speed(name, chosen.rounds))
    title = "What do bfloat16 and int8 save of a forward pass?"
    write_if_asked(chosen.result, title, rows, note="Times of float32 over the others.")


if __name__ == "__main__":
    main()
