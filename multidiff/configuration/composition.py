"""Composition of configs by Hydra, with those of plug-ins. Sampling composes none, so it starts without Hydra."""

from collections.abc import Callable, Sequence
from typing import Any

import hydra
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from hydra.core.plugins import Plugins
from hydra.errors import OverrideParseException
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import DictConfig

from multidiff.configuration.groups import config_dir, config_dirs, group_options


class PluginConfigs(SearchPathPlugin):
    """Adds the configs of installed plug-ins to Hydra's search path."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        for folder in config_dirs()[1:]:
            search_path.append("multidiff.plugins", f"file://{folder}")


Plugins.instance().register(PluginConfigs)


def composed(name: str, overrides: Sequence[str] = ()) -> DictConfig:
    """The config ``name`` with ``overrides``, also within an application of Hydra such as ``multidiff train``."""
    instance = GlobalHydra.instance()
    outer, instance.hydra = instance.hydra, None
    try:
        with hydra.initialize_config_dir(str(config_dir()), version_base="1.3"):
            return hydra.compose(name, overrides=list(overrides))
    finally:
        instance.hydra = outer


def application(job: Callable[[DictConfig], Any]) -> Callable[[], Any]:
    """``job``, called with the training config that the command line asks for."""
    return hydra.main(version_base="1.3", config_path=str(config_dir()), config_name="train")(job)


def parsed(overrides: Sequence[str]) -> list[Override] | None:
    """The ``overrides`` of one training; None if Hydra's grammar has no such text, or one of them is a sweep."""
    try:
        found = OverridesParser.create().parse_overrides(list(overrides))
    except OverrideParseException:
        return None
    return None if any(override.is_sweep_override() for override in found) else found


def changed(settings: dict[str, Any], override: Override) -> bool:
    """Make the change of ``override`` in ``settings``, which are plain values.

    Returns:
        False if it chooses an option of a group, changes what is not there, or merges a mapping.
    """
    *parents, name = override.key_or_group.split(".")
    holder: Any = settings
    for parent in parents:
        holder = holder.get(parent) if isinstance(holder, dict) else None
    known = isinstance(holder, dict) and (name in holder or override.type != OverrideType.CHANGE)
    chosen = not parents and group_options(name)
    if chosen or not known or isinstance(override.value(), dict):
        return False
    if override.type == OverrideType.DEL:
        holder.pop(name, None)  # a further process of a training reads what the first one wrote
    else:
        holder[name] = override.value()
    return True
