"""`demask serve` as a process: it answers, and SIGTERM lets it finish."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from demask.cli import demask
from tiny import save_tiny


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def ask(url: str, body: dict[str, Any] | None = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as reply:
        return json.loads(reply.read())


def wait_for(url: str, process: subprocess.Popen[str]) -> None:
    until = time.monotonic() + 60
    while True:
        assert process.poll() is None, process.communicate()
        try:
            ask(url)
            return
        except (urllib.error.URLError, ConnectionError):
            assert time.monotonic() < until
            time.sleep(0.05)


def test_sigterm_finishes_what_runs(tmp_path: Path) -> None:
    folder, port = save_tiny(tmp_path / "mine"), free_port()
    words = ["serve", "--model", str(folder), "--port", str(port), "--no-provenance", "--no-page"]
    process = subprocess.Popen(
        [sys.executable, "-m", "demask", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    url, answers = f"http://127.0.0.1:{port}", []
    try:
        wait_for(f"{url}/readyz", process)
        assert ask(f"{url}/v1/models")["data"][0]["id"] == "mine"
        body = {"prompt": "cat", "n": 10, "steps": 16, "order": "margin"}  # one after the other
        asking = threading.Thread(
            target=lambda: answers.append(ask(f"{url}/v1/images/generations", body))
        )
        asking.start()
        time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=60)
        asking.join(60)
    finally:
        process.kill()
    assert len(answers[0]["data"]) == 10, output
    with pytest.raises(urllib.error.URLError):
        ask(f"{url}/readyz")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--host", "0.0.0.0"], "give --api-key-file, or --insecure"),
        (["--host", "::"], "give --api-key-file, or --insecure"),
        (["--public-url", "https://images.example"], "a proxy is open to other machines"),
        (["--trusted-proxy", "127.0.0.1"], "a proxy is open to other machines"),
        (["--public-url", "images.example"], "such as https://images.example/demask, not"),
        (["--public-url", "https://images.example/?a"], "such as https://images.example/demask"),
        (["--trusted-proxy", "*"], "an address such as 10.0.0.2, or a network such as"),
        (["--api-key-file", "nowhere"], "nowhere: No such file"),
        (["--c2pa-key", "key.pem"], "--c2pa-certificate and --c2pa-key go together"),
        (["--model", "nothing", "--no-provenance"], "unknown model 'nothing'"),
    ],
)
def test_a_mistake_is_one_line(words: list[str], said: str) -> None:
    result = CliRunner().invoke(demask, ["serve", *words])
    assert result.exit_code == 2
    assert said in result.output
    assert "Traceback" not in result.output
