"""Data written smaller: the same pixels and columns."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from gpu_pack import pack
from PIL import Image, ImageDraw

SCRIPT = Path(__file__).resolve().parents[2] / "recipes" / "gpu" / "gpu_pack.py"


def encoded(form, mode="RGBA"):
    """A drawing: a smooth disc on a background that is transparent but not black."""
    image = Image.new(mode, (512, 512), (200, 30, 90, 0)[: len(mode)])
    pen = ImageDraw.Draw(image)
    for radius in range(240, 20, -2):
        box = (256 - radius, 256 - radius, 256 + radius, 256 + radius)
        pen.ellipse(box, fill=(radius, 255 - radius, 40, 255)[: len(mode)])
    file = io.BytesIO()
    image.resize((128, 128), Image.Resampling.LANCZOS).save(file, form)
    return file.getvalue()


def test_a_packed_file_has_the_same_pixels_and_columns(tmp_path):
    cells = [encoded("PNG"), encoded("PNG", "RGB"), encoded("JPEG", "RGB"), None]
    table = pa.table(
        {
            "text": ["a", "b", "c", "d"],
            "image": [{"bytes": cell, "path": str(n)} for n, cell in enumerate(cells)],
            "aliases": [["x"], [], ["y", "z"], []],
        }
    )
    pq.write_table(table, tmp_path / "all.parquet")
    pack(tmp_path / "all.parquet", tmp_path / "new" / "all.parquet")
    made = pq.read_table(tmp_path / "new" / "all.parquet")
    assert made.schema.equals(table.schema)
    for name in ("text", "aliases"):
        assert made.column(name).to_pylist() == table.column(name).to_pylist()
    now = [cell["bytes"] for cell in made.column("image").to_pylist()]
    assert now[2:] == cells[2:]
    for before, after in zip(cells[:2], now[:2], strict=True):
        assert len(after) < len(before)
        images = [Image.open(io.BytesIO(data)) for data in (before, after)]
        assert images[1].format == "WEBP"
        assert np.array_equal(np.asarray(images[0]), np.asarray(images[1]))


def test_a_folder_without_the_data_is_refused(tmp_path):
    words = [sys.executable, SCRIPT, tmp_path, tmp_path / "out"]
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True)
    assert done.returncode == 2
    assert "holds none of cifar10/test.parquet" in done.stderr
