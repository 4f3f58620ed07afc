"""Scenes in words, each of which is true."""

from random import Random

from modalities.image.scenes.objects import KINDS
from modalities.image.scenes.scene import OPPOSITES, Scene, Thing

SIZES = {"small": ("small", "little"), "big": ("big", "large")}
NUMBERS = {1: "one", 2: "two", 3: "three"}

ALONE = ("{}", "{}", "a picture of {}", "a drawing of {}", "there is {}")
SEVERAL = ("{}", "{}", "a picture of {}", "a drawing of {}", "there are {}")
TOGETHER = {
    "left of": ("{a} to the left of {b}", "{a} left of {b}", "on the left {a}, on the right {b}"),
    "right of": ("{a} to the right of {b}", "{a} right of {b}", "on the right {a}, on the left {b}"),
    "above": ("{a} above {b}", "{a} over {b}", "at the top {a}, at the bottom {b}"),
    "below": ("{a} below {b}", "{a} under {b}", "at the bottom {a}, at the top {b}"),
    "inside": ("{a} inside {b}", "{a} in {b}", "{b} with {a} inside"),
}
BEHIND = ("{} on a {} background", "{} in front of a {} background", "{}, {} background")


def captions(scene: Scene, random: Random) -> tuple[str, ...]:
    """Up to three captions. Each names objects, colours, sizes, count and relation; the second lacks the background."""
    spoken = [_told(scene, random) for _ in range(3)]
    for i in (0, 2):
        spoken[i] = random.choice(BEHIND).format(spoken[i], scene.background)
    return tuple(dict.fromkeys(spoken))


def _told(scene: Scene, random: Random) -> str:
    first = scene.things[0]
    if scene.count > 1:
        return random.choice(SEVERAL).format(_described(first, random, scene.count))
    if scene.relation is None:
        return random.choice(ALONE).format(_described(first, random))
    a, b = (_described(thing, random) for thing in scene.things)
    relation = scene.relation
    if relation in OPPOSITES and random.random() < 0.3:
        a, b, relation = b, a, OPPOSITES[relation]
    return random.choice(TOGETHER[relation]).format(a=a, b=b)


def _described(thing: Thing, random: Random, count: int = 1) -> str:
    """ "a small purple dog", "three dogs"."""
    size = random.choice(SIZES[thing.size]) if thing.size else None
    name = thing.name if count == 1 else KINDS[thing.name].plural or f"{thing.name}s"
    words = " ".join(word for word in (size, thing.colour, name) if word)
    if count > 1:
        return f"{NUMBERS[count]} {words}"
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"
