"""The base class of trainings on captions: choice of captions, loss and held-out scores.

Shape legend: B batch, L ids, T text tokens, V codebook.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from demask.data.captions import hold_out, vary
from demask.data.tokens import TokenCache
from demask.training.engine.task import Batch, Task
from demask.training.losses import held_out_cross_entropy, token_cross_entropy
from demask.training.masking import Masking, mask_tokens
from demask.training.samples import sample_grid
from demask.transformer.amused import Amused, AmusedConfig
from demask.transformer.clip_text import ClipText
from demask.transformer.condition import TextTokenizer, encode_micro_conditions
from demask.transformer.meissonic import Meissonic, MeissonicConfig
from demask.types import Condition, Grid, Tokenizer

SAMPLES = 32


@dataclass(frozen=True)
class CaptionRecipe:
    """How captions are used.

    Attributes:
        dropout: probability of the empty caption, for classifier-free guidance.
        alternatives: probability of a caption other than the first, if there are several.
        shuffle: probability that the words of a caption are shuffled.
        drop: probability that a word is left out.
        hold_out: fraction of the alternatives that are held out for evaluation.
        rare: words; an image whose first caption contains one is used once per epoch.
        repeat: uses per epoch of every other image.
    """

    dropout: float = 0.1
    alternatives: float = 0.5
    shuffle: float = 0.0
    drop: float = 0.0
    hold_out: float = 0.0
    rare: tuple[str, ...] = ()
    repeat: int = 1

    def choose(self, captions: tuple[str, ...], generator: torch.Generator) -> str:
        """A random caption of an image, augmented by `vary`; or the empty caption."""
        dropped, other, which = torch.rand(3, generator=generator).tolist()
        if dropped < self.dropout or not captions:
            return ""
        first, *others = captions
        taken = others[int(which * len(others))] if others and other < self.alternatives else first
        return vary(taken, generator, self.shuffle, self.drop)


class CaptionTaskConfig(Protocol):
    """The fields of a recipe that `CaptionedTask` reads."""

    @property
    def captions(self) -> CaptionRecipe:
        """How captions are used."""
        ...

    @property
    def masking(self) -> Masking:
        """How tokens are masked."""
        ...

    @property
    def label_smoothing(self) -> float:
        """The label smoothing of the cross-entropy."""
        ...


class TextToImage(nn.Module):
    """A text encoder and a transformer as one module."""

    def __init__(self, transformer: Meissonic | Amused, text: ClipText, frozen: bool) -> None:
        super().__init__()
        self.transformer, self.text, self.frozen = transformer, text, frozen
        text.requires_grad_(not frozen)

    def condition(self, text_BT: Tensor, micro_B5: Tensor) -> Condition:
        """The condition of text tokens and micro-conditions."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            states, pooled = self.text(text_BT)
        return Condition({"states": states, "pooled": pooled, "micro": micro_B5})

    def forward(
        self, ids_BL: Tensor, text_BT: Tensor, micro_B5: Tensor, ratio_B: Tensor, grid: Grid
    ) -> Tensor:
        """Logits (B, L, V)."""
        return self.transformer(ids_BL, self.condition(text_BT, micro_B5), ratio_B, grid)


