"""How long `demask --help` takes: the best and the median of some runs."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

RUNS = 10


def seconds(*words: str) -> float:
    """The wall time of one call."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "demask", *words], check=True, capture_output=True)
    return time.perf_counter() - start


if __name__ == "__main__":
    for words in (["--help"], ["generate", "--help"]):
        times = [seconds(*words) for _ in range(RUNS)]
        best, median = min(times), statistics.median(times)
        print(f"demask {' '.join(words)}: best {best:.3f} s, median {median:.3f} s of {RUNS}")
