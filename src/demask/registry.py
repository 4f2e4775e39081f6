"""Tables of named variants, and the one grammar in which a variant and its options are written.

``name``, ``name:value`` or ``name:key=value,key=value``: the first option needs no name, and an
option that holds several numbers takes all of them (``ratios:0.9,0.5``). Schedules, orders,
corrections, accelerators, guidances, extractors and scorers are all written like this.
"""

from __future__ import annotations

import ast
import difflib
import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Table(Mapping[str, T], Generic[T]):
    """The named variants of one kind, such as the mask schedules.

    Args:
        kind: what a row is, as error messages name it ("mask schedule").
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
        """Register a variant at run time, from a plug-in or a notebook.

        Raises:
            ValueError: the name is registered already.
        """
        if name in self._rows:
            raise ValueError(f"the {self.kind} '{name}' is registered already")
        self._rows[name] = row


class UnknownNameError(ValueError, KeyError):
    """A name that is not in a table; the message lists the names that are."""

    def __str__(self) -> str:
        return str(self.args[0])


class MissingOptionError(ValueError):
    """A variant was named without an option that it needs."""


def unknown(kind: str, name: str, valid: Iterable[str]) -> str:
    """One line: the name is unknown, the nearest valid name, and all valid names."""
    names = list(valid)
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"; did you mean '{near[0]}'?" if near else "."
    return f"unknown {kind} '{name}'{hint} Valid: {', '.join(names)}"


def build(table: Table[Callable[..., T]], text: str, **given: Any) -> T:
    """Make the variant that a text names: ``name``, ``name:value`` or ``name:key=value,...``.

    Args:
        table: rows that are classes or functions with keyword arguments.
        text: the name, and options. A value is read as the type of its parameter: a number,
            several numbers, True or False, or text such as a path.
        given: arguments that the text may not set.

    Raises:
        ValueError: an unknown name or option, a missing option, or a value of another type.
    """
    name, _, written = text.partition(":")
    row = table[name]
    parameters = {
        option: parameter
        for option, parameter in inspect.signature(row).parameters.items()
        if option not in given and is_writable(parameter)
    }
    what = f"the {table.kind} '{name}'"
    options = {
        option: read_value(parameters[option], value, text)
        for option, value in split_options(written, parameters, what, text).items()
    }
    required = [n for n, p in parameters.items() if p.default is p.empty]
    if missing := [option for option in required if option not in options]:
        usage = ",".join(f"{option}={placeholder(parameters[option])}" for option in required)
        raise MissingOptionError(f"{what} needs {' and '.join(missing)}: write {name}:{usage}")
    return row(**given, **options)


def choose(table: Table[T], families: Table[Callable[..., T]], text: str) -> T:
    """The variant that a text names, where most need no options: ``cosine`` or ``power:2.5``.

    Args:
        table: rows that are variants themselves.
        families: rows that make a variant from options; see `build`.
        text: the name of either, with the options of a family.

    Raises:
        ValueError: as `build` does, or options for a variant that has none.
    """
    name, colon, _ = text.partition(":")
    if name in families:
        return build(families, text)
    if name not in table:
        names = [*table, *(f"{family}:{usage(families[family])}" for family in families)]
        raise UnknownNameError(unknown(table.kind, name, names))
    if colon:
        raise ValueError(f"the {table.kind} '{name}' has no options; write '{name}', not '{text}'")
    return table[name]


def usage(row: Callable[..., Any], without: Iterable[str] = ()) -> str:
    """The option that a row needs, as messages write it: ``EXPONENT``, ``VALUES,...``.

    Args:
        row: of a table of families.
        without: options that do not come from the text.
    """
    parameters = inspect.signature(row).parameters
    name, parameter = next((n, p) for n, p in parameters.items() if n not in without)
    return name.upper() + ",..." * is_tuple(parameter)


def split_options(
    written: str, parameters: Mapping[str, inspect.Parameter], what: str, text: str
) -> dict[str, str]:
    """``value,key=value`` -> the text of each option by its name.

    Raises:
        ValueError: an unknown option, an option without a value, or options where there are none.
    """
    if not written:
        return {}
    if not parameters:
        raise ValueError(f"{what} has no options; write '{text.partition(':')[0]}', not '{text}'")
    found: dict[str, str] = {}
    last = ""
    for part in re.split(r",(?=\s*[A-Za-z_]\w*=)", written):
        keyed = re.match(r"\s*([A-Za-z_]\w*)=", part)
        option = keyed[1] if keyed else next(iter(parameters))
        if option not in parameters:
            if last and is_text(parameters[last]):  # a path may hold ",key="
                found[last] += f",{part}"
                continue
            raise ValueError(unknown(f"option of {what}", option, parameters))
        value = part[keyed.end() :] if keyed else part
        if part.strip() in parameters:
            option, value = part.strip(), ""
        if not value or option in found:
            wrong = "twice" if option in found else "without a value"
            raise ValueError(f"the option '{option}' stands {wrong} in '{text}'")
        found[option], last = value, option
    return found


def read_value(parameter: inspect.Parameter, value: str, text: str) -> Any:
    """The value of an option, of the type that its parameter has.

    Raises:
        ValueError: it is of another type.
    """
    if is_text(parameter):
        return value
    kind = annotation(parameter)
    try:
        read = ast.literal_eval(value)
        if read is None and str(parameter.annotation).endswith("| None"):
            return None
        if kind == "float":
            return number(read)
        if is_tuple(parameter):
            return tuple(number(one) for one in (read if isinstance(read, tuple) else (read,)))
        if kind in ("int", "bool") and type(read).__name__ != kind:
            raise TypeError
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        name, valid = parameter.name, placeholder(parameter)
        raise ValueError(
            f"cannot read {name} in '{shortened(text)}'; write {name}={valid}"
        ) from None
    return read


def number(value: object) -> float:
    """A number as a float.

    Raises:
        TypeError: it is no number.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError
    return float(value)


