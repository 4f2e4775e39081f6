"""Scorers by name: each a number that its paper defines, from files that lie here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from safetensors.torch import load_file

from clip_layouts import to_open_clip
from demask.checkpoint.save import save_model
from demask.evaluation import scorers
from demask.evaluation.clip import DEVIATION, MEAN, padded
from demask.evaluation.open_clip import ClipSizes, build
from demask.evaluation.pair_scorer import PairScorer, PairScorerConfig
from demask.evaluation.scorers import SCORERS, WEIGHTS, load_scorer
from demask.transformer.condition import train_text_tokenizer

transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.filterwarnings("ignore")  # transformers'

PROMPTS = ["a photo of a cat", "a photo of a dog", "a cat"]
COLOURS = {"red": "#dd2e44", "blue": "#55acee", "green": "#78b159", "black": "#31373d"}
TINY = PairScorerConfig(
    size=16, widths=(4, 8, 8), layout=4, pieces=64, words=5, text_width=8, features=6
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CLIP of images of 16x16 pixels and texts of up to 8 tokens, with its tokenizer."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("pick")
    words = train_text_tokenizer(PROMPTS, 520, 8)
    words.save(path)
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2}
    text = {
        "vocab_size": words.end_id + 1,
        "max_position_embeddings": 8,
        "bos_token_id": words.start_id,
        "eos_token_id": words.end_id,
    }
    config = transformers.CLIPConfig(
        text_config={**sizes, **text, "num_attention_heads": 2, "hidden_act": "gelu"},
        vision_config={
            **sizes,
            "num_attention_heads": 4,
            "hidden_act": "gelu",
            "image_size": 16,
            "patch_size": 8,
        },
        projection_dim=6,
    )
    transformers.CLIPModel(config).save_pretrained(path)
    return path


@pytest.fixture
def image_BCHW() -> torch.Tensor:
    return torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def logits_of(folder: Path, image_BCHW: torch.Tensor) -> torch.Tensor:
    """What transformers makes of each image and its own words (B)."""
    model = transformers.CLIPModel.from_pretrained(folder).eval()
    tokenizer = transformers.CLIPTokenizer.from_pretrained(folder)
    mean_C11, deviation_C11 = (torch.tensor(n)[:, None, None] for n in (MEAN, DEVIATION))
    inputs = tokenizer(PROMPTS, padding=True, return_tensors="pt")
    with torch.no_grad():
        out = model(**inputs, pixel_values=(image_BCHW - mean_C11) / deviation_C11)
    return out.logits_per_image.diagonal().double()


def test_pick_score_is_the_scaled_cosine(folder: Path, image_BCHW: torch.Tensor) -> None:
    scorer = load_scorer(f"pick_score:folder={folder}")
    found_B = scorer(image_BCHW, PROMPTS)
    torch.testing.assert_close(found_B, logits_of(folder, image_BCHW), rtol=1e-5, atol=1e-5)


def test_clip_score_is_never_below_zero(folder: Path, image_BCHW: torch.Tensor) -> None:
    scorer = load_scorer(f"clip_score:folder={folder}")
    scale = transformers.CLIPModel.from_pretrained(folder).logit_scale.exp().item()
    expected_B = (100 * logits_of(folder, image_BCHW) / scale).clamp_min(0)
    found_B = scorer(image_BCHW, PROMPTS)
    torch.testing.assert_close(found_B, expected_B, rtol=1e-4, atol=1e-4)
    assert scorer.name == f"clip_score:{folder.name}"


def test_hps_v2_is_the_cosine_of_the_same_network_in_another_layout(
    folder: Path, image_BCHW: torch.Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "HPS_v2.1, compressed.pt"
    tensors = to_open_clip(load_file(folder / "model.safetensors"))
    torch.save({"state_dict": {name: t.half() for name, t in tensors.items()}}, path)
    tiny = ClipSizes(size=16, text_heads=2, vision_heads=4)
    monkeypatch.setattr("demask.evaluation.open_clip.build", lambda p, t: build(p, t, tiny))
    scorer = load_scorer(f"hps_v2:weights={path},tokenizer={folder}")
    scale = transformers.CLIPModel.from_pretrained(folder).logit_scale.exp().item()
    expected_B = 100 * logits_of(folder, image_BCHW) / scale
    torch.testing.assert_close(scorer(image_BCHW, PROMPTS), expected_B, rtol=0.02, atol=0.2)
    tall_BCHW = torch.rand(3, 3, 32, 16)
    wide = scorer(padded(tall_BCHW, 16), PROMPTS)
    torch.testing.assert_close(scorer(tall_BCHW, PROMPTS), wide)


def test_images_are_padded_with_black() -> None:
    shown_BCHW = padded(torch.ones(1, 3, 20, 10), 8)
    assert shown_BCHW.shape == (1, 3, 8, 8)
    assert shown_BCHW[..., 2:6].min() > 0.99
    assert shown_BCHW[..., :2].max() == shown_BCHW[..., 6:].max() == 0
    assert torch.equal(padded(shown_BCHW, 8), shown_BCHW)


def test_our_own_network(tmp_path: Path, image_BCHW: torch.Tensor) -> None:
    torch.manual_seed(0)
    network = PairScorer(TINY).eval()
    path = tmp_path / "mine" / "scorer.safetensors"
    save_model(path, network, "pair_scorer")
    scorer = load_scorer(f"emoji_pairs:weights={path}")
    assert scorer.name == "emoji_pairs:mine"
    assert "not trained on human preferences" in scorer.notice
    found_B = scorer(image_BCHW, PROMPTS)
    assert found_B.dtype == torch.float64
    assert found_B.abs().max() <= 100.001
    torch.testing.assert_close(
        found_B[1:2], scorer(image_BCHW[1:2], PROMPTS[1:2]), rtol=1e-5, atol=1e-5
    )


def test_every_file_changes_the_fingerprint(folder: Path, tmp_path: Path) -> None:
    torch.manual_seed(1)
    prints = []
    for number in range(2):
        path = tmp_path / "mine" / "scorer.safetensors"
        save_model(path, PairScorer(TINY), "pair_scorer", number=number)
        prints.append(load_scorer(f"emoji_pairs:weights={path}").fingerprint)
    prints += [
        load_scorer(f"{n}:folder={folder}").fingerprint for n in ("clip_score", "pick_score")
    ]
    assert len(set(prints)) == 4


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hps", "unknown scorer 'hps'.*emoji_pairs, clip_score, pick_score, hps_v2"),
        ("hps_v2", "write hps_v2:weights=PATH,tokenizer=PATH; docs/methods/preference.md"),
        ("hps_v2:weights=a", "needs tokenizer: write hps_v2:weights=PATH,tokenizer=PATH"),
        ("pick_score", "write pick_score:folder=PATH; docs/methods/preference.md"),
        ("pick_score:weights=a", "option of the scorer 'pick_score'.*folder, tokenizer"),
        ("clip_score:folder", "'folder' stands without a value"),
        ("clip_score:folder=/none", "/none: no CLIP"),
        ("hps_v2:weights=/none,tokenizer=/none", "/none: no CLIP tokenizer"),
        ("emoji_pairs:weights=/none", "'demask train scorer' writes one"),
    ],
)
def test_refuses(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        load_scorer(text)
    assert "\n" not in str(error.value)


def test_a_folder_needs_its_words(folder: Path, tmp_path: Path) -> None:
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    with pytest.raises(ValueError, match="no CLIP tokenizer"):
        load_scorer(f"pick_score:folder={tmp_path}")
    assert load_scorer(f"pick_score:folder={tmp_path},tokenizer={folder}")


def test_every_scorer_has_its_place_in_the_docs() -> None:
    page = (Path(__file__).parents[2] / scorers.PAGE).read_text(encoding="utf-8")
    assert all(f"`{name}`" in page for name in SCORERS)


@pytest.mark.skipif(not (WEIGHTS / "emoji_pairs").exists(), reason="not trained yet")
def test_the_shipped_scorer_knows_colours_and_shapes() -> None:
    """Of eight names a drawn circle fits its own best."""
    scorer = load_scorer("emoji_pairs")
    assert scorer.name == "emoji_pairs"
    names = [f"{colour} {shape}" for shape in ("circle", "square") for colour in COLOURS]
    for number, colour in enumerate(COLOURS.values()):
        image = Image.new("RGB", (64, 64), "white")
        ImageDraw.Draw(image).ellipse((6, 6, 58, 58), fill=colour)
        pixels_YXC = torch.from_numpy(np.array(image))
        image_BCHW = (pixels_YXC.permute(2, 0, 1) / 255).expand(len(names), -1, -1, -1)
        score_B = scorer(image_BCHW, names)
        assert score_B.abs().max() <= 100.001
        assert int(score_B.argmax()) == number
    assert (WEIGHTS / "emoji_pairs" / "scorer.safetensors").stat().st_size < 1_500_000
