"""The pipelines behind the interface of diffusers: their images are those of Demask."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import demask
from demask.image import GeneratedImage
from tiny import CLASS_NAMES, save_tiny, save_tiny_text, tiny_generator, tiny_transformer

pytest.importorskip("diffusers", reason="needs diffusers: pip install 'demask[diffusers]'")

from demask.diffusers import DemaskImg2ImgPipeline, DemaskInpaintPipeline, DemaskPipeline

PROMPTS = ["red apple", "blue heart"]
FAST = {"num_inference_steps": 3}


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def same(found: list[Image.Image], own: list[GeneratedImage]) -> bool:
    assert len(found) == len(own)
    return all(
        np.array_equal(np.asarray(image), np.asarray(one.image))
        for image, one in zip(found, own, strict=True)
    )


def photo() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8))


def mask() -> Image.Image:
    white = Image.new("L", (16, 16))
    white.paste(255, (0, 0, 4, 16))
    return white


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> demask.Generator:
    return demask.load(save_tiny_text(tmp_path_factory.mktemp("words")), device="cpu")


@pytest.fixture(scope="module")
def classes(tmp_path_factory: pytest.TempPathFactory) -> demask.Generator:
    return demask.load(save_tiny(tmp_path_factory.mktemp("classes")), device="cpu")


@pytest.fixture
def pipe(words: demask.Generator) -> DemaskPipeline:
    pipeline = DemaskPipeline(words)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def test_one_generator_is_the_first_seed(words: demask.Generator, pipe: DemaskPipeline) -> None:
    found = pipe(PROMPTS, generator=seeded(7), guidance_scale=3.0, **FAST).images
    assert same(found, words.generate(PROMPTS, seed=7, steps=3, guidance_scale=3.0))
    assert not same(found, words.generate(PROMPTS, seed=7, steps=3))


def test_generators_are_a_seed_each(words: demask.Generator, pipe: DemaskPipeline) -> None:
    found = pipe(
        PROMPTS,
        num_images_per_prompt=2,
        generator=[seeded(seed) for seed in (5, 1, 9, 5)],
        negative_prompt=["green", "green"],
        guidance_scale=3.0,
        order="halton",
        **FAST,
    ).images
    settings = {"steps": 3, "guidance_scale": 3.0, "negative_prompt": "green", "order": "halton"}
    conditions = [PROMPTS[0], PROMPTS[0], PROMPTS[1], PROMPTS[1]]
    assert same(found, words.generate(conditions, seed=[5, 1, 9, 5], **settings))


def test_without_a_generator_torch_draws_the_seed(pipe: DemaskPipeline) -> None:
    drawn = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        drawn.append(pipe(PROMPTS[0], output_type="np", **FAST).images)
    assert np.array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[0], drawn[2])


def test_classes(classes: demask.Generator) -> None:
    pipe = DemaskPipeline.from_pretrained(classes.name)
    pipe.set_progress_bar_config(disable=True)
    expected = classes.generate([2, 0], seed=4, steps=3)
    for labels in ([2, 0], torch.tensor([2, 0]), [CLASS_NAMES[2], CLASS_NAMES[0]]):
        assert same(pipe(class_labels=labels, generator=seeded(4), **FAST).images, expected)
    assert same(pipe(generator=seeded(4), **FAST).images, classes.generate([None], seed=4, steps=3))


def test_output_types(pipe: DemaskPipeline) -> None:
    call = {"prompt": PROMPTS, "generator": seeded(0), **FAST}
    (images,) = pipe(return_dict=False, **call)
    array = pipe(output_type="np", **call).images
    tensor = pipe(output_type="pt", **call).images
    assert array.shape == (2, 16, 16, 3)
    assert array.dtype == np.float32
    assert np.array_equal((array * 255).round(), np.stack([np.asarray(image) for image in images]))
    assert torch.equal(tensor, torch.from_numpy(array).permute(0, 3, 1, 2))


def test_callback_and_progress_bar(
    words: demask.Generator, pipe: DemaskPipeline, capsys: pytest.CaptureFixture[str]
) -> None:
    seen = []

    def callback(pipeline: object, index: int, left: int, tensors: dict) -> dict:
        assert pipeline is pipe
        seen.append((index, left, tensors))
        return {}

    pipe.set_progress_bar_config(desc="tokens")
    pipe(
        PROMPTS,
        generator=seeded(0),
        callback_on_step_end=callback,
        callback_on_step_end_tensor_inputs=["latents", "masked"],
        **FAST,
    )
    assert [(index, left) for index, left, _ in seen] == [(0, 2), (1, 1), (2, 0)]
    for state, (_, _, tensors) in zip(words.stream(PROMPTS, steps=3), seen, strict=True):
        assert set(tensors) == {"latents", "masked"}
        assert torch.equal(tensors["latents"], state.ids_BL)
        assert torch.equal(tensors["masked"], state.masked_BL)
    last = capsys.readouterr().err.split("\r")[-1]
    assert "tokens: 100%" in last
    assert "3/3" in last


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ({"output_type": "latent"}, "unknown output_type 'latent'.*pil, np, pt"),
        ({"prompt": "x", "class_labels": 1}, "not both"),
        ({"class_labels": 1}, "is a model of prompts"),
        ({"negative_prompt": ["a", "b"]}, "share one negative_prompt"),
        ({"generator": 3}, "generator must be a torch.Generator"),
        ({"generator": [seeded(0)] * 2}, "2 seeds for 1 images"),
        ({"num_images_per_prompt": 0}, "num_images_per_prompt"),
        ({"callback_on_step_end_tensor_inputs": ["noise"]}, "unknown callback_on_step_end"),
        ({"num_inference_steps": 0}, "steps"),
        ({"scheduler": "x"}, "scheduler: Demask calls it schedule"),
        ({"width": 17}, "multiples of"),
    ],
)
def test_bad_input_is_one_line(pipe: DemaskPipeline, call: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message) as raised:
        pipe(**call)
    assert "\n" not in str(raised.value)


def test_image_to_image(
    words: demask.Generator, pipe: DemaskPipeline, capsys: pytest.CaptureFixture[str]
) -> None:
    twin = DemaskImg2ImgPipeline.from_pipe(pipe)
    call = {"strength": 0.6, "num_images_per_prompt": 2, "generator": seeded(3)}
    for strength_of in ("tokens", "steps"):
        found = twin("red apple", photo(), strength_of=strength_of, **call, **FAST).images
        own = words.variations(
            photo(), 0.6, "red apple", 2, seed=3, strength_of=strength_of, steps=3
        )
        assert same(found, own)
    assert "1/1" in capsys.readouterr().err.split("\r")[-1], "0.6 of 3 steps is 1"
    with pytest.raises(ValueError, match="image must be a PIL image"):
        twin("red apple")
    with pytest.raises(ValueError, match="strength"):
        twin("red apple", photo(), strength=2)


def test_inpainting(
    words: demask.Generator, pipe: DemaskPipeline, capsys: pytest.CaptureFixture[str]
) -> None:
    twin = DemaskInpaintPipeline(**pipe.components)
    call = {"num_images_per_prompt": 2, "generator": seeded(3), "feather": 0}
    found = twin("red apple", photo(), mask(), **call, **FAST).images
    own = words.inpaint(photo(), mask(), "red apple", 2, seed=3, feather=0, steps=3)
    assert same(found, own)
    last = capsys.readouterr().err.split("\r")[-1]
    assert "100%" in last
    assert "3/3" not in last, "a part of the tokens takes a part of the steps"
    with pytest.raises(ValueError, match="must be of one size"):
        twin("red apple", photo(), Image.new("L", (8, 8), 255))


def test_the_golden_pipeline_and_its_lora(golden: Path) -> None:
    pipe = DemaskPipeline.from_pretrained(golden / "amused")
    twin = DemaskInpaintPipeline.from_pipe(pipe)
    for each in (pipe, twin):
        each.set_progress_bar_config(disable=True)
    call = {"prompt": "the red apple", "generator": seeded(2), "width": 24, "height": 16, **FAST}
    settings = {"seed": 2, "width": 24, "height": 16, "steps": 3}
    plain = demask.load(golden / "amused", device="cpu").generate("the red apple", **settings)
    assert same(pipe(**call).images, plain)
    file = golden / "amused" / "lora" / "pytorch_lora_weights.safetensors"
    adapted = demask.load(golden / "amused", device="cpu", loras=[f"{file}:8"])
    expected = adapted.generate("the red apple", **settings)
    assert not same([image.image for image in expected], plain)
    pipe.load_lora_weights(file.parent, weight_name=file.name, lora_scale=8)
    assert same(pipe(**call).images, expected)
    assert twin.demask_generator is pipe.demask_generator, "twins share LoRAs"
    with pytest.raises(ValueError, match="nowhere"):
        pipe.load_lora_weights("nowhere")
    assert same(pipe(**call).images, expected)
    pipe.unload_lora_weights()
    assert same(pipe(**call).images, plain)


def test_saving_is_refused(pipe: DemaskPipeline, tmp_path: Path) -> None:
    with pytest.raises(NotImplementedError, match="is not saved in diffusers' layout"):
        pipe.save_pretrained(tmp_path / "saved")
    assert not (tmp_path / "saved").exists()


def test_the_type_of_weights(words: demask.Generator) -> None:
    pipe = DemaskPipeline.from_pretrained(words.name, torch_dtype=torch.bfloat16)
    pipe.set_progress_bar_config(disable=True)
    assert pipe.dtype == torch.bfloat16
    assert pipe.device == torch.device("cpu")
    own = demask.load(words.name, device="cpu", dtype="bfloat16")
    found = pipe("red apple", generator=seeded(1), **FAST).images
    assert same(found, own.generate("red apple", seed=1, steps=3))
    pipe.to(torch.float64)
    assert {p.dtype for p in pipe.model.parameters()} == {torch.float64}
    assert len(pipe.components["model"].text_encoder.state_dict()) > 0


def test_the_generator_moves_with_the_networks() -> None:
    generator = tiny_generator()
    generator.aux.loaded["weaker"] = tiny_transformer()
    pipe = DemaskPipeline(generator)
    assert pipe.demask_generator.device == torch.device("cpu")
    pipe.to("meta")
    assert pipe.demask_generator.device == pipe.device == torch.device("meta")
    weaker = pipe.demask_generator.aux.loaded["weaker"]
    assert {p.device for p in weaker.parameters()} == {torch.device("meta")}


def test_offloaded_weights_are_on_the_device_during_a_call(
    words: demask.Generator, pipe: DemaskPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    moves: list[str] = []
    move = type(pipe.model).to
    pipe.enable_model_cpu_offload(device="cpu")
    pipe.offload_device = "cpu:0"

    def recorded(module: torch.nn.Module, device: str) -> torch.nn.Module:
        moves.append(str(device))
        return move(module, "cpu")

    monkeypatch.setattr(type(pipe.model), "to", recorded)
    found = pipe(
        "red apple",
        generator=seeded(1),
        callback_on_step_end=lambda *_: moves.append("step"),
        **FAST,
    ).images
    assert moves == ["cpu:0", "step", "step", "step", "cpu"]
    assert DemaskInpaintPipeline.from_pipe(pipe).offload_device == "cpu:0"
    assert same(found, words.generate("red apple", seed=1, steps=3))
    with pytest.raises(ValueError, match="no device 'zorp'"):
        pipe.enable_model_cpu_offload(device="zorp")


def test_without_diffusers_the_message_names_the_extra() -> None:
    program = "import sys; sys.modules['diffusers'] = None; import demask.diffusers"
    command = [sys.executable, "-c", program]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert result.returncode == 1
    assert "pip install 'demask[diffusers]'" in result.stderr.splitlines()[-1]
