"""A model that is loaded takes its weights' memory once, whatever type they are converted to."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from demask.checkpoint.public_halton import HALTON, HALTON_BLOCK, rules
from demask.checkpoint.save import save_model
from demask.transformer.halton_maskgit import HaltonMaskGIT, HaltonMaskGITConfig
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
