"""What `import demask` gives, and what it must not cost."""

from __future__ import annotations

import subprocess
import sys

import pytest

import demask

HEAVY = ("torch", "numpy", "PIL", "rich", "pydantic", "safetensors", "accelerate")

PUBLIC = [
    "Condition",
    "DecodeState",
    "GeneratedImage",
    "Generator",
    "Predict",
    "Prediction",
    "Sampler",
    "Settings",
    "Step",
    "blank",
    "compare",
    "decode",
    "evaluate",
    "image_generators",
    "load",
]


def test_the_public_names_are_these() -> None:
    assert sorted(demask.__all__) == PUBLIC
    assert set(demask.__all__) <= set(dir(demask))
    assert all(getattr(demask, name) is not None for name in demask.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'laod'"):
        _ = demask.laod


def test_import_and_help_bring_nothing_heavy() -> None:
    program = """
import sys
import click
from click.testing import CliRunner
import demask
from demask.cli import demask as program

def visit(command, words):
    result = CliRunner().invoke(program, [*words, "--help"])
    assert result.exit_code == 0, words
    context = click.Context(command)
    for name in getattr(command, "list_commands", lambda context: [])(context):
        visit(command.get_command(context, name), [*words, name])

visit(program, [])
print(*sorted(set(sys.modules) & set(sys.argv[1:])))
"""
    command = [sys.executable, "-c", program, *HEAVY]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == []


def test_the_engine_needs_no_http() -> None:
    program = """
import sys
import demask.server.engine
import demask.batching.batched_decode
web = {"fastapi", "starlette", "uvicorn", "pydantic", "gradio", "prometheus_client"}
print(*sorted(web & set(sys.modules)))
"""
    command = [sys.executable, "-c", program]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == []
