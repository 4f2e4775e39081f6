"""The engine: batches, cancelling, limits, and crashes that stay where they are."""

from __future__ import annotations

import copy
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from demask.conditioning import Prompts
from demask.generator import GeneratedImage, Generator
from demask.server.engine import (
    BusyError,
    ClosedError,
    Edit,
    Engine,
    EngineObserver,
    LateError,
    Limits,
    Partial,
    Request,
    Ticket,
    WithdrawnError,
)
from demask.server.engine.worker import Worker, shown_after
from demask.types import Condition, Prediction, Step
from tiny import tiny_generator


class Heard(EngineObserver):
    """Remembers."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.failures: list[str] = []

    def batched(self, images: int) -> None:
        self.batches.append(images)

    def failed(self, kind: str) -> None:
        self.failures.append(kind)


class Hooked(torch.nn.Module):
    """A transformer that tells of each pass before it makes it."""

    def __init__(self, inner: Any, hook: Callable[[Condition], None]) -> None:
        super().__init__()
        self.inner, self.hook = inner, hook

    def __getattr__(self, name: str) -> Any:
        if name in ("inner", "_modules", "_parameters", "_buffers"):
            return super().__getattr__(name)
        return getattr(self.inner, name)

    def predict(self, ids_BL: torch.Tensor, condition: Condition, step: Step) -> Prediction:
        self.hook(condition)
        return self.inner.predict(ids_BL, condition, step)


def hooked(hook: Callable[[Condition], None]) -> Generator:
    tiny = tiny_generator()
    return replace(tiny, transformer=Hooked(tiny.transformer, hook))


class Gate:
    """Holds the engine at its first pass until it is opened."""

    def __init__(self) -> None:
        self.reached, self.opened = threading.Event(), threading.Event()

    def __call__(self, _condition: Condition) -> None:
        self.reached.set()
        assert self.opened.wait(30)


def same(
    image: GeneratedImage, generator: Generator, condition_input: object, **settings: Any
) -> bool:
    (alone,) = generator.generate([condition_input], 1, image.seed, **settings)
    return bool(np.array_equal(np.asarray(image.image), np.asarray(alone.image)))


@pytest.mark.parametrize("name", ["tiny", "tiny_text"])
@pytest.mark.parametrize(
    "settings",
    [
        {"steps": 5},
        {"steps": 5, "guidance_scale": 3.0},
        {"steps": 5, "guidance_scale": 3.0, "temperature": 0.0},
        {"order": "halton", "guidance_scale": 2.0, "guidance_schedule": "ramp"},
    ],
    ids=["plain", "guided", "argmax", "halton"],
)
def test_an_image_is_the_same_in_any_company(
    generators: dict[str, Generator], name: str, settings: dict[str, Any]
) -> None:
    condition_inputs = ["dog", "cat", "ship"] if name == "tiny" else ["red apple", "blue heart", ""]
    heard = Heard()
    requests = [Request(name, condition_inputs[i % 3], i, settings) for i in range(12)]
    engine = Engine(generators, Limits(tokens=16 * 8), heard)
    tickets = engine.submit(*requests)
    with engine:
        images = [ticket.result(60) for ticket in tickets]
    assert heard.batches == [8, 4]
    for request, image in zip(requests, images, strict=True):
        assert same(image, generators[name], request.condition_input, **settings)


def test_other_settings_are_another_batch(generators: dict[str, Generator]) -> None:
    heard = Heard()
    engine = Engine(generators, observer=heard)
    tickets = engine.submit(
        Request("tiny", seed=0, settings={"steps": 3}),
        Request("tiny_text", seed=1, settings={"steps": 3}),
        Request("tiny", seed=2, settings={"steps": 4}),
        Request("tiny", seed=3, settings={"steps": 3}),
        Request("tiny", seed=4, settings={"steps": 3, "top_k": 3}),
        Request("tiny", seed=5, settings={"steps": 3, "top_k": 3}),
        Request("tiny", seed=6, settings={"steps": 3, "corrections": ("remask",)}),
    )
    with engine:
        images = [ticket.result(60) for ticket in tickets]
    assert heard.batches == [2, 1, 1, 1, 1, 1]
    assert [image.seed for image in images] == list(range(7))


def test_a_condition_is_cached_for_its_model_and_its_settings(
    generators: dict[str, Generator],
) -> None:
    """Two models of prompts whose text encoders differ, and two scores of one prompt."""
    first = generators["tiny_text"]
    assert isinstance(first.conditioner, Prompts)
    text = copy.deepcopy(first.conditioner.text)
    for parameter in text.model.parameters():
        parameter.data.mul_(-3)
    models = {
        "first": replace(first, name="first"),
        "second": replace(first, name="second", conditioner=Prompts(text)),
    }
    worker = Worker(models, EngineObserver())
    for generator in models.values():
        for micro in ("", "score=9", "width=7"):
            (job,) = generator.jobs(["red apple"], micro_conditions=micro)
            for _ in range(2):
                found = worker._condition(generator, job)
                expected = generator.job_condition(job)
                for name in ("states", "pooled", "micro"):
                    assert torch.equal(found[name], expected[name])
    assert len(worker._conditions) == 6


def test_partial_images_come_in_order(generators: dict[str, Generator]) -> None:
    engine = Engine(generators)
    (ticket,) = engine.submit(Request("tiny", "cat", settings={"steps": 6}, partials=2))
    with engine:
        *partials, last = ticket
    assert [(p.number, p.step, p.steps) for p in partials] == [(0, 2, 6), (1, 4, 6)]
    assert isinstance(last, GeneratedImage)
    assert all(isinstance(p, Partial) and p.image.size == (16, 16) for p in partials)


def test_partial_images_are_the_same_in_company(generators: dict[str, Generator]) -> None:
    settings = {"steps": 4, "guidance_scale": 2.0}

    def shown(count: int) -> list[Image.Image]:
        requests = [Request("tiny", "cat", i, settings, partials=3) for i in range(count)]
        engine = Engine(generators)
        tickets = engine.submit(*requests)
        with engine:
            return [event.image for event in tickets[-1]]

    def shown_alone() -> list[Image.Image]:
        engine = Engine(generators)
        (ticket,) = engine.submit(Request("tiny", "cat", 2, settings, partials=3))
        with engine:
            return [event.image for event in ticket]

    for alone, shared in zip(shown_alone(), shown(3), strict=True):
        # pixels of the same ids; the codes beneath the grey may be others at a tie
        assert np.mean(np.asarray(alone) != np.asarray(shared)) < 0.01


def test_a_listener_that_fails_takes_nobody_along(
    generators: dict[str, Generator], caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_event: object) -> None:
        raise OSError("gone")

    engine = Engine(generators)
    tickets = engine.submit(*[Request("tiny", "cat", i, {"steps": 2}, 1) for i in range(2)])
    tickets[0].listen(fail)
    with engine:
        assert [ticket.result(30).seed for ticket in tickets] == [0, 1]
        assert engine.alive
    assert "a listener failed" in caplog.text


def test_partials_are_spread_over_the_steps() -> None:
    assert [shown_after(done, 12, 3) for done in range(13)] == [
        *(None, None, None, 0, None, None, 1, None, None, 2, None, None, None)
    ]
    assert [shown_after(done, 3, 99) for done in range(1, 4)] == [0, 1, None]
    assert shown_after(1, 3, 0) is None


def test_a_full_queue_refuses_and_a_withdrawn_request_makes_room() -> None:
    gate = Gate()
    with Engine({"tiny": hooked(gate)}, Limits(queue=2)) as engine:
        (first,) = engine.submit(Request("tiny"))
        assert gate.reached.wait(30)
        waiting = engine.submit(Request("tiny"), Request("tiny"))
        with pytest.raises(BusyError, match="2 images wait already"):
            engine.submit(Request("tiny"))
        waiting[0].cancel()
        engine.submit(Request("tiny"))
        gate.opened.set()
        assert first.result(30)
        with pytest.raises(WithdrawnError):
            waiting[0].result(30)
        assert waiting[1].result(30)


def test_a_withdrawn_request_leaves_its_batch_and_the_others_stay_right() -> None:
    gate = Gate()
    tiny = tiny_generator()
    engine = Engine({"tiny": hooked(gate)})
    tickets = engine.submit(*[Request("tiny", "cat", i, {"steps": 4}) for i in range(3)])
    with engine:
        assert gate.reached.wait(30)
        tickets[1].cancel()
        gate.opened.set()
        with pytest.raises(WithdrawnError):
            tickets[1].result(30)
        for i in (0, 2):
            assert same(tickets[i].result(30), tiny, "cat", steps=4)


def test_a_request_that_takes_too_long_is_given_up() -> None:
    generator = hooked(lambda _condition: time.sleep(0.05))
    with Engine({"tiny": generator}, Limits(seconds=0.1)) as engine:
        (ticket,) = engine.submit(Request("tiny", settings={"steps": 16}))
        with pytest.raises(LateError):
            ticket.result(30)


def test_a_crash_takes_nobody_along(caplog: pytest.LogCaptureFixture) -> None:
    def crash(condition: Condition) -> None:
        if bool((condition["class_ids"] == 2).any()):
            raise RuntimeError("out of memory")

    heard = Heard()
    engine = Engine({"tiny": hooked(crash)}, observer=heard)
    tickets = engine.submit(*[Request("tiny", i % 3, i, {"steps": 3}) for i in range(6)])
    with engine:
        for i, ticket in enumerate(tickets):
            if i % 3 == 2:
                with pytest.raises(RuntimeError, match="out of memory"):
                    ticket.result(30)
            else:
                assert same(ticket.result(30), tiny_generator(), i % 3, steps=3)
    assert heard.failures == ["RuntimeError"] * 2
    assert "an image could not be generated" in caplog.text


def test_closing_finishes_what_was_taken_on_and_refuses_the_rest() -> None:
    gate = Gate()
    engine = Engine({"tiny": hooked(gate)}).start()
    tickets = engine.submit(*[Request("tiny", seed=i) for i in range(3)])
    assert gate.reached.wait(30)
    closing = threading.Thread(target=engine.close)
    closing.start()
    while engine.alive:
        time.sleep(0.001)
    with pytest.raises(ClosedError):
        engine.submit(Request("tiny"))
    gate.opened.set()
    closing.join(30)
    assert all(ticket.done for ticket in tickets)
    assert [ticket.result().seed for ticket in tickets] == [0, 1, 2]


def test_too_large_an_image_is_refused(generators: dict[str, Generator]) -> None:
    engine = Engine(generators, Limits(pixels=400))
    with pytest.raises(ValueError, match="at most 400 pixels"):
        engine.submit(Request("tiny", settings={"width": 32, "height": 32}))
    edit = Edit(Image.new("RGB", (32, 32)), Image.new("L", (32, 32), 255))
    with pytest.raises(ValueError, match="an image of 32x32 pixels; .* at most 400 pixels"):
        engine.submit(Request("tiny", edit=edit))


@pytest.mark.parametrize("size", [(1, 4096), (4096, 1), (80, 80)])
def test_an_edit_of_many_windows_is_refused(
    size: tuple[int, int], generators: dict[str, Generator]
) -> None:
    engine = Engine(generators)  # the models' own size is 16x16
    edit = Edit(Image.new("RGB", size), Image.new("L", size, 255))
    with pytest.raises(ValueError, match=r"windows of tiny, which are 16x16; .* at most 16$"):
        engine.submit(Request("tiny", edit=edit))
    with pytest.raises(ValueError, match="takes 25 windows of tiny"):
        engine.submit(Request("tiny", settings={"width": 80, "height": 80}))


def test_an_edit_that_nobody_waits_for_stops_between_steps() -> None:
    gate = Gate()
    passes: list[int] = []

    def count(condition: Condition) -> None:
        passes.append(len(passes))
        gate(condition)

    edit = Edit(Image.new("RGB", (16, 16)), Image.new("L", (16, 16), 255))
    with Engine({"tiny": hooked(count)}) as engine:
        (ticket,) = engine.submit(Request("tiny", "cat", settings={"steps": 8}, edit=edit))
        assert gate.reached.wait(30)
        ticket.cancel()
        gate.opened.set()
        with pytest.raises(WithdrawnError):
            ticket.result(30)
    assert len(passes) == 1


def white(side: int) -> Edit:
    """An edit of all of an image."""
    return Edit(Image.new("RGB", (side, side)), Image.new("L", (side, side), 255))


def test_a_batch_that_nobody_waits_for_stops_inside_a_step() -> None:
    """A step of two images makes a pass for both, and one for each image near a tie."""
    gate = Gate()
    passes: list[int] = []

    def count(condition: Condition) -> None:
        passes.append(len(condition))
        gate(condition)

    engine = Engine({"tiny": hooked(count)})
    tickets = engine.submit(*[Request("tiny", "cat", i, {"steps": 4}) for i in range(2)])
    with engine:
        assert gate.reached.wait(30)
        for ticket in tickets:
            ticket.cancel()
        gate.opened.set()
        for ticket in tickets:
            with pytest.raises(WithdrawnError):
                ticket.result(30)
    assert len(passes) == 1


class Ended:
    """Remembers the order in which requests end."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def hear(self, name: str, ticket: Ticket) -> None:
        ticket.listen(lambda event: None if isinstance(event, Partial) else self.names.append(name))