def annotation(parameter: inspect.Parameter) -> str:
    """The type of a parameter, without None: ``float``, ``tuple[float, ...]``; "" if unknown."""
    kind = parameter.annotation
    if kind is parameter.empty:
        return ""
    text = kind if isinstance(kind, str) else getattr(kind, "__name__", str(kind))
    return text.removesuffix(" | None")


def is_writable(parameter: inspect.Parameter) -> bool:
    """Whether a text can set a parameter, which holds for no network and no function."""
    kind = annotation(parameter)
    simple = kind in ("", "str", "float", "int", "bool") or kind.startswith(("tuple", "Literal"))
    return simple and parameter.kind is not parameter.VAR_KEYWORD


def is_text(parameter: inspect.Parameter) -> bool:
    """Whether a parameter takes text as it is written."""
    return annotation(parameter) == "str" or isinstance(parameter.default, str)


def is_tuple(parameter: inspect.Parameter) -> bool:
    """Whether a parameter takes several numbers."""
    return annotation(parameter).startswith("tuple")


def placeholder(parameter: inspect.Parameter) -> str:
    """An example of a value, for messages."""
    if is_text(parameter):
        return "PATH"
    if is_tuple(parameter):
        return "0.9,0.5"
    return {"int": "2", "bool": "True"}.get(annotation(parameter), "0.5")


def shortened(text: str) -> str:
    """A text without line breaks, of at most 80 characters."""
    line = " ".join(text.split())
    return line if len(line) <= 80 else f"{line[:77]}..."


def describe(tables: Iterable[Table[Any]], variant: object, without: Iterable[str] = ()) -> str:
    """The text that names a variant: the inverse of `build` and `choose`.

    Args:
        tables: of the variant's kind.
        variant: a row of a table, or an instance of one that is a dataclass.
        without: options that the text leaves out.

    Raises:
        ValueError: it is not in the tables, or has an option that a text cannot hold.
    """
    searched = list(tables)
    kind = searched[0].kind
    for table in searched:
        for name, row in table.items():
            if variant is row:
                return name
            if isinstance(row, type) and type(variant) is row and is_dataclass(variant):
                return ":".join(filter(None, [name, written_options(kind, variant, without)]))
    raise ValueError(
        f"{shortened(repr(variant))} is no registered {kind}; "
        f"valid: a name or an object of {', '.join(name for t in searched for name in t)}"
    )


def written_options(kind: str, variant: Any, without: Iterable[str]) -> str:
    """The options of a variant that are not the default: ``key=value,key=value``."""
    parts = []
    for option in fields(variant):
        value = getattr(variant, option.name)
        made = option.default_factory
        usual = option.default if made is MISSING else made()
        if not option.init or option.name in without or value == usual:
            continue
        plain = value if isinstance(value, tuple) else (value,)
        if not all(isinstance(one, bool | int | float | str) for one in plain):
            raise ValueError(
                f"the option '{option.name}' of a {kind} object cannot be stored in settings; "
                "pass it as a setting of its own"
            )
        parts.append(f"{option.name}={','.join(map(str, plain))}")
    return ",".join(parts)
