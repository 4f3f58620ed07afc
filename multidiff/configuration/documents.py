"""YAML and JSON from other people: plain values, within limits on size, depth and the length of integers.

Nothing is interpolated, and a YAML document has no aliases, which could describe exponentially many values.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from multidiff.errors import InputError

DEPTH = 64
"""Levels of nesting, at most."""

CONFIG_BYTES = 8 * 2**20
"""Size of a config, at most; a vocabulary of some 100,000 words fits."""

RECORD_BYTES = 512 * 2**20
"""Size of a JSON document, at most."""


_LOADER: Any = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader
"""libyaml, which PyYAML's wheels hold, reads ten times as fast."""


def read_yaml(path: Path) -> Any:
    """The value of a YAML file.

    Raises:
        InputError: it cannot be read, or exceeds a limit.
    """
    return parse_yaml(_text(path, CONFIG_BYTES), str(path))


def parse_yaml(text: str, where: str) -> Any:
    """The value of a YAML document; ``where`` names it in messages.

    Raises:
        InputError: it is not YAML, or exceeds a limit.
    """
    try:
        _check(yaml.parse(text, _LOADER))
        return yaml.load(text, _LOADER)
    except (yaml.YAMLError, ValueError) as error:  # a ValueError of a date or an integer
        raise InputError(f"{where} cannot be read: {' '.join(str(error).split())[:500]}") from error


def _check(events: Iterable[yaml.Event]) -> None:
    depth = 0
    for event in events:
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEPTH:
            raise yaml.composer.ComposerError(None, None, f"more than {DEPTH} levels", event.start_mark)
        if isinstance(event, yaml.AliasEvent):
            raise yaml.composer.ComposerError(None, None, "aliases are not supported", event.start_mark)


def read_json(path: Path) -> Any:
    """The value of a JSON file.

    Raises:
        InputError: it cannot be read, or exceeds a limit.
    """
    return parse_json(_text(path, RECORD_BYTES), str(path))


def parse_json(text: str | bytes, where: str) -> Any:
    """The value of a JSON document; ``where`` names it in messages.

    Raises:
        InputError: it is not JSON, or is nested too deeply.
    """
    try:
        value = json.loads(text)
    except RecursionError as error:
        raise InputError(f"{where}: nested too deeply") from error
    except ValueError as error:
        raise InputError(f"{where}: not JSON ({error})") from error
    return value


def _text(path: Path, limit: int) -> str:
    """The text of a regular file of at most ``limit`` bytes."""
    try:
        if not path.is_file():
            raise InputError(f"{path} is not a file" if path.exists() else f"there is no file {path}")
        if path.stat().st_size > limit:
            raise InputError(f"{path} is larger than {limit / 2**20:.0f} MB")
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} cannot be read: not text in UTF-8") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
