"""LoRA adapters: written as peft reads them, added to the weights, refused by other models."""

from __future__ import annotations

import copy
import json
import logging
import shutil
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from demask.checkpoint.lora import (
    FACTS,
    WEIGHTS,
    add_adapters,
    apply_loras,
    base_fingerprint,
    fingerprints,
    matching_layers,
    read_lora,
    save_lora,
)
from demask.checkpoint.read import CheckpointError
from demask.transformer.clip_text import ClipText
from demask.transformer.meissonic import Meissonic
from demask.types import Condition
from tiny import tiny_meissonic, tiny_text_encoder


def networks() -> tuple[Meissonic, ClipText]:
    """A transformer and a text encoder, the same on every call."""
    return tiny_meissonic().requires_grad_(False), tiny_text_encoder().model.requires_grad_(False)


@torch.no_grad()
def logits(transformer: Meissonic, text: ClipText) -> Tensor:
    """What a model of prompts says of one partly masked grid."""
    states, pooled = text(tiny_text_encoder().tokenizer.ids(["red apple"]))
    micro = torch.tensor([[16.0, 16, 0, 0, 6]])
    ids_BL = torch.arange(16)[None]
    condition = Condition({"states": states, "pooled": pooled, "micro": micro})
    return transformer(ids_BL, condition, torch.tensor([0.5]))


def adapted(seed: int, layers: tuple[str, ...] = ("attn.to_q", "proj_out")) -> nn.ModuleDict:
    """A model whose adapters hold random numbers."""
    transformer, text = networks()
    model = nn.ModuleDict({"transformer": transformer, "text": text})
    names = [f"transformer.{name}" for name in matching_layers(transformer, layers)]
    names += [f"text.{name}" for name in matching_layers(text, ("fc1",))]
    add_adapters(model, names, rank=2, alpha=4.0, dropout=0.0, base="tiny")
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        if ".lora_" in name:
            parameter.data = torch.randn(parameter.shape, generator=generator) / 5
    return model.eval()


def saved(folder: Path, seed: int = 0, **layers: tuple[str, ...]) -> Path:
    """A folder of random adapters."""
    names = dict(zip(("transformer", "text"), networks(), strict=True))
    facts = {"base": "tiny", "fingerprints": fingerprints(names)}
    save_lora(folder, adapted(seed, **layers), facts)
    return folder


def test_a_weight_of_0_changes_not_one_bit(tmp_path: Path) -> None:
    transformer, text = networks()
    apply_loras(transformer, text, [f"{saved(tmp_path / 'a')}:0"])
    for network, before in zip((transformer, text), networks(), strict=True):
        state = before.state_dict()
        assert all(torch.equal(t, state[name]) for name, t in network.state_dict().items())


def test_it_says_what_the_adapters_said_before_they_were_saved(tmp_path: Path) -> None:
    model, folder = adapted(0), saved(tmp_path / "a")
    said = logits(model["transformer"], model["text"])
    first, again = networks(), networks()
    for transformer, text in (first, again):
        apply_loras(transformer, text, [str(folder)])
    assert torch.allclose(logits(*first), said, atol=1e-5)
    assert torch.equal(logits(*first), logits(*again))
    assert (logits(*networks()) - said).abs().max() > 0.01
    assert not [n for n, _ in first[0].named_modules() if "lora" in n], "plain layers are left"


def test_several_add_up_by_their_weights(tmp_path: Path) -> None:
    a, b = saved(tmp_path / "a", 1), saved(tmp_path / "b", 2)
    plain = networks()[0].state_dict()

    def change(*loras: str) -> Tensor:
        transformer, text = networks()
        apply_loras(transformer, text, loras)
        name = "single_transformer_blocks.0.proj_out.weight"
        return transformer.state_dict()[name] - plain[name]

    both = change(f"{a}:0.5", f"{b}:-2")
    assert torch.allclose(both, 0.5 * change(str(a)) - 2 * change(str(b)), atol=1e-6)


def test_half_precision_takes_the_same_adapters(tmp_path: Path) -> None:
    transformer, text = (network.half() for network in networks())
    stored = {"transformer": transformer, "text": text}
    folder = saved(tmp_path / "a")
    made_for = json.loads((folder / FACTS).read_text())["fingerprints"]
    assert fingerprints(stored) == made_for
    exact = networks()[0]
    apply_loras(exact, networks()[1], [str(folder)])
    apply_loras(transformer, text, [str(folder)])
    for name, tensor in transformer.state_dict().items():
        assert tensor.dtype == torch.float16
        assert torch.allclose(tensor.float(), exact.state_dict()[name], atol=2e-3)


def test_the_fingerprint_is_of_the_values_not_their_type() -> None:
    network = networks()[0].half()
    types = (torch.float32, torch.float16, torch.bfloat16)
    assert len({base_fingerprint(copy.deepcopy(network).to(dtype)) for dtype in types}) == 1
    other = copy.deepcopy(network)
    other.context_embedder.weight.data[0, 0] += 0.1
    assert base_fingerprint(other) != base_fingerprint(network)


