"""Inception v3 in the version that defines the Fréchet Inception Distance.

The network of "Rethinking the Inception Architecture" (arXiv 1512.00567) as TensorFlow's file of
2015-12-05 holds it, under the names of the public PyTorch file
``pt_inception-2015-12-05-6726825d.pth``. It differs from the usual one: average pooling inside
blocks does not count the padding, the last block pools by maximum, there are 1008 classes, and the
classes' bias is left out where the Inception Score is made.

Shape legend: B batch, C channels, H W rows and columns.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from demask.evaluation.networks import read_tensors
from demask.fingerprint import file_fingerprint

SIZE, WIDTH, CLASSES = 299, 2048, 1008


class Convolution(nn.Module):
    """Convolution, batch norm with epsilon 0.001, ReLU."""

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        kernel: int | tuple[int, int] = 1,
        stride: int = 1,
        padding: int | tuple[int, int] = 0,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels_out, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(channels_out, eps=0.001)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Features of one layer."""
        return F.relu(self.bn(self.conv(x_BCHW)))


def average(x_BCHW: Tensor) -> Tensor:
    """The mean of 3x3 neighbours, without the padding at the border."""
    return F.avg_pool2d(x_BCHW, 3, stride=1, padding=1, count_include_pad=False)


def largest(x_BCHW: Tensor) -> Tensor:
    """The maximum of 3x3 neighbours."""
    return F.max_pool2d(x_BCHW, 3, stride=1, padding=1)


class BlockA(nn.Module):
    """Figure 5 of the paper, with one 5x5 convolution."""

    def __init__(self, channels: int, pooled: int) -> None:
        super().__init__()
        self.branch1x1 = Convolution(channels, 64)
        self.branch5x5_1 = Convolution(channels, 48)
        self.branch5x5_2 = Convolution(48, 64, 5, padding=2)
        self.branch3x3dbl_1 = Convolution(channels, 64)
        self.branch3x3dbl_2 = Convolution(64, 96, 3, padding=1)
        self.branch3x3dbl_3 = Convolution(96, 96, 3, padding=1)
        self.branch_pool = Convolution(channels, pooled)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Same height and width in and out."""
        double_BCHW = self.branch3x3dbl_2(self.branch3x3dbl_1(x_BCHW))
        branches = [
            self.branch1x1(x_BCHW),
            self.branch5x5_2(self.branch5x5_1(x_BCHW)),
            self.branch3x3dbl_3(double_BCHW),
            self.branch_pool(average(x_BCHW)),
        ]
        return torch.cat(branches, 1)


class BlockB(nn.Module):
    """Figure 10 of the paper, which halves height and width."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.branch3x3 = Convolution(channels, 384, 3, stride=2)
        self.branch3x3dbl_1 = Convolution(channels, 64)
        self.branch3x3dbl_2 = Convolution(64, 96, 3, padding=1)
        self.branch3x3dbl_3 = Convolution(96, 96, 3, stride=2)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Half the height and width."""
        double_BCHW = self.branch3x3dbl_2(self.branch3x3dbl_1(x_BCHW))
        branches = [
            self.branch3x3(x_BCHW),
            self.branch3x3dbl_3(double_BCHW),
            F.max_pool2d(x_BCHW, 3, stride=2),
        ]
        return torch.cat(branches, 1)


class BlockC(nn.Module):
    """Figure 6 of the paper: 7x7 convolutions as 1x7 and 7x1 ones."""

    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        row, column = ((1, 7), (0, 3)), ((7, 1), (3, 0))
        self.branch1x1 = Convolution(channels, 192)
        self.branch7x7_1 = Convolution(channels, inner)
        self.branch7x7_2 = Convolution(inner, inner, row[0], padding=row[1])
        self.branch7x7_3 = Convolution(inner, 192, column[0], padding=column[1])
        self.branch7x7dbl_1 = Convolution(channels, inner)
        self.branch7x7dbl_2 = Convolution(inner, inner, column[0], padding=column[1])
        self.branch7x7dbl_3 = Convolution(inner, inner, row[0], padding=row[1])
        self.branch7x7dbl_4 = Convolution(inner, inner, column[0], padding=column[1])
        self.branch7x7dbl_5 = Convolution(inner, 192, row[0], padding=row[1])
        self.branch_pool = Convolution(channels, 192)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Same height and width in and out."""
        double_BCHW = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x_BCHW)))
        branches = [
            self.branch1x1(x_BCHW),
            self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x_BCHW))),
            self.branch7x7dbl_5(self.branch7x7dbl_4(double_BCHW)),
            self.branch_pool(average(x_BCHW)),
        ]
        return torch.cat(branches, 1)


class BlockD(nn.Module):
    """The second block that halves height and width."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.branch3x3_1 = Convolution(channels, 192)
        self.branch3x3_2 = Convolution(192, 320, 3, stride=2)
        self.branch7x7x3_1 = Convolution(channels, 192)
        self.branch7x7x3_2 = Convolution(192, 192, (1, 7), padding=(0, 3))
        self.branch7x7x3_3 = Convolution(192, 192, (7, 1), padding=(3, 0))
        self.branch7x7x3_4 = Convolution(192, 192, 3, stride=2)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Half the height and width."""
        wide_BCHW = self.branch7x7x3_3(self.branch7x7x3_2(self.branch7x7x3_1(x_BCHW)))
        branches = [
            self.branch3x3_2(self.branch3x3_1(x_BCHW)),
            self.branch7x7x3_4(wide_BCHW),
            F.max_pool2d(x_BCHW, 3, stride=2),
        ]
        return torch.cat(branches, 1)


