"""Image data sets for training and evaluation."""

from demask.data.open import open_images

__all__ = ["open_images"]
