"""The one door to Hydra: find the shipped configs, compose them, and make objects of them.

A config can travel with a downloaded model, so it may name only classes on an allow-list, checked before any import.
"""

import importlib
import shlex
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, partial
from importlib.metadata import entry_points
from inspect import signature
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin

import hydra
import yaml
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from multidiff.errors import InputError

PLAIN: dict[Any, tuple[type, ...]] = {
    bool: (bool,),
    int: (int,),
    float: (float, int),
    str: (str,),
    NoneType: (NoneType,),
}
"""The types that a config can be held to, and what may stand for each."""

FOREIGN_TARGETS = frozenset(
    {
        "lightning.Trainer",
        "lightning.pytorch.loggers.CSVLogger",
        "lightning.pytorch.loggers.TensorBoardLogger",
        "schedulefree.AdamWScheduleFree",
        "torch.optim.Adam",
        "torch.optim.AdamW",
    }
)


def config_dir() -> Path:
    """Where the shipped configs are: inside an installed package, or at the root of a checkout."""
    package = Path(__file__).resolve().parent
    shipped = package / "conf"
    return shipped if shipped.is_dir() else package.parent / "conf"


def compose(overrides: Sequence[str]) -> DictConfig:
    """The training config that ``multidiff train`` with these overrides would see."""
    with hydra.initialize_config_dir(str(config_dir()), version_base="1.3"):
        return hydra.compose("train", overrides=list(overrides))


