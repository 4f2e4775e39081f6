import asyncio
import base64
import io

import numpy as np
import pytest
from PIL import Image

from demask.server.engine import Engine
from demask.ui.frames import frames, summary, unveiled
from demask.ui.studio import Studio
from tiny import tiny_generator


@pytest.fixture
def studio():
    with Engine({"tiny": tiny_generator()}) as engine:
        yield Studio(engine)


def opened(src):
    return Image.open(io.BytesIO(base64.b64decode(src.partition(",")[2])))


async def gathered(studio, requests):
    return [value async for value in frames(studio, "tiny", requests)]


def test_every_step_is_shown_and_the_last_frame_is_the_picture(studio):
    requests = studio.requests("tiny", "cat", [4, 5], {"steps": 4})
    values = asyncio.run(gathered(studio, requests))
    steps = [value["tiles"][0]["step"] for value in values]
    assert sorted(set(steps)) == [0, 1, 2, 3, 4]
    hidden = [
        (np.asarray(opened(v["tiles"][0]["src"]))[..., 3] == 0).sum()
        for v in values
        if v["tiles"][0]["state"] == "painting"
    ]
    assert hidden == sorted(hidden, reverse=True)
    assert hidden[-1] > 0
    wanted = tiny_generator().generate("cat", 2, seed=4, steps=4)
    for tile, picture in zip(values[-1]["tiles"], wanted, strict=True):
        assert tile["state"] == "done"
        assert opened(tile["src"]).tobytes() == picture.image.tobytes()
        assert opened(tile["src"]).text["seed"] == str(picture.seed)


def test_a_mistake_is_shown(studio):
    values = asyncio.run(gathered(studio, studio.requests("tiny", "cow", [1], {})))
    assert len(values) == 1
    assert "cow" in values[0]["message"]


def test_whoever_leaves_withdraws(studio):
    async def leave():
        requests = studio.requests("tiny", "cat", [1], {"steps": 16})
        shown = frames(studio, "tiny", requests)
        await anext(shown)
        await shown.aclose()

    submitted = []
    real = studio.engine.submit
    studio.engine.submit = lambda *asked: submitted.extend(real(*asked)) or submitted
    asyncio.run(leave())
    assert submitted[0].gave_up is not None


def test_only_whole_grey_tokens_are_hidden():
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
