"""A little world to train in: images of two kinds, and recipes that take seconds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

TOKENIZER_RECIPE = """
[tokenizer]
size = 8
shift = 1

[tokenizer.model]
levels = [4, 4]
widths = [16]
encoder_blocks = [1]
decoder_blocks = [1]
pixel_width = 16

[tokenizer.loss]
adversary_start = 3
edge = 0.1

[run]
steps = 8
batch_size = 4
save_every = 2
validate_every = 4
log_every = 1
tracker = "none"
"""

MASKED_RECIPE = """
[views]
size = 8
count = 3
shift = 1

[transformer]
width = 16
depth = 2
heads = 2
mlp_width = 16
dropout = 0.1

[transformer.masking]
complementary = true

[transformer.optim]
optimizer = "muon"

[run]
steps = 8
batch_size = 4
accumulate = 2
save_every = 2
validate_every = 4
log_every = 1
tracker = "none"
"""


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder with ten reddish and ten bluish images, a sub-folder each."""
    random = np.random.default_rng(0)
    for channel, name in ((0, "red"), (2, "blue")):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for number in range(10):
            pixels = random.integers(0, 90, (8, 8, 3), dtype=np.uint8)
            pixels[..., channel] += 160
            Image.fromarray(pixels).save(tmp_path / "pictures" / name / f"{number}.png")
    return tmp_path / "pictures"


@pytest.fixture
def recipes(tmp_path: Path) -> Path:
    """A folder with ``tokenizer.toml`` and ``masked.toml``."""
    folder = tmp_path / "recipes"
    folder.mkdir()
    (folder / "tokenizer.toml").write_text(TOKENIZER_RECIPE)
    (folder / "masked.toml").write_text(MASKED_RECIPE)
    return folder
