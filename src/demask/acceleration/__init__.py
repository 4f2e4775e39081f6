"""Ways to make a network faster."""
