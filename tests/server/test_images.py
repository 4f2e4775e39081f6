"""The OpenAI client against our server."""

from __future__ import annotations

import asyncio
import base64
import io
import math
import urllib.request
from typing import Any

import httpx
import numpy as np
import openai
import pytest
from PIL import Image

from demask.data.color import to_rgb
from demask.data.images import read_image
from demask.editing import inpaint
from demask.server.engine import Request as ImageRequest
from demask.server.engine import Ticket
from demask.server.fields import Generation
from demask.server.images import Service
from serving import Running


def pixels(data: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def test_images_are_those_of_generate(server: Running) -> None:
    answer = server.client.images.generate(
        model="tiny", prompt="cat", n=3, extra_body={"seed": 5, "steps": 4, "guidance_scale": 2.0}
    )
    tiny = server.engine.generators["tiny"]
    for index, item in enumerate(answer.data):
        alone = tiny.generate("cat", seed=5 + index, steps=4, guidance_scale=2.0)[0]
        assert np.array_equal(pixels(item.b64_json), np.asarray(alone.image))
        assert item.seed == 5 + index


def test_a_model_of_prompts(server: Running) -> None:
    answer = server.client.images.generate(
        model="tiny_text", prompt="red apple", size="16x16", extra_body={"seed": 1, "steps": 3}
    )
    alone = server.engine.generators["tiny_text"].generate("red apple", seed=1, steps=3)[0]
    assert np.array_equal(pixels(answer.data[0].b64_json), np.asarray(alone.image))


def test_a_one_step_generator(server: Running) -> None:
    body = {"seed": 1, "steps": 1, "start": "one_step:ratio=0.5"}
    answer = server.client.images.generate(
        model="tiny_text", prompt="red apple", size="16x16", n=2, extra_body=body
    )
    tiny = server.engine.generators["tiny_text"]
    for index, item in enumerate(answer.data):
        alone = tiny.generate("red apple", seed=1 + index, steps=1, start="one_step:ratio=0.5")[0]
        assert np.array_equal(pixels(item.b64_json), np.asarray(alone.image))
    with pytest.raises(openai.BadRequestError, match="needs a Meissonic or MaskGITV1"):
        server.client.images.generate(model="tiny", prompt="dog", extra_body=body)
    with pytest.raises(openai.BadRequestError, match="set steps to 1, not 3"):
        server.client.images.generate(
            model="tiny_text", prompt="dog", size="16x16", extra_body={**body, "steps": 3}
        )


def test_an_address_holds_the_image(server: Running) -> None:
    answer = server.client.images.generate(
        model="tiny", prompt="dog", response_format="url", extra_body={"steps": 2}
    )
    url = answer.data[0].url
    assert url.startswith(f"{server.url}/files/")
    with urllib.request.urlopen(url) as reply:
        image = Image.open(io.BytesIO(reply.read()))
    assert image.size == (16, 16)
    assert image.text["model"] == "tiny"
    assert "generated" in image.text["software"]


def test_a_stream_shows_the_image_on_its_way(server: Running) -> None:
    stream = server.client.images.generate(
        model="tiny",
        prompt="ship",
        stream=True,
        partial_images=2,
        extra_body={"seed": 3, "steps": 6},
    )
    events = list(stream)
    assert [event.type for event in events] == [
        "image_generation.partial_image",
        "image_generation.partial_image",
        "image_generation.completed",
    ]
    assert [event.partial_image_index for event in events[:2]] == [0, 1]
    alone = server.engine.generators["tiny"].generate("ship", seed=3, steps=6)[0]
    assert np.array_equal(pixels(events[-1].b64_json), np.asarray(alone.image))


@pytest.mark.parametrize("form", ["black and white", "black with a hole", "hole", "strokes"])
def test_an_edit_regenerates_what_the_mask_says(server: Running, form: str) -> None:
    image = Image.effect_noise((16, 16), 80).convert("RGB")
    white = Image.new("L", (16, 16), 0)
    white.paste(255, (0, 0, 8, 16))
    if form == "black and white":
        mask = white
    elif form == "strokes":
        mask = Image.new("RGBA", (16, 16), (255, 255, 255, 0))
        mask.paste((255, 255, 255, 255), (0, 0, 8, 16))
    else:
        mask = image.convert("RGBA") if form == "hole" else Image.new("RGBA", (16, 16), (0, 0, 0))
        mask.paste((0, 0, 0, 0), (0, 0, 8, 16))
    answer = server.client.images.edit(
        model="tiny",
        image=("image.png", png(image)),
        mask=("mask.png", png(mask)),
        prompt="cat",
        extra_body={"seed": 2, "steps": 4, "feather": 0},
    )
    tiny = server.engine.generators["tiny"]
    (alone,) = inpaint(tiny, image, white, "cat", 1, 2, 0, steps=4)
    assert np.array_equal(pixels(answer.data[0].b64_json), np.asarray(alone.image))


def test_an_edit_of_a_transparent_image_of_16_bits_is_read_as_everywhere(server: Running) -> None:
    levels = np.arange(256, dtype=np.uint16).reshape(16, 16) * 257
    data = png(Image.fromarray(levels))
    white = Image.new("L", (16, 16), 255)
    answer = server.client.images.edit(
        model="tiny",
        image=("image.png", data),
        mask=("mask.png", png(white)),
        prompt="cat",
        extra_body={"seed": 2, "steps": 4, "feather": 0},
    )
    tiny = server.engine.generators["tiny"]
    read = read_image(data if isinstance(data, bytes) else data.getvalue(), "image")
    assert np.asarray(read)[..., 0].tolist() == (levels // 257).tolist()
    (alone,) = inpaint(tiny, read, white, "cat", 1, 2, 0, steps=4)
    assert np.array_equal(pixels(answer.data[0].b64_json), np.asarray(alone.image))


def test_an_uploaded_photo_and_its_mask_are_turned_upright(server: Running) -> None:
    turned = Image.Exif()
    turned[0x0112] = 6  # to be turned by a quarter
    image, white = Image.effect_noise((24, 16), 80).convert("RGB"), Image.new("L", (24, 16))
    white.paste(255, (0, 0, 8, 16))
    sent = []
    for part in (image, white):
        buffer = io.BytesIO()
        part.save(buffer, "PNG", exif=turned)
        sent.append(buffer.getvalue())
    answer = server.client.images.edit(
        model="tiny",
        image=("image.png", sent[0]),
        mask=("mask.png", sent[1]),
        prompt="cat",
        extra_body={"seed": 2, "steps": 4, "feather": 0},
    )
    upright = [part.transpose(Image.Transpose.ROTATE_270) for part in (image, white)]
    (alone,) = inpaint(server.engine.generators["tiny"], *upright, "cat", 1, 2, 0, steps=4)
    found = pixels(answer.data[0].b64_json)
    assert found.shape == (24, 16, 3)
    assert np.array_equal(found, np.asarray(alone.image))


def test_an_edit_keeps_transparent_pixels(server: Running) -> None:
    image = Image.new("RGBA", (16, 16), (200, 30, 30, 255))
    image.paste((1, 2, 3, 90), (8, 0, 16, 16))
    white = Image.new("L", (16, 16), 0)
    white.paste(255, (0, 0, 4, 4))
    answer = server.client.images.edit(
        model="tiny",
        image=("image.png", png(image)),
        mask=("mask.png", png(white)),
        prompt="cat",
        extra_body={"seed": 2, "steps": 1, "feather": 0},
    )
    assert np.array_equal(pixels(answer.data[0].b64_json)[:, 4:], np.asarray(image)[:, 4:])


def test_an_edit_can_be_streamed_and_read_its_mask_from_the_image(server: Running) -> None:
    image = Image.new("RGBA", (16, 16), (200, 30, 30, 255))
    image.paste((0, 0, 0, 0), (4, 4, 12, 12))
    stream = server.client.images.edit(
        model="tiny",
        image=[("a.png", png(image))],
        prompt="dog",
        stream=True,
        extra_body={"seed": 4, "steps": 4, "feather": 0},
    )
    (event,) = stream
    assert event.type == "image_edit.completed"
    hole = Image.new("L", (16, 16))
    hole.paste(255, (4, 4, 12, 12))
    tiny = server.engine.generators["tiny"]
    (alone,) = inpaint(tiny, to_rgb(image), hole, "dog", 1, 4, 0, steps=4)
    assert np.array_equal(pixels(event.b64_json), np.asarray(alone.image))


def test_an_edit_needs_a_mask_or_a_transparent_part(server: Running) -> None:
    image = Image.new("RGB", (16, 16), "red")
    with pytest.raises(openai.BadRequestError, match="mask: needed, as the image has no transp"):
        server.client.images.edit(model="tiny", image=("a.png", png(image)), prompt="dog")


def test_an_answer_has_the_order_of_the_request(server: Running) -> None:
    """Whichever image is finished first."""
    images = server.engine.generators["tiny"].generate("cat", num_images=3, steps=2)
    tickets = [Ticket(ImageRequest("tiny", "cat"), math.inf) for _ in images]

    class Connected:
        async def is_disconnected(self) -> bool:
            return False

    async def answered() -> dict[str, Any]:
        service, asked = Service(server.engine), Generation(prompt="cat")
        task = asyncio.create_task(service.answer(tickets, asked, Connected()))
        await asyncio.sleep(0.01)
        for index in (2, 0, 1):
            tickets[index].report(images[index])
        return await task

    answer = asyncio.run(answered())
    assert [item["seed"] for item in answer["data"]] == [0, 1, 2]


def test_variations_are_those_of_the_library(server: Running) -> None:
    image = Image.effect_noise((16, 16), 80).convert("RGB")
    answer = server.client.images.create_variation(
        model="tiny", image=("a.png", png(image)), n=2, extra_body={"seed": 4, "steps": 3}
    )
    tiny = server.engine.generators["tiny"]
    for item, alone in zip(
        answer.data, tiny.variations(image, num_images=2, seed=4, steps=3), strict=True
    ):
        assert np.array_equal(pixels(item.b64_json), np.asarray(alone.image))
    kept = server.client.images.create_variation(
        model="tiny", image=("a.png", png(image)), extra_body={"strength": 0}
    )
    own = tiny.variations(image, 0.0)[0].image
    assert np.array_equal(pixels(kept.data[0].b64_json), np.asarray(own))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"strength": 1.5}, "strength: Input should be less than or equal to 1"),
        ({"feather": 2}, "unknown field 'feather'"),
    ],
)
def test_a_wrong_variation_is_one_line(
    server: Running, wrong: dict[str, object], said: str
) -> None:
    data = png(Image.new("RGB", (16, 16)))
    with pytest.raises(openai.BadRequestError, match=said):
        server.client.images.create_variation(image=("a.png", data), extra_body=wrong)


