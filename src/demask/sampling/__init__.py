"""Sampling: the decode loop and every choice that it leaves open."""
