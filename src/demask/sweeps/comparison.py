"""A comparison: settings, prompts, seeds and scorers.

Shape legend: P prompts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import cast

from torch import nn

from demask.auxiliary import AuxiliaryNetworks
from demask.checkpoint.lora import base_fingerprint
from demask.conditioning import Prompts
from demask.evaluation.scorers import Scorer
from demask.evaluation.win_rate import RESAMPLES
from demask.fingerprint import fingerprint
from demask.generator import Generator, Job
from demask.settings import Settings
from demask.sweeps.gallery import Variant

VERSION = 1  # raised when stored scores become invalid, so that they are measured again
CONTROL = "other words"
"""The name of the row of the base's images, scored with other prompts."""


@dataclass(frozen=True)
class Comparison:
    """Settings that are compared on the same prompts and seeds.

    Attributes:
        generator: a model of prompts.
        variants: settings; the first is the base that all others are compared with.
        prompts: the prompts.
        scorers: they score each image with its prompt.
        num_seeds: images per prompt.
        first_seed: the first seed; the others follow it.
        batch_size: images of a batch.
        resamples: bootstrap resamples of the intervals.
        control: whether the images of the base are also scored with other prompts.
        command: the command line, for the result files.

    Raises:
        ValueError: nothing to compare, a name twice, or a model or settings that cannot be used.
    """

    generator: Generator
    variants: Sequence[Variant]
    prompts: Sequence[str]
    scorers: Sequence[Scorer]
    num_seeds: int = 4
    first_seed: int = 0
    batch_size: int = 64
    resamples: int = RESAMPLES
    control: bool = False
    command: str = ""

    def __post_init__(self) -> None:
        names = [variant.name for variant in self.variants] + [CONTROL] * self.control
        if len(self.variants) + self.control < 2:
            raise ValueError("nothing to compare: name at least two variants")
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two variants are called '{twice[0]}'")
        if self.num_seeds < 1:
            raise ValueError(f"the number of seeds must be at least 1, not {self.num_seeds}")
        if self.resamples < 2:
            raise ValueError(f"resamples must be at least 2, not {self.resamples}")
        if not isinstance(self.generator.conditioner, Prompts):
            raise ValueError(
                f"{self.generator.name} is a model of classes; scorers compare models of prompts"
            )
        if self.control and len(set(self.prompts)) < 2:
            raise ValueError("a control needs at least two different prompts")
        for variant in self.variants:
            self.generator_for(variant)

    @property
    def count(self) -> int:
        """Images of each variant; image n shows prompt ``n % P``."""
        return len(self.prompts) * self.num_seeds

    @property
    def words(self) -> list[str]:
        """The prompt of each image."""
        return list(self.prompts) * self.num_seeds

    @property
    def other_words(self) -> list[str]:
        """Another prompt for each image: the next different one."""
        count = len(self.prompts)
        others = []
        for n, prompt in enumerate(self.prompts):
            following = (self.prompts[(n + k) % count] for k in range(1, count))
            others.append(next(text for text in following if text != prompt))
        return others * self.num_seeds

    def generator_for(self, variant: Variant) -> Generator:
        """The generator of a variant; only the auxiliary networks that it needs are loaded."""
        store = self.generator.aux
        fresh = AuxiliaryNetworks(store.model, store.files, lambda kind, _path: store.get(kind))
        generator = replace(self.generator, aux=fresh)
        generator.jobs(self.words, None, self.first_seed, self.batch_size, **variant.settings)
        return generator

    def jobs(self, generator: Generator, variant: Variant, start: int) -> Iterator[Job]:
        """The batches of a variant, from image ``start`` on."""
        seeds = range(self.first_seed + start, self.first_seed + self.count)
        words = self.words[start:]
        return generator.jobs(words, None, list(seeds), self.batch_size, **variant.settings)

    def key(self, variant: Variant) -> str:
        """The hash of everything that the scores of a variant depend on."""
        dtype = next(cast(nn.Module, self.generator.transformer).parameters()).dtype
        return fingerprint(
            VERSION,
            sorted(asdict(self.settings(variant)).items()),
            self.first_seed,
            self.num_seeds,
            *self.prompts,
            *sorted(self.networks(variant).items()),
            *(f"{scorer.name} {scorer.fingerprint}" for scorer in self.scorers),
            str(dtype),
            self.control and variant is self.variants[0],
        )

    def settings(self, variant: Variant) -> Settings:
        """All settings of a variant."""
        return self.generator.chosen(**variant.settings)

    def networks(self, variant: Variant) -> dict[str, str]:
        """The fingerprints of the networks that a variant uses."""
        generator = self.generator_for(variant)
        used = {
            "transformer": generator.transformer,
            "tokenizer": generator.tokenizer,
            "text": cast(Prompts, generator.conditioner).text.model,
            **generator.aux.loaded,
        }
        return {name: base_fingerprint(cast(nn.Module, n)) for name, n in used.items()}