@pytest.mark.parametrize("kind", ["jpeg", "webp", "png"])
def test_output_format_and_compression_are_those_of_the_file(server: Running, kind: str) -> None:
    def made(quality: int) -> bytes:
        answer = server.client.images.generate(
            model="tiny",
            prompt="cat",
            extra_body={"seed": 5, "steps": 4},
            output_format=kind,
            output_compression=quality,
        )
        return base64.b64decode(answer.data[0].b64_json)

    fine, coarse = (Image.open(io.BytesIO(made(quality))) for quality in (100, 5))
    assert fine.format == coarse.format == kind.upper()
    alone = server.engine.generators["tiny"].generate("cat", seed=5, steps=4)[0]
    off = [
        float(np.abs(np.asarray(each.convert("RGB"), float) - np.asarray(alone.image)).mean())
        for each in (fine, coarse)
    ]
    assert off == [0, 0] if kind == "png" else off[0] < off[1]


def test_an_edit_of_a_transparent_image_may_be_a_jpeg(server: Running) -> None:
    image = Image.new("RGBA", (16, 16), (200, 30, 30, 128))
    image.paste((0, 0, 0, 0), (0, 0, 8, 16))
    answer = server.client.images.edit(
        model="tiny",
        image=("a.png", png(image)),
        prompt="cat",
        output_format="jpeg",
        extra_body={"steps": 2},
    )
    assert Image.open(io.BytesIO(base64.b64decode(answer.data[0].b64_json))).format == "JPEG"


