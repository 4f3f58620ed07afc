"""Build the objects that configs describe.

A config may come with a downloaded model. So each place in it takes objects of one kind only: the caller names the kind
of the outermost object, and the annotations of its constructor those of objects within. A class must also be on an
allow-list, which is checked before its module is imported.
"""

import importlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from inspect import Parameter, Signature, signature
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from torch import Tensor

from multidiff.errors import InputError
from multidiff.plugins import plugins

T = TypeVar("T")

TARGET, PARTIAL = "_target_", "_partial_"

SCALARS: dict[Any, tuple[type, ...]] = {
    bool: (bool,),
    int: (int,),
    float: (float, int),
    str: (str,),
    Path: (str, int, float),  # a folder called 2024 is a number in YAML
    NoneType: (NoneType,),
}
"""The scalar types of a parameter, and the types of the values that it accepts."""

FOREIGN_TARGETS = frozenset(
    {
        "bitsandbytes.optim.AdamW8bit",
        "lightning.Trainer",
        "lightning.pytorch.loggers.CSVLogger",
        "lightning.pytorch.loggers.TensorBoardLogger",
        "schedulefree.AdamWScheduleFree",
        "torch.optim.Adam",
        "torch.optim.AdamW",
    }
)

EXTRAS = {"bitsandbytes": "optimizers", "schedulefree": "optimizers"}
"""Extras of this package that install optional packages whose classes a config may name."""


def instantiate(kind: type[T], config: Mapping[str, Any], **arguments: Any) -> T:
    """Build the ``kind`` of object that ``config`` describes by its ``_target_``, with further ``arguments``.

    A setting may itself describe an object where the constructor declares the class of that parameter, or a
    ``Callable`` that returns it: ``_partial_: true`` beside the target then leaves the other arguments open.

    Raises:
        InputError: the config, or a part of it, describes another kind of object, names a class that is not on the
            allow-list, or has settings that the class refuses.
    """
    return construct(target_class(config, kind), _settings(config), **arguments)


def construct(target: type[T], settings: Mapping[str, Any], **arguments: Any) -> T:
    """An object of the class ``target``.

    Raises:
        InputError: a setting is unknown, of a wrong type, or refused by the class.
    """
    built = _built(target, settings, arguments)
    try:
        return target(**built, **arguments)
    except InputError:
        raise
    except (TypeError, ValueError) as error:
        raise InputError(f"{target.__name__}: {' '.join(str(error).split())}") from error


def target_class(config: Any, kind: type[T]) -> type[T]:
    """The class that ``config`` names as its ``_target_``, a subclass of ``kind``.

    Raises:
        InputError: it names something else.
    """
    target = config.get(TARGET) if isinstance(config, Mapping) and not config.get(PARTIAL) else None
    if not isinstance(target, str):
        raise InputError(f"expected the {TARGET} of {_a(kind)}, without {PARTIAL}, got {_short(config)}")
    return _subclass(target, kind)


def check_target(target: str) -> type:
    """The class called ``target``.

    Raises:
        InputError: it is not a class of multidiff, of an installed modality, or of the explicit list. Names that lead
            out of an allowed package through one of its imports are refused too.
    """
    module, _, name = target.rpartition(".")
    if target not in FOREIGN_TARGETS and module.split(".")[0] not in _allowed_packages():
        raise InputError(f"the config names {target!r}, which is not allowed to be built from a config")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        if (package := module.split(".")[0]) in EXTRAS and isinstance(error, ImportError):
            extra = f"pip install 'multidiff-toolkit[{EXTRAS[package]}]'"
            raise InputError(f"{target} needs the package {package}: {extra}") from error
        raise InputError(f"the config names {target!r}, which does not exist: {error}") from error
    except Exception as error:  # whatever the code of a plug-in raises
        raise InputError(
            f"{module} cannot be imported, {type(error).__name__}: {' '.join(str(error).split())}"
        ) from error
    home = found.__module__.split(".")[0] if isinstance(found, type) else ""
    if target not in FOREIGN_TARGETS and home not in _allowed_packages():
        raise InputError(f"the config names {target!r}, which is not a class of {module.split('.')[0]}")
    return found


