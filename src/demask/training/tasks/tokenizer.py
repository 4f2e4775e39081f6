"""Train a tokenizer: reconstruction losses, and an adversarial loss for texture.

Shape legend: B batch, C channels, H W rows and columns.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from demask.checkpoint.save import save_model
from demask.data.decoded import DecodedImages, fits, random_views
from demask.data.images import ImageDataset
from demask.data.transforms import random_view, to_tensor
from demask.tokenizer.conv_tokenizer import ConvTokenizer, ConvTokenizerConfig
from demask.tokenizer.discriminator import PatchDiscriminator
from demask.training.data import DataConfig
from demask.training.engine.config import TrainConfig
from demask.training.engine.identity import describe
from demask.training.engine.optim import Optim
from demask.training.engine.task import Batch, Phase, Task
from demask.training.engine.training import TrainInputs
from demask.training.losses import (
    balance,
    edge_l1,
    feature_matching,
    hinge_discriminator,
    spectrum_l1,
)
from demask.training.perceptual import PerceptualLoss
from demask.training.samples import tiled


@dataclass(frozen=True)
class TokenizerLoss:
    """The weights of the tokenizer's losses.

    Attributes:
        l1: weight of the absolute error.
        l2: weight of the squared error.
        spectrum: weight of `spectrum_l1`.
        edge: weight of `edge_l1`.
        adversarial: weight of the adversarial loss, relative to that of `balance`; 0 = none.
        matching: weight of `feature_matching`.
        adversary_start: the step at which the discriminator starts.
        perceptual: weight of `PerceptualLoss`; 0 = none.
        network: the classifier of the perceptual loss, a file that ``demask train classifier``
            wrote.
    """

    l1: float = 1.0
    l2: float = 1.0
    spectrum: float = 0.5
    edge: float = 0.0
    adversarial: float = 0.1
    matching: float = 0.5
    adversary_start: int = 0
    perceptual: float = 0.0
    network: str = ""

    def __post_init__(self) -> None:
        if self.perceptual and not self.network:
            raise ValueError("a perceptual loss needs a classifier: name its file as 'network'")


@dataclass(frozen=True)
class TokenizerRecipe:
    """The configuration of the tokenizer and its training.

    Attributes:
        model: the tokenizer's sizes.
        size: side of the square training images, in pixels.
        flip: whether half of the images are flipped horizontally.
        shift: maximum shift in pixels in each direction.
        decoder_only: freeze the encoder, so that the ids of images stay the same and transformers
            that were trained on them can still be used; needs ``--init``.
        loss: the weights of the losses.
        optim: the tokenizer's optimiser.
        adversary: the discriminator's optimiser.
    """

    size: int
    model: ConvTokenizerConfig = field(default_factory=ConvTokenizerConfig)
    flip: bool = True
    shift: int = 0
    decoder_only: bool = False
    loss: TokenizerLoss = field(default_factory=TokenizerLoss)
    optim: Optim = field(default_factory=Optim)
    adversary: Optim = field(
        default_factory=lambda: Optim(learning_rate=4e-4, betas=(0.5, 0.9), weight_decay=0.0)
    )


class TokenizerTask(Task):
    """Trains a `ConvTokenizer`, with a `PatchDiscriminator` if its loss has a weight.

    Args:
        recipe: the configuration.
        images: the training images.
        held_out: the held-out images.

    Raises:
        ValueError: the size is no multiple of the tokenizer's downsampling, or the classifier of
            the perceptual loss cannot be read.
    """

    main = "tokenizer"

    def __init__(
        self, recipe: TokenizerRecipe, images: ImageDataset, held_out: ImageDataset
    ) -> None:
        self.recipe, self.images, self.held_out = recipe, images, held_out
        self.examples = len(images)
        tokenizer = ConvTokenizer(recipe.model).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if recipe.size % tokenizer.downsampling:
            raise ValueError(f"size {recipe.size} is no multiple of {tokenizer.downsampling}")
        tokenizer.encoder.requires_grad_(not recipe.decoder_only)
        self.modules: dict[str, nn.Module] = {"tokenizer": tokenizer}
        self.perceptual = (
            PerceptualLoss(Path(recipe.loss.network)) if recipe.loss.perceptual else None
        )
        start = recipe.loss.adversary_start
        self.phases = {"reconstruct": Phase("tokenizer", recipe.optim)}
        if recipe.loss.adversarial:
            self.modules["adversary"] = PatchDiscriminator()
            self.phases["discriminate"] = Phase("adversary", recipe.adversary, start)

    def identity(self) -> str:
        """The recipe and the number of images."""
        return describe(task="tokenizer", recipe=self.recipe, pictures=self.examples)

    def load(self, indices: Tensor, generator: torch.Generator) -> Batch:
        """Images (B, 3, H, W) in [0, 1], augmented."""
        recipe = self.recipe
        if isinstance(self.images, DecodedImages) and fits(self.images, recipe.size):
            draws_B3 = torch.rand(len(indices), 3, generator=generator)
            chosen = self.images, indices.tolist()
            return {"image_BCHW": random_views(*chosen, recipe.flip, recipe.shift, draws_B3)}
        images = [
            random_view(self.images[i].image, recipe.size, recipe.flip, recipe.shift, generator)
            for i in indices.tolist()
        ]
        return {"image_BCHW": torch.stack(images)}

    def loss(
        self, phase: str, batch: Batch, step: int, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of the tokenizer or of the discriminator, on the same images in a step."""
        image_BCHW = batch["image_BCHW"].contiguous(memory_format=torch.channels_last)
        if phase == "discriminate":
            with torch.no_grad():
                fake_BCHW = self.modules["tokenizer"](image_BCHW).clamp(0, 1)
            adversary = self.modules["adversary"]
            loss = hinge_discriminator(adversary(image_BCHW)[0], adversary(fake_BCHW)[0])
            return loss, {"loss": loss}
        return self.reconstruction_loss(image_BCHW, step)

    def reconstruction_loss(
        self, image_BCHW: Tensor, step: int
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The weighted sum of the tokenizer's losses."""
        weights = self.recipe.loss
        made_BCHW = self.modules["tokenizer"](image_BCHW)
        l1, l2 = F.l1_loss(made_BCHW, image_BCHW), F.mse_loss(made_BCHW, image_BCHW)
        loss = weights.l1 * l1 + weights.l2 * l2
        if weights.spectrum:
            loss = loss + weights.spectrum * spectrum_l1(made_BCHW, image_BCHW)
        if weights.edge:
            loss = loss + weights.edge * edge_l1(made_BCHW, image_BCHW)
        logged = {"l1": l1, "psnr": -10 * torch.log10(l2)}
        if self.perceptual is not None:
            perceptual = self.perceptual.to(made_BCHW.device)(made_BCHW, image_BCHW)
            loss = loss + weights.perceptual * perceptual
            logged["perceptual"] = perceptual
        if not weights.adversarial or step < weights.adversary_start:
            return loss, logged
        adversary = self.modules["adversary"]
        scores, features = adversary(made_BCHW)
        with torch.no_grad():
            targets = adversary(image_BCHW)[1]
        push = -scores.mean()
        raw = self.modules["tokenizer"]
        tokenizer = raw.module if hasattr(raw, "module") else raw
        weight = weights.adversarial * balance(loss, push, tokenizer.last_layer)  # type: ignore[union-attr, arg-type]
        loss = loss + weight * push + weights.matching * feature_matching(features, targets)
        return loss, {**logged, "adversarial_weight": weight}

    def held_out_images(self, count: int) -> Tensor:
        """The first held-out images, (count, 3, H, W)."""
        with ThreadPoolExecutor(2) as readers:
            images = readers.map(
                lambda i: to_tensor(self.held_out[i].image, self.recipe.size),
                range(min(count, len(self.held_out))),
            )
            return torch.stack(list(images))

    def validate(self, model: nn.Module) -> dict[str, float]:
        """PSNR in dB of the first 1,000 held-out images, and the fraction of codes used."""
        assert isinstance(model, ConvTokenizer)
        device = model.last_layer.device
        errors, ids = [], []
        for image_BCHW in self.held_out_images(1000).split(100):
            ids_BHW = model.encode(image_BCHW.to(device))
            error = (model.decode(ids_BHW).cpu() - image_BCHW).square().mean((1, 2, 3))
            errors.append(error)
            ids.append(ids_BHW)
        psnr = -10 * torch.log10(torch.cat(errors))
        return {"psnr": float(psnr.mean()), "codebook_usage": model.usage(torch.cat(ids))}

    def sample(self, model: nn.Module) -> Tensor:
        """32 held-out images above their reconstructions, eight per row."""
        assert isinstance(model, ConvTokenizer)
        image_BCHW = self.held_out_images(32)
        made_BCHW = model.decode(model.encode(image_BCHW.to(model.last_layer.device))).cpu()
        pairs = zip(image_BCHW.split(8), made_BCHW.split(8), strict=True)
        return torch.cat([tiled(part) for pair in pairs for part in pair], dim=-2)

    def export(self, model: nn.Module, path: Path, facts: dict[str, object]) -> None:
        """Write the tokenizer in half precision."""
        save_model(path, model, "conv_tokenizer", torch.float16, training=facts)


@dataclass(frozen=True)
class TokenizerTraining:
    """A recipe of ``demask train tokenizer``."""

    tokenizer: TokenizerRecipe
    run: TrainConfig
    data: DataConfig = field(default_factory=DataConfig)

    def task(self, inputs: TrainInputs) -> Task:
        """See `TrainRecipe.task`."""
        images, held_out = self.data.open(inputs.strict)
        torch.manual_seed(self.run.seed)
        return TokenizerTask(self.tokenizer, images, held_out)
