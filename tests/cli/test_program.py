"""The program as a shell sees it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from demask import __version__


def shell(*words: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "demask", *words],
        capture_output=True,
        text=True,
        env={**os.environ, **more},
        timeout=120,
    )


def test_version_and_help() -> None:
    assert shell("--version").stdout == f"demask {__version__}\n"
    result = shell("--help")
    assert result.returncode == 0
    assert "generate" in result.stdout


def test_a_mistake_has_no_traceback_unless_asked_for(tmp_path: Path) -> None:
    words = ("reconstruct", str(tmp_path / "missing.png"))
    result = shell(*words)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == f"Error: {tmp_path / 'missing.png'}: No such file or directory\n"
    assert "Traceback" in shell(*words, DEMASK_DEBUG="1").stderr
