"""What training minimises: Keras 3's losses for dense networks, as classes and as functions.

A loss object says by `lower` which loss operation a plan gets, and computes the same number from
arrays when it is called; the functions give the loss of every sample.  The numbers come from
`fusedmlp.ops`, what there is from `fusedmlp.spec.LOSSES`.  This package knows nothing of models or
training.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from .. import spec
from .classes import (
    OF_FUNCTION,
    BinaryCrossentropy,
    BinaryFocalCrossentropy,
    CategoricalCrossentropy,
    CategoricalFocalCrossentropy,
    CategoricalGeneralizedCrossEntropy,
    CategoricalHinge,
    Circle,
    CosineSimilarity,
    Dice,
    GaussianNegativeLogLikelihood,
    Hinge,
    Huber,
    KLDivergence,
    LogCosh,
    LossFunctionWrapper,
    MeanAbsoluteError,
    MeanAbsolutePercentageError,
    MeanSquaredError,
    MeanSquaredLogarithmicError,
    Perceptron,
    Poisson,
    Quantile,
    SparseCategoricalCrossentropy,
    SquaredHinge,
    TableLoss,
    Tversky,
)
from .classes import REGISTRY as _REGISTRY
from .functions import (
    binary_crossentropy,
    binary_focal_crossentropy,
    categorical_crossentropy,
    categorical_focal_crossentropy,
    categorical_generalized_cross_entropy,
    categorical_hinge,
    circle,
    cosine_similarity,
    dice,
    gaussian_negative_log_likelihood,
    hinge,
    huber,
    kl_divergence,
    log_cosh,
    mean_absolute_error,
    mean_absolute_percentage_error,
    mean_squared_error,
    mean_squared_logarithmic_error,
    perceptron,
    poisson,
    quantile,
    sparse_categorical_crossentropy,
    squared_hinge,
    tversky,
)
from .loss import Loss

__all__ = [
    "BinaryCrossentropy",
    "BinaryFocalCrossentropy",
    "CategoricalCrossentropy",
    "CategoricalFocalCrossentropy",
    "CategoricalGeneralizedCrossEntropy",
    "CategoricalHinge",
    "Circle",
    "CosineSimilarity",
    "Dice",
    "GaussianNegativeLogLikelihood",
    "Hinge",
    "Huber",
    "KLDivergence",
    "LogCosh",
    "Loss",
    "LossFunctionWrapper",
    "MeanAbsoluteError",
    "MeanAbsolutePercentageError",
    "MeanSquaredError",
    "MeanSquaredLogarithmicError",
    "Perceptron",
    "Poisson",
    "Quantile",
    "SparseCategoricalCrossentropy",
    "SquaredHinge",
    "TableLoss",
    "Tversky",
    "binary_crossentropy",
    "binary_focal_crossentropy",
    "categorical_crossentropy",
    "categorical_focal_crossentropy",
    "categorical_generalized_cross_entropy",
    "categorical_hinge",
    "circle",
    "cosine_similarity",
    "deserialize",
    "dice",
    "gaussian_negative_log_likelihood",
    "get",
    "hinge",
    "huber",
    "kl_divergence",
    "log_cosh",
    "mean_absolute_error",
    "mean_absolute_percentage_error",
    "mean_squared_error",
    "mean_squared_logarithmic_error",
    "perceptron",
    "poisson",
    "quantile",
    "resolve",
    "serialize",
    "sparse_categorical_crossentropy",
    "squared_hinge",
    "tversky",
]


def serialize(loss: Loss) -> dict[str, Any]:
    """The config dict of a loss.

    >>> serialize(MeanSquaredError())["class_name"]
    'MeanSquaredError'
    """
    known = inspect.isfunction(loss) and loss in OF_FUNCTION
    return _REGISTRY.serialize(get(loss) if known else loss)


def deserialize(name, custom_objects: Mapping | None = None) -> Loss:
    """A loss from its name or config dict; ValueError if it is unknown.

    >>> deserialize(serialize(MeanSquaredError())).name
    'mean_squared_error'
    """
    return _as_loss(_REGISTRY.deserialize(name, custom_objects))


def get(identifier) -> Loss | None:
    """A loss object from a name, a config dict, a class, an instance or a function.

    Raises
    ------
    ValueError, TypeError
        If the name is unknown (the nearest known ones are named) or the identifier none of these.

    >>> get("mse").name, get(None)
    ('mean_squared_error', None)
    """
    return _as_loss(_REGISTRY.get(identifier))


def _as_loss(found):
    if found is None or isinstance(found, Loss):
        return found
    if inspect.isfunction(found) and found in OF_FUNCTION:
        return OF_FUNCTION[found]()
    return LossFunctionWrapper(found)


def kind_of_labels(y_true_shape, y_pred_shape) -> str:
    """"binary", "classes" or "dense": what targets of this shape are for such a prediction.

    One predicted column is binary; targets with an axis less than the prediction, or with one
    column to its several, are classes.
    """
    if y_pred_shape[-1] == 1:
        return "binary"
    if len(y_true_shape) < len(y_pred_shape) or y_true_shape[-1] == 1:
        return "classes"
    return "dense"


def resolve(identifier, y_true_shape, y_pred_shape) -> Loss | None:
    """Like `get`, and "crossentropy" or "ce" become the one that fits the shapes.

    >>> resolve("crossentropy", (32,), (32, 10)).name
    'sparse_categorical_crossentropy'
    """
    if isinstance(identifier, str) and identifier.lower() in ("crossentropy", "ce"):
        return {
            "binary": BinaryCrossentropy,
            "classes": SparseCategoricalCrossentropy,
            "dense": CategoricalCrossentropy,
        }[kind_of_labels(y_true_shape, y_pred_shape)]()
    return get(identifier)


def __getattr__(name: str) -> Any:
    """No such name: the message has the nearest that there are."""
    if name.startswith("__"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    raise AttributeError(
        f"module {__name__!r} has no attribute {name!r}. {spec.nearest(name, __all__, 'name')}")
