"""CLIP's text encoder (arXiv 2103.00020, section 2.4), as text-to-image models read it.

The state dict has the keys of transformers' ``CLIPTextModelWithProjection``, so the attributes
carry its names.

Shape legend: B batch, T text tokens, D width, P pooled width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from demask.registry import Table

ACTIVATIONS: Table[Callable[[Tensor], Tensor]] = Table(
    "activation", {"gelu": F.gelu, "quick_gelu": lambda x: x * torch.sigmoid(1.702 * x)}
)


@dataclass(frozen=True)
class ClipTextConfig:
    """Sizes of a `ClipText`.

    Attributes:
        vocabulary: rows of the token embedding.
        length: text tokens, T; shorter texts are padded.
        width: D.
        mlp_width: hidden channels of the MLPs.
        layers: number of layers.
        heads: attention heads.
        pooled_width: P.
        end_id: the end-of-text token, at which the pooled state is taken.
        activation: a row of `ACTIVATIONS`.
        norm_eps: of the layer norms.
    """

    vocabulary: int
    end_id: int
    length: int = 77
    width: int = 1024
    mlp_width: int = 4096
    layers: int = 24
    heads: int = 16
    pooled_width: int = 1024
    activation: str = "gelu"
    norm_eps: float = 1e-5

    def __post_init__(self) -> None:
        ACTIVATIONS[self.activation]
        if self.width % self.heads:
            raise ValueError(f"width {self.width} must be a multiple of {self.heads} heads")
        if self.layers < 2:
            raise ValueError("at least 2 layers: the states are those before the last one")


class Attention(nn.Module):
    """Causal self-attention."""

    q_proj: nn.Linear
    k_proj: nn.Linear
    v_proj: nn.Linear
    out_proj: nn.Linear

    def __init__(self, config: ClipTextConfig) -> None:
        super().__init__()
        self.heads = config.heads
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            setattr(self, name, nn.Linear(config.width, config.width))

    def forward(self, x_BTD: Tensor) -> Tensor:
        """Same shape in and out."""
        q, k, v = (
            project(x_BTD).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out_proj(mixed.transpose(1, 2).flatten(2))


class MLP(nn.Module):
    """Linear, activation, linear."""

    def __init__(self, config: ClipTextConfig) -> None:
        super().__init__()
        self.activation = ACTIVATIONS[config.activation]
        self.fc1 = nn.Linear(config.width, config.mlp_width)
        self.fc2 = nn.Linear(config.mlp_width, config.width)

    def forward(self, x_BTD: Tensor) -> Tensor:
        """Same shape in and out."""
        return self.fc2(self.activation(self.fc1(x_BTD)))


class Layer(nn.Module):
    """A pre-norm transformer layer."""

    def __init__(self, config: ClipTextConfig) -> None:
        super().__init__()
        self.self_attn = Attention(config)
        self.layer_norm1 = nn.LayerNorm(config.width, config.norm_eps)
        self.mlp = MLP(config)
        self.layer_norm2 = nn.LayerNorm(config.width, config.norm_eps)

    def forward(self, x_BTD: Tensor) -> Tensor:
        """Same shape in and out."""
        x_BTD = x_BTD + self.self_attn(self.layer_norm1(x_BTD))
        return x_BTD + self.mlp(self.layer_norm2(x_BTD))


class Embeddings(nn.Module):
    """Token and position."""

    def __init__(self, config: ClipTextConfig) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(config.vocabulary, config.width)
        self.position_embedding = nn.Embedding(config.length, config.width)

    def forward(self, ids_BT: Tensor) -> Tensor:
        """(B, T, D)."""
        return self.token_embedding(ids_BT) + self.position_embedding.weight[: ids_BT.shape[1]]


class Encoder(nn.Module):
    """The layers."""

    def __init__(self, config: ClipTextConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.layers))


class TextModel(nn.Module):
    """All but the projection."""

    def __init__(self, config: ClipTextConfig) -> None:
        super().__init__()
        self.embeddings = Embeddings(config)
        self.encoder = Encoder(config)
        self.final_layer_norm = nn.LayerNorm(config.width, config.norm_eps)

    def forward(self, ids_BT: Tensor) -> tuple[Tensor, Tensor]:
        """The states before the last layer, and the normed states after it, each (B, T, D)."""
        x_BTD = self.embeddings(ids_BT)
        *layers, last = self.encoder.layers
        for layer in layers:
            x_BTD = layer(x_BTD)
        return x_BTD, self.final_layer_norm(last(x_BTD))


class ClipText(nn.Module):
    """Text tokens -> states and one pooled vector; see `ClipTextConfig`."""

    def __init__(self, config: ClipTextConfig) -> None:
        super().__init__()
        self.config = config
        self.text_model = TextModel(config)
        self.text_projection = nn.Linear(config.width, config.pooled_width, bias=False)
        self.reset()

    def reset(self) -> None:
        """Initialise for training, as GPT-2 does."""
        for module in self.modules():
            if isinstance(module, (nn.Linear, nn.Embedding)):
                nn.init.normal_(module.weight, std=self.config.width**-0.5)
                if isinstance(module, nn.Linear) and module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, ids_BT: Tensor) -> tuple[Tensor, Tensor]:
        """States before the last layer (B, T, D), and the pooled state (B, P) at the text's end."""
        states_BTD, pooled_BP, _ = self.readings(ids_BT)
        return states_BTD, pooled_BP

    def readings(self, ids_BT: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """As `forward`, and the normed states after the last layer (B, T, D)."""
        states_BTD, last_BTD = self.text_model(ids_BT)
        end_B = (ids_BT == self.config.end_id).int().argmax(-1)
        rows_B = torch.arange(len(ids_BT), device=ids_BT.device)
        return states_BTD, self.text_projection(last_BTD[rows_B, end_B]), last_BTD
