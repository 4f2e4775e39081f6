"""Keys, sizes, slow and broken clients: clean errors, and the server lives on."""

from __future__ import annotations

import http.client
import io
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from PIL import Image

from broken_png import bomb
from demask.generator import Generator
from demask.server import run
from demask.server.addresses import client_name, read_networks, read_public_url
from demask.server.app import LOCAL, ServerConfig
from demask.server.engine import Engine, Limits, Request, Ticket
from demask.server.guard import Keys
from demask.server.run import Listening
from serving import Running, serving

KEY = "a key that is long enough"
BODY = {"model": "tiny", "prompt": "cat", "steps": 2}


def post(
    server: Running, path: str, body: bytes, headers: dict[str, str]
) -> tuple[int, dict[str, Any], dict[str, str]]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    try:
        connection.request("POST", path, body, headers)
        reply = connection.getresponse()
        return reply.status, json.loads(reply.read()), dict(reply.getheaders())
    finally:
        connection.close()


def post_json(
    server: Running, body: object, **headers: str
) -> tuple[int, dict[str, Any], dict[str, str]]:
    sent = {"Content-Type": "application/json", **headers}
    return post(server, "/v1/images/generations", json.dumps(body).encode(), sent)


def post_form(server: Running, image: bytes, *, name: str = "image") -> tuple[int, dict[str, Any]]:
    line = f'--x\r\nContent-Disposition: form-data; name="{name}"; filename="a.png"\r\n\r\n'
    body = line.encode() + image + b"\r\n--x--\r\n"
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    status, answer, _ = post(server, "/v1/images/edits", body, headers)
    return status, answer


