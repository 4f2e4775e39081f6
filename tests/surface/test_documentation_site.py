"""The documentation site: its navigation, its reference, its links, and what its pages may load.

`make docs` builds it with warnings as errors.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import documentation_site as site
import pytest
import yaml

import demask
from demask.cli import demask as program
from demask.sampling.select import ORDERS

ROOT = Path(__file__).parents[2]
CONFIG = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
DOCS = ROOT / CONFIG["docs_dir"]


def leaves(entry: Any) -> Iterator[str]:
    """The pages of a part of the navigation."""
    if isinstance(entry, str):
        yield entry
    else:
        for inner in entry.values() if isinstance(entry, dict) else entry:
            yield from leaves(inner)


def test_the_navigation_names_every_page_once() -> None:
    written = {page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md")}
    generated = {*site.MOVED.values(), *site.reference()}
    assert sorted(leaves(CONFIG["nav"])) == sorted(written | generated)


def test_the_reference_has_every_public_name() -> None:
    page = site.reference()["reference/python.md"]
    described = {line[len("::: demask.") :] for line in page.splitlines() if ":::" in line}
    assert described == set(demask.__all__)


def test_the_reference_has_every_setting_and_its_names() -> None:
    lines = site.reference()["reference/settings.md"].splitlines()
    rows = {line.split("`")[1]: line for line in lines if line.startswith("| `")}
    assert list(rows) == [field.name for field in fields(demask.Settings)]
    assert all(f"`{name}`" in rows["order"] for name in ORDERS)
    assert "a whole number of at least 1" in rows["steps"]


def test_the_reference_has_every_command_and_its_options() -> None:
    page = site.reference()["reference/commands.md"]
    for name, command in program.commands.items():
        assert f"\n### demask {name}\n" in page
        for inner in getattr(command, "commands", {}):
            assert f"\n#### demask {name} {inner}\n" in page
    assert "--choice-temperature FLOAT" in page
    assert "[default: emoji]" in page


@pytest.mark.parametrize(
    ("path", "uri", "link", "there"),
    [
        ("README.md", "index.md", "docs/methods/lora.md", "methods/lora.md"),
        ("README.md", "index.md", "docs/methods", "methods/README.md"),
        ("README.md", "index.md", "docs/emoji.png", "emoji.png"),
        ("README.md", "index.md", "CONTRIBUTING.md", "contributing.md"),
        ("docs/gpu.md", "gpu.md", "../CONTRIBUTING.md#numbers", "contributing.md#numbers"),
        ("docs/gpu.md", "gpu.md", "../results/cifar10.json", "source/results/cifar10.json"),
        ("docs/gpu.md", "gpu.md", "../recipes", "source/recipes.md"),
        (
            "docs/methods/zigzag.md",
            "methods/zigzag.md",
            "../../src/demask/settings.py",
            "../source/src/demask/settings.py.md",
        ),
        ("docs/methods/zigzag.md", "methods/zigzag.md", "../numbers.md", "../numbers.md"),
        ("docs/gpu.md", "gpu.md", "#a-heading", "#a-heading"),
        ("docs/gpu.md", "gpu.md", "https://arxiv.org/abs/1", "https://arxiv.org/abs/1"),
    ],
)
def test_links_lead_to_the_site(path: str, uri: str, link: str, there: str) -> None:
    assert site.rewritten(f"a [`b`]({link}) c", path, uri) == f"a [`b`]({there}) c"


def test_links_in_code_stay_as_they_are() -> None:
    text = "`[a](docs/gpu.md)`\n\n```md\n[a](docs/gpu.md)\n```\n"
    assert site.rewritten(text, "README.md", "index.md") == text


def test_a_page_that_loads_from_elsewhere_or_misses_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "there.css").touch()
    page = tmp_path / "page.html"
    page.write_text(
        '<link href="there.css?v=1"><a href="https://arxiv.org">a</a><a href="#top">b</a>'
        '<script src="https://cdn.example/x.js"></script><img src="gone.png">'
    )
    assert list(site.complaints(page)) == [
        "<script> loads https://cdn.example/x.js from another host",
        "there is no gone.png",
    ]
