"""The plan of the work on a GPU: the images, the stages and the files of the results.

A plan is a TOML file with four kinds of tables; `{data}` and `{work}` in its texts are folders.
Only the standard library is needed to read it, so that the environment is checked with it.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

KINDS = ("classifier", "tokenizer", "masked", "self-guidance", "benchmark")


@dataclass(frozen=True)
class Images:
    """A source that is decoded once.

    Attributes:
        name: the name of the folder of the decoded images.
        source: the source, as for ``--data``.
        size: side of the images, in pixels.
        files: the files that it needs, in the folder of the data.
        class_names: the names of the classes, if the source has none.
    """

    name: str
    source: str
    size: int
    files: tuple[str, ...] = ()
    class_names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Stage:
    """A training or the benchmarks.

    Attributes:
        name: of the stage.
        kind: one of `KINDS`.
        share: its part of the time, in proportion to the shares of all stages that are not done.
        recipe: the recipe of a training.
        folder: the folder of the training, in the folder of the work.
        train: the name of the training images.
        held_out: the name of the held-out images.
        model: the folder of the model for which a self-guidance module is trained.
        tokenizer: the folder of the tokenizer; by default that of the stage.
        shrink: the folder of a copy of the model with its transformer in eight bits.
        needs: the stages that have to be done.
        changes: changes of the recipe, as in ``run.batch_size=512``.
        options: the options of the benchmarks.
    """

    name: str
    kind: str
    share: float
    recipe: str = ""
    folder: str = ""
    train: str = ""
    held_out: str = ""
    model: str = ""
    tokenizer: str = ""
    shrink: str = ""
    needs: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()
    options: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"stage {self.name}: unknown kind '{self.kind}'. Valid: {KINDS}")
        if not self.share > 0:
            raise ValueError(f"stage {self.name}: share must be above 0, not {self.share}")


@dataclass(frozen=True)
class Bundle:
    """A result: some files in one archive.

    Attributes:
        file: its name in the folder of the results.
        parts: files and folders of the work; missing ones are left out.
        after: the stages after which it is written.
    """

    file: str
    parts: tuple[str, ...]
    after: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """The whole plan.

    Attributes:
        images: the images, in the order in which they are decoded.
        stages: the stages, in the order in which they are done.
        bundles: the archives of the results.
        reserve: seconds that are reserved at the end.
    """

    images: tuple[Images, ...]
    stages: tuple[Stage, ...]
    bundles: tuple[Bundle, ...]
    reserve: float = 10.0

    def __post_init__(self) -> None:
        names = {stage.name for stage in self.stages}
        images = {image.name for image in self.images}
        for stage in self.stages:
            wrong = [n for n in stage.needs if n not in names]
            wrong += [n for n in (stage.train, stage.held_out) if n and n not in images]
            if wrong:
                raise ValueError(f"stage {stage.name} names what is not in the plan: {wrong[0]}")
        for bundle in self.bundles:
            if wrong := [name for name in bundle.after if name not in names]:
                raise ValueError(f"{bundle.file} comes after no stage of the plan: {wrong[0]}")

    @property
    def files(self) -> list[str]:
        """All files that the data has to contain."""
        return sorted({file for image in self.images for file in image.files})


def read_plan(path: Path, folders: Mapping[str, Path]) -> Plan:
    """Read a plan.

    Args:
        path: the file.
        folders: name -> the folder that replaces ``{name}`` in its texts.

    Raises:
        ValueError: the file cannot be read, or is not a valid plan.
    """
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} is no readable plan ({error})") from error
    unknown = sorted(set(tables) - {"images", "stage", "bundle", "reserve"})
    if unknown:
        raise ValueError(
            f"{path}: unknown key '{unknown[0]}'. Valid: images, stage, bundle, reserve"
        )
    return Plan(
        tuple(built(Images, path, table, folders) for table in tables.get("images", [])),
        tuple(built(Stage, path, table, folders) for table in tables.get("stage", [])),
        tuple(built(Bundle, path, table, folders) for table in tables.get("bundle", [])),
        float(tables.get("reserve", 10.0)),
    )


def built(kind: type[T], path: Path, table: Mapping[str, Any], folders: Mapping[str, Path]) -> T:
    """A dataclass from a table; lists are tuples, and folders are filled in."""
    names = {entry.name for entry in fields(kind)}  # type: ignore[arg-type]
    if unknown := sorted(set(table) - names):
        raise ValueError(f"{path}: unknown key '{unknown[0]}'. Valid: {', '.join(sorted(names))}")
    try:
        return kind(**{key: filled(value, folders) for key, value in table.items()})
    except TypeError as error:
        raise ValueError(f"{path}: {kind.__name__}: {error}") from error


def filled(value: Any, folders: Mapping[str, Path]) -> Any:
    """A text with its folders filled in, or a tuple of such texts; anything else unchanged."""
    if isinstance(value, list):
        return tuple(filled(entry, folders) for entry in value)
    if not isinstance(value, str):
        return value
    for name, folder in folders.items():
        value = value.replace(f"{{{name}}}", str(folder))
    return value
