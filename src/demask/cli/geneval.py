"""`demask generate --format geneval`: pictures in the folders that GenEval's scorer reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from demask.cli.options import ModelChoice, one_or_each


def paint_geneval(
    choice: ModelChoice,
    file: Path | None,
    each: int | None,
    seeds: tuple[int, ...],
    batch_size: int,
    out: Path,
    settings: dict[str, Any],
) -> str:
    """Paint every prompt of GenEval's file so many times; return what was done.

    Raises:
        ValueError: no such file, or a model or settings that cannot be used.
    """
    from demask.bulk.geneval import EACH, read_geneval, write_geneval
    from demask.bulk.paint import paint
    from demask.cli.progress import painting

    if file is None:
        raise ValueError("--format geneval needs its prompts: --prompts evaluation_metadata.jsonl")
    each = EACH if each is None else each
    if each < 1:
        raise ValueError(f"-n is at least 1, not {each}")
    lines = read_geneval(file)
    generator = choice.load(settings.get("preset"))
    if generator.class_names:
        raise ValueError(f"{generator.name} paints classes; GenEval is for models of prompts")
    words = [line.prompt for line in lines for _ in range(each)]
    jobs = generator.jobs(words, len(words), one_or_each(seeds), batch_size, **settings)
    with painting(len(words)) as bar:
        pictures = bar.count(paint(generator, jobs, bar.watch))
        count = write_geneval(out, lines, pictures, each)
    return f"{count} {'picture' if count == 1 else 'pictures'} of {len(lines)} prompts in {out}"
