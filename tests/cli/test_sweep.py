"""`demask sweep` and `demask tune`, from a recipe to a preset that generates."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from read_results import read_results

import demask
from demask.checkpoint.save import save_model
from demask.evaluation.small_conv import SmallConv, SmallConvConfig
from demask.preset_file import Preset, PresetFile, write_presets
from demask.settings import Settings
from demask.sweeps.tune import Tuned, tune
from tiny import CLASS_NAMES, save_tiny

RECIPE = """
[measure]
count = 24
resamples = 4
metrics = ["frechet", "kid", "precision", "recall", "class_accuracy"]

[settings]
steps = 2

[[methods]]
name = "plain"
grid = { temperature = [0.5, 1.0] }

[[methods]]
name = "guided"
settings = { guidance_scale = 2.0 }

[final]
count = 30
"""


@pytest.fixture(scope="module")
def eyes(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny extractor that knows the tiny model's classes in another order."""
    torch.manual_seed(8)
    network = SmallConv(SmallConvConfig(3, (4, 4), 6, residual=1)).eval()
    path = tmp_path_factory.mktemp("eyes") / "classifier.safetensors"
    save_model(path, network, "small_conv", class_names=list(CLASS_NAMES[::-1]), size=16)
    return f"cifar10_conv:weights={path}"


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of images whose sub-folders are the tiny model's classes."""
    root = tmp_path_factory.mktemp("real")
    generator = torch.Generator().manual_seed(4)
    for name in CLASS_NAMES:
        (root / name).mkdir()
        for number in range(10):
            pixels = torch.randint(256, (16, 16, 3), generator=generator, dtype=torch.uint8)
            Image.fromarray(pixels.numpy()).save(root / name / f"{number}.png")
    return root


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.toml"
    path.write_text(RECIPE)
    return path


