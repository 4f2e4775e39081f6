"""The training engine: a resumable loop that is independent of the task."""
