"""The recipe of a sweep, and its trials."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from demask.evaluation.metrics import METRICS
from demask.preset_file import PresetFile
from demask.registry import unknown
from demask.settings import DTYPES, Settings, settings_from


@dataclass(frozen=True)
class Measuring:
    """How each trial is measured.

    Attributes:
        count: images per trial, with classes spread evenly.
        seeds: the seeds of the first image; the following images have the following seeds. There is
            a trial for each, with the same seeds for all settings.
        extractors: rows of `EXTRACTORS`, with options.
        metrics: rows of `METRICS`; () = all that samples and reference allow.
        resamples: random halves for the confidence intervals; 0 = none.
        batch_size: images of a batch.
        leave_out: for retrieval, whose prompts are the reference's main captions: captions that
            contain one of these words are no prompts.
    """

    count: int = 1000
    seeds: tuple[int, ...] = (0,)
    extractors: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    resamples: int = 30
    batch_size: int = 100
    leave_out: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.count < 2:
            raise ValueError(f"count must be at least 2 images, not {self.count}")
        if not self.seeds:
            raise ValueError("seeds must be a list of at least one seed")
        for metric in self.metrics:
            METRICS[metric]


@dataclass(frozen=True)
class Method:
    """A method: settings, and a grid of values for some of them; a curve of the plots.

    Attributes:
        name: its name; methods of the same name share a curve.
        settings: settings besides the shared ones; ``preset`` names a preset to start from.
        grid: setting -> values; every combination is a trial.
        aux: auxiliary networks, which take precedence over those in the model's folder.
        facts: numbers of the method that are no settings, such as the length of a fine-tuning; a
            plot may have one as its axis.
        final: whether it takes part in the final table.
        dtypes: types of the model's weights, by the names of ``--dtype``, each with its own trials.
            () = the type of the command.
    """

    name: str
    settings: dict[str, Any] = field(default_factory=dict)
    grid: dict[str, list[Any]] = field(default_factory=dict)
    aux: tuple[str, ...] = ()
    facts: dict[str, float] = field(default_factory=dict)
    final: bool = True
    dtypes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for dtype in self.dtypes:
            if dtype not in DTYPES:
                raise ValueError(unknown("dtype", dtype, DTYPES))
        if empty := [key for key, values in self.grid.items() if not values]:
            raise ValueError(f"the grid of '{self.name}' has no values for {', '.join(empty)}")


@dataclass(frozen=True)
class Final:
    """The final table: the best trial of each method, measured again with other seeds.

    Attributes:
        count: number of images.
        seeds: seeds of the first image, different from those of the search.
        by: the metric that selects the best trial.
    """

    count: int = 5000
    seeds: tuple[int, ...] = (1_000_000,)
    by: str = "frechet"


@dataclass(frozen=True)
class SweepRecipe:
    """A recipe file of ``demask sweep``.

    Attributes:
        methods: the methods.
        measure: how each trial is measured.
        settings: settings that all methods share.
        final: the final table; None = none.
    """

    methods: tuple[Method, ...]
    measure: Measuring = field(default_factory=Measuring)
    settings: dict[str, Any] = field(default_factory=dict)
    final: Final | None = None

    def __post_init__(self) -> None:
        if not self.methods:
            raise ValueError("a sweep needs at least one of [[methods]]")
        if self.final is not None:
            METRICS[self.final.by]
            measured = self.measure.metrics
            if measured and self.final.by not in measured:
                raise ValueError(unknown("metric of the final", self.final.by, measured))
        self.rows(None)

    def rows(self, presets: PresetFile | None) -> list[Trial]:
        """All trials.

        Args:
            presets: the presets of the model; None checks everything else without them.

        Raises:
            ValueError: an unknown setting or preset, or an invalid value.
        """
        return [
            row
            for method in self.methods
            for values in itertools.product(*method.grid.values())
            for row in self.rows_of(method, dict(zip(method.grid, values, strict=True)), presets)
        ]

    def rows_of(
        self, method: Method, point: Mapping[str, Any], presets: PresetFile | None
    ) -> list[Trial]:
        """The trials of one point of a method's grid: one for each type and seed."""
        given = {**self.settings, **method.settings, **point}
        try:
            settings = chosen(given, presets)
        except ValueError as error:
            raise ValueError(f"method '{method.name}': {error}") from error
        row = Trial(
            method.name,
            settings,
            method.aux,
            {**method.facts, **{k: v for k, v in point.items() if isinstance(v, int | float)}},
            tuple(point),
            self.measure.count,
            self.measure.seeds[0],
            takes_part=method.final,
        )
        dtypes: tuple[str | None, ...] = method.dtypes or (None,)
        return [
            replace(row, seed=seed, dtype=dtype) for dtype in dtypes for seed in self.measure.seeds
        ]

    def only(self, names: tuple[str, ...]) -> SweepRecipe:
        """The recipe with the methods of these names; () = all.

        Raises:
            ValueError: a name of no method.
        """
        known = list(dict.fromkeys(method.name for method in self.methods))
        for name in names:
            if name not in known:
                raise ValueError(unknown("method of the recipe", name, known))
        if not names:
            return self
        return replace(self, methods=tuple(m for m in self.methods if m.name in names))


@dataclass(frozen=True)
class Trial:
    """One measurement of a sweep.

    Attributes:
        method: the name of its method.
        settings: the settings.
        aux: the auxiliary networks.
        facts: numbers that may be the axis of a plot.
        varied: the settings that the grid varies.
        count: number of images.
        seed: seed of the first image.
        takes_part: whether its method takes part in the final table.
        final: whether it is a trial of the final table.
        dtype: type of the model's weights; None = that of the command.
    """

    method: str
    settings: Settings
    aux: tuple[str, ...] = ()
    facts: Mapping[str, float] = field(default_factory=dict)
    varied: tuple[str, ...] = ()
    count: int = 1000
    seed: int = 0
    takes_part: bool = True
    final: bool = False
    dtype: str | None = None

    @property
    def label(self) -> str:
        """The method, with the values that the grid varies, and the type of the weights."""
        values = [f"{name} {getattr(self.settings, name)}" for name in self.varied]
        return ", ".join([self.method, *values, *([self.dtype] if self.dtype else [])])


def chosen(given: Mapping[str, Any], presets: PresetFile | None) -> Settings:
    """The settings of a recipe's values, which override those of the preset that they name.

    Raises:
        ValueError: an unknown preset or setting, or a value of another type.
    """
    values = dict(given)
    name = values.pop("preset", None)
    start = Settings() if name is None or presets is None else presets[name].settings
    settings = settings_from({**vars(start), **values})
    if name is None or presets is not None:
        _ = settings.sampler, settings.scale, settings.acceleration
    return settings
