"""Writing images, few or many, in memory that does not grow with their number."""
