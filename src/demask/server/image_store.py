"""Finished images that are fetched later, by a name that cannot be guessed."""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class ImageStore:
    """Keeps bytes in memory for a limited time; the oldest are dropped when it is full.

    Attributes:
        seconds: how long an image is kept.
        room: the size of all images, in bytes.
        clock: a monotonic clock, in seconds.
    """

    seconds: float = 3600.0
    room: int = 64 * 2**20
    clock: Callable[[], float] = time.monotonic
    _kept: OrderedDict[str, tuple[float, bytes]] = field(default_factory=OrderedDict)
    _size: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def put(self, data: bytes, suffix: str = "") -> str:
        """Store data; the returned name has 192 random bits before its suffix."""
        name = secrets.token_urlsafe(24) + suffix
        with self._lock:
            self._kept[name] = (self.clock() + self.seconds, data)
            self._size += len(data)
            self._tidy()
        return name

    def get(self, name: str) -> bytes | None:
        """The data of a name; None if it is unknown or expired."""
        with self._lock:
            self._tidy()
            return self._kept[name][1] if name in self._kept else None

    def _tidy(self) -> None:
        now = self.clock()
        while self._kept:
            until, data = next(iter(self._kept.values()))
            if until > now and self._size <= self.room:
                return
            self._kept.popitem(last=False)
            self._size -= len(data)
