"""The order of the examples: a function of the seed and the position, without any state."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from demask import rng
from demask.training.engine.config import TrainConfig


def shuffled(count: int, seed: int, positions: Tensor) -> Tensor:
    """The values at these positions of an endless sequence of shuffles of 0 to ``count`` - 1."""
    indices = torch.empty_like(positions)
    for epoch in torch.unique(positions // count).tolist():
        generator = torch.Generator().manual_seed(rng.derive(seed, "epoch", epoch))
        order = torch.randperm(count, generator=generator)
        here = positions // count == epoch
        indices[here] = order[positions[here] % count]
    return indices


def group_turn(sizes: Sequence[int], batch_size: int, seed: int, step: int) -> tuple[int, int]:
    """The group from which a step takes its batch, and the number of its previous turns.

    In an epoch a group has as many turns as it fills batches; the turns are in random order.

    Args:
        sizes: number of examples of each group.
        batch_size: examples per turn.
        seed: seed of the order.
        step: counted from 0.
    """

    def turns_before(epoch: int) -> list[int]:
        return [epoch * size // batch_size for size in sizes]

    # a lower bound, since the groups' turns are rounded down
    epoch = max(step * batch_size // sum(sizes) - 1, 0)
    while sum(turns_before(epoch + 1)) <= step:
        epoch += 1
    first, end = torch.tensor([turns_before(epoch), turns_before(epoch + 1)])
    turns = torch.repeat_interleave(torch.arange(len(sizes)), end - first)
    generator = torch.Generator().manual_seed(rng.derive(seed, "turns", epoch))
    order = turns[torch.randperm(len(turns), generator=generator)]
    place = step - int(first.sum())
    number = int(order[place])
    return number, int(first[number] + (order[:place] == number).sum())


def step_indices(
    examples: int,
    run: TrainConfig,
    step: int,
    rank: int,
    world: int,
    groups: Sequence[Tensor] | None = None,
) -> Tensor:
    """The examples of one device in a step; every epoch is shuffled separately.

    With groups, all examples of a step are of one group; see `group_turn`. The examples that fill
    no batch come first in the group's next turn, so that all examples are used equally often.

    Args:
        examples: number of examples.
        run: the batch size and the seed.
        step: counted from 0.
        rank: the device.
        world: the number of devices.
        groups: the examples of each group.
    """
    share = torch.arange(rank, run.batch_size, world)
    if groups is None:
        return shuffled(examples, run.seed, step * run.batch_size + share)
    number, turn = group_turn([len(g) for g in groups], run.batch_size, run.seed, step)
    group, seed = groups[number], rng.derive(run.seed, "group", number)
    return group[shuffled(len(group), seed, turn * run.batch_size + share)]
