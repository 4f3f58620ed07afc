r"""Prompts with weights, in the notation of Automatic1111's web UI: ``a (red:1.3) ball``.

==================  =====================================================
``(red:1.3)``       weight 1.3
``(red)``           weight 1.1
``[red]``           weight 1 / 1.1
``((red:1.2) cat)`` nested weights multiply: 1.32 and 1.1
``\( \) \[ \] \:``  the character itself; ``\\`` is a backslash
==================  =====================================================
"""

import re
from dataclasses import dataclass

from multidiff.errors import InputError

EMPHASIS = 1.1
"""Weight of a pair of parentheses without a number."""

HIGHEST = 10.0
"""The highest weight; the lowest is 0."""

_TOKEN = re.compile(r"\\[()\[\]:\\]|[()\[\]:]|[^()\[\]:\\]+|\\")
_SPECIAL = re.compile(r"([()\[\]\\])")
_CLOSING = {")": "(", "]": "["}


@dataclass(frozen=True)
class Prompt:
    """A text, with a weight for each character.

    Attributes:
        text: without the notation.
        weights: of the characters of ``text``.
    """

    text: str
    weights: tuple[float, ...]

    @property
    def weighted(self) -> bool:
        """Whether a weight differs from 1."""
        return any(weight != 1 for weight in self.weights)


def literal(text: str) -> Prompt:
    """A text in which no character is notation, such as a caption."""
    return Prompt(text, (1.0,) * len(text))


def quoted(text: str) -> str:
    """The prompt that stands for ``text``: ``parse(quoted(text)) == literal(text)``."""
    return _SPECIAL.sub(r"\\\1", text)


def parse(prompt: str) -> Prompt:
    """The text and the weights of a prompt.

    Raises:
        InputError: a bracket is not closed or not opened, or a weight is not a number from 0 to 10.
    """
    groups = [_Group("", [])]
    for token in _TOKEN.findall(prompt):
        if token in ("(", "["):
            groups.append(_Group(token, []))
        elif token in _CLOSING:
            group = groups.pop()
            if group.opening != _CLOSING[token]:
                raise InputError(f"the prompt {prompt!r} has an unmatched {token!r}; write \\{token} for the character")
            groups[-1].pieces += group.closed(prompt)
        elif token == ":" and groups[-1].opening == "(":
            groups[-1].colon = len(groups[-1].pieces)
            groups[-1].pieces.append((":", 1.0))
        else:
            text = token[1:] if len(token) == 2 and token[0] == "\\" else token
            groups[-1].pieces.append((text, 1.0))
    if len(groups) > 1:
        opening = groups[-1].opening
        raise InputError(f"the prompt {prompt!r} has an unclosed {opening!r}; write \\{opening} for the character")
    pieces = groups[0].pieces
    return Prompt("".join(text for text, _ in pieces), tuple(weight for text, weight in pieces for _ in text))


@dataclass
class _Group:
    """What stands between two brackets: pieces of text with their weights, and where the last colon is."""

    opening: str
    pieces: list[tuple[str, float]]
    colon: int | None = None

    def closed(self, prompt: str) -> list[tuple[str, float]]:
        """The pieces with the weight of the group."""
        if self.colon is None:
            factor, inside = EMPHASIS if self.opening == "(" else 1 / EMPHASIS, self.pieces
        else:
            inside = self.pieces[: self.colon]
            factor = _number("".join(text for text, _ in self.pieces[self.colon + 1 :]), prompt)
        return [(text, weight * factor) for text, weight in inside]


def _number(text: str, prompt: str) -> float:
    """The weight that ``text`` writes."""
    try:
        weight = float(text)
    except ValueError:
        weight = -1.0
    if not 0 <= weight <= HIGHEST:
        raise InputError(
            f"the weight {text.strip()!r} in the prompt {prompt!r} is not a number from 0 to {HIGHEST:g}; weights are "
            "written (red:1.3), and \\: is a colon"
        )
    return weight
