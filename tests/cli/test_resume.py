"""`demask generate` that is stopped and run again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from demask.bulk import generate
from demask.data import open_images
from demask.data.web_shards import scan
from demask.files import lock, unlock
from demask.image import GeneratedImage
from demask.measuring.samples import read_samples

KINDS = ["png", "npz", "tar", "parquet"]


def command(
    model: str, out: Path, kind: str, batch: int = 3, count: int = 11, seed: int = 5
) -> list[str]:
    words = f"generate -n {count} --steps 2 --seed {seed} --shard-size 4 --format {kind}".split()
    return [*words, "--model", model, "--batch-size", str(batch), "--out", str(out)]


def place(folder: Path, kind: str) -> Path:
    return folder / ("x.npz" if kind == "npz" else "x")


def contents(out: Path) -> dict[str, bytes]:
    """The bytes of all files of a run, also of temporary ones."""
    files = [out] if out.is_file() else [path for path in out.rglob("*") if path.is_file()]
    return {path.name: path.read_bytes() for path in files}


@pytest.fixture
def stop_after(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], list[int]]:
    """Press Ctrl-C after some images; the list gets the seeds that were generated."""
    generated = generate.generate_jobs

    def setup(most: int) -> list[int]:
        seeds: list[int] = []

        def interrupted(*arguments: Any) -> Iterator[GeneratedImage]:
            for image in islice(generated(*arguments), most):
                seeds.append(image.seed)
                yield image
            if len(seeds) == most:
                raise KeyboardInterrupt

        monkeypatch.setattr(generate, "generate_jobs", interrupted)
        return seeds

    return setup


@pytest.mark.parametrize(("kind", "kept"), zip(KINDS, (6, 4, 4, 4), strict=True))
def test_ctrl_c_and_again(
    kind: str, kept: int, run: Callable, model: str, tmp_path: Path, stop_after: Callable
) -> None:
    out, whole = place(tmp_path / "stopped", kind), place(tmp_path / "whole", kind)
    assert run(*command(model, whole, kind, batch=5)).exit_code == 0
    stop_after(6)
    result = run(*command(model, out, kind))
    said = f"stopped, {kept} of 11 images in {out}; run the same command to go on\n"
    assert (result.exit_code, result.stderr) == (130, said)
    seeds = stop_after(99)
    result = run(*command(model, out, kind, batch=2))
    assert (result.exit_code, result.stdout) == (0, f"11 images in {out}\n"), result.stderr
    assert seeds == list(range(5 + kept, 16))
    assert contents(out) == contents(whole)
    assert [path.name for path in out.parent.iterdir()] == [out.name]
    seeds = stop_after(99)
    assert run(*command(model, out, kind)).exit_code == 0
    assert seeds == []


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize(
    ("number", "kind"), [(signal.SIGKILL, "tar"), (signal.SIGINT, "png"), (signal.SIGKILL, "npz")]
)
def test_a_stopped_process(
    number: signal.Signals, kind: str, run: Callable, model: str, tmp_path: Path
) -> None:
    out, whole = place(tmp_path / "stopped", kind), place(tmp_path / "whole", kind)
    folder = out.with_name("x.npz.parts") if kind == "npz" else out
    words = command(model, out, kind, batch=1, count=120)
    child = subprocess.Popen(
        [sys.executable, "-m", "demask", *words], stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 90
    while len(list(folder.glob(f"*.{kind}"))) < 2 or not list(folder.glob(".demask-*.tmp")):
        assert time.monotonic() < deadline
        assert child.poll() is None
        time.sleep(0.001)
    os.kill(child.pid, number)
    said = child.communicate()[1]
    done = len(list(folder.glob(f"0*.{kind}")))
    assert 2 <= done < (120 if kind == "png" else 30)
    if number == signal.SIGINT:
        assert said.endswith(
            f"stopped, {done} of 120 images in {out}; run the same command to go on\n"
        )
        assert child.returncode == 130
    else:
        assert list(folder.glob(".demask-*.tmp"))  # half-written
    assert run(*command(model, out, kind, batch=16, count=120)).exit_code == 0
    assert run(*command(model, whole, kind, batch=7, count=120)).exit_code == 0
    assert contents(out) == contents(whole)


@pytest.mark.parametrize("kind", KINDS)
def test_other_settings_are_refused(
    kind: str, run: Callable, refused: Callable, model: str, tmp_path: Path, stop_after: Callable
) -> None:
    out, whole = place(tmp_path / "a", kind), place(tmp_path / "b", kind)
    stop_after(9)
    assert run(*command(model, out, kind)).exit_code == 130
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    stop_after(99)
    for change, said in (
        (["--steps", 3], "holds a run with steps 2, not 3"),
        (["-n", 12], "holds a run with images 11, not 12"),
        (["--class", "cat"], "holds a run with prompts dog, cat, ship, not cat"),
    ):
        assert said in refused(*command(model, out, kind), *change)
    assert "holds a run with seeds 5, 6, " in refused(*command(model, out, kind, seed=6))
    after = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert after == before
    changed = ["--steps", 3, "-n", 5, "--overwrite"]
    assert run(*command(model, out, kind), *changed).exit_code == 0
    assert run(*command(model, whole, kind), *changed).exit_code == 0
    assert contents(out) == contents(whole)
    assert "--overwrite" in refused(*command(model, out, kind))  # the complete run as well


def test_other_weights_are_refused(refused: Callable, run: Callable, tmp_path: Path) -> None:
    from tiny import save_tiny

    folder = save_tiny(tmp_path / "model")
    words = command(str(folder), tmp_path / "x", "png")
    assert run(*words).exit_code == 0
    file = next(folder.rglob("*.safetensors"))
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    assert "holds a run with weights" in refused(*words)


def test_images_of_unknown_settings_are_refused(
    run: Callable, refused: Callable, model: str, tmp_path: Path
) -> None:
    """Such as those of an earlier version; others that are in the folder stay."""
    (tmp_path / "000005.png").write_text("old")
    (tmp_path / "999999.png").write_text("mine")
    words = command(model, tmp_path, "png")
    assert "holds 1 such files and no run.json" in refused(*words)
    assert run(*words, "--overwrite").exit_code == 0
    assert GeneratedImage.read(tmp_path / "000005.png").seed == 5
    assert (tmp_path / "999999.png").read_text() == "mine"


def test_one_process_at_a_time(refused: Callable, model: str, tmp_path: Path) -> None:
    held = lock(tmp_path)
    try:
        assert "another process writes into" in refused(*command(model, tmp_path, "tar"))
    finally:
        unlock(held)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", KINDS)
def test_each_format_is_read_back(kind: str, run: Callable, model: str, tmp_path: Path) -> None:
    out, plain = place(tmp_path / "a", kind), tmp_path / "plain"
    assert run(*command(model, out, kind)).exit_code == 0
    assert run(*command(model, plain, "png")).exit_code == 0
    wanted = [GeneratedImage.read(plain / f"{seed:06}.png") for seed in range(5, 16)]
    pixels = np.concatenate([images.numpy() for images, _ in read_samples(out).batches()])
    np.testing.assert_array_equal(pixels, np.stack([np.array(image.image) for image in wanted]))
    if kind not in ("tar", "parquet"):
        return
    images = open_images(out, strict=True)
    assert [images[i].captions for i in range(11)] == [(image.prompt,) for image in wanted]
    assert images.class_names == ("cat", "dog", "ship")
    names = [images.class_names[label] for label in images.labels]
    assert names == [image.prompt for image in wanted]
    if kind == "tar":
        assert len({sample.key for tar in out.glob("*.tar") for sample in scan(tar)}) == 11


def test_prompts_with_one_seed_each(run: Callable, text_model: str, tmp_path: Path) -> None:
    words = ["generate", "a", "b", "--seed", 3, "--seed", 3, "--model", text_model, "--steps", 1]
    for kind in ("png", "parquet"):
        assert run(*words, "--format", kind, "--out", tmp_path / kind).exit_code == 0
    assert GeneratedImage.read(tmp_path / "png" / "000003-2.png").prompt == "b"
    images = open_images(tmp_path / "parquet", strict=True)
    assert [images[i].captions for i in range(2)] == [("a",), ("b",)]


def test_trace_needs_images_that_are_left(
    run: Callable, refused: Callable, model: str, tmp_path: Path
) -> None:
    words = command(model, tmp_path / "x", "png")
    assert run(*words).exit_code == 0
    assert "none was left for --trace" in refused(*words, "--trace")
