"""Networks beside a model: what some guidances, orders and accelerators need.

They lie in the model's folder under the name of their kind (``self_guidance.safetensors``), or are
named one by one. Each is loaded when it is first asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from torch import nn

from demask.checkpoint.architectures import ARCHITECTURES
from demask.checkpoint.hub import locate
from demask.checkpoint.load import CheckpointError, read_metadata
from demask.registry import Table, unknown
from demask.transformer.protocols import SupportsPredict, SupportsPrompts, supports

AUXILIARY: Table[str] = Table(
    "auxiliary network",
    {
        "self_guidance": "train its module with 'demask train self-guidance'",
        "token_critic": "train one with 'demask train token-critic'",
        "shortcut": "train one with 'demask train shortcut'",
        "weaker": "name a transformer checkpoint: an earlier one, or a smaller one",
    },
)
"""The kinds of auxiliary networks, with a sentence that says how to get one."""


@dataclass(frozen=True)
class AuxiliaryNetworks:
    """The networks beside one model.

    Attributes:
        model: its name, for messages.
        files: kind -> checkpoint.
        read: loads one for the model; raises a ValueError where it belongs to another.
        loaded: those asked for so far.
    """

    model: str = "this model"
    files: Mapping[str, Path] = field(default_factory=dict)
    read: Callable[[str, Path], nn.Module] | None = None
    loaded: dict[str, nn.Module] = field(default_factory=dict)

    def get(self, kind: str) -> nn.Module:
        """The network of a kind.

        Raises:
            ValueError: the model has none, or its file is broken or made for another model.
        """
        if kind not in self.loaded:
            if kind not in self.files or self.read is None:
                raise ValueError(
                    f"{self.model} has no {kind} network: {AUXILIARY[kind]}, and name its file "
                    "(--aux PATH) or put it into the model's folder"
                )
            self.loaded[kind] = self.read(kind, self.files[kind])
        return self.loaded[kind]


def find_auxiliary(folder: Path, paths: Sequence[str]) -> dict[str, Path]:
    """The files beside a model, by kind.

    Args:
        folder: of the model; its files are called after their kinds.
        paths: checkpoints that go before those.

    Raises:
        ValueError: one that cannot be read, or is no auxiliary network.
    """
    files = {kind: folder / f"{kind}.safetensors" for kind in AUXILIARY}
    files = {kind: path for kind, path in files.items() if path.is_file()}
    for name in paths:
        path = locate(name)
        files[kind_of(path)] = path
    return files


def kind_of(path: Path) -> str:
    """Which kind of auxiliary network a checkpoint is, as its metadata says.

    Raises:
        ValueError: it is none.
    """
    name = str(read_metadata(path).get("architecture"))
    part: str = ARCHITECTURES[name].part if name in ARCHITECTURES else name
    kind = "weaker" if part == "transformer" else part
    if kind not in AUXILIARY:
        raise CheckpointError(f"{path}: {unknown('auxiliary network', kind, AUXILIARY)}")
    return kind


def check_auxiliary(
    path: Path, network: nn.Module, transformer: nn.Module, fingerprint: Callable[[], str]
) -> None:
    """Refuse a network that was made for another model.

    Args:
        path: of the network.
        network: a weaker transformer has to know the same codes; any other kind says in its
            metadata, under ``base``, which model it was trained beside.
        transformer: the model.
        fingerprint: of the model.

    Raises:
        ValueError: it does not belong to the model.
    """
    if supports(network, SupportsPredict):
        for theirs, ours in zip(*(what_it_knows(n) for n in (network, transformer)), strict=True):
            if theirs != ours:
                own = ours.partition(" ")[2]
                raise CheckpointError(
                    f"{path}: {theirs}, the model {own}: they do not belong together"
                )
        return
    made_for = read_metadata(path).get("base")
    if made_for is not None and made_for != fingerprint():
        raise CheckpointError(
            f"{path}: was trained beside another model ({made_for}), not this one "
            f"({fingerprint()}): its numbers mean nothing here"
        )


def what_it_knows(transformer: nn.Module) -> tuple[str, ...]:
    """What two transformers must share to look at the same tokens, in words."""
    network = cast(Any, transformer)
    codes = f"knows {network.codebook_size} codes and the mask {network.mask_id}"
    if supports(transformer, SupportsPrompts):
        return "reads prompts", codes
    return "reads classes", codes, f"knows {network.config.num_classes} classes"
