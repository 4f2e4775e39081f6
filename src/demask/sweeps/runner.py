"""Run trials: generate the images, measure them, write the results.

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
from demask.auxiliary import AuxiliaryNetworks
from demask.checkpoint.lora import base_fingerprint
from demask.conditioning import ConditionInput, ParsedCondition
from demask.fingerprint import fingerprint as combined_fingerprint
from demask.generator import Generator, Job
from demask.sampling.decode import last
from demask.sweeps.cost import CostMeter
from demask.sweeps.recipe import Trial
from demask.sweeps.result import Result, Value, read_result, write_result

VERSION = 1  # raised when stored results become invalid, so that they are measured again


class Evaluator(Protocol):
    """Measures images against a reference.

    Attributes:
        name: the name of the extractor.
        fingerprint: hash of everything but the images that a score depends on.
    """

    @property
    def name(self) -> str: ...

    @property
    def fingerprint(self) -> str: ...

    def extract(self, pixels_BHWC: Tensor, parsed_conditions: Sequence[ParsedCondition]) -> Any:
        """What `measure` needs of a batch of images with these conditions, such as features."""
        ...

    def measure(self, seen: Sequence[Any]) -> list[Value]:
        """The metrics of all images, from the results of `extract`."""
        ...


Load = Callable[[tuple[str, ...], str | None], Generator]
"""Auxiliary networks and type of the weights (None = the default) -> the model."""

WARM = 4
"""Images that are generated before the measurement, without being timed."""

OnImages = Callable[[int], None]
"""Called with the number of the trial's images that are done."""


@dataclass(frozen=True)
class SweepRunner:
    """Runs trials; each result is stored and not measured again.

    Attributes:
        load: loads the model with auxiliary networks, in a type.
        evaluators: the evaluators of the images.
        folder: the folder of the results, a file each.
        batch_size: images of a batch.
        command: the command line, for the result files.
        condition_inputs: conditions, used in turn; None = the defaults of the model.
        generators: the models loaded so far, by their auxiliary networks and type.
        fingerprints: cached fingerprints of their networks, by the identity of the object.
    """

    load: Load
    evaluators: Sequence[Evaluator]
    folder: Path
    batch_size: int = 100
    command: str = ""
    condition_inputs: tuple[ConditionInput, ...] | None = None
    generators: dict[tuple[tuple[str, ...], str | None], Generator] = field(default_factory=dict)
    fingerprints: dict[int, str] = field(default_factory=dict)

    def generator(self, trial: Trial) -> Generator:
        """The model with the settings of a trial; only the networks that these need are loaded."""
        which = trial.aux, trial.dtype
        if which not in self.generators:
            self.generators[which] = self.load(*which)
        loaded = self.generators[which]
        store = loaded.aux
        fresh = AuxiliaryNetworks(store.model, store.files, lambda kind, _path: store.get(kind))
        generator = replace(loaded, settings=trial.settings, aux=fresh)
        generator.jobs(self.condition_inputs, trial.count, trial.seed, self.batch_size)
        return generator

    def key(self, trial: Trial, generator: Generator) -> str:
        """The hash of everything that the result of a trial depends on."""
        precision = precision_of(cast(nn.Module, generator.transformer))
        return combined_fingerprint(
            VERSION,
            sorted(asdict(trial.settings).items()),
            trial.count,
            trial.seed,
            sorted(self.networks(generator).items()),
            *(f"{evaluator.name} {evaluator.fingerprint}" for evaluator in self.evaluators),
            # not part of the networks' fingerprints
            *([] if precision == str(torch.float32) else [precision]),
            *(self.condition_inputs or ()),
        )

    def networks(self, generator: Generator) -> dict[str, str]:
        """The fingerprints of the networks that the generator's settings use."""
        used: dict[str, Any] = {
            "transformer": generator.transformer,
            "tokenizer": generator.tokenizer,
            **generator.aux.loaded,
        }
        return {name: self.fingerprint(network) for name, network in used.items()}

    def fingerprint(self, network: nn.Module) -> str:
        """The fingerprint of a network, cached, since the runner never modifies its networks."""
        if id(network) not in self.fingerprints:
            self.fingerprints[id(network)] = base_fingerprint(network)
        return self.fingerprints[id(network)]

    def path(self, trial: Trial) -> Path:
        """The path of a trial's result."""
        return self.folder / "rows" / f"{self.key(trial, self.generator(trial))}.json"

    def measured(self, trial: Trial, on_images: OnImages = lambda done: None) -> Result:
        """The result of a trial, measured unless it is stored.

        Raises:
            ValueError: the model does not support the settings, or there are too few images for a
                metric.
        """
        path = self.path(trial)
        if path.is_file():
            return read_result(path, trial)
        result = self.measure(trial, on_images)
        write_result(path, result)
        return result

    def measure(self, trial: Trial, on_images: OnImages = lambda done: None) -> Result:
        """Generate and measure batch by batch; only one batch of images is in memory."""
        generator, meter, done = self.generator(trial), CostMeter(), 0
        seen: list[list[Any]] = [[] for _ in self.evaluators]
        for job in generator.jobs(self.condition_inputs, min(trial.count, WARM), trial.seed):
            decode_job(generator, job)
        for job in generator.jobs(self.condition_inputs, trial.count, trial.seed, self.batch_size):
            pixels_BHWC = decode_metered(generator, job, meter)
            for evaluator, parts in zip(self.evaluators, seen, strict=True):
                parts.append(evaluator.extract(pixels_BHWC, job.parsed_conditions))
            done += len(pixels_BHWC)
            on_images(done)
        values = [
            v
            for evaluator, parts in zip(self.evaluators, seen, strict=True)
            for v in evaluator.measure(parts)
        ]
        return Result(
            trial,
            tuple(values),
            meter.forwards / trial.count,
            meter.seconds / trial.count,
            meter.cpu_seconds / trial.count,
            self.facts(generator),
        )

    def facts(self, generator: Generator) -> Mapping[str, Any]:
        """The facts of a result; see `Result`."""
        return {
            "model": generator.name,
            "networks": self.networks(generator),
            "evaluators": {evaluator.name: evaluator.fingerprint for evaluator in self.evaluators},
            "device": str(generator.device),
            "threads": torch.get_num_threads(),
            "commit": commit(),
            "command": self.command,
            "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        }


def precision_of(transformer: nn.Module) -> str:
    """The number type of a transformer's matrix products."""
    kinds = {layer.precision for layer in quantized_layers(transformer).values()}
    dtype = next(transformer.parameters()).dtype
    return " ".join([str(dtype), *sorted(map(str, kinds))])


def decode_metered(generator: Generator, job: Job, meter: CostMeter) -> Tensor:
    """Generate one batch, uint8 (B, H, W, 3), and add its cost to the meter."""
    metered = meter.metered(generator)
    with meter.timing():
        return decode_job(metered, job)


def decode_job(generator: Generator, job: Job) -> Tensor:
    """Generate one batch, uint8 (B, H, W, 3)."""
    state = last(generator.decode(job, generator.blank(job)))
    return generator.pixels(state.ids_BL, state.step.layout, state.condition)


@cache
def commit() -> str:
    """The git commit of the source code; empty outside of a working copy."""
    words = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


def command_line() -> str:
    """The command line of this process."""
    import shlex

    return shlex.join(["demask", *sys.argv[1:]])
