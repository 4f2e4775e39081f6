"""`Networks`: the networks of a generator as one `torch.nn.Module`, which diffusers can move."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from demask.assembly import load
from demask.conditioning import Prompts
from demask.generator import Generator


class Networks(nn.Module):
    """The transformer, the tokenizer and the text encoder of a generator.

    Attributes:
        generator: works with these networks, wherever they are moved.
    """

    def __init__(self, generator: Generator) -> None:
        super().__init__()
        self.take(generator)

    def take(self, generator: Generator) -> None:
        """Replace the networks by those of another generator."""
        self.generator = generator
        networks = {"transformer": generator.transformer, "tokenizer": generator.tokenizer}
        for name, network in networks.items():
            assert isinstance(network, nn.Module)
            self.add_module(name, network)
        if isinstance(generator.conditioner, Prompts):
            self.add_module("text_encoder", generator.conditioner.text.model)

    def reload(self, loras: Sequence[str]) -> None:
        """Load the model again with other LoRAs, to the same device and type of weights.

        Raises:
            ValueError: as `demask.load`; the networks stay as they were.
        """
        old, dtype = self.generator, self.dtype
        arguments = {**old.loaded, "loras": loras}
        new = load(old.name, device=str(old.device), low_memory=old.low_memory, **arguments)
        self.take(replace(new, settings=old.settings))
        self.to(dtype)

    @property
    def device(self) -> torch.device:
        """Where the weights of the transformer are."""
        return next(self.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """The type of the weights, except for those in 8 bits."""
        return next(p.dtype for p in self.parameters() if p.is_floating_point())

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Networks:
        super()._apply(fn, recurse)
        for network in self.generator.aux.loaded.values():
            network._apply(fn, recurse)
        self.generator = replace(self.generator)  # which reads its device again
        return self
