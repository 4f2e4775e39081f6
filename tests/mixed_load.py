"""Valid requests of every kind at a server; some clients leave before their answer."""

from __future__ import annotations

import io
import random
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable

import httpx
import numpy as np
from PIL import Image

PATIENCE = 600.0
"""Seconds that a client waits, longer than any request takes."""


class Client:
    """Asks for one thing after the other, as a random generator decides.

    Args:
        port: of the server on this machine.
        prompts: what images show.
        side: of the model's own images, in pixels.
        seed: of the generator.
    """

    def __init__(self, port: int, prompts: tuple[str, ...], side: int, seed: int) -> None:
        self.port, self.prompts, self.side = port, prompts, side
        self.rng = random.Random(seed)
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE)
        self.kinds: dict[str, Callable[[], int]] = {
            "generation": self.generation,
            "address": self.address,
            "stream": self.stream,
            "edit": self.edit,
            "variation": self.variation,
            "vanished": self.vanished,
            "vanished stream": self.vanished_stream,
        }

    def ask(self) -> tuple[str, int]:
        """Make a request; its kind and the status of the answer."""
        kind = self.rng.choice(list(self.kinds))
        return kind, self.kinds[kind]()

    def body(self) -> dict[str, object]:
        """The fields of a request."""
        body: dict[str, object] = {
            "prompt": self.rng.choice(self.prompts),
            "seed": self.rng.randrange(2**32),
            "steps": self.rng.choice((2, 3, 4)),
            "output_format": self.rng.choice(("png", "jpeg", "webp")),
        }
        return body | self.rng.choice(({}, {"n": 2}, {"top_k": 50}, {"guidance_scale": 2.0}))

    def post(self, **more: object) -> httpx.Response:
        return self.http.post("/v1/images/generations", json={**self.body(), **more})

    def generation(self) -> int:
        return self.post().status_code

    def address(self) -> int:
        answer = self.post(response_format="url")
        if answer.status_code != 200:
            return answer.status_code
        return self.http.get(answer.json()["data"][0]["url"]).status_code

    def stream(self) -> int:
        answer = self.post(stream=True, partial_images=2)
        return answer.status_code if ".completed" in answer.text else 500

    def photo(self) -> bytes:
        """An image of noise, of one to two windows a side, in one of three formats."""
        size = [self.rng.randrange(self.side, 2 * self.side) for _ in range(2)]
        noise = np.random.default_rng(self.rng.randrange(2**32)).integers(0, 256, (*size, 3))
        buffer = io.BytesIO()
        kind = self.rng.choice(("PNG", "JPEG", "WEBP"))
        Image.fromarray(noise.astype(np.uint8)).save(buffer, kind)
        return buffer.getvalue()

    def edit(self) -> int:
        photo = self.photo()
        mask, buffer = Image.new("L", Image.open(io.BytesIO(photo)).size), io.BytesIO()
        mask.paste(255, (0, 0, self.side // 2, self.side))
        mask.save(buffer, "PNG")
        return self.form("edits", image=photo, mask=buffer.getvalue())

    def variation(self) -> int:
        return self.form("variations", image=self.photo())

    def form(self, kind: str, **files: bytes) -> int:
        fields = {name: str(value) for name, value in self.body().items()}
        return self.http.post(f"/v1/images/{kind}", data=fields, files=files).status_code

    def vanished(self) -> int:
        """Leave after a moment, at any place of the way; 0, as there is no answer."""
        request = self.http.build_request("POST", "/v1/images/generations", json=self.body())
        head = f"POST {request.url.path} HTTP/1.1\r\nHost: localhost\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(request.content)}\r\n\r\n"
        whole = head.encode() + request.content
        with socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE) as connection:
            connection.sendall(whole[: self.rng.choice((len(whole) // 2, len(whole)))])
            time.sleep(self.rng.uniform(0, 0.3))
        return 0

    def vanished_stream(self) -> int:
        """Leave at the first unfinished image; 0."""
        body = self.body() | {"stream": True, "partial_images": 3}
        with self.http.stream("POST", "/v1/images/generations", json=body) as answer:
            next(answer.iter_bytes())
        return 0


def mixed_load(
    port: int, seconds: float, clients: int, prompts: tuple[str, ...], side: int
) -> Counter[tuple[str, int]]:
    """What clients with the seeds 0, 1, ... were answered, by kind of request and status."""
    until, found, lock = time.monotonic() + seconds, Counter[tuple[str, int]](), threading.Lock()

    def go(seed: int) -> None:
        client = Client(port, prompts, side, seed)
        while time.monotonic() < until:
            kind, status = client.ask()
            with lock:
                found[kind, status] += 1
        client.http.close()

    threads = [threading.Thread(target=go, args=(seed,)) for seed in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found
