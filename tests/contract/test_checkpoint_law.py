"""Law 6: save, load, and the answers are the same, bit for bit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from demask.checkpoint.architectures import ARCHITECTURES
from demask.checkpoint.load import load_model
from demask.checkpoint.save import save_model
from demask.tokenizer.conv_tokenizer import ConvTokenizerConfig
from demask.tokenizer.vq_model import VQModelConfig
from demask.tokenizer.vqgan import VQGANConfig
from demask.transformer.maskgit import MaskGITConfig
from demask.transformer.modern_maskgit import ModernMaskGITConfig
from demask.types import Condition, Step

SIZES = {"num_classes": 2, "grid": (2, 2), "width": 16, "depth": 1, "heads": 2, "mlp_width": 16}
# a new architecture gets a line here
TINY = {
    "maskgit": MaskGITConfig(codebook_size=8, **SIZES),
    "modern_maskgit": ModernMaskGITConfig(codebook_size=8, **SIZES),
    "vqgan": VQGANConfig(
        channels=32, multipliers=(1, 1), blocks=1, codebook_size=9, latent_width=2
    ),
    "vq_model": VQModelConfig((8, 16), 1, codebook_size=9, latent_width=3, code_width=2, groups=4),
    "conv_tokenizer": ConvTokenizerConfig((3, 4), (16,), (1,), (1,), 16),
}


def answers(module: nn.Module) -> tuple[Tensor, ...]:
    """What a network says: logits, or ids and a picture."""
    if hasattr(module, "predict"):
        ids_BL = torch.tensor([[1, module.mask_id, 3, module.mask_id]])
        condition = Condition({"class_ids": torch.tensor([1])})
        step = Step(0, 4, (2, 2), torch.tensor([0.5]))
        return (module.predict(ids_BL, condition, step).logits_BLV,)
    image_BCHW = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    ids_BHW = module.encode(image_BCHW)
    return ids_BHW, module.decode(ids_BHW)


@pytest.mark.parametrize("name", ARCHITECTURES)
@torch.no_grad()
def test_the_same_answers_come_back(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = ARCHITECTURES[name].module(TINY[name]).eval()
    for parameter in module.parameters():
        parameter.copy_(torch.randn_like(parameter) / 3)  # heads may start at zero
    save_model(tmp_path / "model.safetensors", module, name)
    loaded = load_model(tmp_path / "model.safetensors")
    before, after = answers(module), answers(loaded)
    assert before[-1].std() > 0
    assert all(torch.equal(x, y) for x, y in zip(before, after, strict=True))
