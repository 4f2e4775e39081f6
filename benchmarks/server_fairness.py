"""How long do small requests take beside a long one?

`python benchmarks/server_fairness.py [--requests 12]` starts a server of its own and asks for small
images, one after the other: alone, then while it generates the largest image that it allows in many
steps, then while it edits all of such an image window by window.
"""

from __future__ import annotations

import argparse
import io
import threading
import time
from collections.abc import Callable
from functools import partial

import httpx
import numpy as np
from PIL import Image
from result_file import Row, Value, add_result_option, write_if_asked
from server_load import Server, ask

SMALL = {"steps": 4}
LONG = {"prompt": "rocket", "seed": 0, "order": "margin"}


def main() -> None:
    """Print and write the latencies."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="emoji")
    parser.add_argument("--requests", type=int, default=12)
    parser.add_argument("--side", type=int, default=256, help="of the long requests, in pixels")
    parser.add_argument("--steps", type=int, default=64, help="of the long requests")
    add_result_option(parser)
    chosen = parser.parse_args()
    with Server("--model", chosen.model) as port:
        ask(port, 0, SMALL)
        long = partial(large_image, port, chosen.side, chosen.steps)
        edit = partial(long_edit, port, chosen.side, chosen.steps)
        rows = [
            measured("alone", port, chosen.requests, None),
            measured("beside a large image", port, chosen.requests, long),
            measured("beside a long edit", port, chosen.requests, edit),
        ]
    title = "How long do small requests take beside a long one?"
    write_if_asked(chosen.result, title, rows, f"0 to {chosen.requests - 1}")


def measured(name: str, port: int, count: int, long: Callable[[], int] | None) -> Row:
    """Print and return the latencies of small requests, and how long the long one took."""
    took: list[float] = []

    def run() -> None:
        start = time.perf_counter()
        assert long is not None
        assert long() == 200
        took.append(time.perf_counter() - start)

    other = threading.Thread(target=run)
    if long is not None:
        other.start()
        time.sleep(1)
    found = [ask(port, index, SMALL) for index in range(count)]
    beside = long is not None and not took
    if long is not None:
        other.join()
    assert all(status == 200 for status, _, _ in found)
    latencies = [seconds for _, _, seconds in found]
    values = {
        "median latency": Value(round(float(np.median(latencies)), 2), unit="s"),
        "longest latency": Value(round(max(latencies), 2), unit="s"),
    }
    if took:
        values["the long request"] = Value(round(took[0], 1), unit="s")
    told = ", ".join(f"{what} {value.value}" for what, value in values.items())
    print(f"{name}: {told}; it was still running at the end: {beside}", flush=True)
    return Row(name, values, {"requests": count})


def large_image(port: int, side: int, steps: int) -> int:
    """Ask for one image; the status."""
    body = {**LONG, "size": f"{side}x{side}", "steps": steps}
    url = f"http://127.0.0.1:{port}/v1/images/generations"
    return httpx.post(url, json=body, timeout=3000).status_code


def long_edit(port: int, side: int, steps: int) -> int:
    """Ask for an edit of all of an image; the status."""
    files = {}
    for name, mode in (("image", "RGB"), ("mask", "L")):
        buffer = io.BytesIO()
        Image.new(mode, (side, side), "white").save(buffer, "PNG")
        files[name] = buffer.getvalue()
    url = f"http://127.0.0.1:{port}/v1/images/edits"
    body = {name: str(value) for name, value in {**LONG, "steps": steps}.items()}
    return httpx.post(url, data=body, files=files, timeout=3000).status_code


if __name__ == "__main__":
    main()
