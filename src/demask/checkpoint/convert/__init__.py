"""Turn other people's checkpoints into our safetensors files."""

from demask.checkpoint.convert.convert import KINDS, convert

__all__ = ["KINDS", "convert"]
