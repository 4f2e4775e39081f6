from __future__ import annotations

import pytest
import torch

from demask.sampling.select import Halton
from demask.sampling.select.halton import visits


def inverse(k: int, base: int) -> float:
    value, digit = 0.0, 1 / base
    while k:
        value += digit * (k % base)
        k, digit = k // base, digit / base
    return value


@pytest.mark.parametrize("grid", [(4, 4), (3, 7), (8, 8), (1, 5), (16, 9)])
def test_ranks_are_the_first_visits_of_the_sequence(grid: tuple[int, int]) -> None:
    rows, columns = grid
    cells: list[int] = []
    k = 1
    while len(cells) < rows * columns:
        # the offset keeps exact products such as 3 * (1 / 3) on the right side
        row = int(rows * inverse(k, 2) + 1e-9)
        cell = row * columns + int(columns * inverse(k, 3) + 1e-9)
        if cell not in cells:
            cells.append(cell)
        k += 1
    assert visits(grid).argsort().tolist() == cells


def test_any_prefix_is_spread_over_the_quarters_of_the_grid() -> None:
    first_HW = (visits((16, 16)) < 32).view(16, 16)
    quarters = [first_HW[r : r + 8, c : c + 8].sum().item() for r in (0, 8) for c in (0, 8)]
    assert min(quarters) >= 6
    assert max(quarters) <= 10


def test_it_follows_the_sequence_among_the_open_positions(make_look) -> None:
    rank_L = visits((2, 3))
    candidate_BL = torch.tensor([[1, 0, 1, 1, 0, 1]]).bool()
    selection = make_look(torch.full((1, 6, 2), 0.5), [2], candidate_BL, grid=(2, 3))
    chosen = Halton(roll=False)(selection)[0].nonzero()[:, 0].tolist()
    wanted = [cell for cell in rank_L.argsort().tolist() if candidate_BL[0, cell]][:2]
    assert sorted(chosen) == sorted(wanted)


def test_a_roll_starts_elsewhere_and_stays_the_same_in_every_step(make_look) -> None:
    flat_BLV = torch.full((30, 16, 2), 0.5)

    def chosen(count: int, index: int) -> torch.Tensor:
        selection = make_look(flat_BLV, [count] * 30, index=index, grid=(4, 4))
        states = [g.get_state() for g in selection.generators]
        mask_BL = Halton()(selection)
        assert all(
            torch.equal(g.get_state(), s) for g, s in zip(selection.generators, states, strict=True)
        )
        return mask_BL

    first_BL, later_BL = chosen(1, 0), chosen(5, 2)
    assert len({tuple(row) for row in first_BL.int().tolist()}) > 5
    assert (later_BL | ~first_BL).all()  # what came first still comes first
    sequence = visits((4, 4)).argsort().tolist()
    start = sequence.index(int(first_BL[0].nonzero()))
    five = {sequence[(start + i) % 16] for i in range(5)}
    assert set(later_BL[0].nonzero()[:, 0].tolist()) == five


def test_large_grids_are_covered() -> None:
    assert visits((64, 64)).sort().values.tolist() == list(range(4096))
