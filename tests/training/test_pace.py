"""Training for a given time: the number of steps, the checkpoints, and going on after a stop."""

from __future__ import annotations

import threading
import time

import pytest

from demask.training.engine.config import TrainConfig
from demask.training.engine.optim import Optim
from demask.training.engine.pace import Pace
from demask.training.engine.read_ahead import read_ahead


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def train(pace, clock, seconds_of_step, step=0, stop=10**9):
    """Steps of a training that a clock pretends to have; returns the last one and the saves."""
    pace.start()
    saves = []
    while step < min(pace.steps, stop):
        clock.now += seconds_of_step(step)
        step += 1
        if pace.after(step):
            saves.append(step)
    return step, saves


def paced(seconds, clock, decay_fraction=0.5, steps=10**6):
    return Pace(
        TrainConfig(steps=steps, seconds=seconds), [Optim(decay_fraction=decay_fraction)], clock
    )


def test_without_seconds_the_steps_and_checkpoints_are_those_of_the_run():
    clock = Clock()
    pace = Pace(TrainConfig(steps=10, save_every=4), [Optim()], clock)
    assert train(pace, clock, lambda step: 1) == (10, [4, 8])


@pytest.mark.parametrize("decay_fraction", [0.0, 0.5, 1.0])
def test_a_training_ends_shortly_before_its_time(decay_fraction):
    clock = Clock()
    pace = paced(100, clock, decay_fraction)
    # the first step compiles for 20 seconds, and the first hundred are slower than the others
    step, saves = train(pace, clock, lambda s: 20 if s == 0 else 0.05 if s < 100 else 0.01)
    assert 92 <= clock.now - 100 <= 100
    assert pace.steps == step > 5000
    assert len(saves) >= 3


def test_the_number_of_steps_stays_once_the_learning_rate_falls():
    clock = Clock()
    pace = paced(100, clock)
    step, _ = train(pace, clock, lambda s: 0.1, stop=700)
    assert pace.settled
    steps = pace.steps
    assert steps == pytest.approx(960, rel=0.02)
    train(pace, clock, lambda s: 0.2, step)
    assert pace.steps == steps


def test_a_resumed_training_keeps_the_number_of_steps():
    clock = Clock()
    pace = paced(100, clock)
    step, _ = train(pace, clock, lambda s: 0.1, stop=700)
    again = paced(30, clock)
    again.restore(pace.state())
    assert train(again, clock, lambda s: 0.3, step)[0] == pace.steps


def test_a_training_that_stopped_early_takes_the_time_that_is_left():
    clock = Clock()
    pace = paced(100, clock)
    train(pace, clock, lambda s: 0.1, stop=100)
    assert not pace.settled
    again = paced(100, clock)
    again.restore(pace.state())
    before = clock.now
    train(again, clock, lambda s: 0.1, 100)
    assert clock.now - before == pytest.approx(86, abs=3)


def test_steps_are_an_upper_limit():
    clock = Clock()
    assert train(paced(100, clock, steps=50), clock, lambda s: 0.1)[0] == 50


@pytest.mark.parametrize("bad", ["seconds", "readers"])
def test_bad_numbers_are_refused(bad):
    with pytest.raises(ValueError, match=bad):
        TrainConfig(steps=1, **{bad: -1})


@pytest.mark.parametrize("readers", [1, 3])
def test_batches_come_in_order_and_are_read_side_by_side(readers):
    busy, most, lock = 0, 0, threading.Lock()

    def read(step):
        nonlocal busy, most
        with lock:
            busy += 1
            most = max(most, busy)
        time.sleep(0.01 * (step % 3))
        with lock:
            busy -= 1
        return step

    assert list(read_ahead(read, 2, lambda: 12, readers)) == list(range(2, 12))
    assert (most > 1) == (readers > 1)


def test_reading_stops_at_an_end_that_moves():
    seen = []
    steps = read_ahead(lambda step: step, 0, lambda: 7 if seen else 100, 4)
    seen.append(next(steps))
    assert [*seen, *steps] == list(range(7))


def test_an_error_of_a_reader_is_raised():
    def read(step):
        raise ValueError(f"no batch {step}")

    with pytest.raises(ValueError, match="no batch 0"):
        next(read_ahead(read, 0, lambda: 3, 2))