def group_options(group: str) -> list[str]:
    """The names that ``group=NAME`` accepts."""
    folder = config_dir() / group
    return sorted(path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.yaml"))


def load_option(group: str, name: str) -> dict[str, Any]:
    """The config ``group/name.yaml``.

    Raises:
        InputError: there is none; the message lists those that are.
    """
    options = group_options(group)
    if name not in options:
        raise InputError(f"no {group} is called {name!r}; there are: {', '.join(options)}")
    return resolved(OmegaConf.load(config_dir() / group / f"{name}.yaml"))


def described(group: str, text: str) -> dict[str, Any]:
    """The config ``group/NAME.yaml`` with changes, from ``NAME KEY=VALUE ...``.

    A key that is a group within the group, as the frontend of a modality, is set to the name of one of its options.

    Raises:
        InputError: there is no such config, a setting is none of its own, or one that it needs is not given.
    """
    name, *changes = shlex.split(text) or [""]
    pairs = [change.partition("=") for change in changes]
    choices = {key: option for key, _, option in pairs if key and (config_dir() / group / key).is_dir()}
    config = _composed(group, name, choices)
    for key, equals, value in pairs:
        if not equals or key not in config.keys() or key == "_target_":  # noqa: SIM118  `in config` denies what is ???
            known = ", ".join(str(key) for key in config if key != "_target_")
            raise InputError(f"{group} {name}: {key + equals + value!r} is not KEY=VALUE with a key of: {known}")
        if key not in choices:
            config[key] = _value(value)
    missing = [str(key) for key in config if OmegaConf.is_missing(config, key)]
    if missing:
        raise InputError(f"{group} {name} needs {', '.join(missing)}: '{name} {missing[0]}=VALUE'")
    return resolved(config)


def _value(text: str) -> Any:
    """What YAML makes of ``text``; what is none, such as ``*.tar``, is text."""
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text


def _composed(group: str, name: str, choices: Mapping[str, str]) -> DictConfig:
    """``group/name.yaml`` with options of the groups within: ``choices``, or the defaults that it lists."""
    options = [option for option in group_options(group) if "/" not in option]
    if name not in options:
        raise InputError(f"no {group} is called {name!r}; there are: {', '.join(options)}")
    for key, option in choices.items():
        if option not in group_options(f"{group}/{key}"):
            raise InputError(f"no {key} is called {option!r}; there are: {', '.join(group_options(f'{group}/{key}'))}")
    with hydra.initialize_config_dir(str(config_dir()), version_base="1.3"):
        whole = hydra.compose(f"{group}/{name}", [f"{group}/{key}={option}" for key, option in choices.items()])
    OmegaConf.set_struct(whole, False)
    return whole[group]


def resolved(config: Any) -> dict[str, Any]:
    """The config as plain dictionaries and lists, every interpolation replaced by its value."""
    return OmegaConf.to_container(config, resolve=True, throw_on_missing=True)  # type: ignore[return-value]


def instantiate(config: Any, **arguments: Any) -> Any:
    """Make the object that ``config`` describes by its ``_target_``, and those within it, with further ``arguments``.

    ``_partial_: true`` beside a target leaves out what is not known yet: it makes a function of the other arguments.

    Raises:
        InputError: a target is not on the allow-list (nothing is imported then), or the class refuses its arguments.
    """
    plain = resolved(config) if OmegaConf.is_config(config) else config
    for target in _targets(plain):
        _check_allowed(target)
    return _build(plain, arguments)


def instantiate_as(kind: type, config: Any, **arguments: Any) -> Any:
    """Make the ``kind`` of object that ``config`` describes, as `instantiate` does.

    Raises:
        InputError: it describes something else, or leaves out what is not known yet.
    """
    target = config.get("_target_") if isinstance(config, Mapping) else None
    whole = isinstance(target, str) and not config.get("_partial_")
    if not whole or not issubclass(check_target(str(target)), kind):
        raise InputError(f"expected the _target_ of a {kind.__name__}, without _partial_, got {config!r}")
    return instantiate(config, **arguments)


def _build(node: Any, arguments: Mapping[str, Any]) -> Any:
    # Hydra's own instantiate would resolve interpolations again, and they can name any function.
    if isinstance(node, list):
        return [_build(value, {}) for value in node]
    if not isinstance(node, dict):
        return node
    settings = {key: _build(value, {}) for key, value in node.items() if key not in ("_target_", "_partial_")}
    if "_target_" not in node:
        return settings
    target = check_target(node["_target_"])
    _check_types(target, settings)
    try:
        if node.get("_partial_"):
            signature(target).bind_partial(**settings, **arguments)  # a wrong name is refused now, not where it is used
            return partial(target, **settings, **arguments)
        return target(**settings, **arguments)
    except InputError:
        raise
    except (TypeError, ValueError) as error:
        raise InputError(f"{node['_target_'].rpartition('.')[2]}: {' '.join(str(error).split())}") from error


def _check_types(target: type, settings: Mapping[str, Any]) -> None:
    """Refuse a setting that is no number, text or list where the class says that it takes one."""
    parameters = signature(target).parameters
    for name, value in settings.items():
        annotation = parameters[name].annotation if name in parameters else Any
        kinds = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
        kinds = tuple(kind for kind in kinds if kind is not Tensor)  # which no config can hold
        if set(kinds) <= PLAIN.keys() and not any(type(value) in PLAIN[kind] for kind in kinds):
            wanted = " or ".join("null" if kind in (None, NoneType) else kind.__name__ for kind in kinds)
            raise InputError(f"{target.__name__}: {name} must be of type {wanted}, got {value!r}")


def target_class(config: Mapping[str, Any]) -> type:
    """The class that ``config`` names as its ``_target_``, without an instance of it."""
    return check_target(config["_target_"])


def check_target(target: str) -> type:
    """The class called ``target``.

    Raises:
        InputError: it is not a class of multidiff, of an installed modality, or of the explicit list. Names that lead
            out of an allowed package through one of its imports are refused too.
    """
    _check_allowed(target)
    module, _, name = target.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise InputError(f"the config names {target!r}, which does not exist: {error}") from error
    home = found.__module__.split(".")[0] if isinstance(found, type) else ""
    if target not in FOREIGN_TARGETS and home not in _allowed_packages():
        raise InputError(f"the config names {target!r}, which is not a class of {module.split('.')[0]}")
    return found


def _check_allowed(target: str) -> None:
    module = target.rpartition(".")[0]
    if target not in FOREIGN_TARGETS and module.split(".")[0] not in _allowed_packages():
        raise InputError(f"the config names {target!r}, which is not allowed to be built from a config")


@cache
def _allowed_packages() -> frozenset[str]:
    plugins = (entry.value.split(".")[0].split(":")[0] for entry in entry_points(group="multidiff.modalities"))
    return frozenset({"multidiff", "modalities", *plugins})


def _targets(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if "_target_" in node:
            yield str(node["_target_"])
        for value in node.values():
            yield from _targets(value)
    elif isinstance(node, list):
        for value in node:
            yield from _targets(value)