@pytest.mark.parametrize("kind", ["steps", "windows"])
def test_a_long_request_lets_small_ones_pass_and_stays_the_same(kind: str) -> None:
    tiny, gate, ended = tiny_generator(), Gate(), Ended()
    edit = white(48) if kind == "windows" else None
    long = {"steps": 16 if kind == "steps" else 4}
    with Engine({"tiny": hooked(gate)}) as engine:
        (first,) = engine.submit(Request("tiny", "cat", 5, long, edit=edit))
        assert gate.reached.wait(30)
        small = engine.submit(
            Request("tiny", "dog", 1, {"steps": 1}), Request("tiny", "dog", 2, {"steps": 2})
        )
        ended.hear("long", first)
        for ticket in small:
            ended.hear("small", ticket)
        gate.opened.set()
        image = first.result(60)
        for ticket in small:
            assert same(ticket.result(30), tiny, "dog", steps=ticket.request.settings["steps"])
    assert ended.names == ["small", "small", "long"]
    if edit is None:
        assert same(image, tiny, "cat", **long)
    else:
        (alone,) = tiny.inpaint(edit.image, edit.mask, "cat", seed=5, **long)
        assert np.array_equal(np.asarray(image.image), np.asarray(alone.image))


def test_requests_of_the_same_size_do_not_slow_each_other() -> None:
    gate, ended = Gate(), Ended()
    with Engine({"tiny": hooked(gate)}) as engine:
        (first,) = engine.submit(Request("tiny", "cat", settings={"steps": 8}))
        assert gate.reached.wait(30)
        (second,) = engine.submit(Request("tiny", "cat", settings={"steps": 7}))
        ended.hear("first", first)
        ended.hear("second", second)
        assert engine.waiting == 1
        gate.opened.set()
        second.result(30)
    assert ended.names == ["first", "second"]


