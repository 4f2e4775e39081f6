"""Write the data with smaller images: `python recipes/gpu/gpu_pack.py DATA OUT`.

Each image in the parquet files of the plan is written as lossless WebP where that is smaller, with
the same pixels; everything else is unchanged. Drawings take about 60 % of their size as PNG.
"""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "src")]

import pyarrow as pa  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402
from gpu_plan import read_plan  # noqa: E402
from PIL import Image  # noqa: E402

from demask.data.parquet import image_column  # noqa: E402
from demask.files import write_atomically  # noqa: E402

ROWS = 500
"""Rows that are read in one go."""


def smaller(data: bytes) -> bytes:
    """An image as lossless WebP with the same pixels; unchanged if that is not smaller."""
    with Image.open(io.BytesIO(data)) as image:
        if image.format == "JPEG" or image.mode not in ("RGB", "RGBA"):
            return data
        file = io.BytesIO()
        image.save(file, "WEBP", lossless=True, method=4, quality=80, exact=True)
    return min(file.getvalue(), data, key=len)


def packed(cell: Any) -> Any:
    """A cell of an image column with its image smaller."""
    if isinstance(cell, dict):
        return cell | {"bytes": smaller(cell["bytes"])} if cell.get("bytes") else cell
    return smaller(cell) if cell else cell


def tables(source: pq.ParquetFile, column: str) -> Iterator[pa.Table]:
    """The parts of a file with their images smaller."""
    place = source.schema_arrow.names.index(column)
    with ThreadPoolExecutor() as writers:
        for batch in source.iter_batches(ROWS):
            table = pa.Table.from_batches([batch])
            cells = list(writers.map(packed, table.column(column).to_pylist()))
            kind = table.schema.field(column)
            yield table.set_column(place, kind, pa.array(cells, kind.type))


def pack(source: Path, target: Path) -> None:
    """Write a parquet file smaller."""
    with pq.ParquetFile(source) as file:
        column = image_column(str(source), file.schema_arrow.names)

        def write(temporary: Path) -> None:
            with pq.ParquetWriter(temporary, file.schema_arrow, compression="zstd") as writer:
                for table in tables(file, column):
                    writer.write_table(table)

        write_atomically(target, write)
    sizes = [path.stat().st_size / 1e6 for path in (source, target)]
    print(f"{target}: {sizes[1]:.1f} MB of {sizes[0]:.1f} MB", flush=True)


def main() -> None:
    """Write each file of the plan that is there."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path, help="folder of the data")
    parser.add_argument("out", type=Path, help="folder of the smaller data")
    parser.add_argument("--plan", type=Path, default=HERE / "plan.toml")
    given = parser.parse_args()
    if given.data.resolve() == given.out.resolve():
        parser.error("name another folder than that of the data")
    files = read_plan(given.plan, {}).files
    there = [name for name in files if (given.data / name).is_file()]
    if not there:
        parser.error(f"{given.data} holds none of {', '.join(files)}")
    for name in there:
        pack(given.data / name, given.out / name)


if __name__ == "__main__":
    main()
