"""Check the links of the Markdown files: `python .ci/links.py`.

A relative link has to name a file or folder of the repository, and its anchor a heading of that
file. Links to other hosts are not followed.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from urllib.parse import unquote

from tree import tracked

LINK = re.compile(r"\]\(<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\)")
CODE = re.compile(r"^(```|~~~).*?^\1\s*$|`[^`\n]*`", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^#{1,6}\s+(.*?)\s*#*$", re.MULTILINE)


@cache
def anchors(path: Path) -> frozenset[str]:
    """The anchors that the headings of a Markdown file have on GitHub."""
    text = re.sub(r"^(```|~~~).*?^\1\s*$", "", path.read_text(encoding="utf-8"), flags=re.M | re.S)
    found: dict[str, int] = {}
    names = set()
    for heading in HEADING.findall(text):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        name = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        names.add(name if name not in found else f"{name}-{found[name]}")
        found[name] = found.get(name, 0) + 1
    return frozenset(names)


def broken(path: Path) -> Iterator[str]:
    """One line for each link of a Markdown file that leads nowhere."""
    for target in LINK.findall(CODE.sub("", path.read_text(encoding="utf-8"))):
        if re.match(r"[a-z][a-z0-9+.-]*:", target):
            continue
        place, _, anchor = unquote(target).partition("#")
        there = path.parent / place if place else path
        if not there.exists():
            yield f"{path}: there is no {place}"
        elif anchor and there.suffix == ".md" and anchor not in anchors(there):
            yield f"{path}: {place or path.name} has no heading #{anchor}"


def complaints(paths: Iterable[Path]) -> list[str]:
    """The broken links of all Markdown files; templates link from the place of their page."""
    pages = [path for path in paths if path.suffix == ".md" and ".template" not in path.name]
    return [line for path in pages for line in broken(path)]


def main() -> int:
    """Print the broken links; the exit code says whether there are any."""
    lines = complaints(tracked())
    print("\n".join(lines or ["The links of the Markdown files lead somewhere."]))
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
