"""On a full disk every command that writes is one line, and leaves nothing half-written.

A limit on the size of files stands for the full disk: no file can grow beyond a few bytes.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from demask import files
from demask.checkpoint.save import save_model
from demask.evaluation.pair_scorer import PairScorer, PairScorerConfig
from demask.evaluation.small_conv import SmallConv, SmallConvConfig
from tiny import CLASS_NAMES

resource = pytest.importorskip("resource")
LIMIT = 90
RUN = "[run]\nsteps = 2\nbatch_size = 4\ntracker = 'none'\n"
INPUTS = {
    "tokenizer.toml": f"""{RUN}
[tokenizer]
size = 8
[tokenizer.model]
levels = [4, 4]
widths = [16]
encoder_blocks = [1]
decoder_blocks = [1]
pixel_width = 16
""",
    "masked.toml": f"""{RUN}
[views]
size = 16
[transformer]
width = 16
depth = 1
heads = 2
mlp_width = 16
""",
    "sweep.toml": """
[measure]
count = 8
resamples = 2
metrics = ["frechet"]
[[methods]]
name = "plain"
settings = { steps = 1 }
""",
    "prompts.txt": "red apple\n",
    "geneval.jsonl": '{"prompt": "red apple", "objects": "an apple, as the detector calls it"}\n',
}
COMMANDS = {
    "generate": "generate --model MODEL --class cat --steps 1 --out OUT",
    "generate, one file": "generate --model MODEL --class cat --steps 1 -n 3 --out OUT/a.npz",
    "geneval": "generate --model TEXT --prompts IN/geneval.jsonl --format geneval -n 1 "
    "--steps 1 --out OUT",
    "inpaint": "inpaint --model MODEL --image IN/real/cat/0.png --box 0,0,8,8 --out OUT",
    "outpaint": "outpaint --model MODEL --image IN/real/cat/0.png --left 8 --out OUT",
    "reconstruct": "reconstruct --model MODEL IN/real/cat/0.png --out OUT",
    "evaluate": "evaluate --samples IN/real --reference IN/real --extractor EYES --out OUT/a.json",
    "compare": "compare --model TEXT --prompts IN/prompts.txt --scorer SCORER --num-seeds 1 "
    "--resamples 2 --variant a: b:steps=1 --out OUT",
    "sweep": "sweep --model MODEL --recipe IN/sweep.toml --reference IN/real --extractor EYES "
    "--out OUT",
    "tune": "tune --model MODEL --steps 1 --reference IN/real --extractor EYES --budget 1 "
    "--count 8 --final-count 8 --save a --out OUT",
    "bench": "bench --model MODEL --recipe IN/sweep.toml --out OUT",
    "figure": "figure data --data IN/real -n 4 --out OUT/a.png",
    "shrink": "models shrink MODEL --out OUT",
    "convert": "convert MODEL/transformer.safetensors --out OUT",
    "quantize": "quantize --model MODEL --out OUT",
    "train tokenizer": "train tokenizer --recipe IN/tokenizer.toml --data IN/real --out OUT",
    "train masked": "train masked --recipe IN/masked.toml --data IN/real "
    "--tokenizer MODEL/tokenizer.safetensors --out OUT",
}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Recipes, images in a folder for each class, and two networks that measure."""
    root = tmp_path_factory.mktemp("in")
    for name, text in INPUTS.items():
        (root / name).write_text(text)
    random = np.random.default_rng(0)
    for name in CLASS_NAMES:
        (root / "real" / name).mkdir(parents=True)
        for number in range(4):
            pixels = random.integers(0, 256, (16, 16, 3), np.uint8)
            Image.fromarray(pixels).save(root / "real" / name / f"{number}.png")
    torch.manual_seed(0)
    eyes = SmallConv(SmallConvConfig(3, (4, 4), 2, residual=1))
    names = sorted(CLASS_NAMES)
    save_model(root / "eyes.safetensors", eyes, "small_conv", class_names=names, size=16)
    sizes = {"size": 16, "widths": (4, 8, 8), "layout": 4, "pieces": 64, "words": 5}
    scorer = PairScorer(PairScorerConfig(**sizes, text_width=8, features=6))
    save_model(root / "scorer.safetensors", scorer, "pair_scorer")
    return root


