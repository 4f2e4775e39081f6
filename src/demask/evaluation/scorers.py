"""Scorers of how well an image fits its prompt, or of human preference, by name.

Shape legend: B batch, C channels, H W rows and columns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from demask import registry
from demask.evaluation.clip import TwoTowers, files_of, padded, read, read_tokenizer
from demask.evaluation.extractors import WEIGHTS, resized
from demask.evaluation.networks import load_pair_scorer
from demask.evaluation.pair_scorer import spell
from demask.fingerprint import file_fingerprint
from demask.registry import Table

PAGE = "docs/methods/preference.md"


class Scorer(Protocol):
    """Images and texts -> a score each; higher is better.

    Attributes:
        name: its name in results.
        fingerprint: hash of everything that the scores depend on.
        notice: a sentence on the interpretation of its scores.
    """

    name: str
    fingerprint: str
    notice: str

    def __call__(self, image_BCHW: Tensor, texts: Sequence[str]) -> Tensor:
        """Images (B, 3, H, W) in [0, 1], of any size, and prompts (B) -> scores (B), float64."""
        ...


class PairJudge:
    """A network of ``demask train scorer``: 100 times the cosine of its two towers.

    Args:
        name: see `Scorer`.
        path: the file of the network.
        notice: see `Scorer`.
        device: the device of the network.

    Raises:
        ValueError: no such file, or it holds no such network.
    """

    def __init__(self, name: str, path: Path, notice: str, device: str = "cpu") -> None:
        self.network = load_pair_scorer(path).to(device)
        self.name, self.notice, self.device = name, notice, torch.device(device)
        self.fingerprint = file_fingerprint(name, files=[path])

    @torch.inference_mode()
    def __call__(self, image_BCHW: Tensor, texts: Sequence[str]) -> Tensor:
        """See `Scorer`."""
        config = self.network.config
        shown_BCHW = resized(image_BCHW.to(self.device), config.size)
        image_BD = self.network.picture(shown_BCHW)
        text_BD = self.network.text(spell(texts, config).to(self.device))
        return 100 * (image_BD.double() * text_BD.double()).sum(-1).cpu()


class ClipJudge:
    """CLIP's cosine of image and text features, scaled, as a score.

    Args:
        name: see `Scorer`.
        towers: the model.
        files: the files of the model.
        notice: see `Scorer`.
        factor: the factor of the cosine.
        floor: lower bound of the cosine.
    """

    def __init__(
        self,
        name: str,
        towers: TwoTowers,
        files: Sequence[Path],
        notice: str,
        factor: float = 100.0,
        floor: float = -1.0,
    ) -> None:
        self.name, self.towers, self.notice = name, towers, notice
        self.factor, self.floor = factor, floor
        self.fingerprint = file_fingerprint(name.partition(":")[0], factor, floor, files=files)

    def __call__(self, image_BCHW: Tensor, texts: Sequence[str]) -> Tensor:
        """See `Scorer`."""
        image_BD, text_BD = self.towers.images(image_BCHW), self.towers.texts(texts)
        cosine_B = F.cosine_similarity(image_BD.double(), text_BD.double(), dim=-1)
        return self.factor * cosine_B.clamp_min(self.floor)


def emoji_pairs(weights: str = "", *, device: str = "cpu") -> Scorer:
    """The shipped network for emoji; ``weights`` names another file of its kind."""
    path = Path(weights).expanduser() if weights else WEIGHTS / "emoji_pairs" / "scorer.safetensors"
    if weights:
        notice = "a small network of 'demask train scorer', not trained on human preferences"
        return PairJudge(f"emoji_pairs:{path.parent.name}", path, notice, device)
    notice = "Demask's small network of emoji and their names, not trained on human preferences"
    return PairJudge("emoji_pairs", path, notice, device)


def clip_score(folder: str, tokenizer: str = "", *, device: str = "cpu") -> Scorer:
    """CLIPScore (arXiv 2104.08718) from a folder in the layout of Hugging Face."""
    path = Path(folder).expanduser()
    towers = TwoTowers(*read(path, elsewhere(tokenizer)), device)
    notice = "100 times the cosine of CLIP's features, at least 0; it rates the prompt, not beauty"
    name = f"clip_score:{path.resolve().name}"
    return ClipJudge(name, towers, files_of(path), notice, floor=0.0)


def pick_score(folder: str, tokenizer: str = "", *, device: str = "cpu") -> Scorer:
    """PickScore (arXiv 2305.01569, section 4) from a folder in the layout of Hugging Face."""
    path = Path(folder).expanduser()
    towers = TwoTowers(*read(path, elsewhere(tokenizer)), device)
    factor = float(towers.model.logit_scale.detach().exp())
    notice = "trained on people's choices between two images of their own prompts"
    return ClipJudge("pick_score", towers, files_of(path), notice, factor)


def hps_v2(weights: str, tokenizer: str, *, device: str = "cpu") -> Scorer:
    """HPSv2 (arXiv 2306.09341, section 4) from its public file and a folder of CLIP's tokenizer."""
    from demask.evaluation.open_clip import build

    path, words = Path(weights).expanduser(), read_tokenizer(Path(tokenizer).expanduser())
    towers = TwoTowers(build(path, words), words, device, padded)
    notice = "trained on people's rankings of images of one prompt; 100 times the cosine"
    return ClipJudge("hps_v2", towers, [path], notice)


def elsewhere(folder: str) -> Path | None:
    """The folder of a tokenizer; None if the text is empty."""
    return Path(folder).expanduser() if folder else None


SCORERS: Table[Callable[..., Scorer]] = Table(
    "scorer",
    {
        "emoji_pairs": emoji_pairs,
        "clip_score": clip_score,
        "pick_score": pick_score,
        "hps_v2": hps_v2,
    },
)


def load_scorer(text: str, device: str = "cpu") -> Scorer:
    """The scorer that a text names: ``emoji_pairs``, ``hps_v2:weights=PATH,tokenizer=PATH``, ...

    Args:
        text: a row of `SCORERS`, with its options after a colon.
        device: the device of its network.

    Raises:
        ValueError: an unknown name or option, or a file that is missing or broken.
    """
    try:
        return registry.build(SCORERS, text, device=device)
    except registry.MissingOptionError as error:
        raise ValueError(f"{error}; {PAGE} says where to get the files") from None
