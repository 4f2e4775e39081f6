"""The device that a name means, checked before any work is done."""

from __future__ import annotations


def check_device(name: str | None) -> None:
    """Raise a ValueError for a device that is not available; None is the default device."""
    import torch

    if name is None:
        return
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError, NotImplementedError, TypeError):
        available = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
        if torch.backends.mps.is_available():
            available.append("mps")
        raise ValueError(
            f"there is no device '{name}' here; valid: {', '.join(available)}"
        ) from None


def default_device() -> str:
    """A GPU where there is one, else the CPU."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def checked_device(name: str | None) -> str:
    """The device of a name, by default that of `default_device`.

    Raises:
        ValueError: it is not available.
    """
    check_device(name)
    return name or default_device()
