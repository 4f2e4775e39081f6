"""Sweeps: generate under many settings, measure each, write it down, draw it, search on it."""
