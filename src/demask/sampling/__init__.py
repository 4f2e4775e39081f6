"""Sampling: the decode loop and its options."""
