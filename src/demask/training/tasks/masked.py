"""Train a masked generative transformer on cached tokens.

Shape legend: B batch, L tokens, V codebook.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from demask.checkpoint.architectures import ARCHITECTURES
from demask.checkpoint.load import load_model
from demask.checkpoint.pipeline import check_part
from demask.checkpoint.save import save_model
from demask.data.tokens import TokenCache
from demask.data.views import Views
from demask.registry import unknown
from demask.training.data import DataConfig, token_caches
from demask.training.engine.config import TrainConfig
from demask.training.engine.identity import describe
from demask.training.engine.optim import Optim
from demask.training.engine.task import Batch, Phase, Task
from demask.training.engine.training import TrainInputs
from demask.training.losses import held_out_cross_entropy, token_cross_entropy
from demask.training.masking import Masking, drop_classes, mask_tokens
from demask.training.samples import sample_grid
from demask.training.start import with_its_tokenizer
from demask.training.tasks.text import MeissonicRecipe, TextTask
from demask.types import Condition, Tokenizer

CLASS_TRANSFORMERS = ("modern_maskgit", "halton_maskgit", "maskgit_v1")
"""The architectures of class-conditional transformers that can be trained from scratch."""


def grid_tokenizer(path: Path) -> nn.Module:
    """Load a tokenizer whose ids are a grid, as the trained transformers read them.

    Raises:
        ValueError: the checkpoint holds no tokenizer, or one whose ids are a row.
    """
    network = load_model(str(path), dtype=torch.float32).eval()
    check_part(str(path), network, Tokenizer, "tokenizer")
    if (layout := getattr(network, "layout", None)) is not None:
        raise ValueError(f"{path}: its tokens are {layout}; these transformers read a grid")
    return network


@dataclass(frozen=True)
class MaskedRecipe:
    """The configuration of the transformer and its training.

    Attributes:
        architecture: of the transformer, one of `CLASS_TRANSFORMERS`.
        width: width of the transformer.
        depth: number of blocks.
        heads: attention heads.
        mlp_width: hidden channels of the MLPs.
        dropout: dropout on the residual branches.
        class_dropout: probability of the null class, for classifier-free guidance.
        label_smoothing: label smoothing of the cross-entropy.
        masking: how tokens are masked.
        optim: the optimiser.
    """

    width: int = 256
    depth: int = 8
    heads: int = 4
    mlp_width: int = 512
    dropout: float = 0.0
    class_dropout: float = 0.1
    label_smoothing: float = 0.1
    masking: Masking = field(default_factory=Masking)
    optim: Optim = field(default_factory=Optim)
    architecture: str = CLASS_TRANSFORMERS[0]

    def __post_init__(self) -> None:
        if self.architecture not in CLASS_TRANSFORMERS:
            raise ValueError(unknown("architecture", self.architecture, CLASS_TRANSFORMERS))


class MaskedTask(Task):
    """Trains a class-conditional transformer.

    Args:
        recipe: the configuration.
        tokens: tokens of the training images.
        held_out: tokens of the held-out images.
        tokenizer: decodes the samples.
    """

    main = "transformer"

    def __init__(
        self, recipe: MaskedRecipe, tokens: TokenCache, held_out: TokenCache, tokenizer: Tokenizer
    ) -> None:
        self.recipe, self.tokens, self.held_out = recipe, tokens, held_out
        self.tokenizer = tokenizer
        self.examples = len(tokens)
        architecture = ARCHITECTURES[recipe.architecture]
        self.config = architecture.config(
            codebook_size=tokenizer.codebook_size,
            num_classes=len(tokens.class_names),
            grid=tokens.layout.grid,
            width=recipe.width,
            depth=recipe.depth,
            heads=recipe.heads,
            mlp_width=recipe.mlp_width,
            dropout=recipe.dropout,
        )
        self.modules: dict[str, nn.Module] = {"transformer": architecture.module(self.config)}
        self.phases = {"predict": Phase("transformer", recipe.optim)}

    def identity(self) -> str:
        """The recipe and the token cache."""
        return describe(task="masked", recipe=self.recipe, tokens=self.tokens.fingerprint)

    def load(self, indices: Tensor, generator: torch.Generator) -> Batch:
        """Ids (B, L) of one view of each image, and class ids (B), some of them dropped."""
        view_B = torch.randint(self.tokens.views, indices.shape, generator=generator)
        ids_BL, label_B = self.tokens.read(indices, view_B)
        null, rate = self.config.num_classes, self.recipe.class_dropout
        class_ids_B = drop_classes(label_B, null, rate, generator)
        masked = mask_tokens(
            ids_BL,
            self.recipe.masking,
            self.config.codebook_size,
            self.config.codebook_size,
            generator,
        )
        if self.recipe.masking.complementary:
            class_ids_B = class_ids_B.repeat(2)
        return {"class_ids": class_ids_B, **asdict(masked)}

    def loss(
        self, phase: str, batch: Batch, step: int, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The weighted cross-entropy of masked and visible tokens; see `Masking`."""
        logits_BLV = self.modules["transformer"](batch["input_BL"], batch["class_ids"])
        loss = token_cross_entropy(
            logits_BLV, batch["target_BL"], batch["weight_BL"], self.recipe.label_smoothing
        )
        return loss, {"loss": loss}

    def validate(self, model: nn.Module) -> dict[str, float]:
        """The `held_out_cross_entropy` of the first 1,000 held-out images."""
        count = min(1000, len(self.held_out))
        plain_B = torch.zeros(count, dtype=torch.int64)
        ids_BL, label_B = self.held_out.read(torch.arange(count), plain_B)
        return held_out_cross_entropy(cast(Any, model), ids_BL, Condition({"class_ids": label_B}))

    def sample(self, model: nn.Module) -> Tensor:
        """Eight images of each of the first classes, a row each."""
        device = next(model.parameters()).device
        classes = torch.arange(min(10, self.config.num_classes)).repeat_interleave(8)
        condition = Condition({"class_ids": classes.to(device)})
        return sample_grid(cast(Any, model), condition, self.tokens.layout, self.tokenizer)

    def export(self, model: nn.Module, path: Path, facts: dict[str, object]) -> None:
        """Write the transformer in half precision, with its class names."""
        class_names = list(self.tokens.class_names)
        save_model(
            path,
            model,
            self.recipe.architecture,
            torch.float16,
            class_names=class_names,
            training=facts,
        )


