"""A guidance provider for tests: it offers what it is given, and refuses everything else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from demask.guidance import PredictWithAttention
from demask.types import Condition, Predict, Tokenizer, Transformer


@dataclass(frozen=True)
class Offered:
    """A `demask.guidance.GuidanceProvider`."""

    transformer: Transformer | None = None
    tokenizer: Tokenizer | None = None
    nothing: Condition | None = None
    networks: Mapping[str, Any] = field(default_factory=dict)
    attention: PredictWithAttention | None = None
    batched: bool = True

    def unconditional(self) -> Condition:
        if self.nothing is None:
            raise ValueError("no such condition")
        return self.nothing

    def auxiliary(self, kind: str) -> Any:
        if kind not in self.networks:
            raise ValueError(f"no such network: {kind}")
        return self.networks[kind]

    def accelerated(self, network: Transformer) -> Transformer:
        return network

    def predict_with_attention(self) -> PredictWithAttention | None:
        return self.attention


@dataclass(frozen=True)
class Network:
    """A transformer of one function."""

    predict: Predict
