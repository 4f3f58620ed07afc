"""Where artifacts come from, in blocks of one size.

Networks round differently for batches of different sizes. Whatever is drawn or looked at here goes through the network
in full blocks of `BLOCK`, so that no score depends on batch size, number of processes, or how many samples follow.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from multidiff.errors import InputError
from multidiff.evaluation.reference import Reference
from multidiff.modality import Modality
from multidiff.sampling.pipeline import Pipeline
from multidiff.sampling.plan import Sampling, seeds_of

BLOCK = 32
"""Artifacts that go through a network at once."""


class Source(ABC):
    """Artifacts by number.

    Attributes:
        asked: the label or prompt that each was made for, if any.
    """

    asked: Sequence[str | None]

    def __len__(self) -> int:
        return len(self.asked)

    @property
    def blocks(self) -> range:
        """The numbers of the blocks; the last may be less than full."""
        return range(-(-len(self) // BLOCK))

    def rows(self, block: int) -> range:
        """The numbers of the artifacts in a block."""
        return range(block * BLOCK, min((block + 1) * BLOCK, len(self)))

    @abstractmethod
    def block(self, number: int) -> list[Any]:
        """The artifacts of block ``number``, always the same."""

    def first(self, count: int) -> list[Any]:
        """The first ``count`` artifacts."""
        needed = self.blocks[: -(-count // BLOCK)]
        return [artifact for number in needed for artifact in self.block(number)][:count]


class Real(Source):
    """Samples ``indices`` of the data."""

    def __init__(self, reference: Reference, indices: Sequence[int]):
        self.reference, self.indices = reference, indices
        self.asked = [reference.label(i) for i in indices]

    def block(self, number: int) -> list[Any]:
        return [self.reference.artifact(self.indices[row]) for row in self.rows(number)]


class Drawn(Source):
    """Samples of a model, one for each of ``asked``; sample i is that of ``multidiff sample --seed``."""

    def __init__(self, pipeline: Pipeline, sampling: Sampling, asked: Sequence[str | None], seed: int):
        self.pipeline, self.sampling, self.asked, self.seed = pipeline, sampling, asked, seed

    def block(self, number: int) -> list[Any]:
        rows = self.rows(number)
        conditions = [self.asked[i % len(self)] for i in range(rows.start, rows.start + BLOCK)]
        seeds = seeds_of(self.seed, rows.start, rows.start + BLOCK)
        x0 = self.pipeline.sample_tensor(seeds, conditions, self.sampling)
        if not bool(x0.isfinite().all()):
            raise InputError(f"samples {rows.start} to {rows.stop - 1} of the model are not finite: it is damaged")
        return [self.pipeline.modality.to_artifact(x) for x in x0[: len(rows)].cpu()]


class Files(Source):
    """Files that anything made.

    Args:
        modality: of the files.
        paths: in order.
        asked: the label that each was made for, if any.
        shape: ``(C, *size)`` of the data that they are compared with.
        foreign: whether something else than this package made them.
    """

    def __init__(
        self,
        modality: Modality[Any],
        paths: Sequence[Path],
        asked: Sequence[str | None],
        shape: tuple[int, ...],
        *,
        foreign: bool,
    ):
        self.modality, self.paths, self.asked, self.shape, self.foreign = modality, paths, asked, shape, foreign

    def block(self, number: int) -> list[Any]:
        return [self._read(self.paths[row]) for row in self.rows(number)]

    def _read(self, path: Path) -> Any:
        artifact = self.modality.read(path)
        try:
            return self.modality.comparable(artifact, self.shape, foreign=self.foreign)
        except InputError as error:
            raise InputError(f"{path} {error}") from error