@contextmanager
def full_disk() -> Iterator[None]:
    """No file of this process can grow beyond `LIMIT` bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture
def words(
    inputs: Path, model: str, text_model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], list[str]]:
    """The words of a command in `COMMANDS`; its files are under ``tmp_path / "out"``."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    # git, asked for the commit under the limit, would leave the lock of the checkout's index
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "index"))
    places = {
        "EYES": f"cifar10_conv:weights={inputs / 'eyes.safetensors'}",
        "SCORER": f"emoji_pairs:weights={inputs / 'scorer.safetensors'}",
        "MODEL": model,
        "TEXT": text_model,
        "IN": str(inputs),
        "OUT": str(tmp_path / "out"),
    }
    return lambda command: [
        re.sub("|".join(places), lambda found: places[found[0]], word) for word in command.split()
    ]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_says_so_in_one_line(
    command: str, run: Callable, words: Callable, tmp_path: Path
) -> None:
    with full_disk():
        result = run(*words(COMMANDS[command]))
    assert result.exit_code == 2, result.output
    last = result.stderr.splitlines()[-1]
    assert last.startswith(f"Error: {tmp_path / 'out'}"), result.stderr
    assert last.endswith(": File too large"), result.stderr
    assert "Traceback" not in result.output
    found = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert [path for path in found if path.stat().st_size == LIMIT or path.suffix == ".tmp"] == []


@pytest.mark.parametrize("command", ["shrink", "quantize", "convert"])
def test_a_model_is_written_whole_or_not_at_all(
    command: str, run: Callable, words: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, left = files.flush_to_disk, [0]

    def flush(path: Path) -> None:
        left[0] -= 1
        if left[0] == 0:
            raise OSError(28, "No space left on device")
        real(path)

    monkeypatch.setattr(files, "flush_to_disk", flush)
    out = tmp_path / "out"
    for count in range(1, 20):
        left[0] = count
        result = run(*words(COMMANDS[command]))
        if result.exit_code == 0:
            break
        assert result.stderr.splitlines()[-1] == f"Error: {out}: No space left on device"
        assert list(out.iterdir()) == []
    assert count > 1
    assert list(out.glob("*.safetensors"))


def test_images_that_were_complete_stay(run: Callable, words: Callable, tmp_path: Path) -> None:
    command = words(COMMANDS["generate"] + " -n 2")
    assert run(*command).exit_code == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    (tmp_path / "out" / "000001.png").unlink()
    with full_disk():
        assert run(*command).exit_code == 2
    after = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert after.items() <= before.items()
    assert "000000.png" in after
    assert run(*command).exit_code == 0
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before


SLOW = """
import signal, sys, time
from pathlib import Path
from demask import cli, files

signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in background jobs

@cli.demask.command("slow")
def slow():
    def write(temporary):
        temporary.write_text("half")
        print("writing", flush=True)
        time.sleep(60)
    files.write_atomically(Path(WHERE), write)

sys.argv[1:] = ["slow"]
cli.main()
"""


@pytest.mark.skipif(os.name != "posix", reason="signals and locks of POSIX")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_an_ended_run_leaves_nothing(number: signal.Signals, tmp_path: Path) -> None:
    """What SIGKILL leaves, the next write into the folder removes."""
    code = SLOW.replace("WHERE", repr(str(tmp_path / "file.txt")))
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process, process.stdout:
        assert process.stdout.readline() == "writing\n"
        assert len(list(tmp_path.iterdir())) == 1
        files.write_text(tmp_path / "other.txt", "")  # while it is written
        assert len(list(tmp_path.iterdir())) == 2
        process.send_signal(number)
        killed = number == signal.SIGKILL
        assert process.wait(20) == (-9 if killed else 128 + number)
    assert len(list(tmp_path.iterdir())) == 1 + killed
    (tmp_path / ".demask-notes.tmp").write_text("not ours")
    files.remove_stale.cache_clear()  # as the next run
    files.write_text(tmp_path / "other.txt", "")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".demask-notes.tmp", "other.txt"]
