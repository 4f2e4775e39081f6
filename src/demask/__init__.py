"""Demask: masked generative transformers that paint a picture in a few parallel steps."""

__version__ = "0.1.0"
