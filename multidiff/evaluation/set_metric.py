"""The contract of metrics that compare sets of artifacts directly, without features."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor


class SetMetric(ABC):
    """Scores of sets of samples against a set of real ones, all of equal size; an option of the group ``set_metric``.

    Attributes:
        best: the best value of each score, by its name: "lower", "higher", or a value such as "0.5".
        by_class: scores that are printed for each class.
        largest: number of samples in a set, for reasonable time.
        protocol: everything that the scores depend on apart from the samples; JSON.
    """

    best: Mapping[str, str]
    by_class: tuple[str, ...]
    largest: int
    protocol: Mapping[str, Any]

    @abstractmethod
    def form(self, artifact: Any) -> Tensor:
        """The part of an artifact that is compared; of one shape, so that sets can be stacked."""

    @abstractmethod
    def scores(self, sets: Sequence[Tensor], reference: Tensor, parts: Sequence[slice]) -> list[list[dict[str, float]]]:
        """The scores of each of ``sets`` against ``reference``, for each of ``parts`` of both.

        Args:
            sets: forms, ``(n, ...)`` each.
            reference: forms of real samples, ``(n, ...)``.
            parts: rows of a set that are compared with the same rows of the reference; first all, then each class.

        Returns:
            For each set, for each part, the scores by name, in the order of ``best``.
        """
