"""`demask convert`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from demask.checkpoint.convert import KINDS
from demask.checkpoint.load import load_model
from demask.cli.convert import convert


def test_prints_what_it_wrote(run: Callable, model: str, tmp_path: Path) -> None:
    result = run("convert", f"{model}/tokenizer.safetensors", "--out", tmp_path)
    assert result.exit_code == 0, result.stderr
    [path] = map(Path, result.stdout.split())
    assert path == tmp_path / "tokenizer.safetensors"
    assert load_model(path).codebook_size == 15


def test_mistakes_write_nothing(refused: Callable, model: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    source = f"{model}/tokenizer.safetensors"
    assert "unknown kind" in refused("convert", source, "--kind", "x", "--out", out)
    assert "missing.zip" in refused("convert", tmp_path / "missing.zip", "--out", out)
    assert not out.exists()


def test_the_help_names_every_kind() -> None:
    [kind] = [option for option in convert.params if option.name == "kind"]
    assert all(name in kind.help for name in KINDS)
