"""Evaluation: scores on features and on samples, with the protocol that they depend on."""

from multidiff.evaluation.encoder import Classification, LearnedFeatures, Task, has_classes
from multidiff.evaluation.evaluated import EvaluatedFiles, EvaluatedModel
from multidiff.evaluation.evaluation import Evaluation, Evaluator, require_enough
from multidiff.evaluation.features import Extractor, FeatureBatch, Features
from multidiff.evaluation.reference import Reference
from multidiff.evaluation.run import EvaluationRun, EvaluationSettings, Result, extractor
from multidiff.evaluation.scores import LOWER_IS_BETTER, QUICK
from multidiff.evaluation.set_metric import SetMetric
from multidiff.evaluation.set_scores import SetScores
from multidiff.evaluation.sources import Generated
from multidiff.evaluation.table import header, rows

__all__ = [
    "LOWER_IS_BETTER",
    "QUICK",
    "Classification",
    "EvaluatedFiles",
    "EvaluatedModel",
    "Evaluation",
    "EvaluationRun",
    "EvaluationSettings",
    "Evaluator",
    "Extractor",
    "FeatureBatch",
    "Features",
    "Generated",
    "LearnedFeatures",
    "Reference",
    "Result",
    "SetMetric",
    "SetScores",
    "Task",
    "extractor",
    "has_classes",
    "header",
    "require_enough",
    "rows",
]