class CaptionedTask(Task):
    """Trains a `TextToImage`, its only module; a subclass builds it and exports it.

    Args:
        recipe: the configuration.
        tokens: tokens and captions of the training images.
        held_out: tokens and captions of the held-out images.
        tokenizer: decodes the samples.

    Attributes:
        text_tokenizer: converts texts to text tokens.
        config: the configuration of the transformer.

    Raises:
        ValueError: images without captions.
    """

    text_tokenizer: TextTokenizer
    config: MeissonicConfig | AmusedConfig

    def __init__(
        self,
        recipe: CaptionTaskConfig,
        tokens: TokenCache,
        held_out: TokenCache,
        tokenizer: Tokenizer,
    ) -> None:
        self.caption_config, self.tokens, self.held_out = recipe, tokens, held_out
        self.tokenizer = tokenizer
        for what, cache in (("", tokens), ("held-out ", held_out)):
            if bare := cache.captions.count(()):
                raise ValueError(f"{bare} of {len(cache)} {what}images have no caption")
        self.captions = hold_out(tokens.captions, recipe.captions.hold_out)[0]
        self.order = torch.tensor(epoch(self.captions, recipe.captions))
        self.examples = len(self.order)
        if len(tokens.groups) > 1:
            number = torch.from_numpy(tokens.group_numbers)[self.order]
            self.groups = [torch.nonzero(number == n)[:, 0] for n in range(len(tokens.groups))]

    def load(self, indices: Tensor, generator: torch.Generator) -> Batch:
        """Ids (B, L) of one view of each image, partly masked, and its text tokens (B, T)."""
        index_B = self.order[indices]
        view_B = torch.randint(self.tokens.views, index_B.shape, generator=generator)
        ids_BL = self.tokens.read(index_B, view_B)[0]
        captions = [
            self.caption_config.captions.choose(self.captions[i], generator)
            for i in index_B.tolist()
        ]
        text_BT = self.text_tokenizer.ids(captions)
        mask_id = self.config.vocabulary - 1
        masking = self.caption_config.masking
        masked = mask_tokens(ids_BL, masking, self.config.codebook_size, mask_id, generator)
        layout = self.tokens.group_of(int(index_B[0])).layout
        micro_B5 = self.known_micro(index_B, layout.grid)
        if masking.complementary:
            text_BT, micro_B5 = text_BT.repeat(2, 1), micro_B5.repeat(2, 1)
        facts = {"text_BT": text_BT, "micro_B5": micro_B5, "shape": torch.tensor(layout.shape)}
        return {**facts, **asdict(masked)}

    def known_micro(self, index_B: Tensor, grid: Grid) -> Tensor:
        """The micro-conditions (B, 5) of these images; the defaults if the cache has none."""
        if self.tokens.micro is None:
            return self.micro(grid).expand(len(index_B), -1)
        return torch.from_numpy(self.tokens.micro[index_B.numpy()])

    def micro(self, grid: Grid) -> Tensor:
        """The micro-conditions (1, 5) of uncropped images."""
        side = self.tokenizer.downsampling
        return encode_micro_conditions(grid[0] * side, grid[1] * side)

    def loss(
        self, phase: str, batch: Batch, step: int, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The weighted cross-entropy of masked and visible tokens; see `Masking`."""
        loss = self.cross_entropy(self.logits(batch), batch)
        return loss, {"loss": loss}

    def logits(self, batch: Batch) -> Tensor:
        """The predictions of the model in training for partly masked ids (B, L, V)."""
        ratio_B = batch["masked_BL"].float().mean(-1)
        rows, columns = batch["shape"].tolist()
        return self.modules[self.main](
            batch["input_BL"], batch["text_BT"], batch["micro_B5"], ratio_B, (rows, columns)
        )

    def cross_entropy(self, logits_BLV: Tensor, batch: Batch) -> Tensor:
        """The mean cross-entropy in nats, weighted by token."""
        return token_cross_entropy(
            logits_BLV, batch["target_BL"], batch["weight_BL"], self.caption_config.label_smoothing
        )

    @staticmethod
    def parts(model: nn.Module) -> TextToImage:
        """The averaged model as a `TextToImage`."""
        assert isinstance(model, TextToImage)
        return model

    def encode(self, model: nn.Module, texts: Sequence[str]) -> Condition:
        """The condition of these texts, with the micro-conditions of uncropped images."""
        device = self.parts(model).text.text_projection.weight.device
        text_BT = self.text_tokenizer.ids(texts)
        micro_B5 = self.micro(self.tokens.layout.grid).expand(len(texts), -1)
        return self.parts(model).condition(text_BT.to(device), micro_B5.to(device))

    def validation_index(self) -> Tensor:
        """The first 500 held-out images of the main size."""
        return torch.from_numpy(self.held_out.groups[0].indices[:500])

    def validate(self, model: nn.Module) -> dict[str, float]:
        """The `held_out_cross_entropy` of the images of `validation_index`."""
        index = self.validation_index()
        ids_BL = self.held_out.read(index, torch.zeros_like(index))[0]
        firsts = [self.held_out.captions[i][0] for i in index.tolist()]
        condition = self.encode(model, firsts)
        return held_out_cross_entropy(self.parts(model).transformer, ids_BL, condition)

    def sample(self, model: nn.Module) -> Tensor:
        """Images of captions that are spread over the data, eight per row."""
        count = min(SAMPLES, len(self.captions))
        spread = torch.linspace(0, len(self.captions) - 1, count).long().tolist()
        condition = self.encode(model, [self.captions[i][0] for i in spread])
        transformer = self.parts(model).transformer
        return sample_grid(transformer, condition, self.tokens.layout, self.tokenizer)


def epoch(captions: Sequence[tuple[str, ...]], recipe: CaptionRecipe) -> list[int]:
    """The image indices of an epoch: rare images once, all others ``repeat`` times."""
    order = []
    for index, (first, *_) in enumerate(captions):
        rare = any(word in first for word in recipe.rare)
        order += [index] * (1 if rare else recipe.repeat)
    return order
