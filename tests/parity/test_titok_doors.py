"""TiTok and MaskGen on golden weights, through every door and under the laws.

Shape legend: B batch, L tokens.
"""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

import demask
from demask.assembly import check_pair
from demask.batching.batched_decode import BatchedDecode
from demask.batching.invariance import Rounding
from demask.checkpoint.load import CheckpointError, load_model
from demask.checkpoint.published import PUBLISHED_MODELS, PublishedModel
from demask.checkpoint.save import save_model
from demask.cli import demask as program
from demask.preset_file import read_presets
from demask.sampling.decode import last
from demask.types import Step, TokenLayout
from doors import array, check_evaluate, check_server
from serving import Running, serving

CASES = {
    "titok_imagebert": ("titok_imagebert", "titok_two_stage", "image_bert"),
    "titok_uvit": ("titok_uvit", "titok_two_stage", "uvit"),
    "maskgen": ("maskgen/generator", "maskgen/tokenizer", "maskgen"),
}
SETTINGS: dict[str, Any] = {
    "steps": 5,
    "schedule": "arccos",
    "order": "logit",
    "temperature": 2.0,
    "temperature_decay": "annealed_linear",
    "choice_temperature": 2.0,
    "choice_temperature_decay": "annealed_linear",
    "guidance_scale": 3.0,
    "guidance_schedule": "ramp:delayed=True",
}
PRESETS = ("titok_l32", "titok_b64", "titok_s128", "maskgen")


@pytest.fixture(scope="module")
def generators(
    golden: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, demask.Generator]:
    found = {}
    for name, (transformer, tokenizer, _) in CASES.items():
        folder = tmp_path_factory.mktemp(name) / "model"
        shutil.copytree(golden / transformer, folder)
        if name == "maskgen":
            shutil.copytree(golden / "maskgen" / "text", folder / "text_encoder")
        found[name] = demask.load(folder, str(golden / tokenizer), device="cpu")
    return found


