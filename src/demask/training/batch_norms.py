"""Recompute batch-norm statistics, which weight averaging leaves outdated."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn


def settle(
    model: nn.Module, batches: Iterable[Tensor], look: Callable[[Tensor], object] | None = None
) -> None:
    """Recompute the running statistics of all batch norms as a plain mean over some batches.

    Args:
        model: the model; it is in evaluation mode afterwards.
        batches: training examples; none are read if the model has no batch norm.
        look: runs the model on a batch; by default the model itself is called.
    """
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    if not norms:
        return
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean over the batches
    device = next(model.parameters()).device
    with torch.no_grad():
        model.train()
        for batch in batches:
            (look or model)(batch.to(device))
        model.eval()
