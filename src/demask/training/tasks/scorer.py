"""Train a small network that scores how well an image fits a text, for ``demask compare``.

Shape legend: B batch, D width of the features, G pieces of a word, H W rows and columns, K
candidates, N images, T words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from demask.assembly import load_parts
from demask.checkpoint.save import save_model
from demask.data.captions import normalized
from demask.data.images import ImageDataset
from demask.device import default_device
from demask.evaluation.pair_scorer import PairScorer, PairScorerConfig, spell
from demask.evaluation.retrieval import found
from demask.training.captioned import CaptionRecipe, epoch
from demask.training.data import DataConfig
from demask.training.engine.config import TrainConfig
from demask.training.engine.identity import describe
from demask.training.engine.optim import Optim
from demask.training.engine.precision import resolve_precision
from demask.training.engine.task import Batch, Phase, Task
from demask.training.engine.training import TrainInputs
from demask.training.pair_images import Changes, ReconstructionAugment, changed, mirrors, through
from demask.training.tasks.classifier import in_memory
from demask.types import Tokenizer

BATCH_NORM_IMAGES = 2048
"""Examples from which the batch-norm statistics of the averaged network are computed."""


@dataclass(frozen=True)
class ScorerRecipe:
    """The configuration of the network and its training.

    Attributes:
        network: the sizes of the network.
        codec: a tokenizer for training on reconstructions and damaged images; None = images only.
        changes: random changes of the images.
        captions: random changes of the captions.
        optim: the optimiser.
    """

    network: PairScorerConfig = field(default_factory=PairScorerConfig)
    codec: ReconstructionAugment | None = None
    changes: Changes = field(default_factory=Changes)
    captions: CaptionRecipe = field(default_factory=lambda: CaptionRecipe(dropout=0.0))
    optim: Optim = field(default_factory=Optim)

    def __post_init__(self) -> None:
        if self.captions.dropout:
            raise ValueError(
                f"the captions of a scorer need dropout 0.0, not {self.captions.dropout}: the "
                "empty caption is for guidance"
            )


@dataclass(frozen=True)
class Pairs:
    """Images in memory, uint8 (N, 3, H, W), and their captions.

    Raises:
        ValueError: images without captions.
    """

    pixels_NCHW: Tensor
    captions: list[tuple[str, ...]]

    def __post_init__(self) -> None:
        if bare := self.captions.count(()):
            raise ValueError(f"{bare} of {len(self.captions)} images have no caption")

    @classmethod
    def read(cls, images: ImageDataset, size: int) -> Pairs:
        """All images of a source, cut to squares of ``size`` pixels."""
        captions = [images[i].captions for i in range(len(images))]
        return cls(in_memory(images, size)[0], captions)

    @property
    def firsts(self) -> list[str]:
        """The main caption of each image."""
        return [texts[0] for texts in self.captions]


class ScorerTask(Task):
    """Trains a `PairScorer`. All images are held in memory as uint8.

    Args:
        recipe: the configuration.
        images: the training images, with captions.
        held_out: the held-out images.
        tokenizer: the tokenizer of the codec.
        seed: seed of the damage.
        dtype: number type of the tokenizer.

    Raises:
        ValueError: images without captions.
    """

    main = "scorer"

    def __init__(
        self,
        recipe: ScorerRecipe,
        images: ImageDataset,
        held_out: ImageDataset,
        tokenizer: Tokenizer | None = None,
        seed: int = 0,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        assert (tokenizer is None) == (recipe.codec is None)
        self.recipe, self.images_fingerprint = recipe, images.fingerprint
        self.pairs = Pairs.read(images, recipe.network.size)
        self.held_out = Pairs.read(held_out, recipe.network.size)
        self.order = torch.tensor(epoch(self.pairs.captions, recipe.captions))
        self.examples = len(self.order)
        self.mirror_N = mirrors(self.pairs.captions, recipe.changes)
        self.twin_N = twins(self.pairs.pixels_NCHW)
        self.codec = recipe.codec
        if tokenizer is not None and recipe.codec is not None:
            made = partial(through, tokenizer, codec=recipe.codec, seed=seed, dtype=dtype)
            self.restored_NCHW, self.damaged = made(self.pairs.pixels_NCHW)
            self.held_out_codec = made(self.held_out.pixels_NCHW)
        network = PairScorer(recipe.network)
        network.picture.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.modules: dict[str, nn.Module] = {"scorer": network}
        self.phases = {"compare": Phase("scorer", recipe.optim)}

    def identity(self) -> str:
        """The recipe and the images."""
        return describe(task="scorer", recipe=self.recipe, pictures=self.images_fingerprint)

    def load(self, indices: Tensor, generator: torch.Generator) -> Batch:
        """Images, damaged versions of the first of them, their captions, and which are alike."""
        index_B = self.order[indices]
        pixels_BCHW = self.pairs.pixels_NCHW[index_B]
        captions = [
            self.recipe.captions.choose(self.pairs.captions[i], generator) for i in index_B.tolist()
        ]
        alter = partial(changed, changes=self.recipe.changes, generator=generator)
        batch: Batch = {}
        if self.codec is not None:
            restored_B = torch.rand(len(index_B), generator=generator) < self.codec.share
            pixels_BCHW = torch.where(
                restored_B[:, None, None, None], self.restored_NCHW[index_B], pixels_BCHW
            )
            some_B = index_B[: round(self.codec.damaged * len(index_B))]
            which_B = torch.randint(self.codec.versions, some_B.shape, generator=generator)
            corrupted_BCHW = self.damaged[which_B, some_B]
            batch["corrupted_BCHW"] = alter(corrupted_BCHW, self.mirror_N[some_B])
        batch["image_BCHW"] = alter(pixels_BCHW, self.mirror_N[index_B])
        batch["pieces_BTG"] = spell(captions, self.recipe.network)
        batch["same_BB"] = alike(self.twin_N[index_B], captions)
        return batch

    def loss(
        self, phase: str, batch: Batch, step: int, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Symmetric InfoNCE (arXiv 2103.00020, figure 3), and a logistic loss of damaged images."""
        count = len(batch["image_BCHW"])
        corrupted = [batch["corrupted_BCHW"]] if "corrupted_BCHW" in batch else []
        image_BCHW = torch.cat([batch["image_BCHW"], *corrupted])
        all_BD, text_BD, scale = self.modules["scorer"](image_BCHW, batch["pieces_BTG"])
        image_BD, corrupted_BD = all_BD[:count], all_BD[count:]
        logits_BB = scale * image_BD @ text_BD.T
        # equal images or captions are no negatives of each other
        logits_BB = logits_BB.masked_fill(batch["same_BB"], -torch.inf)
        target_B = torch.arange(count, device=logits_BB.device)
        pairs = (F.cross_entropy(logits_BB, target_B) + F.cross_entropy(logits_BB.T, target_B)) / 2
        right = (logits_BB.argmax(-1) == target_B).float().mean()
        logged = {"pairs": pairs, "accuracy": right, "scale": scale}
        if self.codec is None or not len(corrupted_BD):
            return pairs, {"loss": pairs, **logged}
        some = len(corrupted_BD)
        better_B = ((image_BD[:some] - corrupted_BD) * text_BD[:some]).sum(-1)
        damage = F.softplus(-scale * better_B).mean()
        loss = pairs + self.codec.weight * damage
        return loss, {"loss": loss, **logged, "damage": damage}

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Top-1 retrieval of held-out pairs, among themselves and among all images."""
        self.update_batch_norms(model)
        network = self.network(model)
        held, rest = self.held_out, self.pairs
        image_ND, text_ND = features(network, held.pixels_NCHW), read(network, held.firsts)
        all_images = torch.cat([image_ND, features(network, rest.pixels_NCHW)])
        all_texts = torch.cat([text_ND, read(network, rest.firsts)])
        twin_K = twins(torch.cat([held.pixels_NCHW, rest.pixels_NCHW]))
        count = len(held.firsts)
        right_NK = twin_K[:count, None] == twin_K
        scores = {
            "text_to_image": found(text_ND, image_ND, right_NK[:, :count]),
            "image_to_text": found(image_ND, text_ND, right_NK[:, :count]),
            "text_to_image_of_all": found(text_ND, all_images, right_NK),
            "image_to_text_of_all": found(image_ND, all_texts, right_NK),
        }
        if self.codec is not None:
            restored, damaged = (features(network, p) for p in self.codec_of_held_out())
            better_N = ((restored - damaged) * text_ND).sum(-1) > 0
            scores["above_damaged"] = float(better_N.double().mean())
        return scores

    def codec_of_held_out(self) -> tuple[Tensor, Tensor]:
        """Reconstructions of the held-out images, and their damaged versions (N, 3, H, W each)."""
        restored_NCHW, damaged = self.held_out_codec
        return restored_NCHW, damaged[0]

    def update_batch_norms(self, model: nn.Module) -> None:
        """Recompute the batch-norm statistics, which do not follow from averaged weights."""
        generator = torch.Generator().manual_seed(0)
        parts = torch.arange(min(BATCH_NORM_IMAGES, self.examples)).split(256)
        batches = (self.load(part, generator)["image_BCHW"] for part in parts)
        update_bn(batches, self.network(model).picture, next(model.parameters()).device)

    @staticmethod
    def network(model: nn.Module) -> PairScorer:
        """The averaged model as a `PairScorer`."""
        assert isinstance(model, PairScorer)
        return model

    def sample(self, model: nn.Module) -> Tensor:
        """A row for each of eight held-out captions: its image and those with the best scores."""
        network, held = self.network(model), self.held_out
        score_NN = read(network, held.firsts[:8]) @ features(network, held.pixels_NCHW).T
        best_NK = score_NN.topk(min(4, len(held.firsts)), -1).indices
        rows = [
            torch.cat([held.pixels_NCHW[n], *held.pixels_NCHW[best_K]], dim=-1).float() / 255
            for n, best_K in enumerate(best_NK)
        ]
        return torch.cat(rows, dim=-2)

    def export(self, model: nn.Module, path: Path, facts: dict[str, object]) -> None:
        """Write the scorer in half precision."""
        self.update_batch_norms(model)
        save_model(path, model, "pair_scorer", torch.float16, training=facts)


def twins(pixels_NCHW: Tensor) -> Tensor:
    """A number for each image (N); equal images have the same number."""
    return torch.unique(pixels_NCHW.flatten(1), dim=0, return_inverse=True)[1]


def alike(twin_B: Tensor, captions: Sequence[str]) -> Tensor:
    """Booleans (B, B): which other pairs of a batch have an equal image or caption."""
    numbers: dict[str, int] = {}
    said_B = torch.tensor([numbers.setdefault(normalized(text), len(numbers)) for text in captions])
    same_BB = (twin_B[:, None] == twin_B) | (said_B[:, None] == said_B)
    return same_BB & ~torch.eye(len(captions), dtype=torch.bool)


@torch.no_grad()
def features(network: PairScorer, pixels_NCHW: Tensor) -> Tensor:
    """Features (N, D) of uint8 images, on the CPU."""
    device = network.log_scale.device
    return torch.cat(
        [network.picture(p.to(device).float() / 255).cpu() for p in pixels_NCHW.split(256)]
    )


@torch.no_grad()
def read(network: PairScorer, texts: Sequence[str]) -> Tensor:
    """Features of texts (N, D), on the CPU."""
    pieces_NTG = spell(texts, network.config)
    return network.text(pieces_NTG.to(network.log_scale.device)).cpu()


@dataclass(frozen=True)
class ScorerTraining:
    """A recipe of ``demask train scorer``."""

    scorer: ScorerRecipe
    run: TrainConfig
    data: DataConfig = field(default_factory=DataConfig)

    def task(self, inputs: TrainInputs) -> Task:
        """See `TrainRecipe.task`."""
        images, held_out = self.data.open(inputs.strict)
        codec = self.scorer.codec
        tokenizer = cast(Any, load_parts(codec.model).tokenizer) if codec else None
        torch.manual_seed(self.run.seed)
        low = resolve_precision(self.run.precision, torch.device(default_device())) == "bf16"
        dtype = torch.bfloat16 if low else torch.float32
        return ScorerTask(self.scorer, images, held_out, tokenizer, self.run.seed, dtype)
