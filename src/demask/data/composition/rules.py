"""What may be done to a drawing of a concept without making it another thing.

The rules read the concept's name, and know the words of ``rules.toml``.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from functools import cache
from importlib.resources import files

from demask.data.composition.colors import COLOR_WORD


@cache
def listed(*lists: str) -> frozenset[str]:
    """All words of some lists of ``rules.toml``."""
    text = files("demask.data.composition").joinpath("rules.toml").read_text(encoding="utf-8")
    table = tomllib.loads(text)
    return frozenset(word for name in lists for word in table[name].split())


def words(name: str) -> set[str]:
    """The words of a name, in lower case."""
    return set(re.split(r"[\s,()]+", name.casefold()))


def people(concepts: Iterable[tuple[str, bool]]) -> frozenset[str]:
    """The names of people and hands: those that a variant's name begins with.

    Args:
        concepts: each concept's name, and whether it is a variant (of a skin tone).
    """
    found = set()
    for name, variant in concepts:
        if variant:
            found.add(re.sub(r" (?:(?:medium )?(?:light|dark)|medium) skin tone.*", "", name))
    return frozenset(found)


def recolors(name: str) -> bool:
    """Whether a thing may have any colour: no people, faces, flags, signs or landscapes."""
    if COLOR_WORD.search(name.split()[-1]):  # "leafy green": the colour is the thing
        return False
    return not words(name) & listed("people", "flags", "signs", "scenes")


def mirrors(name: str) -> bool:
    """Whether the mirror image is the same thing.

    It is not for text, arrows, clocks, flags, hands, and whatever has a direction in its name.
    """
    return not words(name) & listed("directed", "flags", "signs", "hands")


def tilts(name: str) -> bool:
    """Whether a thing that is turned by some degrees is the same thing."""
    return not words(name) & listed("upright")
