"""`demask generate`."""

from __future__ import annotations

import errno
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from demask.bulk import generate
from demask.image import GeneratedImage
from demask.preset_file import Preset, PresetFile, write_presets
from demask.settings import Settings
from tiny import save_tiny

Refused = Callable[..., str]


def test_pngs_know_how_they_were_made(run: Callable, model: str, tmp_path: Path) -> None:
    words = ["generate", "--model", model, "--class", "cat", "ship", "-n", 3, "--seed", 7]
    result = run(*words, "--steps", 3, "--top-k", 5, "--out", tmp_path / "a")
    assert result.exit_code == 0, result.stderr
    assert result.stdout == f"3 images in {tmp_path / 'a'}\n"
    assert "\x1b" not in result.output
    names = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert names == [*(f"00000{seed}.png" for seed in (7, 8, 9)), "contact_sheet.png", "run.json"]
    prompts = []
    for name in names[:3]:
        with Image.open(tmp_path / "a" / name) as image:
            assert image.size == (16, 16)
            assert image.text["seed"] == str(int(name[:6]))
            settings = json.loads(image.text["settings"])
            prompts.append(image.text["prompt"])
    assert prompts == ["cat", "ship", "cat"]
    assert (settings["steps"], settings["top_k"], settings["order"]) == (3, 5, "confidence")


def test_the_same_seed_generates_the_same_file(run: Callable, model: str, tmp_path: Path) -> None:
    for out, words in (("a", ["--seed", 0, "-n", 3]), ("b", ["--seed", 2, "-n", 1])):
        words += ["--class", "cat", "--steps", 4, "--model", model, "--out", tmp_path / out]
        assert run("generate", *words).exit_code == 0
    assert (tmp_path / "a/000002.png").read_bytes() == (tmp_path / "b/000002.png").read_bytes()
    assert (tmp_path / "a/000000.png").read_bytes() != (tmp_path / "a/000001.png").read_bytes()


@pytest.mark.parametrize(
    ("classes", "prompts"),
    [
        (["--class", "cat,dog"], ["cat", "dog"]),
        (["--class", "1", "--class", "ship"], ["cat", "ship"]),
        ([], ["dog", "cat", "ship"]),
    ],
)
def test_ways_to_name_classes(
    run: Callable, model: str, tmp_path: Path, classes: list[str], prompts: list[str]
) -> None:
    result = run("generate", *classes, "--steps", 1, "--model", model, "--out", tmp_path)
    assert result.exit_code == 0, result.stderr
    generated = sorted(tmp_path.glob("0*.png"))
    assert [Image.open(path).text["prompt"] for path in generated] == prompts


def test_npz_is_balanced_and_holds_the_same_pixels(
    run: Callable, model: str, tmp_path: Path
) -> None:
    words = ["generate", "--model", model, "--steps", 2, "-n", 7, "--batch-size", 2]
    assert run(*words, "--out", tmp_path / "x.npz").exit_code == 0
    assert run(*words, "--out", tmp_path / "png").exit_code == 0
    with np.load(tmp_path / "x.npz") as data:
        assert data["arr_1"].tolist() == [0, 1, 2, 0, 1, 2, 0]
        for number, pixels in enumerate(data["arr_0"]):
            with Image.open(tmp_path / "png" / f"{number:06}.png") as image:
                np.testing.assert_array_equal(pixels, np.array(image))


def test_trace_shows_every_step(run: Callable, model: str, tmp_path: Path) -> None:
    words = ["generate", "--model", model, "--class", "cat", "-n", 2, "--trace"]
    assert run(*words, "--steps", 4, "--out", tmp_path).exit_code == 0
    with Image.open(tmp_path / "trace.gif") as animation:
        assert animation.n_frames == 5


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--class", "frog"], "unknown class 'frog'. Valid: dog, cat, ship"),
        (["--class", "cta"], "did you mean 'cat'"),
        (["--class", "3"], "valid: 0 to 2"),
        (["--steps", "0"], "steps must be a whole number of at least 1, not 0"),
        (["--steps", "17"], "steps must be 1 to 16"),
        (["--steps", "many"], "steps must be a whole number of at least 1, not 'many'"),
        (["-n", "0"], "number of images is at least 1"),
        (["--batch-size", "0"], "at least 1"),
        (["--order", "halt"], "did you mean 'halton'?"),
        (["--schedule", "sine"], "unknown mask schedule 'sine'"),
        (
            ["--choice-temperature", "1", "--choice-temperature-decay", "x"],
            "unknown temperature decay 'x'",
        ),
        (["--correction", "x"], "unknown correction 'x'"),
        (["--correction", "zigzag"], "zigzag needs guidance: choose a scale other than 1"),
        (["--guidance-schedule", "x"], "'x'"),
        (["--top-p", "2"], "2"),
        (["--device", "gpu"], "there is no device 'gpu' here; valid: cpu"),
        (["--stps", "3"], "'--steps'"),
        (["--seed", "-1"], "seed -1 is out of range"),
        (["--format", "npz", "--trace"], "--trace needs a folder"),
    ],
)
def test_a_mistake_writes_nothing(
    refused: Refused, model: str, tmp_path: Path, words: list[str], said: str
) -> None:
    line = refused("generate", "--model", model, "--out", tmp_path / "out", *words)
    assert said in line
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_model_names_the_known(refused: Refused, tmp_path: Path) -> None:
    line = refused("generate", "--model", "cifar11", "--out", tmp_path)
    assert "unknown model 'cifar11'; did you mean 'cifar10'?" in line


