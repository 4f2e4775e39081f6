"""What a loaded model offers to a guidance."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from demask.acceleration import Accelerator, accelerate
from demask.auxiliary import AuxiliaryNetworks
from demask.guidance.guidance import PredictWithAttention
from demask.transformer.protocols import SupportsAttention, supports
from demask.types import Condition, Tokenizer, Transformer


@dataclass(frozen=True)
class ModelProvider:
    """The `demask.guidance.GuidanceProvider` of a generator.

    Attributes:
        transformer: the model, under the accelerators.
        tokenizer: its tokenizer.
        unconditional: see `demask.guidance.GuidanceProvider`.
        networks: the auxiliary networks of the model.
        accelerators: the accelerators of the settings.
        batched: see `demask.guidance.GuidanceProvider`.
    """

    transformer: Transformer
    tokenizer: Tokenizer
    unconditional: Callable[[], Condition]
    networks: AuxiliaryNetworks
    accelerators: Sequence[Accelerator] = ()
    batched: bool = True

    def auxiliary(self, kind: str) -> Any:
        """See `demask.guidance.GuidanceProvider`."""
        return self.networks.get(kind)

    def accelerated(self, network: Transformer) -> Transformer:
        """See `demask.guidance.GuidanceProvider`."""
        for accelerator in self.accelerators:
            if accelerator.aux_kind is not None:
                raise ValueError(f"{accelerator.aux_kind} is not made for a weaker model")
        return accelerate(network, self.accelerators)

    def predict_with_attention(self) -> PredictWithAttention | None:
        """See `demask.guidance.GuidanceProvider`."""
        model = self.transformer
        return model.predict_with_attention if supports(model, SupportsAttention) else None
