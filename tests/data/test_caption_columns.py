from __future__ import annotations

import pytest

from demask.data.caption_columns import choose_columns, join_cells, join_columns


@pytest.mark.parametrize(
    ("names", "wanted", "chosen"),
    [
        (["image", "text", "caption"], None, ("caption",)),
        (["aliases", "text"], None, ("text", "aliases")),
        (["aliases", "image"], None, ()),
        (["text", "alt", "title"], ["title", "alt"], ("title", "alt")),
        (["text"], [], ()),
    ],
)
def test_which_columns_hold_captions(names: list, wanted: list | None, chosen: tuple) -> None:
    assert choose_columns("x", names, wanted) == chosen


def test_columns_that_are_not_there_are_named() -> None:
    with pytest.raises(ValueError, match="^x has no column 'b', 'c'; it has: a, d$"):
        choose_columns("x", ["a", "d"], ["a", "b", "c"])


def test_cells_are_texts_or_lists_of_them() -> None:
    assert join_cells(["a ", None, ["b", "a", "", None], "\n"]) == ("a", "b")
    assert join_columns([["a", None], [["b"], []]], 2) == [("a", "b"), ()]
    assert join_columns([], 2) == [(), ()]
    with pytest.raises(ValueError, match="a caption must be text, not bytes"):
        join_cells([["a", b"b"]])
