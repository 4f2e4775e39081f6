"""Networks whose parameters take no memory until they are loaded."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import init
from torch.overrides import TorchFunctionMode


class Unfilled(TorchFunctionMode):
    """A context in which new parameters take no memory.

    Tensors made from values (`torch.tensor`, `torch.arange`) are materialised: no file stores them.
    """

    factories = (torch.empty, torch.zeros, torch.ones, torch.full, torch.randn, torch.rand)
    # skip random initialisation: on meta tensors torch would import its compiler, 70 to 120 MB
    draws = (
        *(init.normal_, init.uniform_, Tensor.normal_, Tensor.uniform_),
        *(Tensor.erfinv_, Tensor.mul_, Tensor.add_, Tensor.clamp_),  # `init.trunc_normal_`
        torch.eye,  # `init.eye_`
    )
    scalings = (Tensor.mul, Tensor.__mul__, Tensor.__rmul__)

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func in self.draws:
            tensor = kwargs.get("tensor", kwargs.get("out", args[0] if args else None))
            if isinstance(tensor, Tensor) and tensor.is_meta:
                return tensor
        if func in self.scalings and isinstance(args[1], int | float) and args[0].is_meta:
            return args[0]
        if func in self.factories and kwargs.get("device") is None:
            kwargs["device"] = "meta"
            func = torch.empty if func in (torch.randn, torch.rand) else func
        return func(*args, **kwargs)
