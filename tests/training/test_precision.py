"""What a training computes in."""

import pytest
import torch

from demask.training.engine import precision
from demask.training.engine.config import TrainConfig
from demask.training.engine.precision import resolve_precision

CPU = torch.device("cpu")


@pytest.mark.parametrize(("fast", "chosen"), [(True, "bf16"), (False, "no")])
def test_auto_is_bfloat16_where_the_processor_is_fast_at_it(
    fast: bool, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: fast)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    assert resolve_precision("auto", CPU) == chosen
    assert resolve_precision("fp16", CPU) == "fp16"


def test_an_unknown_precision_names_the_valid_ones() -> None:
    for refuse in (
        lambda: TrainConfig(steps=1, precision="bf32"),
        lambda: resolve_precision("bf32", CPU),
    ):
        with pytest.raises(ValueError, match=r"'bf32'\. Valid: auto, no, bf16, fp16"):
            refuse()


def test_the_training_step_attends_by_explicit_products_on_a_cpu() -> None:
    with precision.training_attention(CPU):
        assert torch.backends.cuda.math_sdp_enabled()
        assert not torch.backends.cuda.flash_sdp_enabled()
