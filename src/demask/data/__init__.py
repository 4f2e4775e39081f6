"""Where images for training and measuring come from."""

from demask.data.open import open_images

__all__ = ["open_images"]
