"""A CLIP in open_clip's layout: its names, and the numbers of a network written anew from them."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clip_layouts import to_open_clip
from demask.evaluation.open_clip import (
    ClipSizes,
    build,
    key_map,
    read_checkpoint,
    to_transformers,
)

pytest.importorskip("transformers")
pytestmark = pytest.mark.filterwarnings("ignore")  # transformers'

WORDS, LENGTH, END = 20, 7, 19
TEXT_WIDTH, VISION_WIDTH, FEATURES, PATCH, SIZE = 8, 12, 6, 4, 8
SIZES = ClipSizes(size=SIZE, text_heads=2, vision_heads=3)
TOKENIZER = SimpleNamespace(bos_token_id=18, eos_token_id=END, pad_token_id=END)


class Block(nn.Module):
    """Attention and an MLP behind layer norms, named as open_clip names them."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
        layers = {"c_fc": nn.Linear(width, 16), "gelu": nn.GELU(), "c_proj": nn.Linear(16, width)}
        self.mlp = nn.Sequential(OrderedDict(layers))

    def forward(self, x_BTD: Tensor, mask_TT: Tensor | None) -> Tensor:
        seen_BTD = self.ln_1(x_BTD)
        seen = self.attn(seen_BTD, seen_BTD, seen_BTD, need_weights=False, attn_mask=mask_TT)
        x_BTD = x_BTD + seen[0]
        return x_BTD + self.mlp(self.ln_2(x_BTD))


class Blocks(nn.Module):
    def __init__(self, width: int, heads: int, layers: int) -> None:
        super().__init__()
        self.resblocks = nn.ModuleList(Block(width, heads) for _ in range(layers))

    def forward(self, x_BTD: Tensor, mask_TT: Tensor | None = None) -> Tensor:
        for block in self.resblocks:
            x_BTD = block(x_BTD, mask_TT)
        return x_BTD


