"""Evaluation of images: features of fixed networks, and the metrics computed from them."""
