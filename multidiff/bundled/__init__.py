"""The models that are installed with the package, each a model directory beside this file."""

from pathlib import Path

FOLDER = Path(__file__).parent
"""Where they are."""

NAMES = ("emoji", "drums", "furniture")
"""Their names, in the order in which they are shown."""


def bundled() -> dict[str, Path]:
    """Their directories by name."""
    return {name: FOLDER / name for name in NAMES if (FOLDER / name).is_dir()}


def located(path: Path) -> Path:
    """The directory of the bundled model that ``path`` names, where nothing else is at ``path``; else ``path``."""
    return path if path.exists() else bundled().get(str(path), path)
