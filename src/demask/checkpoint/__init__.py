"""Checkpoints: read, load, save, convert."""