def _built(target: type, settings: Mapping[str, Any], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The settings with the objects that they describe, once their names are known to be accepted."""
    accepted = signature(target)
    try:
        accepted.bind_partial(**settings, **arguments)
    except TypeError as error:
        raise InputError(f"{target.__name__}: {error}") from error
    types = _annotations(target, accepted)
    return {
        name: _value(value, types.get(name, types.get("", Any)), f"{target.__name__}: {name}")
        for name, value in settings.items()
    }


def _annotations(target: type, accepted: Signature) -> dict[str, Any]:
    """The declared type of each parameter; under the empty name, that of further keyword arguments."""
    init = getattr(target, "__init__")  # noqa: B009  to mypy, `target` is an instance
    try:
        hints = get_type_hints(init)
    except NameError:  # one is imported for type checkers only, so it is a text
        hints = {name: kind for name, kind in init.__annotations__.items() if not isinstance(kind, str)}
    return {
        "" if parameter.kind == Parameter.VAR_KEYWORD else name: hints.get(name, Any)
        for name, parameter in accepted.parameters.items()
    }


def _value(value: Any, annotation: Any, where: str) -> Any:
    """``value`` with the objects that it describes, where ``annotation`` allows them."""
    options = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    if isinstance(value, Mapping) and TARGET in value:
        return _described(value, options, where)
    if not any(_fits(value, kind) for kind in options):
        names = [_name(kind) for kind in options if kind is not Tensor]  # which no config can hold
        raise InputError(f"{where} must be {' or '.join(names)}, got {_short(value)}")
    if isinstance(value, Mapping):
        within = next((get_args(kind)[-1] for kind in options if _is(kind, Mapping)), Any)
        return {key: _value(item, within, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, list | tuple):
        within = next((get_args(kind)[0] for kind in options if _is(kind, Sequence)), Any)
        return [_value(item, within, f"{where}[{i}]") for i, item in enumerate(value)]
    return value


def _described(config: Mapping[str, Any], options: Sequence[Any], where: str) -> Any:
    """The object, or the function that builds it, that a setting describes."""
    target, partly = config[TARGET], config.get(PARTIAL, False)
    kind = next((takes for option in options if (takes := _object_kind(option, partly))), None)
    if kind is None or not isinstance(target, str):
        raise InputError(f"{where} cannot hold an object, and the config names {_short(target)}")
    found = _subclass(target, kind)
    if not partly:
        return construct(found, _settings(config))
    build: Callable[..., Any] = found
    return partial(build, **_built(found, _settings(config), {}))


def _object_kind(annotation: Any, partly: Any) -> type[Any] | None:
    """The class of the objects that a parameter takes, or of those that its functions return; None if there is none."""
    if partly:
        return get_args(annotation)[-1] if partly is True and _is(annotation, Callable) else None
    plain = annotation in SCALARS or annotation in (Any, object, Tensor)
    return annotation if isinstance(annotation, type) and not plain else None


def _subclass(target: str, kind: type[T]) -> type[T]:
    found = check_target(target)
    if not issubclass(found, kind):
        raise InputError(f"the config names {target!r} where {_a(kind)} belongs")
    return found


def _settings(config: Mapping[str, Any]) -> dict[str, Any]:
    return {str(key): value for key, value in config.items() if key not in (TARGET, PARTIAL)}


def _fits(value: Any, kind: Any) -> bool:
    """Whether a plain ``value`` may be of type ``kind``; true for types that are not checked."""
    if kind in SCALARS:
        return type(value) in SCALARS[kind]
    if _is(kind, Sequence):
        return isinstance(value, list | tuple)
    if _is(kind, Mapping):
        return isinstance(value, Mapping)
    if _is(kind, Callable):
        return False
    return kind in (Any, object) or not isinstance(kind, type) or isinstance(value, kind)


def _is(kind: Any, generic: Any) -> bool:
    """Whether ``kind`` is a parametrised form of ``generic``, as ``list[int]`` is of ``Sequence``."""
    origin = get_origin(kind)
    return isinstance(origin, type) and bool(get_args(kind)) and issubclass(origin, generic)


def _name(kind: Any) -> str:
    """What a config holds for a parameter of type ``kind``, for messages."""
    if kind is NoneType:
        return "null"
    if _is(kind, Callable):
        return f"the {TARGET} of {_a(get_args(kind)[-1])} with {PARTIAL}: true"
    if _is(kind, Sequence) or _is(kind, Mapping):
        return "a list" if _is(kind, Sequence) else "a mapping"
    scalar = kind in SCALARS or not isinstance(kind, type)
    return f"of type {getattr(kind, '__name__', kind)}" if scalar else f"the {TARGET} of {_a(kind)}"


def _a(kind: type) -> str:
    """The name of a class with its article."""
    return f"{'an' if kind.__name__[0] in 'AEIO' else 'a'} {kind.__name__}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _allowed_packages() -> frozenset[str]:
    return frozenset({"multidiff", "modalities", *(plugin.package for plugin in plugins())})
