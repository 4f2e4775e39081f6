"""GenEval: its prompt file is read, and its folders are what its scorer looks for."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from PIL import Image

from demask.bulk.geneval import read_geneval
from demask.cli import demask
from tiny import save_tiny, save_tiny_text, tiny_text_generator

LINES = [
    {"tag": "single_object", "include": [{"class": "apple", "count": 1}], "prompt": "red apple"},
    {"tag": "colors", "include": [{"class": "heart", "count": 1}], "prompt": "blue heart ☺"},
    {"tag": "single_object", "include": [{"class": "apple", "count": 1}], "prompt": "red apple"},
]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "evaluation_metadata.jsonl"
    path.write_text("\n".join(json.dumps(line) for line in LINES) + "\n")
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_tiny_text(tmp_path_factory.mktemp("tiny_text")))


def opened(path: Path) -> Image.Image:
    with Image.open(path) as image:
        image.load()
    return image


def generate(model: str, *words: object) -> Result:
    told = ["generate", "--model", model, "--format", "geneval", "--steps", "2", *words]
    return CliRunner().invoke(demask, [str(word) for word in told])


def seen_by_the_scorer(folder: Path) -> list[tuple[dict, list[Path]]]:
    """What GenEval's program would find: numbered folders, one JSON object, numbered PNGs."""
    found = []
    for here in sorted(path for path in folder.iterdir() if path.is_dir() and path.name.isdigit()):
        facts = json.loads((here / "metadata.jsonl").read_text())
        results = [p for p in here.joinpath("samples").iterdir() if re.match(r"\d+\.png", p.name)]
        found.append((facts, sorted(results)))
    return found


def test_the_folders_are_those_of_the_benchmark(file: Path, model: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = generate(model, "--prompts", file, "--out", out, "--seed", 3, "--batch-size", 5)
    assert result.exit_code == 0, result.output
    assert result.stdout == f"12 images of 3 prompts in {out}\n"
    found = seen_by_the_scorer(out)
    assert [facts for facts, _ in found] == LINES
    names = ["0000.png", "0001.png", "0002.png", "0003.png"]
    assert all([path.name for path in results] == names for _, results in found)
    assert sorted(path.name for path in out.iterdir()) == ["00000", "00001", "00002"]
    prompts = [line["prompt"] for line in LINES for _ in range(4)]
    expected = tiny_text_generator().generate(prompts, seed=list(range(3, 15)), steps=2)
    generated = [opened(path) for _, results in found for path in results]
    assert [p.tobytes() for p in generated] == [p.image.tobytes() for p in expected]
    assert generated[5].text["prompt"] == "blue heart ☺"  # type: ignore[attr-defined]
    grid = opened(out / "00000" / "grid.png")
    assert grid.size == (32, 32)
    assert grid.crop((16, 0, 32, 16)).tobytes() == generated[1].tobytes()


def test_another_number_of_images(file: Path, model: str, tmp_path: Path) -> None:
    result = generate(model, "--prompts", file, "--out", tmp_path / "out", "-n", 3)
    assert result.exit_code == 0, result.output
    assert [len(results) for _, results in seen_by_the_scorer(tmp_path / "out")] == [3, 3, 3]
    assert opened(tmp_path / "out" / "00002" / "grid.png").size == (32, 32)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no prompts"),
        ('{"prompt": "a"}\n\nred apple\n', "line 3 is no JSON object with a"),
        ('{"tag": "colors"}\n', "line 1 is no JSON object with a"),
        ('["a"]\n', "line 1 is no JSON object with a"),
        ('{"prompt": " "}\n', "line 1 is no JSON object with a"),
    ],
)
def test_other_files_are_refused(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_geneval(path)
    path.write_bytes(b"\xff\xfe\xff")
    with pytest.raises(ValueError, match="no UTF-8 text"):
        read_geneval(path)


def test_the_command_refuses(
    file: Path, model: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    out = tmp_path / "out"
    classes = str(save_tiny(tmp_path_factory.mktemp("tiny")))
    check: list[tuple[str, list[object], str]] = [
        (model, [], "needs its prompts: --prompts evaluation_metadata.jsonl"),
        (model, ["cat", "--prompts", file], "takes its prompts from --prompts alone"),
        (model, ["--prompts", file, "-n", 0], "-n must be at least 1"),
        (model, ["--prompts", file, "--trace"], "--trace needs a folder"),
        (model, ["--prompts", file, "--seed", 1, 2], "2 seeds for 12 images"),
        (classes, ["--prompts", file], "is a model of classes"),
    ]
    for name, words, message in check:
        result = generate(name, *words, "--out", out)
        assert result.exit_code == 2, words
        assert message in result.stderr
        assert result.stderr.count("\n") == 1
    assert not out.exists()