def test_a_long_request_goes_on_beside_many_small_ones() -> None:
    """It gets half of the time, where each small one alone would go before it."""
    passes: list[str] = []
    generator = hooked(lambda condition: passes.append(str(int(condition["class_ids"][0]))))
    settings = {"order": "margin"}  # no batches
    engine = Engine({"tiny": generator})
    long, *small = engine.submit(
        Request("tiny", 0, settings={"steps": 16, **settings}),
        *[Request("tiny", 1, i, {"steps": 1, **settings}) for i in range(60)],
    )
    with engine:
        long.result(60)
        before = passes.count("1")
        for ticket in small:
            ticket.result(60)
    assert 3 <= before <= 45


def test_clients_take_turns() -> None:
    gate, ended = Gate(), Ended()
    settings = {"order": "margin", "steps": 2}  # no batches
    with Engine({"tiny": hooked(gate)}) as engine:
        engine.submit(Request("tiny", settings=settings))
        assert gate.reached.wait(30)
        greedy = engine.submit(*[Request("tiny", 0, i, settings, client="a") for i in range(6)])
        modest = engine.submit(*[Request("tiny", 0, i, settings, client="b") for i in range(2)])
        for name, tickets in (("a", greedy), ("b", modest)):
            for ticket in tickets:
                ended.hear(name, ticket)
        gate.opened.set()
        for ticket in (*greedy, *modest):
            ticket.result(30)
    assert "".join(ended.names) == "ababaaaa"