@dataclass(frozen=True)
class MaskedTraining:
    """A recipe of ``demask train masked``.

    Attributes:
        views: how the images are tokenised.
        run: the length, batches and reports.
        transformer: a model of classes, or ...
        meissonic: ... a model of prompts; exactly one is given.
        data: the images.
    """

    views: Views
    run: TrainConfig
    transformer: MaskedRecipe | None = None
    meissonic: MeissonicRecipe | None = None
    data: DataConfig = field(default_factory=DataConfig)

    def __post_init__(self) -> None:
        if (self.transformer is None) == (self.meissonic is None):
            raise ValueError("exactly one of the tables [transformer] and [meissonic] is needed")
        if self.transformer is not None and len(self.views.buckets) > 1:
            raise ValueError("several buckets are for [meissonic]; a model of classes has one size")

    def task(self, inputs: TrainInputs) -> Task:
        """See `TrainRecipe.task`. ``init`` also initializes the text encoder, if there is one."""
        path = inputs.tokenizer or inputs.out / "tokenizer.safetensors"
        if not path.exists():
            raise ValueError(
                f"no tokenizer at {path}: run 'demask train tokenizer' with the same --out"
            )
        meissonic = self.meissonic
        if inputs.init and meissonic:
            meissonic = with_its_tokenizer(meissonic, inputs.init)
        tokenizer: Any = grid_tokenizer(path)
        tokenizer = tokenizer.to(memory_format=torch.channels_last)
        images, held_out = self.data.open(inputs.strict)
        caches = token_caches(tokenizer, images, held_out, self.views, inputs.out)
        torch.manual_seed(self.run.seed)
        if meissonic is not None:
            return TextTask(meissonic, *caches, tokenizer.cpu())
        assert self.transformer is not None
        return MaskedTask(self.transformer, *caches, tokenizer.cpu())
