"""The models and the sampler files of a studio: those given at its start, and no others."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from multidiff.bundled import bundled, located
from multidiff.configuration import group_options
from multidiff.errors import InputError, few_of
from multidiff.sampling.model_directory import load
from multidiff.sampling.pipeline import Pipeline
from multidiff.sampling.sampler_config import load_sampler
from multidiff.weights import LOWEST


@dataclass(frozen=True)
class Models:
    """Pipelines by the names that requests use.

    Attributes:
        pipelines: by name.
        places: the directories they were loaded from, by name.
        samplers: the sampler files, by the names in them.
    """

    pipelines: Mapping[str, Pipeline]
    places: Mapping[str, Path]
    samplers: Mapping[str, Path] = field(default_factory=dict)

    @classmethod
    def load(cls, paths: Sequence[Path], samplers: Sequence[Path] = ()) -> "Models":
        """The models in these directories, each under the name of its directory or run; by default the bundled ones.

        Raises:
            InputError: there is no directory, one is not of a model, or a file is not of a sampler of its own name.
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
        pipelines = {name: load(path) for name, path in places.items()}
        taken = [*group_options("sampler"), *(str(pipeline.sampler["name"]) for pipeline in pipelines.values())]
        return cls(pipelines, places, _samplers(samplers, taken))

    def __getitem__(self, name: str) -> Pipeline:
        if name not in self.pipelines:
            raise InputError(f"no model is called {name!r} here; there are: {few_of(list(self.pipelines), name)}")
        return self.pipelines[name]

    def of(self, record: Mapping[str, Any]) -> str:
        """The name of the model whose weights have the hash in the record of a plan.

        Raises:
            InputError: none has.
        """
        sha256 = record["model_sha256"]
        found = next((name for name, pipeline in self.pipelines.items() if pipeline.sha256 == sha256), None)
        if found is None:
            name = f"{Path(str(record['model'])).name}, " if "model" in record else ""
            raise InputError(
                f"it was made by a model that is not open here ({name}weights {str(sha256)[:12]}): "
                "start the studio with that model too"
            )
        return found


def _name(path: Path) -> str:
    """The name of a model directory; of one in the directory of a run, that of the run."""
    names = {"model": path.parent.name, LOWEST: f"{path.parent.name}, lowest loss"}
    return names.get(path.name, path.name)


def _samplers(files: Sequence[Path], taken: Sequence[str]) -> dict[str, Path]:
    """Sampler files by the names in them, which must differ from each other and from those that are ``taken``."""
    found: dict[str, Path] = {}
    for file in dict.fromkeys(file.expanduser().resolve() for file in files):
        name = load_sampler(str(file))["name"]
        if name in (*taken, *found):
            raise InputError(f"{file}: there is a sampler called {name} already; change the name in the file")
        found[name] = file
    return found
