"""The commands on a model of prompts."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

Refused = Callable[..., str]


def texts(folder: Path) -> list[dict[str, str]]:
    """What the images of a folder say of themselves, by their names."""
    found = []
    for path in sorted(folder.glob("0*.png")):
        with Image.open(path) as image:
            found.append({**image.text, "name": path.name, "size": image.size})
    return found


def test_prompts_on_the_command_line(run: Callable, text_model: str, tmp_path: Path) -> None:
    words = ["generate", "red apple", "a heart, blue", "--model", text_model, "-n", 3]
    changes = [
        "--guidance-scale",
        3,
        "--negative-prompt",
        "green apple",
        "--micro-conditions",
        "score=7",
        "--low-memory",
    ]
    result = run(*words, *changes, "--steps", 2, "--seed", 7, "--out", tmp_path)
    assert result.exit_code == 0, result.stderr
    assert result.stdout == f"3 images in {tmp_path}\n"
    generated = texts(tmp_path)
    assert [t["name"] for t in generated] == ["000007.png", "000008.png", "000009.png"]
    assert [t["prompt"] for t in generated] == ["red apple", "a heart, blue", "red apple"]
    settings = json.loads(generated[0]["settings"])
    assert (settings["negative_prompt"], settings["micro_conditions"]) == ("green apple", "score=7")
    assert (tmp_path / "contact_sheet.png").exists()


def test_prompts_of_any_script_are_kept(run: Callable, text_model: str, tmp_path: Path) -> None:
    words = ["generate", "röter Apfel 🍎", "青い心", "--model", text_model, "--steps", 1]
    assert run(*words, "--out", tmp_path).exit_code == 0
    assert [t["prompt"] for t in texts(tmp_path)] == ["röter Apfel 🍎", "青い心"]


def test_a_file_of_prompts(run: Callable, text_model: str, tmp_path: Path) -> None:
    file = tmp_path / "prompts.txt"
    file.write_text("red apple\n\n  blue heart \r\n", encoding="utf-8-sig")
    words = ["generate", "first", "--prompts", file, "--model", text_model, "--steps", 1]
    result = run(*words, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.stderr
    assert [t["prompt"] for t in texts(tmp_path / "out")] == ["first", "red apple", "blue heart"]


def test_without_a_prompt_on_purpose_it_is_the_empty_one(
    run: Callable, text_model: str, tmp_path: Path
) -> None:
    words = ["generate", "--unconditional", "--model", text_model, "--steps", 1]
    assert run(*words, "--out", tmp_path).exit_code == 0
    assert [t["prompt"] for t in texts(tmp_path)] == [""]


def test_a_size(run: Callable, text_model: str, tmp_path: Path) -> None:
    words = ["generate", "red apple", "--model", text_model, "--steps", 2, "--width", 32]
    assert run(*words, "--height", 8, "--trace", "--out", tmp_path).exit_code == 0
    assert [t["size"] for t in texts(tmp_path)] == [(32, 8)]
    with Image.open(tmp_path / "trace.gif") as animation:
        assert animation.n_frames == 3


def test_a_seed_each(run: Callable, text_model: str, tmp_path: Path) -> None:
    words = ["generate", "red apple", "blue heart", "--model", text_model, "--steps", 3]
    assert run(*words, "--seed", 9, 4, "--out", tmp_path / "a").exit_code == 0
    assert [(t["seed"], t["prompt"]) for t in texts(tmp_path / "a")] == [
        ("4", "blue heart"),
        ("9", "red apple"),
    ]
    assert run(*words, "--seed", 4, 4, "--out", tmp_path / "b").exit_code == 0
    assert [t["name"] for t in texts(tmp_path / "b")] == ["000004-2.png", "000004.png"]
    with (
        Image.open(tmp_path / "a/000004.png") as one,
        Image.open(tmp_path / "b/000004-2.png") as other,
    ):
        np.testing.assert_array_equal(np.array(one), np.array(other))


def test_npz_has_no_classes(run: Callable, text_model: str, tmp_path: Path) -> None:
    words = ["generate", "red apple", "blue heart", "--model", text_model, "--steps", 1]
    assert run(*words, "-n", 3, "--out", tmp_path / "x.npz").exit_code == 0
    with np.load(tmp_path / "x.npz") as data:
        assert data["arr_0"].shape == (3, 16, 16, 3)
        assert data["arr_1"].tolist() == [-1, -1, -1]


def test_a_prompt_that_is_cut_is_generated(
    run: Callable, text_model: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    prompt = "red apple green apple blue heart red apple"
    result = run("generate", prompt, "--model", text_model, "--steps", 1, "--out", tmp_path)
    assert result.exit_code == 0
    assert "of which 4 fit; cut off: '" in caplog.text


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--class", "cat"], "is a model of prompts and has no classes: leave --class out"),
        (["x", "--width", "33"], "33x16 pixels: both sides must be multiples of 8"),
        (["x", "--width", "0"], "width must be a whole number from 1 to 65535 or None, not 0"),
        (["x", "--height", "-8"], "height must be a whole number from 1 to 65535 or None, not -8"),
        (
            ["x", "--width", "wide"],
            "whole number from 1 to 65535 or None, not 'wide'",
        ),
        (["x", "--width", "8", "--height", "8"], "steps must be 1 to 4"),
        (
            ["x", "--micro-conditions", "sore=7"],
            "unknown micro-condition 'sore'; did you mean 'score'?",
        ),
        (["x", "--micro-conditions", "score=high"], "cannot read 'score=high'"),
        (["x", "y", "--seed", "1", "2", "-n", "3"], "2 seeds for 3 images"),
        (["x", "--seed", "1", "-2"], "'-2'"),
        (["x", "--steps", "17"], "steps must be 1 to 16"),
        (["caf\udce9"], r"the prompt is not UTF-8 text: 'caf\udce9'"),
        (
            ["x", "--negative-prompt", "\udcff", "--guidance-scale", "3"],
            "negative_prompt is not UTF",
        ),
        (["x", "--promts", "file.txt"], "'--prompts'"),
        (["--prompts", "missing.txt"], "missing.txt: No such file or directory"),
    ],
)
def test_a_mistake_writes_nothing(
    refused: Refused, text_model: str, tmp_path: Path, words: list[str], said: str
) -> None:
    line = refused("generate", *words, "--model", text_model, "--out", tmp_path / "out")
    assert said in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "prompts.txt has no prompts"),
        (b"\n  \n\t\n", "prompts.txt has no prompts"),
        ("röter Apfel".encode("latin-1"), "prompts.txt is not UTF-8 text"),
    ],
)
def test_files_that_hold_no_prompts(
    refused: Refused, text_model: str, tmp_path: Path, content: bytes, said: str
) -> None:
    file = tmp_path / "prompts.txt"
    file.write_bytes(content)
    words = ["generate", "--prompts", file, "--model", text_model, "--out", tmp_path / "out"]
    assert said in refused(*words)
    assert "Is a directory" in refused("generate", "--prompts", tmp_path, "--model", text_model)
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["red apple"], "unknown class 'red apple'. Valid: dog, cat, ship"),
        (["--negative-prompt", "blurry"], "'negative_prompt' is for models of prompts"),
        (["--micro-conditions", "score=7"], "'micro_conditions' is for models of prompts"),
    ],
)
def test_words_are_not_for_a_model_of_classes(
    refused: Refused, model: str, tmp_path: Path, words: list[str], said: str
) -> None:
    line = refused("generate", *words, "--model", model, "--out", tmp_path / "out")
    assert said in line
    assert list(tmp_path.iterdir()) == []


def test_a_class_may_stand_where_a_prompt_does(run: Callable, model: str, tmp_path: Path) -> None:
    words = ["generate", "ship", "--class", "cat", "--model", model, "--steps", 1]
    assert run(*words, "--out", tmp_path).exit_code == 0
    assert [t["prompt"] for t in texts(tmp_path)] == ["ship", "cat"]


def test_editing_with_prompts(run: Callable, text_model: str, photo: Path, tmp_path: Path) -> None:
    words = ["--model", text_model, "--image", photo, "--steps", 2]
    condition_input = [
        "--prompt",
        "red apple",
        "blue heart",
        "--negative-prompt",
        "green",
        "--guidance-scale",
        2,
    ]
    for number, command in enumerate(
        (
            ["inpaint", "--box", "0,0,8,8"],
            ["inpaint", "--strength", 0.5],
            ["outpaint", "--left", 8],
        )
    ):
        out = tmp_path / str(number)
        result = run(*command, *words, *condition_input, "--out", out)
        assert result.exit_code == 0, result.stderr
        assert [t["prompt"] for t in texts(out)] == ["red apple", "blue heart"]
        assert [t["size"] for t in texts(out)] == [(24 + 8 * (number == 2), 16)] * 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--class", "cat"], "leave --class out"),
        (["--width", "33"], "both sides must be multiples of 8"),
        (["--micro-conditions", "x=1"], "unknown micro-condition 'x'"),
        (["--seed", "1", "2", "3", "-n", "2"], "3 seeds for 2 images"),
    ],
)
def test_editing_refuses(
    refused: Refused, text_model: str, photo: Path, tmp_path: Path, words: list[str], said: str
) -> None:
    out = tmp_path / "out"
    for command in (["inpaint", "--box", "0,0,8,8"], ["outpaint", "--left", "8"]):
        line = refused(*command, "--model", text_model, "--image", photo, "--out", out, *words)
        assert said in line
    assert not out.exists()


def test_show_says_that_it_reads_prompts(run: Callable, text_model: str) -> None:
    shown = run("models", "show", text_model)
    assert shown.exit_code == 0, shown.stderr
    lines = [" ".join(line.split()) for line in shown.stdout.splitlines()]
    assert "reads prompts" in lines
    assert "images 16x16 pixels" in lines
    assert "negative prompt none" in lines
    assert "width default" in lines
    assert any(line.startswith("transformer Meissonic, ") for line in lines)


def test_a_broken_text_model_is_one_line(refused: Refused, text_model: str, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(text_model, copy)
    shutil.rmtree(copy / "text_encoder")
    line = refused("generate", "red apple", "--model", copy, "--out", tmp_path / "out")
    assert "lacks a text encoder" in line
    assert not (tmp_path / "out").exists()
