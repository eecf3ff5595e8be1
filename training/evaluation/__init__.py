"""Measure models: retrieval, zero-shot, probes, robustness, and whether one beats another."""

from clipsearch.training.evaluation.compare import Comparison, compare

# fine_tune imports torch: evaluate_fine_tune is to be had from its module.
from clipsearch.training.evaluation.few_shot import evaluate_few_shot
from clipsearch.training.evaluation.probe import evaluate_linear_probe, labelled_features
from clipsearch.training.evaluation.results import Evaluation, EvaluationSettings, read_evaluation
from clipsearch.training.evaluation.retrieval import (
    RetrievalResult,
    evaluate_retrieval,
    report_lines,
)
from clipsearch.training.evaluation.zero_shot import ZeroShotResult, evaluate_zero_shot

__all__ = [
    "Comparison",
    "Evaluation",
    "EvaluationSettings",
    "RetrievalResult",
    "ZeroShotResult",
    "compare",
    "evaluate_few_shot",
    "evaluate_linear_probe",
    "evaluate_retrieval",
    "evaluate_zero_shot",
    "labelled_features",
    "read_evaluation",
    "report_lines",
]
