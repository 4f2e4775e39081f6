"""The check of links, on small Markdown files."""

from __future__ import annotations

from pathlib import Path

import pytest
from links import complaints

PAGE = """# Some `title`, twice

[other](docs/other.md) and [its part](docs/other.md#a-part-of-it-1), [here](#some-title-twice)
[elsewhere](https://example.org/nothing#here), ![image](docs/an%20image.png "An image")
`[code](nowhere.md)`

```sh
[block](nowhere.md)
```
"""


@pytest.fixture
def pages(tmp_path: Path) -> list[Path]:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "an image.png").write_bytes(b"")
    other = tmp_path / "docs" / "other.md"
    other.write_text(
        "## A part of it\n## A part of it\n```\n## no heading\n```\n[up](../page.md)\n"
    )
    (tmp_path / "page.md").write_text(PAGE)
    return [tmp_path / "page.md", other]


def test_links_that_lead_somewhere(pages: list[Path]) -> None:
    assert complaints(pages) == []


@pytest.mark.parametrize(
    ("link", "message"),
    [
        ("[a](docs/othr.md)", "there is no docs/othr.md"),
        ("![a](docs/image.png)", "there is no docs/image.png"),
        ("[a](docs/other.md#no-heading)", "docs/other.md has no heading #no-heading"),
        ("[a](#another-title)", "page.md has no heading #another-title"),
    ],
)
def test_a_link_that_leads_nowhere(pages: list[Path], link: str, message: str) -> None:
    pages[0].write_text(f"{PAGE}\n{link}\n")
    assert complaints(pages) == [f"{pages[0]}: {message}"]


def test_a_template_links_from_another_place(pages: list[Path]) -> None:
    template = pages[0].with_name("page.template.md")
    template.write_text("[a](../nowhere.md)")
    assert complaints([template]) == []