def test_a_sweep_from_a_recipe_to_images(
    run: Callable, model: str, recipe: Path, eyes: str, reference: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    words = ("sweep", "--recipe", recipe, "--model", model, "--out", out)
    result = run(*words, "--reference", reference, "--extractor", eyes)
    assert result.exit_code == 0, result.stderr
    drawn = [Path(line) for line in result.stdout.splitlines()]
    assert drawn[0] == out / "table.md"
    assert {path.stem for path in drawn[1:]} == {
        *("quality_diversity", "by_temperature", "cost"),
        *("final_quality_diversity", "final_cost"),
    }
    assert all(path.stat().st_size > 1000 for path in drawn[1:])
    rows = json.loads((out / "results.json").read_text())
    assert [(r["trial"]["method"], r["trial"]["count"], r["trial"]["final"]) for r in rows] == [
        ("plain", 24, False),
        ("plain", 24, False),
        ("guided", 24, False),
        ("plain", 30, True),
        ("guided", 30, True),
    ]
    assert [v["metric"] for v in rows[0]["values"]] == tomllib.loads(RECIPE)["measure"]["metrics"]
    assert all(v["low"] <= v["value"] <= v["high"] for v in rows[0]["values"])
    assert [r["forwards"] for r in rows] == [2, 2, 4, 2, 4]
    assert result.stderr.count("plain, temperature") == 3
    read = read_results(out / "results.json")
    assert [row.settings["method"] for row in read.rows] == [r["trial"]["method"] for r in rows]
    assert read.row("plain, temperature 0.5, count 24, seed 0").values["forwards"].value == 2

    written = (out / "table.md").read_text()
    again = run(*words, "--reference", reference, "--extractor", eyes, "--only", "plain", "guided")
    assert again.exit_code == 0
    assert (out / "table.md").read_text() == written
    drawn[1].unlink()
    assert run(*words, "--plot-only").exit_code == 0
    assert drawn[1].is_file()


def test_what_a_sweep_refuses(
    refused: Callable, model: str, recipe: Path, eyes: str, reference: Path, tmp_path: Path
) -> None:
    words = ("sweep", "--recipe", recipe, "--model", model, "--out", tmp_path / "out")
    full = (*words, "--reference", reference, "--extractor", eyes)
    assert "--reference PATH" in refused(*words)
    assert "did you mean 'guided'" in refused(*full, "--only", "gided")
    assert "unknown metric 'fid'" in refused(*full, "--set", "measure.metrics=['fid']")
    assert "unknown extractor 'incepton'" in refused(
        *words, "--reference", reference, "--extractor", "incepton"
    )
    assert "3 samples are too few for frechet" in refused(*full, "--set", "measure.count=3")
    assert "results.json" in refused(
        "sweep", "--recipe", recipe, "--out", tmp_path / "no", "--plot-only"
    )
    guided = "methods=[{name='a', settings={guidance_scale=2.0, guidance_method='self_guidance'}}]"
    assert "has no self_guidance network" in refused(*full, "--set", guided)
    (reference.parent / "other" / "zebra").mkdir(parents=True)
    Image.new("RGB", (16, 16)).save(reference.parent / "other" / "zebra" / "0.png")
    (reference.parent / "other" / "cat").mkdir()
    Image.new("RGB", (16, 16)).save(reference.parent / "other" / "cat" / "0.png")
    other = (*words, "--extractor", eyes, "--reference", reference.parent / "other")
    assert "other classes" in refused(*other)


def test_a_search_saves_a_preset_that_generates(
    run: Callable,
    refused: Callable,
    eyes: str,
    reference: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = save_tiny(tmp_path / "model")
    words = ("tune", "--model", folder, "--reference", reference, "--extractor", eyes, "--steps", 3)
    few = ("--budget", 3, "--count", 20, "--final-count", 24, "--finalists", 1)
    out = ("--out", tmp_path / "search")
    result = run(*words, *few, *out, "--choice-temperature", 2, "--save", "steps3", "--default")
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert sorted(line[:5] for line in lines[:2]) == ["start", "tuned"]
    assert lines[-1] == f"preset 'steps3' in {folder / 'presets.toml'}"
    tables = tomllib.loads((folder / "presets.toml").read_text())
    assert tables["default"] == "steps3"
    assert tables["steps3"]["settings"]["steps"] == 3
    assert "24 images of seeds 2000000 to 2000023" in tables["steps3"]["scores"][0]
    generated = run(
        "generate", "--model", folder, "--preset", "steps3", "--out", tmp_path / "generated"
    )
    assert generated.exit_code == 0, generated.stderr

    def while_another_one_saves(*given: object) -> Tuned:
        write_presets(tmp_path / "p.toml", PresetFile({"other": Preset(Settings())}))
        return tune(*given)

    monkeypatch.setattr("demask.sweeps.tune.tune", while_another_one_saves)
    other = run(
        *words,
        *few,
        *out,
        "--choice-temperature",
        2,
        "--save",
        "again",
        "--presets",
        tmp_path / "p.toml",
    )
    assert other.exit_code == 0
    saved = tomllib.loads((tmp_path / "p.toml").read_text())
    assert saved["again"] == tables["steps3"]
    assert "other" in saved
    assert "a preset's name consists of letters" in refused(*words, "--save", "two words")
    assert "unknown part to search" in refused(
        *words, *few, *out, "--save", "a", "--search", "nose"
    )
    assert "unknown metric 'fid'" in refused(*words, *few, *out, "--save", "a", "--metric", "fid")


def test_presets_of_a_shipped_model_are_kept_with_the_search(tmp_path: Path) -> None:
    from demask.cli.tune import presets_of

    assert presets_of("cifar10", tmp_path) == tmp_path / "presets.toml"
    assert presets_of("owner/name", tmp_path) == tmp_path / "presets.toml"
    (tmp_path / "mine").mkdir()
    assert presets_of(str(tmp_path / "mine"), Path("x")) == tmp_path / "mine" / "presets.toml"


FRONT = """
[measure]
count = 24
resamples = 4
metrics = ["frechet"]

[settings]
temperature = 0.9

[[methods]]
name = "plain"
grid = { steps = [2, 3] }
dtypes = ["float32", "bfloat16"]
"""


def test_a_runner_draws_the_front_and_saves_a_point_of_it(
    run: Callable, refused: Callable, eyes: str, reference: Path, tmp_path: Path
) -> None:
    folder, recipe, out = save_tiny(tmp_path / "model"), tmp_path / "front.toml", tmp_path / "out"
    recipe.write_text(FRONT)
    words = ("bench", "--recipe", recipe, "--model", folder, "--out", out)
    seen = (*words, "--front", "--reference", reference, "--extractor", eyes)
    result = run(*seen)
    assert result.exit_code == 0, result.stderr
    assert result.stdout.split() == [str(out / "front.md"), str(out / "front.png")]
    lines = (out / "front.md").read_text().splitlines()
    assert len(lines) == 2 + 4
    assert lines[2].startswith("| front | plain | ")  # the quickest one is on it
    steps, dtype = (cell.strip() for cell in lines[2].split("|")[3:5])
    label = f"plain, steps {steps}, {dtype}"
    saved = run(*seen, "--plot-only", "--save", "fast", "--point", label)
    assert saved.stdout.splitlines()[-1] == f"preset 'fast' in {folder / 'presets.toml'}"
    table = tomllib.loads((folder / "presets.toml").read_text())["fast"]
    assert table["settings"] == {"steps": int(steps), "temperature": 0.9}
    assert table.get("dtype", "float32") == dtype
    assert "24 images of seeds 0 to 23" in table["scores"][0]
    assert "is no point of the sweep" in refused(
        *seen, "--plot-only", "--save", "fast", "--point", "plain"
    )
    assert "all of --front, --save NAME and --point" in refused(*words, "--save", "fast")
    assert "--reference PATH" in refused(*words, "--front")


def test_a_runner_without_eyes_measures_the_cost(
    run: Callable, refused: Callable, model: str, tmp_path: Path
) -> None:
    recipe, out = tmp_path / "front.toml", tmp_path / "out"
    recipe.write_text(FRONT)
    words = ("bench", "--recipe", recipe, "--model", model, "--out", out)
    result = run(*words)
    assert result.exit_code == 0, result.stderr
    table = (out / "table.md").read_text()
    assert table.count("| plain |") == 4
    assert "CPU ms" in table
    assert "a front needs one of" in refused(*words, "--front", "--plot-only")


def test_a_preset_brings_the_type_of_its_weights(run: Callable, tmp_path: Path) -> None:
    folder = save_tiny(tmp_path / "model")
    half = Preset(Settings(steps=2, guidance_scale=3.0), (), "bfloat16")
    write_presets(folder / "presets.toml", PresetFile({"fast": half}))
    generator = demask.load(str(folder), preset="fast")
    assert generator.settings == half.settings
    assert generator.transformer.head.weight.dtype == torch.bfloat16  # type: ignore[attr-defined]
    given = demask.load(str(folder), preset="fast", dtype=torch.float32)
    assert given.transformer.head.weight.dtype == torch.float32  # type: ignore[attr-defined]
    usual = demask.load(str(folder))
    assert usual.transformer.head.weight.dtype == torch.float32  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="unknown preset 'fats'; did you mean 'fast'"):
        demask.load(str(folder), preset="fats")
    words = ("generate", "--model", folder, "--preset", "fast", "-n", 1, "--out")
    assert run(*words, tmp_path / "a").exit_code == 0
    assert run(*words, tmp_path / "b", "--dtype", "bfloat16").exit_code == 0
    assert run(*words, tmp_path / "c", "--dtype", "float32").exit_code == 0
    first, same, other = (
        Image.open(tmp_path / n / "000000.png").tobytes() for n in ("a", "b", "c")
    )
    assert first == same != other
