"""Train a Token-Critic for a frozen model (arXiv 2209.04439, section 3.1).

The tokens of real images are masked in part, and the model predicts all of them at once. The critic
is trained to detect the predicted tokens; in decoding, the tokens that it detects are masked again.

Shape legend: B batch, L tokens, C channels, H W rows and columns, R masked tokens of the batch.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from demask import rng
from demask.assembly import load_parts
from demask.checkpoint.save import save_model
from demask.data.views import ModelViews
from demask.sampling.select import Critic
from demask.training.auxiliary_task import AuxiliaryTask
from demask.training.data import DataConfig, tokens_for_model
from demask.training.engine.config import TrainConfig
from demask.training.engine.optim import Optim
from demask.training.engine.task import Batch, Phase, Task
from demask.training.engine.training import TrainInputs
from demask.training.masking import Masking, mask_tokens
from demask.training.samples import sample_grid
from demask.transformer.token_critic import TokenCritic, TokenCriticConfig
from demask.types import Condition, Step, Transformer

HELD_OUT = 1000
"""Held-out images of a validation."""


@dataclass(frozen=True)
class TokenCriticOptim(Optim):
    """`Optim`, for some hundred steps of a small network."""

    optimizer: str = "muon"
    warmup: int = 50
    decay_fraction: float = 0.5


@dataclass(frozen=True)
class TokenCriticTrainConfig(TrainConfig):
    """`TrainConfig`, for a small network."""

    steps: int = 800
    ema_decay: float = 0.99
    save_every: int = 100
    validate_every: int = 200


@dataclass(frozen=True)
class TokenCriticRecipe:
    """The configuration of the critic and its training.

    Attributes:
        width: width of the critic.
        depth: number of blocks.
        heads: attention heads.
        mlp_width: hidden channels of the MLPs.
        dropout: dropout on the residual branches.
        from_base: whether the model's embeddings and first blocks of equal sizes are the initial
            weights.
        ratio: the distribution of the mask ratio, a row of `MASK_RATIOS`.
        temperature: temperature at which the model fills masked tokens, as in decoding.
        class_dropout: probability of the null class; ignored for a model without one.
        optim: the optimiser.
    """

    width: int = 128
    depth: int = 4
    heads: int = 4
    mlp_width: int = 256
    dropout: float = 0.0
    from_base: bool = True
    ratio: str = "cosine"
    temperature: float = 1.0
    class_dropout: float = 0.1
    optim: TokenCriticOptim = field(default_factory=TokenCriticOptim)

    def __post_init__(self) -> None:
        self.masking  # noqa: B018  an unknown ratio is refused at once
        if not self.temperature > 0:
            raise ValueError(f"temperature must be above 0, not {self.temperature}")

    @property
    def masking(self) -> Masking:
        """How tokens are masked; visible tokens are never corrupted."""
        return Masking(self.ratio, corruption=0.0)


class TokenCriticTask(AuxiliaryTask):
    """Trains a `TokenCritic` of a model of classes; see `AuxiliaryTask`."""

    main = "token_critic"

    recipe: TokenCriticRecipe

    def build(self, recipe: TokenCriticRecipe, base: nn.Module) -> None:
        """Freeze the model, and make the critic."""
        super().build(recipe, base)
        config = TokenCriticConfig(
            codebook_size=self.base.codebook_size,
            num_classes=len(self.tokens.class_names),
            grid=self.tokens.layout.grid,
            width=recipe.width,
            depth=recipe.depth,
            heads=recipe.heads,
            mlp_width=recipe.mlp_width,
            dropout=recipe.dropout,
        )
        critic = TokenCritic(config)
        if recipe.from_base:
            critic.take_over(base)
        self.modules: dict[str, nn.Module] = {self.main: critic}
        self.phases = {"judge": Phase(self.main, recipe.optim)}

    @property
    def base(self) -> Transformer:
        """The frozen model, with its protocol."""
        return cast(Transformer, self.frozen)

    def load(self, indices: Tensor, generator: torch.Generator) -> Batch:
        """Ids (B, L) of one view of each image, some masked, and class ids (B), some dropped."""
        ids_BL, class_ids_B = self.read(indices, generator)
        return {"class_ids": class_ids_B, **self.draw_mask(ids_BL, generator)}

    def draw_mask(self, ids_BL: Tensor, generator: torch.Generator) -> Batch:
        """A partly masked image, and its mask."""
        codes, mask_id = self.base.codebook_size, self.base.mask_id
        masked = mask_tokens(ids_BL, self.recipe.masking, codes, mask_id, generator)
        return {"input_BL": masked.input_BL, "masked_BL": masked.masked_BL}

    @torch.no_grad()
    def filled(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """The ids, with masked tokens drawn independently from the model's predictions."""
        input_BL, masked_BL = batch["input_BL"], batch["masked_BL"]
        self.frozen.to(input_BL.device)
        step = Step(0, 1, self.tokens.layout, masked_BL.double().mean(-1))
        condition = Condition({"class_ids": batch["class_ids"]})
        logits_BLV = self.base.predict(input_BL, condition, step).logits_BLV
        logits_RV = logits_BLV[masked_BL].float() / self.recipe.temperature
        uniform_R = torch.rand(len(logits_RV), generator=generator, dtype=torch.float64)
        filled_BL = input_BL.clone()
        filled_BL[masked_BL] = rng.categorical(logits_RV, uniform_R.to(input_BL.device))
        return filled_BL

    def loss(
        self, phase: str, batch: Batch, step: int, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Binary cross-entropy of real and filled-in tokens, over all tokens."""
        filled_BL = self.filled(batch, generator)
        real_BL = self.modules[self.main](filled_BL, batch["class_ids"]).float()
        truth_BL = ~batch["masked_BL"]
        loss = F.binary_cross_entropy_with_logits(real_BL, truth_BL.to(real_BL.dtype))
        right = ((real_BL > 0) == truth_BL).double().mean()
        return loss, {"loss": loss, "accuracy": right}

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Binary cross-entropy and accuracy on held-out images.

        ``ranking`` is the fraction of pairs of a real and a filled-in token of an image in which
        the real one has the higher score; decoding depends only on this order.
        """
        assert isinstance(model, TokenCritic)
        device = next(model.parameters()).device
        index_B = torch.linspace(0, len(self.held_out) - 1, min(HELD_OUT, len(self.held_out)))
        generator = torch.Generator().manual_seed(0)
        sums = torch.zeros(4, dtype=torch.float64)
        for part_B in index_B.long().split(100):
            ids_BL, class_ids_B = self.held_out.read(part_B, torch.zeros_like(part_B))
            batch = {"class_ids": class_ids_B, **self.draw_mask(ids_BL, generator)}
            batch = {name: tensor.to(device) for name, tensor in batch.items()}
            real_BL = model(self.filled(batch, generator), batch["class_ids"]).double().cpu()
            truth_BL = ~batch["masked_BL"].cpu()
            loss = F.binary_cross_entropy_with_logits(real_BL, truth_BL.double(), reduction="sum")
            right = ((real_BL > 0) == truth_BL).sum()
            sums[:2] += torch.stack([loss, right.double()]) / truth_BL.shape[1]
            above_BLL = real_BL[:, :, None] > real_BL[:, None]
            pairs_BLL = truth_BL[:, :, None] & ~truth_BL[:, None]
            sums[2:] += torch.stack([(above_BLL & pairs_BLL).sum(), pairs_BLL.sum()])
        loss, right, above, pairs = sums.tolist()
        count = len(index_B)
        scores = {"cross_entropy": loss / count, "accuracy": right / count}
        return {**scores, "ranking": above / max(pairs, 1)}

    def sample(self, model: nn.Module) -> Tensor:
        """Eight images of each of the first classes, a row each, decoded with the critic."""
        assert isinstance(model, TokenCritic)
        device = next(model.parameters()).device
        classes = torch.arange(min(10, model.config.num_classes)).repeat_interleave(8)
        condition = Condition({"class_ids": classes.to(device)})
        order = Critic().attach(model)
        self.frozen.to(device)
        return sample_grid(self.base, condition, self.tokens.layout, self.tokenizer, order)

    def export(self, model: nn.Module, path: Path, facts: dict[str, object]) -> None:
        """Write the critic in half precision, with the fingerprint of its model."""
        save_model(
            path, model, "token_critic", torch.float16, base=self.fingerprint, training=facts
        )


@dataclass(frozen=True)
class TokenCriticTraining:
    """A recipe of ``demask train token-critic``; every table has defaults.

    Attributes:
        token_critic: the critic and its training.
        views: how the images are tokenised.
        run: the length, batches and reports.
        data: the images; the model's class names are used if they have none.
    """

    token_critic: TokenCriticRecipe = field(default_factory=TokenCriticRecipe)
    views: ModelViews = field(default_factory=ModelViews)
    run: TokenCriticTrainConfig = field(default_factory=TokenCriticTrainConfig)
    data: DataConfig = field(default_factory=DataConfig)

    def task(self, inputs: TrainInputs) -> Task:
        """See `TrainRecipe.task`."""
        parts = load_parts(inputs.model)
        if parts.text is not None:
            raise ValueError(
                f"{inputs.model} reads prompts; a Token-Critic is for a model of classes"
            )
        data = tokens_for_model(parts, self.data, self.views, inputs.out, inputs.strict)
        torch.manual_seed(self.run.seed)
        return TokenCriticTask(self.token_critic, parts.transformer, *data)
