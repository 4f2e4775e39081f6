"""A content security policy: the page loads nothing from other hosts."""

from __future__ import annotations

import re
from dataclasses import dataclass

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

POLICY = "; ".join(
    [
        "default-src 'self'",
        "script-src 'self' 'unsafe-inline' 'unsafe-eval'",  # Gradio's page needs both
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "font-src 'self' data:",
        "worker-src 'self' blob:",
        "object-src 'none'",
        "base-uri 'self'",
        "form-action 'self'",
        "frame-ancestors 'self'",
    ]
)
SHARING_TAGS = re.compile(rb"<meta\s[^>]*(?:og|twitter):[^>]*>\s*", re.DOTALL)
UNUSED = ("/gradio_api/upload", "/gradio_api/file", "/gradio_api/proxy", "/gradio_api/stream")


@dataclass(frozen=True)
class SameOriginOnly:
    """An application with a policy that forbids browsers to load anything from other hosts.

    Gradio's tags for link previews name other hosts and are removed. Its routes for files return
    404, since this page sends images as values.

    Attributes:
        app: the wrapped application.
    """

    app: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if str(scope["path"]).startswith(UNUSED):
            await PlainTextResponse("Not found", 404)(scope, receive, send)
            return
        await self.app(scope, receive, Outgoing(send))


class Outgoing:
    """A ``send`` that adds the policy and rewrites complete pages."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._head: Message = {}
        self._page: bytes | None = None

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = [*message["headers"], (b"content-security-policy", POLICY.encode())]
            headers.append((b"referrer-policy", b"no-referrer"))
            self._head = {**message, "headers": headers}
            if dict(headers).get(b"content-type", b"").startswith(b"text/html"):
                self._page = b""
                return
            await self._send(self._head)
        elif self._page is None:
            await self._send(message)
        else:
            self._page += message.get("body", b"")
            if not message.get("more_body"):
                await self._finish(SHARING_TAGS.sub(b"", self._page))

    async def _finish(self, page: bytes) -> None:
        kept = [(name, value) for name, value in self._head["headers"] if name != b"content-length"]
        length = (b"content-length", str(len(page)).encode())
        await self._send({**self._head, "headers": [*kept, length]})
        await self._send({"type": "http.response.body", "body": page})
