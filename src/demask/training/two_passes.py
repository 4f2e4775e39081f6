"""Evaluation of the second pass of self-guidance: held-out scores, and one-step images.

Shape legend: B batch, L tokens, V codebook, C channels, H W rows and columns.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from demask.training.samples import tiled
from demask.training.substitution import Corruption, step_of
from demask.transformer.feature_selection import Base, FeatureSelection
from demask.types import Condition, Tokenizer, TokenLayout

MASK_RATIO = 0.9
"""Fraction of the tokens that `one_step_images` masks."""
PUBLISHED = 2.0
"""The guidance scale of the paper."""


def two_passes(
    base: Base, module: FeatureSelection, ids_BL: Tensor, condition: Condition, layout: TokenLayout
) -> dict[str, Tensor]:
    """Logits (B, L, V) of the model, of its second pass, and of self-guidance."""
    step = step_of(ids_BL == base.mask_id, layout)
    plain = base.predict(ids_BL, condition, step)
    assert plain.features is not None
    smoothed_BLV = module.smoothed_logits(base, plain.features, condition, step)
    guided_BLV = smoothed_BLV + PUBLISHED * (plain.logits_BLV - smoothed_BLV)
    return {"plain": plain.logits_BLV, "smoothed": smoothed_BLV, "guided": guided_BLV}


BATCH = 100
"""Held-out images per pass."""


@torch.no_grad()
def held_out_scores(
    corruption: Corruption,
    module: FeatureSelection,
    ids_BL: Tensor,
    condition: Condition,
    layout: TokenLayout,
) -> dict[str, float]:
    """Cross-entropy in nats per token, without label smoothing.

    Args:
        corruption: masks and replaces tokens.
        module: the second pass.
        ids_BL: the true ids.
        condition: the condition of each image.
        layout: of the ids.

    Returns:
        ``replaced``, the cross-entropy of the second pass at replaced tokens, which is the training
        loss; and at masked tokens ``masked_plain`` of the model, ``masked_smoothed`` of the second
        pass and ``masked_guided`` of self-guidance.
    """
    generator = torch.Generator().manual_seed(0)
    losses: dict[str, list[Tensor]] = {}
    for part in torch.arange(len(ids_BL), device=ids_BL.device).split(BATCH):
        true_BL, part_condition = ids_BL[part], condition.take(part)
        input_BL, replaced_BL = corruption(true_BL, part_condition, layout, generator)
        masked_BL = input_BL == corruption.base.mask_id
        for name, logits_BLV in two_passes(
            corruption.base, module, input_BL, part_condition, layout
        ).items():
            loss_BL = F.cross_entropy(logits_BLV.float().transpose(1, 2), true_BL, reduction="none")
            losses.setdefault(f"masked_{name}", []).append(loss_BL[masked_BL])
            if name == "smoothed":
                losses.setdefault("replaced", []).append(loss_BL[replaced_BL])
    return {name: float(torch.cat(rows).mean()) for name, rows in sorted(losses.items())}


@torch.no_grad()
def one_step_images(
    base: Base,
    module: FeatureSelection,
    ids_BL: Tensor,
    condition: Condition,
    layout: TokenLayout,
    tokenizer: Tokenizer,
) -> Tensor:
    """Images of which 90 % of the tokens are masked (seed 0) and predicted in one step: (C, H, W).

    Four rows with a column for each image: the true tokens, the model, its second pass, and
    self-guidance.
    """
    order_BL = torch.rand(ids_BL.shape, generator=torch.Generator().manual_seed(0)).argsort(-1)
    masked_BL = (order_BL < math.ceil(MASK_RATIO * ids_BL.shape[1])).to(ids_BL.device)
    input_BL = torch.where(masked_BL, base.mask_id, ids_BL)
    passes = two_passes(base, module, input_BL, condition, layout).values()
    rows = [ids_BL, *(torch.where(masked_BL, l_BLV.argmax(-1), ids_BL) for l_BLV in passes)]
    images = [tokenizer.decode(layout.join(row_BL, base.codebook_size).cpu()) for row_BL in rows]
    return tiled(torch.cat(images), across=len(ids_BL))
