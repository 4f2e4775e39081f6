"""The layers of TiTok's tokenizers (arXiv 2406.07550), under their public weights' names.

Shape legend: B batch, C channels, D width, L latent tokens, N sequence, P patches (H W of them), T
text tokens, E text width, Z code width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class ViTSizes:
    """Sizes of an encoder or a decoder; ``patch`` is the side of a patch in pixels."""

    width: int
    depth: int
    heads: int
    patch: int


def small(*shape: int) -> nn.Parameter:
    """Learned vectors, at first normal with a length of about 1."""
    return nn.Parameter(nn.init.normal_(torch.empty(shape), std=shape[-1] ** -0.5))


class Block(nn.Module):
    """A pre-norm transformer block with exact GELU."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(width)
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.ln_2 = nn.LayerNorm(width)
        self.mlp = nn.ModuleDict(
            {"c_fc": nn.Linear(width, 4 * width), "c_proj": nn.Linear(4 * width, width)}
        )

    def forward(self, x_BND: Tensor) -> Tensor:
        """Same shape in and out."""
        normed_BND = self.ln_1(x_BND)
        x_BND = x_BND + self.attn(normed_BND, normed_BND, normed_BND, need_weights=False)[0]
        return x_BND + self.mlp["c_proj"](F.gelu(self.mlp["c_fc"](self.ln_2(x_BND))))


class ViT(nn.Module):
    """What the encoder and the decoder share: embeddings of the sequence, and the blocks.

    The sequence is a class token, the patches, and the latent tokens after them.
    """

    def __init__(self, sizes: ViTSizes, side: int, latents: int) -> None:
        super().__init__()
        width = sizes.width
        self.side = side  # patches along a side of the image
        self.class_embedding = small(1, width)
        self.positional_embedding = small(side**2 + 1, width)
        self.latent_token_positional_embedding = small(latents, width)
        self.ln_pre = nn.LayerNorm(width)
        self.transformer = nn.ModuleList(Block(width, sizes.heads) for _ in range(sizes.depth))
        self.ln_post = nn.LayerNorm(width)

    def states(self, patch_BPD: Tensor, latent_BLD: Tensor, *more: Tensor) -> Tensor:
        """The states after the last block (B, N, D): class, patches, latents and ``more``."""
        class_B1D = self.class_embedding.expand(len(patch_BPD), 1, -1)
        places_BND = torch.cat([class_B1D, patch_BPD], dim=1) + self.positional_embedding
        latent_BLD = latent_BLD + self.latent_token_positional_embedding
        x_BND = self.ln_pre(torch.cat([places_BND, latent_BLD, *more], dim=1))
        for block in self.transformer:
            x_BND = block(x_BND)
        return x_BND


class Encoder(ViT):
    """Pixels -> latents.

    Args:
        sizes: of the transformer.
        side: patches along a side.
        latents: L.
        code_width: Z.
        reinterpreted: the (L, D) matrix of the latents is read as (D, L) without a transposition,
            a quirk that the weights of the first models depend on.
    """

    def __init__(
        self, sizes: ViTSizes, side: int, latents: int, code_width: int, reinterpreted: bool
    ) -> None:
        super().__init__(sizes, side, latents)
        self.reinterpreted = reinterpreted
        self.patch_embed = nn.Conv2d(3, sizes.width, sizes.patch, sizes.patch)
        self.conv_out = nn.Conv2d(sizes.width, code_width, 1)

    def forward(self, image_BCHW: Tensor, latent_LD: Tensor) -> Tensor:
        """Images and the learned latent tokens -> latents (B, Z, L)."""
        patch_BPD = self.patch_embed(image_BCHW).flatten(2).transpose(1, 2)
        latent_BLD = latent_LD.expand(len(image_BCHW), -1, -1)
        x_BLD = self.ln_post(self.states(patch_BPD, latent_BLD)[:, -latent_LD.shape[0] :])
        shape = (x_BLD.shape[0], x_BLD.shape[2], x_BLD.shape[1])
        x_BDL = x_BLD.reshape(shape) if self.reinterpreted else x_BLD.transpose(1, 2)
        return self.conv_out(x_BDL[..., None])[..., 0]


class Decoder(ViT):
    """Codes, and optionally the states of a text -> the normalised states of the patches.

    Args:
        sizes: of the transformer.
        side: patches along a side.
        latents: L.
        code_width: Z.
        proxy_codes: codes whose logits it predicts for each patch; 0: it predicts pixels.
        text: tokens and width of the text that it reads after the latents (TA-TiTok, arXiv
            2501.07730, section 3.1); (0, 0) for none.
    """

    def __init__(
        self,
        sizes: ViTSizes,
        side: int,
        latents: int,
        code_width: int,
        proxy_codes: int,
        text: tuple[int, int],
    ) -> None:
        super().__init__(sizes, side, latents)
        width = sizes.width
        self.patch = sizes.patch
        self.decoder_embed = nn.Linear(code_width, width)
        self.mask_token = small(1, 1, width)
        if proxy_codes:
            self.ffn = nn.Sequential(
                nn.Conv2d(width, 2 * width, 1), nn.Tanh(), nn.Conv2d(2 * width, proxy_codes, 1)
            )
        else:
            self.ffn = nn.Sequential(nn.Conv2d(width, 3 * self.patch**2, 1))
            self.conv_out = nn.Conv2d(3, 3, 3, padding=1)
        if text[0]:
            self.text_guidance_proj = nn.Linear(text[1], width)
            self.text_guidance_positional_embedding = small(text[0], width)

    def forward(self, code_BZL: Tensor, text_BTE: Tensor | None = None) -> Tensor:
        """Codes (B, Z, L) -> logits over the proxy codes (B, codes, H, W), or pixels."""
        patch_BPD = self.mask_token.expand(len(code_BZL), self.side**2, -1)
        more = [] if text_BTE is None else [self.text_states(text_BTE)]
        latent_BLD = self.decoder_embed(code_BZL.transpose(1, 2))
        states_BND = self.states(patch_BPD, latent_BLD, *more)[:, 1 : self.side**2 + 1]
        grid_BDHW = self.ln_post(states_BND).transpose(1, 2).unflatten(2, (self.side, -1))
        out_BCHW = self.ffn(grid_BDHW)
        return out_BCHW if len(self.ffn) > 1 else self.conv_out(self.folded(out_BCHW))

    def text_states(self, text_BTE: Tensor) -> Tensor:
        """The text in the sequence (B, T, D)."""
        states_BTE = text_BTE.to(self.text_guidance_proj.weight)
        return self.text_guidance_proj(states_BTE) + self.text_guidance_positional_embedding

    def folded(self, x_BCHW: Tensor) -> Tensor:
        """Patches whose channels are (row, column, colour) -> an image (B, 3, H, W)."""
        batch, _, rows, columns = x_BCHW.shape
        patches = x_BCHW.view(batch, self.patch, self.patch, 3, rows, columns)
        shape = (batch, 3, rows * self.patch, columns * self.patch)
        return patches.permute(0, 3, 4, 1, 5, 2).reshape(shape)
