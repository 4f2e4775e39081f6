"""Captions of scenes, from a requirement and back."""

from __future__ import annotations

import re
from collections.abc import Sequence

from demask.scenes.vocabulary import COLOURS, KINDS, RELATIONS, SHAPES, SIZES, Requirement

COUNTS = {2: ("two", "a pair of"), 3: ("three", "a group of three"), 4: ("four", "a group of four")}
PLURALS = {shape: shape + ("es" if shape == "cross" else "s") for shape in SHAPES}
RELATION_WORDS = {
    "left of": ("left of", "to the left of", "on the left of"),
    "right of": ("right of", "to the right of", "on the right of"),
    "above": ("above", "over", "higher than"),
    "below": ("below", "under", "lower than"),
}


def wordings(requirement: Requirement) -> tuple[str, ...]:
    """The three captions that ask for exactly this requirement."""
    objects = zip(requirement.sizes, requirement.colours, requirement.shapes, strict=True)
    phrases = [" ".join(filter(None, words)) for words in objects]
    tail = with_article(f"{requirement.background} background") if requirement.background else ""
    suffix = f" on {tail}" if tail else ""
    return tuple(text + suffix for text in plain_wordings(requirement, phrases))


def plain_wordings(requirement: Requirement, phrases: Sequence[str]) -> tuple[str, ...]:
    """The captions without the background.

    Args:
        requirement: what they ask for.
        phrases: size, colour and shape of each object in words, without an article.
    """
    if requirement.kind == "counting":
        shape = requirement.shapes[0]
        many = phrases[0].removesuffix(shape) + PLURALS[shape]
        word, group = COUNTS[len(phrases)]
        return f"{word} {many}", f"{group} {many}", f"{len(phrases)} {many}"
    first = phrases[0]
    if len(phrases) == 1:
        return with_article(first), f"one {first}", f"1 {first}"
    second = phrases[1]
    if requirement.relation is not None:
        words = RELATION_WORDS[requirement.relation]
        return tuple(f"{with_article(first)} {word} {with_article(second)}" for word in words)
    both = with_article(first), with_article(second)
    return f"{both[0]} and {both[1]}", f"{both[0]} with {both[1]}", f"one {first} and one {second}"


def with_article(phrase: str) -> str:
    """A phrase with "a" or "an" before it."""
    return f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}"


def any_of(words: Sequence[str]) -> str:
    """A pattern that matches any of the words, longer ones first."""
    return "|".join(map(re.escape, sorted(words, key=len, reverse=True)))


OBJECT = (
    rf"(?:(?P<size>{any_of(SIZES)}) )?(?:(?P<colour>{any_of(COLOURS)}) )?"
    rf"(?P<shape>{any_of(SHAPES)})"
)
PLURAL = OBJECT.replace(any_of(SHAPES), any_of(list(PLURALS.values())))
COUNT_OF = {word: count for count, words in COUNTS.items() for word in (*words, str(count))}
RELATION_OF = {word: name for name, words in RELATION_WORDS.items() for word in words}
BACKGROUND = re.compile(rf"(?P<rest>.*) on an? (?P<background>{any_of(COLOURS)}) background")
ONE = re.compile(rf"(?:an?|one|1) {OBJECT}")
MANY = re.compile(rf"(?P<count>{any_of(list(COUNT_OF))}) {PLURAL}")
LINK = re.compile(rf" (?P<link>and|with|{any_of(list(RELATION_OF))}) (?=an? |one |1 )")

Phrase = tuple[str | None, str | None, str]
"""Size, colour and shape of an object."""


def parse_caption(caption: str) -> Requirement:
    """The requirement of a caption; the inverse of `wordings`.

    Raises:
        ValueError: the text is not one of the captions of scenes.
    """
    text, background = " ".join(caption.lower().split()), None
    if match := BACKGROUND.fullmatch(text):
        text, background = match["rest"], match["background"]
    if match := MANY.fullmatch(text):
        count = COUNT_OF[match["count"]]
        (shape,) = (name for name, plural in PLURALS.items() if plural == match["shape"])
        objects: list[Phrase] = [(match["size"], match["colour"], shape)] * count
        return assemble("counting", objects, None, background)
    link = LINK.search(text)
    parts = [text[: link.start()], text[link.end() :]] if link else [text]
    found = [ONE.fullmatch(part) for part in parts]
    objects = [(m["size"], m["colour"], m["shape"]) for m in found if m]
    if len(objects) < len(parts):
        raise ValueError(
            f"not a caption of a scene: {caption!r}; valid are such as 'a red star', "
            f"'two rings', 'a small star left of a blue ring on a white background'; "
            f"shapes: {', '.join(SHAPES)}; colours: {', '.join(COLOURS)}"
        )
    relation = RELATION_OF.get(link["link"]) if link else None
    return assemble(kind_of(objects, relation), objects, relation, background)


def kind_of(objects: Sequence[Phrase], relation: str | None) -> str:
    """The kind of a caption that names one or two objects."""
    coloured = any(colour is not None for _, colour, _ in objects)
    if relation is not None:
        assert relation in RELATIONS
        return "position"
    if len(objects) == 1:
        return "colors" if coloured else "single_object"
    return "color_attribution" if coloured else "two_objects"


def assemble(
    kind: str, objects: Sequence[Phrase], relation: str | None, background: str | None
) -> Requirement:
    """The requirement that these objects make."""
    assert kind in KINDS
    sizes, colours, shapes = zip(*objects, strict=True)
    return Requirement(kind, shapes, colours, sizes, relation, background)
