"""The models of a studio: those given at its start, and no others."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from multidiff.bundled import bundled, located
from multidiff.errors import InputError, few_of
from multidiff.sampling.model_directory import load
from multidiff.sampling.pipeline import Pipeline
from multidiff.training.checkpoints import LOWEST


@dataclass(frozen=True)
class Models:
    """Pipelines by the names that requests use.

    Attributes:
        pipelines: by name.
        places: the directories they were loaded from, by name.
    """

    pipelines: Mapping[str, Pipeline]
    places: Mapping[str, Path]

    @classmethod
    def load(cls, paths: Sequence[Path]) -> "Models":
        """The models in these directories, each under the name of its directory or run; by default the bundled ones.

        Raises:
            InputError: there is no directory, or one is not of a model.
        """
        paths = paths or list(bundled().values())
        if not paths:
            raise InputError("give at least one model: multidiff studio RUN_OR_MODEL_DIRECTORY ...")
        places: dict[str, Path] = {}
        for path in dict.fromkeys(located(path.expanduser()).resolve() for path in paths):
            name = _name(path)
            while name in places:
                name += "'"
            places[name] = path
        return cls({name: load(path) for name, path in places.items()}, places)

    def __getitem__(self, name: str) -> Pipeline:
        if name not in self.pipelines:
            raise InputError(f"no model is called {name!r} here; there are: {few_of(list(self.pipelines), name)}")
        return self.pipelines[name]

    def by_hash(self, sha256: object) -> str:
        """The name of the model whose weights have this hash.

        Raises:
            InputError: none has.
        """
        found = next((name for name, pipeline in self.pipelines.items() if pipeline.sha256 == sha256), None)
        if found is None:
            raise InputError(f"it was made by a model that is not open here (weights {str(sha256)[:12]})")
        return found


def _name(path: Path) -> str:
    """The name of a model directory; of one in the directory of a run, that of the run."""
    names = {"model": path.parent.name, LOWEST: f"{path.parent.name}, lowest loss"}
    return names.get(path.name, path.name)
