"""A generator through the server and through `evaluate`, as every family of models is tested."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

import demask
from demask.checkpoint.save import save_model
from demask.evaluation.small_conv import SmallConv, SmallConvConfig
from demask.measuring.evaluate import evaluate
from serving import Running


def array(image: Image.Image) -> np.ndarray:
    return np.asarray(image.convert("RGB"))


def check_server(
    server: Running, model: str, generator: demask.Generator, prompt: str, **settings: Any
) -> None:
    """A batch of the server is each image alone."""
    answer = server.client.images.generate(
        model=model, prompt=prompt, n=3, extra_body={"seed": 3, **settings}
    )
    for index, item in enumerate(answer.data):
        (alone,) = generator.generate(prompt, seed=3 + index, **settings)
        served = Image.open(io.BytesIO(base64.b64decode(item.b64_json)))
        assert np.array_equal(array(served), array(alone.image))


def check_evaluate(
    generator: demask.Generator,
    folder: Path,
    side: int,
    captions: Sequence[str] = (),
    **settings: Any,
) -> None:
    """A metric against noise, by a random network, is a number.

    Args:
        generator: generates nine images.
        folder: where the network and the noise are written.
        side: of the images of noise.
        captions: repeated, of the noise.
        settings: of the images.
    """
    torch.manual_seed(0)
    network = SmallConv(SmallConvConfig(3, (4, 4), 5, residual=1))
    path = folder / "net" / "classifier.safetensors"
    save_model(path, network, "small_conv", class_names=["a", "b", "c"], size=side)
    (folder / "real").mkdir()
    for number in range(12):
        pixels = np.random.default_rng(number).integers(0, 256, (side, side, 3), np.uint8)
        Image.fromarray(pixels).save(folder / "real" / f"{number}.png")
        if captions:
            text = captions[number % len(captions)]
            (folder / "real" / f"{number}.txt").write_text(text)
    found = evaluate(
        generator,
        folder / "real",
        num_images=9,
        extractors=f"cifar10_conv:weights={path}",
        metrics="kid",
        resamples=0,
        cache=folder / "cache",
        device="cpu",
        **settings,
    )
    assert [score.metric for score in found.scores] == ["kid"]
    assert np.isfinite(found.scores[0].value)
