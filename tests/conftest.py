"""Fixtures that every part of the tests shares."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def golden() -> Path:
    """The folder of golden cases: that of DEMASK_GOLDEN, or the copies beside the tests."""
    return Path(os.environ.get("DEMASK_GOLDEN", Path(__file__).parent / "golden_cases"))
