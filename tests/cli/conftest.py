"""The command line on a tiny random model, in this process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from demask.cli import demask
from tiny import save_tiny, save_tiny_text

Run = Callable[..., Result]


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder of a model of 16x16 images of a dog, a cat or a ship, in 4x4 tokens."""
    return str(save_tiny(tmp_path_factory.mktemp("tiny")))


@pytest.fixture(scope="session")
def text_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder of a model of prompts, of 16x16 pixels in 4x4 tokens."""
    return str(save_tiny_text(tmp_path_factory.mktemp("tiny_text")))


@pytest.fixture
def run() -> Run:
    """Run `demask` with some words."""
    return lambda *words: CliRunner().invoke(demask, [str(word) for word in words])


@pytest.fixture
def refused(run: Run) -> Callable[..., str]:
    """Run `demask`, expect one line on stderr and exit code 2, and return the line."""

    def check(*words: object) -> str:
        result = run(*words)
        assert result.exit_code == 2, result.output
        assert result.stdout == ""
        assert result.stderr.startswith("Error: ")
        assert result.stderr.count("\n") == 1
        return result.stderr

    return check


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A PNG of 24x16 pixels, red on the left, blue on the right."""
    from PIL import Image

    image = Image.new("RGB", (24, 16), (200, 30, 30))
    image.paste((30, 30, 200), (12, 0, 24, 16))
    path = tmp_path / "image.png"
    image.save(path)
    return path
