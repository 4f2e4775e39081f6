"""Caption columns of tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

MAIN_COLUMNS = ("caption", "captions", "text")
ALIASES_COLUMN = "aliases"


def choose_columns(
    source: str, names: Sequence[str], wanted: Sequence[str] | None
) -> tuple[str, ...]:
    """Choose the caption columns, the main one first.

    By default the first existing one of ``caption``, ``captions`` and ``text``, followed by
    ``aliases`` if it exists; no columns if there is none of them.

    Args:
        source: the name of the source, for messages.
        names: all columns of the source.
        wanted: columns to use instead, in this order; empty for no captions.

    Raises:
        ValueError: a wanted column does not exist.
    """
    if wanted is not None:
        missing = ", ".join(repr(name) for name in wanted if name not in names)
        if missing:
            raise ValueError(f"{source} has no column {missing}; it has: {', '.join(names)}")
        return tuple(wanted)
    main = [name for name in MAIN_COLUMNS if name in names][:1]
    return (*main, ALIASES_COLUMN) if main and ALIASES_COLUMN in names else tuple(main)


def join_columns(columns: Sequence[Sequence[object]], rows: int) -> list[tuple[str, ...]]:
    """The captions of each row of a table; empty without caption columns.

    Raises:
        ValueError: a cell holds something other than text.
    """
    return [join_cells(cells) for cells in zip(*columns, strict=True)] if columns else [()] * rows


def join_cells(cells: Iterable[object]) -> tuple[str, ...]:
    """The captions in the cells of a row, in order and without duplicates.

    Args:
        cells: texts, lists of texts, or None.

    Raises:
        ValueError: a cell holds something else.
    """
    texts: dict[str, None] = {}
    for cell in cells:
        for text in cell if isinstance(cell, list) else [cell]:
            if not isinstance(text, str | None):
                raise ValueError(f"a caption must be text, not {type(text).__name__}: {text!r:.60}")
            if text and text.strip():
                texts[text.strip()] = None
    return tuple(texts)
