"""MaskBit on golden weights: generate, the server, evaluate, edits, save and load.

Shape legend: B batch, P positions, S parts, L tokens.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import demask
from demask import rng
from demask.checkpoint.load import CheckpointError, load_model
from demask.checkpoint.read import read_tensors
from demask.checkpoint.save import save_model
from demask.guidance import GUIDANCES
from demask.preset_file import read_presets
from demask.sampling.correction import CORRECTIONS
from demask.sampling.decode import decode
from demask.sampling.edit import image_to_image
from demask.sampling.sampler import Sampler
from demask.sampling.select import ORDERS
from demask.tokenizer.vqgan import VQGAN, VQGANConfig
from demask.types import Condition, Step
from doors import array, check_evaluate, check_server
from serving import Running, serving

PRESETS = Path(demask.__file__).parent / "published_presets"
FAST = {"steps": 4, "guidance_scale": 2.5}


def file_of(golden: Path, name: str) -> Path:
    """The only weights file of a golden case."""
    (file,) = (golden / name).glob("*.bin")
    return file


def loaded_from(golden: Path, *, low_memory: bool = False) -> demask.Generator:
    tokenizer = str(file_of(golden, "maskbit_tokenizer"))
    file = file_of(golden, "maskbit_generator")
    return demask.load(file, tokenizer, device="cpu", low_memory=low_memory)


@pytest.fixture(scope="module")
def generator(golden: Path) -> demask.Generator:
    """In float64, in which nothing hangs on the rounding of a batch."""
    loaded = loaded_from(golden, low_memory=True)
    for network in (loaded.transformer, loaded.tokenizer):
        network.double()  # type: ignore[attr-defined]
    settings = read_presets(PRESETS / "maskbit_10bit.toml")["published"].settings
    return replace(loaded, settings=settings, low_memory=False)


@pytest.fixture(scope="module")
def server(generator: demask.Generator) -> Iterator[Running]:
    with serving({"maskbit": generator}) as running:
        yield running


def test_images_alone_and_in_a_batch(generator: demask.Generator) -> None:
    layout, codes = generator.transformer.layout, generator.transformer.codebook_size
    assert layout.parts == 2
    assert f"{layout.sides} tokens of {codes} codes" in repr(generator)
    images = generator.generate([207, 3], 3, steps=6)
    assert images[0].settings.guidance_schedule == "power_cosine:power=2.5,delayed=True"
    (alone,) = generator.generate(3, seed=1, steps=6)
    assert np.array_equal(array(alone.image), array(images[1].image))
    with pytest.raises(
        ValueError, match=rf"steps must be 1 to {layout.tokens} \(the tokens\), not"
    ):
        generator.generate(3, steps=layout.tokens + 1)


def test_a_batch_of_the_server_is_each_image_alone(
    server: Running, generator: demask.Generator
) -> None:
    check_server(server, "maskbit", generator, "7", **FAST)


def test_evaluate(generator: demask.Generator, tmp_path: Path) -> None:
    check_evaluate(generator, tmp_path, generator.size[0], **FAST)


@torch.no_grad()
def test_save_and_load(golden: Path, tmp_path: Path) -> None:
    file = file_of(golden, "maskbit_generator")
    network, tokenizer = load_model(file), load_model(file_of(golden, "maskbit_tokenizer"))
    save_model(tmp_path / "transformer.safetensors", network, "maskbit")
    save_model(tmp_path / "tokenizer.safetensors", tokenizer, "vqgan")
    again = demask.load(tmp_path, device="cpu")
    first = loaded_from(golden)
    one, two = (model.generate(5, seed=1, **FAST)[0].image for model in (first, again))
    assert np.array_equal(array(one), array(two))
    layout = again.transformer.layout
    ids_BL = torch.full((1, layout.tokens), again.transformer.mask_id)
    step = Step(0, 4, layout, torch.ones(1))
    condition = Condition({"class_ids": torch.tensor([4])})
    logits = [
        load_model(path).predict(ids_BL, condition, step).logits_BLV  # type: ignore[operator]
        for path in (file, tmp_path / "transformer.safetensors")
    ]
    assert torch.equal(*logits)


def test_what_is_off_changes_nothing(generator: demask.Generator) -> None:
    plain = generator.generate(5, seed=2, steps=4, guidance_scale=1)[0]
    off = [{"guidance_method": name} for name in GUIDANCES]
    off += [{"accelerators": "token_merging:0"}, {"corrections": "noise_regularization:0"}]
    for one in off:
        same = generator.generate(5, seed=2, steps=4, guidance_scale=1, **one)[0]
        assert np.array_equal(array(same.image), array(plain.image)), one


@pytest.mark.parametrize(
    "changes",
    [{"order": name} for name in ORDERS if name != "critic"]
    + [{"corrections": name} for name in CORRECTIONS]
    + [
        {"accelerators": "token_merging:0.25"},
        {"accelerators": "local_steps:2"},
        {"guidance_refresh": 2},
        {"top_k": 3},
    ],
)
def test_every_variant_that_serves_parts(changes: dict, generator: demask.Generator) -> None:
    images = generator.generate(5, 2, seed=1, **FAST, **changes)
    (alone,) = generator.generate(5, seed=2, **FAST, **changes)
    assert np.array_equal(array(images[1].image), array(alone.image))


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"order": "critic"}, "order 'critic' needs a grid with one token at each position"),
        ({"guidance_method": "spatial"}, "guidance_method 'spatial' needs a grid with one token"),
        ({"accelerators": "shortcut"}, "accelerators 'shortcut' needs a grid with one token at"),
    ],
)
def test_what_does_not_serve_parts_is_refused(
    changes: dict, line: str, generator: demask.Generator
) -> None:
    layout = generator.transformer.layout
    with pytest.raises(ValueError, match=f"^{line}.* are {layout}; valid: "):
        generator.generate(5, **FAST, **changes)


def test_edits_are_by_position(generator: demask.Generator) -> None:
    (image,) = generator.generate(5, seed=1, **FAST)
    width, height = image.image.size
    mask = Image.new("L", image.image.size)
    mask.paste(255, (0, 0, width // 2, height))
    (edited,) = generator.inpaint(image.image, mask, 3, seed=5, feather=0, **FAST)
    assert np.array_equal(array(edited.image)[:, width // 2 :], array(image.image)[:, width // 2 :])
    assert not np.array_equal(array(edited.image), array(image.image))
    ((wide,), (varied,)) = (
        generator.outpaint(image.image, right=4, seed=2, **FAST),
        generator.variations(image.image, 0.5, 3, seed=2, **FAST),
    )
    assert wide.image.size == (width + 4, height)
    assert varied.image.size == image.image.size


def half_known(generator: demask.Generator, ids: Tensor) -> Iterator[Tensor]:
    model = generator.transformer
    canvas = image_to_image(ids, 0.5, rng.image_generators([0]), model.mask_id, 2)
    condition = Condition({"class_ids": torch.tensor([4])})
    generators = rng.image_generators([1])
    for state in decode(model.predict, condition, canvas, generators, Sampler(steps=5)):
        assert torch.equal(state.ids_BL[canvas.known_BL], canvas.ids_BL[canvas.known_BL])
        yield state.masked_BL.view(-1, 2).sum(-1)


def test_positions_are_known_in_part_during_a_run(generator: demask.Generator) -> None:
    noise = torch.Generator().manual_seed(0)
    ids = generator.tokens(torch.rand(1, 3, *generator.size, generator=noise))
    assert ids.shape == (1, *generator.transformer.layout.dims)
    counts = list(half_known(generator, ids))
    assert any(bool((count_P == 1).any()) for count_P in counts)
    assert counts[-1].sum() == 0


@pytest.mark.parametrize("path", sorted(PRESETS.glob("maskbit_*.toml")), ids=lambda path: path.stem)
def test_presets(path: Path) -> None:
    presets = read_presets(path)
    assert presets.default == "published"
    for name, preset in presets.by_name.items():
        assert preset.settings.schedule == "arccos"
        assert preset.settings.steps == int(name.removeprefix("published").strip("_") or 64)
        assert preset.scores[0].startswith("published: FID 1.")


def changed(golden: Path, folder: Path, **changes: Any) -> Path:
    """A copy of the generator's file with other tensors; None leaves one out."""
    file = file_of(golden, "maskbit_generator")
    read, _ = read_tensors(file)
    keys = {key.replace("__", "."): change for key, change in changes.items()}
    given = {
        key: change(read.get(key)) if callable(change) else change for key, change in keys.items()
    }
    kept = {key: given.get(key, tensor) for key, tensor in (read | given).items()}
    torch.save({k: t for k, t in kept.items() if t is not None}, folder / file.name)
    program = file.with_suffix(".yaml")
    (folder / program.name).write_text(program.read_text())
    return folder / file.name


