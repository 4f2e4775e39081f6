"""Text conditions: tokenizer, text encoder and micro-conditions.

Shape legend: B batch, T text tokens, D width, P pooled width.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer
from torch import Tensor

from demask.files import write_text
from demask.registry import unknown
from demask.transformer.clip_text import ClipText
from demask.types import DECODER_TEXT, MICRO_CONDITIONS, USUAL_SCORE

log = logging.getLogger(__name__)

START, END = "<|startoftext|>", "<|endoftext|>"
PATTERN = (
    r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
)
WORD_END = "</w>"


class TextTokenizer:
    """Texts <-> text tokens, by CLIP's byte-pair encoding (arXiv 2103.00020, section 2.4).

    Args:
        encoding: the vocabulary and its merges.
        length: tokens of every text, start and end included.
        pad: the padding token; CLIP uses the end token.

    Raises:
        ValueError: the vocabulary lacks the start, end or padding token.
    """

    def __init__(self, encoding: Tokenizer, length: int = 77, pad: str = END) -> None:
        self.encoding, self.length, self.pad = encoding, length, pad
        self.start_id, self.end_id, self.pad_id = map(self.id_of, (START, END, pad))

    def id_of(self, mark: str) -> int:
        """The id of a special token."""
        found = self.encoding.token_to_id(mark)
        if found is None:
            raise ValueError(f"the text vocabulary has no '{mark}'")
        return found

    def ids(self, texts: Sequence[str], warn: bool = False) -> Tensor:
        """Text tokens (B, T), int64; long texts are truncated, optionally with a warning."""
        rows = []
        for text, found in zip(texts, self.encoding.encode_batch(list(texts)), strict=True):
            room = self.length - 2
            if warn and len(found.ids) > room:
                cut = text[found.offsets[room][0] :] if found.offsets[room][1] else ""
                log.warning(
                    "the prompt has %d text tokens, of which %d fit; cut off: '%s'",
                    len(found.ids),
                    room,
                    cut or self.encoding.decode(found.ids[room:]),
                )
            row = [self.start_id, *found.ids[:room], self.end_id]
            rows.append(row + [self.pad_id] * (self.length - len(row)))
        return torch.tensor(rows)

    def save(self, folder: Path) -> None:
        """Write ``vocab.json``, ``merges.txt`` and ``tokenizer_config.json``, in CLIP's format."""
        model = json.loads(self.encoding.to_str())["model"]
        merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in model["merges"]]
        facts = {
            "tokenizer_class": "CLIPTokenizer",
            "model_max_length": self.length,
            "bos_token": START,
            "eos_token": END,
            "unk_token": END,
            "pad_token": self.pad,
        }
        files = {
            "vocab.json": json.dumps(model["vocab"], ensure_ascii=False),
            "merges.txt": "\n".join(["#version: 0.2", *merges, ""]),
            "tokenizer_config.json": json.dumps(facts, indent=1),
        }
        for name, text in files.items():
            write_text(folder / name, text)


def byte_pairs(model: BPE) -> Tokenizer:
    """CLIP's pipeline: lower case, split into words, bytes, merges."""
    encoding = Tokenizer(model)
    encoding.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    encoding.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PATTERN), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    encoding.decoder = decoders.ByteLevel()
    return encoding


def load_text_tokenizer(folder: Path) -> TextTokenizer:
    """Open ``vocab.json`` and ``merges.txt`` of a folder.

    Raises:
        ValueError: a file is missing or broken.
    """
    try:
        vocabulary, merges = (str(folder / name) for name in ("vocab.json", "merges.txt"))
        model = BPE.from_file(
            vocabulary, merges, end_of_word_suffix=WORD_END, unk_token=END, fuse_unk=False
        )
    except Exception as error:  # the library raises plain Exception
        raise ValueError(f"{folder}: no readable vocab.json and merges.txt ({error})") from None
    config = folder / "tokenizer_config.json"
    try:
        facts = json.loads(config.read_text(encoding="utf-8")) if config.is_file() else {}
    except ValueError as error:
        raise ValueError(f"{config} is no JSON ({error})") from None
    pad = facts.get("pad_token", END)
    pad = pad["content"] if isinstance(pad, dict) else pad
    return TextTokenizer(byte_pairs(model), min(int(facts.get("model_max_length", 77)), 77), pad)


