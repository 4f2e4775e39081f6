"""Resuming is running the same command again, and it changes not one bit."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from demask.config import load_toml, parse
from demask.training.engine.identity import describe
from demask.training.tasks.masked import MaskedTraining
from demask.training.tasks.tokenizer import TokenizerTraining


def command(kind: str, recipes: Path, images: Path, out: Path) -> list[str]:
    """The command line of a training."""
    recipe, data = str(recipes / f"{kind}.toml"), str(images)
    arguments = ["train", kind, "--recipe", recipe, "--data", data, "--out", str(out)]
    return [sys.executable, "-m", "demask", *arguments]


def environment() -> dict[str, str]:
    """One thread, so that parallel test runs do not fight."""
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def train(kind: str, recipes: Path, images: Path, out: Path) -> None:
    """A training from beginning, or from where it is, to end."""
    arguments = command(kind, recipes, images, out)
    subprocess.run(arguments, check=True, env=environment(), capture_output=True)


def train_killed(kind: str, recipes: Path, images: Path, out: Path, after_step: int) -> None:
    """A training that is killed soon after a checkpoint appears."""
    started = subprocess.Popen(
        command(kind, recipes, images, out),
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 120
    while not list((out / "checkpoints").glob(f"*/step-{after_step:08d}.pt")):
        assert started.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.002)
    started.send_signal(signal.SIGKILL)
    started.wait()


@pytest.mark.parametrize("kind", ["tokenizer", "masked"])
def test_a_killed_run_ends_with_the_same_bits(
    kind: str, recipes: Path, images: Path, tmp_path: Path
) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    if kind == "masked":
        for out in (whole, broken):
            train("tokenizer", recipes, images, out)
    train(kind, recipes, images, whole)
    train_killed(kind, recipes, images, broken, after_step=2)
    name = {"tokenizer": "tokenizer", "masked": "transformer"}[kind]
    train(kind, recipes, images, broken)

    assert_equal(*(load_file(out / f"{name}.safetensors") for out in (whole, broken)))
    last = f"checkpoints/{name}/step-00000008.pt"
    states = [torch.load(out / last, weights_only=True) for out in (whole, broken)]
    assert_equal(states[0], states[1])


def assert_equal(a: object, b: object) -> None:
    """Nested containers of tensors and numbers are the same to the bit."""
    if isinstance(a, torch.Tensor):
        assert torch.equal(a, b)
    elif isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            assert_equal(a[key], b[key])
    elif isinstance(a, list | tuple):
        for x, y in zip(a, b, strict=True):
            assert_equal(x, y)
    else:
        assert a == b


def test_a_field_with_its_default_does_not_change_what_a_run_is() -> None:
    @dataclass(frozen=True)
    class Before:
        width: int
        inner: tuple[int, ...] = (1, 2)

    @dataclass(frozen=True)
    class After(Before):
        added: float = 0.0
        more: list[int] = field(default_factory=list)

    assert describe(recipe=Before(3)) == describe(recipe=After(3))
    assert describe(recipe=After(3)) != describe(recipe=After(3, added=1.0))
    assert describe(recipe=After(3)) != describe(recipe=After(4))
    assert describe(recipe=Before(3)) != describe(recipe=Before(3, (2,)))


def test_identities_of_runs_that_exist_stay_valid(recipes: Path) -> None:
    """Checkpoints hold these texts: a run whose identity changes cannot be resumed."""
    tables = {name: load_toml(recipes / f"{name}.toml") for name in ("tokenizer", "masked")}
    tokenizer = parse(TokenizerTraining, tables["tokenizer"]).tokenizer
    assert describe(task="tokenizer", recipe=tokenizer, pictures=20) == (
        '{"pictures": 20, "recipe": {"loss": {"adversary_start": 3, "edge": 0.1}, "model": '
        '{"decoder_blocks": [1], "encoder_blocks": [1], "levels": [4, 4], "pixel_width": 16, '
        '"widths": [16]}, "shift": 1, "size": 8}, "task": "tokenizer"}'
    )
    transformer = parse(MaskedTraining, tables["masked"]).transformer
    assert describe(task="masked", recipe=transformer, tokens="0123") == (
        '{"recipe": {"depth": 2, "dropout": 0.1, "heads": 2, "masking": {"complementary": true}, '
        '"mlp_width": 16, "optim": {"optimizer": "muon"}, "width": 16}, "task": "masked", '
        '"tokens": "0123"}'
    )