@pytest.mark.parametrize(
    ("tensors", "line"),
    [
        ({"pos_emb": lambda old: old[:, 1:]}, "positions are not a square number"),
        (
            {"prediction_layer__weight": lambda old: torch.cat([old, old[:1]])},
            r"\d+ outputs of a position are no 2 parts of \d+ bits",
        ),
        ({"norm_after_transformer__weight": torch.ones(32)}, "only post-norm ones are known"),
        ({"last_layer__0__bias": None}, "missing: last_layer.0.bias"),
        ({"extra": torch.ones(1)}, "unexpected: extra"),
        ({"pos_emb": None}, "missing: pos_emb"),
    ],
)
def test_broken_generators(tensors: dict, line: str, golden: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=line) as error:
        load_model(changed(golden, tmp_path, **tensors))
    assert "\n" not in str(error.value)


def test_the_input_layer_has_two_names_and_buffers_are_derived(
    golden: Path, tmp_path: Path
) -> None:
    file = file_of(golden, "maskbit_generator")
    tensors, _ = read_tensors(file)
    old, new = (
        ("token_emb", "input_proj") if "token_emb.bias" in tensors else ("input_proj", "token_emb")
    )
    renamed: dict[str, Any] = {"bits_to_indices": None}
    for kind in ("weight", "bias"):
        renamed |= {f"{new}__{kind}": tensors[f"{old}.{kind}"], f"{old}__{kind}": None}
    ours, theirs = (
        load_model(path).state_dict() for path in (changed(golden, tmp_path, **renamed), file)
    )
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_heads_are_asked_for(golden: Path, tmp_path: Path) -> None:
    file = changed(golden, tmp_path)
    file.with_suffix(".yaml").unlink()
    with pytest.raises(CheckpointError, match=r"width \d+: the tensors do not say heads"):
        load_model(file)
    file.with_suffix(".yaml").write_text("model: [1")
    with pytest.raises(CheckpointError, match="not valid YAML"):
        load_model(file)


