"""Images decoded once: the same batches, tokens and captions as from their source, to the bit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from demask.data import open_images
from demask.data.decoded import DecodedImages, decode_images, random_views, views_of
from demask.data.tokens import build_tokens
from demask.data.transforms import random_view, to_tensor
from demask.data.views import Views
from demask.tokenizer.conv_tokenizer import ConvTokenizer, ConvTokenizerConfig
from demask.training.tasks.classifier import in_memory
from demask.training.tasks.tokenizer import TokenizerRecipe, TokenizerTask

SIZE = 16
MODEL = ConvTokenizerConfig((4, 4), (16,), (1,), (1,), 16)


@pytest.fixture
def source(tmp_path):
    """Twelve captioned images of two classes, wider than high."""
    random = np.random.default_rng(0)
    for name in ("cold", "warm"):
        (tmp_path / "images" / name).mkdir(parents=True)
        for number in range(6):
            pixels = random.integers(0, 255, (24, 40, 3), dtype=np.uint8)
            place = tmp_path / "images" / name / f"{number}.png"
            Image.fromarray(pixels).save(place)
            place.with_suffix(".txt").write_text(f"{name} number {number}")
    return open_images(tmp_path / "images")


@pytest.fixture(params=[1, 2])
def decoded(request, source, tmp_path):
    decode_images(source, SIZE, tmp_path / "decoded", request.param)
    images = open_images(f"decoded:{tmp_path / 'decoded'}")
    assert isinstance(images, DecodedImages)
    return images


def test_each_image_is_that_of_its_source(source, decoded):
    assert len(decoded) == len(source) == 12
    assert decoded.class_names == source.class_names
    assert decoded.fingerprint != source.fingerprint
    for index in range(12):
        ours, theirs = decoded[index], source[index]
        assert torch.equal(to_tensor(ours.image, SIZE), to_tensor(theirs.image, SIZE))
        assert (ours.label, ours.captions) == (theirs.label, theirs.captions)


def test_classes_are_numbered_in_the_wanted_order(decoded, tmp_path):
    images = open_images(f"decoded:{tmp_path / 'decoded'}", class_names=["warm", "x", "cold"])
    assert [images[i].label for i in (0, 11)] == [2, 0]
    with pytest.raises(ValueError, match="unknown class 'cold'"):
        open_images(f"decoded:{tmp_path / 'decoded'}", class_names=["warm"])


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("shift", [0, 3])
def test_a_batch_of_random_views_is_made_of_random_views(source, decoded, flip, shift):
    indices = list(range(12)) * 3
    generator = torch.Generator().manual_seed(5)
    each = [random_view(source[i].image, SIZE, flip, shift, generator) for i in indices]
    draws_B3 = torch.rand(len(indices), 3, generator=torch.Generator().manual_seed(5))
    assert torch.equal(random_views(decoded, indices, flip, shift, draws_B3), torch.stack(each))


@pytest.mark.parametrize("flip", [False, True])
def test_numbered_views_are_the_same(source, decoded, flip):
    views = Views(SIZE, 4, flip, 2)
    for number in range(4):
        each = [views.view(source[i].image, i, number) for i in range(12)]
        assert torch.equal(views_of(decoded, views, range(12), number), torch.stack(each))


def test_tokens_are_the_same(source, decoded, tmp_path):
    tokenizer = ConvTokenizer(MODEL)
    made = [build_tokens(tokenizer, p, Views(SIZE, 3), tmp_path / "t") for p in (source, decoded)]
    assert np.array_equal(made[0].ids, made[1].ids)
    assert made[0].captions == made[1].captions
    assert made[0].fingerprint != made[1].fingerprint


def test_trainings_read_the_same_batches(source, decoded):
    recipe = TokenizerRecipe(SIZE, MODEL, shift=2)
    batches = [
        TokenizerTask(recipe, p, p).load(torch.arange(8), torch.Generator().manual_seed(1))
        for p in (source, decoded)
    ]
    assert torch.equal(batches[0]["image_BCHW"], batches[1]["image_BCHW"])
    kept = [in_memory(p, SIZE) for p in (source, decoded)]
    assert torch.equal(kept[0][0], kept[1][0])
    assert torch.equal(kept[0][1], kept[1][1])


def test_another_size_is_cut_from_the_images(decoded):
    task = TokenizerTask(TokenizerRecipe(8, MODEL), decoded, decoded)
    batch = task.load(torch.arange(2), torch.Generator().manual_seed(0))
    assert batch["image_BCHW"].shape == (2, 3, 8, 8)


def test_a_folder_without_images_is_refused(tmp_path):
    with pytest.raises(ValueError, match="holds no decoded images"):
        open_images(f"decoded:{tmp_path}")


def test_a_stop_leaves_no_folder(source, tmp_path):
    class Broken:
        class_names, fingerprint = source.class_names, source.fingerprint

        def __len__(self):
            return 300

        def __getitem__(self, index):
            if index == 290:
                raise ValueError("stop")
            return source[index % 12]

    with pytest.raises(ValueError, match="stop"):
        decode_images(Broken(), 8, tmp_path / "decoded")
    assert not list(tmp_path.glob("*decoded*"))
