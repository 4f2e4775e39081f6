"""The transformers of Halton-MaskGIT and MaskGIT-pytorch 1.0 agree with the authors' programs.

Shape legend: B batch, L tokens, K codebook.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from demask.checkpoint.load import CheckpointError, load_model
from demask.checkpoint.read import read_tensors
from demask.training.losses import token_cross_entropy
from demask.transformer.class_conditional import ClassConditional
from demask.transformer.halton_maskgit import SIZES, HaltonMaskGIT, HaltonMaskGITConfig
from demask.transformer.maskgit_v1 import MaskGITV1, MaskGITV1Config
from demask.types import Condition, Step
from differences import relative
from golden_models import with_sizes

Case = dict[str, Tensor]
CASES = ("halton", "halton_uneven_heads", "maskgit_v1")


@pytest.fixture(scope="module", params=CASES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def case(golden: Path, name: str) -> Case:
    return load_file(golden / name / "case.safetensors")


@pytest.fixture(scope="module")
def model(golden: Path, name: str, tmp_path_factory: pytest.TempPathFactory) -> ClassConditional:
    loaded = load_model(with_sizes(golden / name, tmp_path_factory.mktemp(name)))
    assert isinstance(loaded, ClassConditional)
    return loaded


@torch.inference_mode()
@pytest.mark.parametrize("index", range(3))
def test_logits(model: ClassConditional, case: Case, index: int) -> None:
    ids_BL, class_ids_B = case[f"tokens_{index}"].flatten(1), case["class_ids"]
    nothing_B = torch.full_like(class_ids_B, model.null_class)
    for kind, told_B in (("conditional", class_ids_B), ("unconditional", nothing_B)):
        theirs = case[f"{kind}_logits_{index}"]
        assert relative(model(ids_BL, told_B), theirs) < 1e-4
        step = Step(0, 1, model.layout, (ids_BL == model.mask_id).double().mean(-1))
        ours = model.predict(ids_BL, Condition({"class_ids": told_B}), step).logits_BLV
        assert relative(ours, theirs[..., :-1]) < 1e-4  # without the mask's column


def test_training_loss_and_gradients(model: ClassConditional, case: Case) -> None:
    logits_BLV = model(case["tokens_1"].flatten(1), case["class_ids"])
    smoothing = 0.1 if isinstance(model, MaskGITV1) else 0.0
    target_BL = case["train_targets"].flatten(1)
    loss = token_cross_entropy(logits_BLV, target_BL, torch.ones(target_BL.shape), smoothing)
    assert relative(loss.detach()[None], case["train_loss"]) < 1e-4
    if not isinstance(model, HaltonMaskGIT):
        return
    first = model.blocks[0].modulate
    found = torch.autograd.grad(loss, [model.embed.weight, first.weight])
    names = ("tok_emb.weight", "transformer.layers.0.mlp.1.weight")
    for gradient, key in zip(found, names, strict=True):
        assert relative(gradient.norm()[None], case[f"grad_norm.{key}"]) < 1e-4


def test_published_sizes() -> None:
    counts = {
        "tiny": (23_031_425, 23_154_305),
        "small": (69_344_769, 69_508_609),
        "base": (142_224_641, 142_470_401),
        "large": (479_656_961, 479_984_641),
        "xlarge": (692_118_401, 692_487_041),
    }
    assert counts.keys() == SIZES.keys()
    with torch.device("meta"):
        nets: list[tuple[nn.Module, int]] = [
            (HaltonMaskGIT(HaltonMaskGITConfig.published(size, (side, side))), count)
            for size, both in counts.items()
            for side, count in zip((16, 24), both, strict=True)
        ]
        nets.append((MaskGITV1(MaskGITV1Config()), 174_160_874))
        nets.append((MaskGITV1(MaskGITV1Config(width=1024, depth=32)), 341_953_002))
    for net, count in nets:
        assert sum(p.numel() for p in net.parameters()) == count


def test_the_optimizer_is_not_read_and_prefixes_fall_away(golden: Path) -> None:
    tensors, _ = read_tensors(golden / "halton" / "ImageNet_256_test.pth")
    assert "tok_emb.weight" in tensors
    assert not [name for name in tensors if "optim" in name or "exp_avg" in name]
    prefixed, _ = read_tensors(golden / "halton_uneven_heads" / "ImageNet_256_test.pth")
    assert all(name.startswith("_orig_mod.") for name in prefixed)


def test_what_the_tensors_do_not_say_is_asked_for(golden: Path, name: str, tmp_path: Path) -> None:
    file = with_sizes(golden / name, tmp_path)
    (tmp_path / "config.json").unlink()
    with pytest.raises(CheckpointError, match="the tensors do not say (heads|codebook_size); writ"):
        load_model(file)


def test_another_output_matrix_is_refused(golden: Path, tmp_path: Path) -> None:
    file = with_sizes(golden / "halton", tmp_path)
    tensors, _ = read_tensors(file)
    torch.save({**tensors, "head.weight": tensors["head.weight"] + 1}, file)
    with pytest.raises(CheckpointError, match="head.weight is not tok_emb.weight"):
        load_model(file)


def test_missing_and_unexpected_keys_have_their_public_names(
    golden: Path, name: str, tmp_path: Path
) -> None:
    file = with_sizes(golden / name, tmp_path)
    tensors, _ = read_tensors(file)
    lost = next(key for key in tensors if key.endswith(("ln2.weight", "net.3.bias")))
    bare = lost.removeprefix("_orig_mod.")
    tensors[lost.replace(bare, "in_proj.weight")] = tensors.pop(lost)
    torch.save(tensors, file)
    with pytest.raises(CheckpointError, match=f"missing: .*{bare}; unexpected: .*in_proj.weight"):
        load_model(file)