def test_peft_reads_the_folder(tmp_path: Path) -> None:
    from peft import PeftModel

    transformer, text = networks()
    model = nn.ModuleDict({"transformer": transformer, "text": text})
    PeftModel.from_pretrained(model, str(saved(tmp_path / "a"))).eval()
    before = adapted(0)
    assert torch.equal(logits(transformer, text), logits(before["transformer"], before["text"]))


def test_the_weight_stands_behind_the_last_colon(tmp_path: Path) -> None:
    folder = saved(tmp_path / "a:b")
    for text, weight in (("", 1.0), (":0.5", 0.5), (":-2", -2.0), (":.5e1", 5.0)):
        lora = read_lora(f"{folder}{text}")
        assert (lora.folder, lora.weight) == (folder, weight)


def test_a_folder_whose_name_ends_like_a_weight_is_taken_as_it_is(tmp_path: Path) -> None:
    saved(tmp_path / "zorp")
    folder = saved(tmp_path / "zorp:2")
    assert (read_lora(str(folder)).folder, read_lora(str(folder)).weight) == (folder, 1.0)
    assert read_lora(f"{folder}:0.5").folder == folder
    assert read_lora(f"{tmp_path / 'zorp'}:3").weight == 3.0


def test_another_model_refuses_it_and_names_both(tmp_path: Path) -> None:
    folder = saved(tmp_path / "a")
    transformer, text = networks()
    transformer.context_embedder.weight.data += 1
    own, theirs = base_fingerprint(transformer), base_fingerprint(networks()[0])
    with pytest.raises(CheckpointError) as error:
        apply_loras(transformer, text, [f"{folder}:0"])
    line = str(error.value)
    assert f"LoRA of the model 'tiny' (transformer {theirs})" in line
    assert f"not of this (transformer {own})" in line
    assert "text" not in line


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="nowhere: no such folder"):
        apply_loras(*networks(), ["nowhere:0.5"])
    for name in ("adapter_config.json", FACTS, WEIGHTS):
        folder = saved(tmp_path / name)
        (folder / name).unlink()
        with pytest.raises(CheckpointError, match=f"it lacks {name}"):
            apply_loras(*networks(), [str(folder)])
    folder = saved(tmp_path / "b")
    (folder / FACTS).write_text("{}")
    with pytest.raises(CheckpointError, match="no 'fingerprints' of transformer and text"):
        apply_loras(*networks(), [str(folder)])


def test_tensors_of_other_shapes_are_refused_and_nothing_is_left_behind(tmp_path: Path) -> None:
    folder = saved(tmp_path / "a")
    tensors = load_file(folder / WEIGHTS)
    name = next(iter(tensors))
    tensors[name] = torch.zeros(2, 3)
    save_file(tensors, folder / WEIGHTS)
    transformer, text = networks()
    with pytest.raises(CheckpointError, match=f"{WEIGHTS}: tensors do not fit; mis-shaped"):
        apply_loras(transformer, text, [str(folder)])
    assert transformer.state_dict().keys() == networks()[0].state_dict().keys()
    assert torch.equal(logits(transformer, text), logits(*networks()))


def test_a_broken_configuration_is_one_line(tmp_path: Path) -> None:
    folder = saved(tmp_path / "a")
    (folder / "adapter_config.json").write_text("{")
    with pytest.raises(CheckpointError, match="adapter_config.json"):
        apply_loras(*networks(), [str(folder)])


def test_targets_are_the_ends_of_names() -> None:
    transformer = networks()[0]
    assert matching_layers(transformer, ["to_out.0"]) == ["transformer_blocks.0.attn.to_out.0"]
    assert len(matching_layers(transformer, ["attn.to_q"])) == 2
    with pytest.raises(ValueError, match=r"unknown LoRA target 'to_x'.* attn.to_q, ") as e:
        matching_layers(transformer, ["attn.to_q", "to_x"])
    assert "\n" not in str(e.value)


def test_no_adapters_change_nothing() -> None:
    transformer, text = networks()
    apply_loras(transformer, text, [])
    assert torch.equal(logits(transformer, text), logits(*networks()))


def test_a_folder_can_be_copied(tmp_path: Path) -> None:
    folder = saved(tmp_path / "a")
    shutil.copytree(folder, tmp_path / "copy")
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        ["adapter_config.json", WEIGHTS, FACTS]
    )
    assert str(tmp_path) not in (folder / "adapter_config.json").read_text()
    apply_loras(*networks(), [str(tmp_path / "copy")])


def test_what_torchao_says_of_itself_is_not_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Peft imports torchao when it meets the first layer, and torchao warns of other hardware."""
    spoken = []
    for name in ("inject_adapter_in_model", "LoraModel"):
        real = getattr(peft, name)

        def speak(*given: object, real: Any = real) -> object:
            spoken.append(real)
            logging.getLogger("torchao.kernel.intmm").warning("no triton")
            logging.getLogger("torch.utils._pytree").warning("an Enum subclass")
            return real(*given)

        monkeypatch.setattr(peft, name, speak)
    apply_loras(*networks(), [f"{saved(tmp_path / 'a')}"])
    assert len(spoken) == 2
    assert caplog.messages == []
    logging.getLogger("torchao").warning("later")
    assert caplog.messages == ["later"]
