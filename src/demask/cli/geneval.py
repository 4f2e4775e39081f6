"""`demask generate --format geneval`: images in the folders that GenEval's scorer reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from demask.cli.options import ModelChoice, one_or_each


def generate_geneval(
    choice: ModelChoice,
    *,
    file: Path | None,
    each: int | None,
    seeds: tuple[int, ...],
    batch_size: int,
    out: Path,
    settings: dict[str, Any],
) -> str:
    """Generate each prompt of GenEval's file ``each`` times; return a line about it.

    Raises:
        ValueError: no such file, or a model or settings that cannot be used.
    """
    from demask.bulk.generate import generate_jobs
    from demask.bulk.geneval import EACH, read_geneval, write_geneval
    from demask.cli.progress import generating

    if file is None:
        raise ValueError("--format geneval needs its prompts: --prompts evaluation_metadata.jsonl")
    each = EACH if each is None else each
    if each < 1:
        raise ValueError(f"-n must be at least 1, not {each}")
    lines = read_geneval(file)
    generator = choice.load(settings.get("preset"))
    if generator.class_names:
        raise ValueError(
            f"{generator.name} is a model of classes; GenEval is for models of prompts"
        )
    words = [line.prompt for line in lines for _ in range(each)]
    request = {"seed": one_or_each(seeds), "batch_size": batch_size, **settings}
    jobs = generator.jobs(words, num_images=len(words), **request)
    with generating(len(words)) as bar:
        images = bar.count(generate_jobs(generator, jobs, bar.watch))
        count = write_geneval(out, lines, images, each)
    return f"{count} {'image' if count == 1 else 'images'} of {len(lines)} prompts in {out}"
