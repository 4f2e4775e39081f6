"""Self-guidance's module is trained beside a model: what is learned, written, resumed, refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from safetensors.torch import load_file

import demask
from demask.assembly import load_parts
from demask.checkpoint.load import load_model, read_metadata
from demask.checkpoint.lora import base_fingerprint
from demask.cli import demask as program
from demask.config import override, parse
from demask.training.substitution import SUBSTITUTIONS, Corruption, choose, others
from demask.training.tasks import train
from demask.training.tasks.self_guidance import (
    SelfGuidanceRecipe,
    SelfGuidanceTraining,
    finetuning_losses,
)
from demask.transformer.feature_selection import FeatureSelection
from demask.types import Condition, TokenLayout
from tiny import save_tiny, save_tiny_text, tiny_transformer

LAYOUT = TokenLayout((4, 4))

COLOURS = {"dog": (220, 40, 40), "cat": (40, 200, 60), "ship": (40, 60, 230)}
SHORT = ("run.steps=4", "run.batch_size=4", "run.save_every=2", "run.validate_every=2")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder of a tiny random model of three classes."""
    return str(save_tiny(tmp_path_factory.mktemp("tiny")))


@pytest.fixture
def things(tmp_path: Path) -> Path:
    """Four images of each class of the tiny model, with captions beside them."""
    random = np.random.default_rng(0)
    for name, colour in COLOURS.items():
        folder = tmp_path / "things" / name
        folder.mkdir(parents=True)
        for number in range(4):
            pixels = np.array(colour) + random.integers(-30, 30, (16, 16, 3))
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{number}.png")
    return tmp_path / "things"


@pytest.fixture
def captioned(things: Path) -> Path:
    for image in things.rglob("*.png"):
        image.with_suffix(".txt").write_text(f"red {image.parent.name}")
    return things


def recipe_of(images: Path, *changes: str) -> SelfGuidanceTraining:
    given = [f"data.pictures={images}", f"data.held_out={images}", "run.tracker=none"]
    return parse(SelfGuidanceTraining, override({}, [*given, *changes]))


