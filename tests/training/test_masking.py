"""Which tokens are masked and which are wrong."""

from __future__ import annotations

import pytest
import torch

from demask.training.masking import MASK_RATIOS, Masking, mask_tokens
from demask.training.tasks.masked import MaskedRecipe, MaskedTask
from demask.training.tasks.self_guidance import SelfGuidanceRecipe, SelfGuidanceTask
from tiny import CLASS_NAMES, TinyTokens, tiny_tokenizer, tiny_transformer


def draw(masking: Masking, images: int = 200) -> tuple[torch.Tensor, object]:
    ids_BL = torch.randint(0, 50, (images, 16), generator=torch.Generator().manual_seed(1))
    generator = torch.Generator().manual_seed(0)
    return ids_BL, mask_tokens(ids_BL, masking, codebook_size=50, mask_id=50, generator=generator)


@pytest.mark.parametrize("ratio", MASK_RATIOS)
def test_ratios_are_fractions(ratio: str) -> None:
    drawn = MASK_RATIOS[ratio](10_000, torch.Generator().manual_seed(0))
    assert drawn.shape == (10_000,)
    assert drawn.min() >= 0
    assert drawn.max() <= 1


def test_known_means() -> None:
    def mean(name: str) -> float:
        return float(MASK_RATIOS[name](100_000, torch.Generator().manual_seed(0)).mean())

    two_over_pi = 0.6366
    assert mean("cosine") == pytest.approx(two_over_pi, abs=0.005)
    assert mean("uniform") == pytest.approx(0.5, abs=0.005)
    # E[2/pi arccos u] = 2/pi; E[Beta(12, 3)] = 0.8
    assert mean("arccos") == pytest.approx(two_over_pi, abs=0.005)
    assert mean("mixed") == pytest.approx(0.7 * two_over_pi + 0.3 * 0.8, abs=0.005)


def test_masked_tokens_hold_the_mask_and_targets_are_true() -> None:
    ids_BL, masked = draw(Masking(corruption=0.0))
    assert torch.equal(masked.target_BL, ids_BL)
    assert torch.equal(masked.input_BL == 50, masked.masked_BL)
    assert torch.equal(masked.input_BL[~masked.masked_BL], ids_BL[~masked.masked_BL])
    assert masked.masked_BL.any(-1).all(), "every image has something to learn"


def test_complementary_halves() -> None:
    ids_BL, masked = draw(Masking(complementary=True))
    first, second = masked.masked_BL.chunk(2)
    whole = first.all(-1)
    assert (first ^ second)[~whole].all()
    assert second[whole].all()
    assert torch.equal(masked.target_BL, ids_BL.repeat(2, 1))


def test_corruption_reaches_visible_tokens_at_most_as_often_as_asked() -> None:
    ids_BL, masked = draw(Masking(ratio="uniform", corruption=0.4), images=4000)
    visible = ~masked.masked_BL
    wrong = (masked.input_BL != ids_BL) & visible
    # the fraction is uniform in [0, 0.4], and one random code in 50 is right by chance
    assert float(wrong.sum() / visible.sum()) == pytest.approx(0.2 * 49 / 50, abs=0.01)


def test_weights() -> None:
    _, masked = draw(Masking(visible_weight=0.25))
    assert (masked.weight_BL[masked.masked_BL] == 1).all()
    assert (masked.weight_BL[~masked.masked_BL] == 0.25).all()


@pytest.mark.parametrize("kind", ["masked", "complementary", "beside"])
def test_a_training_of_classes_drops_them_as_often_as_asked(kind: str) -> None:
    if kind == "beside":
        beside = SelfGuidanceRecipe(class_dropout=0.25)
        task = SelfGuidanceTask(
            beside, tiny_transformer(), TinyTokens(), TinyTokens(), tiny_tokenizer()
        )
    else:
        masking = Masking(complementary=kind == "complementary")
        recipe = MaskedRecipe(16, 1, 1, 16, class_dropout=0.25, masking=masking)
        task = MaskedTask(recipe, TinyTokens(), TinyTokens(), tiny_tokenizer())
    batch = task.load(torch.arange(4000), torch.Generator().manual_seed(0))
    dropped_B = batch["class_ids"] == len(CLASS_NAMES)
    assert (batch["class_ids"][~dropped_B] == 1).all()
    assert float(dropped_B.double().mean()) == pytest.approx(0.25, abs=0.02)
    if kind == "complementary":
        first_B, second_B = dropped_B.chunk(2)
        assert torch.equal(first_B, second_B), "both halves of an image show the same"


def test_bad_settings_are_named() -> None:
    with pytest.raises(ValueError, match="cosine, arccos"):
        Masking(ratio="cosin")
    with pytest.raises(ValueError, match="corruption"):
        Masking(corruption=1.5)
