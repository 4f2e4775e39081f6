"""Hooks of mkdocs.yml: the pages that do not stand in docs, and links that work as on GitHub.

A link to a file or folder outside of docs leads to a page below ``source/`` that shows it. A page
that misses something, or that loads something from another host, is a warning, and an error under
``--strict``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields
from html.parser import HTMLParser
from logging import getLogger
from os.path import relpath
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

import click
from links import CODE, LINK
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from pymdownx.slugs import slugify
from tree import tracked

import demask
from demask.cli import demask as program
from demask.setting_info import info_of

ROOT = Path(__file__).resolve().parents[1]
LOG = getLogger(
    "mkdocs.hooks.documentation_site"
)  # below mkdocs, so that --strict counts its warnings
MOVED = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}
"""Pages outside of docs, and where they stand on the site."""

MODULES = {
    "schedules": ("Mask schedules", "demask.sampling.schedule"),
    "orders": ("Selection orders", "demask.sampling.select"),
    "temperatures": ("Temperatures", "demask.sampling.temperature"),
    "guidances": ("Guidances", "demask.guidance"),
    "corrections": ("Corrections", "demask.sampling.correction"),
    "accelerators": ("Accelerators", "demask.acceleration"),
}
"""The pages of the reference that show the public names of a module."""

LANGUAGES = {".md": "md", ".py": "python", ".sh": "sh", ".toml": "toml"}
"""Files that are shown as a page; others are copied."""

HELP_WIDTH = 76
UNSEARCHED = "---\nsearch: {exclude: true}\n---\n"
FOREIGN = {"img", "script", "iframe", "source", "link"}
"""Elements that load what they name."""


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Name the anchors of headings as GitHub does."""
    config.mdx_configs.setdefault("toc", {})["slugify"] = slugify(case="lower")
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that do not stand in docs, and all that a page links to."""
    for path, uri in MOVED.items():
        files.append(File.generated(config, uri, abs_src_path=str(ROOT / path)))
    for uri, text in reference().items():
        files.append(File.generated(config, uri, content=text))
    pages = [repository_path(file) for file in files.documentation_pages()]
    left = [target for path in pages if path for target in targets(path)]
    while left:
        target = left.pop()
        uri = site_uri(target)
        if not uri.startswith("source/") or files.get_file_from_path(uri):
            continue
        if not (ROOT / target).exists():
            continue  # mkdocs warns about the link, and names its page
        file, more = shown(target, uri, config)
        files.append(file)
        left += more
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn the links of a page of the repository into links of the site."""
    path = repository_path(page.file)
    return rewritten(markdown, path, page.file.src_uri) if path else markdown


def on_post_build(config: MkDocsConfig) -> None:
    """Warn about each page that names a missing file or loads something from another host."""
    site = Path(config.site_dir)
    for page in sorted(site.rglob("*.html")):
        if page.name != "404.html":  # its addresses depend on the server
            for complaint in complaints(page):
                LOG.warning("%s: %s", page.relative_to(site), complaint)


def reference() -> dict[str, str]:
    """The pages of the reference: the names of `demask`, of its tables, and the commands."""
    names = sorted(demask.__all__, key=str.lower)
    pages = {"reference/python.md": "# Python\n" + "".join(map(name_section, names))}
    pages["reference/settings.md"] = "# Settings\n\n" + settings_table()
    for page, (title, module) in MODULES.items():
        options = "    options: {show_root_heading: false, show_root_toc_entry: false}\n"
        pages[f"reference/{page}.md"] = f"# {title}\n\n::: {module}\n{options}"
    sections = "".join(
        help_sections(
            program, click.Context(program, info_name=program.name, terminal_width=HELP_WIDTH)
        )
    )
    pages["reference/commands.md"] = f"# Command line\n{sections}"
    return pages


def name_section(name: str) -> str:
    """The section of a public name; the signature of `Settings` is how its fields are declared."""
    if name == "Settings":
        options = "    options: {show_signature: false}\n"
        return f"\n::: demask.{name}\n{options}\nIts fields: [Settings](settings.md).\n"
    return f"\n::: demask.{name}\n"


