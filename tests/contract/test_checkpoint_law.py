"""Law 6: save, load, and the answers are the same, bit for bit."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from demask.checkpoint.architectures import ARCHITECTURES
from demask.checkpoint.load import load_model
from demask.checkpoint.save import save_model
from demask.tokenizer.conv_tokenizer import ConvTokenizerConfig
from demask.tokenizer.titok import TATiTok, TATiTokConfig, TiTokConfig
from demask.tokenizer.vq_model import VQModelConfig
from demask.tokenizer.vqgan import VQGANConfig
from demask.transformer.amused import AmusedConfig
from demask.transformer.clip_text import ClipText, ClipTextConfig
from demask.transformer.feature_selection import FeatureSelection, FeatureSelectionConfig
from demask.transformer.halton_maskgit import HaltonMaskGITConfig
from demask.transformer.image_bert import ImageBertConfig
from demask.transformer.maskbit import MaskBitConfig
from demask.transformer.maskgen import MaskGenConfig
from demask.transformer.maskgit import MaskGITConfig
from demask.transformer.maskgit_v1 import MaskGITV1Config
from demask.transformer.meissonic import MeissonicConfig
from demask.transformer.modern_maskgit import ModernMaskGITConfig
from demask.transformer.shortcut import Shortcut, ShortcutConfig
from demask.transformer.token_critic import TokenCritic, TokenCriticConfig
from demask.transformer.uvit import UViTConfig
from demask.types import Condition, Step

MEISSONIC = MeissonicConfig(
    codebook_size=8,
    vocabulary=9,
    heads=2,
    head_width=8,
    blocks=1,
    single_blocks=1,
    text_width=4,
    pooled_width=4,
    axes=(0, 4, 4),
    grid=(2, 2),
)
SIZES = {"num_classes": 2, "grid": (2, 2), "width": 16, "depth": 1, "heads": 2, "mlp_width": 16}
ROW = {
    "codebook_size": 9,
    "code_width": 2,
    "tokens": 4,
    "image_size": 8,
    "width": 8,
    "depth": 1,
    "heads": 2,
    "patch": 4,
    "decoder_width": 16,
    "decoder_depth": 1,
    "decoder_heads": 2,
}
TWO_STAGES = {"decoder_patch": 2, "proxy_codes": 5, "proxy_width": 3, "pixel_widths": (32, 32)}
ONE_STAGE = {"decoder_patch": 4, "proxy_codes": 0, "pixel_widths": ()}
# a new architecture gets a line here
TINY = {
    "maskgit": MaskGITConfig(codebook_size=8, **SIZES),
    "modern_maskgit": ModernMaskGITConfig(codebook_size=8, **SIZES),
    "halton_maskgit": HaltonMaskGITConfig(8, **SIZES),
    "maskgit_v1": MaskGITV1Config(8, **SIZES),
    "maskbit": MaskBitConfig(6, 3, **SIZES),
    "vqgan": VQGANConfig(
        channels=32, multipliers=(1, 1), blocks=1, codebook_size=9, latent_width=2
    ),
    "vq_model": VQModelConfig((8, 16), 1, codebook_size=9, latent_width=3, code_width=2, groups=4),
    "image_bert": ImageBertConfig(codebook_size=8, **{**SIZES, "grid": (1, 4)}),
    "uvit": UViTConfig(8, 2, tokens=4, width=16, depth=2, heads=2, mlp_width=16),
    "maskgen": MaskGenConfig(8, 9, 4, 16, 2, 2, text_width=4, pooled_width=4, micro_width=4),
    "titok": TiTokConfig(**ROW, **TWO_STAGES, pixel_blocks=1),
    "ta_titok": TATiTokConfig(**ROW, **ONE_STAGE, text_length=3, text_width=4),
    "meissonic": MEISSONIC,
    "amused": AmusedConfig(
        codebook_size=8,
        vocabulary=10,
        width=16,
        depth=1,
        heads=2,
        mlp_width=16,
        embed_width=6,
        channels=8,
        channel_heads=2,
        res_blocks=1,
        text_width=4,
        pooled_width=4,
        micro_width=8,
        compress=True,
        grid=(2, 2),
    ),
    "clip_text": ClipTextConfig(9, 8, 4, width=8, mlp_width=8, layers=2, heads=2, pooled_width=4),
    "conv_tokenizer": ConvTokenizerConfig((3, 4), (16,), (1,), (1,), 16),
    "token_critic": TokenCriticConfig(codebook_size=8, **SIZES),
    "shortcut": ShortcutConfig(base_width=8, width=8, heads=1, mlp_width=8),
    "feature_selection": FeatureSelectionConfig(width=8, depth=2, num_classes=3, factors=2),
}


def answers(module: nn.Module) -> tuple[Tensor, ...]:
    """What a network says: logits, or ids and an image."""
    if hasattr(module, "predict"):
        ids_BL = torch.tensor([[1, module.mask_id, 3, module.mask_id] * module.layout.parts])
        condition = Condition(
            {
                "class_ids": torch.tensor([1]),
                "states": torch.ones(1, 3, 4),
                "pooled": torch.ones(1, 4),
                "micro": torch.tensor([[8, 8, 0, 0, 6]]),
            }
        )
        step = Step(0, 4, module.layout, torch.tensor([0.5]))
        return (module.predict(ids_BL, condition, step).logits_BLV,)
    if isinstance(module, TokenCritic):
        return (module(torch.tensor([[1, 5, 3, 0]]), torch.tensor([1])),)
    if isinstance(module, Shortcut):
        features_BND = torch.rand(1, 4, 8, generator=torch.Generator().manual_seed(0))
        changed_BN = torch.tensor([[True, False, False, True]])
        return (module(features_BND, features_BND.flip(1), changed_BN, torch.ones(1), (2, 2)),)
    if isinstance(module, ClipText):
        return module(torch.tensor([[7, 3, 8, 8]]))
    if isinstance(module, FeatureSelection):
        half_BSD = torch.rand(1, 5, 8, generator=torch.Generator().manual_seed(0))
        features_BSD = torch.cat([half_BSD, -half_BSD], 1)  # one of both is like the anchor
        return tuple(module.select(features_BSD, Condition({"class_ids": torch.tensor([2])})))
    image_BCHW = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    ids_BHW = module.encode(image_BCHW)
    if isinstance(module, TATiTok):
        module = module.conditioned(Condition({"decoder_text": torch.ones(1, 3, 4)}))
    return ids_BHW, module.decode(ids_BHW)


@pytest.mark.parametrize("name", ARCHITECTURES)
@torch.no_grad()
def test_the_same_answers_come_back(name: str, tmp_path: Path) -> None:
    module = ARCHITECTURES[name].module(TINY[name]).eval()
    torch.manual_seed(0)  # after the initialisation, which draws other numbers in other versions
    for parameter in module.parameters():
        parameter.copy_(torch.randn_like(parameter) / 3)  # heads may start at zero
    save_model(tmp_path / "model.safetensors", module, name)
    loaded = load_model(tmp_path / "model.safetensors")
    before, after = answers(module), answers(loaded)
    assert before[-1].std() > 0
    assert all(torch.equal(x, y) for x, y in zip(before, after, strict=True))


LOAD_ALL = """
import sys
from pathlib import Path
from demask.checkpoint.load import load_model
before = set(sys.modules)
for path in sorted(Path(sys.argv[1]).iterdir()):
    load_model(path)
print(sorted(name for name in set(sys.modules) - before if name in ("sympy", "torch._dynamo")))
"""


def test_loading_does_not_import_the_compiler(tmp_path: Path) -> None:
    """It would take as much memory as a small model; torch imports it for some meta tensors."""
    for name, config in TINY.items():
        save_model(tmp_path / f"{name}.safetensors", ARCHITECTURES[name].module(config), name)
    command = [sys.executable, "-c", LOAD_ALL, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, check=True, text=True)
    assert done.stdout == "[]\n"
