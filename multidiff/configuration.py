"""All access to Hydra: find configs, compose them, and build the objects that they describe.

A config can travel with a downloaded model, so it may name only classes on an allow-list, checked before any import.
"""

import importlib
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from inspect import signature
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin

import hydra
import yaml
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from multidiff.errors import InputError
from multidiff.plugins import plugins

T = TypeVar("T")

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


class PluginConfigs(SearchPathPlugin):
    """Adds the configs of installed plug-ins to Hydra's search path."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        for folder in config_dirs()[1:]:
            search_path.append("multidiff.plugins", f"file://{folder}")


Plugins.instance().register(PluginConfigs)


def config_dir() -> Path:
    """Where the shipped configs are: inside an installed package, or at the root of a checkout."""
    package = Path(__file__).resolve().parent
    shipped = package / "conf"
    return shipped if shipped.is_dir() else package.parent / "conf"


def config_dirs() -> list[Path]:
    """The shipped configs, then those of each plug-in."""
    return [config_dir(), *(folder for plugin in plugins() if (folder := plugin.config_dir))]


def compose(overrides: Sequence[str]) -> DictConfig:
    """The training config that ``multidiff train`` with these overrides would use."""
    with _hydra():
        return hydra.compose("train", overrides=list(overrides))


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
    name, *changes = shlex.split(text) or [""]
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


def plain_value(text: str) -> Any:
    """The value that YAML reads in ``text``; the text itself where it is no YAML, such as ``*.tar``."""
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text


def _loaded(group: str, name: str) -> DictConfig:
    config = OmegaConf.load(option_file(group, name))
    assert isinstance(config, DictConfig)
    if "defaults" not in config:
        return config
    with _hydra():
        whole = hydra.compose(f"{group}/{name}")
    OmegaConf.set_struct(whole, False)
    for part in group.split("/"):
        whole = whole[part]
    return whole


@contextmanager
def _hydra() -> Iterator[None]:
    """Hydra, ready to compose, also within an application of Hydra such as ``multidiff train``."""
    instance = GlobalHydra.instance()
    outer, instance.hydra = instance.hydra, None
    try:
        with hydra.initialize_config_dir(str(config_dir()), version_base="1.3"):
            yield
    finally:
        instance.hydra = outer


def resolved(config: Any) -> dict[str, Any]:
    """The config as plain dictionaries and lists, every interpolation replaced by its value."""
    return OmegaConf.to_container(config, resolve=True, throw_on_missing=True)  # type: ignore[return-value]


def instantiate(config: Any, **arguments: Any) -> Any:
    """Build the object that ``config`` describes by its ``_target_``, and those within it, with further ``arguments``.

    ``_partial_: true`` beside a target leaves some arguments open: the result is a function of them.

    Raises:
        InputError: a target is not on the allow-list (nothing is imported then), or the class refuses its arguments.
    """
    plain = resolved(config) if OmegaConf.is_config(config) else config
    for target in _targets(plain):
        _check_allowed(target)
    return _build(plain, arguments)


def instantiate_as(kind: type[T], config: Any, **arguments: Any) -> T:
    """Build the ``kind`` of object that ``config`` describes, as `instantiate` does.

    Raises:
        InputError: the config describes something else, or leaves arguments open.
    """
    target_class(config, kind)
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
    return construct(check_target(node["_target_"]), settings, partly=bool(node.get("_partial_")), **arguments)


def construct(target: type, settings: Mapping[str, Any], *, partly: bool = False, **arguments: Any) -> Any:
    """An object of the class ``target``, or a function of its other arguments if ``partly``.

    Raises:
        InputError: a setting is unknown, of a wrong type, or refused by the class.
    """
    _check_types(target, settings)
    try:
        if partly:
            signature(target).bind_partial(**settings, **arguments)  # so that a wrong name is refused here
            return partial(target, **settings, **arguments)
        return target(**settings, **arguments)
    except InputError:
        raise
    except (TypeError, ValueError) as error:
        raise InputError(f"{target.__name__}: {' '.join(str(error).split())}") from error


def _check_types(target: type, settings: Mapping[str, Any]) -> None:
    """Refuse a setting of another type than number, text or list where the class declares one."""
    parameters = signature(target).parameters
    for name, value in settings.items():
        annotation = parameters[name].annotation if name in parameters else Any
        kinds = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
        kinds = tuple(kind for kind in kinds if kind is not Tensor)  # which no config can hold
        if set(kinds) <= PLAIN.keys() and not any(type(value) in PLAIN[kind] for kind in kinds):
            wanted = " or ".join("null" if kind in (None, NoneType) else kind.__name__ for kind in kinds)
            raise InputError(f"{target.__name__}: {name} must be of type {wanted}, got {value!r}")


def target_class(config: Mapping[str, Any], kind: type[T]) -> type[T]:
    """The class that ``config`` names as its ``_target_``, a subclass of ``kind``.

    Raises:
        InputError: it names something else.
    """
    target = config.get("_target_") if isinstance(config, Mapping) else None
    found = check_target(target) if isinstance(target, str) and not config.get("_partial_") else None
    if found is None or not issubclass(found, kind):
        raise InputError(f"expected the _target_ of a {kind.__name__}, without _partial_, got {config!r}")
    return found


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


def _allowed_packages() -> frozenset[str]:
    return frozenset({"multidiff", "modalities", *(plugin.package for plugin in plugins())})


def _targets(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if "_target_" in node:
            yield str(node["_target_"])
        for value in node.values():
            yield from _targets(value)
    elif isinstance(node, list):
        for value in node:
            yield from _targets(value)
