"""The contract by which a modality scores sets of samples itself, with no features between."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor


class SetMeasure(ABC):
    """Scores of sets of samples against a set of real ones, all of equal size.

    Attributes:
        best: what is best of each score, by its name: "lower", "higher", or a value such as "0.5".
        by_class: those of them that are printed for each class.
        largest: samples of a set beyond which it would take too long.
        protocol: all that the scores depend on beside the samples; JSON.
    """

    best: Mapping[str, str]
    by_class: tuple[str, ...]
    largest: int
    protocol: Mapping[str, Any]

    @abstractmethod
    def form(self, artifact: Any) -> Tensor:
        """What is compared of an artifact; of one shape, that sets can be stacked."""

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
