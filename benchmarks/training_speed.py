"""Images a second of the trainings of a tokenizer and of a transformer, in several ways.

    python benchmarks/training_speed.py [--threads 1 2] [--steps 6] [--result FILE]

Each way trains the networks of recipes/cifar10 on random data for a few steps. The share is the
rate of the transformer's matrix products relative to that of a product of large
matrices of the same number type on this machine.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from contextlib import nullcontext

import torch
import torch.nn.functional as F
from result_file import Row, Setting, Value, add_result_option, write_if_asked
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from demask.tokenizer.conv_tokenizer import ConvTokenizer, ConvTokenizerConfig
from demask.training.engine.optim import Optim
from demask.training.engine.precision import has_fast_bfloat16
from demask.transformer.modern_maskgit import ModernMaskGIT, ModernMaskGITConfig

BATCH, CODES, TOKENS = 64, 1000, 64
Loss = Callable[[], torch.Tensor]


def product_rate(dtype: torch.dtype, size: int = 1024) -> float:
    """Operations a second of a product of two square matrices."""
    a, b = torch.randn(size, size).to(dtype), torch.randn(size, size).to(dtype)
    for _ in range(3):
        a @ b
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < 0.5:
        a @ b
        count += 1
    return 2 * size**3 * count / (time.perf_counter() - start)


def transformer() -> tuple[nn.Module, Callable[[nn.Module], torch.Tensor]]:
    """The network of recipes/cifar10/masked.toml and its loss."""
    network = ModernMaskGIT(ModernMaskGITConfig(CODES, 10, (8, 8), 256, 8, 4, 512))
    ids_BL = torch.randint(0, CODES, (BATCH, TOKENS))
    class_ids_B = torch.randint(0, 10, (BATCH,))

    def loss(module: nn.Module) -> torch.Tensor:
        logits_BLV = module(ids_BL, class_ids_B)
        return F.cross_entropy(logits_BLV.float().flatten(0, 1), ids_BL.flatten())

    return network, loss


def tokenizer() -> tuple[nn.Module, Callable[[nn.Module], torch.Tensor]]:
    """The network of recipes/cifar10/tokenizer.toml and its reconstruction loss."""
    network = ConvTokenizer(ConvTokenizerConfig())
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    image_BCHW = torch.rand(BATCH, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    return network, lambda module: (module(image_BCHW).float() - image_BCHW).abs().mean()


def images_a_second(kind: str, low: bool, compiled: bool, explicit: bool, steps: int) -> float:
    """The speed of a training.

    Args:
        kind: ``transformer`` or ``tokenizer``.
        low: compute in bfloat16.
        compiled: compile the network.
        explicit: compute attention by explicit products.
        steps: the number of timed steps.
    """
    torch.manual_seed(0)
    network, loss = transformer() if kind == "transformer" else tokenizer()
    optimizers = Optim(optimizer="muon" if kind == "transformer" else "adamw").build(network)
    module = torch.compile(network) if compiled else network

    def step() -> None:
        attention = sdpa_kernel(SDPBackend.MATH) if explicit else nullcontext()
        with torch.autocast("cpu", torch.bfloat16, enabled=low), attention:
            value = loss(module)  # type: ignore[arg-type]
        value.backward()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()

    for _ in range(3):
        step()
    start = time.perf_counter()
    for _ in range(steps):
        step()
    return BATCH * steps / (time.perf_counter() - start)


def rows_of(threads: int, steps: int) -> list[Row]:
    """All ways with a number of threads."""
    torch.set_num_threads(threads)
    types = (False, True) if has_fast_bfloat16(torch.device("cpu")) else (False,)
    rate = {low: product_rate(torch.bfloat16 if low else torch.float32) for low in types}
    weights = sum(p.numel() for p in transformer()[0].parameters() if p.ndim == 2)
    rows = []
    for kind in ("tokenizer", "transformer"):
        for low in types:
            for compiled in (False, True):
                for explicit in (False, True) if kind == "transformer" else (False,):
                    speed = images_a_second(kind, low, compiled, explicit, steps)
                    settings: dict[str, Setting] = {
                        "threads": threads,
                        "type": "bfloat16" if low else "float32",
                        "compiled": str(compiled),
                        "attention": "explicit" if explicit else "fused",
                    }
                    values = {"images a second": Value(speed)}
                    if kind == "transformer":
                        share = 6 * weights * TOKENS * speed / rate[low]
                        values["share of the product"] = Value(share)
                    name = f"{kind}, {', '.join(f'{k} {v}' for k, v in settings.items())}"
                    rows.append(Row(name, values, settings))
                    shown = "  ".join(f"{k} {v.value:.3g}" for k, v in values.items())
                    print(f"{name}: {shown}", flush=True)
    return rows


def main() -> None:
    """Measure all ways, print and write them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, nargs="+", default=[1])
    parser.add_argument("--steps", type=int, default=6)
    add_result_option(parser)
    chosen = parser.parse_args()
    warnings.simplefilter("ignore")
    rows = [row for threads in chosen.threads for row in rows_of(threads, chosen.steps)]
    write_if_asked(chosen.result, "How fast are the trainings on this machine?", rows, "0")


if __name__ == "__main__":
    main()
