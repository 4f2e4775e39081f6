"""`demask serve` under load: is every image the same as alone, and how fast are they?

`python benchmarks/server_load.py [--requests 500] [--clients 32] [--crowd 200]` starts a server of
its own and sends requests over HTTP: first one at a time, then from many clients at
once, then more than the queue has room for. Every image is compared with that of
`demask.load(...).generate(...)`, which generates it alone, which takes minutes on 2 cores; `--solo
N` compares N of the images, and `--keep FOLDER` stores them, for a later comparison with
`--compare FOLDER`. If other programs run, compare the processor seconds.
"""

from __future__ import annotations

import argparse
import base64
import http.client
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from result_file import Row, Value, add_result_option, write_if_asked

PROMPTS = (
    *("red apple", "rocket", "smiling cat with heart eyes", "waving hand dark skin tone"),
    *("blue heart", "dog face", "pizza", "house with garden", "crescent moon", "bicycle"),
)


def ask(port: int, index: int, settings: dict[str, Any]) -> tuple[int, bytes, float]:
    """An image of number ``index``: the status, its PNG, and how long it took."""
    body = {"prompt": PROMPTS[index % len(PROMPTS)], "seed": index, **settings}
    start = time.perf_counter()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
    try:
        headers = {"Content-Type": "application/json"}
        connection.request("POST", "/v1/images/generations", json.dumps(body), headers)
        reply = connection.getresponse()
        data = reply.read()
    finally:
        connection.close()
    took = time.perf_counter() - start
    if reply.status != 200:
        return reply.status, b"", took
    return 200, base64.b64decode(json.loads(data)["data"][0]["b64_json"]), took


