"""Files of samplers that commands make."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def check_path(out: Path | None) -> None:
    """Refuse a name that a sampler file cannot have.

    Raises:
        InputError: it does not end in .yaml.
    """
    from multidiff.errors import InputError

    if out is not None and out.suffix != ".yaml":
        raise InputError(f"--out {out} must end in .yaml: its name is that of the sampler")


def write_sampler(config: Mapping[str, Any], command: str, out: Path | None) -> None:
    """Write the config of a sampler, with the command that made it, to ``out``; print it if that is None."""
    import yaml

    from multidiff.data.files import new_file

    text = (
        f"# Made by: {command}\n"
        "# Sample with it by --sampler THIS.yaml; train with it as DIR/sampler/NAME.yaml and --config-dir DIR.\n"
        + yaml.safe_dump(dict(config), sort_keys=False, default_flow_style=None)
    )
    if out is None:
        print(text, end="")
        return
    with new_file(out) as path:
        path.write_text(text, "utf-8")


def command_line(*words: Any, fields: Mapping[str, Any] | None = None, **settings: Any) -> str:
    """The command line; an option is left out at None, and is given as often as a list has entries."""
    for name, value in settings.items():
        for entry in value if isinstance(value, list) else [value]:
            words += () if entry is None else (f"--{name.replace('_', '-')}", entry)
    for name, value in (fields or {}).items():
        words += tuple(f"--set={name}={entry}" for entry in (value if isinstance(value, list) else [value]))
    return " ".join(shlex.join(map(str, words)).split())
