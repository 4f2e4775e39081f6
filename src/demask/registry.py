"""Tables of named variants: one per folder, one row per variant."""

from __future__ import annotations

import ast
import difflib
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Generic, TypeVar

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


def build(table: Table[Callable[..., T]], text: str, **given: Any) -> T:
    """Make the variant that a person names with its options: ``name:option=value,option=value``.

    Args:
        table: rows that are classes or functions with keyword arguments.
        text: values are numbers, True, False or None; words where the option's default is one.
        given: arguments that the text may not set.

    Raises:
        ValueError: an unknown name or option, or a value that is none.
    """
    name, _, written = text.partition(":")
    row = table[name]
    parameters = inspect.signature(row).parameters
    valid = [option for option in parameters if option not in given]
    options = {}
    for pair in filter(None, written.split(",")):
        option, _, value = pair.partition("=")
        if option not in valid:
            raise ValueError(unknown(f"option of the {table.kind} '{name}'", option, valid))
        if isinstance(parameters[option].default, str):
            options[option] = value
            continue
        try:
            options[option] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            raise ValueError(f"cannot read '{pair}' in '{text}'; write {option}=0.5") from None
    return row(**given, **options)
