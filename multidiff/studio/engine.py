"""What all pages of a studio share: its models, its history, its limits, and the jobs that run."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from multidiff.configuration import instantiate
from multidiff.errors import InputError
from multidiff.modality import Modality
from multidiff.sampling.editing import Edit
from multidiff.sampling.plan import Plan
from multidiff.sampling.reproduce import read_original
from multidiff.sampling.seeds import Seeds
from multidiff.studio.history import History, Result
from multidiff.studio.jobs import Job, Progress
from multidiff.studio.limits import Limits
from multidiff.studio.line import Line, Place
from multidiff.studio.models import Models
from multidiff.studio.request import Request
from multidiff.studio.settings import Settings

QUEUE: dict[str, Any] = {"concurrency_limit": None}
"""Arguments of every event that uses a model: all begin at once, and wait in the line of the studio."""


@dataclass(frozen=True)
class Studio:
    """A studio without its page.

    Attributes:
        models: that it generates with.
        history: that keeps the results.
        limits: of a request.
        runs: run directories that a page follows.
        reports: of evaluations that a page shows.
        line: the requests that are served or wait.
    """

    models: Models
    history: History
    limits: Limits = field(default_factory=Limits)
    runs: tuple[Path, ...] = ()
    reports: tuple[Path, ...] = ()
    line: Line = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "line", Line(self.limits.waiting))

    def plan(self, name: str, asked: Request, edit: Edit | None = None, seeds: Seeds | None = None) -> Plan:
        """The validated plan of a request to the model ``name``; the others are as for `Request.plan`.

        Raises:
            InputError: there is no such model, a value cannot be used, or one is above the limits.
        """
        return asked.plan(self.models[name], self.limits, self.models.samplers, edit, seeds)

    def generate(self, place: Place, name: str, plan: Plan, files: Sequence[Path] = ()) -> Iterator[Progress | Result]:
        """Carry out a plan of the model ``name``; the last that it yields is the result.

        Args:
            place: of the request, whose turn it is.
            name: of the model.
            plan: what to generate.
            files: that an edit starts from, which are kept with the result.

        Raises:
            StoppedError: the visitor stopped it, or the time is up.
            InputError: the result could not be written.
        """
        job = Job(plan, self.limits.seconds)
        place.begin(job)
        yield from job.run()
        yield self.history.add(plan, job.artifacts, name, plan.pipeline.modality.written[0], files)

    def settings_in(self, path: Path) -> Settings:
        """The settings by which a generated file was made.

        Raises:
            InputError: it holds no plan, or one of another model.
        """
        found = read_original(path)
        return Settings.of(found.record, self.models, self.history, found.index)

    def settings_of(self, result: Result) -> Settings:
        """The same of a result in the history."""
        return Settings.of(result.record, self.models, self.history)

    def modality_of(self, result: Result) -> Modality[Any]:
        """The modality of a result, whose model need not be open.

        Raises:
            InputError: it is not installed.
        """
        hashes = {pipeline.sha256: pipeline for pipeline in self.models.pipelines.values()}
        if result.record["model_sha256"] in hashes:
            return hashes[result.record["model_sha256"]].modality
        return instantiate(Modality, result.record["modality"])

    def modalities(self) -> dict[str, Modality[Any]]:
        """One modality of each name: of the open models, and of the results in the history where it is installed."""
        found = {pipeline.modality.name: pipeline.modality for pipeline in self.models.pipelines.values()}
        for config in self.history.modalities():
            with suppress(InputError):
                modality = instantiate(Modality, config)
                found.setdefault(modality.name, modality)
        return found
