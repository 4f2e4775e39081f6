"""The folder of PNGs."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from demask.bulk.background import MOST_WAITING
from demask.bulk.contact_sheet import CaptionedImage
from demask.bulk.folder import MOST_TILES, SHEET, write_folder, write_png
from demask.generator import GeneratedImage


def test_one_png_each_and_a_sheet(results: Callable, tmp_path: Path) -> None:
    assert write_folder(tmp_path / "out", results(3)) == 3
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["000000.png", "000001.png", "000002.png", "contact_sheet.png"]
    with Image.open(tmp_path / "out" / "000002.png") as image:
        assert image.getpixel((0, 0)) == (2, 0, 0)
        assert image.text["seed"] == "2"


def test_images_of_one_seed_keep_apart(results: Callable, tmp_path: Path) -> None:
    """Several prompts may share a seed."""
    twins = [replace(result, seed=4) for result in results(3)]
    assert write_folder(tmp_path, [*twins, replace(twins[0], seed=5)]) == 4
    names = sorted(path.name for path in tmp_path.glob("0*.png"))
    assert names == ["000004-2.png", "000004-3.png", "000004.png", "000005.png"]
    for number, name in enumerate(("000004.png", "000004-2.png", "000004-3.png")):
        with Image.open(tmp_path / name) as image:
            assert image.getpixel((0, 0)) == (number, 0, 0)


def test_the_sheet_may_open_with_other_tiles(results: Callable, tmp_path: Path) -> None:
    write_folder(tmp_path, results(1), [CaptionedImage(Image.new("RGB", (6, 4), (0, 255, 0)))])
    with Image.open(tmp_path / "contact_sheet.png") as sheet:
        assert sheet.getpixel((10, 10)) == (0, 255, 0)
        assert sheet.getpixel((sheet.width - 10, 10)) == (0, 0, 0)


def test_a_rerun_counts_the_images_of_the_earlier_run(
    results: Callable, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_folder(tmp_path, [replace(image, seed=image.seed + 1) for image in results(3)])
    assert not caplog.messages
    write_folder(tmp_path, results(2))
    assert caplog.messages == [f"{tmp_path}: images of an earlier run: 1 replaced, 2 left"]


def test_nothing_to_write_makes_no_folder(results: Callable, tmp_path: Path) -> None:
    assert write_folder(tmp_path / "out", results(0)) == 0
    assert not (tmp_path / "out").exists()


def test_memory_does_not_grow_with_the_count(results: Callable, tmp_path: Path) -> None:
    alive = most = 0

    def let_go() -> None:
        nonlocal alive
        alive -= 1

    def watched() -> Iterator[GeneratedImage]:
        nonlocal alive, most
        for result in results(MOST_TILES + MOST_WAITING + 40):
            alive += 1
            weakref.finalize(result.image, let_go)
            most = max(most, alive)
            yield result

    write_folder(tmp_path, watched())
    assert most <= MOST_TILES + MOST_WAITING + 3


def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(self: Image.Image, path: Path, *rest: object, **more: object) -> None:
        Path(path).write_bytes(b"half")
        raise OSError("the disk is full")

    path = tmp_path / "x.png"
    path.write_text("old")
    monkeypatch.setattr(Image.Image, "save", failing)
    with pytest.raises(OSError, match="full"):
        write_png(path, Image.new("RGB", (2, 2)))
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_text() == "old"


def test_after_an_interruption_the_sheet_shows_what_was_written(
    results: Callable, tmp_path: Path
) -> None:
    write_folder(tmp_path, results(6))
    before = (tmp_path / SHEET).read_bytes()
    for path in tmp_path.glob("0*.png"):
        path.unlink()

    def interrupted() -> Iterator[GeneratedImage]:
        yield from results(2)
        assert not (tmp_path / SHEET).exists()  # it showed other images
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_folder(tmp_path, interrupted())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["000000.png", "000001.png", SHEET]
    assert (tmp_path / SHEET).read_bytes() != before
