"""The number type and the attention kernel of a training, the fastest ones on the device.

The choice depends on the processor alone, so a resumed run makes the same one.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

PRECISIONS = ("auto", "no", "bf16", "fp16")


def has_fast_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 products are faster than float32 ones on a device.

    On a CPU they are if it has instructions for them (AVX512-BF16 or AMX); otherwise they are
    emulated. ``benchmarks/training_speed.py`` measures both.
    """
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    return device.type == "cpu" and (
        torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    )


def resolve_precision(precision: str, device: torch.device) -> str:
    """The number type of mixed precision: ``no``, ``bf16`` or ``fp16``.

    Args:
        precision: one of `PRECISIONS`; ``auto`` is bfloat16 if that is fast on the device.
        device: the device of the training.

    Raises:
        ValueError: an unknown precision.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"unknown precision '{precision}'. Valid: {', '.join(PRECISIONS)}")
    if precision != "auto":
        return precision
    return "bf16" if has_fast_bfloat16(device) else "no"


def training_attention(device: torch.device) -> AbstractContextManager[None]:
    """The attention kernel of the training step.

    On a CPU the fused kernel's backward pass is slow at the few hundred tokens of an image, so
    attention is computed by explicit products there. On other devices PyTorch chooses.
    """
    return sdpa_kernel(SDPBackend.MATH) if device.type == "cpu" else nullcontext()
