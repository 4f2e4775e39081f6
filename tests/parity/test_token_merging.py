"""One merge and unmerge of the published "bag of design choices" program.

Shape legend: B batch, L tokens, C cells of 2x2 tokens.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import load_file

from demask.acceleration.token_merging import merged


def test_merge_and_unmerge_are_the_published_ones(golden: Path) -> None:
    folder = golden / "bag_of_choices"
    facts, case = (
        json.loads((folder / "case.json").read_text())["tome"],
        load_file(folder / "case.safetensors"),
    )
    rows, columns = facts["grid"]
    order_L = torch.arange(rows * columns)
    for cell_row, picks in enumerate(case["tome_destination"].tolist()):
        for cell_column, pick in enumerate(picks):
            row, column = 2 * cell_row + pick // 2, 2 * cell_column + pick % 2
            order_L[row * columns + column] += rows * columns  # the highest of its cell
    features_BLD = case["tome_features"]
    few = merged(features_BLD, (rows, columns), order_L, facts["merged_tokens"])
    torch.testing.assert_close(few.select_tokens(features_BLD), case["tome_merged"])
    torch.testing.assert_close(
        few.restore_tokens(few.select_tokens(features_BLD)), case["tome_unmerged"]
    )
