"""Measuring images: features of a fixed network, and numbers made of them."""
