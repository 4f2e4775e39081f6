"""A scorer's training: what it learns, what it writes, what it refuses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from demask.data import open_images
from demask.evaluation.pair_scorer import PairScorerConfig
from demask.evaluation.retrieval import found
from demask.evaluation.scorers import load_scorer
from demask.training.captioned import CaptionRecipe
from demask.training.data import DataConfig
from demask.training.engine.config import TrainConfig
from demask.training.engine.optim import Optim
from demask.training.pair_images import (
    Changes,
    ReconstructionAugment,
    changed,
    mirrors,
    swapped,
    through,
)
from demask.training.tasks import train
from demask.training.tasks.scorer import (
    Pairs,
    ScorerRecipe,
    ScorerTask,
    ScorerTraining,
    alike,
    twins,
)
from tiny import save_tiny_text, tiny_tokenizer

COLOURS = {"red": (220, 40, 40), "green": (40, 200, 40), "blue": (40, 40, 220), "grey": (90,) * 3}
SHAPES = {"square": (2, 2, 13, 13), "bar": (2, 6, 13, 9), "pole": (6, 2, 9, 13)}
NETWORK = PairScorerConfig(
    size=16, widths=(8, 8, 16), layout=4, pieces=128, words=4, text_width=16, features=16
)
RECIPE = ScorerRecipe(
    NETWORK,
    changes=Changes(flip=False, shift=1),
    captions=CaptionRecipe(dropout=0.0, alternatives=0.5),
    optim=Optim(learning_rate=0.01, warmup=4),
)
RUN = TrainConfig(
    steps=6, batch_size=8, save_every=3, validate_every=6, ema_decay=0.9, tracker="none"
)


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """A folder with an image of each shape in each colour, and a caption beside it."""
    folder = tmp_path / "pairs"
    folder.mkdir()
    for name, colour in COLOURS.items():
        for shape, box in SHAPES.items():
            image = Image.new("RGB", (16, 16), "white")
            image.paste(colour, box)
            image.save(folder / f"{name}_{shape}.png")
            (folder / f"{name}_{shape}.txt").write_text(f"{name} {shape}\na {shape} in {name}")
    return folder


def training(pairs: Path, recipe: ScorerRecipe = RECIPE, **run: object) -> ScorerTraining:
    return ScorerTraining(recipe, replace(RUN, **run), DataConfig(str(pairs), str(pairs)))


def test_it_learns_to_tell_images_by_words(pairs: Path, tmp_path: Path) -> None:
    options = {"steps": 60, "save_every": 60, "validate_every": 60, "batch_size": 12}
    path = train("scorer", training(pairs, **options), tmp_path / "out")
    assert path == tmp_path / "out" / "scorer.safetensors"
    assert {t.dtype for t in load_file(path).values() if t.is_floating_point()} == {torch.float16}
    shown = Pairs.read(open_images(pairs), 16)
    scorer = load_scorer(f"emoji_pairs:weights={path}")
    image_NCHW = shown.pixels_NCHW.float() / 255
    score_NN = torch.stack([scorer(image_NCHW, [text] * 12) for text in shown.firsts], 1)
    assert (score_NN.argmax(1) == torch.arange(12)).double().mean() > 0.8


def test_a_resumed_run_ends_with_the_same_bits(pairs: Path, tmp_path: Path) -> None:
    model = save_tiny_text(tmp_path / "tiny")
    codec = ReconstructionAugment(str(model), share=0.5, damaged=0.5, versions=1)
    recipe, out = training(pairs, replace(RECIPE, codec=codec)), tmp_path / "out"
    first = load_file(train("scorer", recipe, out))
    (out / "checkpoints/scorer/step-00000006.pt").unlink()
    (out / "scorer.safetensors").unlink()
    second = load_file(train("scorer", recipe, out))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_batches_hold_reconstructions_and_damaged_images(pairs: Path) -> None:
    images = open_images(pairs)
    codec = ReconstructionAugment("tiny", share=1.0, damaged=0.5, versions=2)
    plain = Changes(flip=False, shift=0, colour=0, noise=0, blur=0)
    recipe = replace(RECIPE, codec=codec, changes=plain)
    task = ScorerTask(recipe, images, images, tiny_tokenizer())
    batch = task.load(torch.arange(8), torch.Generator().manual_seed(0))
    assert batch["image_BCHW"].shape == (8, 3, 16, 16)
    assert batch["corrupted_BCHW"].shape == (4, 3, 16, 16)
    assert torch.equal(batch["image_BCHW"], task.restored_NCHW[:8].float() / 255)
    assert not torch.equal(batch["corrupted_BCHW"], batch["image_BCHW"][:4])
    assert "above_damaged" in task.validate(task.modules["scorer"].eval())
    assert task.sample(task.modules["scorer"]).shape == (3, 8 * 16, 5 * 16)


def test_damage_is_another_image_in_the_same_places() -> None:
    ids_NHW = torch.arange(40)[:, None, None].expand(40, 6, 6)
    gone_NHW = swapped(ids_NHW, (0.2, 0.5), torch.Generator().manual_seed(0)) != ids_NHW
    share_N = gone_NHW.double().mean((1, 2))
    assert 0.25 < share_N.mean() < 0.45
    pixels_NCHW = torch.randint(256, (3, 3, 16, 16), dtype=torch.uint8)
    restored, damaged = through(
        tiny_tokenizer(), pixels_NCHW, ReconstructionAugment("tiny", versions=2), 0
    )
    assert restored.shape == (3, 3, 16, 16)
    assert damaged.shape == (2, 3, 3, 16, 16)
    again = through(tiny_tokenizer(), pixels_NCHW, ReconstructionAugment("tiny", versions=2), 0)[1]
    assert torch.equal(damaged, again)


def test_images_change_each_in_its_own_way_and_keep_what_words_say() -> None:
    pixels_BCHW = torch.randint(256, (1, 3, 8, 8), dtype=torch.uint8).expand(32, -1, -1, -1)
    captions = [("arrow pointing left",), ("cat", "Right arrow"), ("cat",)]
    assert mirrors(captions, Changes()).tolist() == [False, False, True]
    assert mirrors(captions, Changes(flip=False)).tolist() == [False] * 3
    generator = torch.Generator().manual_seed(0)
    image_BCHW = changed(pixels_BCHW, torch.ones(32, dtype=torch.bool), Changes(), generator)
    assert len({image.numpy().tobytes() for image in image_BCHW}) == 32
    assert image_BCHW.min() >= 0
    assert image_BCHW.max() <= 1
    plain = Changes(shift=0, colour=0, noise=0, blur=0)
    same_BCHW = changed(pixels_BCHW, torch.zeros(32, dtype=torch.bool), plain, generator)
    assert torch.equal(same_BCHW, pixels_BCHW.float() / 255)


def test_equal_images_and_captions_are_no_mistakes() -> None:
    pixels_NCHW = torch.zeros(3, 3, 2, 2, dtype=torch.uint8)
    pixels_NCHW[1] = 1
    same_BB = alike(twins(pixels_NCHW), ["cat", "dog", "Dog "])
    expected_BB = torch.zeros(3, 3, dtype=torch.bool)
    expected_BB[0, 2] = expected_BB[2, 0] = expected_BB[1, 2] = expected_BB[2, 1] = True
    assert torch.equal(same_BB, expected_BB)


def test_retrieval_counts_any_right_answer() -> None:
    query_ND = torch.eye(3)
    candidate_KD = torch.eye(3)[[1, 0, 2]]
    assert found(query_ND, candidate_KD, torch.eye(3, dtype=torch.bool)) == pytest.approx(1 / 3)
    right_NK = torch.eye(3, dtype=torch.bool)
    right_NK[0, 1] = True
    assert found(query_ND, candidate_KD, right_NK) == pytest.approx(2 / 3)


def test_refuses(pairs: Path, tmp_path: Path) -> None:
    (pairs / "red_bar.txt").unlink()
    with pytest.raises(ValueError, match="1 of 12 images have no caption"):
        train("scorer", training(pairs), tmp_path / "out")
    with pytest.raises(ValueError, match="damage is two fractions"):
        ReconstructionAugment("emoji", damage=(0.5, 0.1))
    with pytest.raises(ValueError, match="share must be within 0 and 1, not 2"):
        ReconstructionAugment("emoji", share=2)
    with pytest.raises(ValueError, match="need dropout 0.0, not"):
        replace(RECIPE, captions=CaptionRecipe())
