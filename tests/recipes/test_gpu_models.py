"""The trainings for a GPU, with seconds on the processor: results, a stop, and what is missing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import gpu_environment
import numpy as np
import pytest
import torch
from gpu_files import MOST, write_bundle
from gpu_plan import Bundle, read_plan
from gpu_training import recipe_of
from PIL import Image
from safetensors.torch import load_file

from demask.assembly import load
from demask.checkpoint.eight_bit import shrink_tensors
from demask.types import TokenLayout

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "recipes" / "gpu" / "gpu_models.py"
WHOLE = ROOT / "recipes" / "gpu" / "plan.toml"

PLAN = """
reserve = 3

[[images]]
name = "images"
source = "{data}/images"
size = 8
files = ["images/red/0.png", "images/blue/0.png"]

[[images]]
name = "elsewhere"
source = "{data}/elsewhere.parquet"
size = 8
files = ["elsewhere.parquet"]

[[stage]]
name = "teacher"
kind = "classifier"
share = 1
recipe = "RECIPES/teacher.toml"
folder = "teacher"
train = "images"
held_out = "images"
changes = ["run.steps=6"]

[[stage]]
name = "tokenizer"
kind = "tokenizer"
share = 1
recipe = "RECIPES/tokenizer.toml"
folder = "model"
train = "images"
held_out = "images"
needs = ["teacher"]
changes = ["run.steps=6", "tokenizer.loss.network={work}/teacher/classifier.safetensors"]

[[stage]]
name = "transformer"
kind = "masked"
share = 0.2
recipe = "RECIPES/masked.toml"
folder = "model"
train = "images"
held_out = "images"
shrink = "model/small"
needs = ["tokenizer"]
changes = ["run.batch_size=8"]

[[stage]]
name = "self_guidance"
kind = "self-guidance"
share = 1
recipe = "RECIPES/self_guidance.toml"
folder = "model/small"
train = "images"
held_out = "images"
model = "model/small"
needs = ["transformer"]
changes = ["run.steps=6"]

[[stage]]
name = "no_data"
kind = "tokenizer"
share = 1
recipe = "RECIPES/tokenizer.toml"
folder = "no_data"
train = "elsewhere"
held_out = "elsewhere"

[[stage]]
name = "benchmarks"
kind = "benchmark"
share = 1
options = ["--tiny", "--ways", "exact", "--models", "MaskGIT-256"]

[[bundle]]
file = "modules.tar"
parts = ["model/tokenizer.safetensors", "model/small/self_guidance.safetensors"]
after = ["tokenizer", "self_guidance"]

[[bundle]]
file = "model.tar"
parts = ["model/small/transformer.safetensors"]
after = ["transformer"]
"""

RUN = """
[run]
steps = 4
batch_size = 8
log_every = 10
tracker = "none"
validate_every = 1000000
precision = "no"
"""

RECIPES = {
    "teacher": """
[classifier]
size = 8
shift = 1

[classifier.small_conv]
widths = [8, 8, 8]
features = 8
num_classes = 2
""",
    "tokenizer": """
[tokenizer]
size = 8
shift = 1

[tokenizer.model]
levels = [4, 4]
widths = [16]
encoder_blocks = [1]
decoder_blocks = [1]
pixel_width = 16

[tokenizer.loss]
adversary_start = 3
perceptual = 0.5
network = "replaced"
""",
    "masked": """
[views]
size = 8
count = 3
shift = 1

[transformer]
width = 64
depth = 2
heads = 2
mlp_width = 64

[transformer.optim]
optimizer = "muon"
""",
    "self_guidance": """
[views]
size = 8
count = 3
shift = 1
flip = true

