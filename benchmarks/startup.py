"""The time of the command line, loading included: the minimum and the median of several runs.

python benchmarks/startup.py
"""

from __future__ import annotations

import argparse
import shlex
import statistics
import subprocess
import sys
import tempfile
import time

from result_file import Row, Value, add_result_option, write_if_asked


def seconds(*words: str) -> float:
    """The wall time of one call."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "demask", *words], check=True, capture_output=True)
    return time.perf_counter() - start


def main() -> None:
    """Measure and print a line a command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add_result_option(parser)
    chosen, rows = parser.parse_args(), []
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
            values = {"best": Value(round(best, 2), unit="s")}
            values["median"] = Value(round(median, 2), unit="s")
            rows.append(Row(f"demask {command}", values, {"runs": runs}))
    title = "How long does the command line take to start?"
    write_if_asked(chosen.result, title, rows, "none")


if __name__ == "__main__":
    main()
