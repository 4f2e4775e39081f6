"""A comparison of settings: what is generated, what is counted, what is stored and resumed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from demask.sweeps.compare import RESULTS, TABLE, Outcome, run
from demask.sweeps.comparison import CONTROL, Comparison
from demask.sweeps.gallery import Variant
from tiny import tiny_generator, tiny_text_generator

PROMPTS = ("red apple", "green apple", "blue heart")


class Brightness:
    """Likes bright images, and long words a little."""

    name, notice = "brightness", "arithmetic, for tests"

    def __init__(self, fingerprint: str = "a") -> None:
        self.fingerprint = fingerprint
        self.seen: list[tuple[int, tuple[str, ...]]] = []

    def __call__(self, image_BCHW: Tensor, texts: Sequence[str]) -> Tensor:
        self.seen.append((len(image_BCHW), tuple(texts)))
        length_B = torch.tensor([float(len(text)) for text in texts], dtype=torch.float64)
        return 100 * image_BCHW.double().mean((1, 2, 3)) + length_B


@pytest.fixture
def scorer() -> Brightness:
    return Brightness()


@pytest.fixture
def comparison(scorer: Brightness) -> Comparison:
    variants = [
        Variant("base", {"steps": 2}),
        Variant("more", {"steps": 4}),
        Variant("same", {"steps": 2}),
    ]
    return Comparison(
        tiny_text_generator(), variants, PROMPTS, [scorer], 2, 5, 4, 50, command="demask compare"
    )


def row(outcomes: list[Outcome], name: str) -> Outcome:
    (found,) = (outcome for outcome in outcomes if outcome.variant == name)
    return found


def test_images_are_those_that_the_model_generates(comparison: Comparison, tmp_path: Path) -> None:
    outcomes = run(comparison, tmp_path)
    generator = comparison.generator
    generated = {}
    for variant in comparison.variants:
        images = generator.generate(list(PROMPTS), 6, seed=5, **variant.settings)
        pixels = torch.stack([torch.tensor(list(p.image.tobytes())) for p in images]).double()
        generated[variant.name] = 100 * (pixels / 255).mean(1)
        length_N = torch.tensor([len(p.prompt) for p in images])
        mean = float((generated[variant.name] + length_N).mean())
        assert row(outcomes, variant.name).mean == pytest.approx(mean)
    more = row(outcomes, "more").paired
    assert more is not None
    assert more.wins == int((generated["more"] > generated["base"]).sum())
    assert (row(outcomes, "base").paired, row(outcomes, "base").forwards) == (None, 2)
    assert row(outcomes, "more").forwards == 4
    same = row(outcomes, "same").paired
    assert same is not None
    assert (same.ties, same.rate) == (6, 0.5)


def test_the_same_again_generates_nothing(
    comparison: Comparison, scorer: Brightness, tmp_path: Path
) -> None:
    first = run(comparison, tmp_path)
    looked = len(scorer.seen)
    assert looked == 2 * 2  # two settings, one of them twice, of two batches
    assert run(comparison, tmp_path) == first
    assert len(scorer.seen) == looked
    more = replace(comparison, variants=[*comparison.variants, Variant("three", {"steps": 3})])
    assert run(more, tmp_path)[: len(first)] == first
    assert len(scorer.seen) == looked + 2
    run(replace(comparison, scorers=[Brightness("b")]), tmp_path)
    assert len(list((tmp_path / "scores").iterdir())) == 5


def test_an_interrupted_comparison_goes_on_within_a_variant(
    comparison: Comparison, scorer: Brightness, tmp_path: Path
) -> None:
    whole = run(comparison, tmp_path / "whole")

    def stop(name: str, done: int) -> None:
        if (name, done) == ("more", 4):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(comparison, tmp_path / "broken", stop)
    scorer.seen.clear()
    again = run(replace(comparison, batch_size=1), tmp_path / "broken")
    assert sum(count for count, _ in scorer.seen) == 2
    for one, other in zip(whole, again, strict=True):
        assert other.mean == pytest.approx(one.mean, abs=1e-6)
        assert other.forwards == one.forwards
        if one.paired is not None and other.paired is not None:
            assert other.paired.rate == one.paired.rate


def test_a_control_scores_the_same_images_with_other_words(
    comparison: Comparison, scorer: Brightness, tmp_path: Path
) -> None:
    controlled = replace(comparison, control=True)
    outcomes = run(controlled, tmp_path)
    assert [o.variant for o in outcomes] == ["base", CONTROL, "more", "same"]
    others = [texts for _, texts in scorer.seen]
    assert ("green apple", "blue heart", "red apple", "green apple") in others
    control = row(outcomes, CONTROL)
    assert control.mean == pytest.approx(row(outcomes, "base").mean)
    assert control.paired is not None
    assert (control.paired.wins, control.paired.losses) == (2, 4)  # longer, shorter words
    twice = replace(controlled, prompts=("a", "a", "b"))
    assert twice.other_words[:3] == ["b", "b", "a"]


def test_results_say_how_they_came_about(
    comparison: Comparison, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run(comparison, tmp_path)
    assert [message[:18] for message in caplog.messages] == ["3 prompts are few:"]
    results = json.loads((tmp_path / RESULTS).read_text())
    assert results["base"] == "base"
    assert results["prompts"] == list(PROMPTS)
    assert results["scorers"][0]["notice"] == "arithmetic, for tests"
    assert set(results["networks"]) == {"transformer", "tokenizer", "text"}
    assert len(results["variants"][1]["scores"]["brightness"]) == 6
    assert results["outcomes"][1]["paired"]["wins"] + results["outcomes"][1]["paired"]["ties"] <= 6
    text = (tmp_path / TABLE).read_text()
    assert "3 prompts, 2 seeds each from 5 on" in text
    assert "\n**3 prompts are few: the truth may lie outside of the intervals; take 20 or" in text
    assert "tie if they differ by less than 1% of the standard deviation" in text
    assert results["outcomes"][1]["paired"]["margin"] > 0
    assert "Arithmetic, for tests." in text
    assert "| same | 50.0% (50.0% to 50.0%) | 0 / 6 / 0 |" in text
    assert "    demask compare" in text
    one = replace(comparison, prompts=PROMPTS[:1])
    run(one, tmp_path)
    assert "| same | 50.0% | 0 / 2 / 0 |" in (tmp_path / TABLE).read_text()


def test_broken_scores_are_named(comparison: Comparison, tmp_path: Path) -> None:
    run(comparison, tmp_path)
    path = tmp_path / "scores" / f"{comparison.key(comparison.variants[0])}.json"
    path.write_text('{"name": "base"}')
    with pytest.raises(ValueError, match="holds no scores; delete it"):
        run(comparison, tmp_path)
    path.write_text("{")
    with pytest.raises(ValueError, match="holds no scores; delete it"):
        run(comparison, tmp_path)


def test_refuses(comparison: Comparison) -> None:
    base = comparison.variants[0]
    for changes, message in (
        ({"variants": [base]}, "nothing to compare"),
        ({"variants": [base, base]}, "two variants are called 'base'"),
        ({"num_seeds": 0}, "number of seeds must be at least 1"),
        ({"resamples": 1}, "resamples must be at least 2"),
        ({"generator": tiny_generator()}, "tiny is a model of classes"),
        ({"control": True, "prompts": ("a", "a")}, "two different prompts"),
        ({"variants": [base, Variant("x", {"step": 2})]}, "unknown setting 'step'"),
        ({"variants": [base, Variant("x", {"steps": 99})]}, "steps must be 1 to 16"),
    ):
        with pytest.raises(ValueError, match=message):
            replace(comparison, **changes)
