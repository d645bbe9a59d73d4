"""What is reported beside the loss: Keras 3's metrics for dense networks, as classes and functions.

A metric object says by `lower` what a plan adds up for it, and computes the same from arrays
(`update_state`, `result`, `reset_state`).  This package knows nothing of models or training.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from .. import losses, spec
from ..losses import (
    binary_crossentropy,
    binary_focal_crossentropy,
    categorical_crossentropy,
    categorical_focal_crossentropy,
    categorical_hinge,
    hinge,
    huber,
    kl_divergence,
    log_cosh,
    mean_absolute_error,
    mean_absolute_percentage_error,
    mean_squared_error,
    mean_squared_logarithmic_error,
    poisson,
    sparse_categorical_crossentropy,
    squared_hinge,
)
from ..registry import Registry
from .confusion import (
    AUC,
    FalseNegatives,
    FalsePositives,
    Precision,
    PrecisionAtRecall,
    Recall,
    RecallAtPrecision,
    SensitivityAtSpecificity,
    SpecificityAtSensitivity,
    TrueNegatives,
    TruePositives,
)
from .functions import (
    accuracy,
    binary_accuracy,
    categorical_accuracy,
    concordance_correlation,
    pearson_correlation,
    sparse_categorical_accuracy,
    sparse_top_k_categorical_accuracy,
    top_k_categorical_accuracy,
)
from .iou import BinaryIoU, IoU, MeanIoU, OneHotIoU, OneHotMeanIoU
from .means import (
    Accuracy,
    BinaryAccuracy,
    BinaryCrossentropy,
    CategoricalAccuracy,
    CategoricalCrossentropy,
    CategoricalHinge,
    ConcordanceCorrelation,
    CosineSimilarity,
    Hinge,
    KLDivergence,
    LogCoshError,
    LossMetric,
    Mean,
    MeanAbsoluteError,
    MeanAbsolutePercentageError,
    MeanMetricWrapper,
    MeanSquaredError,
    MeanSquaredLogarithmicError,
    PearsonCorrelation,
    Poisson,
    RootMeanSquaredError,
    SparseCategoricalAccuracy,
    SparseCategoricalCrossentropy,
    SparseTopKCategoricalAccuracy,
    SquaredHinge,
    Sum,
    TopKCategoricalAccuracy,
)
from .metric import Metric
from .overlaps import F1Score, FBetaScore
from .regression import R2Score

__all__ = [
    "AUC",
    "Accuracy",
    "BinaryAccuracy",
    "BinaryCrossentropy",
    "BinaryIoU",
    "CategoricalAccuracy",
    "CategoricalCrossentropy",
    "CategoricalHinge",
    "ConcordanceCorrelation",
    "CosineSimilarity",
    "F1Score",
    "FBetaScore",
    "FalseNegatives",
    "FalsePositives",
    "Hinge",
    "IoU",
    "KLDivergence",
    "LogCoshError",
    "LossMetric",
    "Mean",
    "MeanAbsoluteError",
    "MeanAbsolutePercentageError",
    "MeanIoU",
    "MeanMetricWrapper",
    "MeanSquaredError",
    "MeanSquaredLogarithmicError",
    "Metric",
    "OneHotIoU",
    "OneHotMeanIoU",
    "PearsonCorrelation",
    "Poisson",
    "Precision",
    "PrecisionAtRecall",
    "R2Score",
    "Recall",
    "RecallAtPrecision",
    "RootMeanSquaredError",
    "SensitivityAtSpecificity",
    "SparseCategoricalAccuracy",
    "SparseCategoricalCrossentropy",
    "SparseTopKCategoricalAccuracy",
    "SpecificityAtSensitivity",
    "SquaredHinge",
    "Sum",
    "TopKCategoricalAccuracy",
    "TrueNegatives",
    "TruePositives",
    "accuracy",
    "binary_accuracy",
    "binary_crossentropy",
    "binary_focal_crossentropy",
    "categorical_accuracy",
    "categorical_crossentropy",
    "categorical_focal_crossentropy",
    "categorical_hinge",
    "concordance_correlation",
    "deserialize",
    "get",
    "hinge",
    "huber",
    "kl_divergence",
    "log_cosh",
    "mean_absolute_error",
    "mean_absolute_percentage_error",
    "mean_squared_error",
    "mean_squared_logarithmic_error",
    "pearson_correlation",
    "poisson",
    "resolve",
    "serialize",
    "sparse_categorical_accuracy",
    "sparse_categorical_crossentropy",
    "sparse_top_k_categorical_accuracy",
    "squared_hinge",
    "top_k_categorical_accuracy",
]

_CLASSES = (
    AUC,
    Accuracy,
    BinaryAccuracy,
    BinaryCrossentropy,
    BinaryIoU,
    CategoricalAccuracy,
    CategoricalCrossentropy,
    CategoricalHinge,
    ConcordanceCorrelation,
    CosineSimilarity,
    F1Score,
    FBetaScore,
    FalseNegatives,
    FalsePositives,
    Hinge,
    IoU,
    KLDivergence,
    LogCoshError,
    LossMetric,
    Mean,
    MeanAbsoluteError,
    MeanAbsolutePercentageError,
    MeanIoU,
    MeanMetricWrapper,
    MeanSquaredError,
    MeanSquaredLogarithmicError,
    OneHotIoU,
    OneHotMeanIoU,
    PearsonCorrelation,
    Poisson,
    Precision,
    PrecisionAtRecall,
    R2Score,
    Recall,
    RecallAtPrecision,
    RootMeanSquaredError,
    SensitivityAtSpecificity,
    SparseCategoricalAccuracy,
    SparseCategoricalCrossentropy,
    SparseTopKCategoricalAccuracy,
    SpecificityAtSensitivity,
    SquaredHinge,
    Sum,
    TopKCategoricalAccuracy,
    TrueNegatives,
    TruePositives,
)
_OF_FUNCTION = {
    accuracy: Accuracy,
    binary_accuracy: BinaryAccuracy,
    categorical_accuracy: CategoricalAccuracy,
    concordance_correlation: ConcordanceCorrelation,
    pearson_correlation: PearsonCorrelation,
    sparse_categorical_accuracy: SparseCategoricalAccuracy,
    sparse_top_k_categorical_accuracy: SparseTopKCategoricalAccuracy,
    top_k_categorical_accuracy: TopKCategoricalAccuracy,
}
_OF_LOSS = {cls._loss_class: cls for cls in _CLASSES
            if issubclass(cls, LossMetric) and cls not in (LossMetric, RootMeanSquaredError,
                                                           CosineSimilarity)}


def _aliases():
    """The losses' short names in both cases, as Keras has them ("mse", "MSE")."""
    found = {function.__name__: cls for function, cls in _OF_FUNCTION.items()}
    for loss, cls in _OF_LOSS.items():
        if cls is not SparseCategoricalCrossentropy:
            for alias in spec.LOSSES[loss.row].aliases:
                found[alias] = found[alias.upper()] = cls
    return found


