"""Sweeps and comparisons: generate with many settings, measure, plot and search."""
