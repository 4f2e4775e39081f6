"""A row that is added at run time, as a plug-in adds it, is found everywhere.

Each test adds one of a kind and touches nothing but its table.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result
from torch import Tensor, nn

import demask
from demask.auxiliary import AUXILIARY
from demask.checkpoint.architectures import ARCHITECTURES, Architecture, transformer
from demask.checkpoint.save import save_model
from demask.cli import demask as program
from demask.config import parse
from demask.evaluation.metric import Metric
from demask.evaluation.metrics import METRICS, measure
from demask.guidance import GUIDANCES, Guidance, GuidanceProvider, Scale, parse_guidance
from demask.guidance.scale import Constant
from demask.server.fields import Generation
from demask.sweeps.recipe import SweepRecipe
from demask.training.engine.config import TrainConfig
from demask.training.engine.optim import Optim
from demask.training.engine.task import Batch, Phase, Task
from demask.training.engine.training import Training, TrainInputs
from demask.training.tasks import TRAININGS, train
from demask.transformer.protocols import SupportsAttention, SupportsPredict, supports
from demask.types import Condition, Predict, Prediction, Step, TokenLayout
from provider import Network, Offered
from seen import seen
from tiny import CLASS_NAMES, save_tiny, tiny_tokenizer

TABLES = (ARCHITECTURES, AUXILIARY, GUIDANCES, METRICS, TRAININGS)


@pytest.fixture(autouse=True)
def restored(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables as they were, afterwards."""
    for table in TABLES:
        monkeypatch.setattr(table, "_rows", dict(table._rows))


def run(*words: object) -> Result:
    return CliRunner().invoke(program, [str(word) for word in words])


# a guidance, with an auxiliary network of a kind of its own


class Tilt(nn.Module):
    """Adds a constant to the logits of every code."""

    def __init__(self, config: TiltConfig) -> None:
        super().__init__()
        self.config = config
        self.bias_V = nn.Parameter(torch.linspace(-3, 3, config.codes))


@dataclass(frozen=True)
class TiltConfig:
    """The number of codes."""

    codes: int = 15


@dataclass(frozen=True)
class TiltGuidance(Guidance):
    """Away from the tilted prediction."""

    predict: Predict
    scale: Scale
    tilt: Tilt

    def predict_pair(
        self, ids_BL: Tensor, condition: Condition, step: Step
    ) -> tuple[Prediction, Tensor]:
        conditional = self.predict(ids_BL, condition, step)
        return conditional, conditional.logits_BLV + self.tilt.bias_V

    @classmethod
    def from_provider(cls, provider: GuidanceProvider) -> dict[str, Any]:
        return {"tilt": provider.auxiliary("tilt")}


def add_guidance() -> None:
    GUIDANCES.add("tilt", TiltGuidance)
    AUXILIARY.add("tilt", "make one")
    ARCHITECTURES.add("tilt", Architecture("tilt", Tilt, TiltConfig))


def test_a_guidance_is_found_everywhere(tmp_path: Path) -> None:
    folder = save_tiny(tmp_path / "model")
    changed: dict[str, Any] = {"steps": 2, "guidance_scale": 3.0, "guidance_method": "tilt"}
    with pytest.raises(ValueError, match="unknown guidance 'tilt'"):
        demask.load(str(folder)).generate("cat", **changed)
    add_guidance()
    with pytest.raises(ValueError, match="has no tilt network: make one"):
        demask.load(str(folder)).generate("cat", **changed)
    save_model(folder / "tilt.safetensors", Tilt(TiltConfig()), "tilt")

    (guided,), (plain,) = (
        demask.load(str(folder)).generate("cat", seed=1, **settings)
        for settings in (changed, {"steps": 2})
    )
    assert guided.image.tobytes() != plain.image.tobytes(), "Python"

    words = ["generate", "--model", folder, "--class", "cat", "--seed", 1, "--steps", 2]
    words += ["--guidance-method", "tilt", "--guidance-scale", 3, "--out", tmp_path / "out"]
    result = run(*words)
    assert result.exit_code == 0, result.output

    method = {"name": "tilted", "settings": changed}
    recipe = parse(SweepRecipe, {"methods": [method]})
    (row,) = recipe.rows(None)
    assert row.settings.guidance_method == "tilt", "recipes"
    asked = Generation.model_validate({"prompt": "cat", "guidance_method": "tilt"})
    assert asked.settings() == {"guidance_method": "tilt"}, "the server's schema"


