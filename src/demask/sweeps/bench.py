"""Measure one row: paint its pictures, look at them, write down what was seen.

Shape legend: B batch, H W rows and columns of pixels, C colours.
"""

from __future__ import annotations

import datetime
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn

from demask.acceleration.quantization import quantized_layers
from demask.checkpoint.lora import base_fingerprint
from demask.companions import Companions
from demask.conditioning import Subject, Wish
from demask.data.pictures import fingerprint
from demask.generator import Generator, Job
from demask.sampling.decode import last
from demask.sweeps.recipe import Row
from demask.sweeps.result import Result, Value, read_result, write_result
from demask.sweeps.tally import Tally

VERSION = 1  # of what a result means: an older one is measured again


class Ruler(Protocol):
    """An extractor, the features of the reference, and what to measure between the two.

    Attributes:
        name: of the extractor.
        fingerprint: of everything that a number depends on beside the pictures.
    """

    @property
    def name(self) -> str: ...

    @property
    def fingerprint(self) -> str: ...

    def look(self, pixels_BHWC: Tensor, subjects: Sequence[Subject]) -> Any:
        """The features of some pictures, and of what they should show: all that is kept."""
        ...

    def measure(self, seen: Sequence[Any]) -> list[Value]:
        """The metrics of all pictures seen."""
        ...


Load = Callable[[tuple[str, ...], str | None], Generator]
"""The model with some companions beside it, in a type or in the usual one."""

WARM = 4
"""Pictures that are painted before the clock runs."""

Watch = Callable[[int], None]
"""Is told how many pictures of the row are done."""


@dataclass(frozen=True)
class Bench:
    """Where rows are measured, each once.

    Attributes:
        load: the model with a row's companions, in a row's type.
        rulers: what looks at the pictures.
        folder: where results lie, a file each.
        batch_size: pictures painted together.
        command: what to write down as the way to make the results again.
        wishes: what the pictures show, in turn; None: what is usual for the model.
        generators: those loaded so far, by their companions and type.
        prints: fingerprints of their networks, by companions.
    """

    load: Load
    rulers: Sequence[Ruler]
    folder: Path
    batch_size: int = 100
    command: str = ""
    wishes: tuple[Wish, ...] | None = None
    generators: dict[tuple[tuple[str, ...], str | None], Generator] = field(default_factory=dict)
    prints: dict[int, str] = field(default_factory=dict)

    def generator(self, row: Row) -> Generator:
        """The model with the settings of a row, and no companion loaded but what these need."""
        which = row.companions, row.dtype
        if which not in self.generators:
            self.generators[which] = self.load(*which)
        loaded = self.generators[which]
        store = loaded.companions
        fresh = Companions(store.model, store.files, lambda kind, _path: store.get(kind))
        generator = replace(loaded, settings=row.settings, companions=fresh)
        generator.jobs(self.wishes, row.count, row.seed, self.batch_size)
        return generator

    def key(self, row: Row, generator: Generator) -> str:
        """The name of a row's result: another one for anything that its numbers depend on."""
        precision = precision_of(cast(nn.Module, generator.transformer))
        return fingerprint(
            VERSION,
            sorted(asdict(row.settings).items()),
            row.count,
            row.seed,
            sorted(self.networks(generator).items()),
            *(f"{ruler.name} {ruler.fingerprint}" for ruler in self.rulers),
            # fingerprints of networks do not say it
            *([] if precision == str(torch.float32) else [precision]),
            *(self.wishes or ()),
        )

    def networks(self, generator: Generator) -> dict[str, str]:
        """The fingerprints of the networks that paint under the generator's settings."""
        used: dict[str, Any] = {
            "transformer": generator.transformer,
            "tokenizer": generator.tokenizer,
            **generator.companions.loaded,
        }
        return {name: self.print(network) for name, network in used.items()}

    def print(self, network: nn.Module) -> str:
        """The fingerprint of a network; those of a bench are never let go of, nor changed."""
        if id(network) not in self.prints:
            self.prints[id(network)] = base_fingerprint(network)
        return self.prints[id(network)]

    def path(self, row: Row) -> Path:
        """Where the result of a row is, or will be."""
        return self.folder / "rows" / f"{self.key(row, self.generator(row))}.json"

    def measured(self, row: Row, watch: Watch = lambda done: None) -> Result:
        """The result of a row, measured now unless it was before.

        Raises:
            ValueError: settings that the model cannot paint under, or too few pictures for a
                metric.
        """
        path = self.path(row)
        if path.is_file():
            return read_result(path, row)
        result = self.measure(row, watch)
        write_result(path, result)
        return result

    def measure(self, row: Row, watch: Watch = lambda done: None) -> Result:
        """Paint and look, a batch at a time; no picture stays in memory."""
        generator, tally, done = self.generator(row), Tally(), 0
        seen: list[list[Any]] = [[] for _ in self.rulers]
        for job in generator.jobs(self.wishes, min(row.count, WARM), row.seed):
            paint(generator, job)
        for job in generator.jobs(self.wishes, row.count, row.seed, self.batch_size):
            pixels_BHWC = tallied(generator, job, tally)
            for ruler, parts in zip(self.rulers, seen, strict=True):
                parts.append(ruler.look(pixels_BHWC, job.subjects))
            done += len(pixels_BHWC)
            watch(done)
        values = [
            v for ruler, parts in zip(self.rulers, seen, strict=True) for v in ruler.measure(parts)
        ]
        return Result(
            row,
            tuple(values),
            tally.forwards / row.count,
            tally.seconds / row.count,
            tally.cpu_seconds / row.count,
            self.facts(generator),
        )

    def facts(self, generator: Generator) -> Mapping[str, Any]:
        """How and where a result came about."""
        return {
            "model": generator.name,
            "networks": self.networks(generator),
            "rulers": {ruler.name: ruler.fingerprint for ruler in self.rulers},
            "device": str(generator.device),
            "threads": torch.get_num_threads(),
            "commit": commit(),
            "command": self.command,
            "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        }


def precision_of(transformer: nn.Module) -> str:
    """The type that a transformer multiplies in."""
    kinds = {layer.precision for layer in quantized_layers(transformer).values()}
    dtype = next(transformer.parameters()).dtype
    return " ".join([str(dtype), *sorted(map(str, kinds))])


def tallied(generator: Generator, job: Job, tally: Tally) -> Tensor:
    """One batch as bytes (B, H, W, 3), and what it cost."""
    networks = (generator.transformer, *generator.companions.loaded.values())
    with tally.counting(*networks), tally.timing():
        return paint(generator, job)


def paint(generator: Generator, job: Job) -> Tensor:
    """One batch as bytes (B, H, W, 3)."""
    state = last(generator.decode(job, generator.blank(job)))
    return generator.pixels(state.ids_BL, state.step.grid)


@cache
def commit() -> str:
    """The commit of the program, or nothing where it is not a working copy."""
    words = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


def command_line() -> str:
    """What was typed."""
    import shlex

    return shlex.join(["demask", *sys.argv[1:]])
