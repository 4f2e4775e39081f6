from __future__ import annotations

from pathlib import Path

import pytest

from demask.data import open_images
from demask.data.image_folder import ImageFolder

Captions = list[tuple[str, ...]]


@pytest.fixture
def root(tmp_path: Path, encode: object) -> Path:
    """A folder of the images a.png and b/c.d.jpg."""
    (tmp_path / "x/b").mkdir(parents=True)
    (tmp_path / "x/a.png").write_bytes(encode())
    (tmp_path / "x/b/c.d.jpg").write_bytes(encode(kind="JPEG"))
    return tmp_path


def read(root: Path, columns: list[str] | None = None) -> Captions:
    images = open_images(root, caption_columns=columns)
    return [images[i].captions for i in range(len(images))]


def test_text_files_beside_the_images(root: Path) -> None:
    (root / "x/a.txt").write_text("a dog\n\n  a hound \r\n", encoding="utf-8-sig")
    (root / "x/b/c.d.txt").write_text("ein Schiff für dich", encoding="utf-8")
    assert read(root) == [("a dog", "a hound"), ("ein Schiff für dich",)]
    assert read(root, []) == [(), ()]
    assert ImageFolder(root).class_names == ("x",)


def test_texts_that_belong_to_no_image(root: Path) -> None:
    (root / "readme.txt").write_text("hello")
    assert read(root) == [(), ()], "no text belongs to an image, so there are no captions"
    (root / "x/a.txt").write_text("a dog")
    (root / "x/b/c.d.txt").write_text("a ship")
    with pytest.raises(ValueError, match="readme.txt has no image beside it$"):
        read(root)


def test_every_image_has_a_caption_or_none_has(root: Path) -> None:
    (root / "x/a.txt").write_text("\n")
    assert read(root) == [(), ()]
    (root / "x/b/c.d.txt").write_text("a ship")
    with pytest.raises(ValueError, match="1 of 2 images have no caption: x/a.png$"):
        read(root)


def test_a_csv_table(root: Path) -> None:
    table = root / "metadata.csv"
    table.write_text(
        ',file_name,text,aliases\n0,x/a.png,"a dog, sitting",dog\n'
        "1,./x/b/c.d.jpg,a ship,\n2,x/a.png,a hound,\n"
    )
    assert read(root) == [("a dog, sitting", "dog", "a hound"), ("a ship",)]
    assert read(root, ["text"]) == [("a dog, sitting", "a hound"), ("a ship",)]
    with pytest.raises(ValueError, match="metadata.csv has no column 'title'; it has: "):
        read(root, ["title"])
    table.write_text("file_name,text\nx/a.png,a dog, sitting\n")
    with pytest.raises(ValueError, match="csv, line 2: more cells than columns; quote texts"):
        read(root)


def test_a_jsonl_table(root: Path) -> None:
    table = root / "metadata.jsonl"
    first = '{"file_name": "x/a.png", "captions": ["a dog", "a hound"], "text": "x"}\n\n'
    table.write_text(first + '{"file_name": "x/b/c.d.jpg", "captions": "a ship"}')
    assert read(root) == [("a dog", "a hound"), ("a ship",)]
    for line, message in (
        ("[]", "line 3 is no JSON object"),
        ("{", "line 3 is no JSON "),
        ('{"file_name": "x/b/c.d.jpg", "captions": 7}', "a caption must be text, not int: 7"),
        ('{"file_name": "x/b/e.jpg", "captions": "a"}', "line 3: there is no image 'x/b/e.jpg'"),
        ('{"captions": "a"}', "line 3: there is no image ''"),
        ("", "1 of 2 images have no caption: x/b/c.d.jpg"),
    ):
        table.write_text(first + line)
        with pytest.raises(ValueError, match=message):
            read(root)


def test_tables_that_can_not_be_used(root: Path) -> None:
    table = root / "metadata.csv"
    table.write_text("name,text\nx/a.png,a dog\n")
    with pytest.raises(ValueError, match="metadata.csv has no column 'file_name'; it has: name, t"):
        read(root)
    table.write_text("file_name,label\nx/a.png,3\n")
    with pytest.raises(ValueError, match=r"no caption column \('caption', 'captions', 'text'\); i"):
        read(root)
    assert read(root, []) == [(), ()]
    table.write_bytes(b"file_name,text\nx/a.png,\xff\n")
    with pytest.raises(ValueError, match="metadata.csv is no readable UTF-8 text"):
        read(root)
    (root / "metadata.jsonl").write_text("")
    with pytest.raises(ValueError, match="holds metadata.csv and metadata.jsonl; remove one"):
        read(root)


def test_columns_without_a_table(root: Path) -> None:
    with pytest.raises(ValueError, match="no metadata.csv or metadata.jsonl with the columns 'a'"):
        read(root, ["a"])


def test_other_captions_make_other_images(root: Path) -> None:
    bare = ImageFolder(root).fingerprint
    (root / "x/a.txt").write_text("a dog")
    (root / "x/b/c.d.txt").write_text("a ship")
    before = ImageFolder(root).fingerprint
    (root / "x/a.txt").write_text("a cat")
    assert len({bare, before, ImageFolder(root).fingerprint}) == 3
    assert ImageFolder(root, caption_columns=[]).fingerprint == bare


def test_scores_stand_in_the_table(root: Path) -> None:
    table = root / "metadata.csv"
    table.write_text(
        "file_name,text,score\nx/a.png,a dog,6.5\nx/b/c.d.jpg,a ship,\nx/a.png,a hound,\n"
    )
    folder = ImageFolder(root)
    assert [folder[i].score for i in range(2)] == [6.5, None]
    assert folder[0].captions == ("a dog", "a hound")
    before = folder.fingerprint
    table.write_text("file_name,text,score\nx/a.png,a dog,0\nx/b/c.d.jpg,a ship,7\n")
    assert ImageFolder(root).scores == [0.0, 7.0]
    assert ImageFolder(root).fingerprint != before
    table.write_text("file_name,text,score\nx/a.png,a dog,best\nx/b/c.d.jpg,a ship,7\n")
    with pytest.raises(ValueError, match="metadata.csv: a score must be a number, not 'best'"):
        ImageFolder(root)


def test_an_unscored_table_makes_the_same_images_as_one_without_the_column(root: Path) -> None:
    table = root / "metadata.csv"
    table.write_text("file_name,text\nx/a.png,a dog\nx/b/c.d.jpg,a ship\n")
    before = ImageFolder(root).fingerprint
    table.write_text("file_name,text,score\nx/a.png,a dog,\nx/b/c.d.jpg,a ship,\n")
    assert ImageFolder(root).fingerprint == before
