"""Decoding several requests as one batch, each as if it were alone."""
