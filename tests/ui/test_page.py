import re

import pytest
from fastapi.testclient import TestClient

from demask.server.app import create_app
from demask.server.engine import Engine
from demask.server.metrics import Metrics
from demask.ui import mount
from tiny import tiny_generator, tiny_text_generator


@pytest.fixture(scope="module")
def client():
    metrics = Metrics()
    models = {"words": tiny_text_generator(), "tiny": tiny_generator()}
    with TestClient(create_app(Engine(models, observer=metrics), metrics, page=mount)) as client:
        yield client


def test_the_page_names_no_other_host(client):
    page = client.get("/").text
    found = set(re.findall(r"https?://[\w.-]+", page))
    assert found <= {"http://testserver", "http://www.w3.org"}  # a namespace, which nobody loads
    assert "Demask" in page


def test_a_browser_may_load_from_here_alone(client):
    policy = client.get("/").headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "http" not in policy


@pytest.mark.parametrize("path", ["upload", "file=/etc/passwd", "proxy=http://example.org"])
def test_routes_for_files_are_closed(client, path):
    assert client.get(f"/gradio_api/{path}").status_code == 404
    assert client.post(f"/gradio_api/{path}").status_code == 404


def test_the_api_stands_before_the_page(client):
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/docs").status_code == 200


def test_nothing_is_told_to_anybody(client):
    config = client.get("/config").json()
    assert config["analytics_enabled"] is False
    assert {d["api_visibility"] for d in config["dependencies"]} == {"private"}
