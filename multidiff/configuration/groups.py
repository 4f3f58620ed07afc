"""The config groups, of MultiDiff and of installed plug-ins."""

import logging
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf

from multidiff.errors import InputError
from multidiff.plugins import plugins

log = logging.getLogger(__name__)


def config_dir() -> Path:
    """Where the shipped configs are: inside an installed package, or at the root of a checkout."""
    package = Path(__file__).resolve().parents[1]
    shipped = package / "conf"
    return shipped if shipped.is_dir() else package.parent / "conf"


def config_dirs() -> list[Path]:
    """The shipped configs, then those of each plug-in.

    Raises:
        InputError: two of them have a config of the same name, of which only one would be used.
    """
    added = [folder for plugin in plugins() if (folder := plugin.config_dir)]
    folders = list(dict.fromkeys([config_dir(), *added]))
    known: dict[Path, Path] = {}
    for folder in folders if added else ():
        for path in sorted(folder.rglob("*.yaml")):
            first = known.setdefault(path.relative_to(folder), path)
            if first != path:
                raise InputError(f"two configs have the same name, {first} and {path}: rename that of the plug-in")
    return folders


def compose(overrides: Sequence[str]) -> DictConfig:
    """The training config that ``multidiff train`` with these overrides would use."""
    from multidiff.configuration.composition import composed  # noqa: PLC0415  starts without Hydra where it can

    return composed("train", overrides)


def group_options(group: str) -> list[str]:
    """The names that ``group=NAME`` accepts."""
    folders = [folder / group for folder in config_dirs()]
    return sorted({path.relative_to(top).with_suffix("").as_posix() for top in folders for path in top.rglob("*.yaml")})


def option_file(group: str, name: str) -> Path:
    """The file of the config ``group/name``.

    Raises:
        InputError: there is none; the message lists those that there are.
    """
    found = [path for folder in config_dirs() if (path := folder / group / f"{name}.yaml").is_file()]
    if not found or not name:
        raise InputError(f"no {group} is called {name!r}; there are: {', '.join(group_options(group))}")
    return found[0]


def advice(group: str, name: str) -> str:
    """The comment that ``group/name.yaml`` starts with: when to use it; empty if there is none."""
    first = option_file(group, name).read_text("utf-8").partition("\n")[0]
    return first.removeprefix("#").strip() if first.startswith("#") else ""


def load_option(group: str, name: str) -> dict[str, Any]:
    """The config ``group/name``, with its defaults list resolved.

    Raises:
        InputError: there is none; the message lists those that there are.
    """
    return resolved(_loaded(group, name))


def described(group: str, text: str) -> dict[str, Any]:
    """The config ``group/NAME`` with changes, from ``NAME KEY=VALUE ...``.

    Raises:
        InputError: there is no such config, a setting is none of its own, or one that it needs is not given.
    """
    try:
        name, *changes = shlex.split(text) or [""]
    except ValueError as error:
        raise InputError(f"{group} {text!r}: {str(error).lower()}") from error
    config = _loaded(group, name)
    for change in changes:
        key, equals, value = change.partition("=")
        if not equals or key not in config.keys() or key == "_target_":  # noqa: SIM118  `in config` denies what is ???
            known = ", ".join(str(key) for key in config if key != "_target_") or "none, since it has no settings"
            raise InputError(f"{group} {name}: {change!r} is not KEY=VALUE with a key of: {known}")
        config[key] = plain_value(value)
    missing = [str(key) for key in config if OmegaConf.is_missing(config, key)]
    if missing:
        raise InputError(f"{group} {name} needs {', '.join(missing)}: '{name} {missing[0]}=VALUE'")
    return resolved(config)


@contextmanager
def left_out_if_broken(group: str, name: str) -> Iterator[None]:
    """Leave the config ``group/name`` out of a list, with a warning, if there is an `InputError` about it."""
    try:
        yield
    except InputError as error:
        log.warning("the %s %s is left out: %s", group, name, error)


def plain_value(text: str) -> Any:
    """The value that YAML reads in ``text``; the text itself where it is no YAML, such as ``*.tar``."""
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text


def _loaded(group: str, name: str) -> DictConfig:
    path = option_file(group, name)
    try:
        config = OmegaConf.load(path)
    except yaml.YAMLError as error:
        raise InputError(f"{path} cannot be read: {' '.join(str(error).split())}") from error
    if not isinstance(config, DictConfig):
        raise InputError(f"{path} must hold KEY: VALUE lines")
    if "defaults" not in config:
        return config
    from multidiff.configuration.composition import composed  # noqa: PLC0415

    whole = composed(f"{group}/{name}")
    OmegaConf.set_struct(whole, False)
    for part in group.split("/"):
        whole = whole[part]
    return whole


def resolved(config: Any) -> dict[str, Any]:
    """The config as plain dictionaries and lists, every interpolation replaced by its value."""
    return OmegaConf.to_container(config, resolve=True, throw_on_missing=True)  # type: ignore[return-value]
