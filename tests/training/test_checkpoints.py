"""Checkpoints are whole, few, and never executed."""

from __future__ import annotations

import logging
import pickle
from pathlib import Path

import pytest
import torch

from demask.training.engine import checkpoints


def test_the_last_two_are_kept(tmp_path: Path) -> None:
    for step in (1, 2, 10, 9999, 10000):
        checkpoints.save(tmp_path, step, {"x": torch.full((2,), step)})
    assert [p.name for p in checkpoints.paths(tmp_path)] == [
        "step-00009999.pt",
        "step-00010000.pt",
    ]
    state = checkpoints.load_latest(tmp_path)
    assert state is not None
    assert state["step"] == 10000
    assert torch.equal(state["x"], torch.tensor([10000, 10000]))


@pytest.mark.parametrize("left", [0, 10, 0.5, 0.99])
def test_a_truncated_one_is_passed_over(
    left: float, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for step in (1, 2):
        checkpoints.save(tmp_path, step, {"x": torch.arange(1000)})
    path = tmp_path / "step-00000002.pt"
    data = path.read_bytes()
    path.write_bytes(data[: int(left if left > 1 else left * len(data))])
    with caplog.at_level(logging.WARNING):
        state = checkpoints.load_latest(tmp_path)
    assert state is not None
    assert state["step"] == 1
    assert "step-00000002.pt cannot be read" in caplog.text


class Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (Path.touch, (Path("exploded"),))


def test_a_pickle_that_wants_to_run_code_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    checkpoints.save(tmp_path, 1, {})
    torch.save({"step": 2, "bomb": Bomb()}, tmp_path / "step-00000002.pt")
    (tmp_path / "step-00000003.pt").write_bytes(pickle.dumps(Bomb()))
    state = checkpoints.load_latest(tmp_path)
    assert state is not None
    assert state["step"] == 1
    assert not Path("exploded").exists()


def test_nothing_there(tmp_path: Path) -> None:
    assert checkpoints.load_latest(tmp_path / "nowhere") is None