def get(server: Running, path: str, **headers: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    try:
        connection.request("GET", path, headers=headers)
        reply = connection.getresponse()
        reply.read()
        return reply.status
    finally:
        connection.close()


@pytest.fixture(scope="module")
def strict(generators: dict[str, Generator]) -> Iterator[Running]:
    """A server with a key, small limits and names of its own."""
    config = ServerConfig(Keys.of([KEY]), most_bytes=4096, body_seconds=0.5)
    with serving(generators, Limits(pixels=1024), config, KEY) as running:
        yield running


def test_every_v1_route_needs_the_key(strict: Running) -> None:
    assert strict.client.images.generate(prompt="cat", extra_body={"steps": 2}).data
    for path in ("/v1/models", "/v1/models/tiny", "/v1/none", "/v1"):
        assert get(strict, path) == 401
        assert get(strict, path, Authorization="Bearer wrong") == 401
        assert get(strict, path, Authorization=f"Basic {KEY}") == 401
    for path in ("/v1/images/generations", "/v1/images/edits"):
        assert post(strict, path, b"{}", {})[0] == 401
    for path in ("/healthz", "/readyz", "/metrics", "/openapi.json"):
        assert get(strict, path) == 200
    other = strict.client.with_options(api_key="wrong")
    with pytest.raises(openai.AuthenticationError, match="an API key is needed"):
        other.models.list()


def test_a_request_of_too_many_bytes_is_refused(strict: Running) -> None:
    key = {"Authorization": f"Bearer {KEY}"}
    long = {"prompt": "x" * 5000}
    assert post_json(strict, long, **key)[0] == 413
    # without a length, in chunks
    connection = http.client.HTTPConnection("127.0.0.1", strict.port, timeout=30)
    headers = {"Content-Type": "application/json", **key}
    chunks = (b" " * 1000 for _ in range(10))
    connection.request("POST", "/v1/images/generations", chunks, headers, encode_chunked=True)
    assert connection.getresponse().status == 413
    connection.close()


def test_too_long_a_request_is_refused_before_it_arrives(strict: Running) -> None:
    with socket.create_connection(("127.0.0.1", strict.port), timeout=30) as waiting:
        head = f"POST /v1/images/generations HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n"
        waiting.sendall(f"{head}Content-Length: 4097\r\n\r\n".encode())
        assert b" 413 " in waiting.recv(4096).splitlines()[0]


def test_a_slow_request_is_given_up(strict: Running) -> None:
    with socket.create_connection(("127.0.0.1", strict.port), timeout=30) as slow:
        head = f"POST /v1/images/generations HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n"
        slow.sendall(
            f"{head}Content-Type: application/json\r\nContent-Length: 99\r\n\r\n{{".encode()
        )
        assert b" 408 " in slow.recv(4096).splitlines()[0]


def test_the_deadline_of_a_body_holds_from_its_first_byte(strict: Running) -> None:
    """Chunks that keep coming do not move it: a body of 99 bytes would take 10 seconds."""
    start = time.monotonic()
    with socket.create_connection(("127.0.0.1", strict.port), timeout=30) as slow:
        head = f"POST /v1/images/generations HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n"
        slow.sendall(f"{head}Content-Type: application/json\r\nContent-Length: 99\r\n\r\n".encode())
        slow.settimeout(0.1)
        while time.monotonic() < start + 9:
            slow.sendall(b" ")
            try:
                answer = slow.recv(4096)
                break
            except TimeoutError:
                continue
    assert b" 408 " in answer.splitlines()[0]
    assert 0.4 < time.monotonic() - start < 5  # body_seconds is 0.5


def test_the_deadline_of_a_head_holds_from_its_first_byte(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "HEAD_SECONDS", 0.5)
    start = time.monotonic()
    with socket.create_connection(("127.0.0.1", server.port), timeout=0.1) as slow:
        slow.sendall(b"GET /healthz HTTP/1.1\r\nX: ")
        while time.monotonic() < start + 9:
            try:
                slow.sendall(b"x")
                assert slow.recv(4096) == b""
                break
            except TimeoutError:
                continue
            except ConnectionError:
                break
    assert 0.4 < time.monotonic() - start < 5


def test_a_head_that_never_comes_is_not_waited_for(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "HEAD_SECONDS", 0.2)
    for begun in (b"", b"GET / HTTP/1.1\r\nHost:"):
        with socket.create_connection(("127.0.0.1", server.port), timeout=30) as slow:
            slow.sendall(begun)
            assert slow.recv(4096) == b""


def test_a_half_closed_connection_still_gets_its_answer_or_none(server: Running) -> None:
    body = json.dumps(BODY).encode()
    head = b"POST /v1/images/generations HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    for told in (len(body), len(body) + 50):
        with socket.create_connection(("127.0.0.1", server.port), timeout=30) as half:
            half.sendall(head + f"Content-Length: {told}\r\n\r\n".encode() + body)
            half.shutdown(socket.SHUT_WR)
            half.recv(65536)
    assert server.client.images.generate(**BODY_ARGUMENTS).data


BODY_ARGUMENTS: dict[str, Any] = {"model": "tiny", "prompt": "cat", "extra_body": {"steps": 2}}


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"prompt": NaN}', b"[" * 4000, b'"x"']
)
def test_what_is_no_json_object_is_one_line(server: Running, body: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    status, answer, _ = post(server, "/v1/images/generations", body, headers)
    assert status == 400
    assert answer["error"]["message"]


def test_numbers_that_are_none_are_refused(server: Running) -> None:
    for value in ("NaN", "Infinity", "1e999", "-1e999"):
        body = f'{{"prompt": "cat", "guidance_scale": {value}}}'.encode()
        headers = {"Content-Type": "application/json"}
        assert post(server, "/v1/images/generations", body, headers)[0] == 400


def test_a_web_page_cannot_send_json_as_plain_text(server: Running) -> None:
    assert post_json(server, BODY, **{"Content-Type": "text/plain"})[0] == 400


@pytest.mark.parametrize(
    ("image", "status"),
    [
        (b"", 400),
        (b"no image", 400),
        (b"GIF89a" + bytes(50), 400),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", 400),
        (b"\x89PNG\r\n\x1a\n", 400),
        (bomb(16, 16)[:50], 400),
        (bomb(0, 16), 400),
        (bomb(60000, 60000), 413),
        (bomb(30000, 4000), 413),
        (bomb(513, 513), 413),
    ],
    ids=[
        *("empty", "text", "gif", "postscript", "head_alone", "cut_off", "no_width"),
        *("huge", "warned_of", "too_large"),
    ],
)
def test_an_image_that_is_none_is_refused(server: Running, image: bytes, status: int) -> None:
    found, answer = post_form(server, image)
    assert (found, "image" in answer["error"]["message"]) == (status, True)


def test_a_form_without_an_image_is_refused(server: Running) -> None:
    assert post_form(server, b"x", name="picture")[0] == 400
    wrong = {"Content-Type": "multipart/form-data; boundary=x"}
    for body in (b"", b"--x", b"--x\r\n\r\n--x--", b"\0" * 100):
        assert post(server, "/v1/images/edits", body, wrong)[0] == 400
    text = {"Content-Type": "text/plain"}
    assert post(server, "/v1/images/edits", b"image=/etc/passwd", text)[0] == 400


def test_a_client_that_leaves_frees_its_place(generators: dict[str, Generator]) -> None:
    with serving(generators, Limits(queue=1)) as server:
        running, held = threading.Event(), threading.Event()
        real = server.engine._worker.run

        def generate(batch: Any) -> Iterator[None]:
            running.set()
            assert held.wait(60)
            yield from real(batch)

        server.engine._worker.run = generate  # type: ignore[method-assign]
        with post_and_go(server) as first, post_and_go(server, after=running) as second:
            until(lambda: server.engine.waiting == 1)
            status, answer, headers = post_json(server, BODY)
            assert (status, answer["error"]["code"]) == (429, "queue_full")
            assert int(headers["retry-after"]) >= 1
            second.close()
            until(lambda: server.engine._queue.waiting[0].ticket.gave_up is not None)
            threading.Timer(0.5, held.set).start()
            assert post_json(server, BODY)[0] == 200
            assert first.getresponse().status == 200


@contextmanager
def post_and_go(
    server: Running, after: threading.Event | None = None
) -> Iterator[http.client.HTTPConnection]:
    """Ask for an image, once something has happened, and don't wait for it."""
    assert after is None or after.wait(20)
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    headers = {"Content-Type": "application/json"}
    connection.request("POST", "/v1/images/generations", json.dumps(BODY).encode(), headers)
    try:
        yield connection
    finally:
        connection.close()


def until(true: Callable[[], bool], seconds: float = 20) -> None:
    """Wait for something that must come true."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.01)


def test_who_waits_behind_others_is_told_in_time(generators: dict[str, Generator]) -> None:
    with serving(generators, Limits(seconds=0.5)) as server:
        held = threading.Event()

        def hold(_batch: Any) -> Iterator[None]:
            held.wait(30)
            yield

        server.engine._worker.run = hold  # type: ignore[method-assign]
        start = time.monotonic()
        status, answer, _ = post_json(server, BODY)
        assert (status, answer["error"]["code"]) == (504, "time_limit")
        assert time.monotonic() - start < 10
        held.set()


def test_a_crowd_is_served_or_told_to_come_again(generators: dict[str, Generator]) -> None:
    with serving(generators, Limits(queue=6)) as server:
        together = threading.Barrier(24)

        def ask(seed: int) -> tuple[int, dict[str, str]]:
            together.wait(30)
            status, _, headers = post_json(server, {**BODY, "steps": 8, "seed": seed})
            return status, headers

        with ThreadPoolExecutor(24) as pool:
            found = list(pool.map(ask, range(24)))
        statuses = [status for status, _ in found]
        assert set(statuses) <= {200, 429}
        assert statuses.count(200) >= 6
        assert all("retry-after" in headers for status, headers in found if status == 429)
        assert post_json(server, BODY)[0] == 200


def test_metrics_count(server: Running) -> None:
    server.client.images.generate(**BODY_ARGUMENTS)
    text = server.metrics.text().decode()
    assert 'demask_images_total{model="tiny"}' in text
    assert "demask_queue_length 0.0" in text
    assert 'demask_stage_seconds_count{stage="steps"}' in text
    assert get(server, "/metrics") == 200


def test_a_name_that_is_not_ours_is_not_answered(generators: dict[str, Generator]) -> None:
    with serving(generators, config=ServerConfig(hosts=LOCAL)) as server:
        assert get(server, "/healthz") == 200
        assert get(server, "/healthz", Host="evil.example") == 400


def connect(server: Running) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=30)


def test_idle_connections_of_one_client_leave_room_for_others(
    generators: dict[str, Generator],
) -> None:
    few = Listening(connections=5)
    with serving(generators, listening=few) as server:
        idle = [connect(server) for _ in range(8)]
        refused = [each for each in idle[5:] if b" 429 " in each.recv(4096)]
        assert len(refused) == 3
        other = socket.create_connection(
            ("127.0.0.1", server.port), timeout=30, source_address=("127.0.0.2", 0)
        )
        other.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b" 200 " in other.recv(4096)
        idle[0].close()
        until(lambda: get_or_none(server) == 200)  # it is counted no more
        for each in (*idle, other):
            each.close()


def get_or_none(server: Running) -> int | None:
    try:
        return get(server, "/healthz")
    except (OSError, http.client.HTTPException):
        return None


def test_a_trusted_proxy_may_have_more_connections(generators: dict[str, Generator]) -> None:
    behind = Listening(connections=2, proxies=read_networks(["127.0.0.0/24"]))
    with serving(generators, listening=behind) as server:
        idle = [connect(server) for _ in range(4)]
        assert get(server, "/healthz") == 200
        for each in idle:
            each.close()


def url_of(server: Running, **headers: str) -> str:
    _, answer, _ = post_json(server, {**BODY, "response_format": "url"}, **headers)
    url: str = answer["data"][0]["url"]
    return url.rpartition("/files/")[0]


def test_behind_a_trusted_proxy_addresses_are_those_that_clients_use(
    generators: dict[str, Generator], server: Running
) -> None:
    forwarded = {"X-Forwarded-Proto": "https", "Host": "images.example"}
    behind = Listening(proxies=read_networks(["127.0.0.1"]))
    with serving(generators, listening=behind) as trusting:
        assert url_of(trusting, **forwarded) == "https://images.example"
    assert url_of(server, **forwarded) == "http://images.example"  # anybody could say https
    elsewhere = Listening(proxies=read_networks(["10.0.0.0/8"]))
    with serving(generators, listening=elsewhere) as other:
        assert url_of(other, **forwarded) == "http://images.example"


def test_the_public_url_is_that_of_answers_and_of_the_page(
    generators: dict[str, Generator],
) -> None:
    public = read_public_url("https://images.example/demask")
    with serving(generators, config=ServerConfig(public_url=public)) as server:
        assert url_of(server) == "https://images.example/demask"
        assert post_json(server, BODY, Origin="https://images.example")[0] == 200
        assert post_json(server, BODY, Origin="https://elsewhere.example")[0] == 403


def test_the_engine_hears_who_asks(
    generators: dict[str, Generator], monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[str] = []
    real = Engine.submit

    def submit(engine: Engine, *requests: Request) -> list[Ticket]:
        heard.extend(request.client for request in requests)
        return real(engine, *requests)

    monkeypatch.setattr(Engine, "submit", submit)
    other = "another key that is long enough"
    with serving(generators, config=ServerConfig(Keys.of([KEY, other]))) as server:
        for key in (f"Bearer {KEY}", f"Bearer {other}", f"bearer  {KEY}"):
            assert post_json(server, BODY, Authorization=key)[0] == 200
    assert heard[0] == heard[2] != heard[1]
    assert KEY not in heard[0]
    behind = Listening(proxies=read_networks(["127.0.0.1"]))
    with serving(generators, listening=behind) as server:
        assert post_json(server, BODY)[0] == 200
        assert post_json(server, BODY, **{"X-Forwarded-For": "192.0.2.7"})[0] == 200
        photo = {"image": ("a.png", png_of(16), "image/png")}
        for kind in ("edits", "variations"):
            url = f"http://127.0.0.1:{server.port}/v1/images/{kind}"
            headers = {"X-Forwarded-For": "192.0.2.8"}
            assert httpx.post(url, files=photo, headers=headers, timeout=30).status_code == 200
    assert heard[3:] == ["127.0.0.1", "192.0.2.7", "192.0.2.8", "192.0.2.8"]


def png_of(side: int) -> bytes:
    """A PNG that is transparent."""
    buffer = io.BytesIO()
    Image.new("RGBA", (side, side)).save(buffer, "PNG")
    return buffer.getvalue()


def test_a_client_is_its_address_or_its_site() -> None:
    assert client_name("10.1.2.3") == client_name("::ffff:10.1.2.3") == "10.1.2.3"
    assert (
        client_name("2001:db8:1:2::3") == client_name("2001:db8:1:2:ffff::") == "2001:db8:1:2::/64"
    )
    assert client_name("2001:db8:1:3::3") == "2001:db8:1:3::/64"
    assert client_name("testclient") == "testclient"


def test_keys_are_read_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"# ours\n{KEY}\n\nanother key of mine\n")
    keys = Keys.read(file)
    assert keys.fit(f"Bearer {KEY}")
    assert keys.fit("bearer another key of mine")
    assert not keys.fit("Bearer # ours")
    assert not keys.fit(None)
    file.write_text("# none\n")
    with pytest.raises(ValueError, match="holds no key"):
        Keys.read(file)
    file.write_text("short\n")
    with pytest.raises(ValueError, match="at least 16 characters"):
        Keys.read(file)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "http://elsewhere"}, 200),
        ({"Sec-Fetch-Site": "none"}, 200),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Origin": "https://elsewhere.example"}, 403),
        ({"Origin": "null"}, 403),
    ],
)
def test_a_page_of_another_site_is_refused_without_keys(
    server: Running, headers: dict[str, str], status: int
) -> None:
    found, answer, _ = post_json(server, BODY, **headers)
    assert found == status
    if status == 403:
        assert answer["error"]["code"] == "foreign_origin"


def test_the_own_page_may_post_without_fetch_headers(server: Running) -> None:
    assert post_json(server, BODY, Origin=f"http://127.0.0.1:{server.port}")[0] == 200


def test_a_key_proves_enough(strict: Running) -> None:
    headers = {"Authorization": f"Bearer {KEY}", "Sec-Fetch-Site": "cross-site"}
    assert post_json(strict, {**BODY, "steps": 2}, **headers)[0] == 200
