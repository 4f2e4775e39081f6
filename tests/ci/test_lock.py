"""The lock file of development."""

from __future__ import annotations

import pytest
from lock import complaints, lock_text, pins, read_lock, wanted
from packaging.requirements import Requirement
from packaging.version import Version

PROJECT = {
    "name": "demask",
    "dependencies": ["torch>=2.11", "numpy"],
    "optional-dependencies": {
        "dev": ["demask[train,plot]", "pytest>=8"],
        "train": ["PyArrow>=16", "demask[plot]"],
        "plot": ["matplotlib>=3.9"],
        "other": ["wandb"],
    },
}
TEXT = "# a comment\ntorch==2.13.0\nmatplotlib==3.11\nnumpy==2\npyarrow==20\npytest==9.1\n"


def test_extras_of_extras_are_wanted() -> None:
    names = [requirement.name for requirement in wanted(PROJECT, "dev")]
    assert sorted(names) == ["PyArrow", "matplotlib", "numpy", "pytest", "torch"]


def test_pins_hold_all_that_is_needed_of_any_build() -> None:
    found = pins([Requirement("torch"), Requirement("pytest"), Requirement("nvidia-none")])
    assert {"torch", "pytest", "pluggy", "sympy"} <= found.keys()
    text = lock_text(found)
    assert text.splitlines()[1] == f"torch=={found['torch']}"
    assert "+" not in text
    assert read_lock(text) == found
    with pytest.raises(ValueError, match="no-such-package is not installed"):
        pins([Requirement("no-such-package")])


def test_a_lock_that_meets_the_project() -> None:
    assert list(complaints(TEXT, wanted(PROJECT, "dev"))) == []
    assert read_lock(TEXT)["torch"] == Version("2.13.0")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("torch==2.13.0\n", "", "torch has no pin"),
        ("torch==2.13.0", "torch==2.10", "torch==2.10 is not >=2.11"),
        ("pyarrow==20\n", "", "PyArrow has no pin"),
        ("# a comment\n", "absl-py==2\n", "torch does not come first"),
    ],
)
def test_a_lock_that_does_not(old: str, new: str, message: str) -> None:
    assert message in list(complaints(TEXT.replace(old, new), wanted(PROJECT, "dev")))


@pytest.mark.parametrize(
    "line",
    [
        "torch==2.13.0+cpu",
        "nvidia-cublas==13.0",
        "numpy>=2",
        "numpy @ https://example.org/numpy.whl",
        "--index-url https://example.org/simple",
    ],
)
def test_a_lock_holds_pins_alone(line: str) -> None:
    with pytest.raises(ValueError, match="is no pin"):
        read_lock(f"{TEXT}{line}\n")
