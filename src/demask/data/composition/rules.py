"""Which changes of a drawing keep its meaning: rules on the words of the concept's name.

``rules.toml`` lists the words.
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
    """All words of these lists of ``rules.toml``."""
    text = files("demask.data.composition").joinpath("rules.toml").read_text(encoding="utf-8")
    table = tomllib.loads(text)
    return frozenset(word for name in lists for word in table[name].split())


def words(name: str) -> set[str]:
    """The words of a name, in lower case."""
    return set(re.split(r"[\s,()]+", name.casefold()))


def people(concepts: Iterable[tuple[str, bool]]) -> frozenset[str]:
    """The names of people and hands: the names of the variants without their skin tone.

    Args:
        concepts: each concept's name, and whether it is a variant (of a skin tone).
    """
    found = set()
    for name, variant in concepts:
        if variant:
            found.add(re.sub(r" (?:(?:medium )?(?:light|dark)|medium) skin tone.*", "", name))
    return frozenset(found)


def recolors(name: str) -> bool:
    """Whether a concept may have any colour; people, faces, flags, signs and landscapes may not."""
    if COLOR_WORD.search(name.split()[-1]):  # "leafy green", where the colour is the noun
        return False
    return not words(name) & listed("people", "flags", "signs", "scenes")


def mirrors(name: str) -> bool:
    """Whether the mirror image shows the same concept.

    It does not for text, arrows, clocks, flags, hands, and names that contain a direction.
    """
    return not words(name) & listed("directed", "flags", "signs", "hands")


def tilts(name: str) -> bool:
    """Whether a drawing that is turned by a few degrees shows the same concept."""
    return not words(name) & listed("upright")
