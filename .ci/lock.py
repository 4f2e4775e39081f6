"""Pin what development installs: `python .ci/lock.py` writes requirements-dev.lock.

The pins are the versions in this environment of `demask[dev]` and of all that it needs. Local
versions such as ``+cpu`` are dropped and packages of CUDA are left out, so that the file suits any
build of torch; torch comes first, as the Makefile installs it. `--check` compares the file with
pyproject.toml, and `make install LOCK=requirements-dev.lock` uses it as constraints.
"""

from __future__ import annotations

import argparse
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
LOCK = ROOT / "requirements-dev.lock"
HEAD = "# Written by `make lock`; used by `make install LOCK=requirements-dev.lock`.\n"
ACCELERATOR = ("nvidia-", "cuda-", "triton")
"""How the names of packages begin that only a build of torch for CUDA needs."""


def wanted(project: Mapping[str, Any], extra: str) -> Iterator[Requirement]:
    """What a project and one of its extras ask for, extras of extras included."""
    yield from map(Requirement, project["dependencies"])
    open_extras, seen = [extra], {extra}
    while open_extras:
        for text in project["optional-dependencies"][open_extras.pop()]:
            requirement = Requirement(text)
            if requirement.name == project["name"]:
                open_extras += sorted(requirement.extras - seen)
                seen |= requirement.extras
            else:
                yield requirement


def pins(requirements: Iterable[Requirement]) -> dict[str, Version]:
    """The versions in this environment of some packages and of all that they need.

    Raises:
        ValueError: one of them is not installed.
    """
    found: dict[str, Version] = {}
    left, done = list(requirements), set()
    while left:
        requirement = left.pop()
        name = canonicalize_name(requirement.name)
        key = name, frozenset(requirement.extras)
        if key in done or name.startswith(ACCELERATOR):
            continue
        done.add(key)
        try:
            package = distribution(name)
        except PackageNotFoundError as error:
            raise ValueError(f"{name} is not installed: make install") from error
        found[name] = Version(Version(package.version).public)
        for need in map(Requirement, package.requires or ()):
            extras = ("", *requirement.extras)
            if need.marker is None or any(need.marker.evaluate({"extra": e}) for e in extras):
                left.append(need)
    return found


def lock_text(found: Mapping[str, Version]) -> str:
    """The file: torch, then all others by name."""
    names = sorted(found, key=lambda name: (name != "torch", name))
    return HEAD + "".join(f"{name}=={found[name]}\n" for name in names)


def read_lock(text: str) -> dict[str, Version]:
    """The pins of a file.

    Raises:
        ValueError: a line is no pin of a package by its version alone.
    """
    found = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            name, equals, version = line.partition("==")
            if not equals or "://" in line or "+" in version or name.startswith(ACCELERATOR):
                raise ValueError(f"'{line}' is no pin NAME==VERSION of a package for any machine")
            found[name] = Version(version)
    return found


def complaints(text: str, requirements: Iterable[Requirement]) -> Iterator[str]:
    """One line for each requirement that the file does not meet."""
    found = read_lock(text)
    if next(iter(found), "") != "torch":
        yield "torch does not come first"
    for requirement in requirements:
        version = found.get(canonicalize_name(requirement.name))
        if version is None:
            yield f"{requirement.name} has no pin"
        elif version not in requirement.specifier:
            yield f"{requirement.name}=={version} is not {requirement.specifier}"


def main() -> int:
    """Write the file, or say what is wrong with it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing")
    chosen = parser.parse_args()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    requirements = list(wanted(project, "dev"))
    try:
        if not chosen.check:
            LOCK.write_text(lock_text(pins(requirements)), encoding="utf-8")
            return 0
        lines = list(complaints(LOCK.read_text(encoding="utf-8"), requirements))
    except ValueError as error:
        lines = [str(error)]
    lines = [f"requirements-dev.lock: {line}; make lock" for line in lines]
    print("\n".join(lines or ["requirements-dev.lock meets pyproject.toml."]))
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
