"""The web page of the server. Gradio is imported only in this folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastapi import FastAPI

    from demask.server.engine import Engine
    from demask.server.provenance import Provenance


def mount(app: FastAPI, engine: Engine, provenance: Provenance | None = None) -> None:
    """Mount the page at / of an application; routes that exist already go first.

    Args:
        app: the application.
        engine: generates the images of the page with its models.
        provenance: writes the facts into images; by default as PNG text.
    """
    from demask.ui.page import mount as put

    put(app, engine, provenance)
