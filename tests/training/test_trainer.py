"""What the loop does with a task: it averages, accumulates, warms up and validates.

Each test was tried by planting the fault that it is for.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from demask.training.engine import checkpoints
from demask.training.engine.config import TrainConfig
from demask.training.engine.ema import EMA
from demask.training.engine.loop import Trainer
from demask.training.engine.optim import Optim
from demask.training.engine.task import Batch, Phase, Task
from demask.training.losses import held_out_cross_entropy
from demask.training.masking import drop_classes
from demask.types import Condition, Prediction, Step, TokenLayout

SGD_LIKE = Optim(optimizer="adamw", learning_rate=0.1, weight_decay=0.0, warmup=4, clip=0.0)


class Regression(Task):
    """Fits a linear map; what it is shown and writes is remembered."""

    main = "model"
    examples = 64

    def __init__(self, optim: Optim = SGD_LIKE) -> None:
        torch.manual_seed(0)
        network = nn.Sequential(nn.Linear(3, 1), nn.Dropout(0.5))
        self.modules = {"model": network}
        self.phases = {"fit": Phase("model", optim)}
        self.x_N3 = torch.randn(64, 3, generator=torch.Generator().manual_seed(1))
        self.validated: list[bool] = []
        self.exported: dict[str, Tensor] = {}
        self.measured: dict[str, Tensor] = {}
        self.gradients: list[Tensor] = []

    def identity(self) -> str:
        return "regression"

    def load(self, indices: Tensor, generator: torch.Generator) -> Batch:
        return {"x": self.x_N3[indices]}

    def loss(
        self, phase: str, batch: Batch, step: int, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        network: Any = self.modules["model"]
        linear = network[0]
        if linear.weight.grad is not None:
            self.gradients.append(linear.weight.grad.clone())
        loss = (linear(batch["x"]) - batch["x"].sum(-1, keepdim=True)).square().mean()
        return loss, {"loss": loss}

    def validate(self, model: nn.Module) -> dict[str, float]:
        self.validated.append(model.training)
        self.measured = {n: t.clone() for n, t in model.state_dict().items()}
        return {"loss": 0.0}

    def sample(self, model: nn.Module) -> Tensor:
        return torch.zeros(3, 2, 2)

    def export(self, model: nn.Module, path: Path, facts: dict[str, object]) -> None:
        self.validated.append(model.training)
        self.exported = {n: t.clone() for n, t in model.state_dict().items()}


def config(steps: int = 12, **more: Any) -> TrainConfig:
    fast = {"batch_size": 8, "precision": "no", "tracker": "none", "validate_every": 4}
    return TrainConfig(steps=steps, **{**fast, **more})


def test_the_average_is_what_is_measured_and_exported(tmp_path: Path) -> None:
    task = Regression()
    Trainer(task, config(ema_decay=0.9), tmp_path).fit()
    saved = checkpoints.load_latest(tmp_path / "checkpoints" / "model")
    assert saved is not None
    for name, tensor in task.exported.items():
        assert torch.equal(tensor, saved["average"][name])
        assert torch.equal(tensor, task.measured[name])
        assert not torch.equal(tensor, saved["modules"]["model"][name])


def test_the_average_takes_in_the_weights_after_every_step(tmp_path: Path) -> None:
    before: list[Tensor] = []

    class Watched(Regression):
        def loss(self, *arguments: Any) -> tuple[Tensor, dict[str, Tensor]]:
            before.append(linear.weight.detach().clone())
            return super().loss(*arguments)

    task = Watched()
    linear: Any = task.modules["model"][0]  # type: ignore[index]
    Trainer(task, config(ema_decay=0.6), tmp_path).fit()
    average, *after = [*before, linear.weight.detach()]
    for number, weight in enumerate(after):
        average = average.lerp(weight, 1 - min(0.6, (1 + number) / (10 + number)))
    torch.testing.assert_close(task.exported["0.weight"], average)


def test_the_average_weighs_the_past_by_its_decay() -> None:
    weight = torch.zeros(1)
    average = EMA([("w", weight)], decay=0.9)
    average.update([("w", torch.ones(1))], updates=1000)
    assert average.tensors["w"].item() == pytest.approx(0.1)
    average.update([("w", torch.ones(1))], updates=0)  # ramped up: (1 + 0) / (10 + 0) of the past
    assert average.tensors["w"].item() == pytest.approx(0.1 * 0.1 + 0.9)


def test_validation_and_export_see_a_network_in_evaluation_mode(tmp_path: Path) -> None:
    task = Regression()
    Trainer(task, config(), tmp_path).fit()
    assert len(task.validated) == 4  # three validations, one export
    assert not any(task.validated)
    assert task.modules["model"].training


def test_accumulated_parts_are_one_batch(tmp_path: Path) -> None:
    optim = Optim(optimizer="adamw", clip=1e9)  # AdamW does not see the scale, the norm does
    norms = []
    for parts in (1, 2, 4):
        trainer = Trainer(Regression(optim), config(accumulate=parts), tmp_path / str(parts))
        norms.append(float(trainer.update(next(trainer.batches()))["fit/gradient"]))
    assert norms[1:] == pytest.approx(norms[:1] * 2)


@pytest.mark.parametrize("clip", [0.01, 1e9])
def test_gradients_are_clipped_before_the_step(tmp_path: Path, clip: float) -> None:
    norms = []

    def watch(optimizer: Any, _arguments: object, _options: object) -> None:
        weights = [p for group in optimizer.param_groups for p in group["params"]]
        norms.append(torch.stack([p.grad.norm() for p in weights if p.grad is not None]).norm())

    trainer = Trainer(Regression(Optim(optimizer="adamw", clip=clip)), config(), tmp_path)
    wrapped: Any = trainer.optimizers["fit"][0]
    wrapped.optimizer.register_step_pre_hook(watch)
    logged = float(trainer.update(next(trainer.batches()))["fit/gradient"])
    assert logged > 0.1, "what is logged is the norm before"
    assert float(norms[0]) == pytest.approx(min(clip, logged), rel=1e-3)


def test_gradients_are_cleared_between_steps(tmp_path: Path) -> None:
    task = Regression()
    Trainer(task, config(), tmp_path).fit()
    assert not task.gradients


def test_every_step_drops_other_features_and_a_repeated_step_the_same(tmp_path: Path) -> None:
    class Watched(Regression):
        def loss(self, *arguments: Any) -> tuple[Tensor, dict[str, Tensor]]:
            drawn.append(torch.rand(1).item())
            return super().loss(*arguments)

    runs = []
    for number in range(2):
        drawn: list[float] = []
        Trainer(Watched(), config(steps=5), tmp_path / str(number)).fit()
        runs.append(drawn)
    assert len(set(runs[0])) == 5
    assert runs[0] == runs[1]


def test_a_resumed_run_ends_as_the_whole_one(tmp_path: Path) -> None:
    whole, broken = Regression(), Regression()
    every = {"save_every": 4, "ema_decay": 0.9}
    Trainer(whole, config(**every), tmp_path).fit()
    (tmp_path / "checkpoints" / "model" / "step-00000012.pt").unlink()
    trainer = Trainer(broken, config(**every), tmp_path)
    trainer.fit()
    assert trainer.step == 12
    for name, tensor in whole.exported.items():
        assert torch.equal(tensor, broken.exported[name])
    states = [task.modules["model"].state_dict() for task in (whole, broken)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_the_learning_rate_warms_up_and_falls_in_the_loop(tmp_path: Path) -> None:
    rates = []

    class Watched(Regression):
        def loss(self, *arguments: Any) -> tuple[Tensor, dict[str, Tensor]]:
            rates.append(trainer.optimizers["fit"][0].param_groups[0]["lr"])
            return super().loss(*arguments)

    optim = Optim(optimizer="adamw", learning_rate=0.1, warmup=4, decay_fraction=0.5)
    trainer = Trainer(Watched(optim), config(steps=20), tmp_path)
    trainer.fit()
    used = [*rates[1:], trainer.optimizers["fit"][0].param_groups[0]["lr"]]
    assert used[:4] == pytest.approx([0.025, 0.05, 0.075, 0.1])
    assert used[8] == pytest.approx(0.1)
    assert used[-1] < 0.02
    assert all(first >= second for first, second in pairwise(used[4:]))


def test_norms_and_biases_do_not_decay() -> None:
    network = nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3))
    for parameter in network.parameters():
        nn.init.constant_(parameter, 1.0)
    (optimizer,) = Optim(optimizer="adamw", weight_decay=0.5, learning_rate=0.1).build(network)
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    assert float(network[0].weight.detach().max()) == pytest.approx(0.95)
    for kept in (network[0].bias, network[1].weight, network[1].bias):
        assert torch.equal(kept, torch.ones(3))


def test_classes_are_dropped_as_often_as_asked() -> None:
    generator = torch.Generator().manual_seed(0)
    dropped_B = drop_classes(torch.zeros(10_000, dtype=torch.int64), 7, 0.1, generator)
    assert set(dropped_B.tolist()) == {0, 7}
    assert (dropped_B == 7).float().mean().item() == pytest.approx(0.1, abs=0.01)


class KnowsMasked(nn.Module):
    """Certain and right where a token is masked, certain and wrong where it is visible."""

    mask_id, layout = 4, TokenLayout((2, 4))

    def __init__(self, ids_BL: Tensor) -> None:
        super().__init__()
        self.ids_BL, self.weight = ids_BL, nn.Parameter(torch.zeros(1))

    def predict(self, ids_BL: Tensor, condition: Condition, step: Step) -> Prediction:
        row_B = condition["row"]
        true_BL = self.ids_BL[row_B]
        said_BL = torch.where(ids_BL == self.mask_id, true_BL, (true_BL + 1) % 4)
        return Prediction(20.0 * nn.functional.one_hot(said_BL, 4).float())


def test_the_held_out_loss_counts_masked_tokens_alone() -> None:
    ids_BL = torch.randint(0, 4, (40, 8), generator=torch.Generator().manual_seed(0))
    condition = Condition({"row": torch.arange(40)})
    scores = held_out_cross_entropy(KnowsMasked(ids_BL), ids_BL, condition)  # type: ignore[arg-type]
    assert all(value < 1e-3 for value in scores.values())
