"""What a scene holds, and where: random, but a function of its seed."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal, get_args

from modalities.image.scenes.objects import BACKGROUNDS, COLOURS, KINDS

Split = Literal["train", "test"]
Layout = Literal["single", "several", "pair", "nested"]

LAYOUTS: tuple[Layout, ...] = get_args(Layout)
"""One object; two or three copies of one; two side by side or one above the other; one inside another."""

SHARES: Mapping[Layout, float] = {"single": 0.3, "several": 0.2, "pair": 0.4, "nested": 0.1}
"""The relative probability of each layout."""

OPPOSITES = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}
RELATIONS = (*OPPOSITES, "inside")
CONTAINERS = tuple(name for name, kind in KINDS.items() if kind.inside)

SMALL, MEDIUM, LARGE, FILLING = 12, 15, 19, 26
"""The longer side of an object in a picture of 32 pixels. Two objects side by side are medium, or small and big."""

SIDES = (SMALL, MEDIUM, LARGE, FILLING)

HELD_OUT = 0.1
"""The share of combinations that training never shows."""


@dataclass(frozen=True)
class Thing:
    """An object.

    Attributes:
        name: a key of `KINDS`.
        colour: a key of `COLOURS`; None: as it is by nature.
        size: "small", "big" or None.
        side: the longer side, of a picture of 32.
        places: the centres of its copies, from (0, 0), top left, to (32, 32).
    """

    name: str
    colour: str | None
    size: str | None
    side: int
    places: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Scene:
    """A picture in words.

    Attributes:
        background: a key of `BACKGROUNDS`.
        things: one or two different ones. The first lies on top.
        relation: one of `RELATIONS`, between the first and the second; None if there is one.
    """

    background: str
    things: tuple[Thing, ...]
    relation: str | None = None

    @property
    def count(self) -> int:
        """Copies of the first thing."""
        return len(self.things[0].places)

    @property
    def held_out(self) -> bool:
        """Whether any of its combinations, of an object and a colour or of two objects, belongs to the split "test"."""
        pairs: list[tuple[str | None, ...]] = [(thing.name, thing.colour) for thing in self.things if thing.colour]
        if self.relation:
            first, second = (thing.name for thing in self.things)
            turned = self.relation in ("right of", "below")
            pairs.append((second, OPPOSITES[self.relation], first) if turned else (first, self.relation, second))
        return any(map(_held_out, pairs))


def scene(seed: int, index: int, split: Split, layouts: Sequence[Layout] = LAYOUTS) -> Scene:
    """Scene ``index``. Those of "train" have no held-out combination, those of "test" have at least one."""
    random = Random(f"{seed}/{index}")
    while True:
        found = _draw(random, layouts)
        if found.held_out == (split == "test"):
            return found


def _draw(random: Random, layouts: Sequence[Layout]) -> Scene:
    background = random.choice(list(BACKGROUNDS))
    shares = [SHARES[layout] for layout in layouts]
    return _MAKERS[random.choices(layouts, shares)[0]](background, random)


def _single(background: str, random: Random) -> Scene:
    size, side = random.choice([("small", SMALL), (None, LARGE), ("big", FILLING)])
    room = 16 - side / 2
    place = 16 + random.uniform(-room, room), 16 + random.uniform(-room, room)
    return Scene(background, (_thing(random.choice(list(KINDS)), size, side, [place], random),))


def _several(background: str, random: Random) -> Scene:
    cells = random.sample([(8, 8), (24, 8), (8, 24), (24, 24)], random.choice((2, 3)))
    places = [(x + random.uniform(-0.5, 0.5), y + random.uniform(-0.5, 0.5)) for x, y in sorted(cells)]
    return Scene(background, (_thing(random.choice(list(KINDS)), None, MEDIUM, places, random),))


def _pair(background: str, random: Random) -> Scene:
    names = random.sample(list(KINDS), 2)
    relation = random.choice(list(OPPOSITES))
    sizes = random.choice(
        [((None, MEDIUM),) * 2, (("small", SMALL), ("big", LARGE)), (("big", LARGE), ("small", SMALL))]
    )
    gap = 32 - sizes[0][1] - sizes[1][1]
    before = random.uniform(0, gap / 2)
    along = (before + sizes[0][1] / 2, 32 - (gap / 2 - before) - sizes[1][1] / 2)
    if relation in ("right of", "below"):
        along = (32 - along[0], 32 - along[1])
    across = 16 + random.uniform(-4, 4)
    things = []
    for name, (size, side), position in zip(names, sizes, along, strict=True):
        other = across + random.uniform(-1, 1)
        place = (position, other) if relation in ("left of", "right of") else (other, position)
        things.append(_thing(name, size, side, [place], random))
    return Scene(background, tuple(things), relation)


def _nested(background: str, random: Random) -> Scene:
    outer = random.choice(CONTAINERS)
    inner = random.choice([name for name in KINDS if name != outer])
    x, y = 16 + random.uniform(-2, 2), 16 + random.uniform(-2, 2)
    container = _thing(outer, None, FILLING, [(x, y)], random)
    content = _thing(inner, None, SMALL, [(x, y)], random)
    return Scene(background, (content, container), "inside")


_MAKERS: Mapping[Layout, Callable[[str, Random], Scene]] = {
    "single": _single,
    "several": _several,
    "pair": _pair,
    "nested": _nested,
}


def _thing(name: str, size: str | None, side: int, places: Sequence[tuple[float, float]], random: Random) -> Thing:
    colour = random.choice(list(COLOURS)) if KINDS[name].colours and random.random() < 0.8 else None
    return Thing(name, colour, size, side, tuple(places))


def _held_out(combination: tuple[str | None, ...]) -> bool:
    digest = hashlib.sha256("|".join(map(str, combination)).encode()).digest()
    return digest[0] < HELD_OUT * 256
