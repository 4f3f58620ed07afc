"""What all pages of a studio share: its models, its history, its limits, and the jobs that run."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from multidiff.sampling.plan import Plan
from multidiff.sampling.reproduce import read_original
from multidiff.studio.history import History, Result
from multidiff.studio.jobs import Job, Progress
from multidiff.studio.limits import Limits
from multidiff.studio.models import Models
from multidiff.studio.request import Request

QUEUE: dict[str, Any] = {"concurrency_limit": 1, "concurrency_id": "model"}
"""Arguments of every event that uses a model: one at a time, the others wait in the queue."""


@dataclass(frozen=True)
class Studio:
    """A studio without its page.

    Attributes:
        models: that it generates with.
        history: that keeps the results.
        limits: of a request.
        runs: run directories that a page follows.
        reports: of evaluations that a page shows.
        jobs: that run now, by the session of their visitor.
    """

    models: Models
    history: History
    limits: Limits = field(default_factory=Limits)
    runs: tuple[Path, ...] = ()
    reports: tuple[Path, ...] = ()
    jobs: dict[str, Job] = field(default_factory=dict)

    def generate(self, session: str, name: str, plan: Plan, files: Sequence[Path] = ()) -> Iterator[Progress | Result]:
        """Carry out a plan of the model ``name``; the last that it yields is the result.

        Args:
            session: of the visitor.
            name: of the model.
            plan: what to generate.
            files: that an edit starts from, which are kept with the result.

        Raises:
            StoppedError: the visitor stopped it, or the time is up.
            InputError: the result could not be written.
        """
        job = self.jobs[session] = Job(plan, self.limits.seconds)
        try:
            yield from job.run()
        finally:
            if self.jobs.get(session) is job:
                del self.jobs[session]
        yield self.history.add(plan, job.artifacts, name, plan.pipeline.modality.written[0], files)

    def stop(self, session: str) -> bool:
        """Stop the job of a visitor; whether there was one."""
        job = self.jobs.get(session)
        if job is not None:
            job.stop()
        return job is not None

    def settings_in(self, path: Path) -> tuple[str, Request]:
        """The model and the request by which a generated file was made.

        Raises:
            InputError: it holds no plan, or one of another model.
        """
        found = read_original(path)
        return self.models.by_hash(found.record["model_sha256"]), Request.of(found.record, found.index)

    def settings_of(self, result: Result) -> tuple[str, Request]:
        """The same of a result in the history."""
        record: Mapping[str, object] = result.record
        return self.models.by_hash(record["model_sha256"]), Request.of(record)
