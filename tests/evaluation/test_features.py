"""Extraction, the cache of a reference, NPZ files, and the extractors themselves."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from demask.checkpoint.save import save_model
from demask.evaluation.extractors import load_extractor
from demask.evaluation.features import cache_key, extract, extract_all, reference_features
from demask.evaluation.images import open_npz
from demask.evaluation.inception import BlockE, InceptionV3, average, read_network
from demask.evaluation.networks import NETWORKS
from demask.evaluation.patch_mixer import PatchMixerConfig
from demask.evaluation.small_conv import SmallConvConfig

CONFIGS = {
    "small_conv": SmallConvConfig(3, (4, 4), 6, residual=1),
    "patch_mixer": PatchMixerConfig(3, 16, (4, 4), 6, 1, 4, 8),
}


@pytest.fixture(params=CONFIGS)
def network(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    torch.manual_seed(0)
    module = NETWORKS[request.param][0](CONFIGS[request.param])
    path = tmp_path / "mine" / "classifier.safetensors"
    save_model(path, module, request.param, torch.float16, class_names=["a", "b", "c"], size=16)
    return path


def images(count: int, side: int = 16) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(256, (count, side, side, 3), generator=generator, dtype=torch.uint8)


def test_a_trained_network_from_its_file(network: Path) -> None:
    extractor = load_extractor(f"cifar10_conv:weights={network}")
    assert extractor.name == "cifar10_conv:mine"
    pixels_NHWC = images(5)
    features = extract([(pixels_NHWC[:3], None), (pixels_NHWC[3:], None)], extractor)
    assert features.features_ND.shape == (5, 6)
    assert features.logits_NK is not None
    assert features.logits_NK.shape == (5, 3)
    assert features.class_names == ("a", "b", "c")
    whole = extract([(pixels_NHWC, None)], extractor)
    torch.testing.assert_close(features.features_ND, whole.features_ND)
    assert extract([(images(2, 20), None)], extractor).features_ND.shape == (2, 6)


def test_sizes_must_not_mix(network: Path) -> None:
    extractor = load_extractor(f"cifar10_conv:weights={network}")
    with pytest.raises(ValueError, match=r"several sizes: 16x16 and 20x20 \(image 2\)"):
        extract_all([(images(2), None), (images(1, 20), None)], [extractor])
    with pytest.raises(ValueError, match="no images to measure"):
        extract([], extractor)


def test_a_reference_is_seen_once(network: Path, tmp_path: Path) -> None:
    extractor = load_extractor(f"cifar10_conv:weights={network}")
    read = []

    def batches():
        read.append(1)
        return [(images(4), torch.tensor([0, 1, 2, 0]))]

    first, second = (reference_features(batches, "data", extractor, tmp_path) for _ in range(2))
    assert len(read) == 1
    assert torch.equal(first.features_ND, second.features_ND)
    assert second.labels_N is not None
    assert second.size == (16, 16)
    reference_features(batches, "other data", extractor, tmp_path)
    assert len(read) == 2
    (tmp_path / "features" / f"{cache_key('data', extractor)}.safetensors").write_bytes(b"broken")
    mended = reference_features(batches, "data", extractor, tmp_path)
    assert len(read) == 3
    assert torch.equal(first.features_ND, mended.features_ND)


def test_the_key_names_the_weights(network: Path) -> None:
    before = load_extractor(f"cifar10_conv:weights={network}")
    changed = network.with_name("other.safetensors")
    changed.write_bytes(network.read_bytes()[:-1] + b"\x01")
    assert cache_key("d", before) != cache_key(
        "d", load_extractor(f"cifar10_conv:weights={changed}")
    )


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("vgg", "unknown extractor 'vgg'. Valid: cifar10_conv, cifar10_patches, pixels, inception"),
        ("inception", "the extractor 'inception' needs weights: write inception:weights=PATH"),
        ("inception:file=x", "unknown option of the extractor 'inception' 'file'"),
        ("inception:weights", "the option 'weights' stands without a value in 'inception:weights'"),
        ("inception:weights=no.pth", "no.pth: no such file"),
        ("clip:folder=nowhere", "nowhere: no CLIP, which is a folder with a config.json"),
        ("cifar10_conv:weights=no.safetensors", "no.safetensors: no such file"),
    ],
)
def test_refuses_extractors(text: str, line: str) -> None:
    with pytest.raises(ValueError, match=re.escape(line)):
        load_extractor(text)


def test_npz_images_come_back(tmp_path: Path) -> None:
    pixels_NHWC, labels_N = images(300, 4), torch.arange(300) % 3
    np.savez_compressed(tmp_path / "a.npz", pixels_NHWC.numpy(), labels_N.numpy())
    opened = open_npz(tmp_path / "a.npz")
    batches = list(opened.batches())
    assert torch.equal(torch.cat([pixels for pixels, _ in batches]), pixels_NHWC)
    assert torch.equal(torch.cat([label_B for _, label_B in batches]), labels_N)
    np.savez(tmp_path / "b.npz", pixels_NHWC.numpy(), np.full(300, -1))
    assert open_npz(tmp_path / "b.npz").labels_N is None


@pytest.mark.parametrize("array", [np.zeros((2, 4, 4, 3)), np.zeros((2, 4, 4), np.uint8)])
def test_refuses_other_arrays(array: np.ndarray, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", array)
    with pytest.raises(ValueError, match=r"images are uint8 \(N, H, W, 3\)"):
        open_npz(tmp_path / "a.npz")
    (tmp_path / "b.npz").write_bytes(b"no zip")
    with pytest.raises(ValueError, match="no images in 'arr_0' that can be read"):
        open_npz(tmp_path / "b.npz")


def test_inception_in_the_fid_version(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = InceptionV3().eval()
    names = network.state_dict()
    assert names["fc.weight"].shape == (1008, 2048)
    assert names["Mixed_7c.branch3x3dbl_3b.conv.weight"].shape == (384, 384, 3, 1)
    assert (
        sum(p.numel() for p in network.parameters()) == 23_834_568 + 8 * 2049
    )  # of the usual one, and eight classes
    torch.save(network.state_dict(), tmp_path / "inception.pth")
    extractor = load_extractor(f"inception:weights={tmp_path / 'inception.pth'}")
    image_BCHW = torch.rand(1, 3, 32, 32)
    features_BD, logits_BK = extractor(image_BCHW)
    resized_BCHW = F.interpolate(image_BCHW, (299, 299), mode="bilinear", align_corners=False)
    with torch.no_grad():
        expected_BD, _ = network(resized_BCHW * 2 - 1)
    torch.testing.assert_close(features_BD, expected_BD)
    assert features_BD.shape == (1, 2048)
    assert logits_BK is not None
    torch.testing.assert_close(logits_BK, features_BD @ names["fc.weight"].T)
    torch.save({"fc.weight": names["fc.weight"]}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match="not Inception's weights for FID; missing"):
        read_network(tmp_path / "other.pth")


def test_inceptions_pools() -> None:
    ones_BCHW = torch.ones(1, 1, 4, 4)
    torch.testing.assert_close(average(ones_BCHW), ones_BCHW)  # with padding, corners were 4/9
    x_BCHW = -torch.rand(1, 1, 4, 4)
    assert BlockE(8, by_maximum=True).pool(x_BCHW).min() >= x_BCHW.min()
    assert torch.equal(BlockE(8, by_maximum=False).pool(x_BCHW), average(x_BCHW))
    assert not torch.equal(BlockE(8, by_maximum=True).pool(x_BCHW), average(x_BCHW))
