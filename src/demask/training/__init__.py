"""Training: a resumable loop in ``engine``, a file for each training in ``tasks``."""
