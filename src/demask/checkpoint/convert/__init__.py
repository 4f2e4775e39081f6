"""Convert public checkpoints to our safetensors files."""

from demask.checkpoint.convert.convert import KINDS, convert

__all__ = ["KINDS", "convert"]
