"""Words that no caption of a scene holds, for words that captions hold.

Of the synonyms that came to mind, those are kept whose vectors in wordllama have a cosine of at least 0.4 with the word
that they replace; a test checks it. The other colours have no such synonym.
"""

import re
from random import Random

SYNONYMS = {
    "dog": "puppy",
    "cat": "kitten",
    "pig": "piglet",
    "dinosaur": "brontosaurus",
    "ladybug": "ladybird",
    "burger": "hamburger",
    "doughnut": "donut",
    "car": "automobile",
    "plane": "airplane",
    "house": "home",
    "telephone": "phone",
    "camera": "webcam",
    "backpack": "bag",
    "shirt": "tshirt",
    "book": "novel",
    "lock": "padlock",
    "gift": "present",
    "envelope": "mail",
    "flame": "fire",
    "drop": "droplet",
    "diamond": "gem",
    "bomb": "explosive",
    "small": "tiny",
    "little": "tiny",
    "big": "huge",
    "large": "huge",
    "blue": "azure",
}


def reworded(caption: str, random: Random) -> str | None:
    """The caption with one noun or adjective replaced by its synonym; None if it has no such word."""
    known = [word for word in SYNONYMS if re.search(rf"\b{word}\b", caption)]
    if not known:
        return None
    word = random.choice(known)
    return re.sub(rf"\b(an? )?{word}\b", lambda found: _with_article(found[1], SYNONYMS[word]), caption, count=1)


def _with_article(article: str | None, word: str) -> str:
    if not article:
        return word
    return f"{'an' if word[0] in 'aeiou' else 'a'} {word}"
