"""Check the tracked files: their names, their sizes, and that they speak one language.

Run it with `python .ci/tree.py`.
"""

from __future__ import annotations

import ast
import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterable, Iterator
from pathlib import Path

WEIGHTS = {".safetensors", ".bin", ".ckpt", ".pt", ".pth", ".npz", ".npy"}
VAGUE = {"utils", "util", "helpers", "helper", "misc", "common"}
MEGABYTE = 10**6
FILE_LIMIT, TOTAL_LIMIT, GOLDEN_LIMIT = 16 * MEGABYTE, 40 * MEGABYTE, 28 * MEGABYTE
GOLDEN = Path("tests/golden_cases")
LINES, FUNCTION_LINES = 300, 40
"""The most lines of a source file, and of a function without docstrings, comments, blank lines."""

TEXTS = {".py", ".md", ".toml", ".yml", ".yaml"}
HISTORY = {".ci/tree.py", "src/demask/old_names.py"}
"""Files that may name the old words."""

OLD_WORDS = {
    r"[Pp]ainters?": "stepper",
    r"Look(?=[(\]:,.`])|looks_at": "SelectionInput, stage",
    r"sharpen\(": "transform_logits",
    r"revises": "may_remask",
    r"(?:hidden|open|asked|settled|decided|given)_B[LT]?": "masked_BL, candidate_BL, queried_BL,"
    " decoded_BL, unmasked_now_BL, known_BL",
    r"hidden_after": "num_masked_after",
    r"[Hh]idden (?:tokens?|positions?|ids|ones|ratios?|fractions?)": "masked",
    r"half-hidden|half hidden": "partly masked",
    r"doubtful": "confidence_based",
    r"noise_decay|--noise(?:-decay)?(?![\w-])": "choice_temperature, choice_temperature_decay",
    r"--negative(?![\w-])|--micro(?![\w-])|--guidance(?![\w-])": "the setting's whole name",
    r"[Ww]ish(?:es)?": "condition",
    r"[Cc]ompanions?": "auxiliary network",
    r"[Ss]eams?|LookedInto|look_into": "hook",
    r"read_out|before_codes": "apply_head, pre_logits",
    r"learn_words|load_words": "train_text_tokenizer, load_text_tokenizer",
    r"hearer|Impatient": "event_forwarder, TimeoutProtocol",
    r"[Rr]ulers?|[Tt]ally|[Tt]allied|[Cc]ontests?": "evaluator, cost meter, comparison",
    r"spoilt": "corrupted",
    r"[Ss]tudio": "page context",
    r"[Pp]ictures?(?! =)": "image",
    r"(?:re)?paint(?:s|ed|ing|er)?": "generate, sample or decode",
}
"""What a reader of this field's code would not guess, and what to say instead."""

ALLOWED = re.compile(
    r"oil painting"
    r"|[`'.\"]pictures?\b"  # fields of recipes, and an attribute that is a key of saved weights
    r"|\bpictures: (?:str|int|a folder|number of)|\bpictures=(?:options|self|num_)"
    r"|_picture|straight ruler|triangular ruler"
    r"|\bwishes=self"  # in checkpoints of trainings
    r"|\bDataConfig\(pictures=|\bpictures=\d"
)
PAGE = ("src/demask/ui/", "tests/ui/", "tests/browser/", "docs/page")
"""Where a button says "Paint", so that "paint" is no old word."""

OLD_CLASSES = {
    *("Average", "Bench", "Brush", "Careful", "Choices", "Codec", "Guard", "Inside", "Kept"),
    *("Lesson", "Line", "Listed", "Means", "Named", "Noted", "Picture", "Row", "Rows", "Run"),
    *("Said", "Shelf", "Sizes", "Standing", "Subject", "Together", "Waiting", "Watch", "Words"),
}


def tracked() -> list[Path]:
    """The files that git knows and that are there."""
    listed = subprocess.run(["git", "ls-files", "-z"], capture_output=True, check=True).stdout
    paths = [Path(name) for name in listed.decode().split("\0") if name]
    return [path for path in paths if path.is_file()]


def complaints(paths: Iterable[Path]) -> Iterator[str]:
    """One line for each thing that is wrong."""
    total = golden = 0
    for path in paths:
        if GOLDEN in path.parents:
            golden += path.stat().st_size
        if vague := {part.split(".")[0] for part in path.parts} & VAGUE:
            yield f"{path}: '{vague.pop()}' says nothing; name the file after what it does"
        if path.suffix in WEIGHTS:
            size = path.stat().st_size
            total += 0 if GOLDEN in path.parents else size
            if size > FILE_LIMIT:
                yield f"{path}: {size / MEGABYTE:.1f} MB of weights; the limit is 16 MB a file"
        if path.suffix in TEXTS and path.as_posix() not in HISTORY:
            yield from old_words(path)
        if path.suffix == ".py" and path.parts[0] == "src":
            yield from too_long(path)
    if total > TOTAL_LIMIT:
        yield f"{total / MEGABYTE:.1f} MB of weights in all; the limit is 40 MB"
    if golden > GOLDEN_LIMIT:
        yield f"{golden / MEGABYTE:.1f} MB of golden cases; the limit is 28 MB"


def too_long(path: Path) -> Iterator[str]:
    """One line if a source file is too long, and one for each of its functions that is."""
    text = path.read_text(encoding="utf-8")
    if (lines := len(text.splitlines())) > LINES:
        yield f"{path}: {lines} lines; the limit is {LINES}"
    code = lines_of_code(text)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            own = len(code & {*range(node.lineno, node.end_lineno + 1)})
            if own > FUNCTION_LINES:
                limit = f"the limit is {FUNCTION_LINES}"
                yield f"{path}:{node.lineno}: {node.name} has {own} lines of code; {limit}"


def lines_of_code(text: str) -> set[int]:
    """The numbers of the lines that hold more than a docstring, a comment or nothing."""
    code: set[int] = set()
    empty = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in empty:
            code.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            assert node.end_lineno is not None
            if isinstance(node.value.value, str):
                code -= {*range(node.lineno, node.end_lineno + 1)}
    return code


def old_words(path: Path) -> Iterator[str]:
    """One line for each word of a file that docs/glossary.md has replaced."""
    text = path.read_text(encoding="utf-8")
    page = path.as_posix().startswith(PAGE)
    for number, line in enumerate(text.splitlines(), start=1):
        cleared = ALLOWED.sub("", line)
        for pattern, instead in OLD_WORDS.items():
            if page and "paint" in pattern.lower():
                continue
            if found := re.search(rf"(?<![a-zA-Z0-9_-])(?:{pattern})(?![a-zA-Z0-9_])", cleared):
                yield f"{path}:{number}: say '{instead}', not '{found[0]}'; see docs/glossary.md"
    if path.suffix == ".py" and path.parts[0] == "src":
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ClassDef) and node.name in OLD_CLASSES:
                yield f"{path}:{node.lineno}: '{node.name}' is retired; see docs/glossary.md"


def main() -> int:
    """Print what is wrong; the exit code says whether anything is."""
    lines = list(complaints(tracked()))
    print("\n".join(lines or ["Names, sizes and words of the tracked files are fine."]))
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