def test_the_laws_build_a_guidance_from_its_row() -> None:
    """As the fixture ``guide`` of `tests/contract` does, which is run for every row."""
    add_guidance()

    def predict(ids_BL: Tensor, condition: Condition, step: Step) -> Prediction:
        return Prediction(nn.functional.one_hot(ids_BL, 15).double())

    provider = Offered(transformer=Network(predict), networks={"tilt": Tilt(TiltConfig())})
    ids_BL, condition = torch.arange(8)[None], Condition({"class_ids": torch.zeros(1).long()})
    step = Step(0, 4, TokenLayout((2, 4)), torch.ones(1))
    off, on = (
        parse_guidance("tilt", predict, Constant(s), provider)(ids_BL, condition, step).logits_BLV
        for s in (1.0, 2.0)
    )
    assert torch.equal(off, predict(ids_BL, condition, step).logits_BLV)
    assert not torch.equal(on, off)


# a model


@dataclass(frozen=True)
class UnigramConfig:
    """The sizes of a `Unigram`."""

    codebook_size: int = 15
    num_classes: int = 3
    grid: tuple[int, int] = (4, 4)


class Unigram(nn.Module):
    """A transformer that only knows how frequent each code is in each class."""

    resizable, grid_multiple = True, 1

    def __init__(self, config: UnigramConfig) -> None:
        super().__init__()
        self.config = config
        self.codebook_size, self.mask_id = config.codebook_size, config.codebook_size
        self.layout = TokenLayout(config.grid)
        self.logits_CV = nn.Parameter(torch.eye(config.num_classes, config.codebook_size) * 9)

    def predict(self, ids_BL: Tensor, condition: Condition, step: Step) -> Prediction:
        logits_BLV = self.logits_CV[condition["class_ids"]][:, None]
        return Prediction(logits_BLV.expand(*ids_BL.shape, -1))


