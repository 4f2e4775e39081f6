"""A server with the shipped models and a real browser: `make test-browser`."""

import importlib.util
import os
import shutil
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
PATIENCE = 120_000  # milliseconds; a busy machine is slow, not broken

FOUND = next(filter(None, map(shutil.which, BROWSERS)), None)


def pytest_collection_modifyitems(items):
    reason = lacking()
    for item in items:
        if reason and Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.skip(reason))


def lacking():
    """Why the tests of this folder cannot run, or nothing."""
    if not os.environ.get("DEMASK_BROWSER"):
        return "make test-browser runs these"
    for needed in ("gradio", "playwright", "uvicorn"):
        if importlib.util.find_spec(needed) is None:
            return f"{needed} is not installed"
    return None if FOUND else "there is no Chromium: apt-get install chromium"


@pytest.fixture(scope="session")
def served():
    """The address of a server with both shipped models, and its engine."""
    import uvicorn

    from demask.assembly import load
    from demask.server.app import create_app
    from demask.server.engine import Engine
    from demask.server.metrics import Metrics
    from demask.ui import mount

    metrics = Metrics()
    engine = Engine({name: load(name) for name in ("emoji", "cifar10")}, observer=metrics)
    app = create_app(engine, metrics, page=mount)
    server = uvicorn.Server(uvicorn.Config(app, port=0, ws="none", log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.1)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield SimpleNamespace(address=f"http://127.0.0.1:{port}/", engine=engine)
    server.should_exit = True
    thread.join(30)


@pytest.fixture(scope="session")
def browser():
    """Headless Chromium."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=FOUND, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def opened(browser, served):
    """A function that opens the page; no error and no foreign host may be seen in the end."""
    complaints, contexts = [], []

    def open_page(width=1200, height=900, scheme="light", **more):
        context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme, **more
        )
        contexts.append(context)
        context.set_default_timeout(PATIENCE)
        page = context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda m: complaints.append(m.text) if m.type == "error" else None)
        page.on("request", lambda request: seen(request.url))
        page.goto(served.address)
        page.wait_for_selector("#paint-stage .dm-tile")
        return page

    def seen(url):
        if url.startswith(("http", "ws")) and not url.startswith(served.address):
            complaints.append(f"a foreign address: {url}")

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []
