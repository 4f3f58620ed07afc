"""What `multidiff inspect` finds at a path."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Never

from PIL import Image

from multidiff.errors import InputError, first_of


@dataclass(frozen=True)
class Inspection:
    """What was found.

    Attributes:
        kind: what the path is.
        facts: about it, by name.
        picture: makes a picture of it.
        problems: a line each.
        text: of its card, in Markdown.
    """

    kind: str
    facts: Mapping[str, str]
    picture: Callable[[], Image.Image]
    problems: Sequence[str] = field(default_factory=list)
    text: str = ""


def counted(counter: Counter[Any]) -> str:
    """``a (12), b (3) and 4 more``, the most frequent first."""
    return first_of([f"{value} ({count})" for value, count in counter.most_common()], 12)


def no_picture(reason: str) -> Callable[[], Never]:
    """The picture of what has none.

    Args:
        reason: why, and what to do instead.
    """

    def picture() -> Never:
        raise InputError(reason)

    return picture
