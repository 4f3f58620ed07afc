"""The objects of scenes and their colours: those of OpenMoji that are recognised at 20 pixels."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """An object.

    Attributes:
        code: of its drawing in OpenMoji.
        plural: of its name, if it is not the name with an s.
        colours: whether it may be recoloured.
        inside: where other things are put into it, as fractions of its width and height; None: it holds nothing.
    """

    code: str
    plural: str = ""
    colours: bool = True
    inside: tuple[float, float] | None = None


COLOURS: Mapping[str, str] = {
    "red": "#e02b2b",
    "orange": "#ff8c1f",
    "yellow": "#ffe22e",
    "green": "#3fb53f",
    "blue": "#3a86f0",
    "purple": "#9a48d8",
    "pink": "#ff9bcb",
    "brown": "#8a5530",
}
BACKGROUNDS: Mapping[str, str] = {
    "white": "#ffffff",
    "gray": "#d4d4d4",
    "pink": "#ffdcea",
    "yellow": "#fff6c2",
    "green": "#d6f5cb",
    "blue": "#d0e8ff",
}

KINDS: Mapping[str, Kind] = {
    "dog": Kind("1F415"),
    "cat": Kind("1F408"),
    "horse": Kind("1F40E"),
    "pig": Kind("1F416"),
    "elephant": Kind("1F418"),
    "giraffe": Kind("1F992"),
    "snake": Kind("1F40D"),
    "turtle": Kind("1F422"),
    "fish": Kind("1F41F", "fish"),
    "whale": Kind("1F433"),
    "octopus": Kind("1F419", "octopuses"),
    "crab": Kind("1F980"),
    "butterfly": Kind("1F98B", "butterflies"),
    "snail": Kind("1F40C"),
    "duck": Kind("1F986"),
    "penguin": Kind("1F427"),
    "owl": Kind("1F989"),
    "mouse": Kind("1F401", "mice"),
    "frog": Kind("1F438"),
    "fox": Kind("1F98A", "foxes"),
    "bear": Kind("1F43B"),
    "panda": Kind("1F43C"),
    "lion": Kind("1F981"),
    "camel": Kind("1F42A"),
    "dinosaur": Kind("1F995"),
    "shark": Kind("1F988"),
    "ladybug": Kind("1F41E"),
    "spider": Kind("1F577"),
    "flamingo": Kind("1F9A9"),
    "apple": Kind("1F34E", inside=(0.5, 0.6)),
    "banana": Kind("1F34C"),
    "pear": Kind("1F350"),
    "strawberry": Kind("1F353", "strawberries"),
    "lemon": Kind("1F34B"),
    "pineapple": Kind("1F34D"),
    "carrot": Kind("1F955"),
    "mushroom": Kind("1F344"),
    "eggplant": Kind("1F346"),
    "pepper": Kind("1F336"),
    "pizza": Kind("1F355"),
    "burger": Kind("1F354", colours=False),
    "doughnut": Kind("1F369"),
    "cookie": Kind("1F36A"),
    "cake": Kind("1F382", colours=False),
    "ice cream": Kind("1F366", colours=False),
    "lollipop": Kind("1F36D"),
    "car": Kind("1F697"),
    "van": Kind("1F69A"),
    "tractor": Kind("1F69C", colours=False),
    "plane": Kind("2708"),
    "rocket": Kind("1F680"),
    "balloon": Kind("1F388", inside=(0.48, 0.4)),
    "house": Kind("1F3E0", colours=False),
    "tent": Kind("26FA"),
    "key": Kind("1F511"),
    "umbrella": Kind("2602"),
    "shirt": Kind("1F455"),
    "dress": Kind("1F457", "dresses"),
    "crown": Kind("1F451"),
    "backpack": Kind("1F392", inside=(0.5, 0.6)),
    "book": Kind("1F4D5", inside=(0.46, 0.5)),
    "pencil": Kind("270F"),
    "camera": Kind("1F4F7"),
    "telephone": Kind("1F4DE"),
    "clock": Kind("23F0"),
    "guitar": Kind("1F3B8"),
    "trumpet": Kind("1F3BA"),
    "drum": Kind("1F941"),
    "tree": Kind("1F333"),
    "cactus": Kind("1F335", "cactuses"),
    "sunflower": Kind("1F33B"),
    "rose": Kind("1F339"),
    "leaf": Kind("1F341", "leaves"),
    "star": Kind("2B50", inside=(0.5, 0.55)),
    "sun": Kind("2600"),
    "moon": Kind("1F319"),
    "cloud": Kind("2601", inside=(0.5, 0.58)),
    "heart": Kind("2764", inside=(0.5, 0.42)),
    "pumpkin": Kind("1F383"),
    "ghost": Kind("1F47B"),
    "robot": Kind("1F916"),
    "alien": Kind("1F47D"),
    "teddy bear": Kind("1F9F8"),
    "chair": Kind("1FA91"),
    "door": Kind("1F6AA"),
    "gift": Kind("1F381"),
    "box": Kind("1F4E6", "boxes"),
    "envelope": Kind("2709"),
    "lock": Kind("1F512"),
    "bell": Kind("1F514"),
    "flame": Kind("1F525"),
    "drop": Kind("1F4A7", inside=(0.5, 0.64)),
    "diamond": Kind("1F48E"),
    "anchor": Kind("2693"),
    "bucket": Kind("1FAA3", inside=(0.5, 0.66)),
    "boot": Kind("1F462"),
    "trophy": Kind("1F3C6", "trophies"),
    "gear": Kind("2699"),
    "bomb": Kind("1F4A3"),
    "kite": Kind("1FA81"),
}
