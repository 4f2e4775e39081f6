from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from demask.transformer.maskgit import MaskGIT, MaskGITConfig
from demask.types import Condition, Step

TINY = MaskGITConfig(
    codebook_size=11, num_classes=3, grid=(2, 3), width=8, depth=3, heads=2, mlp_width=12
)


def model(config: MaskGITConfig = TINY) -> MaskGIT:
    torch.manual_seed(0)
    made = MaskGIT(config).double().eval()
    for parameter in made.parameters():
        nn.init.normal_(parameter, std=0.5)
    return made.requires_grad_(False)


def batch(net: MaskGIT) -> tuple[Tensor, Tensor]:
    ids_BL = torch.tensor([[0, 1, 2, net.mask_id, 10, 5], [net.mask_id] * 6])
    return ids_BL, torch.tensor([2, 0])


@pytest.mark.parametrize(
    ("config", "count"),
    [
        (MaskGITConfig.imagenet_256(tied=True), 172_457_193),
        (MaskGITConfig.imagenet_256(), 172_457_193 + 2025 * 768),
        (MaskGITConfig.imagenet_512(tied=True), 172_457_193 + (1024 - 256) * 768),
    ],
)
def test_published_sizes(config: MaskGITConfig, count: int) -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in MaskGIT(config).parameters()) == count


def test_prediction_has_the_codebook_at_image_positions() -> None:
    net = model()
    ids_BL, class_ids_B = batch(net)
    before = ids_BL.clone(), class_ids_B.clone()
    step = Step(0, 1, net.layout, torch.ones(2))
    prediction = net.predict(ids_BL, Condition({"class_ids": class_ids_B}), step)
    assert prediction.logits_BLV.shape == (2, 6, 11)
    assert prediction.features is not None
    assert prediction.features.shape == (2, 7, 8)
    assert torch.equal(prediction.logits_BLV, net(ids_BL, class_ids_B))
    assert torch.equal(ids_BL, before[0])
    assert torch.equal(class_ids_B, before[1])


def test_ids_of_classes_and_mask() -> None:
    net = model()
    assert net.mask_id == 14
    ids_BL, class_ids_B = batch(net)
    assert net.tokens(ids_BL, class_ids_B)[:, 0].tolist() == [13, 11]


def test_the_class_and_every_token_count() -> None:
    net = model()
    ids_BL, class_ids_B = batch(net)
    logits = net(ids_BL, class_ids_B)
    assert not torch.allclose(logits, net(ids_BL, class_ids_B.flip(0)))
    assert not torch.allclose(logits[:, 1:], net(ids_BL.roll(1, 1), class_ids_B)[:, 1:])


def test_images_of_a_batch_do_not_meet() -> None:
    net = model()
    ids_BL, class_ids_B = batch(net)
    alone = net(ids_BL[1:], class_ids_B[1:])
    torch.testing.assert_close(net(ids_BL, class_ids_B)[1:], alone, rtol=0, atol=1e-12)


def test_another_number_of_tokens_is_refused() -> None:
    net = model()
    with pytest.raises(ValueError, match=r"5 tokens; .* exactly 6 \(2x3\)"):
        net.tokens(torch.zeros(1, 5, dtype=torch.int64), torch.tensor([0]))


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(ValueError, match="width 10 must be a multiple of heads 4"):
        MaskGITConfig(width=10, heads=4)


def test_trace_ends_with_the_features() -> None:
    net = model()
    tokens_BS = net.tokens(*batch(net))
    states = list(net.states(tokens_BS))
    assert len(states) == TINY.depth + 1
    assert torch.equal(states[0], net.embed(tokens_BS))
    assert torch.equal(states[-1], net.features(tokens_BS))


def test_extra_values_change_only_the_values_and_count_the_bias_twice() -> None:
    net = model()
    block = net.blocks[0]
    x_BSD, extra_BSD = torch.randn(2, 2, 7, 8, dtype=torch.float64)
    key, value = block.attention.keys_values(x_BSD)
    key_with, value_with = block.attention.keys_values(x_BSD, extra_BSD)
    linear = block.attention.value
    expected = value + block.attention.split(extra_BSD @ linear.weight.T + linear.bias)
    assert torch.equal(key, key_with)
    torch.testing.assert_close(value_with, expected)
    torch.testing.assert_close(block(x_BSD, extra_BSD), block.update(x_BSD, key, expected))


def test_trace_gives_each_block_its_own_extra_values() -> None:
    net = model()
    tokens_BS = net.tokens(*batch(net))
    extras = list(torch.randn(TINY.depth, 2, 7, 8, dtype=torch.float64))
    states = list(net.states(tokens_BS, extras))
    for index, block in enumerate(net.blocks):
        torch.testing.assert_close(states[index + 1], block(states[index], extras[index]))


def test_some_tokens_can_be_updated_alone() -> None:
    net = model()
    x_BSD = net.embed(net.tokens(*batch(net)))
    block = net.blocks[0]
    key, value = block.attention.keys_values(x_BSD)
    torch.testing.assert_close(block.update(x_BSD[:, 2:5], key, value), block(x_BSD)[:, 2:5])


def test_tied_output_is_the_word_embedding() -> None:
    tied = model(MaskGITConfig(**{**vars(TINY), "tied": True}))
    assert "mlm_layer.to_logits.weight" not in tied.state_dict()
    apart = model()
    words_VD = tied.embed.word_embeddings.weight
    apart.load_state_dict({**tied.state_dict(), "mlm_layer.to_logits.weight": words_VD})
    ids = batch(tied)
    assert torch.equal(tied(*ids), apart(*ids))


def test_dropout_acts_in_training_only() -> None:
    net = model()
    ids = batch(net)
    assert torch.equal(net(*ids), net(*ids))
    net.train()
    torch.manual_seed(0)
    assert not torch.equal(net(*ids), net(*ids))


@torch.no_grad()
def test_starts_small() -> None:
    torch.manual_seed(0)
    net = MaskGIT(TINY)
    assert 0.015 < float(net.embed.word_embeddings.weight.std()) < 0.02
    assert float(net.transformer_layers[0].attention.query.bias.abs().max()) == 0
    assert net.mlm_layer.to_logits.weight is not None
    assert float(net.mlm_layer.to_logits.weight.abs().max()) <= 0.04


def test_attention_is_told_beside_the_same_prediction() -> None:
    net = model()
    ids_BL, class_ids_B = batch(net)
    condition, step = Condition({"class_ids": class_ids_B}), Step(0, 1, net.layout, torch.ones(2))
    told, attention_BL = net.predict_with_attention(ids_BL, condition, step)
    assert torch.equal(told.logits_BLV, net.predict(ids_BL, condition, step).logits_BLV)
    *_, before_BSD, _ = net.states(net.tokens(ids_BL, class_ids_B))
    attention = net.blocks[-1].attention
    q, k = (attention.split(f(before_BSD)) for f in (attention.query, attention.key))
    each = torch.eye(7, dtype=q.dtype).expand(2, 2, 7, 7)
    weight_BHSS = torch.nn.functional.scaled_dot_product_attention(q, k, each)
    expected_BL = weight_BHSS.mean((1, 2))[:, 1:]  # the class token is no part of the image
    torch.testing.assert_close(attention_BL, expected_BL / expected_BL.mean(-1, keepdim=True))
