"""How long the command line takes, loading included: the best and the median of some runs.

python benchmarks/startup.py
"""

from __future__ import annotations

import shlex
import statistics
import subprocess
import sys
import tempfile
import time


def seconds(*words: str) -> float:
    """The wall time of one call."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "demask", *words], check=True, capture_output=True)
    return time.perf_counter() - start


def main() -> None:
    """Measure and print a line a command."""
    with tempfile.TemporaryDirectory() as out:
        for words, runs in (
            (("--help",), 10),
            (("generate", "--help"), 10),
            (("generate", "red apple", "--out", out), 5),
            (("generate", "red apple", "-n", "64", "--out", out), 3),
            (("generate", "--model", "cifar10", "-n", "8", "--out", out), 3),
        ):
            times = [seconds(*words) for _ in range(runs)]
            best, median = min(times), statistics.median(times)
            command = shlex.join(words).replace(out, "DIR")
            print(f"demask {command}: best {best:.2f} s, median {median:.2f} s of {runs}")


if __name__ == "__main__":
    main()
