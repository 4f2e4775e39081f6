"""The self-guidance authors' files: a base MaskGIT and its feature selection in one.

The zips for 256 and 512 pixels, or such a directory unpacked: ``config.json`` and
``pytorch_model.bin``. The base's keys equal ours; the feature selection's are recognised by their
prefixes and written to a separate file.
"""

from __future__ import annotations

from demask.checkpoint.architectures import (
    ARCHITECTURES,
    FEATURE_SELECTION,
    feature_selection_from_public,
    maskgit_from_public,
)
from demask.checkpoint.convert.converted import Converted
from demask.checkpoint.identify import split
from demask.checkpoint.load import build
from demask.checkpoint.lora import base_fingerprint
from demask.checkpoint.read import Description, Tensors

CLASS_NAME = "MaskGitTransformerTOAST"


def networks(tensors: Tensors, public: Description) -> list[Converted]:
    """Split the base and the feature selection; the latter stores the fingerprint of its base.

    Raises:
        CheckpointError: the tensors do not match the configuration.
    """
    base, selection = split(tensors, FEATURE_SELECTION)
    config, sizes = maskgit_from_public(public), feature_selection_from_public(public)
    build(ARCHITECTURES["feature_selection"], sizes, selection)
    made_for = base_fingerprint(build(ARCHITECTURES["maskgit"], config, base))
    return [
        Converted("maskgit", config, base),
        Converted("feature_selection", sizes, selection, {"base": made_for}),
    ]