def test_a_tokenizer_of_other_codes_is_refused(golden: Path) -> None:
    other = file_of(golden, "maskbit_vqgan_plus")
    with pytest.raises(ValueError, match=r"knows \d+ codes, the tokenizer \d+: they do not belong"):
        demask.load(file_of(golden, "maskbit_generator"), str(other), device="cpu")


def test_a_folder_of_both_files(golden: Path, tmp_path: Path) -> None:
    tokenizer = file_of(golden, "maskbit_tokenizer")
    for weights in (tokenizer, file_of(golden, "maskbit_generator")):
        for file in (weights, weights.with_suffix(".yaml")):
            (tmp_path / file.name).write_bytes(file.read_bytes())
    loaded = demask.load(tmp_path, device="cpu")
    one, two = (
        model.generate(5, seed=1, **FAST)[0].image for model in (loaded_from(golden), loaded)
    )
    assert np.array_equal(array(one), array(two))
    assert len(loaded.class_names) == 1000
    (tmp_path / "second.bin").write_bytes(tokenizer.read_bytes())
    with pytest.raises(ValueError, match=r"both .*bit\.bin and second\.bin hold a tokenizer; name"):
        demask.load(tmp_path, device="cpu")
    torch.save({"weight": torch.ones(2)}, tmp_path / "another.bin")
    with pytest.raises(ValueError, match=r"another\.bin: nothing says what it holds"):
        demask.load(tmp_path, device="cpu")


@torch.no_grad()
def test_maskgits_own_tokenizer_in_this_layout(tmp_path: Path) -> None:
    """It pools, and counts the levels of its decoder from the finest one."""
    torch.manual_seed(0)
    config = VQGANConfig(32, (1, 2), 1, codebook_size=16, latent_width=8, decoder_blocks=1)
    network = VQGAN(config).eval()
    theirs = {
        name.replace(".block.", ".res_blocks.").replace(".mid.", ".mid.res_blocks."): tensor
        for name, tensor in network.state_dict().items()
    }
    torch.save(theirs, tmp_path / "tokenizer.bin")
    loaded = load_model(tmp_path / "tokenizer.bin")
    assert isinstance(loaded, VQGAN)
    assert loaded.config == config
    image_BCHW = torch.rand(1, 3, 16, 16)
    assert torch.equal(loaded.encode(image_BCHW), network.encode(image_BCHW))