def test_who_fills_the_queue_makes_room_for_others() -> None:
    gate = Gate()
    with Engine({"tiny": hooked(gate)}, Limits(queue=6)) as engine:
        engine.submit(Request("tiny", client="a"))
        assert gate.reached.wait(30)
        greedy = engine.submit(*[Request("tiny", seed=i, client="a") for i in range(6)])
        with pytest.raises(BusyError, match="6 images wait already"):
            engine.submit(Request("tiny", client="a"))
        modest = engine.submit(Request("tiny", client="b"), Request("tiny", client="b"))
        with pytest.raises(BusyError):  # 4 of a, 2 of b: another 2 would be no fewer than a's
            engine.submit(Request("tiny", client="b"), Request("tiny", client="b"))
        gate.opened.set()
        assert [ticket.request.seed for ticket in greedy if holds_image(ticket)] == [0, 1, 2, 3]
        assert all(holds_image(ticket) for ticket in modest)


def holds_image(ticket: Ticket) -> bool:
    """Whether a request got its image, and was not displaced."""
    try:
        return ticket.result(30) is not None
    except BusyError:
        return False


def test_a_mask_without_white_is_a_mistake_of_the_request() -> None:
    edit = Edit(Image.new("RGB", (16, 16)), Image.new("L", (16, 16), 0))
    with Engine({"tiny": tiny_generator()}) as engine:
        (ticket,) = engine.submit(Request("tiny", edit=edit))
        with pytest.raises(ValueError, match="no white pixel"):
            ticket.result(30)
        with pytest.raises(ValueError, match="must be of one size"):
            engine.submit(Request("tiny", edit=Edit(edit.image, Image.new("L", (8, 8)))))
