"""One-step generators: what the model is given, and where they are refused.

Shape legend: B batch, L tokens, D width.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from demask import rng
from demask.conditioning import Classes, Prompts
from demask.generator import Generator
from demask.sampling.decode import decode, last
from demask.sampling.edit import Canvas, blank
from demask.sampling.sampler import Sampler
from demask.sampling.start import OneStep, parse_start
from demask.settings import Settings
from demask.transformer.maskgit_v1 import MaskGITV1, MaskGITV1Config
from demask.types import Condition, Prediction, Step, TokenLayout
from tiny import (
    CLASS_NAMES,
    tiny_generator,
    tiny_meissonic,
    tiny_text_encoder,
    tiny_text_generator,
    tiny_tokenizer,
)

SETTINGS = {"start": "one_step", "steps": 1}


def v1_generator() -> Generator:
    torch.manual_seed(5)
    model = MaskGITV1(MaskGITV1Config(15, 3, (4, 4), 16, 2, 2, mlp_width=16)).eval()
    for parameter in model.requires_grad_(False).parameters():
        parameter.normal_(std=0.3)
    return Generator("tiny", tiny_tokenizer(), model, Classes("tiny", model, CLASS_NAMES))


GENERATORS: dict[str, Callable[[], Generator]] = {
    "meissonic": tiny_text_generator,
    "maskgit_v1": v1_generator,
}


class Watched:
    """A transformer of 400 tokens that notes what a one-step generator is given."""

    codebook_size, mask_id = 50, 60

    def predict_from_noise(
        self, ids_BL: Tensor, condition: Condition, step: Step, change: Callable[[Tensor], Tensor]
    ) -> Prediction:
        self.ids_BL, self.step = ids_BL, step
        self.changed_BLD = change(torch.ones(*ids_BL.shape, 8))
        return Prediction(torch.zeros(*ids_BL.shape, 50))


def sampled(watched: Watched, start: OneStep, canvas: Canvas, seeds: list[int]) -> Tensor:
    condition = Condition({"class_ids": torch.zeros(len(seeds), dtype=torch.int64)})
    sampler = Sampler(1, start=start)
    predict = start.around(watched)  # type: ignore[arg-type]
    return last(decode(predict, condition, canvas, rng.image_generators(seeds), sampler)).ids_BL


def test_the_model_reads_random_codes_masks_of_exact_number_and_noise() -> None:
    watched = Watched()
    ids_BL = sampled(watched, OneStep(0.6, 0.3), blank(3, TokenLayout((20, 20)), 60), [1, 2, 3])
    masked_BL = watched.ids_BL == 60
    assert masked_BL.sum(-1).tolist() == [240, 240, 240]
    assert not torch.equal(masked_BL[0], masked_BL[1])
    codes = watched.ids_BL[~masked_BL]
    assert len(codes.unique()) == 50
    assert int(codes.max()) == 49
    assert watched.step.mask_ratio_B.tolist() == [0, 0, 0], "the time condition is 0"
    noise_BLD = (watched.changed_BLD - math.sqrt(1 - 0.09)) / 0.3
    assert float(noise_BLD.mean()) == pytest.approx(0, abs=0.05)
    assert float(noise_BLD.std()) == pytest.approx(1, abs=0.05)
    assert int((ids_BL == watched.ids_BL)[~masked_BL].sum()) < 60, "all tokens are drawn"


def test_given_tokens_stay_and_are_seen() -> None:
    watched = Watched()
    canvas = blank(1, TokenLayout((20, 20)), 60)
    canvas.ids_BL[0, :100] = torch.arange(100) % 50
    canvas = replace(canvas, known_BL=canvas.ids_BL != 60)
    ids_BL = sampled(watched, OneStep(0.5), canvas, [7])
    for seen_BL in (watched.ids_BL, ids_BL):
        assert torch.equal(seen_BL[canvas.known_BL], canvas.ids_BL[canvas.known_BL])
    assert int((watched.ids_BL == 60).sum()) == 150


@pytest.mark.parametrize("name", GENERATORS)
def test_a_seed_is_one_image_alone_and_in_a_batch(name: str) -> None:
    generator = GENERATORS[name]()
    together = generator.generate(num_images=3, seed=4, **SETTINGS)
    for index, image in enumerate(together):
        (alone,) = generator.generate(
            image.label if generator.class_names else None, 1, seed=4 + index, **SETTINGS
        )
        assert alone.image.tobytes() == image.image.tobytes()
    assert len({image.image.tobytes() for image in together}) == 3
    plain = generator.generate(num_images=3, seed=4, steps=1)
    assert plain[0].image.tobytes() != together[0].image.tobytes()


@pytest.mark.parametrize("name", GENERATORS)
@torch.no_grad()
def test_without_noise_and_all_masked_it_is_the_ordinary_prediction(name: str) -> None:
    generator = GENERATORS[name]()
    transformer = generator.transformer
    condition = generator.condition(["dog" if generator.class_names else "red apple"])
    ids_BL = torch.full((1, 16), transformer.mask_id)
    # a network of mask ratios is told 0, as at the end of an ordinary decode
    step = Step(0, 1, TokenLayout((4, 4)), torch.zeros(1), generators=rng.image_generators([0]))
    found = OneStep(1.0, 0.0).around(transformer)(ids_BL, condition, step)
    plain = transformer.predict(ids_BL, condition, step)
    assert torch.allclose(found.logits_BLV, plain.logits_BLV)
    noisy = OneStep(1.0, 0.5).around(transformer)(ids_BL, condition, step)
    assert not torch.allclose(noisy.logits_BLV, plain.logits_BLV)


@torch.no_grad()
def test_noise_is_added_before_positions_and_compression() -> None:
    """A change of the embeddings equals other embeddings."""
    meissonic, v1 = tiny_meissonic(), v1_generator().transformer
    text = Prompts(tiny_text_encoder())
    words = text.condition([text.parse("red apple")], (8, 8), Settings())
    classes = Condition({"class_ids": torch.tensor([1])})
    ids_BL, step = torch.arange(16)[None] % 15, Step(0, 1, TokenLayout((4, 4)), torch.zeros(1))
    assert isinstance(v1, MaskGITV1)
    cases = ((meissonic, words, meissonic.embed.embeddings), (v1, classes, v1.embed))
    other_BL = (ids_BL + 3) % 15
    for model, condition, table in cases:
        embed = meissonic.embed if model is meissonic else table
        swapped = model.predict_from_noise(ids_BL, condition, step, lambda _, e=embed: e(other_BL))
        assert torch.allclose(
            swapped.logits_BLV, model.predict(other_BL, condition, step).logits_BLV, atol=1e-5
        )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 4}, "one_step makes one step: set steps to 1, not 4"),
        ({"guidance_scale": 3.0}, "one_step samples without guidance: set guidance_scale to 1"),
        ({"corrections": "remask"}, "one_step has no steps to correct"),
        ({"accelerators": "local_steps"}, "one_step has no steps to speed up"),
        ({"start": "one_step:ratio=1.5"}, "ratio is from 0 to 1, not 1.5"),
        ({"start": "two_step"}, "unknown start 'two_step'; did you mean 'one_step'"),
    ],
)
def test_what_does_not_fit_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tiny_text_generator().generate("red apple", **{**SETTINGS, **changes})  # type: ignore[arg-type]


def test_other_transformers_are_refused() -> None:
    with pytest.raises(ValueError, match="needs a Meissonic or MaskGITV1 transformer, not Modern"):
        tiny_generator().generate("dog", **SETTINGS)


def test_it_is_named_by_its_text_and_by_its_object() -> None:
    assert parse_start("one_step:ratio=0.5,noise=0.3") == OneStep(0.5, 0.3)
    assert Settings(start=OneStep(0.5)).start == "one_step:ratio=0.5"  # type: ignore[arg-type]
