"""Generators of golden cases whose files do not say all of their sizes.

A copy of the weights gets a ``config.json`` with what `case.json` says.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import demask

TOKENIZERS = {
    "halton": "llamagen_vq/vq_ds16_c2i.pt",
    "halton_uneven_heads": "llamagen_vq/vq_ds16_c2i.pt",
    "maskgit_v1": "taming_vqgan/last.ckpt",
}
"""The tokenizer of each class-conditional case, in the folder of golden cases."""


def with_sizes(case: Path, folder: Path) -> Path:
    """Copy a case's weights, with what their tensors do not say; returns the file."""
    told = json.loads((case / "case.json").read_text())
    (file,) = case.glob("*.pth")
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(file, folder)
    facts = {"heads": told["heads"], "codebook_size": told["mask_id"]}
    (folder / "config.json").write_text(json.dumps(facts))
    return folder / file.name


def class_generator(golden: Path, name: str, folder: Path) -> demask.Generator:
    """The generator of a class-conditional case."""
    file = with_sizes(golden / name, folder)
    return demask.load(file, str(golden / TOKENIZERS[name]), device="cpu")


def monetico(golden: Path, folder: Path) -> Path:
    """A folder in Monetico's layout: Meissonic's, with a transformer without compression."""
    shutil.copytree(golden / "meissonic", folder)
    shutil.rmtree(folder / "transformer")
    shutil.copytree(golden / "meissonic_512" / "transformer", folder / "transformer")
    return folder
