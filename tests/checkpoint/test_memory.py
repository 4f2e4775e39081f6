"""A model that is loaded takes its weights' memory once, whatever type they are converted to."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from demask.checkpoint.public_amused import NAMES
from demask.checkpoint.public_halton import HALTON, HALTON_BLOCK, rules
from demask.checkpoint.public_maskbit import BLOCK, GENERATOR
from demask.checkpoint.save import save_model
from demask.transformer.amused import Amused, AmusedConfig
from demask.transformer.halton_maskgit import HaltonMaskGIT, HaltonMaskGITConfig
from demask.transformer.maskbit import MaskBit, MaskBitConfig
from demask.transformer.maskgit import MaskGIT, MaskGITConfig

STATUS = Path("/proc/self/status")
SLACK = 16 << 20
"""For what the interpreter imports and torch sets up: small, beside real weights."""
PEAK = """
import sys
from pathlib import Path
import torch

def status(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(name))

before = status("VmRSS:")
from demask.checkpoint.load import load_model
model = load_model(sys.argv[1], dtype=getattr(torch, sys.argv[2]))
weights = sum(p.numel() * p.element_size() for p in model.parameters())
print(weights, status("VmHWM:") - before)
"""


@pytest.fixture(scope="module")
def sizeable() -> MaskGIT:
    """128 MiB of float32."""
    sizes = {"width": 512, "depth": 10, "heads": 8, "mlp_width": 2048}
    return MaskGIT(MaskGITConfig(codebook_size=1024, num_classes=1000, grid=(16, 16), **sizes))


OF_LINUX = pytest.mark.skipif(
    not STATUS.exists(), reason="reads Linux's own account of a process's memory"
)


@OF_LINUX
@pytest.mark.parametrize("wanted", ["float32", "float16"])
def test_peak_beside_the_state_of_an_optimizer(tmp_path: Path, wanted: str) -> None:
    """Halton-MaskGIT's files hold two averages of every weight, which are not read."""
    sizes = {"width": 512, "depth": 6, "heads": 6, "mlp_width": 1536}
    model = HaltonMaskGIT(HaltonMaskGITConfig(codebook_size=8192, num_classes=10, **sizes))
    state = {"model_state_dict": public(model), "optimizer_state_dict": {"state": {}}}
    for index, tensor in enumerate(state["model_state_dict"].values()):
        averages = {"exp_avg": torch.zeros_like(tensor), "exp_avg_sq": torch.zeros_like(tensor)}
        state["optimizer_state_dict"]["state"][index] = averages
    torch.save(state, tmp_path / "model.pth")
    command = [sys.executable, "-c", PEAK, str(tmp_path / "model.pth"), wanted]
    done = subprocess.run(command, capture_output=True, check=True, text=True)
    weights, peak = map(int, done.stdout.split())
    assert weights > 60 << 20
    assert peak < 1.15 * weights + SLACK


@OF_LINUX
@pytest.mark.parametrize("wanted", ["float32", "float16"])
def test_peak_of_maskbit(tmp_path: Path, wanted: str) -> None:
    """Its file packs queries, keys and values, which are not copied apart."""
    own = MaskBit(MaskBitConfig(width=512, depth=8, heads=8, mlp_width=2048)).state_dict()
    packed: dict[str, list[torch.Tensor]] = {}
    for rule in rules(own, GENERATOR, BLOCK, "0.mha"):
        packed.setdefault(rule.theirs, []).append(own[rule.ours])
    torch.save({name: torch.cat(parts) for name, parts in packed.items()}, tmp_path / "model.bin")
    (tmp_path / "model.yaml").write_text("model: {mlm_model: {heads: 8}}")
    command = [sys.executable, "-c", PEAK, str(tmp_path / "model.bin"), wanted]
    done = subprocess.run(command, capture_output=True, check=True, text=True)
    weights, peak = map(int, done.stdout.split())
    assert weights > 45 << 20
    assert peak < 1.15 * weights + SLACK


def public(model: HaltonMaskGIT) -> dict[str, torch.Tensor]:
    """The tensors of a model under their public names, its output matrix included."""
    own = model.state_dict()
    tensors = {rule.theirs: own[rule.ours] for rule in rules(own, HALTON, HALTON_BLOCK)}
    return {**tensors, "head.weight": tensors["tok_emb.weight"]}


@OF_LINUX
@pytest.mark.parametrize(
    ("stored", "wanted"),
    [("float32", "float32"), ("float32", "float16"), ("float16", "float32")],
)
def test_peak(sizeable: MaskGIT, tmp_path: Path, stored: str, wanted: str) -> None:
    path = tmp_path / "model.safetensors"
    save_model(path, sizeable, "maskgit", getattr(torch, stored))
    command = [sys.executable, "-c", PEAK, str(path), wanted]
    done = subprocess.run(command, capture_output=True, check=True, text=True)
    weights, peak = map(int, done.stdout.split())
    assert weights > 60 << 20
    assert peak < 1.15 * weights + SLACK


@OF_LINUX
@pytest.mark.parametrize("wanted", ["float16", "float32"])
def test_peak_of_a_published_size(tmp_path: Path, wanted: str) -> None:
    """aMUSEd in its published widths with fewer layers: half a gigabyte in the type that is wanted.

    Every weight is a random float16 below 1.
    """
    layers = 8 if wanted == "float16" else 1
    with torch.device("meta"):
        shapes = Amused(AmusedConfig(depth=layers)).state_dict()
    size = sum(2 * tensor.numel() for tensor in shapes.values())
    if shutil.disk_usage(tmp_path).free < 2 * size:
        pytest.skip("the disk is short of half a gigabyte")
    public = {theirs: getattr(AmusedConfig(depth=layers), ours) for ours, theirs in NAMES.items()}
    facts = {"_class_name": "UVit2DModel", "sample_size": 16, **public}
    (tmp_path / "config.json").write_text(json.dumps(facts))
    write_random(tmp_path / "diffusion_pytorch_model.fp16.safetensors", shapes)
    command = [sys.executable, "-c", PEAK, str(tmp_path), wanted]
    done = subprocess.run(command, capture_output=True, check=True, text=True)
    weights, peak = map(int, done.stdout.split())
    assert weights > 400 << 20
    assert peak < 1.15 * weights
    shutil.rmtree(tmp_path)


def write_random(path: Path, shapes: dict[str, torch.Tensor]) -> None:
    """A safetensors file of random float16 weights, written one tensor after the other."""
    header, begin = {}, 0
    for name, tensor in shapes.items():
        end = begin + 2 * tensor.numel()
        places = {"data_offsets": [begin, end], "shape": list(tensor.shape), "dtype": "F16"}
        header[name], begin = places, end
    text = json.dumps(header).encode()
    generator = torch.Generator().manual_seed(0)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for tensor in shapes.values():
            draws = torch.randint(0, 15360, tensor.shape, generator=generator, dtype=torch.int16)
            file.write(draws.numpy().tobytes())