def test_outputs_that_cannot_be(refused: Refused, model: str, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("mine")
    assert "is a file" in refused("generate", "--model", model, "--out", file)
    folder = tmp_path / "folder.npz"
    folder.mkdir()
    assert "is a folder" in refused("generate", "--model", model, "--out", folder)
    assert file.read_text() == "mine"


@pytest.mark.parametrize("out", ["folder", "file.npz"])
def test_a_full_disk_leaves_nothing(
    refused: Refused, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: str
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    line = refused("generate", "--model", model, "--steps", 1, "--out", tmp_path / out)
    place = tmp_path / ("folder/run.json" if out == "folder" else "file.npz.parts/run.json")
    assert line == f"Error: {place}: No space left on device\n"
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_preset_names_the_settings(run: Callable, refused: Callable, tmp_path: Path) -> None:
    folder = save_tiny(tmp_path / "model")
    presets = PresetFile({"steps4": Preset(Settings(steps=4, temperature=0.5))})
    write_presets(folder / "presets.toml", presets)
    words = ("generate", "--model", folder, "--class", "cat", "--preset")
    line = refused(*words, "steps5")
    assert "unknown preset 'steps5'; did you mean 'steps4'? Valid: steps4" in line
    assert run(*words, "steps4", "--top-k", "3", "--out", tmp_path / "out").exit_code == 0
    with Image.open(tmp_path / "out" / "000000.png") as image:
        settings = json.loads(image.text["settings"])
    assert (settings["steps"], settings["temperature"], settings["top_k"]) == (4, 0.5, 3)


@pytest.mark.parametrize("arguments", [[], [""], ["red apple", "  "]])
def test_a_model_of_prompts_asks_for_one(
    arguments: list[str], run: Callable, tmp_path: Path
) -> None:
    result = run("generate", *arguments, "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert "emoji is a model of prompts: give one" in result.stderr
    assert not (tmp_path / "out").exists()


def test_without_a_prompt_on_purpose(run: Callable, tmp_path: Path) -> None:
    command = ["generate", "--unconditional", "-n", "1", "--steps", "2", "--out", tmp_path]
    assert run(*command).exit_code == 0
    assert run(*command, "rocket").exit_code == 2
    assert run(*command, "--model", "cifar10").exit_code == 2


@pytest.mark.parametrize(
    ("name", "said"), [("out", "stopped, 2 of 5 images in"), ("a.npz", "stopped, 0 of 5")]
)
def test_an_interruption_says_what_is_there(
    name: str, said: str, run: Callable, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    generated = generate.generate_jobs

    def interrupted(*arguments: Any) -> Iterator[GeneratedImage]:
        yield from islice(generated(*arguments), 2)
        raise KeyboardInterrupt

    monkeypatch.setattr(generate, "generate_jobs", interrupted)
    result = run("generate", "--model", model, "-n", 5, "--steps", 1, "--out", tmp_path / name)
    assert result.exit_code == 130
    assert said in result.stderr
    assert (tmp_path / "out").exists() == (name == "out")
    assert not list(tmp_path.rglob("*.tmp"))


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such paths")
def test_paths_that_are_no_unicode_text(run: Callable, model: str, tmp_path: Path) -> None:
    """Linux allows any bytes in a path; Python makes lone surrogates of them."""
    place, out = tmp_path / "m\udcff", tmp_path / "out"
    shutil.copytree(model, place)
    result = run("generate", "--model", place, "--class", "cat", "--steps", 1, "--out", out)
    assert result.exit_code == 0, result.stderr
    assert GeneratedImage.read(out / "000000.png").model == rf"{tmp_path}/m\udcff"
    words = (
        "figure",
        "seeds",
        "--model",
        place,
        "--class",
        "cat",
        "-n",
        2,
        "--variant",
        "a:",
        "b:",
    )
    assert run(*words, "--out", out / "figure.png").exit_code == 0