def train_text_tokenizer(texts: Iterable[str], vocabulary: int, length: int) -> TextTokenizer:
    """Learn a vocabulary from texts.

    Args:
        texts: the texts.
        vocabulary: maximum number of entries without the start and end tokens; at least 512, one
            for each byte inside and at the end of a word.
        length: text tokens per text.
    """
    encoding = byte_pairs(BPE(unk_token=END, end_of_word_suffix=WORD_END))
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[*alphabet, *(letter + WORD_END for letter in alphabet)],
        end_of_word_suffix=WORD_END,
        show_progress=False,
    )
    encoding.train_from_iterator(texts, trainer)
    learned = json.loads(encoding.to_str())["model"]
    entries = {**learned["vocab"]}
    entries |= {mark: len(entries) + n for n, mark in enumerate((START, END))}
    pairs = (m.split(" ") if isinstance(m, str) else m for m in learned["merges"])
    merges: list[tuple[str, str]] = [(first, second) for first, second in pairs]
    model = BPE(entries, merges, end_of_word_suffix=WORD_END, unk_token=END, fuse_unk=False)
    return TextTokenizer(byte_pairs(model), length)


@dataclass(frozen=True)
class PromptReading:
    """How a model reads prompts, where it differs from Meissonic.

    Attributes:
        pad_id: the text token that prompts are padded with; None: that of the text tokenizer.
        score: the preference score that is used if a request gives none.
        micro_conditions: the names of those that the model has as inputs.
    """

    pad_id: int | None = None
    score: float = USUAL_SCORE
    micro_conditions: tuple[str, ...] = MICRO_CONDITIONS


def encode_micro_conditions(
    height: int, width: int, text: str = "", reading: PromptReading | None = None
) -> Tensor:
    """The tensor ``micro`` of a condition, (1, 5).

    Args:
        height: of the image, in pixels.
        width: of the image.
        text: values that differ from the defaults, such as ``score=6.5,crop_top=20``.
        reading: of the model; by default Meissonic's.

    Raises:
        ValueError: a name that is unknown or no input of the model, or a value that is not finite.
    """
    reading = reading or PromptReading()
    values = dict(zip(MICRO_CONDITIONS, (width, height, 0, 0, reading.score), strict=True))
    for pair in filter(None, text.split(",")):
        name, _, value = (part.strip() for part in pair.partition("="))
        if name not in reading.micro_conditions:
            raise ValueError(unknown("micro-condition", name, reading.micro_conditions))
        try:
            values[name] = float(value)
        except ValueError:
            raise ValueError(f"cannot read '{pair}'; write {name}=6") from None
        if not math.isfinite(values[name]):
            raise ValueError(f"the micro-condition {name} must be finite, not {value}")
    return torch.tensor([list(values.values())], dtype=torch.float32)


@dataclass(frozen=True)
class TextEncoder:
    """A text tokenizer and a text model.

    Attributes:
        tokenizer: texts to text tokens.
        model: text tokens to states.
        for_decoder: also encode what the decoder of an image tokenizer reads.
    """

    tokenizer: TextTokenizer
    model: ClipText
    for_decoder: bool = False

    @torch.inference_mode()
    def encode(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """``states`` (B, T, D) and ``pooled`` (B, P); equal texts are encoded once.

        With ``for_decoder``, ``decoder_text`` (B, T, D), the normed states of the last layer.
        """
        different = list(dict.fromkeys(texts))
        device = self.model.text_projection.weight.device
        states, pooled, last = self.model.readings(
            self.tokenizer.ids(different, warn=True).to(device)
        )
        index = torch.tensor([different.index(text) for text in texts], device=device)
        decoder = {DECODER_TEXT: last[index]} if self.for_decoder else {}
        return {"states": states[index], "pooled": pooled[index], **decoder}
