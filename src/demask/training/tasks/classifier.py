"""Train a small classifier for the evaluation of generated images.

Shape legend: B batch, C channels, H W rows and columns, K classes, N images.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from demask.checkpoint.save import save_model
from demask.data.decoded import DecodedImages, fits
from demask.data.images import ImageDataset
from demask.data.transforms import cover, moved, to_pixels
from demask.evaluation.networks import NETWORKS
from demask.evaluation.patch_mixer import PatchMixerConfig
from demask.evaluation.small_conv import SmallConvConfig
from demask.training.data import DataConfig
from demask.training.engine.config import TrainConfig
from demask.training.engine.identity import describe
from demask.training.engine.optim import Optim
from demask.training.engine.task import Batch, Phase, Task
from demask.training.engine.training import TrainInputs
from demask.training.samples import tiled

BATCH_NORM_IMAGES = 5_000
"""Training images from which the batch-norm statistics of the averaged network are computed."""


@dataclass(frozen=True)
class ClassifierRecipe:
    """The configuration of the network and its training.

    Attributes:
        small_conv: the sizes of a `SmallConv`, or ...
        patch_mixer: ... of a `PatchMixer`; exactly one is given.
        size: side of the square images, in pixels.
        flip: whether half of the images are flipped horizontally.
        shift: maximum shift in pixels in each direction.
        cutout: side of the square that is erased, in pixels; 0 = none.
        label_smoothing: label smoothing of the cross-entropy.
        optim: the optimiser.
    """

    small_conv: SmallConvConfig | None = None
    patch_mixer: PatchMixerConfig | None = None
    size: int = 32
    flip: bool = True
    shift: int = 2
    cutout: int = 0
    label_smoothing: float = 0.1
    optim: Optim = field(default_factory=Optim)

    def __post_init__(self) -> None:
        if (self.small_conv is None) == (self.patch_mixer is None):
            raise ValueError(
                "exactly one of the tables [classifier.small_conv] and [classifier.patch_mixer] "
                "is needed"
            )
        if self.patch_mixer and self.patch_mixer.size != self.size:
            raise ValueError(
                f"patch_mixer has size {self.patch_mixer.size}, the classifier {self.size}"
            )
        if self.cutout > self.size:
            raise ValueError(f"a cutout of {self.cutout} pixels is larger than the image")
        if not 0 <= self.shift < self.size:
            raise ValueError(f"shift must be within 0 and {self.size - 1}, not {self.shift}")

    @property
    def architecture(self) -> str:
        """The row of `NETWORKS`."""
        return "small_conv" if self.small_conv else "patch_mixer"


class ClassifierTask(Task):
    """Trains a network of `NETWORKS`. All images are held in memory as uint8.

    Args:
        recipe: the configuration.
        images: the training images.
        held_out: the held-out images.

    Raises:
        ValueError: the network has another number of classes than the images.
    """

    main = "classifier"

    def __init__(
        self, recipe: ClassifierRecipe, images: ImageDataset, held_out: ImageDataset
    ) -> None:
        self.recipe, self.class_names = recipe, list(images.class_names)
        self.examples = len(images)
        self.images_fingerprint = images.fingerprint
        config = recipe.small_conv or recipe.patch_mixer
        assert config is not None
        if config.num_classes != len(self.class_names):
            raise ValueError(
                f"the network has {config.num_classes} classes, the images have "
                f"{len(self.class_names)}"
            )
        self.pixels_NCHW, self.label_N = in_memory(images, recipe.size)
        self.held_out = in_memory(held_out, recipe.size)
        network = NETWORKS[recipe.architecture][0](config)
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.modules: dict[str, nn.Module] = {"classifier": network}
        self.phases = {"classify": Phase("classifier", recipe.optim)}

    def identity(self) -> str:
        """The recipe and the images."""
        return describe(task="classifier", recipe=self.recipe, pictures=self.images_fingerprint)

    def load(self, indices: Tensor, generator: torch.Generator) -> Batch:
        """Images (B, 3, H, W) in [0, 1], augmented, and their classes (B)."""
        image_BCHW = augmented(self.pixels_NCHW[indices], self.recipe, generator)
        return {"image_BCHW": image_BCHW, "label_B": self.label_N[indices]}

    def loss(
        self, phase: str, batch: Batch, step: int, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Smoothed cross-entropy."""
        logits_BK = self.modules["classifier"](batch["image_BCHW"])[1].float()
        label_B = batch["label_B"]
        loss = F.cross_entropy(logits_BK, label_B, label_smoothing=self.recipe.label_smoothing)
        return loss, {"loss": loss, "accuracy": (logits_BK.argmax(-1) == label_B).float().mean()}

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Accuracy and cross-entropy on the held-out images."""
        self.update_batch_norms(model)
        pixels_NCHW, label_N = self.held_out
        device = next(model.parameters()).device
        logits_NK = torch.cat(
            [model(part.to(device).float() / 255)[1].cpu() for part in pixels_NCHW.split(500)]
        )
        return {
            "accuracy": float((logits_NK.argmax(-1) == label_N).float().mean()),
            "cross_entropy": float(F.cross_entropy(logits_NK, label_N)),
        }

    def update_batch_norms(self, model: nn.Module) -> None:
        """Recompute the batch-norm statistics, which do not follow from averaged weights."""
        generator = torch.Generator().manual_seed(0)
        parts = torch.arange(min(BATCH_NORM_IMAGES, self.examples)).split(250)
        batches = (self.load(part, generator)["image_BCHW"] for part in parts)
        update_bn(batches, model, next(model.parameters()).device)

    def sample(self, model: nn.Module) -> Tensor:
        """32 held-out images, eight per row; those that the network classifies wrongly first."""
        pixels_NCHW, label_N = self.held_out[0][:500], self.held_out[1][:500]
        device = next(model.parameters()).device
        wrong_N = model(pixels_NCHW.to(device).float() / 255)[1].cpu().argmax(-1) != label_N
        order = torch.argsort(~wrong_N, stable=True)[:32]
        image_BCHW = pixels_NCHW[order].float() / 255
        return tiled(image_BCHW)

    def export(self, model: nn.Module, path: Path, facts: dict[str, object]) -> None:
        """Write the classifier in half precision, with its class names."""
        self.update_batch_norms(model)
        more = {"class_names": self.class_names, "size": self.recipe.size, "training": facts}
        save_model(path, model, self.recipe.architecture, torch.float16, **more)


def in_memory(images: ImageDataset, size: int) -> tuple[Tensor, Tensor]:
    """All images, uint8 (N, 3, size, size), and their classes (N)."""
    if isinstance(images, DecodedImages) and fits(images, size):
        pixels_NHWC = torch.from_numpy(np.array(images.pixels_NHWC))
        return pixels_NHWC.permute(0, 3, 1, 2).contiguous(), torch.tensor(images.labels).long()

    def read(index: int) -> tuple[Tensor, int]:
        image = images[index]
        pixels_HWC = to_pixels(cover(image.image.convert("RGB"), size, size))
        return torch.from_numpy(pixels_HWC).permute(2, 0, 1), image.label

    with ThreadPoolExecutor(2) as readers:
        read_all = list(readers.map(read, range(len(images))))
    pixels_NCHW = torch.stack([pixels for pixels, _ in read_all])
    return pixels_NCHW, torch.tensor([label for _, label in read_all])


def augmented(pixels_BCHW: Tensor, recipe: ClassifierRecipe, generator: torch.Generator) -> Tensor:
    """Images uint8 -> [0, 1], each randomly mirrored, shifted and cut out."""
    count, _, height, width = pixels_BCHW.shape
    image_BCHW = pixels_BCHW.float() / 255
    mirrored_B, down_B, right_B, top_B, left_B = torch.rand(5, count, generator=generator)
    if recipe.flip:
        image_BCHW = torch.where(
            (mirrored_B < 0.5)[:, None, None, None], image_BCHW.flip(-1), image_BCHW
        )
    if recipe.shift:
        image_BCHW = moved(image_BCHW, recipe.shift, down_B, right_B)
    if recipe.cutout:
        side = recipe.cutout
        row_BH = torch.arange(height) - (top_B * (height + side)).long()[:, None] + side
        column_BW = torch.arange(width) - (left_B * (width + side)).long()[:, None] + side
        hole_BHW = ((row_BH >= 0) & (row_BH < side))[:, :, None] & (
            (column_BW >= 0) & (column_BW < side)
        )[:, None]
        image_BCHW = image_BCHW.masked_fill(hole_BHW[:, None], 0.5)
    return image_BCHW


@dataclass(frozen=True)
class ClassifierTraining:
    """A recipe of ``demask train classifier``."""

    classifier: ClassifierRecipe
    run: TrainConfig
    data: DataConfig = field(default_factory=DataConfig)

    def task(self, inputs: TrainInputs) -> Task:
        """See `TrainRecipe.task`."""
        images, held_out = self.data.open(inputs.strict)
        torch.manual_seed(self.run.seed)
        return ClassifierTask(self.classifier, images, held_out)
