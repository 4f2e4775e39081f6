"""docs/models.md: made from the table of public models."""

from __future__ import annotations

from dataclasses import replace

import pytest
import write_models

from demask.checkpoint.published import PUBLISHED_MODELS


def test_the_page_is_that_of_the_table() -> None:
    assert write_models.PAGE.read_text(encoding="utf-8") == write_models.page()


def test_the_page_follows_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    row = replace(PUBLISHED_MODELS["TiTok L-32"], score="FID 1.00")
    monkeypatch.setattr(PUBLISHED_MODELS, "_rows", {"TiTok L-32": row})
    page = write_models.page()
    assert "| TiTok L-32 | `yucornetto/generator_titok_l32_imagenet` | 256 x 256 |" in page
    assert "FID 1.00" in page
    works = page[page.index("| network |") :]
    assert "row of 32 tokens" in works
    assert "halton" not in works, "a spatial order on a row"
    assert "inpaint" not in works
