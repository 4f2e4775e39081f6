"""A file or a folder is complete, or it is not there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
import torch
from torch import nn

import demask
from demask.files import folder_written_atomically, write_atomically, write_text
from demask.fingerprint import file_fingerprint, fingerprint, weights_fingerprint


def fail(path: Path) -> None:
    path.write_text("half")
    raise OSError("the disk is full")


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file.txt"
    write_text(path, "old ü")
    with pytest.raises(OSError, match="disk is full"):
        write_atomically(path, fail)
    assert path.read_bytes() == "old ü".encode()
    assert list(path.parent.iterdir()) == [path]


def test_a_folder_appears_when_it_is_complete(tmp_path: Path) -> None:
    folder = tmp_path / "outer" / "folder"
    with folder_written_atomically(folder) as work:
        (work / "inner").mkdir()
        (work / "inner" / "a").write_text("1")
        assert not folder.exists()
    assert (folder / "inner" / "a").read_text() == "1"
    assert list(folder.parent.iterdir()) == [folder]


def test_a_folder_that_fails_leaves_nothing(tmp_path: Path) -> None:
    full = pytest.raises(OSError, match="disk is full")
    with full, folder_written_atomically(tmp_path / "folder") as work:
        fail(work / "a")
    assert list(tmp_path.iterdir()) == []


def test_the_folder_of_a_faster_process_stays(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    with folder_written_atomically(folder) as work:
        (work / "a").write_text("mine")
        folder.mkdir()
        (folder / "a").write_text("theirs")
    assert (folder / "a").read_text() == "theirs"
    assert list(tmp_path.iterdir()) == [folder]


def test_stored_fingerprints_stay_valid(tmp_path: Path) -> None:
    """Caches, checkpoints and result files have these values in them."""
    (tmp_path / "a").write_bytes(b"abc")
    module = nn.Linear(2, 1)
    with torch.no_grad():
        module.weight.copy_(torch.tensor([[1.0, 2.0]]))
        module.bias.fill_(3)
    assert fingerprint("a", 1, ("b", 2)) == "6bfc6de4334c6e5b"
    assert file_fingerprint("a", 1, files=[tmp_path / "a"]) == "f47f88da743dad9f"
    assert weights_fingerprint(module) == "f0484968d5c61909"
    assert weights_fingerprint(module.bfloat16()) == "f0484968d5c61909"
    assert fingerprint("ab", "c") != fingerprint("a", "bc")


WRITERS = {"copyfile", "copytree", "open_memmap", "save", "save_file", "savefig", "save_pretrained"}
WRITERS |= {"write_bytes", "write_text", "ZipFile", "open", "fdopen", "NamedTemporaryFile"}
OWN = {"write_text", "save", "self.save", "checkpoints.save", "text.tokenizer.save"}
"""Functions of ours that end in `demask.files`."""
MODE = re.compile(r"[rbt]*[wax+][wbt+]*")


def writes_elsewhere(call: ast.Call) -> bool:
    """Whether a call may write a file, by its name and its mode, and not at a temporary path."""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    if name not in WRITERS or (function := ast.unparse(call.func)) in OWN:
        return False
    if name in ("open", "ZipFile"):
        texts = [getattr(node, "value", None) for node in (*call.args, *call.keywords)]
        texts = [getattr(text, "value", text) for text in texts]
        if not any(isinstance(text, str) and MODE.fullmatch(text) for text in texts):
            return False
    known = {"temporary", "buffer", "file", "archive"}  # the last two: opened by another call
    given = {node.id for node in call.args if isinstance(node, ast.Name)}
    return not (given & known or function.rpartition(".")[0] in known)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("path.open('wb')", True),
        ("open(path, mode='a')", True),
        ("shutil.copyfile(source, path)", True),
        ("torch.save(state, path)", True),
        ("path.write_text('a')", True),
        ("path.open('rb')", False),
        ("temporary.open('wb')", False),
        ("image.save(buffer, 'PNG')", False),
    ],
)
def test_calls_that_write_are_known(code: str, expected: bool) -> None:
    assert writes_elsewhere(ast.parse(code, mode="eval").body) == expected


def test_no_other_place_writes_a_file() -> None:
    """Each call that writes does so at a ``temporary`` path, or into a ``buffer`` in memory."""
    found = [
        f"{path.name}:{node.lineno} {ast.unparse(node)[:80]}"
        for path in Path(demask.__file__).parent.rglob("*.py")
        if path.name != "files.py"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and writes_elsewhere(node)
    ]
    assert found == []
