"""Configs: the groups and their composition, documents read with limits, and the objects that configs describe."""

from multidiff.configuration.build import check_target, construct, instantiate, target_class
from multidiff.configuration.documents import parse_json, parse_yaml, read_json, read_yaml
from multidiff.configuration.groups import (
    advice,
    compose,
    config_dir,
    config_dirs,
    described,
    group_options,
    left_out_if_broken,
    load_option,
    option_file,
    plain_value,
    resolved,
)

__all__ = [
    "advice",
    "check_target",
    "compose",
    "config_dir",
    "config_dirs",
    "construct",
    "described",
    "group_options",
    "instantiate",
    "left_out_if_broken",
    "load_option",
    "option_file",
    "parse_json",
    "parse_yaml",
    "plain_value",
    "read_json",
    "read_yaml",
    "resolved",
    "target_class",
]