def test_it_learns_and_the_model_stays(
    model: str, things: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    before = (Path(model) / "transformer.safetensors").read_bytes()
    changes = ("run.steps=60", "run.batch_size=12", "run.validate_every=30", "run.log_every=1")
    rate = "self_guidance.optim.learning_rate=0.02"
    path = train("self_guidance", recipe_of(things, *changes, rate), tmp_path / "out", model=model)
    assert (Path(model) / "transformer.safetensors").read_bytes() == before

    losses = [
        float(r.message.split("predict/loss ")[1].split()[0])
        for r in caplog.records
        if "predict/loss" in r.message
    ]
    assert len(losses) == 60
    assert np.mean(losses[-10:]) < np.mean(losses[:10]) - 0.1
    scores = [r.message for r in caplog.records if "held out" in r.message]
    assert len(scores) == 2
    for name in ("replaced", "masked_plain", "masked_smoothed", "masked_guided"):
        assert name in scores[0]

    tensors = load_file(path)
    assert path == tmp_path / "out" / "self_guidance.safetensors"
    assert {name.partition(".")[0] for name in tensors} == {
        "cls_anchor_gen",
        "decoders",
        "top_down_transform",
    }
    facts = read_metadata(path)
    assert facts["architecture"] == "feature_selection"
    assert facts["base"] == base_fingerprint(load_parts(model).transformer)
    assert facts["training"] == {"steps": 60, "seed": 0}
    module = load_model(path)
    assert isinstance(module, FeatureSelection)
    assert module.config == tiny_transformer().feature_selection()


def test_what_was_trained_guides_its_model_and_no_other(
    model: str, things: Path, tmp_path: Path
) -> None:
    path = str(train("self_guidance", recipe_of(things, *SHORT), tmp_path / "out", model=model))
    condition_input = {"num_images": 2, "seed": 0, "steps": 3}
    guided = {"guidance_scale": 2.0, "guidance_method": "self_guidance"}
    generator = demask.load(model, aux=[path])
    off, on = (
        [p.image.tobytes() for p in generator.generate(["cat"], **condition_input, **more)]
        for more in ({"guidance_scale": 1.0}, guided)
    )
    assert on != off

    other = save_tiny(tmp_path / "other")
    tensors = load_file(other / "transformer.safetensors")
    stranger = tiny_transformer()
    stranger.load_state_dict({n: t + 0.1 for n, t in tensors.items()})
    from demask.checkpoint.save import save_model

    save_model(other / "transformer.safetensors", stranger, "modern_maskgit")
    strange = demask.load(str(other), aux=[path])
    with pytest.raises(ValueError, match="was trained beside another model") as refused:
        strange.generate(["0"], **condition_input, **guided)
    assert "\n" not in str(refused.value)


def test_it_is_trained_beside_a_model_of_prompts(captioned: Path, tmp_path: Path) -> None:
    model = str(save_tiny_text(tmp_path / "text"))
    path = train("self_guidance", recipe_of(captioned, *SHORT), tmp_path / "out", model=model)
    config = load_model(path).config
    assert (config.pooled_width, config.num_classes, config.blank_condition) == (16, 0, False)
    generator = demask.load(model, aux=[str(path)])
    condition_input = {"num_images": 2, "steps": 2, "guidance_method": "self_guidance"}
    assert len(generator.generate(["red dog"], guidance_scale=2.0, **condition_input)) == 2


def test_a_resumed_run_ends_with_the_same_bits(model: str, things: Path, tmp_path: Path) -> None:
    out, recipe = tmp_path / "out", recipe_of(things, *SHORT)
    whole = train("self_guidance", recipe, out, model=model).read_bytes()
    (out / "checkpoints/self_guidance/step-00000004.pt").unlink()
    (out / "self_guidance.safetensors").unlink()
    assert train("self_guidance", recipe, out, model=model).read_bytes() == whole
    other = recipe_of(things, *SHORT, "self_guidance.substitution=uniform")
    with pytest.raises(ValueError, match="holds a run of another model or other data"):
        train("self_guidance", other, out, model=model)


def test_mistakes_are_one_line(model: str, things: Path, images: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="unknown substitution 'modell'; did you mean 'model'"):
        recipe_of(things, "self_guidance.substitution=modell")
    for change in ("replaced=0.0", "replaced=1.5", "reconstruction=-1.0", "factors=0"):
        with pytest.raises(ValueError, match=change.split("=")[0]):
            recipe_of(things, f"self_guidance.{change}")
    with pytest.raises(ValueError, match="class"):
        train("self_guidance", recipe_of(images, *SHORT), tmp_path / "out", model=model)
    text = str(save_tiny_text(tmp_path / "text"))
    with pytest.raises(ValueError, match="12 of 12 images have no caption"):
        train("self_guidance", recipe_of(things, *SHORT), tmp_path / "out", model=text)


def test_the_command_needs_no_recipe(model: str, things: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ["train", "self-guidance", "--model", model, "--data", str(things), "--out", str(out)]
    result = CliRunner().invoke(program, [*words, "--set", "run.tracker=none", *SHORT])
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{out / 'self_guidance.safetensors'}\n"
    result = CliRunner().invoke(program, [*words[:4], "--out", str(out)])
    assert result.exit_code == 2
    assert "name them with --data PATH" in result.stderr


def test_how_many_tokens_are_masked_and_replaced() -> None:
    kind_BL = choose(2000, 10, 0.3, torch.Generator().manual_seed(0))
    num_masked_B, replaced_B = (kind_BL == 0).sum(-1), (kind_BL == 1).sum(-1)
    seen_B = 10 - num_masked_B
    assert num_masked_B.min() == 1
    assert num_masked_B.max() == 10, "an image may be masked as a whole"
    assert (replaced_B[seen_B == 0] == 0).all()
    expected = (0.3 * seen_B[seen_B > 0]).round().clamp_min(1)
    assert torch.equal(replaced_B[seen_B > 0].float(), expected)
    assert abs(float(num_masked_B.float().mean()) / 10 - 2 / torch.pi) < 0.02
    assert (kind_BL == 1).float().mean(0).std() < 0.02, "every position as often"


def test_a_replacement_is_never_the_true_token() -> None:
    logits_RV = torch.zeros(4000, 5)
    logits_RV[:, 2], logits_RV[:, 3] = 8.0, 1.0
    true_R = torch.full((4000,), 2)
    drawn_R = others(logits_RV, true_R, torch.Generator().manual_seed(0))
    share = torch.bincount(drawn_R, minlength=5) / 4000
    assert share[2] == 0
    assert abs(float(share[3]) - 2.718 / (2.718 + 3)) < 0.03


def test_substitutions_draw_from_the_model_evenly_or_as_the_authors_do() -> None:
    logits_RV = torch.tensor([[4.0, 0.0, -4.0]])
    drawn = {name: change(logits_RV).softmax(-1)[0] for name, change in SUBSTITUTIONS.items()}
    assert torch.equal(drawn["model"], logits_RV.softmax(-1)[0])
    assert torch.allclose(drawn["uniform"], torch.full((3,), 1 / 3))
    twice = logits_RV.softmax(-1).softmax(-1)[0]
    assert torch.equal(drawn["authors"], twice)
    assert drawn["authors"].max() < 0.6 < drawn["model"].max()


@pytest.mark.parametrize("substitution", SUBSTITUTIONS)
def test_corruption_masks_and_replaces(substitution: str) -> None:
    base = tiny_transformer()
    corruption = Corruption(base, substitution, 0.3)
    true_BL = torch.randint(15, (64, 16), generator=torch.Generator().manual_seed(1))
    condition = Condition({"class_ids": torch.arange(64) % 4})
    seen_BL, replaced_BL = corruption(true_BL, condition, LAYOUT, torch.Generator().manual_seed(2))
    masked_BL = seen_BL == base.mask_id
    assert not (masked_BL & replaced_BL).any()
    assert (seen_BL != true_BL)[replaced_BL].all()
    assert torch.equal(seen_BL[~masked_BL & ~replaced_BL], true_BL[~masked_BL & ~replaced_BL])
    assert seen_BL.max() == base.mask_id


def test_the_model_is_asked_once_for_each_class_or_for_each_batch() -> None:
    base = tiny_transformer()
    corruption, device = Corruption(base, "model", 0.3), torch.device("cpu")
    condition = Condition({"class_ids": torch.tensor([3, 0])})
    kept_BLV = corruption.prior(condition, LAYOUT, device)
    assert corruption.known_CLV is not None
    assert corruption.known_CLV.shape == (4, 16, 15)
    asked_BLV = corruption.on_fully_masked(condition, LAYOUT, device)
    assert torch.allclose(kept_BLV, asked_BLV, atol=2e-3)


def test_images_without_a_replaced_token_teach_nothing() -> None:
    logits_BLV = torch.randn(2, 4, 5, requires_grad=True)
    nowhere_BL = torch.zeros(2, 4, dtype=torch.bool)
    loss, error = finetuning_losses(logits_BLV, torch.tensor(2.0), nowhere_BL.long(), nowhere_BL)
    assert loss == 0
    assert error == pytest.approx(0.2)
    loss.backward()
    assert logits_BLV.grad is not None
    assert logits_BLV.grad.abs().max() == 0
    assert SelfGuidanceRecipe().reconstruction == 0.1
