"""Does `demask serve` grow? Mixed valid load for 20 minutes, with its resident memory drawn.

`python benchmarks/server_soak.py [--minutes 20] [--clients 4] [--plot FILE]` starts a server of its
own. Clients generate, edit, vary and stream images, fetch them by address, and some leave before
their answer. Caches and the store of images fill at first, so that the growth is that of the second
half: the slope of a line through its samples.
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np
from result_file import Row, Value, add_result_option, write_if_asked
from server_load import PROMPTS, Server, numbers

ROOT = Path(__file__).parents[1]
PERIOD = 5.0
"""Seconds between two samples."""

KEPT = "Images that are fetched by their address stay in memory for an hour, at most 64 MB of them."

Samples = list[tuple[float, float]]
"""Minutes since the start, and the resident memory in MB."""


def main() -> None:
    """Print, write and draw what was measured."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="emoji")
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--side", type=int, default=64, help="of the model's images, in pixels")
    parser.add_argument("--plot", type=Path, help="a PNG of the curve")
    add_result_option(parser)
    chosen = parser.parse_args()
    samples, found = soak(chosen)
    rows = [*minute_rows(samples), summary(samples, found)]
    if chosen.plot is not None:
        draw(samples, chosen.plot)
    title = "Does the resident memory of the server grow under mixed load?"
    write_if_asked(chosen.result, title, rows, f"0 to {chosen.clients - 1}", KEPT)


def soak(chosen: argparse.Namespace) -> tuple[Samples, Counter[tuple[str, int]]]:
    """The samples, and what the clients were answered."""
    sys.path.insert(0, str(ROOT / "tests"))
    from mixed_load import mixed_load

    samples: Samples = []
    ended = threading.Event()
    with Server("--model", chosen.model) as port:
        start = time.monotonic()

        def watch() -> None:
            while not ended.wait(PERIOD):
                resident = numbers(port)["process_resident_memory_bytes"] / 1e6
                samples.append(((time.monotonic() - start) / 60, resident))

        watching = threading.Thread(target=watch)
        watching.start()
        try:
            seconds = 60 * chosen.minutes
            found = mixed_load(port, seconds, chosen.clients, PROMPTS, chosen.side)
        finally:
            ended.set()
            watching.join()
    return samples, found


def minute_rows(samples: Samples) -> list[Row]:
    """The mean of each minute."""
    by_minute: dict[int, list[float]] = {}
    for minute, resident in samples:
        by_minute.setdefault(int(minute) + 1, []).append(resident)
    return [
        Row(
            f"minute {minute}",
            {"resident memory": Value(round(float(np.mean(each)), 1), unit="MB")},
        )
        for minute, each in by_minute.items()
    ]


def summary(samples: Samples, found: Counter[tuple[str, int]]) -> Row:
    """Print and return the growth of the second half, and the answers."""
    minutes, resident = np.array(samples).T
    late = minutes >= minutes[-1] / 2
    slope = float(np.polyfit(minutes[late], resident[late], 1)[0])
    wrong = sum(count for (_, status), count in found.items() if status not in (0, 200))
    kinds = Counter[str]()
    for (kind, _), count in found.items():
        kinds[kind] += count
    values = {
        "requests": Value(found.total()),
        "other answers than 200": Value(wrong),
        "memory of the second half": Value(round(float(resident[late].mean()), 1), unit="MB"),
        "growth a minute": Value(round(slope, 3), unit="MB"),
        **{f"requests: {kind}": Value(count) for kind, count in sorted(kinds.items())},
    }
    print(", ".join(f"{name} {value.value}" for name, value in values.items()), flush=True)
    return Row("all", values)


def draw(samples: Samples, path: Path) -> None:
    """Draw the samples as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3), layout="constrained")
    axes = figure.subplots()
    axes.plot(*np.array(samples).T, color="#2f6f8f")
    axes.set(xlabel="minutes of mixed load", ylabel="resident memory, MB", ylim=(0, None))
    axes.grid(alpha=0.3)
    FigureCanvasAgg(figure).print_png(str(path))


if __name__ == "__main__":
    main()
