"""Many images in one file, as training and evaluation read them: tar and parquet.

Both hold PNG bytes with all metadata; see `demask.data.web_shards` and `demask.data.parquet`.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

from demask.data.parquet import import_pyarrow
from demask.files import write_atomically
from demask.image import GeneratedImage

ROW_GROUP = 64
"""Images of a row group, the unit that is in memory."""
FEATURES = {
    "image": {"_type": "Image"},
    "caption": {"dtype": "string", "_type": "Value"},
    "label": {"dtype": "string", "_type": "Value"},
    "seed": {"dtype": "int64", "_type": "Value"},
    "settings": {"dtype": "string", "_type": "Value"},
}
"""The columns, as Hugging Face's ``datasets`` reads them from the schema."""


def write_tar(path: Path, images: Iterable[GeneratedImage], count: int) -> None:
    """Write ``000000.png``, ``000000.txt``, ``000000.json`` and so on, as WebDataset reads them.

    The text is the prompt in one line; the JSON object holds `facts` of the image.

    Args:
        path: the file, replaced if it exists; the keys begin with its name.
        images: at least ``count``; they are read and written one by one.
        count: the number of images in the file.

    Raises:
        OSError: the disk is full or the folder is not writable; no partial file is left.
    """

    def write(temporary: Path) -> None:
        written = 0
        with tarfile.open(temporary, "w") as tar:
            for written, image in enumerate(islice(images, count), 1):
                key = f"{path.stem}-{written - 1:06}"
                add(tar, f"{key}.png", image._repr_png_())
                add(tar, f"{key}.txt", " ".join(image.prompt.split()).encode())
                add(tar, f"{key}.json", json.dumps(facts(image)).encode())
        assert written == count

    write_atomically(path, write)


def add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    """Append a member; its time is 0, so that the same images make the same file."""
    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))


def facts(image: GeneratedImage) -> dict[str, Any]:
    """The prompt as ``caption``, the class name as ``label``, the seed, the model, the settings."""
    label = {"label": image.prompt} if image.label >= 0 else {}
    model = image.model.encode(errors="backslashreplace").decode()
    about = {"seed": image.seed, "model": model, "settings": asdict(image.settings)}
    return {"caption": image.prompt, **label, **about}


def write_parquet(path: Path, images: Iterable[GeneratedImage], count: int) -> None:
    """Write the columns ``image{bytes, path}``, ``caption``, ``label``, ``seed``, ``settings``.

    ``label`` is the class name, null for a model of prompts; ``settings`` is JSON.

    Args:
        path: the file, replaced if it exists.
        images: at least ``count``; a row group of 64 is in memory.
        count: the number of rows.

    Raises:
        ValueError: pyarrow is missing.
        OSError: the disk is full or the folder is not writable; no partial file is left.
    """
    pa, pq = import_pyarrow()
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    kinds = {"image": image, "seed": pa.int64()}
    about = json.dumps({"info": {"features": FEATURES}})
    schema = pa.schema(
        [(name, kinds.get(name, pa.string())) for name in FEATURES], {"huggingface": about}
    )

    def write(temporary: Path) -> None:
        written = 0
        with pq.ParquetWriter(temporary, schema, compression="none") as file:
            stream = rows(path, islice(images, count))
            while group := list(islice(stream, ROW_GROUP)):
                file.write_table(pa.Table.from_pylist(group, schema))
                written += len(group)
        assert written == count

    write_atomically(path, write)


def rows(path: Path, images: Iterable[GeneratedImage]) -> Iterator[dict[str, Any]]:
    """The rows of a parquet file."""
    for number, image in enumerate(images):
        about = facts(image)
        name = f"{path.stem}-{number:06}.png"
        yield {
            "image": {"bytes": image._repr_png_(), "path": name},
            "caption": image.prompt,
            "label": about.get("label"),
            "seed": image.seed,
            "settings": json.dumps(about["settings"]),
        }
