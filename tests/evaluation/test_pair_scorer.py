"""The network that scores images of words: its spelling, its towers, its file."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from demask.checkpoint.save import save_model
from demask.evaluation.networks import load_pair_scorer
from demask.evaluation.pair_scorer import PairScorer, PairScorerConfig, rows_of, spell

TINY = PairScorerConfig(
    size=16, widths=(4, 8, 8), layout=4, pieces=64, words=5, text_width=8, features=6
)


@pytest.fixture
def network() -> PairScorer:
    torch.manual_seed(0)
    return PairScorer(TINY).eval()


def test_words_are_spelt_the_same_on_every_machine() -> None:
    assert rows_of("cat", 64) == (39, 23, 20, 7, 19, 50, 61)
    assert rows_of("cat", 2048)[0] != rows_of("cats", 2048)[0]
    assert set(rows_of("firefighter", 2048)) & set(rows_of("fighter", 2048))
    assert all(0 < row < 64 for row in rows_of("internationalisation" * 3, 64))


def test_spelling_reads_words_not_case_or_signs_between_them() -> None:
    pieces_BTG = spell(["Red  apple!", "red-apple", "", "a b c d e f g"], TINY)
    assert pieces_BTG.shape[:2] == (4, 5)
    assert torch.equal(pieces_BTG[0, :2, 0], torch.tensor([rows_of(w, 64)[0] for w in WORDS]))
    assert (pieces_BTG > 0).any(-1).sum(1).tolist() == [3, 3, 0, 5]


WORDS = ("red", "apple")


def test_features_have_length_one_and_words_in_another_order_differ(network: PairScorer) -> None:
    texts = ["red apple", "apple red", "", "red apple"]
    image_BD, text_BD, scale = network(torch.rand(3, 3, 16, 16), spell(texts, TINY))
    assert image_BD.shape == (3, 6)
    assert text_BD.shape == (4, 6)
    assert 1 < scale <= 100
    for features in (image_BD, text_BD):
        torch.testing.assert_close(features.norm(dim=-1), torch.ones(len(features)))
    assert torch.equal(text_BD[0], text_BD[3])
    with torch.no_grad():
        network.text.places.normal_()
    text_BD = network.text(spell(texts, TINY))
    assert not torch.allclose(text_BD[0], text_BD[1])


def test_a_text_does_not_depend_on_its_company(network: PairScorer) -> None:
    texts = ["red apple", "a much longer text of many words", "cat"]
    together_BD = network.text(spell(texts, TINY))
    for text, features_D in zip(texts, together_BD, strict=True):
        torch.testing.assert_close(network.text(spell([text], TINY))[0], features_D)
    image_BCHW = torch.rand(3, 3, 16, 16)
    torch.testing.assert_close(network.picture(image_BCHW)[1:2], network.picture(image_BCHW[1:2]))


def test_places_of_an_image_count(network: PairScorer) -> None:
    image_BCHW = torch.zeros(1, 3, 16, 16)
    image_BCHW[..., :8] = 1
    assert not torch.allclose(network.picture(image_BCHW), network.picture(image_BCHW.flip(-1)))


def test_the_file_gives_the_same_network(network: PairScorer, tmp_path: Path) -> None:
    path = tmp_path / "scorer.safetensors"
    save_model(path, network, "pair_scorer")
    image_BCHW, pieces_BTG = torch.rand(2, 3, 16, 16), spell(["cat", "dog"], TINY)
    for ours, theirs in zip(
        network(image_BCHW, pieces_BTG), load_pair_scorer(path)(image_BCHW, pieces_BTG), strict=True
    ):
        assert torch.equal(ours, theirs)


def test_refuses(network: PairScorer, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'demask train scorer' writes one"):
        load_pair_scorer(tmp_path / "none.safetensors")
    path = tmp_path / "scorer.safetensors"
    save_model(path, network, "small_conv")
    with pytest.raises(ValueError, match="holds no scorer"):
        load_pair_scorer(path)
    with pytest.raises(ValueError, match="size 20 is no multiple of 8"):
        PairScorerConfig(size=20, widths=(4, 8, 8))
    with pytest.raises(ValueError, match="text_width 9 is no multiple of 2 heads"):
        PairScorerConfig(text_width=9)