class Vision(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, VISION_WIDTH, PATCH, PATCH, bias=False)
        self.class_embedding = nn.Parameter(torch.randn(VISION_WIDTH))
        places = (SIZE // PATCH) ** 2 + 1
        self.positional_embedding = nn.Parameter(torch.randn(places, VISION_WIDTH))
        self.ln_pre, self.ln_post = nn.LayerNorm(VISION_WIDTH), nn.LayerNorm(VISION_WIDTH)
        self.transformer = Blocks(VISION_WIDTH, SIZES.vision_heads, 3)
        self.proj = nn.Parameter(torch.randn(VISION_WIDTH, FEATURES))

    def forward(self, image_BCHW: Tensor) -> Tensor:
        x_BTD = self.conv1(image_BCHW).flatten(2).transpose(1, 2)
        x_BTD = torch.cat([self.class_embedding.expand(len(x_BTD), 1, -1), x_BTD], dim=1)
        x_BTD = self.transformer(self.ln_pre(x_BTD + self.positional_embedding))
        return self.ln_post(x_BTD[:, 0]) @ self.proj


class OpenClip(nn.Module):
    """Both towers (arXiv 2103.00020, section 2.4), under open_clip's names."""

    def __init__(self) -> None:
        super().__init__()
        self.visual = Vision()
        self.transformer = Blocks(TEXT_WIDTH, SIZES.text_heads, 2)
        self.token_embedding = nn.Embedding(WORDS, TEXT_WIDTH)
        self.positional_embedding = nn.Parameter(torch.randn(LENGTH, TEXT_WIDTH))
        self.ln_final = nn.LayerNorm(TEXT_WIDTH)
        self.text_projection = nn.Parameter(torch.randn(TEXT_WIDTH, FEATURES))
        self.logit_scale = nn.Parameter(torch.tensor(2.5))

    def texts(self, ids_BT: Tensor) -> Tensor:
        mask_TT = torch.full((LENGTH, LENGTH), -torch.inf).triu(1)
        x_BTD = self.token_embedding(ids_BT) + self.positional_embedding
        x_BTD = self.ln_final(self.transformer(x_BTD, mask_TT))
        return x_BTD[torch.arange(len(x_BTD)), ids_BT.argmax(-1)] @ self.text_projection


@pytest.fixture(scope="module")
def theirs() -> OpenClip:
    torch.manual_seed(0)
    network = OpenClip().eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return network


@pytest.fixture
def file(theirs: OpenClip, tmp_path: Path) -> Path:
    path = tmp_path / "HPS.pt"
    torch.save({"state_dict": theirs.state_dict()}, path)
    return path


def test_both_networks_see_the_same(theirs: OpenClip, file: Path) -> None:
    model = build(file, TOKENIZER, SIZES)
    image_BCHW = torch.randn(3, 3, SIZE, SIZE)
    # behind the mark of the end, open_clip fills up with zeros and transformers with more ends
    ids_BT = torch.tensor([[18, 3, 4, END, 0, 0, 0], [18, 5, END, 0, 0, 0, 0]])
    mask_BT = torch.tensor([[1, 1, 1, 1, 0, 0, 0], [1, 1, 1, 0, 0, 0, 0]])
    filled_BT = torch.where(mask_BT > 0, ids_BT, END)
    with torch.no_grad():
        out = model(input_ids=filled_BT, attention_mask=mask_BT, pixel_values=image_BCHW)
        image_BD = F.normalize(theirs.visual(image_BCHW), dim=-1)
        text_BD = F.normalize(theirs.texts(ids_BT), dim=-1)
        logits_BB = theirs.logit_scale.exp() * image_BD @ text_BD.T
    torch.testing.assert_close(out.image_embeds, image_BD)
    torch.testing.assert_close(out.text_embeds, text_BD)
    torch.testing.assert_close(out.logits_per_image, logits_BB)


def test_the_names_lead_there_and_back(theirs: OpenClip) -> None:
    tensors = theirs.state_dict()
    assert set(key_map(2, 3)) == set(tensors)
    back = to_open_clip(to_transformers(tensors))
    assert back.keys() == tensors.keys()
    assert all(torch.equal(back[name], tensors[name]) for name in tensors)


def test_the_published_network_has_these_names() -> None:
    """ViT-H-14: 24 layers for words, 32 for images, 12 tensors each, and 14 more."""
    names = key_map(24, 32)
    assert len(names) == 12 * (24 + 32) + 14
    assert names["visual.transformer.resblocks.31.attn.in_proj_bias"][1] == (
        "vision_model.encoder.layers.31.self_attn.k_proj.bias"
    )


def test_halves_prefixes_and_masks_are_read(theirs: OpenClip, tmp_path: Path) -> None:
    tensors = {f"module.{name}": t.half() for name, t in theirs.state_dict().items()}
    tensors["module.attn_mask"] = torch.zeros(LENGTH, LENGTH)
    path = tmp_path / "half.pt"
    torch.save(tensors, path)
    model = build(path, TOKENIZER, SIZES)
    assert {p.dtype for p in model.parameters()} == {torch.float32}


def refused(path: Path) -> str:
    with pytest.raises(ValueError, match="HPS.pt: ") as error:
        build(path, TOKENIZER, SIZES)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_refuses_other_tensors_by_name(theirs: OpenClip, file: Path) -> None:
    tensors = dict(theirs.state_dict())
    tensors["visual.head.weight"] = tensors.pop("ln_final.bias")
    torch.save({"state_dict": tensors}, file)
    message = refused(file)
    assert "1 missing (ln_final.bias)" in message
    assert "1 unexpected (visual.head.weight)" in message
    torch.save({"state_dict": {"weight": torch.ones(1)}}, file)
    assert "missing" in refused(file)
    tensors = {**theirs.state_dict(), "ln_final.bias": torch.zeros(3)}
    torch.save({"state_dict": tensors}, file)
    assert "no CLIP in open_clip's layout" in refused(file)


def test_nothing_in_a_file_is_run(file: Path, tmp_path: Path) -> None:
    torch.save({"state_dict": {"weight": OpenClip()}}, file)
    assert "holds more than tensors, or is broken" in refused(file)
    file.write_bytes(b"broken")
    assert "holds more than tensors, or is broken" in refused(file)
    torch.save({"epoch": 3}, file)
    assert "holds no named tensors" in refused(file)
    with pytest.raises(ValueError, match="says where to get it"):
        read_checkpoint(tmp_path / "none.pt")
