"""Train a Meissonic and its text encoder on cached tokens and captions (arXiv 2410.08261)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn

from demask.checkpoint.save import save_model
from demask.checkpoint.text_encoder import load_text_encoder, save_text_encoder
from demask.data.tokens import TokenCache
from demask.training.captioned import CaptionedTask, CaptionRecipe, TextToImage
from demask.training.engine.identity import describe
from demask.training.engine.optim import Optim
from demask.training.engine.task import Phase
from demask.training.masking import Masking
from demask.transformer.clip_text import ClipText, ClipTextConfig
from demask.transformer.condition import TextEncoder, train_text_tokenizer
from demask.transformer.meissonic import Meissonic, MeissonicConfig
from demask.types import Tokenizer


@dataclass(frozen=True)
class TextRecipe:
    """The configuration of the text encoder.

    Attributes:
        pretrained: a folder with a CLIP text encoder and its vocabulary; empty = random weights,
            and a vocabulary from the captions.
        frozen: whether a pretrained text encoder is not trained.
        vocabulary: size of a learned vocabulary, without the start and end tokens.
        length: number of text tokens.
        width: width of the states and of the pooled text.
        mlp_width: hidden channels of its MLPs.
        layers: number of layers.
        heads: attention heads.
    """

    pretrained: str = ""
    frozen: bool = False
    vocabulary: int = 2048
    length: int = 16
    width: int = 128
    mlp_width: int = 512
    layers: int = 3
    heads: int = 2

    def __post_init__(self) -> None:
        if self.frozen and not self.pretrained:
            raise ValueError("a frozen text encoder must be pretrained: name its folder")

    def build(self, captions: Sequence[tuple[str, ...]]) -> TextEncoder:
        """The text encoder before the training."""
        if self.pretrained:
            return load_text_encoder(Path(self.pretrained), dtype=torch.float32)
        tokenizer = train_text_tokenizer(
            (c for some in captions for c in some), self.vocabulary, self.length
        )
        config = ClipTextConfig(
            vocabulary=tokenizer.encoding.get_vocab_size(),
            end_id=tokenizer.end_id,
            length=self.length,
            width=self.width,
            mlp_width=self.mlp_width,
            layers=self.layers,
            heads=self.heads,
            pooled_width=self.width,
        )
        return TextEncoder(tokenizer, ClipText(config))


@dataclass(frozen=True)
class MeissonicRecipe:
    """The configuration of the training; the sizes are those of `MeissonicConfig`.

    Attributes:
        text: the text encoder.
        captions: how captions are used.
        label_smoothing: label smoothing of the cross-entropy.
        masking: how tokens are masked.
        optim: the optimiser.
    """

    heads: int = 3
    head_width: int = 64
    blocks: int = 2
    single_blocks: int = 4
    axes: tuple[int, int, int] = (0, 32, 32)
    compress: bool = True
    embed_width: int | None = None
    text: TextRecipe = field(default_factory=TextRecipe)
    captions: CaptionRecipe = field(default_factory=CaptionRecipe)
    label_smoothing: float = 0.0
    masking: Masking = field(default_factory=Masking)
    optim: Optim = field(default_factory=Optim)

    def config(
        self, tokens: TokenCache, codebook_size: int, text: ClipTextConfig
    ) -> MeissonicConfig:
        """The transformer's configuration."""
        return MeissonicConfig(
            codebook_size=codebook_size,
            vocabulary=codebook_size + 1,
            heads=self.heads,
            head_width=self.head_width,
            blocks=self.blocks,
            single_blocks=self.single_blocks,
            text_width=text.width,
            pooled_width=text.pooled_width,
            axes=self.axes,
            compress=self.compress,
            embed_width=self.embed_width,
            time="mask_ratio",
            grid=tokens.layout.grid,
        )


class TextTask(CaptionedTask):
    """Trains a `Meissonic` with its text encoder; the arguments are those of `CaptionedTask`."""

    main = "transformer"

    def __init__(
        self,
        recipe: MeissonicRecipe,
        tokens: TokenCache,
        held_out: TokenCache,
        tokenizer: Tokenizer,
    ) -> None:
        super().__init__(recipe, tokens, held_out, tokenizer)
        self.recipe = recipe
        text = recipe.text.build(self.captions)
        self.text_tokenizer = text.tokenizer
        self.config = recipe.config(tokens, tokenizer.codebook_size, text.model.config)
        transformer = Meissonic(self.config)
        self.modules = {"transformer": TextToImage(transformer, text.model, recipe.text.frozen)}
        self.phases = {"predict": Phase("transformer", recipe.optim)}

    def identity(self) -> str:
        """The recipe and the token cache."""
        return describe(task="text_to_image", recipe=self.recipe, tokens=self.tokens.fingerprint)

    def export(self, model: nn.Module, path: Path, facts: dict[str, object]) -> None:
        """Write the transformer in half precision, and the text encoder in a folder next to it."""
        parts = self.parts(model)
        text = TextEncoder(self.text_tokenizer, parts.text)
        save_text_encoder(path.parent / "text_encoder", text, torch.float16)
        save_model(path, parts.transformer, "meissonic", torch.float16, training=facts)