class BlockE(nn.Module):
    """Figure 7 of the paper; the first of the two pools by mean, the second by maximum."""

    def __init__(self, channels: int, by_maximum: bool) -> None:
        super().__init__()
        self.pool = largest if by_maximum else average
        self.branch1x1 = Convolution(channels, 320)
        self.branch3x3_1 = Convolution(channels, 384)
        self.branch3x3_2a = Convolution(384, 384, (1, 3), padding=(0, 1))
        self.branch3x3_2b = Convolution(384, 384, (3, 1), padding=(1, 0))
        self.branch3x3dbl_1 = Convolution(channels, 448)
        self.branch3x3dbl_2 = Convolution(448, 384, 3, padding=1)
        self.branch3x3dbl_3a = Convolution(384, 384, (1, 3), padding=(0, 1))
        self.branch3x3dbl_3b = Convolution(384, 384, (3, 1), padding=(1, 0))
        self.branch_pool = Convolution(channels, 192)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Same height and width in and out."""
        single_BCHW = self.branch3x3_1(x_BCHW)
        double_BCHW = self.branch3x3dbl_2(self.branch3x3dbl_1(x_BCHW))
        branches = [
            self.branch1x1(x_BCHW),
            self.branch3x3_2a(single_BCHW),
            self.branch3x3_2b(single_BCHW),
            self.branch3x3dbl_3a(double_BCHW),
            self.branch3x3dbl_3b(double_BCHW),
            self.branch_pool(self.pool(x_BCHW)),
        ]
        return torch.cat(branches, 1)


class InceptionV3(nn.Module):
    """The whole network, under the public file's names."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = Convolution(3, 32, 3, stride=2)
        self.Conv2d_2a_3x3 = Convolution(32, 32, 3)
        self.Conv2d_2b_3x3 = Convolution(32, 64, 3, padding=1)
        self.Conv2d_3b_1x1 = Convolution(64, 80)
        self.Conv2d_4a_3x3 = Convolution(80, 192, 3)
        self.Mixed_5b, self.Mixed_5c = BlockA(192, 32), BlockA(256, 64)
        self.Mixed_5d, self.Mixed_6a = BlockA(288, 64), BlockB(288)
        self.Mixed_6b, self.Mixed_6c = BlockC(768, 128), BlockC(768, 160)
        self.Mixed_6d, self.Mixed_6e = BlockC(768, 160), BlockC(768, 192)
        self.Mixed_7a = BlockD(768)
        self.Mixed_7b = BlockE(1280, by_maximum=False)
        self.Mixed_7c = BlockE(WIDTH, by_maximum=True)
        self.fc = nn.Linear(WIDTH, CLASSES)

    def forward(self, image_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        """Images (B, 3, 299, 299) in [-1, 1] -> features (B, 2048), logits (B, 1008)."""
        x_BCHW = self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(image_BCHW))
        x_BCHW = F.max_pool2d(self.Conv2d_2b_3x3(x_BCHW), 3, stride=2)
        x_BCHW = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(x_BCHW))
        x_BCHW = F.max_pool2d(x_BCHW, 3, stride=2)
        for name, block in self.named_children():
            if name.startswith("Mixed"):
                x_BCHW = block(x_BCHW)
        features_BD = x_BCHW.mean((2, 3))
        return features_BD, F.linear(features_BD, self.fc.weight)


class Inception:
    """Inception v3 as an extractor.

    Args:
        path: the public ``.pth`` file, or the same tensors as ``.safetensors``.
        device: the device of the network.

    Raises:
        ValueError: no such file, or it holds other tensors.
    """

    name = "inception"
    size = SIZE
    class_names: tuple[str, ...] = ()

    def __init__(self, path: Path, device: str = "cpu") -> None:
        self.network, self.device = read_network(path), torch.device(device)
        self.network.to(self.device)
        self.fingerprint = file_fingerprint("bilinear to 299, -1 to 1", files=[path])

    @torch.inference_mode()
    def __call__(self, image_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        """See `demask.evaluation.extractors.Extractor`."""
        image_BCHW = F.interpolate(
            image_BCHW.to(self.device), (SIZE, SIZE), mode="bilinear", align_corners=False
        )
        features_BD, logits_BK = self.network(2 * image_BCHW - 1)
        return features_BD.float().cpu(), logits_BK.float().cpu()


def read_network(path: Path) -> InceptionV3:
    """The network with the tensors of a file.

    Raises:
        ValueError: no such file, or it holds other tensors.
    """
    if not path.is_file():
        raise ValueError(f"{path}: no such file; docs/methods/evaluation.md says where to get it")
    tensors = read_tensors(path, "Inception's file is pt_inception-2015-12-05-6726825d.pth")
    network = InceptionV3()
    counters = {name for name in network.state_dict() if name.endswith("num_batches_tracked")}
    tensors = {name: t for name, t in tensors.items() if name not in counters}
    expected = {n: t.shape for n, t in network.state_dict().items() if n not in counters}
    wrong = sorted(
        name
        for name in expected.keys() | tensors.keys()
        if name not in expected
        or name not in tensors
        or not isinstance(tensors[name], Tensor)
        or tensors[name].shape != expected[name]
    )
    if wrong:
        raise ValueError(
            f"{path}: not Inception's weights for FID; missing, unexpected or of another shape: "
            f"{', '.join(wrong[:4])}{', ...' if len(wrong) > 4 else ''}"
        )
    network.load_state_dict(tensors, strict=False)
    return network.eval()
