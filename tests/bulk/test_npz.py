"""The file that evaluators read."""

from __future__ import annotations

import weakref
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from demask.bulk.npz import write_npz
from demask.generator import GeneratedImage


def test_numpy_reads_it(results: Callable, tmp_path: Path) -> None:
    path = tmp_path / "new" / "x.npz"
    write_npz(path, results(5), 5)
    with np.load(path) as data:
        assert sorted(data) == ["arr_0", "arr_1"]
        assert (data["arr_0"].shape, data["arr_0"].dtype) == ((5, 4, 6, 3), np.uint8)
        assert (data["arr_1"].tolist(), data["arr_1"].dtype) == ([0, 1, 2, 0, 1], np.int64)
        assert data["arr_0"][:, 0, 0, 0].tolist() == [0, 1, 2, 3, 4]
    assert list(path.parent.iterdir()) == [path]
    assert zipfile.ZipFile(path).testzip() is None


def test_it_takes_no_more_than_asked_for(results: Callable, tmp_path: Path) -> None:
    stream = results(5)
    write_npz(tmp_path / "x.npz", stream, 3)
    assert next(stream).seed == 3


def test_images_are_let_go_as_they_are_written(results: Callable, tmp_path: Path) -> None:
    alive = most = 0

    def let_go() -> None:
        nonlocal alive
        alive -= 1

    def watched() -> Iterator[GeneratedImage]:
        nonlocal alive, most
        for result in results(100):
            alive += 1
            weakref.finalize(result.image, let_go)
            most = max(most, alive)
            yield result

    write_npz(tmp_path / "x.npz", watched(), 100)
    assert most <= 3


def test_an_error_on_the_way_leaves_the_old_file(results: Callable, tmp_path: Path) -> None:
    def failing() -> Iterator[GeneratedImage]:
        yield from results(2)
        raise OSError("the disk is full")

    path = tmp_path / "x.npz"
    path.write_text("old")
    with pytest.raises(OSError, match="full"):
        write_npz(path, failing(), 5)
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_text() == "old"
