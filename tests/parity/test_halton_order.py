"""The orders and token counts of Halton-MaskGIT and MaskGIT-pytorch 1.0."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import load_file

from demask.sampling.schedule import num_masked_after, parse_schedule
from demask.sampling.select.halton import visits


def test_orders(golden: Path) -> None:
    case = load_file(golden / "halton_order" / "case.safetensors")
    assert case
    for name, cell_L2 in case.items():
        side = int(name.removeprefix("order_"))
        index_L = cell_L2[:, 0].long() * side + cell_L2[:, 1].long()
        assert torch.equal(visits((side, side)).argsort(), index_L), name


def test_counts_of_halton(golden: Path) -> None:
    case = json.loads((golden / "halton_order" / "case.json").read_text())
    for kind, name in (("halton", "halton"), ("confidence", "halton_confidence:{schedule}")):
        assert case[kind]
        for row in case[kind]:
            tokens, schedule = row["side"] ** 2, parse_schedule(name.format(**row))
            counts_BT = num_masked_after(schedule, row["steps"], torch.tensor([tokens]))
            assert (tokens - counts_BT[0]).tolist() == row["decoded_after"], row


def test_counts_of_version_1(golden: Path) -> None:
    """With many steps the program's last count can be negative: ours ends before."""
    case = json.loads((golden / "maskgit_v1" / "case.json").read_text())
    assert case["schedules"]
    for row in case["schedules"]:
        tokens = row["side"] ** 2
        schedule = parse_schedule(f"maskgit_v1:{row['schedule']}")
        counts_BT = num_masked_after(schedule, row["steps"], torch.tensor([tokens]))
        theirs = torch.tensor(row["revealed_in_step"]).cumsum(0).clamp_max(tokens)
        theirs[-1] = tokens
        assert (tokens - counts_BT[0]).tolist() == theirs.tolist(), row


def test_a_few_masked_tokens_end_early() -> None:
    for name in ("halton", "halton_confidence:square", "maskgit_v1:arccos"):
        counts_BT = num_masked_after(parse_schedule(name), 8, torch.tensor([0, 1, 3, 40]))
        assert (counts_BT >= 0).all()
        assert (counts_BT.diff(dim=-1) <= 0).all()
        assert counts_BT[:, -1].tolist() == [0, 0, 0, 0]
        assert counts_BT[2, 2] == 0
