"""Networks that are named together with their local files: ``inception:weights=PATH``."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import TypeVar

from demask.registry import Table, unknown

Loaded = TypeVar("Loaded")


def load(
    table: Table[Callable[..., Loaded]], text: str, device: str, needs: str, more: str = ""
) -> Loaded:
    """Call the row of a table that a text names, with the paths behind its colon.

    Args:
        table: rows that take paths by keyword, and ``device``.
        text: the row's name, and its options as ``NAME:OPTION=PATH,OPTION=PATH``.
        device: where the network runs.
        needs: what is missing if no paths are given, for the message.
        more: the end of that message.

    Raises:
        ValueError: an unknown name or option, or a missing path.
    """
    name, _, written = text.partition(":")
    row, what = table[name], f"the {table.kind} '{name}'"
    options = {n: p for n, p in inspect.signature(row).parameters.items() if n != "device"}
    # a path may hold a comma: only one before an option's name parts two of them
    words = re.split(rf",(?=(?:{'|'.join(options)})=)", written) if written else []
    given: dict[str, str] = {}
    for word in words:
        option, equals, value = word.partition("=")
        if option not in options:
            raise ValueError(unknown(f"option of {what}", option, options))
        if not (equals and value):
            raise ValueError(f"cannot read '{text}'; write {name}:{option}=PATH")
        given[option] = value
    needed = [n for n, parameter in options.items() if parameter.default is parameter.empty]
    if set(needed) - set(given):
        usage = ",".join(f"{option}=PATH" for option in needed)
        raise ValueError(f"{what} needs {needs}: write {name}:{usage}{more}")
    return row(**given, device=device)
