"""The distribution of scenes and captions, in closed form.

A sample is drawn in this order, each step independent of what is not named in it:

1. the kind of the caption, uniform over the six;
2. whether the caption names the background (probability 1/2), the sizes (1/4), and, for the kinds
   counting and position, the colours (1/2); colors and color_attribution name the colours always;
3. the shapes, uniform over the combinations that the kind has: two different shapes in ordered
   pairs, a count of 2 to 4 with one shape, a relation uniform over the four;
4. if the caption names the background: its colour, uniform over the ten;
5. the colours of the objects, one after the other, each uniform over the colours that its shape
   may have, without the colour of a named background; objects of a counted group share one colour,
   and where a caption names two colours, the second differs from the first;
6. if the caption does not name the background: its colour, uniform over the colours that no object
   has;
7. the size of each object, small or large with equal probability, one size for a counted group;
   a scene of three or four objects has small ones only;
8. the radius of each object, uniform over the interval of its size; the jitter of each channel,
   uniform over -6 to 6;
9. the centres, jointly uniform over all places where the objects keep the margin to each other and
   to the border and have the named relation: the offset along its axis is at least 14 pixels and
   larger than the offset across it.

So an attribute that a caption leaves open has the distribution of its step, whatever else the
caption names. Random numbers are the raw output of PCG64 seeded with the scene's seed, which numpy
keeps unchanged between versions and platforms.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from demask.scenes.captions import wordings
from demask.scenes.chance import Chance
from demask.scenes.places import free_places
from demask.scenes.vocabulary import (
    COLOURS,
    JITTER,
    KINDS,
    MAX_LARGE,
    MAX_OBJECTS,
    RADII,
    RELATIONS,
    SHAPES,
    SIZES,
    UNSEEN_COUNTS,
    UNSEEN_KINDS,
    UNSEEN_PAIRS,
    UNSEEN_RELATIONS,
    Requirement,
    Scene,
    SceneObject,
    seen_colours,
)

TRAINING_SEED, VALIDATION_SEED, HELD_OUT_SEED = 0, 10**9, 2 * 10**9
"""First seeds of the three disjoint ranges."""

RANGE = 10**9
"""Seeds of one range."""

NAMES_BACKGROUND, NAMES_SIZES, NAMES_COLOURS = 0.5, 0.25, 0.5


@dataclass(frozen=True)
class Sample:
    """A scene, what its caption asks for, and its captions; the first one is the main caption."""

    scene: Scene
    requirement: Requirement
    captions: tuple[str, ...]


def scene(seed: int) -> Scene:
    """The scene of `sample`; ``seed`` is a non-negative integer."""
    return sample(seed).scene


def sample(seed: int) -> Sample:
    """The scene and the captions of a seed, without any held-out combination."""
    chance = Chance(seed, 0)
    kind = chance.choice(KINDS)
    plan = SEEN_PLANS[kind](chance)
    return complete(kind, plan, chance)


def unseen_sample(seed: int) -> Sample:
    """A scene and captions that name a held-out combination.

    The kind is uniform over the four that have any; colors names a held-out pair of colour and
    shape, so does color_attribution for one of its two objects, counting names a held-out pair of
    count and shape, and position a held-out pair of shapes. Everything else follows the law above.
    """
    chance = Chance(seed, 1)
    kind = chance.choice(UNSEEN_KINDS)
    plan = UNSEEN_PLANS[kind](chance)
    return complete(kind, plan, chance)


@dataclass(frozen=True)
class Plan:
    """What the kind of a caption determines: step 3 of the law.

    Attributes:
        shapes: the shape of every object.
        relation: the relation of the first object to the second.
        pair: the index of an object whose colour is given, and that colour.
    """

    shapes: tuple[str, ...]
    relation: str | None = None
    pair: tuple[int, str] | None = None


ORDERED = tuple((a, b) for a in SHAPES for b in SHAPES if a != b)
RELATED = tuple(pair for pair in ORDERED if frozenset(pair) not in UNSEEN_RELATIONS)
UNRELATED = tuple(pair for pair in ORDERED if frozenset(pair) in UNSEEN_RELATIONS)
GROUPS = tuple((n, s) for n in range(2, MAX_OBJECTS + 1) for s in SHAPES)
SEEN_GROUPS = tuple(group for group in GROUPS if group not in UNSEEN_COUNTS)
HELD_PAIRS = tuple(sorted(UNSEEN_PAIRS))


def one(chance: Chance) -> Plan:
    """One object."""
    return Plan((chance.choice(SHAPES),))


def two(chance: Chance) -> Plan:
    """Two objects of different shapes."""
    return Plan(chance.choice(ORDERED))


def counted(groups: Sequence[tuple[int, str]]) -> Callable[[Chance], Plan]:
    """Several objects of one shape."""

    def plan(chance: Chance) -> Plan:
        count, shape = chance.choice(groups)
        return Plan((shape,) * count)

    return plan


def related(pairs: Sequence[tuple[str, str]]) -> Callable[[Chance], Plan]:
    """Two objects of different shapes with a relation."""
    return lambda chance: Plan(chance.choice(pairs), chance.choice(RELATIONS))


def one_held(chance: Chance) -> Plan:
    """One object with a held-out pair of colour and shape."""
    colour, shape = chance.choice(HELD_PAIRS)
    return Plan((shape,), pair=(0, colour))


def two_held(chance: Chance) -> Plan:
    """Two objects, one of them with a held-out pair of colour and shape."""
    colour, shape = chance.choice(HELD_PAIRS)
    other = chance.choice(without(SHAPES, shape))
    place = chance.choice((0, 1))
    return Plan((shape, other) if place == 0 else (other, shape), pair=(place, colour))


SEEN_PLANS: dict[str, Callable[[Chance], Plan]] = {
    "single_object": one,
    "colors": one,
    "two_objects": two,
    "color_attribution": two,
    "counting": counted(SEEN_GROUPS),
    "position": related(RELATED),
}
UNSEEN_PLANS: dict[str, Callable[[Chance], Plan]] = {
    "colors": one_held,
    "color_attribution": two_held,
    "counting": counted(sorted(UNSEEN_COUNTS)),
    "position": related(UNRELATED),
}


def complete(kind: str, plan: Plan, chance: Chance) -> Sample:
    """A sample of a kind: steps 2 and 4 to 9 of the law."""
    names_background = chance.number() < NAMES_BACKGROUND
    names_sizes = chance.number() < NAMES_SIZES
    names_colours = kind in ("colors", "color_attribution") or (
        kind in ("counting", "position") and chance.number() < NAMES_COLOURS
    )
    alike = kind == "counting"
    held = plan.pair[1] if plan.pair is not None else None
    background = chance.choice(without(COLOURS, held)) if names_background else None
    colours = draw_colours(plan, background, alike, names_colours, chance)
    behind = background or chance.choice(without(COLOURS, *colours))
    sizes = draw_sizes(len(plan.shapes), alike, chance)
    none = (None,) * len(plan.shapes)
    requirement = Requirement(
        kind,
        plan.shapes,
        colours if names_colours else none,
        sizes if names_sizes else none,
        plan.relation,
        background,
    )
    texts = wordings(requirement)
    main = int(chance.number() * len(texts))
    placed = place(behind, plan.shapes, colours, sizes, plan.relation, chance)
    return Sample(placed, requirement, (texts[main], *texts[:main], *texts[main + 1 :]))


def draw_colours(
    plan: Plan, background: str | None, alike: bool, distinct: bool, chance: Chance
) -> tuple[str, ...]:
    """The colour of every object: step 5 of the law."""
    count = len(plan.shapes)
    if alike:
        return (chance.choice(without(seen_colours(plan.shapes[0]), background)),) * count
    colours: list[str | None] = [None] * count
    if plan.pair is not None:
        colours[plan.pair[0]] = plan.pair[1]
    for number, shape in enumerate(plan.shapes):
        if colours[number] is None:
            taken = colours if distinct else ()
            colours[number] = chance.choice(without(seen_colours(shape), background, *taken))
    return tuple(filter(None, colours))


def without(options: Sequence[str], *taken: str | None) -> list[str]:
    """The options without those in ``taken``."""
    return [name for name in options if name not in taken]


def draw_sizes(count: int, alike: bool, chance: Chance) -> tuple[str, ...]:
    """The size of every object: step 7 of the law."""
    if count > MAX_LARGE:
        return ("small",) * count
    if alike:
        return (chance.choice(SIZES),) * count
    return tuple(chance.choice(SIZES) for _ in range(count))


def place(
    background: str,
    shapes: Sequence[str],
    colours: Sequence[str],
    sizes: Sequence[str],
    relation: str | None,
    chance: Chance,
) -> Scene:
    """A scene of objects at free places: steps 8 and 9 of the law."""
    radii = [low + (high - low) * chance.number() for low, high in (RADII[size] for size in sizes)]
    jitters = [tuple(jitter(chance) for _ in range(3)) for _ in shapes]
    centres = free_places(radii, relation, chance)
    objects = (
        SceneObject(shape, colour, size, x, y, radius, (red, green, blue))
        for shape, colour, size, (x, y), radius, (red, green, blue) in zip(
            shapes, colours, sizes, centres, radii, jitters, strict=True
        )
    )
    return Scene(background, tuple(objects))


def jitter(chance: Chance) -> int:
    """What is added to one colour channel: an integer from -6 to 6."""
    return int(chance.number() * (2 * JITTER + 1)) - JITTER


def class_scene(seed: int) -> tuple[Scene, int]:
    """A scene whose objects all have one shape, and the number of that shape.

    The shape is uniform over the eight, the number of objects over 1 to 4; each object has its own
    colour, uniform over the ten, and its own size; the rest follows the law above, without a
    caption. No combination is held out.
    """
    chance = Chance(seed, 2)
    shape = chance.choice(SHAPES)
    count = 1 + int(chance.number() * MAX_OBJECTS)
    colours = [chance.choice(COLOURS) for _ in range(count)]
    background = chance.choice(without(COLOURS, *colours))
    sizes = draw_sizes(count, False, chance)
    placed = place(background, (shape,) * count, colours, sizes, None, chance)
    return placed, SHAPES.index(shape)
