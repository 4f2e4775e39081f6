"""Train a Meissonic and its text encoder on cached tokens and captions (arXiv 2410.08261).

Shape legend: B batch, L ids, T text tokens, V codebook.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from demask import rng
from demask.checkpoint.save import save_model
from demask.checkpoint.text_encoder import load_text_encoder, save_text_encoder
from demask.data.captions import hold_out, vary
from demask.data.tokens import TokenCache
from demask.sampling.decode import Sampler, decode, last
from demask.sampling.edit import blank
from demask.training.loop import describe
from demask.training.losses import held_out_cross_entropy, token_cross_entropy
from demask.training.masking import Masking, hide
from demask.training.optim import Optim
from demask.training.task import Batch, Phase, Task
from demask.transformer.clip_text import ClipText, ClipTextConfig
from demask.transformer.condition import TextEncoder, learn_words, micro_conditions
from demask.transformer.meissonic import Meissonic, MeissonicConfig
from demask.types import Condition, Grid, Tokenizer

SAMPLES = 32


@dataclass(frozen=True)
class TextRecipe:
    """The text encoder.

    Attributes:
        pretrained: a folder with a CLIP text encoder and its vocabulary; by default a small one
            begins with random weights and learns its vocabulary from the captions.
        frozen: keep a pretrained one as it is.
        vocabulary: entries of a vocabulary that is learned.
        length: text tokens.
        width: of the states and the pooled text.
        mlp_width: hidden channels of its MLPs.
        layers: how many.
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
            raise ValueError("a text encoder that is frozen must be pretrained")

    def build(self, captions: Sequence[tuple[str, ...]]) -> TextEncoder:
        """The text encoder at the start."""
        if self.pretrained:
            return load_text_encoder(Path(self.pretrained), dtype=torch.float32)
        words = learn_words((c for some in captions for c in some), self.vocabulary, self.length)
        config = ClipTextConfig(
            vocabulary=words.encoding.get_vocab_size(),
            end_id=words.end_id,
            length=self.length,
            width=self.width,
            mlp_width=self.mlp_width,
            layers=self.layers,
            heads=self.heads,
            pooled_width=self.width,
        )
        return TextEncoder(words, ClipText(config))


@dataclass(frozen=True)
class CaptionRecipe:
    """How captions are used.

    Attributes:
        dropout: how often a caption is replaced by the empty one, for classifier-free guidance.
        alternatives: how often another caption than the first is taken, where there are any.
        shuffle: how often a caption's words are put in random order.
        drop: how often each word of a caption is left out.
        hold_out: the fraction of the alternatives that are never trained on, to be measured.
        rare: words; a picture whose first caption has one of them is shown once an epoch, ...
        repeat: ... and every other picture so many times.
    """

    dropout: float = 0.1
    alternatives: float = 0.5
    shuffle: float = 0.0
    drop: float = 0.0
    hold_out: float = 0.0
    rare: tuple[str, ...] = ()
    repeat: int = 1

    def choose(self, captions: tuple[str, ...], generator: torch.Generator) -> str:
        """One of a picture's captions, varied; or none."""
        dropped, other, which = torch.rand(3, generator=generator).tolist()
        if dropped < self.dropout or not captions:
            return ""
        first, *others = captions
        taken = others[int(which * len(others))] if others and other < self.alternatives else first
        return vary(taken, generator, self.shuffle, self.drop)


@dataclass(frozen=True)
class MeissonicRecipe:
    """What to train on what; the sizes are those of `MeissonicConfig`.

    Attributes:
        text: the text encoder.
        captions: how captions are used.
        label_smoothing: of the cross-entropy.
        masking: what is hidden.
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
            grid=tokens.grid,
        )


class TextToImage(nn.Module):
    """A text encoder and a transformer that are trained as one."""

    def __init__(self, transformer: Meissonic, text: ClipText, frozen: bool) -> None:
        super().__init__()
        self.transformer, self.text, self.frozen = transformer, text, frozen
        text.requires_grad_(not frozen)

    def condition(self, text_BT: Tensor, micro_B5: Tensor) -> Condition:
        """What the transformer reads."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            states, pooled = self.text(text_BT)
        return Condition({"states": states, "pooled": pooled, "micro": micro_B5})

    def forward(
        self, ids_BL: Tensor, text_BT: Tensor, micro_B5: Tensor, ratio_B: Tensor, grid: Grid
    ) -> Tensor:
        """Logits (B, L, V)."""
        return self.transformer(ids_BL, self.condition(text_BT, micro_B5), ratio_B, grid)


