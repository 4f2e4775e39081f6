"""Self-guidance's feature selection H_phi: a prediction that is smoothed semantically.

TOAST (arXiv 2305.15542) on a frozen masked model, as arXiv 2410.13136 trains it: the last hidden
states, weighed by how much they look like what the image should show, are sent back into the
values of every layer of a second pass that sees no token at all. Attribute names are the keys of
the public state dict.

Shape legend: B batch, L tokens, S sequence of the base's features, D width, F factors, P pooled
width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from demask.types import Condition, Grid, Step, Transformer


@dataclass(frozen=True)
class FeatureSelectionConfig:
    """Sizes of a `FeatureSelection`; the defaults are those of the published ImageNet models.

    Attributes:
        width: D, of the base.
        depth: layers of the base.
        num_classes: of the base, and one more where it knows "any class"; 0 for a base of prompts.
        factors: F, vectors that an anchor is mixed from.
        pooled_width: P, of the pooled text of a base of prompts; 0 for a base of classes.
        blank_condition: the second pass is told no class either, as published; else it is told
            what the first one was.
        norm: bring hidden states to one size before they are used; for bases whose residual stream
            is not normalised.
    """

    width: int = 768
    depth: int = 24
    num_classes: int = 1000
    factors: int = 16
    pooled_width: int = 0
    blank_condition: bool = True
    norm: bool = False

    def __post_init__(self) -> None:
        if (self.num_classes > 0) == (self.pooled_width > 0):
            raise ValueError(
                "one of num_classes and pooled_width says what the anchor is made from; "
                f"not {self.num_classes} and {self.pooled_width}"
            )
        for name in ("width", "depth", "factors"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")


class Base(Transformer, Protocol):
    """What a transformer offers for self-guidance."""

    def feature_selection(self) -> FeatureSelectionConfig:
        """The sizes of a module beside it."""
        ...

    def second_pass(
        self, extra_values: Sequence[Tensor], condition: Condition, step: Step, blank: bool
    ) -> Iterator[Tensor]:
        """The first layer's input and then every layer's output (B, S, D), all ids masked.

        Args:
            extra_values: one second input (B, S, D) a layer, for its values alone.
            condition: what the images show.
            step: as in ``predict``.
            blank: the condition is masked too.
        """
        ...

    def apply_head(self, features_BSD: Tensor, grid: Grid, *, vocabulary: bool = False) -> Tensor:
        """The head: logits (B, L, codes), or (B, L, V) of the whole vocabulary, as trained."""
        ...


class Anchor(nn.Module):
    """What the features are compared with: t = Linear(LN(sum_f w_f (P_f + C_f)))."""

    def __init__(self, config: FeatureSelectionConfig) -> None:
        super().__init__()
        width, factors = config.width, config.factors
        self.shape = (width, factors)
        self.mlp_p = nn.Embedding(1, factors * width)
        self.mlp_c: nn.Embedding | nn.Linear
        if config.pooled_width:
            self.mlp_c = nn.Linear(config.pooled_width, factors * width, bias=False)
        else:
            self.mlp_c = nn.Embedding(config.num_classes, factors * width)
        self.mlp_f = nn.Linear(factors, 1, bias=False)
        self.mlp_t = nn.Linear(width, width)
        self.layer_norm = nn.LayerNorm(width)

    def forward(self, condition: Condition) -> Tensor:
        """(B, D)."""
        if isinstance(self.mlp_c, nn.Embedding):
            own_BX = self.mlp_c(condition["class_ids"])
        else:
            own_BX = self.mlp_c(condition["pooled"].to(self.mlp_c.weight.dtype))
        factors_BDF = (own_BX + self.mlp_p.weight).unflatten(-1, self.shape)
        return self.mlp_t(self.layer_norm(self.mlp_f(factors_BDF)[..., 0]))


class Decoder(nn.Module):
    """One layer's part of the way back: ``linear`` flows on, ``linear2`` goes into the values."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, width, bias=False)
        self.linear2 = nn.Linear(width, width, bias=False)


