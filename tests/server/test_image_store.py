"""Images are kept for a while, and no longer."""

from __future__ import annotations

from demask.server.image_store import ImageStore


def test_what_is_kept_is_found_until_its_time_is_over() -> None:
    now = [0.0]
    shelf = ImageStore(seconds=10, clock=lambda: now[0])
    name = shelf.put(b"picture")
    assert len(name) >= 32
    assert shelf.get(name) == b"picture"
    now[0] = 11
    assert shelf.get(name) is None
    assert shelf.get("../../etc/passwd") is None


def test_the_oldest_make_room() -> None:
    shelf = ImageStore(room=10)
    names = [shelf.put(bytes(4)) for _ in range(3)]
    assert [shelf.get(name) is not None for name in names] == [False, True, True]
