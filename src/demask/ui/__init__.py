"""The web page of the server. Gradio is imported only in this folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastapi import FastAPI

    from demask.server.engine import Engine
    from demask.server.provenance import Provenance


def mount(app: FastAPI, engine: Engine, provenance: Provenance | None = None) -> None:
    """Mount the page at / of an application; existing routes take precedence.

    Args:
        app: the application.
        engine: the engine with its models, which generates the images.
        provenance: writes the metadata of images; by default as PNG text.
    """
    from demask.ui.page import mount as put

    put(app, engine, provenance)