@pytest.fixture(params=CASES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def generator(generators: dict[str, demask.Generator], name: str) -> demask.Generator:
    return generators[name]


@pytest.fixture(scope="module")
def server(generators: dict[str, demask.Generator]) -> Iterator[Running]:
    with serving(generators) as running:
        yield running


def conditions(generator: demask.Generator) -> list[str]:
    return ["1", "5", "2"] if generator.class_names else ["the red apple", "apple", ""]


def test_what_it_is(generator: demask.Generator, name: str) -> None:
    assert generator.size == (32, 32)
    assert "16 tokens" in repr(generator)
    assert len(generator.class_names) == (0 if name == "maskgen" else 7)


@pytest.mark.parametrize("order", ["logit", "confidence", "random"])
def test_a_shared_batch_is_each_image_alone(generator: demask.Generator, order: str) -> None:
    """Previews and finished images are those of their own prompts."""
    chosen = {**SETTINGS, "order": order}
    told = conditions(generator)
    (job,) = generator.jobs(told, seed=[3, 4, 5], **chosen)
    batch = BatchedDecode.start(generator, job, generator.job_condition(job), Rounding())
    batch.step()
    batch.step()
    previews = [batch.preview(place) for place in range(3)]
    batch.keep([2, 1])
    while not batch.done:
        batch.step()
    images = list(batch.finish())
    for image, place in zip(images, (2, 1), strict=True):
        (alone,) = generator.generate(told[place], seed=3 + place, **chosen)
        assert np.array_equal(array(image.image), array(alone.image))
    for place, preview in enumerate(previews):
        states = list(generator.stream(told[place], seed=3 + place, **chosen))
        off = preview.int() - generator.preview(states[1])[0].int()
        assert off.abs().max() <= 1


def test_the_server_answers_with_the_image_alone(
    generator: demask.Generator, name: str, server: Running
) -> None:
    check_server(server, name, generator, conditions(generator)[0], **SETTINGS)


def test_a_spatial_edit_is_refused_by_the_server(name: str, server: Running) -> None:
    image, mask = io.BytesIO(), io.BytesIO()
    Image.new("RGB", (32, 32)).save(image, "PNG")
    Image.new("L", (32, 32), 255).save(mask, "PNG")
    with pytest.raises(Exception, match="needs a grid of tokens.*a row of 16 tokens"):
        server.client.images.edit(
            model=name, image=image.getvalue(), mask=mask.getvalue(), prompt=""
        )


def test_evaluate(generator: demask.Generator, tmp_path: Path) -> None:
    check_evaluate(generator, tmp_path, 32, **SETTINGS)


@torch.no_grad()
def test_save_and_load(
    generator: demask.Generator, name: str, golden: Path, tmp_path: Path
) -> None:
    """Written in our layout and read again: the same logits to the last bit."""
    original = load_model(golden / CASES[name][0])
    save_model(tmp_path / "model.safetensors", original, CASES[name][2])
    again = load_model(tmp_path / "model.safetensors")
    condition = generator.condition(conditions(generator)[:1])
    layout = generator.transformer.layout
    ids_BL = torch.full((1, layout.tokens), generator.transformer.mask_id)
    step = Step(0, 4, layout, torch.ones(1))
    before, after = (m.predict(ids_BL, condition, step) for m in (original, again))  # type: ignore[operator]
    assert torch.equal(before.logits_BLV, after.logits_BLV)


def test_what_is_off_changes_nothing(generator: demask.Generator) -> None:
    told, chosen = conditions(generator)[0], {**SETTINGS, "guidance_scale": 1.0}
    plain = generator.generate(told, seed=2, **chosen)[0]
    for off in (
        {"guidance_schedule": "flipped_cosine"},
        {"accelerators": "local_steps:1"},
        {"corrections": "remask:0"},
    ):
        same = generator.generate(told, seed=2, **{**chosen, **off})[0]
        assert np.array_equal(array(same.image), array(plain.image)), off


@pytest.mark.parametrize("changes", [{}, {"accelerators": "local_steps:2,full=1"}])
def test_no_image_depends_on_its_batch(
    generator: demask.Generator, name: str, golden: Path, changes: dict[str, str]
) -> None:
    """In float64, where the products of a batch round as those of one image."""
    wide: Any = load_model(golden / CASES[name][0]).double()
    exact = replace(generator, transformer=wide)
    chosen = {**SETTINGS, **changes}

    def ids_BL(seeds: list[int]) -> torch.Tensor:
        (job,) = exact.jobs(conditions(generator)[1], seed=seeds, **chosen)
        return last(exact.decode(job, exact.blank(job))).ids_BL

    whole_BL = ids_BL([1, 2, 3])
    for seeds, places in (([1], [0]), ([3], [2]), ([3, 2], [2, 1])):
        assert torch.equal(ids_BL(seeds), whole_BL[places])


def test_tokens_that_were_given_stay(generator: demask.Generator) -> None:
    """A variation keeps a part of the row; the condition and the canvas are not changed."""
    photo = generator.generate(conditions(generator)[0], seed=1, **SETTINGS)[0].image
    images = generator.variations(photo, 0.5, conditions(generator)[1], 2, seed=4, **SETTINGS)
    assert images[0].image.size == (32, 32)
    assert not np.array_equal(array(images[0].image), array(images[1].image))
    (job,) = generator.jobs(conditions(generator)[:1], seed=[7], **SETTINGS)
    before = generator.job_condition(job)
    state = last(generator.decode(job, generator.blank(job)))
    assert not state.masked_BL.any()
    after = generator.job_condition(job)
    assert all(torch.equal(before[key], after[key]) for key in before.tensors)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda g, image: g.inpaint(image, image), "edit 'inpaint' needs a grid of tokens"),
        (lambda g, image: g.outpaint(image, left=8), "edit 'outpaint' needs a grid of tokens"),
        (lambda g, image: g.generate(order="halton"), "'halton' needs a grid of tokens"),
        (lambda g, image: g.generate(width=64, height=64), "32x32 pixels alone, not 64x64"),
        (lambda g, image: g.generate(steps=17), "steps must be 1 to 16"),
    ],
)
def test_what_has_no_meaning_on_a_row_is_refused_in_one_line(
    generator: demask.Generator,
    edit: Callable[[demask.Generator, Image.Image], object],
    message: str,
) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        edit(generator, Image.new("RGB", (32, 32), "white"))
    assert "\n" not in str(caught.value)


def test_a_micro_condition_that_the_model_is_not_told(
    generators: dict[str, demask.Generator],
) -> None:
    with pytest.raises(ValueError, match=r"micro-condition 'width'.* Valid: score$"):
        generators["maskgen"].generate("apple", micro_conditions="width=64", **SETTINGS)