[self_guidance]
substitution = "uniform"
""",
}


@pytest.fixture
def place(tmp_path):
    """A plan with its recipes and images, in a folder."""
    random = np.random.default_rng(0)
    for channel, name in ((0, "red"), (2, "blue")):
        (tmp_path / "data" / "images" / name).mkdir(parents=True)
        for number in range(20):
            pixels = random.integers(0, 90, (8, 8, 3), dtype=np.uint8)
            pixels[..., channel] += 160
            Image.fromarray(pixels).save(tmp_path / "data" / "images" / name / f"{number}.png")
    (tmp_path / "recipes").mkdir()
    for name, text in RECIPES.items():
        (tmp_path / "recipes" / f"{name}.toml").write_text(text + RUN)
    text = PLAN.replace("RECIPES", str(tmp_path / "recipes"))
    (tmp_path / "plan.toml").write_text(text)
    return tmp_path


def words(place, minutes, *more):
    folders = [f"--{name}={place / name}" for name in ("data", "out", "work")]
    plan = f"--plan={place / 'plan.toml'}"
    return [sys.executable, SCRIPT, f"--minutes={minutes}", *folders, plan, "--room=0", *more]


def environment():
    return os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


def call(place, minutes, *more):
    return subprocess.run(
        list(map(str, words(place, minutes, *more))),
        capture_output=True,
        text=True,
        env=environment(),
        timeout=600,
    )


def wait_for(condition, process):
    for _ in range(12_000):
        if condition():
            return
        assert process.poll() is None, "the run ended too early"
        time.sleep(0.02)
    raise AssertionError("nothing came in four minutes")


def test_a_run_is_killed_goes_on_and_leaves_whole_results(place):
    # killed in the middle of the transformer's training
    checkpoints = place / "work" / "model" / "checkpoints" / "transformer"
    with (place / "first.txt").open("w") as log:
        first = subprocess.Popen(
            list(map(str, words(place, 4))),
            stdout=log,
            stderr=log,
            env=environment(),
            start_new_session=True,
        )
        try:
            wait_for(lambda: list(checkpoints.glob("step-*.pt")), first)
        finally:
            os.killpg(first.pid, signal.SIGKILL)
            first.wait()
    before = json.loads((place / "work" / "state.json").read_text())
    assert set(before["done"]) == {"teacher", "tokenizer"}
    assert not (place / "out" / "model.tar").exists()
    assert [path.name for path in (place / "out").glob("*.tar")] == ["modules.tar"]

    again = call(place, 4)
    assert again.returncode == 0, again.stderr
    assert "tokenizer: done before" in again.stderr
    assert "resuming" in again.stderr
    names = {path.name for path in (place / "out").iterdir()}
    assert names == {"modules.tar", "model.tar", "gpu.json", "report.json", "log.txt"}
    report = json.loads((place / "out" / "report.json").read_text())
    done = report["done"]
    assert set(done) == {"teacher", "tokenizer", "transformer", "self_guidance", "benchmarks"}
    assert done["tokenizer"] == before["done"]["tokenizer"]
    assert done["transformer"]["steps"] > 4
    assert "cross_entropy" in done["transformer"]["held out"]
    assert "no such path" in report["left out"]["no_data"]
    assert json.loads((place / "out" / "gpu.json").read_text())["rows"]
    check_model(place)


def check_model(place):
    """What was left behind is a model that generates, with its self-guidance module."""
    for name in ("modules.tar", "model.tar"):
        with tarfile.open(place / "out" / name) as archive:
            archive.extractall(place / "unpacked", filter="data")
    unpacked = place / "unpacked" / "model"
    (unpacked / "tokenizer.safetensors").rename(unpacked / "small" / "tokenizer.safetensors")
    model = load(str(unpacked / "small"), device="cpu")
    assert model.class_names == ("blue", "red")
    way = {"steps": 2, "guidance_scale": 2.0, "guidance_method": "self_guidance"}
    assert len(model.generate(["red", "blue"], **way)) == 2
    stored = load_file(unpacked / "small" / "transformer.safetensors")
    assert any(tensor.dtype == torch.int8 for tensor in stored.values())


def test_missing_things_are_named_and_nothing_is_done(place):
    (place / "data" / "images" / "red" / "0.png").unlink()
    code = (
        "import sys, gpu_environment as g\n"
        "from pathlib import Path\n"
        "g.PACKAGES |= {'no_such_thing': 'no-such-thing'}\n"
        "import gpu_models\n"
        "sys.exit(gpu_models.main())\n"
    )
    paths = os.pathsep.join([str(ROOT / "src"), str(SCRIPT.parent)])
    given = list(map(str, [sys.executable, "-c", code, *words(place, 0.1)[2:]]))
    done = subprocess.run(
        given, capture_output=True, text=True, env=environment() | {"PYTHONPATH": paths}
    )
    assert done.returncode == 2
    assert "MISSING  no-such-thing: not installed, and no folder of wheels" in done.stdout
    assert "note     no CUDA device" in done.stdout
    lines = [line for line in done.stdout.splitlines() if "0.png" in line]
    assert [line.split()[0] for line in lines] == ["ok", "note"] or lines[0].startswith("note")
    assert "1 things are missing; nothing was done" in done.stderr
    assert not (place / "out").exists()
    assert not (place / "work").exists()


def test_a_missing_package_is_installed_from_its_wheel(tmp_path, monkeypatch):
    name = "gpu_test_package"
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    write_wheel(wheels / f"{name}-1.0-py3-none-any.whl", name)
    monkeypatch.setattr(gpu_environment, "PACKAGES", {"torch": "torch", name: "gpu-test-package"})
    monkeypatch.setattr(sys, "path", [*sys.path])
    found = gpu_environment.Environment()
    gpu_environment.check_packages(found, wheels, tmp_path / "site-packages")
    assert found.missing == []
    assert found.lines == [f"ok       gpu-test-package: installed from {wheels}"]
    assert (tmp_path / "site-packages" / f"{name}.py").is_file()


def write_wheel(path, name):
    """A wheel with one module."""
    import zipfile

    facts = f"{name}-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(f"{name}.py", "found = True\n")
        file.writestr(f"{facts}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        tag = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        file.writestr(f"{facts}/WHEEL", tag)
        file.writestr(f"{facts}/RECORD", "")


def test_a_full_disk_and_an_old_torch_are_missing(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu_environment, "TORCH", (99, 0))
    found = gpu_environment.check(tmp_path, None, tmp_path, [], room=2**60)
    assert len(found.missing) == 2
    assert found.missing[0].startswith(f"torch {torch.__version__}; at least 99.0")
    assert found.missing[1].startswith("room in")


def test_a_bundle_that_is_too_large_is_not_written(tmp_path):
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "large").write_bytes(bytes(MOST))
    bundle = Bundle("large.tar", ("large", "absent"), ())
    with pytest.raises(ValueError, match="the limit is 16,000,000"):
        write_bundle(bundle, tmp_path / "work", tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []
    assert write_bundle(Bundle("none.tar", ("absent",), ()), tmp_path / "work", tmp_path) == 0


@pytest.fixture
def whole(tmp_path):
    """The plan that is done on a GPU."""
    return read_plan(WHOLE, {"data": tmp_path / "data", "work": tmp_path / "work"})


def test_the_recipes_of_the_whole_plan_can_be_read(whole, monkeypatch):
    monkeypatch.chdir(ROOT)
    for stage in whole.stages:
        if stage.kind != "benchmark":
            recipe = recipe_of(stage, ("decoded:a", "decoded:b"))
            assert recipe.data.pictures == "decoded:a"
            assert recipe.run.steps == 1_000_000
    assert len(whole.bundles) + len(["gpu.json", "report.json", "log.txt"]) <= 8
    assert sum(stage.share for stage in whole.stages) == 100


@pytest.mark.parametrize("name", ["cifar10_transformer", "emoji_transformer", "scenes_transformer"])
def test_the_models_of_the_whole_plan_fit_into_their_files(whole, name, monkeypatch):
    from demask.transformer.meissonic import Meissonic
    from demask.transformer.modern_maskgit import ModernMaskGIT, ModernMaskGITConfig

    monkeypatch.chdir(ROOT)
    (stage,) = (stage for stage in whole.stages if stage.name == name)
    recipe = recipe_of(stage, ("decoded:a", "decoded:b"))
    codes = {"cifar10": 1000, "emoji": 4375, "scenes": 512}[name.partition("_")[0]]
    if recipe.transformer is not None:
        sizes = recipe.transformer
        config = ModernMaskGITConfig(
            codes, 10, (8, 8), sizes.width, sizes.depth, sizes.heads, sizes.mlp_width
        )
        network = ModernMaskGIT(config)
    else:

        class Tokens:
            layout = TokenLayout((8, 8))

        text = recipe.meissonic.text.build([("a red apple",)]).model.config
        network = Meissonic(recipe.meissonic.config(Tokens(), codes, text))
    tensors = shrink_tensors({n: t.half() for n, t in network.state_dict().items()})
    size = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    assert size + 50_000 < MOST
    assert size > {"cifar10": 0.9, "emoji": 0.8, "scenes": 0.3}[name.partition("_")[0]] * MOST


def test_a_wrong_plan_is_refused(tmp_path):
    plan = tmp_path / "plan.toml"
    stage = '[[stage]]\nname = "a"\nshare = 1\nkind = "masked"\n'
    for text, reason in (
        ("stages = 1", "unknown key 'stages'"),
        (stage.replace("masked", "dance"), "unknown kind 'dance'"),
        (stage + 'needs = ["b"]', "names what is not in the plan: b"),
        (stage + 'train = "c"', "names what is not in the plan: c"),
        (stage.replace("= 1", "= 0"), "share must be above 0"),
        (stage + "steps = 3", "unknown key 'steps'"),
        ('[[stage]]\nname = "a"', "missing"),
        ("no toml", "no readable plan"),
    ):
        plan.write_text(text)
        with pytest.raises(ValueError, match=reason):
            read_plan(plan, {})
