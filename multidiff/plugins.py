"""Installed plug-ins: packages that bring modalities, backbones, data sets and their configs.

A plug-in declares an entry point in the group ``multidiff.plugins`` whose value is a module. Configs may name the
classes of the module's package, and the folder ``conf`` beside the module joins every config group::

    [project.entry-points."multidiff.plugins"]
    molecules = "multidiff_molecules"
"""

from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

from multidiff.errors import InputError

GROUP = "multidiff.plugins"


@dataclass(frozen=True)
class Plugin:
    """An installed plug-in.

    Attributes:
        name: name of the entry point.
        module: the module that the entry point names.

    Raises:
        InputError: the entry point names an object in a module.
    """

    name: str
    module: str

    def __post_init__(self) -> None:
        module, colon, _ = self.module.partition(":")
        if colon:
            raise InputError(
                f"the entry point of the plug-in {self.name} must be the name of a module, such as {module!r}, "
                f"got {self.module!r}"
            )

    @property
    def package(self) -> str:
        """The top-level package, whose classes configs may name."""
        return self.module.partition(".")[0]

    @property
    def config_dir(self) -> Path | None:
        """The folder ``conf`` beside the module, or None without one.

        Raises:
            InputError: the module cannot be found.
        """
        try:
            spec = find_spec(self.module)
        except ImportError:
            spec = None
        if spec is None or spec.origin is None:
            raise InputError(
                f"the plug-in {self.name} names the module {self.module}, which is not there: reinstall it"
            )
        folder = Path(spec.origin).parent / "conf"
        return folder if folder.is_dir() else None


@cache
def plugins() -> tuple[Plugin, ...]:
    """All installed plug-ins, by name."""
    return tuple(Plugin(entry.name, entry.value) for entry in sorted(entry_points(group=GROUP)))
