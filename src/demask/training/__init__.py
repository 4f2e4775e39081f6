"""Training: one resumable loop, and one task per thing that is trained."""
