"""The check of import circles, on small packages."""

from __future__ import annotations

import itertools
from pathlib import Path

import grimp
import pytest
from circles import circles, verdict

FREE = {"__init__": "", "ground": "", "left": "import {0}.ground", "right": "import {0}.left"}
NAMES = (f"package_{number}" for number in itertools.count())


def graph_of(
    folder: Path, monkeypatch: pytest.MonkeyPatch, **sources: str
) -> tuple[str, grimp.ImportGraph]:
    """The graph of a package of these modules, under a name of its own."""
    name = next(NAMES)
    (folder / name).mkdir()
    for module, source in {**FREE, **sources}.items():
        (folder / name / f"{module}.py").write_text(source.format(name))
    monkeypatch.syspath_prepend(folder)
    return name, grimp.build_graph(name, cache_dir=None)


def test_modules_that_import_downwards_are_no_circle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, graph = graph_of(tmp_path, monkeypatch)
    assert circles(graph) == []
    assert verdict(graph, 0) == (["0 import circles with 0 modules; known: 0 modules."], True)


@pytest.mark.parametrize(
    "source",
    [
        "from {0}.right import name",
        "def late():\n    import {0}.right",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from {0} import right",
    ],
)
def test_a_circle_is_found_with_its_lines(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, graph = graph_of(tmp_path, monkeypatch, ground=source)
    assert circles(graph) == [[f"{name}.ground", f"{name}.left", f"{name}.right"]]
    lines, well = verdict(graph, 0)
    assert not well
    assert f"  {name}.left:1: import {name}.ground" in lines
    assert "A module came into a circle" in lines[-1]


def test_a_circle_that_was_cut_lowers_the_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, graph = graph_of(tmp_path, monkeypatch)
    lines, well = verdict(graph, 2)
    assert not well
    assert "set KNOWN to 0" in lines[-1]
