"""Write docs/numbers.md from results/numbers.template.md and the result files beside it.

    python benchmarks/write_numbers.py [--check]

In the template a figure is a placeholder, and a table is a block:

    {{cifar10 | all tokens | cross-entropy | .3f}}       file | row | value | format
    {{ratio | full_size | bfloat16 | float32 | seconds | .1f}}    first row over second, of one file

    ```table cifar10_methods
    rows: MaskGIT, 36 steps | Token-Critic, 18 steps     all rows if this line is missing
    method = {name}
    Fréchet distance = {frechet cifar10_conv | .2f | interval}, {frechet cifar10_patches | .2f}
    ```

A ratio is of two rows of one file, so that seconds of two machines are never divided. Below a table
its source is named. ``--check`` writes nothing and fails if the page is not what would be
written. The program refuses a template with a figure that was typed by hand (`typed_figures`).
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from read_results import read_results
from result_file import UNKNOWN, ResultFile, Row, Setting, Value

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "results"
TEMPLATE = RESULTS / "numbers.template.md"
PAGE = ROOT / "docs" / "numbers.md"

PLACEHOLDER = re.compile(r"\{\{(.*?)\}\}")
FIELD = re.compile(r"\{(.*?)\}")
FENCE = "```"
BLOCK = re.compile(r"^```table (\S+)$")
NUMBER_WORD = re.compile(
    r"\b(three|four|five|six|seven|eight|nine|ten|eleven|twelve|eighteen|twenty|thirty|forty|fifty"
    r"|hundred|thousand|million|billion|percent|half|third|quarter|twice)s?\b",
    re.IGNORECASE,
)
NAME = re.compile(r"[A-Za-z][A-Za-z0-9]*(?:[-_][A-Za-z0-9]+)*(?![.,]?[\d%])")
"""A word that begins with a letter is a name (``bfloat16``, ``CIFAR-10``, ``MaskGIT-256``)."""


@dataclass
class Results:
    """The result files of a folder, each read once.

    Attributes:
        folder: the folder.
        used: those that the page has read, by name.
    """

    folder: Path
    used: dict[str, ResultFile] = field(default_factory=dict)

    def __getitem__(self, name: str) -> ResultFile:
        """The result file ``folder/name.json``."""
        if name not in self.used:
            path = self.folder / f"{name}.json"
            if not path.is_file():
                valid = ", ".join(self.names)
                raise ValueError(f"no result file '{name}' in {self.folder}; valid: {valid}")
            result = read_results(path)
            if UNKNOWN in result.commits:
                raise ValueError(f"{path}: its commit is unknown; measure in a working copy of git")
            self.used[name] = result
        return self.used[name]

    @property
    def names(self) -> list[str]:
        """All result files."""
        return sorted(path.stem for path in self.folder.glob("*.json"))


def render(template: str, results: Results) -> str:
    """The page: every placeholder and table filled in.

    Raises:
        ValueError: a figure was typed by hand, or a placeholder names what no result file holds.
    """
    if typed := list(typed_figures(template)):
        raise ValueError("; ".join(typed))
    parts: list[str] = []
    for number, part in blocks(template):
        head, *lines = part
        try:
            if block := BLOCK.match(head):
                parts += table(block[1], lines[:-1], results)
            else:
                parts += [PLACEHOLDER.sub(lambda m: figure(m[1], results), line) for line in part]
        except ValueError as error:
            raise ValueError(f"line {number} of the template: {error}") from error
    return "\n".join([*parts, *listing(results)]) + "\n"


def blocks(text: str) -> Iterator[tuple[int, list[str]]]:
    """The parts of a Markdown text with the numbers of their lines: a fenced block, or one line."""
    block: list[str] = []
    for number, line in enumerate(text.rstrip("\n").split("\n"), start=1):
        block.append(line)
        fenced = block[0].startswith(FENCE)
        if not fenced or (len(block) > 1 and line.strip() == FENCE):
            yield number - len(block) + 1, block
            block = []
    if block:
        raise ValueError(f"the block '{block[0]}' has no end")


def typed_figures(template: str) -> Iterator[str]:
    """One line for each figure of a template that no result file is named for.

    Refused are tables outside of table blocks, digits, and number words from three on. A digit may
    stand in a placeholder, a shell block, a link target, code that is more than a number, and a
    word that begins with a letter (``CIFAR-10``, ``bfloat16``).
    """
    for number, line in written_lines(template):
        if line.startswith("|"):
            yield f"line {number}: a table without a result file; use a table block"
            continue
        line = re.sub(r"\]\([^)]*\)", "]", line)
        line = re.sub(r"`[^`]*[A-Za-z][^`]*`", "", line)
        found = NUMBER_WORD.findall(line)
        found += re.findall(r"\S*\d\S*", NAME.sub("", line))
        if found:
            yield f"line {number}: '{found[0]}' was typed by hand; name a result file instead"


def written_lines(template: str) -> Iterator[tuple[int, str]]:
    """The numbers and texts of the lines of a template without placeholders and shell blocks."""
    for number, part in blocks(template):
        if BLOCK.match(part[0]):
            columns = [line for line in part[1:-1] if not line.startswith("rows:")]
            yield number, FIELD.sub("", " ".join(columns))
        elif not part[0].startswith(FENCE):
            yield number, PLACEHOLDER.sub("", part[0])


def figure(text: str, results: Results) -> str:
    """The text that replaces one placeholder."""
    parts = [part.strip() for part in text.split("|")]
    if parts[0] == "ratio" and len(parts) == 6:
        file, over, under = results[parts[1]], parts[2], parts[3]
        top, bottom = (numeric(file.row(name), parts[4]) for name in (over, under))
        return formatted(top / bottom, parts[5])
    if len(parts) not in (3, 4, 5):
        raise ValueError(f"'{text}': a placeholder is file | row | value | format")
    return cell(results[parts[0]].row(parts[1]), parts[2:])


def cell(row: Row, parts: Sequence[str]) -> str:
    """A value, setting or the name of a row: name, format, and the word interval if wanted.

    Raises:
        ValueError: the row has no such value.
    """
    name, spec = parts[0], parts[1] if len(parts) > 1 else ""
    found = lookup(row, name)
    if found is None:
        valid = ", ".join(["name", *row.settings, *row.values])
        raise ValueError(f"the row '{row.name}' has no '{name}'; valid: {valid}")
    if not isinstance(found, Value):
        return found if isinstance(found, str) else formatted(found, spec)
    text = formatted(found.value, spec)
    if parts[2:] == ["interval"] and found.low is not None and found.high is not None:
        text += f" ({formatted(found.low, spec)} to {formatted(found.high, spec)})"
    return f"{text} {found.unit}".strip()


def lookup(row: Row, name: str) -> Value | Setting | None:
    """A value, a setting, or the name of a row; None where it has none of this name."""
    return row.name if name == "name" else row.values.get(name, row.settings.get(name))


def numeric(row: Row, name: str) -> float:
    """A measured number of a row."""
    found = lookup(row, name)
    if not isinstance(found, Value):
        raise ValueError(f"the row '{row.name}' has no number '{name}'")
    return found.value


def formatted(number: float, spec: str) -> str:
    """A number as a format says, with the space before a percent sign that the pages have."""
    try:
        return f"{number:{spec or 'g'}}".replace("%", " %")
    except ValueError as error:
        raise ValueError(f"'{spec}' is no format of a number") from error


def table(name: str, lines: Sequence[str], results: Results) -> list[str]:
    """A table in Markdown, and its source below it."""
    first_use, file = name not in results.used, results[name]
    rows = list(file.rows)
    if lines and lines[0].startswith("rows:"):
        wanted = [part.strip() for part in lines[0].removeprefix("rows:").split("|")]
        rows, lines = [file.row(one) for one in wanted], lines[1:]
    columns = [[part.strip() for part in line.split(" = ", 1)] for line in lines]
    if not columns or any(len(column) != 2 for column in columns):
        raise ValueError("a line of a table block is: heading = {value | format}")
    cells = [[heading for heading, _ in columns], ["---"] * len(columns)]
    cells += [[filled(column, row, rows) for _, column in columns] for row in rows]
    return [*(f"| {' | '.join(line)} |" for line in cells), "", *origin(name, file, first_use)]


def filled(column: str, row: Row, rows: Sequence[Row]) -> str:
    """A cell of a table; empty where this row lacks a value that other rows have."""
    fields = [[part.strip() for part in text.split("|")] for text in FIELD.findall(column)]
    for name, *_ in fields:
        if all(lookup(one, name) is None for one in rows):
            cell(row, [name])
    if fields and all(lookup(row, name) is None for name, *_ in fields):
        return ""
    return FIELD.sub(lambda m: present(row, [p.strip() for p in m[1].split("|")]), column)


def present(row: Row, parts: Sequence[str]) -> str:
    """A value of a row, or a dash."""
    return "-" if lookup(row, parts[0]) is None else cell(row, parts)


def origin(name: str, file: ResultFile, with_command: bool) -> list[str]:
    """Where a table comes from: the result file, its commit, date, seeds, machine and command."""
    facts = [f"From [{name}.json](../results/{name}.json)"]
    if file.source:
        facts.append(file.source)
    else:
        machine = ", ".join(described(key, fact) for key, fact in file.machine.items())
        label = "commit" if len(file.commits) == 1 else "commits"
        facts += [f"{label} {', '.join(file.commits)}", file.date, f"seeds {file.seed}", machine]
    lines = [f"{', '.join(fact for fact in facts if fact)}.", *([file.note] if file.note else [])]
    if file.command and with_command:
        lines += ["", "```sh", file.command, "```"]
    return lines


def described(key: str, fact: Setting) -> str:
    """A property of a machine as text."""
    return str(fact) if key in ("processor", "device") else f"{key} {fact}"


def listing(results: Results) -> list[str]:
    """A list of the result files without a figure on the page."""
    rest = [name for name in results.names if name not in results.used]
    if not rest:
        return []
    titles = {name: read_results(results.folder / f"{name}.json").title for name in rest}
    return [
        "",
        "## More result files",
        "",
        *(f"- [{name}.json](../results/{name}.json): {title}" for name, title in titles.items()),
    ]


def page(template: Path = TEMPLATE, folder: Path = RESULTS) -> str:
    """The whole page, after a line that names the program that writes it.

    Raises:
        ValueError: the template or a result file is wrong.
    """
    comment = "<!-- Written by `make numbers`; edit results/numbers.template.md instead. -->\n\n"
    return comment + render(template.read_text(encoding="utf-8"), Results(folder))


def main() -> int:
    """Write the page, or report that it is not up to date."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; fail if it differs")
    chosen = parser.parse_args()
    try:
        text = page()
    except ValueError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    if not chosen.check:
        from demask.files import write_text

        write_text(PAGE, text)
    elif PAGE.read_text(encoding="utf-8") != text:
        print("docs/numbers.md is not what its result files say: make numbers", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