def test_an_address_of_a_jpeg_is_one(server: Running) -> None:
    answer = server.client.images.generate(
        model="tiny", prompt="cat", response_format="url", output_format="jpeg"
    )
    with urllib.request.urlopen(answer.data[0].url) as reply:
        assert reply.headers["content-type"] == "image/jpeg"
        assert Image.open(io.BytesIO(reply.read())).format == "JPEG"


def test_what_does_not_exist_says_so(server: Running) -> None:
    answer = httpx.post(f"{server.url}/v1/images/upscale")
    assert answer.status_code == 404
    assert "nothing at /v1/images/upscale" in answer.json()["error"]["message"]


def test_models_are_listed_by_name(server: Running) -> None:
    assert [model.id for model in server.client.models.list()] == ["tiny", "tiny_text"]
    assert server.client.models.retrieve("tiny").id == "tiny"
    with pytest.raises(openai.NotFoundError, match="unknown model 'tyni'"):
        server.client.models.retrieve("tyni")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"stepz": 3}, "unknown field 'stepz'; did you mean 'steps'"),
        ({"cfg_scale": 3}, "cfg_scale: Demask calls it guidance_scale"),
        ({"steps": 17}, "steps must be 1 to 16"),
        ({"steps": "many"}, "steps must be a whole number of at least 1, not 'many'"),
        ({"order": "best"}, "unknown selection order 'best'"),
        ({"schedule": "power:1e999"}, ""),
        (
            {"temperature": 1e-9},
            "temperature must be a number (0, or from 0.001 to 100), not 1e-09",
        ),
        ({"preset": "none"}, "unknown preset"),
        ({"size": "16"}, "a size is WIDTHxHEIGHT"),
        ({"size": "17x16"}, "both sides must be multiples of 4"),
        ({"size": "16x16", "width": 32}, "size is 16x16, but width is 32"),
        ({"prompt": "cow"}, "unknown class 'cow'"),
        ({"n": 11}, "n: Input should be less than or equal to 10"),
        ({"seed": True}, "seed: it must be a whole number, not true"),
        ({"n": False}, "n: it must be a whole number, not false"),
        ({"seed": -1}, "seed: Input should be greater than or equal to 0"),
        ({"output_format": "gif"}, "output_format: Input should be 'png', 'jpeg' or 'webp'"),
        ({"output_compression": 101}, "output_compression: Input should be less than or equal"),
    ],
)
def test_a_mistake_is_one_line(server: Running, wrong: dict[str, object], said: str) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        server.client.images.generate(model="tiny", prompt="cat", extra_body=wrong)
    error = caught.value.body
    assert said in error["message"]
    assert "\n" not in error["message"]
    assert error["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("body", "said"), [(b"{bad", "the body is no JSON"), (b"[]", "the body must be a JSON object")]
)
def test_a_body_that_is_no_object(server: Running, body: bytes, said: str) -> None:
    answer = httpx.post(
        f"{server.url}/v1/images/generations",
        content=body,
        headers={"content-type": "application/json"},
    )
    assert answer.status_code == 400
    assert answer.json()["error"]["message"] == said
    assert answer.json()["error"]["param"] is None


def test_an_unknown_model_is_not_found(server: Running) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        server.client.images.generate(model="dall-e-2", prompt="cat")
    assert caught.value.code == "model_not_found"
