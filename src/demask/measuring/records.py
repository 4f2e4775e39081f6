"""Results as plain records: frozen dataclasses with methods that write JSON or CSV."""

from __future__ import annotations

import csv
import io
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from demask.files import write_text

Progress = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]
"""Name of an activity, number of images -> a context with a function for the number done."""

FORMATS = (".json", ".csv")


def silent(_doing: str, _total: int) -> AbstractContextManager[Callable[[int], None]]:
    """A `Progress` that shows nothing."""
    return nullcontext(lambda _done: None)


def check_format(path: str | Path) -> None:
    """Raise a ValueError for a file whose name ends neither in .json nor in .csv."""
    if Path(path).suffix not in FORMATS:
        raise ValueError(f"results are written as {' or '.join(FORMATS)}, not as '{path}'")


@dataclass(frozen=True)
class Record(ABC):
    """A result that can be written."""

    @abstractmethod
    def rows(self) -> Sequence[Mapping[str, Any]]:
        """The rows of the CSV: one per measured number, all with the same columns."""

    def to_json(self) -> str:
        """The record as JSON."""
        return json.dumps(asdict(self), indent=2, default=str, ensure_ascii=False) + "\n"

    def to_csv(self) -> str:
        """The measured numbers as CSV with a header."""
        buffer = io.StringIO()
        rows = self.rows()
        writer = csv.DictWriter(buffer, list(rows[0]) if rows else [], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        return buffer.getvalue()

    def write(self, path: str | Path) -> Path:
        """Write JSON or CSV, by the suffix of the path; an existing file is replaced.

        Raises:
            ValueError: another suffix.
            OSError: the file cannot be written; no partial file is left.
        """
        check_format(path)
        target = Path(path)
        write_text(target, self.to_csv() if target.suffix == ".csv" else self.to_json())
        return target
