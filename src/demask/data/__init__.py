"""Where pictures for training and measuring come from."""

from demask.data.open import open_pictures

__all__ = ["open_pictures"]
