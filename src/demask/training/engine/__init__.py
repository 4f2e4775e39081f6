"""The training engine: a resumable loop and what it needs; it knows no particular task."""
