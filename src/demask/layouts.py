"""Which token layouts the variants of the settings and the edits serve, and their images' size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from demask.types import KINDS, Grid, Tokenizer, TokenLayout


@dataclass(frozen=True)
class Layouts:
    """The layouts that a variant or an edit serves.

    Attributes:
        dimensions: numbers of dimensions of the positions.
        parts: whether a position may have several tokens.
    """

    dimensions: tuple[int, ...] = tuple(KINDS)
    parts: bool = True

    def serve(self, layout: TokenLayout) -> bool:
        """Whether the layout is one of these."""
        return len(layout.shape) in self.dimensions and (self.parts or layout.parts == 1)

    def __str__(self) -> str:
        kinds = " or ".join(f"a {KINDS[number]}" for number in self.dimensions)
        return f"{kinds} of tokens" if self.parts else f"{kinds} with one token at each position"


ANY_LAYOUT = Layouts()
GRIDS = Layouts((2,))
PLAIN_GRIDS = Layouts((2,), parts=False)


def check_layout(layout: TokenLayout, what: str, name: str, table: Mapping[str, Any]) -> None:
    """Check that a row of a table serves a layout.

    Args:
        layout: that of the model.
        what: names the table in the message.
        name: a row of the table.
        table: rows with an attribute ``layouts``, or `Layouts` themselves; a row without one serves
            all.

    Raises:
        ValueError: it does not; the message names the rows that do.
    """
    needed = layouts_of(table[name])
    if needed.serve(layout):
        return
    valid = ", ".join(key for key, row in table.items() if layouts_of(row).serve(layout))
    raise ValueError(
        f"{what} '{name}' needs {needed}, but the tokens of this model are {layout}; "
        f"valid: {valid or 'none'}"
    )


def layouts_of(row: object) -> Layouts:
    """The layouts that a row of a table serves: any, unless it says which."""
    layouts = getattr(row, "layouts", row)
    return layouts if isinstance(layouts, Layouts) else ANY_LAYOUT


def image_size(tokenizer: Tokenizer, layout: TokenLayout) -> tuple[int, int]:
    """Height and width in pixels of the image that the tokens of a layout decode to."""
    if len(layout.shape) == 2:
        rows, columns = layout.grid
        return rows * tokenizer.downsampling, columns * tokenizer.downsampling
    fixed: Any = tokenizer  # see `Tokenizer`
    height, width = fixed.image_size
    return height, width


def plane(layout: TokenLayout) -> Grid:
    """Rows and columns where only the order of the tokens counts: a row is a grid of one row.

    Raises:
        ValueError: the positions are neither a grid nor a row.
    """
    return (1, layout.shape[0]) if len(layout.shape) == 1 else layout.grid