class FeatureSelection(nn.Module):
    """The module that is trained beside a frozen `Base`; see `FeatureSelectionConfig`."""

    def __init__(self, config: FeatureSelectionConfig) -> None:
        super().__init__()
        self.config = config
        self.cls_anchor_gen = Anchor(config)
        self.top_down_transform = nn.Parameter(torch.empty(config.width, config.width))
        self.decoders = nn.ModuleList(Decoder(config.width) for _ in range(config.depth))
        self.reset()

    def reset(self) -> None:
        """Initialise: what is selected starts as the features themselves, in every layer."""
        for module in self.modules():
            if isinstance(module, (nn.Linear, nn.Embedding)):
                nn.init.trunc_normal_(module.weight, std=0.02, a=-0.04, b=0.04)
        nn.init.zeros_(self.cls_anchor_gen.mlp_t.bias)
        nn.init.eye_(self.top_down_transform)
        for decoder in self.decoders:
            assert isinstance(decoder, Decoder)
            nn.init.eye_(decoder.linear.weight)

    def sized(self, x_BSD: Tensor) -> Tensor:
        """Hidden states of one size, where the base gives them any."""
        return F.rms_norm(x_BSD, x_BSD.shape[-1:], eps=1e-6) if self.config.norm else x_BSD

    def select(self, features_BSD: Tensor, condition: Condition) -> list[Tensor]:
        """The second input of each layer's values (B, S, D), first layer first.

        Args:
            features_BSD: the last hidden states of the ordinary pass.
            condition: what the images show.
        """
        features_BSD = self.sized(features_BSD)
        anchor_B1D = self.cls_anchor_gen(condition)[:, None]
        likeness_BS = F.cosine_similarity(features_BSD, anchor_B1D, dim=-1)
        x_BSD = (features_BSD * likeness_BS.clamp(0, 1)[..., None]) @ self.top_down_transform
        values = []
        for decoder in reversed(self.decoders):
            assert isinstance(decoder, Decoder)
            x_BSD = decoder.linear(x_BSD)
            values.append(decoder.linear2(x_BSD))
        return values[::-1]

    def second_pass(
        self, base: Base, features_BSD: Tensor, condition: Condition, step: Step
    ) -> Iterator[Tensor]:
        """The hidden states of the smoothed pass; see `Base.second_pass`."""
        values = self.select(features_BSD, condition)
        return base.second_pass(values, condition, step, self.config.blank_condition)

    def smoothed_logits(
        self, base: Base, features_BSD: Tensor, condition: Condition, step: Step
    ) -> Tensor:
        """The smoothed logits l_s (B, L, codes), for one more forward of the base.

        Args:
            base: the model that it was trained beside.
            features_BSD: ``Prediction.features`` of the ordinary pass.
            condition: that pass's.
            step: that pass's.
        """
        *_, last_BSD = self.second_pass(base, features_BSD, condition, step)
        return base.apply_head(last_BSD, step.grid)

    def forward(
        self, base: Base, ids_BL: Tensor, condition: Condition, step: Step
    ) -> tuple[Tensor, Tensor]:
        """Both passes, to train on.

        Returns:
            Smoothed logits over the base's whole vocabulary (B, L, V), and how badly each decoder
            undoes its layer: the sum over layers of the mean squared error of linear_d(output of
            layer d) as its input, which trains the decoders alone.
        """
        with torch.no_grad():
            features_BSD = base.predict(ids_BL, condition, step).features
        assert features_BSD is not None
        states = list(self.second_pass(base, features_BSD, condition, step))
        fixed = [self.sized(state_BSD.detach()) for state_BSD in states]
        errors = [
            F.mse_loss(decoder.linear(fixed[d + 1]), fixed[d])  # type: ignore[operator]
            for d, decoder in enumerate(self.decoders)
        ]
        logits_BLV = base.apply_head(states[-1], step.grid, vocabulary=True)
        return logits_BLV, torch.stack(errors).sum()
