import asyncio
import base64
import io

import numpy as np
import pytest
from PIL import Image

from demask.server.engine import Engine
from demask.ui.context import PageContext
from demask.ui.frames import frames, summary, unveiled
from tiny import tiny_generator


@pytest.fixture
def context():
    with Engine({"tiny": tiny_generator()}) as engine:
        yield PageContext(engine)


def opened(src):
    return Image.open(io.BytesIO(base64.b64decode(src.partition(",")[2])))


async def gathered(context, requests):
    return [value async for value in frames(context, "tiny", requests)]


def test_every_step_is_shown_and_the_last_frame_is_the_image(context):
    requests = context.requests("tiny", "cat", [4, 5], {"steps": 4})
    values = asyncio.run(gathered(context, requests))
    steps = [value["tiles"][0]["step"] for value in values]
    assert sorted(set(steps)) == [0, 1, 2, 3, 4]
    num_masked = [
        (np.asarray(opened(v["tiles"][0]["src"]))[..., 3] == 0).sum()
        for v in values
        if v["tiles"][0]["state"] == "painting"
    ]
    assert num_masked == sorted(num_masked, reverse=True)
    assert num_masked[-1] > 0
    wanted = tiny_generator().generate("cat", 2, seed=4, steps=4)
    for tile, image in zip(values[-1]["tiles"], wanted, strict=True):
        assert tile["state"] == "done"
        assert opened(tile["src"]).tobytes() == image.image.tobytes()
        assert opened(tile["src"]).text["seed"] == str(image.seed)


def test_a_mistake_is_shown(context):
    values = asyncio.run(gathered(context, context.requests("tiny", "cow", [1], {})))
    assert len(values) == 1
    assert "cow" in values[0]["message"]


def test_whoever_leaves_withdraws(context):
    async def leave():
        requests = context.requests("tiny", "cat", [1], {"steps": 16})
        shown = frames(context, "tiny", requests)
        await anext(shown)
        await shown.aclose()

    submitted = []
    real = context.engine.submit
    context.engine.submit = lambda *settings_of: submitted.extend(real(*settings_of)) or submitted
    asyncio.run(leave())
    assert submitted[0].gave_up is not None


def test_only_whole_grey_tokens_are_masked():
    pixels = np.full((8, 8, 3), 128, np.uint8)
    pixels[5, 6] = 127
    alpha = np.asarray(unveiled(Image.fromarray(pixels), 4))[..., 3]
    assert alpha[:4].max() == alpha[4:, :4].max() == 0
    assert alpha[4:, 4:].min() == 255


def test_settings_in_a_line():
    settings = tiny_generator().settings.updated(
        steps=5, top_p=0.5, corrections=("remask", "zigzag")
    )
    assert summary(settings) == "5 steps · top p 0.5 · corrections remask+zigzag"
