"""The result of a converter: a network in our layout."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, is_dataclass
from typing import Any

from demask.checkpoint.architectures import ARCHITECTURES
from demask.checkpoint.layout import SAFE, Tensors


@dataclass(frozen=True)
class Converted:
    """One network.

    Attributes:
        architecture: name of the architecture.
        config: configuration, a dataclass or a mapping.
        tensors: tensors under our keys.
        more: additional metadata.
    """

    architecture: str
    config: Any
    tensors: Tensors
    more: Mapping[str, Any] = field(default_factory=dict)

    @property
    def file_name(self) -> str:
        """``transformer.safetensors``, ``tokenizer.safetensors``: as expected by `demask.load`."""
        known = self.architecture in ARCHITECTURES
        part = ARCHITECTURES[self.architecture].part if known else self.architecture
        return f"{part}{SAFE}"

    @property
    def description(self) -> Mapping[str, Any]:
        """The metadata of the file."""
        plain = asdict(self.config) if is_dataclass(self.config) else dict(self.config)  # type: ignore[arg-type]
        return {"architecture": self.architecture, "config": plain, **self.more}