class TextTask(Task):
    """Trains a `Meissonic` with its text encoder.

    Args:
        recipe: what to train.
        tokens: the pictures' tokens and captions.
        held_out: tokens and captions to measure on.
        tokenizer: paints the samples.

    Raises:
        ValueError: pictures without captions.
    """

    main = "transformer"

    def __init__(
        self,
        recipe: MeissonicRecipe,
        tokens: TokenCache,
        held_out: TokenCache,
        tokenizer: Tokenizer,
    ) -> None:
        self.recipe, self.tokens, self.held_out = recipe, tokens, held_out
        self.tokenizer = tokenizer
        bare = [i for i, captions in enumerate(tokens.captions) if not captions]
        if bare:
            raise ValueError(f"{len(bare)} of {len(tokens)} pictures have no caption")
        self.captions = hold_out(tokens.captions, recipe.captions.hold_out)[0]
        self.order = torch.tensor(epoch(self.captions, recipe.captions))
        self.examples = len(self.order)
        if len(tokens.groups) > 1:
            number = torch.from_numpy(tokens.group_numbers)[self.order]
            self.groups = [torch.nonzero(number == n)[:, 0] for n in range(len(tokens.groups))]
        text = recipe.text.build(self.captions)
        self.words = text.words
        config = recipe.config(tokens, tokenizer.codebook_size, text.model.config)
        self.modules: dict[str, nn.Module] = {
            "transformer": TextToImage(Meissonic(config), text.model, recipe.text.frozen)
        }
        self.config = config
        self.phases = {"predict": Phase("transformer", recipe.optim)}

    def identity(self) -> str:
        """The recipe and the token cache."""
        recipe = asdict(self.recipe)
        return describe(task="text_to_image", recipe=recipe, tokens=self.tokens.fingerprint)

    def load(self, indices: Tensor, generator: torch.Generator) -> Batch:
        """Ids (B, L) of one view of each picture, half hidden, and its text tokens (B, T)."""
        index_B = self.order[indices]
        view_B = torch.randint(self.tokens.views, index_B.shape, generator=generator)
        ids_BL = self.tokens.read(index_B, view_B)[0]
        captions = [
            self.recipe.captions.choose(self.captions[i], generator) for i in index_B.tolist()
        ]
        text_BT = self.words.ids(captions)
        mask_id = self.config.vocabulary - 1
        masking = self.recipe.masking
        masked = hide(ids_BL, masking, self.config.codebook_size, mask_id, generator)
        if masking.complementary:
            text_BT = text_BT.repeat(2, 1)
        grid = self.tokens.group_of(int(index_B[0])).grid
        micro_B5 = self.micro(grid).expand(len(text_BT), -1)
        facts = {"text_BT": text_BT, "micro_B5": micro_B5, "grid_2": torch.tensor(grid)}
        return {**facts, **asdict(masked)}

    def micro(self, grid: Grid) -> Tensor:
        """The micro-conditions (1, 5) of whole pictures."""
        side = self.tokenizer.downsampling
        return micro_conditions(grid[0] * side, grid[1] * side)

    def loss(
        self, phase: str, batch: Batch, step: int, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Cross-entropy on hidden tokens, and a little on visible ones."""
        ratio_B = batch["hidden_BL"].float().mean(-1)
        rows, columns = batch["grid_2"].tolist()
        logits_BLV = self.modules["transformer"](
            batch["input_BL"], batch["text_BT"], batch["micro_B5"], ratio_B, (rows, columns)
        )
        loss = token_cross_entropy(
            logits_BLV, batch["target_BL"], batch["weight_BL"], self.recipe.label_smoothing
        )
        return loss, {"loss": loss}

    @staticmethod
    def parts(model: nn.Module) -> TextToImage:
        """The averaged model, with its type."""
        assert isinstance(model, TextToImage)
        return model

    def encode(self, model: nn.Module, texts: Sequence[str]) -> Condition:
        """The condition of some texts."""
        device = self.parts(model).text.text_projection.weight.device
        text_BT = self.words.ids(texts)
        micro_B5 = self.micro(self.tokens.grid).expand(len(texts), -1)
        return self.parts(model).condition(text_BT.to(device), micro_B5.to(device))

    def validate(self, model: nn.Module) -> dict[str, float]:
        """See `held_out_cross_entropy`; on the first 500 held-out pictures of the main size."""
        index = torch.from_numpy(self.held_out.groups[0].indices[:500])
        ids_BL = self.held_out.read(index, torch.zeros_like(index))[0]
        firsts = [self.held_out.captions[i][0] for i in index.tolist()]
        condition = self.encode(model, firsts)
        return held_out_cross_entropy(self.parts(model).transformer, ids_BL, condition)

    def sample(self, model: nn.Module) -> Tensor:
        """Pictures of captions from all over the data, eight in a row."""
        count = min(SAMPLES, len(self.captions))
        spread = torch.linspace(0, len(self.captions) - 1, count).long().tolist()
        condition = self.encode(model, [self.captions[i][0] for i in spread])
        transformer = self.parts(model).transformer
        device = condition["states"].device
        canvas = blank(count, self.tokens.grid, transformer.mask_id, device)
        generators = rng.image_generators(range(count))
        steps = min(12, canvas.ids_BL.shape[1])
        states = decode(transformer.predict, condition, canvas, generators, Sampler(steps))
        ids_BHW = last(states).ids_BL.unflatten(1, self.tokens.grid)
        image_BCHW = self.tokenizer.decode(ids_BHW.cpu())
        missing = torch.ones(-count % 8, *image_BCHW.shape[1:])
        whole_BCHW = torch.cat([image_BCHW, missing])
        return torch.cat([torch.cat(list(row), dim=-1) for row in whole_BCHW.split(8)], dim=-2)

    def export(self, model: nn.Module, path: Path, facts: dict[str, object]) -> None:
        """Write the transformer in half precision, and the text encoder beside it."""
        parts = self.parts(model)
        text = TextEncoder(self.words, parts.text)
        save_text_encoder(path.parent / "text_encoder", text, torch.float16)
        save_model(path, parts.transformer, "meissonic", torch.float16, training=facts)


def epoch(captions: Sequence[tuple[str, ...]], recipe: CaptionRecipe) -> list[int]:
    """The pictures of an epoch: the rare ones once, the others ``repeat`` times."""
    order = []
    for index, (first, *_) in enumerate(captions):
        rare = any(word in first for word in recipe.rare)
        order += [index] * (1 if rare else recipe.repeat)
    return order
