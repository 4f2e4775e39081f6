"""`make test-versions`: the oldest and the newest versions that are promised."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="needs make")


def make(*words: str) -> str:
    """What make prints."""
    own = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    command = ["make", "--no-print-directory", "-C", str(ROOT), *words]
    done = subprocess.run(command, capture_output=True, check=True, text=True, env=own)
    return done.stdout


def test_the_oldest_versions_are_the_promised_ones() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    given = dict(re.findall(r"^(OLDEST_\w+) \?= (.*)$", (ROOT / "Makefile").read_text(), re.M))
    assert project["requires-python"] == given["OLDEST_PYTHON"].replace("python", ">=")
    (torch,) = (d for d in project["dependencies"] if Requirement(d).name == "torch")
    (bound,) = Requirement(torch).specifier
    assert f"torch=={bound.version}.0" == given["OLDEST_TORCH"]


def test_an_absent_interpreter_is_skipped_with_a_line() -> None:
    lines = make("test-versions", "OLDEST_PYTHON=absent-a", "NEWEST_PYTHON=absent-b").splitlines()
    assert [line.partition(" here")[0] for line in lines] == [
        "skipped: there is no absent-a",
        "skipped: there is no absent-b",
    ]


def test_each_has_its_own_environment() -> None:
    """`make -n` shows the commands of an interpreter that is there, and runs none of them."""
    words = (f"OLDEST_PYTHON={sys.executable}", "OLDEST_TORCH=torch==9.9", "LOCK=some.lock")
    shown = make("-n", "test-oldest", *words)
    assert f"{sys.executable} -m venv .venv-oldest" in shown
    assert ".venv-oldest/bin/python -m pip install" in shown
    assert "torch==9.9" in shown
    assert "some.lock" not in shown
    assert shown.rstrip().endswith(".venv-oldest/bin/python -m pytest")
