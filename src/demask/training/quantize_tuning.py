"""Light quantisation-aware fine-tuning (SCQ, arXiv 2411.10781): distillation of the full network.

The int8 weights are frozen. Only the scales of rows, the biases and the weights of norms are
trained, which takes little memory and time.

Shape legend: B batch, L tokens, V codebook.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from demask.types import Condition, Step

RATE = 1e-3
"""The initial learning rate of a tensor, as a fraction of the mean of its absolute values."""

Batches = Callable[[int], Iterator[tuple[Tensor, Condition, Step, Tensor]]]


def finetune_quantized(
    network: nn.Module, full: nn.Module, batches: Batches, steps: int
) -> list[float]:
    """Train the scales, biases and norms of a quantized network.

    Args:
        network: the quantized network; it is modified.
        full: the full network, whose predictions are the targets.
        batches: returns input ids, condition, step and masked positions of each batch of a turn
            over the images.
        steps: the number of training steps.

    Returns:
        The loss of every step: the `divergence` in nats.
    """
    learning = [p for p in network.parameters() if p.ndim == 1 and p.is_floating_point()]
    before = {p: p.requires_grad for p in network.parameters()}
    for parameter in before:
        parameter.requires_grad_(False)
    for parameter in learning:
        parameter.requires_grad_(True)
    optimizer = torch.optim.Adam(
        [{"params": [p], "lr": RATE * max(float(p.detach().abs().mean()), 1e-6)} for p in learning]
    )
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    losses: list[float] = []
    turn = 0
    with torch.enable_grad():
        while len(losses) < steps:
            turn += 1
            for batch in batches(turn):
                loss = divergence(network, full, *batch)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                decay.step()
                losses.append(loss.item())
                if len(losses) == steps:
                    break
    for parameter, wanted in before.items():
        parameter.requires_grad_(wanted)
        parameter.grad = None
    return losses


def divergence(
    network: Any, full: Any, ids_BL: Tensor, condition: Condition, step: Step, masked_BL: Tensor
) -> Tensor:
    """The mean of KL(full || network) over masked tokens, in nats."""
    with torch.no_grad():
        wanted_BLV = full.predict(ids_BL, condition, step).logits_BLV.float().log_softmax(-1)
    said_BLV = network.predict(ids_BL, condition, step).logits_BLV.float().log_softmax(-1)
    kl_BL = F.kl_div(said_BLV, wanted_BLV, reduction="none", log_target=True).sum(-1)
    return kl_BL[masked_BL].mean()
