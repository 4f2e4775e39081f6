"""CLIP as an extractor, on a tiny random one that transformers wrote."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from click.testing import CliRunner
from PIL import Image
from safetensors.torch import load_file, save_file

from demask.cli import demask
from demask.evaluation.clip import DEVIATION, MEAN, Clip, centred
from demask.evaluation.extractors import load_extractor
from demask.transformer.condition import train_text_tokenizer

transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.filterwarnings("ignore")  # transformers'

NAMES = ("cat", "dog")
SENTENCES = [f"a photo of a {name}" for name in NAMES]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of 16x16 pixels, texts of up to 8 tokens, features of 6 numbers."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("clip")
    words = train_text_tokenizer(SENTENCES, 520, 8)
    words.save(path)
    sizes = {
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }
    text = {
        "vocab_size": words.end_id + 1,
        "max_position_embeddings": 8,
        "bos_token_id": words.start_id,
        "eos_token_id": words.end_id,
    }
    config = transformers.CLIPConfig(
        text_config={**sizes, **text},
        vision_config={**sizes, "image_size": 16, "patch_size": 8},
        projection_dim=6,
    )
    transformers.CLIPModel(config).save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def clip(folder: Path) -> Clip:
    extractor = load_extractor(f"clip:folder={folder}")
    assert isinstance(extractor, Clip)
    return extractor


def copied(folder: Path, out: Path, change: Callable[[dict], dict]) -> Path:
    """The same CLIP with other tensors, without the description of its tokenizer."""
    out.mkdir()
    for name in ("config.json", "vocab.json", "merges.txt"):
        (out / name).write_bytes((folder / name).read_bytes())
    tensors = change(load_file(folder / "model.safetensors"))
    save_file(tensors, out / "model.safetensors", {"format": "pt"})
    return out


def test_features_are_those_of_transformers(clip: Clip, folder: Path) -> None:
    image_BCHW = torch.rand(3, 3, 16, 16)
    features_BD, logits = clip(image_BCHW)
    assert logits is None
    assert features_BD.shape == (3, 6)
    model = transformers.CLIPModel.from_pretrained(folder).eval()
    mean_C11, deviation_C11 = (torch.tensor(n)[:, None, None] for n in (MEAN, DEVIATION))
    tokenizer = transformers.CLIPTokenizer.from_pretrained(folder)
    inputs = tokenizer(SENTENCES, padding=True, return_tensors="pt")
    with torch.no_grad():
        out = model(**inputs, pixel_values=(image_BCHW - mean_C11) / deviation_C11)
    text_TD = clip.texts(SENTENCES)
    torch.testing.assert_close(F.normalize(features_BD, dim=-1), out.image_embeds)
    torch.testing.assert_close(F.normalize(text_TD, dim=-1), out.text_embeds)
    assert not torch.equal(*text_TD)


def test_texts_do_not_depend_on_their_company(clip: Clip) -> None:
    alone = clip.texts(["a dog"])
    texts = ["a dog", "dog " * 50, "a dog", *(f"{number}" for number in range(300))]
    together = clip.texts(texts)
    assert together.shape == (303, 6)
    torch.testing.assert_close(together[:1], alone)
    assert torch.equal(together[0], together[2])


def test_stored_in_halves_without_a_description_of_the_tokenizer(
    clip: Clip, folder: Path, tmp_path: Path
) -> None:
    path = copied(folder, tmp_path / "half", lambda t: {n: v.half() for n, v in t.items()})
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps({**config, "dtype": "float16"}))
    half = Clip(path)
    assert half.fingerprint != clip.fingerprint
    image_BCHW = torch.rand(2, 3, 16, 16)
    torch.testing.assert_close(half(image_BCHW)[0], clip(image_BCHW)[0], rtol=0.02, atol=0.02)
    assert half.texts(["dog " * 50]).shape == (1, 6)  # longer than the model reads


@pytest.mark.parametrize(("width", "height"), [(41, 24), (24, 33), (10, 9), (24, 24)])
def test_images_are_resampled_as_pillow_does(width: int, height: int) -> None:
    random = np.random.default_rng(0)
    image = Image.fromarray(random.integers(90, 160, (height, width, 3), np.uint8))
    shorter = min(width, height)
    size = (int(16 * width / shorter), int(16 * height / shorter))
    left, top = (size[0] - 16) // 2, (size[1] - 16) // 2
    box = (left, top, left + 16, top + 16)
    expected_HWC = np.array(image.resize(size, Image.Resampling.BICUBIC).crop(box))
    image_BCHW = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() / 255
    found_HWC = centred(image_BCHW, 16)[0].permute(1, 2, 0).numpy() * 255
    assert np.abs(found_HWC - expected_HWC).max() < 1.6  # Pillow rounds twice


def test_refuses_half_a_clip(folder: Path, tmp_path: Path) -> None:
    def texts_alone(tensors: dict) -> dict:
        return {name: value for name, value in tensors.items() if name.startswith("text")}

    path = copied(folder, tmp_path / "texts", texts_alone)
    with pytest.raises(ValueError, match="it lacks 25 tensors, such as logit_scale"):
        Clip(path)
    (path / "model.safetensors").write_bytes(b"broken")
    with pytest.raises(ValueError, match="holds no CLIP that can be read"):
        Clip(path)


def test_clip_measures_a_folder_of_classes(folder: Path, clip: Clip, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    arrays = random.integers(0, 256, (2, 8, 16, 16, 3), np.uint8)
    for name, of_class in zip(NAMES, arrays, strict=True):
        (tmp_path / "samples" / name).mkdir(parents=True)
        for number, array in enumerate(of_class):
            Image.fromarray(array).save(tmp_path / "samples" / name / f"{number}.png")
    samples = str(tmp_path / "samples")
    words = ["evaluate", "--samples", samples, "--reference", samples, "--resamples", "0"]
    words += ["--extractor", f"clip:folder={folder}", "--cache", str(tmp_path / "cache")]
    result = CliRunner().invoke(demask, [*words, "--out", str(tmp_path / "report.json")])
    assert result.exit_code == 0, result.output
    scores = json.loads((tmp_path / "report.json").read_text())["scores"]
    values = {score["metric"]: score["value"] for score in scores}
    assert values["precision"] == 1
    assert values["frechet"] == pytest.approx(0, abs=1e-4)
    assert "class_score" not in values
    image_BCHW = torch.from_numpy(arrays).flatten(0, 1).permute(0, 3, 1, 2).float() / 255
    text_BD = clip.texts(SENTENCES).repeat_interleave(8, dim=0)
    cosine_B = F.cosine_similarity(clip(image_BCHW)[0], text_BD)
    assert values["clip_score"] == pytest.approx(float(100 * cosine_B.clamp_min(0).mean()), 1e-4)
    assert f"CLIP score, clip:{folder.name}" in {score["name"] for score in scores}
