"""Words -> text tokens -> states; and the numbers beside them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from demask.transformer.condition import (
    END,
    START,
    TextEncoder,
    TextTokenizer,
    encode_micro_conditions,
    load_text_tokenizer,
    train_text_tokenizer,
)
from tiny import tiny_text_encoder

TEXTS = [
    "",
    "the red apple",
    "The  RED\t\n apple ",
    "don't I'M we'll they've he'd it's you're",
    "naïve café ÜNÏCÖDÉ straße",
    "cafe\u0301 decomposed",
    "日本語 русский العربية",
    "🍎 emoji 👩🏽‍🚀!",
    "x1234y 3.14% 1,000",
    'a-b_c... ??? !!! (e), [f]; "g"',
    "ﬁ ligature ½ ² ™",
    "ends with'",
    "line one\r\nline two",
    "an apple " * 40,
]
LEARNED = ["a red apple", "a green apple", "the blue heart of an apple", "don't", "café 🍎"] * 5


@pytest.fixture(scope="module")
def tokenizer() -> TextTokenizer:
    """A vocabulary of 30 merges or less."""
    return train_text_tokenizer(LEARNED, 540, 77)


def test_a_text_has_a_start_an_end_and_padding(tokenizer: TextTokenizer) -> None:
    ids_BT = tokenizer.ids(["a red apple", ""])
    assert ids_BT.dtype == torch.int64
    assert ids_BT.shape == (2, 77)
    assert ids_BT[:, 0].tolist() == [tokenizer.start_id] * 2
    assert ids_BT[1, 1:].tolist() == [tokenizer.end_id] * 76
    inside = ids_BT[0, 1 : ids_BT[0].tolist().index(tokenizer.end_id)]
    assert tokenizer.encoding.decode(inside.tolist()).replace("</w>", " ").split() == [
        "a",
        "red",
        "apple",
    ]
    assert (ids_BT[0, len(inside) + 1 :] == tokenizer.end_id).all()


def test_case_and_spaces_do_not_matter(tokenizer: TextTokenizer) -> None:
    plain, odd = tokenizer.ids(["a red apple", "  A\n\tRed   APPLE "])
    assert torch.equal(plain, odd)
    assert not torch.equal(*tokenizer.ids(["red apple", "apple red"]))


def test_any_text_has_tokens(tokenizer: TextTokenizer) -> None:
    """All bytes are in a learned vocabulary, so that nothing is unknown."""
    for text in TEXTS:
        ids = tokenizer.encoding.encode(text).ids
        assert tokenizer.end_id not in ids
        assert tokenizer.start_id not in ids


@pytest.mark.filterwarnings("ignore")
def test_the_tokens_are_those_of_transformers(
    tokenizer: TextTokenizer, golden: Path, tmp_path: Path
) -> None:
    transformers = pytest.importorskip("transformers")
    tokenizer.save(tmp_path)
    for folder in (tmp_path, golden / "meissonic" / "tokenizer"):
        theirs = transformers.CLIPTokenizer.from_pretrained(folder)
        options = {"padding": "max_length", "truncation": True, "max_length": 77}
        expected = theirs(TEXTS, **options)["input_ids"]
        assert load_text_tokenizer(folder).ids(TEXTS).tolist() == expected


def test_a_vocabulary_comes_back(tokenizer: TextTokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path)
    again = load_text_tokenizer(tmp_path)
    assert (again.length, again.pad, again.start_id) == (77, END, tokenizer.start_id)
    assert torch.equal(again.ids(TEXTS), tokenizer.ids(TEXTS))
    assert not list(tmp_path.glob(".*"))


def test_what_is_said_often_is_one_token(tokenizer: TextTokenizer) -> None:
    assert len(tokenizer.encoding.encode("apple").ids) == 1
    assert len(tokenizer.encoding.encode("zebra").ids) == 5


def test_a_short_length_comes_back(tmp_path: Path) -> None:
    train_text_tokenizer(LEARNED, 520, 8).save(tmp_path)
    assert load_text_tokenizer(tmp_path).length == 8


def test_another_padding(tokenizer: TextTokenizer, tmp_path: Path) -> None:
    """Some public encoders fill up with another mark, which may be described at length."""
    tokenizer.save(tmp_path)
    config = tmp_path / "tokenizer_config.json"
    facts = json.loads(config.read_text())
    for pad in ("!", {"content": "!", "special": True}):
        config.write_text(json.dumps({**facts, "pad_token": pad, "model_max_length": 10**30}))
        found = load_text_tokenizer(tmp_path)
        ids_BT = found.ids([""])
        assert ids_BT.shape == (1, 77)
        assert ids_BT[0, :2].tolist() == [found.start_id, found.end_id]
        assert ids_BT[0, 2:].tolist() == [found.encoding.token_to_id("!")] * 75


def test_vocabularies_that_can_not_be_used(tokenizer: TextTokenizer, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no readable vocab.json and merges.txt") as error:
        load_text_tokenizer(tmp_path)
    assert "\n" not in str(error.value)
    tokenizer.save(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text("{")
    with pytest.raises(ValueError, match="tokenizer_config.json is no JSON"):
        load_text_tokenizer(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text('{"pad_token": "[pad]"}')
    with pytest.raises(ValueError, match=r"the text vocabulary has no '\[pad\]'"):
        load_text_tokenizer(tmp_path)
    entries = json.loads((tmp_path / "vocab.json").read_text())
    del entries[START]
    (tmp_path / "vocab.json").write_text(json.dumps(entries))
    (tmp_path / "tokenizer_config.json").unlink()
    with pytest.raises(ValueError, match=r"the text vocabulary has no '<\|startoftext\|>'"):
        load_text_tokenizer(tmp_path)


def test_what_is_cut_off_is_said(caplog: pytest.LogCaptureFixture) -> None:
    tokenizer = train_text_tokenizer(LEARNED, 600, 6)  # room for four
    short, long = tokenizer.ids(["a red apple", "a red apple of Heart and Stone"], warn=True)
    assert len(caplog.records) == 1
    assert "text tokens, of which 4 fit; cut off: '" in caplog.text
    lost = caplog.records[0].getMessage().partition("cut off: '")[2].rstrip("'")
    assert lost
    assert "a red apple of Heart and Stone".endswith(lost)
    assert int(long[-1]) == tokenizer.end_id
    assert torch.equal(long[:4], short[:4])
    tokenizer.ids(["a red apple of Heart and Stone"])
    assert len(caplog.records) == 1, "captions in training are cut without a word"


def test_a_text_that_just_fits_is_not_cut(caplog: pytest.LogCaptureFixture) -> None:
    tokenizer = train_text_tokenizer(LEARNED, 600, 5)
    ids_BT = tokenizer.ids(["a red apple"], warn=True)
    assert caplog.records == []
    assert ids_BT[0, -1] == tokenizer.end_id


class Counting(torch.nn.Module):
    """A text network that remembers what it read."""

    def __init__(self, inner: torch.nn.Module) -> None:
        super().__init__()
        self.inner, self.text_projection = inner, inner.text_projection
        self.read: list[int] = []

    def readings(self, ids_BT: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        self.read.append(len(ids_BT))
        return self.inner.readings(ids_BT)


def test_equal_texts_are_read_once() -> None:
    plain = tiny_text_encoder()
    counting = Counting(plain.model)
    encoder = TextEncoder(plain.tokenizer, counting)
    texts = ["red apple", "", "red apple", "blue heart", ""]
    found = encoder.encode(texts)
    assert counting.read == [3]
    assert found["states"].shape == (5, 6, 16)
    assert found["pooled"].shape == (5, 16)
    for index, text in enumerate(texts):
        alone = plain.encode([text])
        for name, rows in found.items():
            assert torch.allclose(rows[index], alone[name][0], atol=1e-6)
    assert not torch.allclose(found["pooled"][0], found["pooled"][3], atol=1e-4)


def test_a_long_prompt_is_reported_once(caplog: pytest.LogCaptureFixture) -> None:
    tiny_text_encoder().encode(["red apple green apple blue heart red apple"] * 3)
    assert len(caplog.records) == 1


def test_micro_conditions() -> None:
    assert encode_micro_conditions(32, 64).tolist() == [[64, 32, 0, 0, 6]]
    told = encode_micro_conditions(32, 64, " score = 6.5, crop_top=20,height=1024")
    assert told.tolist() == [[64, 1024, 20, 0, 6.5]]
    assert told.dtype == torch.float32


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("scroe=6", "unknown micro-condition 'scroe'; did you mean 'score'.*width, height, crop_t"),
        ("6", "unknown micro-condition '6'"),
        ("score=high", "cannot read 'score=high'; write score=6"),
        ("score=", "cannot read 'score='"),
        ("score", "cannot read 'score'"),
        ("score=nan", "finite"),
        ("width=inf", "finite"),
    ],
)
def test_micro_conditions_that_make_no_sense(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        encode_micro_conditions(8, 8, text)
    assert "\n" not in str(error.value)
