"""Decode images of several requests as one batch, with the same result as each alone."""
