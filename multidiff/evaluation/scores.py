"""All scores of samples against real data, each beside the score of real data."""

from dataclasses import dataclass

import torch

from multidiff.evaluation.classification import accuracy, confusion, inception_score
from multidiff.evaluation.diversity import vendi_score
from multidiff.evaluation.features import FeatureBatch
from multidiff.evaluation.frechet import FrechetDistance, Moments
from multidiff.evaluation.kernel import Gaussian, KernelDistance, median_distance, polynomial
from multidiff.evaluation.manifold import Balls
from multidiff.evaluation.memorisation import Memorisation

LOWER_IS_BETTER = frozenset({"frechet_distance", "frechet_distance_infinite", "kernel_distance", "gaussian_distance"})
"""Names of such scores. Of all others, higher is better, up to the score of real data."""

QUICK = ("frechet_distance", "kernel_distance", "precision", "recall")
"""Names of the scores that `Comparison.distances` computes."""


@dataclass(frozen=True)
class Score:
    """A score and its floor.

    Attributes:
        value: of all samples.
        floor: of real held-out samples, as many as ``count`` says.
        at_floor_count: of the first ``count`` samples, for a fair comparison with ``floor``.
        count: samples of either kind for the last two.
    """

    value: float
    floor: float
    at_floor_count: float
    count: int


class Comparison:
    """Scores of sets of features against one set of real ones, ``(M, D)``.

    Args:
        reference: features of the real samples.
        gaussian_width: of the Gaussian kernel; by default the median distance between real samples.
    """

    def __init__(self, reference: FeatureBatch, gaussian_width: float | None):
        self.features = reference.features.double()
        self.comparable = reference.comparable
        self.frechet = FrechetDistance(Moments.of([self.features]))
        self.width = gaussian_width or median_distance(self.features)
        self.kernel = KernelDistance(self.features, polynomial)
        self.gaussian = KernelDistance(self.features, Gaussian(self.width))
        self.balls = Balls(self.features)

    def distances(self, batch: FeatureBatch) -> dict[str, float]:
        """The scores that are quick to compute, by the names in `QUICK`."""
        features = batch.features.double()
        precision, recall = self.balls.precision_recall(features)
        return {
            "frechet_distance": self.frechet.of_samples(features),
            "kernel_distance": self.kernel(features).value,
            "precision": precision,
            "recall": recall,
        }

    def scores(self, batch: FeatureBatch) -> dict[str, float]:
        """All scores by name, with standard errors under the name and ``_error``.

        The inception score is computed if the extractor is a classifier.
        """
        features = batch.features.double()
        kernel, gaussian = self.kernel(features), self.gaussian(features)
        precision, recall = self.balls.precision_recall(features)
        density, coverage = self.balls.density_coverage(features)
        inception = {} if batch.probabilities is None else {"inception_score": inception_score(batch.probabilities)}
        return {
            "frechet_distance": self.frechet.of_samples(features),
            "frechet_distance_infinite": self.frechet.extrapolated(features),
            "kernel_distance": kernel.value,
            "kernel_distance_error": kernel.error,
            "gaussian_distance": gaussian.value,
            "gaussian_distance_error": gaussian.error,
            "precision": precision,
            "recall": recall,
            "density": density,
            "coverage": coverage,
            "vendi_score": vendi_score(features),
            **inception,
        }

    def with_floor(self, generated: FeatureBatch, held_out: FeatureBatch) -> dict[str, Score]:
        """All scores of ``generated``, beside those of ``held_out`` at the same counts."""
        count = min(len(generated.features), len(held_out.features))
        value, floor = self.scores(generated), self.scores(held_out.first(count))
        same = value if count == len(generated.features) else self.scores(generated.first(count))
        return {name: Score(value[name], floor[name], same[name], count) for name in value}

    def memorisation(self, generated: FeatureBatch, held_out: FeatureBatch) -> Memorisation:
        """Distances of ``generated`` and ``held_out`` to the real samples."""
        return Memorisation.of(generated.comparable, self.comparable, held_out.comparable)


@dataclass(frozen=True)
class ClassificationReport:
    """How a classifier classified samples that were generated for known classes.

    Attributes:
        class_names: in the order of the table.
        accuracy: the fraction of samples classified as requested.
        floor: that fraction of the real held-out samples.
        table: ``table[a][b]`` counts samples of class a classified as b.
    """

    class_names: tuple[str, ...]
    accuracy: float
    floor: float
    table: list[list[int]]


def classification_report(
    class_names: tuple[str, ...],
    generated: FeatureBatch,
    requested: list[str | None],
    held_out: FeatureBatch,
    labels: list[str | None],
) -> ClassificationReport | None:
    """How a classifier classified the samples; None without a classifier, or if none of its classes was requested."""
    known = [i for i, name in enumerate(requested) if name in class_names]
    if generated.classes is None or held_out.classes is None or not known:
        return None
    wanted = torch.tensor([class_names.index(str(requested[i])) for i in known])
    real = torch.tensor([class_names.index(str(name)) for name in labels])
    predicted = generated.classes[known]
    table = confusion(predicted, wanted, len(class_names)).tolist()
    return ClassificationReport(class_names, accuracy(predicted, wanted), accuracy(held_out.classes, real), table)
