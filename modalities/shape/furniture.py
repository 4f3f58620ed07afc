"""Furniture and household objects as parametric solids with captions that describe them: data without a download.

Lengths are in metres and sampled uniformly from the range beside them. The y axis points up, and fronts face +z. The
words for sizes tell proportions, since shapes are normalised: a low table is low for its width.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from modalities.shape.solids import Colour, Solid, box, cylinder, lathe, ring

Random = np.random.Generator


@dataclass(frozen=True)
class Piece:
    """One object.

    Attributes:
        parts: solids that touch or overlap; their union is the object.
        caption: a true description.
        details: true of it as well: "four legs", "a thick seat".
    """

    parts: tuple[Solid, ...]
    caption: str
    details: tuple[str, ...]

    @property
    def captions(self) -> tuple[str, ...]:
        """`caption`, and it with each detail, and with all of them."""
        *others, last = self.details
        start = f"{self.caption}, " if " with " in self.caption else f"{self.caption} with "
        every = (f"{', '.join(others)} and {last}",) if others else ()
        return (self.caption, *(start + told for told in (*self.details, *every)))


WOODS: dict[str, Colour] = {"oak": (0.76, 0.6, 0.38), "walnut": (0.42, 0.28, 0.18), "white": (0.92, 0.91, 0.88)}
PAINTS: dict[str, Colour] = {
    "red": (0.75, 0.18, 0.15),
    "blue": (0.2, 0.35, 0.65),
    "green": (0.25, 0.5, 0.3),
    "yellow": (0.9, 0.75, 0.25),
}


def make(label: str, random: Random) -> Piece:
    """An object of the class ``label``, one of `LABELS`."""
    return MAKERS[label](random)


def chair(random: Random) -> Piece:
    """A seat on four legs, with a back of slats or a panel, with or without arms."""
    name, colour = _one_of(WOODS, random)
    width, depth, height = random.uniform(0.4, 0.5), random.uniform(0.4, 0.5), random.uniform(0.4, 0.5)
    back, leg, seat = random.uniform(0.35, 0.65), random.uniform(0.04, 0.06), random.uniform(0.04, 0.07)
    slats, arms = int(random.choice([0, 3, 4])), bool(random.random() < 0.4)
    parts = [*_legs(width, depth, height, leg, colour), box((width, seat, depth), colour).moved(y=height)]
    top, rear = height + back, leg / 2 - depth / 2
    if slats:
        parts.append(box((width, 0.08, leg), colour).moved(y=top - 0.04, z=rear))
        for x in np.linspace(leg / 2 - width / 2, width / 2 - leg / 2, slats):
            parts.append(box((leg, back, leg), colour).moved(x, height + back / 2, rear))
    else:
        parts.append(box((width, back, leg), colour).moved(y=height + back / 2, z=rear))
    if arms:
        rest = height + random.uniform(0.18, 0.25)
        for side in (-1, 1):
            x = side * (width - leg) / 2
            parts.append(box((leg, leg, depth), colour).moved(x, rest, 0))
            parts.append(box((leg, rest - height, leg), colour).moved(x, (rest + height) / 2, (depth - leg) / 2))
    kind = f"{slats} slats" if slats else "a solid back"
    size = _grade(back / height, 1.1, "low", "high")
    details = (
        f"four {_grade(leg / width, 0.11, 'slim', 'sturdy')} legs",
        f"a {_grade(seat / width, 0.12, 'thin', 'thick')} {_grade(width / depth, 1.0, 'narrow', 'wide')} seat",
    )
    return Piece(tuple(parts), f"a {size} {name} chair with {kind}{' and arms' if arms else ''}", details)


def table(random: Random) -> Piece:
    """A round or rectangular top on three, four or one leg."""
    name, colour = _one_of(WOODS, random)
    height, thickness, leg = random.uniform(0.4, 1.0), random.uniform(0.04, 0.07), random.uniform(0.05, 0.08)
    round_top, legs = bool(random.random() < 0.5), int(random.choice([1, 3, 4]))
    width = random.uniform(0.7, 1.2)
    depth = width if round_top else width * random.uniform(0.5, 0.9)
    if round_top:
        top = cylinder(width / 2, thickness, colour).moved(y=height - thickness)
    else:
        top = box((width, thickness, depth), colour).moved(y=height - thickness / 2)
    parts = [top]
    if legs == 1:
        foot = 0.3 * min(width, depth)
        parts += [cylinder(leg, height - thickness / 2, colour), cylinder(foot, 0.04, colour)]
    elif legs == 3 or round_top:
        reach = 0.36 * depth
        for angle in np.arange(legs) * 2 * np.pi / legs:
            shift = (reach * np.sin(angle), reach * np.cos(angle))
            parts.append(cylinder(leg / 2, height - thickness / 2, colour).moved(shift[0], 0, shift[1]))
    else:
        parts += _legs(width, depth, height - thickness / 2, leg, colour)
    form = "round" if round_top else "rectangular"
    count = {1: "one leg", 3: "three legs", 4: "four legs"}[legs]
    plate = f"a {_grade(thickness / width, 0.058, 'thin', 'thick')} top"
    caption = f"a {_grade(height / width, 0.73, 'low', 'tall')} {form} {name} table with {count}"
    return Piece(tuple(parts), caption, (plate, *(["a round foot"] if legs == 1 else [])))


def lamp(random: Random) -> Piece:
    """A foot, a thin pole and a conical shade."""
    name, colour = _one_of(PAINTS, random)
    height, foot, pole = random.uniform(0.5, 1.4), random.uniform(0.12, 0.2), random.uniform(0.015, 0.025)
    wide, narrow, tall = random.uniform(0.18, 0.28), random.uniform(0.08, 0.16), random.uniform(0.2, 0.3)
    metal = (0.3, 0.3, 0.32)
    shade = lathe([(0, 0), (wide, 0), (narrow, tall), (0, tall)], colour).moved(y=height - tall)
    parts = (cylinder(foot, 0.03, metal), cylinder(pole, height - tall / 2, metal), shade)
    details = (
        f"a {_grade(pole / wide, 0.087, 'thin', 'thick')} pole",
        f"a {_grade(foot / wide, 0.7, 'small', 'large')} foot",
    )
    return Piece(parts, f"a {_grade(height / wide, 4.1, 'short', 'tall')} lamp with a {name} shade", details)


def mug(random: Random) -> Piece:
    """A hollow cylinder with a ring for a handle."""
    name, colour = _one_of(PAINTS, random)
    radius, height, wall = random.uniform(0.035, 0.05), random.uniform(0.08, 0.13), random.uniform(0.005, 0.007)
    grip, thick = random.uniform(0.024, 0.032), random.uniform(0.005, 0.007)
    inner = radius - wall
    body = lathe([(0, 0), (radius, 0), (radius, height), (inner, height), (inner, wall), (0, wall)], colour)
    handle = ring(grip, thick, colour).moved(x=inner + grip + thick, y=height / 2)  # it ends inside the wall
    size = _grade(height / radius, 2.45, "wide", "slim")
    reach = _grade(grip / radius, 0.66, "small", "large")
    details = (f"a {reach} {_grade(thick / radius, 0.14, 'thin', 'thick')} handle",)
    return Piece((body, handle), f"a {size} {name} mug", details)


def bottle(random: Random) -> Piece:
    """A body, a shoulder, a neck and a lip, rotationally symmetric."""
    name, colour = _one_of(PAINTS, random)
    radius, body = random.uniform(0.035, 0.05), random.uniform(0.1, 0.2)
    neck, shoulder, long = random.uniform(0.011, 0.017), random.uniform(0.03, 0.06), random.uniform(0.04, 0.09)
    lip, top = neck + 0.005, body + shoulder + long
    outline = [(0, 0), (radius, 0), (radius, body), (neck, body + shoulder), (neck, top), (lip, top)]
    parts = (lathe([*outline, (lip, top + 0.015), (0, top + 0.015)], colour),)
    details = (
        f"a {_grade(long / radius, 1.5, 'short', 'long')} {_grade(neck / radius, 0.33, 'narrow', 'wide')} neck",
        f"{_grade(shoulder / radius, 1.06, 'square', 'sloping')} shoulders",
    )
    return Piece(parts, f"a {_grade(body / radius, 3.5, 'stout', 'slender')} {name} bottle", details)


def shelf(random: Random) -> Piece:
    """Two sides and two to five boards, with or without a back."""
    name, colour = _one_of(WOODS, random)
    width, depth, height = random.uniform(0.6, 1.1), random.uniform(0.25, 0.35), random.uniform(0.8, 1.8)
    boards, closed, thick = int(random.integers(2, 6)), bool(random.random() < 0.5), random.uniform(0.035, 0.05)
    parts = [box((thick, height, depth), colour).moved(side * (width - thick) / 2, height / 2) for side in (-1, 1)]
    for y in np.linspace(thick / 2, height - thick / 2, boards):
        parts.append(box((width - thick, thick, depth), colour).moved(y=y))
    if closed:
        parts.append(box((width - thick, height - thick, thick), colour).moved(0, height / 2, (thick - depth) / 2))
    count = {2: "two", 3: "three", 4: "four", 5: "five"}[boards]
    kind = "a closed back" if closed else "an open back"
    size = _grade(height / width, 1.5, "low", "tall")
    details = (
        f"{_grade(width / depth, 2.8, 'narrow', 'wide')} {_grade(thick / width, 0.05, 'thin', 'thick')} boards",
        f"{_grade(depth / height, 0.23, 'shallow', 'deep')} sides",
    )
    return Piece(tuple(parts), f"a {size} {name} shelf with {count} boards and {kind}", details)


def sofa(random: Random) -> Piece:
    """A wide block with a back and two arms, on the floor or on short legs."""
    name, colour = _one_of(PAINTS, random)
    width, depth, seat = random.uniform(1.3, 2.2), random.uniform(0.75, 0.95), random.uniform(0.35, 0.45)
    back, arm, rest = random.uniform(0.35, 0.5), random.uniform(0.14, 0.24), random.uniform(0.15, 0.25)
    base = float(random.choice([0.0, 0.1]))
    parts = [
        box((width, seat - base, depth), colour).moved(y=(seat + base) / 2),
        box((width, back + 0.1, 0.2), colour).moved(y=seat + back / 2 - 0.05, z=0.1 - depth / 2),
    ]
    for side in (-1, 1):
        parts.append(box((arm, rest + 0.1, depth), colour).moved(side * (width - arm) / 2, seat + rest / 2 - 0.05))
    if base:
        parts += _legs(width, depth, base + 0.05, 0.1, (0.25, 0.2, 0.15))
    size = _grade(width / depth, 2.06, "short", "long")
    details = (
        f"a {_grade(back / seat, 1.06, 'low', 'high')} back",
        f"{_grade(arm / depth, 0.22, 'slim', 'wide')} arms",
        f"a {_grade(depth / seat, 2.12, 'shallow', 'deep')} seat",
    )
    return Piece(tuple(parts), f"a {size} {name} sofa{' on legs' if base else ''}", details)


def bed(random: Random) -> Piece:
    """A mattress and one or two pillows on a frame, with a headboard."""
    (wood, frame), (name, cloth) = _one_of(WOODS, random), _one_of(PAINTS, random)
    width, length, height = random.uniform(0.9, 1.8), random.uniform(1.9, 2.1), random.uniform(0.3, 0.45)
    head, pillows = random.uniform(0.3, 0.7), 1 if width < 1.3 else 2
    parts = [
        box((width, 0.12, length), frame).moved(y=height - 0.1),
        box((width - 0.06, 0.2, length - 0.08), cloth).moved(y=height + 0.05),
        box((width, height + head, 0.08), frame).moved(y=(height + head) / 2, z=-length / 2),
        *_legs(width, length, height - 0.1, 0.1, frame),
    ]
    pillow = box((0.7 * width / pillows, 0.12, 0.4), (0.95, 0.95, 0.95))
    for i in range(pillows):
        parts.append(pillow.moved((i - (pillows - 1) / 2) * width / 2, height + 0.2, 0.35 - length / 2))
    size = _grade(width / length, 0.67, "narrow", "wide")
    details = (
        "one pillow" if pillows == 1 else "two pillows",
        f"a {_grade(head / length, 0.25, 'low', 'high')} headboard",
        "four legs",
    )
    return Piece(tuple(parts), f"a {size} {wood} bed with a {name} mattress", details)


MAKERS: dict[str, Callable[[Random], Piece]] = {
    maker.__name__: maker for maker in (bed, bottle, chair, lamp, mug, shelf, sofa, table)
}
LABELS = tuple(MAKERS)


def _legs(width: float, depth: float, height: float, side: float, colour: Colour) -> list[Solid]:
    """Four square legs at the corners of a rectangle, from the floor to ``height``."""
    x, z = (width - side) / 2, (depth - side) / 2
    leg = box((side, height, side), colour).moved(y=height / 2)
    return [leg.moved(a * x, 0, b * z) for a in (-1, 1) for b in (-1, 1)]


def _grade(proportion: float, middle: float, small: str, large: str) -> str:
    """The word for a proportion, of which half of the pieces lie below ``middle``."""
    return small if proportion < middle else large


def _one_of(colours: dict[str, Colour], random: Random) -> tuple[str, Colour]:
    name = str(random.choice(list(colours)))
    return name, colours[name]
