"""Self-guidance's feature selection H_phi: a semantically smoothed prediction.

TOAST (arXiv 2305.15542) on a frozen masked model, as trained in arXiv 2410.13136: the last hidden
states, weighted by their similarity to the condition, are added to the values of every layer in a
second pass whose input tokens are all masked. Attribute names are the keys of the public state
dict.

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

from demask.transformer.protocols import apply_head
from demask.types import Condition, Step, Transformer


@dataclass(frozen=True)
class FeatureSelectionConfig:
    """Sizes of a `FeatureSelection`; the defaults are those of the published ImageNet models.

    Attributes:
        width: D of the base.
        depth: layers of the base.
        num_classes: classes of the base, plus one if it has a null class; 0 for a text model.
        factors: F, number of vectors that an anchor is mixed from.
        pooled_width: P of a text model; 0 for a class-conditional one.
        blank_condition: whether the second pass is unconditional, as published.
        norm: normalise hidden states first, for bases with an unnormalised residual stream.
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
    """Interface of a transformer for self-guidance; `apply_head` applies its head."""

    def feature_selection(self) -> FeatureSelectionConfig:
        """The sizes of a self-guidance module for it."""
        ...

    def second_pass(
        self, extra_values: Sequence[Tensor], condition: Condition, step: Step, blank: bool
    ) -> Iterator[Tensor]:
        """Run on masked ids; yield the first layer's input and every layer's output (B, S, D).

        Args:
            extra_values: an additional input (B, S, D) per layer, for its values only.
            condition: condition of the images.
            step: as in ``predict``.
            blank: drop the condition, too.
        """
        ...


class Anchor(nn.Module):
    """The anchor that features are compared with: t = Linear(LN(sum_f w_f (P_f + C_f)))."""

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
    """One layer of the top-down path: ``linear`` feeds the next layer, ``linear2`` the values."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, width, bias=False)
        self.linear2 = nn.Linear(width, width, bias=False)


class FeatureSelection(nn.Module):
    """The module that is trained for a frozen `Base`; see `FeatureSelectionConfig`."""

    def __init__(self, config: FeatureSelectionConfig) -> None:
        super().__init__()
        self.config = config
        self.cls_anchor_gen = Anchor(config)
        self.top_down_transform = nn.Parameter(torch.empty(config.width, config.width))
        self.decoders = nn.ModuleList(Decoder(config.width) for _ in range(config.depth))
        self.reset()

    def reset(self) -> None:
        """Initialise: every layer starts with the features themselves."""
        for module in self.modules():
            if isinstance(module, (nn.Linear, nn.Embedding)):
                nn.init.trunc_normal_(module.weight, std=0.02, a=-0.04, b=0.04)
        nn.init.zeros_(self.cls_anchor_gen.mlp_t.bias)
        nn.init.eye_(self.top_down_transform)
        for decoder in self.decoders:
            assert isinstance(decoder, Decoder)
            nn.init.eye_(decoder.linear.weight)

    def sized(self, x_BSD: Tensor) -> Tensor:
        """Hidden states, normalised if the configuration says so."""
        return F.rms_norm(x_BSD, x_BSD.shape[-1:], eps=1e-6) if self.config.norm else x_BSD

    def select(self, features_BSD: Tensor, condition: Condition) -> list[Tensor]:
        """The additional value input of each layer (B, S, D), first layer first.

        Args:
            features_BSD: the last hidden states of the ordinary pass.
            condition: condition of the images.
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
        """The smoothed logits l_s (B, L, codes); costs one forward of the base.

        Args:
            base: the model that it was trained for.
            features_BSD: ``Prediction.features`` of the first pass.
            condition: condition of the first pass.
            step: step of the first pass.
        """
        *_, last_BSD = self.second_pass(base, features_BSD, condition, step)
        blank = self.config.blank_condition
        return apply_head(base, last_BSD, condition, step.layout, blank=blank)

    def forward(
        self, base: Base, ids_BL: Tensor, condition: Condition, step: Step
    ) -> tuple[Tensor, Tensor]:
        """Both passes, for training.

        Returns:
            Smoothed logits over the base's whole vocabulary (B, L, V), and the reconstruction
            error of the decoders: the sum over layers of the mean squared error between
            linear_d(output of layer d) and the input of layer d.
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
        blank = self.config.blank_condition
        logits_BLV = apply_head(
            base, states[-1], condition, step.layout, vocabulary=True, blank=blank
        )
        return logits_BLV, torch.stack(errors).sum()
