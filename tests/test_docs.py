"""The commands in the README, the guides and the configs exist, with their options."""

import re
import shlex
from pathlib import Path

import pytest
import typer

from multidiff.cli.main import app
from multidiff.configuration import group_options

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))]
CONFIGS = sorted(ROOT.glob("conf/**/*.yaml"))
LINE = re.compile(r"^\s*#?\s*(?:nice -n \d+ )?(multidiff [a-z].*)$", re.MULTILINE)
INLINE = re.compile(r"`(multidiff [a-z][^`\n]*)`")
END = re.compile(r"  +| # | && | \| |;")
"""Of a command: what follows is another one, or a remark."""

EXAMPLES = {"timeseries/folder"}
"""Options that the reader adds, as the guide shows."""

COMMANDS = typer.main.get_command(app).commands


def commands(page):
    text = page.read_text("utf-8").replace("\\\n", " ")
    return [shlex.split(END.split(found)[0].rstrip(":.,")) for found in [*LINE.findall(text), *INLINE.findall(text)]]


def unknown(words):
    """The first word of a command that does not exist; None if all of them do."""
    if words[1] not in COMMANDS:
        return words[1]
    if words[1] == "train":
        chosen = [word.partition("=")[::2] for word in words[2:] if re.match(r"[a-z_]+=[\w/]+$", word)]
        return next((f"{key}={name}" for key, name in chosen if not offered(key, name)), None)
    options = {name for parameter in COMMANDS[words[1]].params for name in (*parameter.opts, *parameter.secondary_opts)}
    given = [word.partition("=")[0] for word in words[2:] if re.match("--?[a-z]", word)]
    return next((name for name in given if name not in {*options, "--help"}), None)


def offered(key, name):
    options = group_options(key)
    return not options or name.endswith("/") or name in {*options, *EXAMPLES}


@pytest.mark.parametrize("pages", [*([page] for page in PAGES), CONFIGS], ids=[*(page.stem for page in PAGES), "conf"])
def test_commands_exist(pages):
    found = [words for page in pages for words in commands(page)]
    assert [(words, missing) for words in found if (missing := unknown(words))] == []


def test_what_does_not_exist_is_noticed():
    assert unknown(["multidiff", "sing"]) == "sing"
    assert unknown(["multidiff", "sample", "emoji", "--lyrics", "la"]) == "--lyrics"
    assert unknown(["multidiff", "train", "experiment=image/song"]) == "experiment=image/song"
    assert sum(len(commands(page)) for page in PAGES) > 150