def numbers(port: int) -> dict[str, float]:
    """The numbers of /metrics."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    return {m[1]: float(m[2]) for m in re.finditer(r"^((?:demask|process)\S*) (\S+)$", text, re.M)}


class Server:
    """`demask serve` as a process of its own."""

    def __init__(self, *words: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        fixed = ["--no-page", "--time-limit", "3000", "--port", str(self.port)]
        command = [sys.executable, "-m", "demask", "serve", *fixed, *words]
        log = subprocess.DEVNULL
        self.process = subprocess.Popen(command, stdout=log, stderr=log, env=os.environ)

    def __enter__(self) -> int:
        while True:
            assert self.process.poll() is None, "the server did not start"
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return self.port
            except OSError:
                time.sleep(0.1)

    def __exit__(self, *error: object) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)


def crowd(port: int, indices: range, clients: int) -> tuple[list[tuple[int, bytes, float]], float]:
    """Request many images from several clients: the answers, and the total seconds."""
    start = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        found = list(pool.map(lambda index: ask(port, index, {}), indices))
    return found, time.perf_counter() - start


def burst(port: int, clients: int) -> Counter[int]:
    """All clients at the same moment, each once."""
    together = threading.Barrier(clients)

    def one(index: int) -> int:
        together.wait()
        return ask(port, index, {})[0]

    with ThreadPoolExecutor(clients) as pool:
        return Counter(pool.map(one, range(clients)))


def wrong(model: str, images: list[bytes]) -> int:
    """How many of the first images differ from those generated alone in this process."""
    import demask

    generator, differing = demask.load(model), 0
    for index, png in enumerate(images):
        (alone,) = generator.generate(PROMPTS[index % len(PROMPTS)], seed=index)
        served = np.asarray(Image.open(io.BytesIO(png)))
        differing += not np.array_equal(served, np.asarray(alone.image))
    return differing


def compare(model: str, images: list[bytes]) -> dict[str, Value]:
    """Print and return how many of them differ."""
    differing = wrong(model, images)
    print(f"  {differing} of {len(images)} differ from their solo images")
    return {"different images": Value(differing)} if images else {}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="emoji")
    parser.add_argument("--requests", type=int, default=500)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--crowd", type=int, default=200)
    parser.add_argument("--one-by-one", type=int, default=40, help="requests of the baseline")
    parser.add_argument("--solo", type=int, help="images compared; default: all")
    parser.add_argument("--queue", type=int, default=64, help="places for the crowd")
    parser.add_argument("--keep", type=Path, help="a folder for the images")
    parser.add_argument("--compare", type=Path, help="compare such a folder, and do nothing else")
    add_result_option(parser)
    chosen = parser.parse_args()
    if chosen.compare is not None:
        kept = sorted(chosen.compare.glob("*.png"))
        assert kept, f"{chosen.compare} holds no images"
        compare(chosen.model, [path.read_bytes() for path in kept[: chosen.solo]])
        return

    rows, images = steady(chosen)
    rush = rush_row(chosen)
    if chosen.keep is not None:
        chosen.keep.mkdir(parents=True, exist_ok=True)
        for index, png in enumerate(images):
            (chosen.keep / f"{index:04d}.png").write_bytes(png)
    same = compare(chosen.model, images[: chosen.solo])
    rows[-1] = replace(rows[-1], values={**rows[-1].values, **same})
    title = "How many images does the server make, and are they the same?"
    write_if_asked(chosen.result, title, [*rows, rush], f"0 to {chosen.requests - 1}")


CPU = "process_cpu_seconds_total"


def steady(chosen: argparse.Namespace) -> tuple[list[Row], list[bytes]]:
    """One request at a time, then many clients: the rows, and the images of the many."""
    with Server("--model", chosen.model) as port:
        crowd(port, range(2), 1)
        begin = numbers(port)
        single, seconds = crowd(port, range(chosen.one_by_one), 1)
        alone = row_of("one at a time", single, seconds, begin, numbers(port))
        before = numbers(port)
        found, seconds = crowd(port, range(chosen.requests), chosen.clients)
        after = numbers(port)
    many = row_of(f"{chosen.clients} clients", found, seconds, before, after)
    rate, alone_rate = (float(r.values["images a second"].value) for r in (many, alone))
    batches = after["demask_batch_images_count"] - before["demask_batch_images_count"]
    print(f"  {rate / alone_rate:.2f} times one at a time, {len(found) / batches:.1f} a batch")
    return [alone, many], [png for _, png, _ in found]


def row_of(
    name: str,
    found: list[tuple[int, bytes, float]],
    seconds: float,
    before: dict[str, float],
    after: dict[str, float],
) -> Row:
    """Print and return the time of requests."""
    times = sorted(took for _, _, took in found)
    lost = sum(status != 200 for status, _, _ in found)
    repeated = after["demask_repeated_steps_total"] - before["demask_repeated_steps_total"]
    values = {
        "images a second": Value(len(found) / seconds),
        "CPU seconds an image": Value((after[CPU] - before[CPU]) / len(found), unit="s"),
        "median latency": Value(round(times[len(times) // 2], 2), unit="s"),
        "latency of 99 %": Value(round(times[int(len(times) * 0.99)], 2), unit="s"),
        "repeated steps": Value(repeated),
    }
    told = ", ".join(f"{what} {value.value:.2f}" for what, value in values.items())
    print(f"{name}: {len(found)} requests, {lost} lost, {told}", flush=True)
    return Row(name, values, {"requests": len(found), "lost": lost})


def rush_row(chosen: argparse.Namespace) -> Row:
    """Print and return the answers to more simultaneous requests than the queue has places."""
    with Server("--model", chosen.model, "--max-queue", str(chosen.queue)) as port:
        crowd(port, range(1), 1)
        statuses = burst(port, chosen.crowd)
    name = f"crowd of {chosen.crowd} for {chosen.queue} places"
    print(f"{name}: {dict(sorted(statuses.items()))}", flush=True)
    values = {"served": Value(statuses[200]), "refused": Value(statuses[429])}
    return Row(name, values, {"requests": chosen.crowd})


if __name__ == "__main__":
    main()
