"""The self-guidance authors' files: a base MaskGIT and its feature selection in one.

The zips for 256 and 512 pixels, or such a directory unpacked: ``config.json`` and
``pytorch_model.bin``. The base's keys are ours already; the feature selection's are told by their
prefixes and written apart.
"""

from __future__ import annotations

from typing import Any

from demask.checkpoint.architectures import FEATURE_SELECTION, maskgit_from_public
from demask.checkpoint.convert.converted import Converted
from demask.checkpoint.load import compare, split
from demask.checkpoint.read import Description, Tensors
from demask.transformer.maskgit import MaskGITConfig

CLASS_NAME = "MaskGitTransformerTOAST"


def networks(tensors: Tensors, public: Description) -> list[Converted]:
    """Split the base from the feature selection.

    Raises:
        CheckpointError: the feature selection's tensors do not fit the base's sizes.
    """
    config = maskgit_from_public(public)
    base, selection = split(tensors, FEATURE_SELECTION)
    sizes: dict[str, Any] = {
        "width": config.width,
        "depth": config.depth,
        "num_classes": config.num_classes,
        "factors": public.get("tg_factor", 16),
    }
    compare(feature_selection_shapes(config, sizes["factors"]), selection)
    return [
        Converted("maskgit", config, base),
        Converted("feature_selection", sizes, selection),
    ]


def feature_selection_shapes(config: MaskGITConfig, factors: int) -> dict[str, tuple[int, ...]]:
    """Every key of the feature selection of a base, and its shape."""
    width = config.width
    shapes: dict[str, tuple[int, ...]] = {
        "top_down_transform": (width, width),
        "cls_anchor_gen.mlp_p.weight": (1, factors * width),
        "cls_anchor_gen.mlp_c.weight": (config.num_classes, factors * width),
        "cls_anchor_gen.mlp_f.weight": (1, factors),
        "cls_anchor_gen.mlp_t.weight": (width, width),
        "cls_anchor_gen.mlp_t.bias": (width,),
        "cls_anchor_gen.layer_norm.weight": (width,),
        "cls_anchor_gen.layer_norm.bias": (width,),
    }
    for index in range(config.depth):
        for name in ("linear", "linear2"):
            shapes[f"decoders.{index}.{name}.weight"] = (width, width)
    return shapes
