"""A text-to-image model of which only the LoRA adapters are trained."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

from torch import nn

from demask.training.captioned import TextToImage


class Adapted(TextToImage):
    """A text-to-image model whose parameters and state are the adapters alone.

    So averages and checkpoints are small. Copies share the frozen weights.
    """

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, nn.Parameter]]:
        """The parameters that are trained."""
        everything = super().named_parameters(prefix, recurse, remove_duplicate)
        return ((name, parameter) for name, parameter in everything if parameter.requires_grad)

    def state_dict(self, *arguments: Any, **keywords: Any) -> Any:
        """The tensors of the adapters."""
        everything = super().state_dict(*arguments, **keywords)
        return {name: tensor for name, tensor in everything.items() if ".lora_" in name}

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """Load the tensors of the adapters."""
        return super().load_state_dict({**super().state_dict(), **state_dict}, strict, assign)

    def __deepcopy__(self, memo: dict[int, Any]) -> Adapted:
        frozen = [p for _, p in super().named_parameters() if not p.requires_grad]
        memo.update({id(parameter): parameter for parameter in frozen})
        twin = type(self).__new__(type(self))
        memo[id(self)] = twin
        twin.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return twin
