"""Fine-tuning that overfits stops, says so, and writes the weights from before."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from demask.config import override, parse
from demask.training.engine.early_stop import MEAN, MOST, EarlyStop, Overfitting
from demask.training.tasks import train
from demask.training.tasks.lora import LoraTask, LoraTraining
from tiny import save_tiny_text

WEIGHTS = {"w": torch.zeros(2)}
OVERFITS = [(4.0, 5.0), (3.0, 4.0), (2.5, 4.2), (2.0, 4.5), (1.5, 5.0), (1.0, 6.0)]
"""Mean loss and that on mostly masked images: the latter rises from the third validation on."""


def watched(scores: list[tuple[float, float]], rule: EarlyStop | None = None) -> Overfitting:
    """The state after these validations, at steps 10, 20, ..., or when it stopped."""
    state = Overfitting(rule or EarlyStop())
    for number, (mean, most) in enumerate(scores):
        state.see(10 * (number + 1), {MEAN: mean, MOST: most}, {"w": torch.full((2,), number + 1)})
        if state.reason:
            break
    return state


def test_it_stops_when_mostly_masked_images_get_worse_while_the_mean_gets_better() -> None:
    state = watched(OVERFITS)
    assert state.history[-1][0] == 40, "two validations in a row"
    assert state.best_step == 20
    assert state.best["w"].tolist() == [2, 2], "the weights of the best validation"
    for part in ("stopped after step 40", "since step 20", "4.000 to 4.500", "3.000 to 2.000"):
        assert part in state.reason


@pytest.mark.parametrize(
    "scores",
    [
        [(4.0, 5.0), (3.0, 4.0), (2.5, 3.5), (2.0, 3.0), (1.5, 2.9)],  # both fall
        [(4.0, 5.0), (3.0, 4.0), (3.5, 4.5), (4.0, 5.0), (4.5, 6.0)],  # both rise
        [(4.0, 5.0), (3.0, 4.0), (2.5, 4.05), (2.0, 4.07), (1.5, 4.06)],  # noise
        [(4.0, 5.0), (3.0, 4.0), (2.5, 4.5), (2.0, 3.9), (1.5, 4.5)],  # once, and back
    ],
)
def test_it_goes_on_otherwise(scores: list[tuple[float, float]]) -> None:
    state = watched(scores)
    assert not state.reason
    assert len(state.history) == len(scores)


def test_patience_and_rise_are_what_they_say() -> None:
    assert watched(OVERFITS, EarlyStop(patience=1)).history[-1][0] == 30
    assert watched(OVERFITS, EarlyStop(patience=3)).history[-1][0] == 50
    assert watched(OVERFITS, EarlyStop(rise=0.1)).history[-1][0] == 50
    assert not watched(OVERFITS, EarlyStop(patience=0)).history
    assert not Overfitting(None).watches
    for name in ("patience", "rise"):
        with pytest.raises(ValueError, match=f"{name} must be at least 0, not -1"):
            EarlyStop(**{name: -1})


def test_scores_without_masked_images_are_passed_over() -> None:
    state = Overfitting(EarlyStop())
    state.see(1, {"psnr": 20.0}, WEIGHTS)
    assert not state.history


def test_its_state_comes_back() -> None:
    state, other = watched(OVERFITS), Overfitting(EarlyStop())
    other.restore(state.state())
    assert (other.history, other.reason) == (state.history, state.reason)
    assert other.best.keys() == state.best.keys()
    other.restore(None)  # of a checkpoint from before
    assert other.history == state.history


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(3):
        pixels = np.random.default_rng(number).integers(0, 255, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text("a zorp")
    return folder


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Validations follow the script of `OVERFITS`; a list that counts them."""
    seen: list[int] = []
    scores: Iterator[tuple[float, float]] = iter(OVERFITS * 4)

    def validate(task: LoraTask, model: torch.nn.Module) -> dict[str, float]:
        mean, most = next(scores)
        seen.append(len(seen))
        return {MEAN: mean, MOST: most}

    monkeypatch.setattr(LoraTask, "validate", validate)
    return seen


def recipe(images: Path, *changes: str) -> LoraTraining:
    given = [f"data.pictures={images}", "run.tracker=none", "run.batch_size=4", "lora.rank=2"]
    every = ["run.validate_every=2", "run.save_every=2", "lora.prior=0.0"]
    return parse(LoraTraining, override({}, [*given, *every, *changes]))


@pytest.mark.filterwarnings("ignore:Mismatch dtype")
def test_a_training_stops_and_writes_the_weights_from_before(
    images: Path, tmp_path: Path, scripted: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    model = str(save_tiny_text(tmp_path / "model"))
    # the learning rate of a step does not depend on the length of the run
    constant = "lora.optim.decay_fraction=0.0"
    out = tmp_path / "stopped"
    path = train("lora", recipe(images, "run.steps=40", constant), out, model=model)
    assert len(scripted) == 4, "it stopped at the fourth validation"
    assert "stopped after step 8, as it overfits: since step 4" in caplog.text
    facts = json.loads((out / "demask.json").read_text())["training"]
    assert facts["steps"] == 4
    assert "stopped after step 8" in facts["stopped"]

    whole = tmp_path / "whole"
    stay = "lora.early_stop.patience=0"
    other = train("lora", recipe(images, "run.steps=4", constant, stay), whole, model=model)
    expected, found = load_file(other), load_file(path)
    assert all(torch.equal(expected[name], found[name]) for name in expected)

    before, kept = path.read_bytes(), sorted((out / "checkpoints").rglob("*.pt"))
    assert train("lora", recipe(images, "run.steps=40", constant), out, model=model) == path
    assert path.read_bytes() == before
    assert sorted((out / "checkpoints").rglob("*.pt")) == kept, "the same command does not go on"
    assert caplog.text.count("stopped after step 8") >= 2
