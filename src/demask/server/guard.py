"""Checks before every route: API keys, the size of requests and the time that they take."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from demask.server.addresses import client_name
from demask.server.errors import ApiError

SAFE = ("GET", "HEAD", "OPTIONS")
"""Methods that change nothing and cost little."""


@dataclass(frozen=True)
class Keys:
    """The API keys.

    Attributes:
        digests: their SHA-256 hashes.
    """

    digests: tuple[bytes, ...]

    @classmethod
    def of(cls, keys: Sequence[str]) -> Keys:
        """Hash keys in plain text."""
        return cls(tuple(hashlib.sha256(key.encode()).digest() for key in keys))

    @classmethod
    def read(cls, path: Path) -> Keys:
        """Read a file with one key per line; ``#`` begins a comment.

        Raises:
            OSError: the file cannot be read.
            ValueError: the file holds no key, or one of fewer than 16 characters.
        """
        try:
            lines = path.read_text(encoding="utf-8-sig").splitlines()
        except UnicodeDecodeError as error:
            raise ValueError(f"{path} is no UTF-8 text") from error
        keys = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
        if not keys:
            raise ValueError(f"{path} holds no key")
        if min(map(len, keys)) < 16:
            raise ValueError(f"{path}: a key has at least 16 characters")
        return cls.of(keys)

    def fit(self, header: str | None) -> bool:
        """Whether an Authorization header holds one of the keys; takes constant time."""
        kind, _, key = (header or "").partition(" ")
        given = hashlib.sha256(key.strip().encode()).digest()
        found = [hmac.compare_digest(given, digest) for digest in self.digests]
        return any(found) and kind.lower() == "bearer"


@dataclass(frozen=True)
class RequestGuard:
    """Refuses requests without a key under /v1, too large ones and too slow ones.

    The others get ``state.client``, by which the engine lets clients take turns.

    Attributes:
        app: the guarded application.
        keys: the accepted keys; None accepts every request.
        most_bytes: the largest body.
        seconds: the time in which a body must arrive.
        public_url: the address under which browsers reach the server, if it is not this one.
    """

    app: ASGIApp
    keys: Keys | None = None
    most_bytes: int = 10 * 2**20
    seconds: float = 30.0
    public_url: str = ""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        error = self.refusal(scope["method"], scope["path"], headers)
        if error is not None:
            await error.response()(scope, receive, send)
            return
        scope.setdefault("state", {})["client"] = self.client(scope, headers)
        body = Body(receive, self.most_bytes, self.seconds)
        await self.app(scope, body, send)

    def client(self, scope: Scope, headers: Mapping[bytes, str]) -> str:
        """The client of a request: the hash of the key, or without keys the address."""
        if self.keys:
            key = headers.get(b"authorization", "").partition(" ")[2].strip()
            return hashlib.sha256(key.encode()).hexdigest()
        return client_name(scope["client"][0]) if scope.get("client") else ""

    def refusal(self, method: str, path: str, headers: dict[bytes, str]) -> ApiError | None:
        """The error of a request as far as its headers show it, or None."""
        if not self.keys and method not in SAFE and is_foreign(headers, self.public_url):
            text = "requests from pages of another origin are refused without API keys"
            return ApiError(403, text, "foreign_origin")
        if (
            self.keys
            and path.startswith("/v1")
            and not self.keys.fit(headers.get(b"authorization"))
        ):
            text = "an API key is needed: 'Authorization: Bearer KEY'"
            return ApiError(401, text, "invalid_api_key", headers={"WWW-Authenticate": "Bearer"})
        length = headers.get(b"content-length", "0")
        if length.isdigit() and int(length) > self.most_bytes:
            return too_large(self.most_bytes)
        return None


def is_foreign(headers: Mapping[bytes, str], public_url: str = "") -> bool:
    """Whether a browser says that a page of another origin made the request.

    Programs send neither header. A page can make a browser post a form to any address, even to
    one that only this computer reaches, so without keys the origin is all that protects a server.
    """
    site = headers.get(b"sec-fetch-site")
    if site is not None:
        return site not in ("same-origin", "none")
    origin = headers.get(b"origin")
    own = (headers.get(b"host"), urlsplit(public_url).netloc or None)
    return origin is not None and urlsplit(origin).netloc not in own


class Body:
    """A ``receive`` that limits the bytes and the seconds of a body."""

    def __init__(self, receive: Receive, most_bytes: int, seconds: float) -> None:
        self._receive, self._left = receive, most_bytes
        self._most, self._seconds = most_bytes, seconds
        self._until: float | None = None
        self._complete = False

    async def __call__(self) -> Message:
        if self._complete:
            return await self._receive()
        loop = asyncio.get_running_loop()
        self._until = self._until or loop.time() + self._seconds
        try:
            async with asyncio.timeout_at(self._until):
                message: Any = await self._receive()
        except TimeoutError:
            raise ApiError(408, "the request took too long to arrive", "slow_request") from None
        self._left -= len(message.get("body", b""))
        if self._left < 0:
            raise too_large(self._most)
        self._complete = not message.get("more_body", False)
        return message


def too_large(most: int) -> ApiError:
    """The error of a request with too many bytes."""
    return ApiError(413, f"the request is larger than {most} bytes", "too_large")