def test_a_model_is_a_file_and_a_row(tmp_path: Path) -> None:
    ARCHITECTURES.add("unigram", transformer(Unigram, UnigramConfig))
    model = Unigram(UnigramConfig())
    assert supports(model, SupportsPredict)
    assert not supports(model, SupportsAttention)
    save_model(tmp_path / "tokenizer.safetensors", tiny_tokenizer(), "conv_tokenizer")
    names = list(CLASS_NAMES)
    save_model(tmp_path / "transformer.safetensors", model, "unigram", class_names=names)

    generator = demask.load(str(tmp_path))
    assert generator.class_names == CLASS_NAMES
    job = next(iter(generator.jobs("ship", 1, 0, 1, steps=4)))
    *_, last = generator.decode(job, generator.blank(job))
    assert (last.ids_BL == 2).float().mean() > 0.9, "the code of the third class"

    with pytest.raises(ValueError, match="trained without class dropout"):
        generator.generate("ship", steps=2, guidance_scale=2)
    result = run("generate", "--model", tmp_path, "--steps", 2, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output


# a training


@dataclass(frozen=True)
class MeanTable:
    """The number that is learned."""

    target: float = 2.0


class MeanTask(Task):
    """Learns a number."""

    main = "mean"

    def __init__(self, recipe: MeanTable) -> None:
        self.recipe, self.examples = recipe, 8
        self.modules = {"mean": nn.Linear(1, 1)}
        self.phases = {"fit": Phase("mean", Optim(learning_rate=0.1, warmup=0))}

    def identity(self) -> str:
        return f"mean {self.recipe.target}"

    def load(self, indices: Tensor, generator: torch.Generator) -> Batch:
        return {"x_B1": indices[:, None].float()}

    def loss(
        self, phase: str, batch: Batch, step: int, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        loss = (self.modules["mean"](batch["x_B1"]) - self.recipe.target).square().mean()
        return loss, {"loss": loss}

    def validate(self, model: nn.Module) -> dict[str, float]:
        return {"weight": float(next(model.parameters()))}

    def sample(self, model: nn.Module) -> Tensor:
        return torch.zeros(3, 2, 2)

    def export(self, model: nn.Module, path: Path, facts: dict[str, object]) -> None:
        path.write_text(str(facts))


@dataclass(frozen=True)
class MeanTraining:
    """A recipe file."""

    mean: MeanTable = field(default_factory=MeanTable)
    run: TrainConfig = field(default_factory=lambda: TrainConfig(steps=2, tracker="none"))

    def task(self, inputs: TrainInputs) -> Task:
        torch.manual_seed(self.run.seed)
        return MeanTask(self.mean)


def test_a_training_is_found_everywhere(tmp_path: Path) -> None:
    row = Training("Learn a number.", lambda: MeanTraining, inputs=())
    with pytest.raises(ValueError, match="unknown training 'mean'"):
        train("mean", MeanTraining(), tmp_path)
    assert run("train", "mean", "--help").exit_code == 2
    TRAININGS.add("mean", row)

    path = train("mean", MeanTraining(), tmp_path / "python")
    assert "'steps': 2" in path.read_text()
    with pytest.raises(ValueError, match="unknown input of the training 'mean' 'init'"):
        train("mean", MeanTraining(), tmp_path / "other", init="x")

    assert "mean" in run("train", "--help").output
    assert "Learn a number." in run("train", "mean", "--help").output
    recipe = tmp_path / "mean.toml"
    recipe.write_text('[mean]\ntarget = 3.0\n[run]\nsteps = 3\ntracker = "none"\nbatch_size = 4\n')
    result = run("train", "mean", "--recipe", recipe, "--out", tmp_path / "cli")
    assert result.exit_code == 0, result.output
    assert "'steps': 3" in (tmp_path / "cli" / "mean.safetensors").read_text()
    assert list((tmp_path / "cli" / "checkpoints" / "mean").glob("step-*.pt"))

    result = run("train", "mean", "--recipe", recipe, "--set", "mean.targt=1")
    assert (result.exit_code, "did you mean 'target'?" in result.stderr) == (2, True)
    assert "--data" not in run("train", "mean", "--help").output, "its row takes none"


# a metric


def test_a_metric_is_found_everywhere(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="unknown metric 'mean_feature'"):
        measure(seen(20), seen(10, 5), ["mean_feature"])

    def mean_feature(samples: Any, reference: Any, kept_MN: Tensor) -> Tensor:
        return torch.stack([samples.features_ND[kept_N].mean() for kept_N in kept_MN]).double()

    METRICS.add("mean_feature", Metric("mean", "mean", mean_feature, lambda _: 1, "highest"))
    (score,) = measure(seen(20), seen(10, 5), ["mean_feature"], resamples=0)
    assert score.value == pytest.approx(float(seen(20).features_ND.mean()), rel=1e-5)
    assert "mean_feature" in [s.metric for s in measure(seen(60), seen(50, 5), resamples=0)]

    tables = {"measure": {"metrics": ["mean_feature"]}, "methods": [{"name": "a"}]}
    recipe = parse(SweepRecipe, tables)
    assert recipe.measure.metrics == ("mean_feature",)

    from PIL import Image

    for number in range(4):
        Image.new("RGB", (8, 8), (60 * number, 0, 0)).save(tmp_path / f"{number}.png")
    out = tmp_path / "report.json"
    words = ["--samples", tmp_path, "--reference", tmp_path, "--extractor", "pixels:size=8"]
    words += ["--metric", "mean_feature", "--resamples", 0, "--out", out]
    result = run("evaluate", *words, "--cache", tmp_path / "cache")
    assert result.exit_code == 0, result.output
    assert '"mean_feature"' in out.read_text()
