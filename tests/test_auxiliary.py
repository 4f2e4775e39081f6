from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

import demask
from demask.auxiliary import AUXILIARY, AuxiliaryNetworks, check_auxiliary, find_auxiliary
from demask.checkpoint.lora import base_fingerprint
from demask.checkpoint.save import save_model
from demask.transformer.modern_maskgit import ModernMaskGIT, ModernMaskGITConfig
from tiny import save_tiny, tiny_tokenizer, tiny_transformer


def other_codes() -> ModernMaskGIT:
    return ModernMaskGIT(ModernMaskGITConfig(16, 3, (4, 4), 32, 1, 2, 32))


def test_those_in_the_folder_are_found_by_their_names(tmp_path: Path) -> None:
    assert find_auxiliary(tmp_path, []) == {}
    for kind in AUXILIARY:
        (tmp_path / f"{kind}.safetensors").touch()
    assert set(find_auxiliary(tmp_path, [])) == set(AUXILIARY)


def test_a_named_one_goes_first_and_says_itself_what_it_is(tmp_path: Path) -> None:
    (tmp_path / "weaker.safetensors").touch()
    early = tmp_path / "early.safetensors"
    save_model(early, tiny_transformer(), "modern_maskgit")
    assert find_auxiliary(tmp_path, [str(early)]) == {"weaker": early}


def test_a_tokenizer_is_no_auxiliary_network(tmp_path: Path) -> None:
    path = tmp_path / "pixels.safetensors"
    save_model(path, tiny_tokenizer(), "conv_tokenizer")
    with pytest.raises(ValueError, match=r"unknown auxiliary network 'tokenizer'.*Valid: .*weaker"):
        find_auxiliary(tmp_path, [str(path)])


def test_each_is_read_once_and_a_missing_one_says_where_it_comes_from(tmp_path: Path) -> None:
    read: list[str] = []

    def load(kind: str, path: Path) -> nn.Module:
        read.append(kind)
        return nn.Identity()

    aux = AuxiliaryNetworks("tiny", {"weaker": tmp_path}, load)
    assert aux.get("weaker") is aux.get("weaker")
    assert read == ["weaker"]
    with pytest.raises(ValueError, match="tiny has no self_guidance network: train its module"):
        aux.get("self_guidance")


def test_a_module_of_another_base_is_refused(tmp_path: Path) -> None:
    base, path = tiny_transformer(), tmp_path / "module.safetensors"
    network = nn.Linear(2, 2)
    fingerprint: Callable[[], str] = lambda: base_fingerprint(base)  # noqa: E731
    for made_for, belongs in ((base_fingerprint(base), True), ("0123456789abcdef", False)):
        save_model(path, tiny_tokenizer(), "conv_tokenizer", base=made_for)
        if belongs:
            check_auxiliary(path, network, base, fingerprint)
        else:
            with pytest.raises(ValueError, match="trained beside another model"):
                check_auxiliary(path, network, base, fingerprint)


def test_a_weaker_model_of_other_codes_is_refused(tmp_path: Path) -> None:
    check_auxiliary(tmp_path, tiny_transformer(), tiny_transformer(), lambda: "")
    with pytest.raises(ValueError, match="knows 16 codes .* the model 15"):
        check_auxiliary(tmp_path, other_codes(), tiny_transformer(), lambda: "")


def test_the_model_generates_without_those_that_it_does_not_need(tmp_path: Path) -> None:
    model = save_tiny(tmp_path)
    (model / "self_guidance.safetensors").write_bytes(b"broken")
    generator = demask.load(str(model))
    assert len(generator.generate("cat", steps=2)) == 1
    with pytest.raises(ValueError, match="self_guidance.safetensors"):
        generator.generate("cat", steps=2, guidance_scale=2, guidance_method="self_guidance")
    with torch.no_grad(), pytest.raises(ValueError, match="unknown guidance 'self'"):
        generator.generate("cat", steps=2, guidance_method="self")
