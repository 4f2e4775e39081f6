"""A page to play with, at / of the server. Gradio is imported in this folder alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastapi import FastAPI

    from demask.server.engine import Engine
    from demask.server.provenance import Provenance


def mount(app: FastAPI, engine: Engine, provenance: Provenance | None = None) -> None:
    """Put the page at / of an application, behind the routes that it has already.

    Args:
        app: the server.
        engine: generates; its models are those of the page.
        provenance: what is written into images; by default their facts as PNG text.
    """
    from demask.ui.page import mount as put

    put(app, engine, provenance)