def test_from_the_hub(golden: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each repository of the authors holds one network; the others and the settings are found."""
    repositories = {
        "owner/uvit": "titok_uvit",
        "owner/titok": "titok_two_stage",
        "owner/maskgen": "maskgen/generator",
        "owner/tatitok": "maskgen/tokenizer",
        "openai/clip": "maskgen/text",
    }

    def download(hub_id: str, **options: Any) -> str:
        return str(golden / repositories[hub_id])

    def row(like: str, name: str, tokenizer: str, **more: Any) -> PublishedModel:
        published = PUBLISHED_MODELS[like]
        changes = {"source": f"owner/{name}", "config": {"width": 32}, **more}
        return replace(published, tokenizer=f"owner/{tokenizer}", **changes)

    rows = {
        "tiny S": row("TiTok S-128", "uvit", "titok"),
        "tiny L": row("MaskGen-VQ L", "maskgen", "tatitok", text_encoder="openai/clip"),
    }
    monkeypatch.setattr(PUBLISHED_MODELS, "_rows", rows)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    generator = demask.load("owner/uvit", device="cpu")
    assert type(generator.tokenizer).__name__ == "TiTok"
    assert (generator.settings.steps, generator.settings.order) == (64, "logit")
    generator = demask.load("owner/maskgen", device="cpu")
    assert type(generator.tokenizer).__name__ == "TATiTok"
    assert generator.settings == generator.presets["published"].settings
    (image,) = generator.generate("apple", seed=1)
    (same,) = generator.generate("apple", seed=1, micro_conditions="score=6.5", guidance_scale=13)
    assert np.array_equal(array(image.image), array(same.image))


def test_parts_of_other_models_are_refused(golden: Path, tmp_path: Path) -> None:
    bert, two = golden / "titok_imagebert", str(golden / "titok_two_stage")
    with pytest.raises(CheckpointError, match="knows 64 codes, the tokenizer 80"):
        demask.load(bert, str(golden / "titok_single_stage"), device="cpu")
    with pytest.raises(CheckpointError, match="a row of 16 tokens, the tokenizer's a grid"):
        demask.load(bert, str(golden / "meissonic" / "vqvae"), device="cpu")
    short = load_model(bert)
    short.layout = TokenLayout((15,))  # type: ignore[assignment]
    with pytest.raises(CheckpointError, match="a row of 15 tokens, .* a row of 16 tokens"):
        check_pair(short, load_model(two))


def test_generated_and_edited_images_are_decoded_with_their_prompt(
    generators: dict[str, demask.Generator],
) -> None:
    generator, told = generators["maskgen"], "the red apple"
    (job,) = generator.jobs(told, seed=7, **SETTINGS)
    state = last(generator.decode(job, generator.blank(job)))
    (image,) = generator.generate(told, seed=7, **SETTINGS)
    (varied,) = generator.variations(image.image, 0.0, told, seed=7, **SETTINGS)
    pixels_BCHW = torch.from_numpy(array(image.image).copy()).permute(2, 0, 1)[None] / 255
    for found, ids_BL in ((image, state.ids_BL), (varied, generator.tokens(pixels_BCHW))):
        own, other = (
            generator.pixels(ids_BL, state.step.layout, generator.condition([text]))[0].numpy()
            for text in (told, "")
        )
        assert np.array_equal(array(found.image), own)
        assert not np.array_equal(own, other)


def test_reconstruct(generators: dict[str, demask.Generator], golden: Path, tmp_path: Path) -> None:
    """Images of any size; the decoder of TA-TiTok is told the prompt, or the empty one."""
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (70, 50, 3), np.uint8)).save(
        tmp_path / "photo.png"
    )
    titok = ["--tokenizer", str(golden / "titok_two_stage")]
    folder = tmp_path / "maskgen"
    shutil.copytree(golden / "maskgen" / "generator", folder / "generator")
    shutil.copytree(golden / "maskgen" / "text", folder / "text_encoder")
    for name, architecture in (("generator", "maskgen"), ("tokenizer", "ta_titok")):
        file = "transformer" if name == "generator" else "tokenizer"
        network = load_model(golden / "maskgen" / name)
        save_model(folder / f"{file}.safetensors", network, architecture)
    shutil.rmtree(folder / "generator")
    maskgen = ["--model", str(folder)]
    seen = {}
    for words in (titok, maskgen, [*maskgen, "--prompt", "apple"], [*maskgen, "--prompt", ""]):
        call = ["reconstruct", str(tmp_path / "photo.png"), *words, "--out", str(tmp_path / "out")]
        result = CliRunner().invoke(program, call)
        assert result.exit_code == 0, result.output
        seen[tuple(words[2:]) if words[0] == "--model" else "titok"] = result.output
    assert seen[()] == seen["--prompt", ""] != seen["--prompt", "apple"]
    alone = ["--tokenizer", str(golden / "maskgen" / "tokenizer")]
    (folder / "tokenizer.safetensors").unlink()
    call = ["reconstruct", str(tmp_path / "photo.png"), *maskgen, *alone, "--prompt", "apple"]
    result = CliRunner().invoke(program, [*call, "--out", str(tmp_path / "out")])
    assert result.output == seen["--prompt", "apple"], "a tokenizer that is kept elsewhere"
    for words, message in (
        (alone, "a prompt is read by a whole model"),
        ([*titok, "--prompt", "apple"], "a prompt is read by a whole model"),
        (["--model", "cifar10", "--prompt", "cat"], "reads no prompt: leave --prompt out"),
    ):
        result = CliRunner().invoke(program, ["reconstruct", str(tmp_path / "photo.png"), *words])
        assert result.exit_code == 2, result.output
        assert message in result.output


@pytest.mark.parametrize("preset", PRESETS)
def test_the_authors_settings(preset: str) -> None:
    folder = Path(demask.__file__).parent / "published_presets"
    presets = read_presets(folder / f"{preset}.toml")
    assert presets.default == "published"
    settings = presets["published"].settings
    assert settings.sampler.order.choice_temperature.at(settings.first) > 0  # type: ignore[attr-defined]
