"""Where artifacts come from, in blocks of one size.

Networks round differently for batches of different sizes. Artifacts therefore go through networks in full blocks of
`BLOCK`, or in the same parts of each, and scores do not depend on process count.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from multidiff.errors import InputError
from multidiff.evaluation.reference import Reference
from multidiff.modality import Modality
from multidiff.sampling.plan import Plan

BLOCK = 32
"""Artifacts of a block, which go through the network of the features at once."""


class Source(ABC):
    """Artifacts by number.

    Attributes:
        labels: the class that each was generated for, or belongs to, if any.
    """

    labels: Sequence[str | None]

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def blocks(self) -> range:
        """The numbers of the blocks; the last may have fewer artifacts."""
        return range(-(-len(self) // BLOCK))

    def rows(self, block: int) -> range:
        """The numbers of the artifacts in a block."""
        return range(block * BLOCK, min((block + 1) * BLOCK, len(self)))

    @abstractmethod
    def block(self, number: int) -> list[Any]:
        """The artifacts of block ``number``; each call returns the same."""

    def first(self, count: int) -> list[Any]:
        """The first ``count`` artifacts."""
        needed = self.blocks[: -(-count // BLOCK)]
        return [artifact for number in needed for artifact in self.block(number)][:count]


class Real(Source):
    """Samples ``indices`` of the data."""

    def __init__(self, reference: Reference, indices: Sequence[int]):
        self.reference, self.indices = reference, indices
        self.labels = [reference.label(i) for i in indices]

    def block(self, number: int) -> list[Any]:
        return [self.reference.artifact(self.indices[row]) for row in self.rows(number)]


class Generated(Source):
    """The samples of a plan, in parts of its batch size; sample i is that of ``multidiff sample --seed``.

    Args:
        plan: of the samples.
        reference: that they are compared with; meshes are compared with points by as many points.
    """

    def __init__(self, plan: Plan, reference: Reference):
        self.plan, self.reference = plan, reference
        labels = (fields.get("label") for fields in plan.samples)
        self.labels = [None if label is None else str(label) for label in labels]

    def changed(self, **changes: Any) -> "Generated":
        """The samples of the same plan with other settings."""
        return Generated(replace(self.plan, **changes), self.reference)

    def block(self, number: int) -> list[Any]:
        rows, size = self.rows(number), min(self.plan.batch_size, BLOCK)
        whole, conditions = range(rows.start, rows.start + BLOCK), self.plan.conditions()
        artifacts: list[Any] = []
        for start in range(0, len(rows), size):
            part = whole[start : start + size]
            x0 = self.plan.x0(part, conditions=conditions)
            if not bool(x0.isfinite().all()):
                last = min(part.stop, rows.stop) - 1
                raise InputError(f"samples {part.start} to {last} of the model are not finite: it is damaged")
            artifacts += self.plan.pipeline.artifacts(x0)
        return [self._comparable(artifact) for artifact in artifacts[: len(rows)]]

    def _comparable(self, artifact: Any) -> Any:
        pipeline, shape = self.plan.pipeline, self.reference.shape
        if len(pipeline.data_shape) == len(shape):  # data may be longer, by padding to frames of x0
            return artifact
        return pipeline.modality.comparable(artifact, shape, foreign=False)


class Files(Source):
    """Files by this package or by another program.

    Args:
        modality: of the files.
        paths: in order.
        labels: the class that each was generated for, if any.
        shape: ``(C, *size)`` of the data that they are compared with.
        foreign: whether another program wrote them.
    """

    def __init__(
        self,
        modality: Modality[Any],
        paths: Sequence[Path],
        labels: Sequence[str | None],
        shape: tuple[int, ...],
        *,
        foreign: bool,
    ):
        self.modality, self.paths, self.labels, self.shape, self.foreign = modality, paths, labels, shape, foreign

    def block(self, number: int) -> list[Any]:
        return [self._read(self.paths[row]) for row in self.rows(number)]

    def _read(self, path: Path) -> Any:
        artifact = self.modality.read(path)
        try:
            return self.modality.comparable(artifact, self.shape, foreign=self.foreign)
        except InputError as error:
            raise InputError(f"{path} {error}") from error