def settings_table() -> str:
    """The fields of `Settings`: default, valid values and meaning."""
    rows = ["| setting | default | valid | what it is |", "|---|---|---|---|"]
    for entry in fields(demask.Settings):
        info = info_of(entry)
        names = (
            [f"`{name}`" for table in info.variants() for name in table] if info.variants else []
        )
        valid = f"{info.valid}: {', '.join(names)}" if names else info.valid
        rows.append(f"| `{entry.name}` | `{entry.default!r}` | {valid} | {info.help} |")
    return "\n".join(rows) + "\n"


def help_sections(command: click.Command, context: click.Context) -> Iterator[str]:
    """A section with the help of a command, then those of its commands."""
    depth = "#" * (1 + len(context.command_path.split()))
    yield f"\n{depth} {context.command_path}\n\n```text\n{command.get_help(context)}\n```\n"
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            if (inner := command.get_command(context, name)) and not inner.hidden:
                yield from help_sections(inner, click.Context(inner, context, name))


def repository_path(file: File) -> str | None:
    """Where a file of the site stands in the repository; None if it stands nowhere."""
    if file.abs_src_path is None:
        return None
    return Path(file.abs_src_path).resolve().relative_to(ROOT).as_posix()


def targets(path: str) -> list[str]:
    """The paths in the repository that a Markdown file links to."""
    links = LINK.findall(CODE.sub("", (ROOT / path).read_text(encoding="utf-8")))
    return [target[0] for link in links if (target := target_of(link, path))]


def target_of(link: str, path: str) -> tuple[str, str] | None:
    """The path in the repository that a relative link of a file leads to, and the link's anchor."""
    place, _, anchor = unquote(link).partition("#")
    if not place or re.match(r"[a-z][a-z0-9+.-]*:", link):
        return None
    return (ROOT / path).parent.joinpath(place).resolve().relative_to(ROOT).as_posix(), anchor


def site_uri(path: str) -> str:
    """Where a file or folder of the repository stands among the sources of the site."""
    if path in MOVED:
        return MOVED[path]
    if path.startswith("docs/"):
        folder = (ROOT / path).is_dir()
        return path.removeprefix("docs/") + ("/README.md" if folder else "")
    page = (ROOT / path).is_dir() or PurePosixPath(path).suffix in LANGUAGES
    return f"source/{path}.md" if page else f"source/{path}"


def rewritten(text: str, path: str, uri: str) -> str:
    """A page with its links to the repository turned into links of the site, code left alone."""

    def link(found: re.Match[str]) -> str:
        if (target := target_of(found[1], path)) is None:
            return found[0]
        place = relpath(site_uri(target[0]), PurePosixPath(uri).parent)
        return found[0].replace(found[1], f"{place}#{target[1]}" if target[1] else place)

    parts, end = [], 0
    for code in CODE.finditer(text):
        parts += [LINK.sub(link, text[end : code.start()]), code[0]]
        end = code.end()
    return "".join([*parts, LINK.sub(link, text[end:])])


def shown(path: str, uri: str, config: MkDocsConfig) -> tuple[File, list[str]]:
    """The page that shows a file or folder of the repository, and the paths that it links to."""
    place, title = ROOT / path, f"{UNSEARCHED}# {path}\n\n"
    if place.is_dir():
        inside = [file.as_posix() for file in tracked() if file.is_relative_to(path)]
        uris = [relpath(site_uri(file), PurePosixPath(uri).parent) for file in inside]
        lines = [f"- [{file}]({link})\n" for file, link in zip(inside, uris, strict=True)]
        return File.generated(config, uri, content=title + "".join(lines)), inside
    if language := LANGUAGES.get(place.suffix):
        text = f"{title}~~~~{language}\n{place.read_text(encoding='utf-8')}\n~~~~\n"
        return File.generated(config, uri, content=text), []
    return File.generated(config, uri, abs_src_path=str(place)), []


class Named(HTMLParser):
    """Collects what a page names: (element, address)."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep the addresses of an element."""
        self.found += [(tag, text) for name, text in attrs if name in ("src", "href") and text]


def complaints(page: Path) -> Iterator[str]:
    """One line for each file that a page of the site names and that it may not or cannot load."""
    named = Named()
    named.feed(page.read_text(encoding="utf-8"))
    for tag, address in named.found:
        if re.match(r"(?:[a-z]+:)?//", address):
            if tag in FOREIGN:
                yield f"<{tag}> loads {address} from another host"
        elif not re.match(r"[a-z]+:|#", address):
            place = unquote(re.split("[?#]", address)[0])
            if not (page.parent / place).exists():
                yield f"there is no {place}"
