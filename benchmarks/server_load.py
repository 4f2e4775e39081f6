"""A crowd at `demask serve`: is every image the one it would be alone, and how fast are they?

`python benchmarks/server_load.py [--requests 500] [--clients 32] [--crowd 200]` starts a server of
its own and asks it over HTTP, as anybody would: first one request at a time, then many clients at
once, then more than the queue has room for. Every image is compared with that of
`demask.load(...).generate(...)`, which generates it alone, which takes minutes on 2 cores; `--solo
N` compares N of the images, and `--keep FOLDER` keeps them, to be compared at another time with
`--compare FOLDER`. Where other programs run, look at the processor seconds.
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
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

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
    """What /metrics says."""
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
    """Ask for many images from several clients; what came, and how long all of it took."""
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


def compare(model: str, images: list[bytes]) -> None:
    """Print how many of them differ."""
    print(f"  {wrong(model, images)} of {len(images)} differ from their solo images")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="emoji")
    parser.add_argument("--requests", type=int, default=500)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--crowd", type=int, default=200)
    parser.add_argument("--one-by-one", type=int, default=40, help="requests of the baseline")
    parser.add_argument("--solo", type=int, help="images compared; default: all")
    parser.add_argument("--queue", type=int, default=64, help="places for the crowd")
    parser.add_argument("--keep", type=Path, help="a folder for the images")
    parser.add_argument("--compare", type=Path, help="compare such a folder, and do nothing else")
    chosen = parser.parse_args()
    if chosen.compare is not None:
        kept = sorted(chosen.compare.glob("*.png"))
        assert kept, f"{chosen.compare} holds no images"
        compare(chosen.model, [path.read_bytes() for path in kept[: chosen.solo]])
        return

    with Server("--model", chosen.model) as port:
        crowd(port, range(2), 1)
        begin = numbers(port)
        single, seconds = crowd(port, range(chosen.one_by_one), 1)
        alone_rate = len(single) / seconds
        print(f"one at a time: {alone_rate:.2f} images/s, {1 / alone_rate:.2f} s each", flush=True)
        before = numbers(port)
        found, seconds = crowd(port, range(chosen.requests), chosen.clients)
        rate = len(found) / seconds
        after = numbers(port)
    lost = sum(status != 200 for status, _, _ in found)
    times = sorted(took for _, _, took in found)
    repeated = after["demask_repeated_steps_total"] - before["demask_repeated_steps_total"]
    batches = after["demask_batch_images_count"] - before["demask_batch_images_count"]
    print(f"{chosen.clients} clients: {rate:.2f} images/s, {rate / alone_rate:.2f} times that")
    print(f"  {len(found)} requests, {lost} lost, {len(found) / batches:.1f} images a batch")
    print(
        f"  seconds: median {times[len(times) // 2]:.1f}, 99 % {times[int(len(times) * 0.99)]:.1f}"
    )
    cpu = "process_cpu_seconds_total"
    alone_cpu = (before[cpu] - begin[cpu]) / len(single)
    print(f"  processor seconds an image: {(after[cpu] - before[cpu]) / len(found):.2f}", end="")
    print(f", one at a time {alone_cpu:.2f}")
    print(f"  {repeated:.0f} steps of an image done again, alone", flush=True)

    with Server("--model", chosen.model, "--max-queue", str(chosen.queue)) as port:
        crowd(port, range(1), 1)
        statuses = burst(port, chosen.crowd)
    print(
        f"{chosen.crowd} at once, {chosen.queue} places: {dict(sorted(statuses.items()))}",
        flush=True,
    )
    images = [png for _, png, _ in found]
    if chosen.keep is not None:
        chosen.keep.mkdir(parents=True, exist_ok=True)
        for index, png in enumerate(images):
            (chosen.keep / f"{index:04d}.png").write_bytes(png)
    compare(chosen.model, images[: chosen.solo])


if __name__ == "__main__":
    main()
