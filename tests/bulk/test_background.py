"""Writing in the background: all of it, in bounded memory, and errors are told."""

from __future__ import annotations

import threading
import time

import pytest

from demask.bulk.background import MOST_WAITING, WRITERS, background


def test_everything_is_done_at_the_end() -> None:
    done: list[int] = []
    with background() as soon:
        for number in range(200):
            soon(lambda number=number: done.append(number))
    assert sorted(done) == list(range(200))


def test_the_painter_does_not_wait_for_the_disk() -> None:
    disk = threading.Event()
    with background() as soon:
        for _ in range(MOST_WAITING):
            soon(lambda: assert_set(disk))
        disk.set()  # reached while all of them wait


def assert_set(event: threading.Event) -> None:
    assert event.wait(20)


def test_only_so_many_wait() -> None:
    begun, disk = [], threading.Event()

    def write() -> None:
        begun.append(1)
        assert_set(disk)

    def generate() -> None:
        with background() as soon:
            for _ in range(MOST_WAITING + 5):
                soon(write)
                generated.append(1)

    generated: list[int] = []
    text_generator = threading.Thread(target=generate)
    text_generator.start()
    deadline = time.monotonic() + 20
    while len(generated) < MOST_WAITING and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.05)
    assert len(generated) == MOST_WAITING
    assert len(begun) == WRITERS
    disk.set()
    text_generator.join(20)
    assert len(begun) == MOST_WAITING + 5


def test_a_full_disk_stops_the_painter() -> None:
    def full() -> None:
        raise OSError(28, "No space left on device")

    generated = 0

    def generate() -> None:
        nonlocal generated
        with background() as soon:
            for _ in range(10_000):
                soon(full)
                generated += 1

    with pytest.raises(OSError, match="No space left"):
        generate()
    assert generated < 10_000


def test_what_was_generated_before_an_error_is_written() -> None:
    done: list[int] = []

    def generate() -> None:
        with background() as soon:
            for number in range(9):
                soon(lambda number=number: done.append(number))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        generate()
    assert sorted(done) == list(range(9))