_REGISTRY = Registry("metric", Metric, _CLASSES, _aliases())


def serialize(metric: Metric) -> dict[str, Any]:
    """The config dict of a metric.

    >>> serialize(Mean())["class_name"]
    'Mean'
    """
    if inspect.isfunction(metric) and (metric in _OF_FUNCTION or metric in losses.OF_FUNCTION):
        metric = get(metric)
    return _REGISTRY.serialize(metric)


def deserialize(config, custom_objects: Mapping | None = None) -> Metric:
    """A metric from its config dict or name; ValueError if it is unknown.

    >>> deserialize(serialize(MeanSquaredError())).name
    'mean_squared_error'
    """
    return _as_metric(_REGISTRY.deserialize(config, custom_objects))


def get(identifier) -> Metric | None:
    """A metric object from a name, a config dict, a class, an instance or a function.

    A loss, its name or its function stands for the mean of the loss.

    Raises
    ------
    ValueError, TypeError
        If the name is unknown (the nearest known ones are named) or the identifier none of these.

    >>> get("mse").name, get("huber").name, get(None)
    ('mean_squared_error', 'huber', None)
    """
    if inspect.isclass(identifier) and issubclass(identifier, losses.Loss):
        identifier = identifier()
    if isinstance(identifier, losses.TableLoss):
        return LossMetric(identifier)
    if isinstance(identifier, losses.Loss):
        return MeanMetricWrapper(identifier.call, identifier.name)
    if isinstance(identifier, str) and not _REGISTRY.knows(identifier) \
            and losses._REGISTRY.knows(identifier):
        found = losses.get(identifier)
        return LossMetric(found, identifier) if isinstance(found, losses.TableLoss) else get(found)
    return _as_metric(_REGISTRY.get(identifier))


def _as_metric(found):
    if found is None or isinstance(found, Metric):
        return found
    if inspect.isfunction(found) and found in _OF_FUNCTION:
        return _OF_FUNCTION[found](name=found.__name__)
    if inspect.isfunction(found) and found in losses.OF_FUNCTION:
        loss = losses.OF_FUNCTION[found]
        if loss in _OF_LOSS:
            return _OF_LOSS[loss](name=found.__name__)
        return LossMetric(loss(), found.__name__)
    return MeanMetricWrapper(found)


def resolve(identifier, y_true_shape, y_pred_shape) -> Metric:
    """Like `get`; "accuracy" or "acc" becomes the one that fits the shapes, as in Keras.

    One predicted column is judged by BinaryAccuracy; targets with an axis less than the
    prediction, or with one column to its several, by SparseCategoricalAccuracy; others by
    CategoricalAccuracy.  A metric that is asked for by a string gets that string as its name.

    Raises
    ------
    ValueError, TypeError
        If the identifier is None or as for `get`.

    >>> metric = resolve("accuracy", (32,), (32, 10))
    >>> type(metric).__name__, metric.name
    ('SparseCategoricalAccuracy', 'accuracy')
    """
    if identifier is None:
        raise ValueError(
            "Argument `metrics` must hold names or metrics. Received: an entry that is None"
        )
    if isinstance(identifier, str) and identifier.lower() in ("accuracy", "acc"):
        kind = losses.kind_of_labels(y_true_shape, y_pred_shape)
        cls = {"binary": BinaryAccuracy, "classes": SparseCategoricalAccuracy,
               "dense": CategoricalAccuracy}[kind]
        return cls(name=identifier)
    metric = get(identifier)
    if isinstance(identifier, str):
        metric.name = identifier
    return metric


def __getattr__(name: str) -> Any:
    """No such name: the message has the nearest that there are."""
    if name.startswith("__"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    raise AttributeError(
        f"module {__name__!r} has no attribute {name!r}. {spec.nearest(name, __all__, 'name')}")
