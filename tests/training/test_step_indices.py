"""Batches of examples that may not all share one."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from demask.training.engine.config import TrainConfig
from demask.training.engine.order import step_indices

RUN = TrainConfig(steps=1, batch_size=8, seed=3)
GROUPS = [torch.arange(0, 60, 3), torch.tensor([], dtype=torch.int64), torch.arange(1, 60, 3)]
GROUPS += [torch.arange(2, 60, 3)[:5]]
EXAMPLES = sum(map(len, GROUPS))


def batch(step: int, world: int = 1, run: TrainConfig = RUN, groups: list = GROUPS) -> list[int]:
    shares = [step_indices(EXAMPLES, run, step, rank, world, groups) for rank in range(world)]
    return torch.stack(shares, dim=1).flatten().tolist()


def group_of(indices: list[int]) -> int:
    (number,) = {n for n, group in enumerate(GROUPS) for i in indices if i in group}
    return number


@pytest.mark.parametrize("world", [2, 4])
def test_devices_share_the_batch_of_one_group(world: int) -> None:
    for step in range(40):
        group_of(batch(step))
        assert batch(step, world) == batch(step)


def test_every_example_is_seen_equally_often() -> None:
    seen: dict[int, list[int]] = {number: [] for number in range(len(GROUPS))}
    for step in range(8 * EXAMPLES // RUN.batch_size):  # 8 epochs: every group fills its batches
        indices = batch(step)
        seen[group_of(indices)] += indices
    for group, indices in zip(GROUPS, seen.values(), strict=True):
        assert Counter(indices) == dict.fromkeys(group.tolist(), 8)
        epochs = [indices[start : start + len(group)] for start in range(0, len(indices), 20)]
        if len(group) == 20:
            assert all(sorted(epoch) == group.tolist() for epoch in epochs)
            assert epochs[0] != epochs[1], "each in its own order"


def test_groups_take_turns_in_random_order_and_their_share() -> None:
    sizes = [400, 100]
    groups = [torch.arange(400), torch.arange(400, 500)]
    run = TrainConfig(steps=1, batch_size=10)
    turns = [
        int(step_indices(500, run, step, 0, 1, groups)[0] >= 400)  # 50 steps an epoch
        for step in range(150)
    ]
    epochs = [turns[start : start + 50] for start in range(0, 150, 50)]
    assert [sum(epoch) for epoch in epochs] == [sizes[1] // 10] * 3
    assert epochs[0] != epochs[1] != epochs[2]


def test_a_step_depends_on_the_seed_and_its_number_alone() -> None:
    assert batch(17) == batch(17)
    other = TrainConfig(steps=1, batch_size=8, seed=4)
    assert any(batch(step) != batch(step, run=other) for step in range(3))


def test_fewer_examples_than_a_batch() -> None:
    run = TrainConfig(steps=1, batch_size=64)
    groups = [torch.arange(3), torch.arange(3, 5)]
    seen = [i for step in range(15) for i in batch(step, run=run, groups=groups)]
    counts = Counter(seen)
    for group in groups:
        times = [counts[index] for index in group.tolist()]
        assert max(times) - min(times) <= 1
        assert abs(sum(times) / len(times) - 15 * 64 / 5) <= 64 / len(group)
