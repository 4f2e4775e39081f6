"""The network architectures that a checkpoint can hold, by name."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any, TypeVar, cast

from torch import nn

from demask.checkpoint.public_amused import amused_from_public
from demask.checkpoint.public_meissonic import clip_text_from_public, meissonic_from_public
from demask.checkpoint.read import CheckpointError
from demask.registry import Table, unknown
from demask.tokenizer.conv_tokenizer import ConvTokenizer, ConvTokenizerConfig
from demask.tokenizer.titok import TATiTok, TATiTokConfig, TiTok, TiTokConfig
from demask.tokenizer.vq_model import VQModel, VQModelConfig
from demask.tokenizer.vqgan import VQGAN, VQGANConfig
from demask.transformer.amused import Amused, AmusedConfig
from demask.transformer.clip_text import ClipText, ClipTextConfig
from demask.transformer.feature_selection import FeatureSelection, FeatureSelectionConfig
from demask.transformer.halton_maskgit import HaltonMaskGIT, HaltonMaskGITConfig
from demask.transformer.image_bert import ImageBert, ImageBertConfig
from demask.transformer.maskbit import MaskBit, MaskBitConfig
from demask.transformer.maskgen import MaskGen, MaskGenConfig
from demask.transformer.maskgit import MaskGIT, MaskGITConfig
from demask.transformer.maskgit_v1 import MaskGITV1, MaskGITV1Config
from demask.transformer.meissonic import Meissonic, MeissonicConfig
from demask.transformer.modern_maskgit import ModernMaskGIT, ModernMaskGITConfig
from demask.transformer.shortcut import Shortcut, ShortcutConfig
from demask.transformer.token_critic import TokenCritic, TokenCriticConfig
from demask.transformer.uvit import UViT, UViTConfig
from demask.types import Tokenizer, Transformer

C = TypeVar("C")

FEATURE_SELECTION = ("cls_anchor_gen.", "decoders.", "top_down_transform")
"""Key prefixes of self-guidance's feature selection, which is in the same file as its base."""


@dataclass(frozen=True)
class Architecture:
    """An architecture.

    Attributes:
        part: ``tokenizer``, ``transformer``, ``text_encoder`` or a row of
            `demask.auxiliary.AUXILIARY`; also the name of its file in a model's folder.
        module: the module class, built from a ``config``.
        config: the configuration class, a frozen dataclass.
        class_names: values of ``_class_name`` in public ``config.json`` files.
        from_public: converts a public ``config.json`` to our configuration; None if there is none.
        elsewhere: key prefixes in a public file that belong to another network.
        within: key prefixes in a public file that belong to this network; by default all.
    """

    part: str
    module: Callable[[Any], nn.Module]
    config: type[Any]
    class_names: tuple[str, ...] = ()
    from_public: Callable[[Mapping[str, Any]], Any] | None = None
    elsewhere: tuple[str, ...] = ()
    within: tuple[str, ...] = ("",)


def transformer(module: Callable[[C], Transformer], config: type[C], **more: Any) -> Architecture:
    """The row of a transformer: a module with the methods of `demask.types.Transformer`.

    The type checker asks for them. `demask.transformer.protocols` has the optional methods.

    Args:
        module: see `Architecture`, as for all that follow.
        config: its configuration class.
        more: the other fields of the row.
    """
    return Architecture("transformer", cast(Any, module), config, **more)


def tokenizer(module: Callable[[C], Tokenizer], config: type[C], **more: Any) -> Architecture:
    """The row of a tokenizer: a module with the methods of `demask.types.Tokenizer`.

    Args:
        module: see `Architecture`, as for all that follow.
        config: its configuration class.
        more: the other fields of the row.
    """
    return Architecture("tokenizer", cast(Any, module), config, **more)


def config_from_json(config: type[Any], values: Mapping[str, Any]) -> Any:
    """Parse our own configuration, as stored in the metadata of our weights.

    Raises:
        CheckpointError: an unknown or missing entry, or an invalid value.
    """
    valid = {f.name: f for f in fields(config)}
    for name in values:
        if name not in valid:
            raise CheckpointError(unknown(f"{config.__name__} entry", name, valid))
    required = {
        n for n, f in valid.items() if f.default is MISSING and f.default_factory is MISSING
    }
    if absent := sorted(required - set(values)):
        raise CheckpointError(f"{config.__name__} lacks {', '.join(absent)}")
    plain = {n: tuple(v) if isinstance(v, list) else v for n, v in values.items()}
    try:
        return config(**plain)
    except ArithmeticError:
        zeros = ", ".join(name for name, value in plain.items() if value == 0)
        raise CheckpointError(f"{config.__name__}: {zeros} must be at least 1") from None
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{config.__name__}: {error}") from None


def _require(public: Mapping[str, Any], **expected: Any) -> None:
    """Raise a CheckpointError for a public configuration that our network does not support."""
    for name, value in expected.items():
        if public.get(name, value) != value:
            raise CheckpointError(f"config.json: {name}={public[name]!r}; only {value!r} is known")


def _get(public: Mapping[str, Any], name: str) -> Any:
    if name not in public:
        raise CheckpointError(f"config.json lacks '{name}'")
    return public[name]


