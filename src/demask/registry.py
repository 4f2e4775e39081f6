"""Tables of named variants: one per folder, one row per variant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from typing import Generic, TypeVar

T = TypeVar("T")


class Table(Mapping[str, T], Generic[T]):
    """The named variants of one kind, such as the mask schedules.

    Args:
        kind: what a row is, in the words of an error message ("mask schedule").
        rows: the variants that ship with Demask.
    """

    def __init__(self, kind: str, rows: Mapping[str, T]) -> None:
        self.kind = kind
        self._rows = dict(rows)

    def __getitem__(self, name: str) -> T:
        if name not in self._rows:
            raise UnknownNameError(unknown(self.kind, name, self._rows))
        return self._rows[name]

    def __contains__(self, name: object) -> bool:
        return name in self._rows

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, name: str, row: T) -> None:
        """Extend the table, from a plug-in or a notebook.

        Raises:
            ValueError: the name is taken.
        """
        if name in self._rows:
            raise ValueError(f"the {self.kind} '{name}' is registered already")
        self._rows[name] = row


class UnknownNameError(ValueError, KeyError):
    """A name that a table does not hold; its message lists the names that it does."""

    def __str__(self) -> str:
        return str(self.args[0])


def unknown(kind: str, name: str, valid: Iterable[str]) -> str:
    """One line that says that a name is unknown, the nearest valid one, and all of them."""
    names = list(valid)
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"; did you mean '{near[0]}'?" if near else "."
    return f"unknown {kind} '{name}'{hint} Valid: {', '.join(names)}"