def maskgit_from_public(public: Mapping[str, Any]) -> MaskGITConfig:
    """The ``config.json`` of the self-guidance authors' transformer."""
    _require(
        public,
        add_cross_attention=False,
        layer_norm_embeddings=True,
        norm_type="layernorm",
        project_encoder_hidden_states=False,
        use_bias=True,
        use_encoder_layernorm=False,
        use_maskgit_mlp=True,
        use_mlm_layer=True,
        use_mlm_layernorm=True,
        use_normformer=False,
    )
    tokens = _get(public, "num_vq_tokens")
    side = math.isqrt(tokens)
    if side * side != tokens:
        raise CheckpointError(f"config.json: num_vq_tokens {tokens} is not a square number")
    config = MaskGITConfig(
        codebook_size=_get(public, "codebook_size"),
        num_classes=_get(public, "num_classes"),
        grid=(side, side),
        width=_get(public, "hidden_size"),
        depth=_get(public, "num_hidden_layers"),
        heads=_get(public, "num_attention_heads"),
        mlp_width=_get(public, "intermediate_size"),
        dropout=public.get("hidden_dropout", 0.1),
        attention_dropout=public.get("attention_dropout", 0.1),
        norm_eps=public.get("layer_norm_eps", 1e-12),
    )
    _require(
        public,
        vocab_size=config.vocabulary,
        mask_token_id=config.vocabulary - 1,
        max_position_embeddings=config.sequence,
    )
    return config


def feature_selection_from_public(public: Mapping[str, Any]) -> FeatureSelectionConfig:
    """The ``config.json`` of the self-guidance authors' file, for its feature selection."""
    _require(public, use_toast=True, use_blank_second=True)
    sizes = maskgit_from_public(public)
    return FeatureSelectionConfig(
        sizes.width, sizes.depth, sizes.num_classes, public.get("tg_factor", 16)
    )


def vqgan_from_public(public: Mapping[str, Any]) -> VQGANConfig:
    """The ``config.json`` of the public tokenizer repositories."""
    latent_width = _get(public, "quantized_embed_dim")
    _require(public, z_channels=latent_width)
    return VQGANConfig(
        channels=_get(public, "hidden_channels"),
        multipliers=tuple(_get(public, "channel_mult")),
        blocks=_get(public, "num_res_blocks"),
        codebook_size=_get(public, "num_embeddings"),
        latent_width=latent_width,
        image_channels=public.get("num_channels", 3),
        dropout=public.get("dropout", 0.0),
    )


def vq_model_from_public(public: Mapping[str, Any]) -> VQModelConfig:
    """The ``config.json`` of the ``vqvae`` folder in a Meissonic or aMUSEd pipeline."""
    widths = tuple(_get(public, "block_out_channels"))
    image_channels = public.get("in_channels", 3)
    _require(
        public,
        act_fn="silu",
        down_block_types=["DownEncoderBlock2D"] * len(widths),
        lookup_from_codebook=True,
        mid_block_add_attention=False,
        norm_type="group",
        out_channels=image_channels,
        up_block_types=["UpDecoderBlock2D"] * len(widths),
    )
    latent_width = _get(public, "latent_channels")
    return VQModelConfig(
        widths=widths,
        blocks=_get(public, "layers_per_block"),
        codebook_size=_get(public, "num_vq_embeddings"),
        latent_width=latent_width,
        code_width=public.get("vq_embed_dim") or latent_width,
        groups=public.get("norm_num_groups", 32),
        image_channels=image_channels,
        force_upcast=public.get("force_upcast", False),
    )


ARCHITECTURES: Table[Architecture] = Table(
    "architecture",
    {
        "maskgit": transformer(
            MaskGIT,
            MaskGITConfig,
            class_names=("MaskGitTransformerTOAST", "MaskGitTransformer"),
            from_public=maskgit_from_public,
            elsewhere=FEATURE_SELECTION,
        ),
        "vqgan": tokenizer(
            VQGAN, VQGANConfig, class_names=("MaskGitVQGAN",), from_public=vqgan_from_public
        ),
        "vq_model": tokenizer(
            VQModel, VQModelConfig, class_names=("VQModel",), from_public=vq_model_from_public
        ),
        "modern_maskgit": transformer(ModernMaskGIT, ModernMaskGITConfig),
        "meissonic": transformer(
            Meissonic,
            MeissonicConfig,
            class_names=("Transformer2DModel",),
            from_public=meissonic_from_public,
        ),
        "image_bert": transformer(ImageBert, ImageBertConfig),
        "uvit": transformer(UViT, UViTConfig),
        "maskgen": transformer(MaskGen, MaskGenConfig),
        "titok": tokenizer(TiTok, TiTokConfig),
        "ta_titok": tokenizer(TATiTok, TATiTokConfig),
        "amused": transformer(
            Amused, AmusedConfig, class_names=("UVit2DModel",), from_public=amused_from_public
        ),
        "halton_maskgit": transformer(HaltonMaskGIT, HaltonMaskGITConfig),
        "maskbit": transformer(MaskBit, MaskBitConfig),
        "maskgit_v1": transformer(MaskGITV1, MaskGITV1Config),
        "clip_text": Architecture(
            "text_encoder",
            ClipText,
            ClipTextConfig,
            ("CLIPTextModelWithProjection",),
            clip_text_from_public,
            ("text_model.embeddings.position_ids",),
            ("text_model.", "text_projection."),
        ),
        "conv_tokenizer": tokenizer(ConvTokenizer, ConvTokenizerConfig),
        "feature_selection": Architecture(
            "self_guidance",
            FeatureSelection,
            FeatureSelectionConfig,
            from_public=feature_selection_from_public,
            within=FEATURE_SELECTION,
        ),
        "token_critic": Architecture("token_critic", TokenCritic, TokenCriticConfig),
        "shortcut": Architecture("shortcut", Shortcut, ShortcutConfig),
    },
)


def by_class_name(class_name: str) -> str:
    """The architecture of a public ``_class_name``.

    Raises:
        CheckpointError: it is unknown.
    """
    names = {c: name for name, row in ARCHITECTURES.items() for c in row.class_names}
    if class_name not in names:
        raise CheckpointError(unknown("_class_name", class_name, names))
    return names[class_name]
