"""What is reported beside the loss: Keras 3's metrics for dense networks.

A metric object says by `lower` which rows a plan adds up for it and by `finalize` what becomes of
their sum; called with arrays (`update_state`, `result`, `reset_state`) it does the same on its
own.  This module knows nothing of models or training.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from . import checks, config, losses, spec
from .losses import (
    binary_crossentropy,
    categorical_crossentropy,
    mean_absolute_error,
    mean_squared_error,
    same_rank,
    sparse_categorical_crossentropy,
)
from .registry import Registry, snake_case
from .variable import float_dtype

__all__ = [
    "Accuracy",
    "BinaryAccuracy",
    "BinaryCrossentropy",
    "CategoricalAccuracy",
    "CategoricalCrossentropy",
    "Mean",
    "MeanAbsoluteError",
    "MeanMetricWrapper",
    "MeanSquaredError",
    "Metric",
    "RootMeanSquaredError",
    "SparseCategoricalAccuracy",
    "SparseCategoricalCrossentropy",
    "accuracy",
    "binary_accuracy",
    "binary_crossentropy",
    "categorical_accuracy",
    "categorical_crossentropy",
    "deserialize",
    "get",
    "mean_absolute_error",
    "mean_squared_error",
    "resolve",
    "serialize",
    "sparse_categorical_accuracy",
    "sparse_categorical_crossentropy",
]


# -- functions -----------------------------------------------------------------------------------


def _same_shape(y_true, y_pred):
    y_true, y_pred = same_rank(np.asarray(y_true), checks.float_array(y_pred, "y_pred"))
    if y_true.shape != y_pred.shape:
        raise ValueError(
            "Arguments `y_true` and `y_pred` must have the same shape. "
            f"Received: y_true of shape {y_true.shape}, y_pred of shape {y_pred.shape}"
        )
    return y_true, y_pred


def accuracy(y_true, y_pred) -> np.ndarray:
    """1 where the prediction equals the target, else 0.

    Parameters
    ----------
    y_true, y_pred : array_like
        Of one shape, but for a missing last axis of length 1.

    Returns
    -------
    ndarray of that shape, of dtype `fusedmlp.config.floatx()`

    Raises
    ------
    ValueError
        If the shapes differ.

    >>> accuracy([1, 2, 3], [1, 2, 4]).tolist()
    [1.0, 1.0, 0.0]
    """
    y_true, y_pred = _same_shape(y_true, y_pred)
    return (y_true == y_pred).astype(config.floatx())


def binary_accuracy(y_true, y_pred, threshold: float = 0.5) -> np.ndarray:
    """1 where ``y_pred > threshold`` is what the target says, else 0; see `accuracy`.

    >>> binary_accuracy([[1], [1], [0]], [[0.9], [0.2], [0.5]]).tolist()
    [[1.0], [0.0], [1.0]]
    """
    y_true, y_pred = _same_shape(y_true, y_pred)
    return (y_true == (y_pred > threshold)).astype(config.floatx())


def categorical_accuracy(y_true, y_pred) -> np.ndarray:
    """1 where the first largest of the predicted scores is at the first largest target, else 0.

    Parameters
    ----------
    y_true, y_pred : array_like, shape (..., c)

    Returns
    -------
    ndarray, shape (...)

    Raises
    ------
    ValueError
        If the shapes differ.

    >>> categorical_accuracy([[0, 0, 1], [0, 1, 0]], [[0.1, 0.9, 0.8], [0.05, 0.95, 0]]).tolist()
    [0.0, 1.0]
    """
    y_true, y_pred = np.asarray(y_true), checks.float_array(y_pred, "y_pred")
    if y_true.shape != y_pred.shape or y_pred.ndim == 0:
        raise ValueError(
            "Arguments `y_true` and `y_pred` must have the same shape (..., classes). "
            f"Received: y_true of shape {y_true.shape}, y_pred of shape {y_pred.shape}"
        )
    return (y_true.argmax(axis=-1) == y_pred.argmax(axis=-1)).astype(config.floatx())


def sparse_categorical_accuracy(y_true, y_pred) -> np.ndarray:
    """1 where the first largest of the predicted scores is that of the labelled class, else 0.

    Parameters
    ----------
    y_true : array_like of int, shape (...) or (..., 1)
    y_pred : array_like, shape (..., c)

    Returns
    -------
    ndarray, shape (...)

    Raises
    ------
    ValueError
        If the shapes don't fit.

    >>> sparse_categorical_accuracy([2, 1], [[0.1, 0.6, 0.3], [0.05, 0.95, 0]]).tolist()
    [0.0, 1.0]
    """
    y_true, y_pred = np.asarray(y_true), checks.float_array(y_pred, "y_pred")
    if y_true.ndim == y_pred.ndim and y_true.ndim and y_true.shape[-1] == 1:
        y_true = y_true[..., 0]
    if y_pred.ndim == 0 or y_true.shape != y_pred.shape[:-1]:
        raise ValueError(
            "Argument `y_true` must have the shape of `y_pred` without its classes. "
            f"Received: y_true of shape {y_true.shape}, y_pred of shape {y_pred.shape}"
        )
    return (y_true == y_pred.argmax(axis=-1)).astype(config.floatx())


# -- classes -------------------------------------------------------------------------------------


class Metric:
    """Base class: a sum and a count, from which `finalize` makes a number.

    A subclass defines ``update_state(y_true, y_pred, sample_weight=None)``, which adds to `total`
    and `count`, and where it likes `result`.

    Parameters
    ----------
    name : str, optional
    dtype : {"float32", "float64"}, optional
        Of the computation; None stands for `fusedmlp.config.floatx()`.

    Attributes
    ----------
    total, count : float
        What `update_state` added up.
    labels : {"dense", "classes"}
        Whether targets have the columns of the prediction or are integer classes.
    direction : {"up", "down", None}
        Whether larger or smaller is better; None where that depends on what is measured.

    Raises
    ------
    ValueError
        If `dtype` is another.

    Examples
    --------
    >>> class LongestMiss(Metric):
    ...     def update_state(self, y_true, y_pred, sample_weight=None):
    ...         misses = np.abs(np.subtract(y_true, y_pred))
    ...         self.total, self.count = max(self.total, float(misses.max())), 1
    >>> metric = LongestMiss()
    >>> metric.update_state([1.0, 2.0], [1.5, 5.0])
    >>> metric.update_state([0.0], [1.0])
    >>> metric.result()
    3.0
    """

    labels = "dense"
    direction: str | None = None

    def __init__(self, dtype: str | None = None, name: str | None = None):
        self._dtype = None if dtype is None else float_dtype(dtype)
        self.name = name or snake_case(type(self).__name__)
        self.total = self.count = 0.0

    @property
    def dtype(self) -> str:
        return self._dtype or config.floatx()

    def reset_state(self) -> None:
        """Forget what was added up."""
        self.total = self.count = 0.0

    def update_state(self, *args, **kwargs) -> None:
        """Add what a batch contributes."""
        raise NotImplementedError(f"{type(self).__name__} must define `update_state`")

    def finalize(self, total: float, count: float) -> float:
        """The metric of samples with this sum and count; 0 where there are none."""
        return total / count if count else 0.0

    def result(self) -> float:
        """The metric of all samples since the last `reset_state`."""
        return self.finalize(self.total, self.count)

    def __call__(self, *args, **kwargs) -> float:
        """`update_state`, then `result`."""
        self.update_state(*args, **kwargs)
        return self.result()

    def lower(self, builder, prediction: int, labels: int, sample_weight: int | None = None
              ) -> None:
        """Add this metric to a plan under construction.

        Parameters
        ----------
        builder : fusedmlp.plan.Builder
        prediction, labels, sample_weight : int
            Buffers.

        Raises
        ------
        TypeError
            If the metric is computed in Python, for which a plan has no operation.
        """
        raise TypeError(
            f"Metric {self.name!r} is computed in Python and has no kernel to run in training: "
            f"expected one of {', '.join(cls.__name__ for cls in _LOWERED)}. Received: {self!r}. "
            "It can be computed from predictions: metric(y, model.predict(x))."
        )

    def get_config(self) -> dict[str, Any]:
        """Arguments that make an equal metric."""
        return {"name": self.name, "dtype": self._dtype}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Metric:
        return cls(**config)

    def __repr__(self):
        return f"<{type(self).__name__} {self.name!r}>"


class Mean(Metric):
    """The (weighted) mean of the values that it is given.

    >>> mean = Mean()
    >>> mean.update_state([1, 3, 5, 7])
    >>> mean.result()
    4.0
    >>> Mean()([1, 3, 5, 7], sample_weight=[1, 1, 0, 0])
    2.0
    """

    def __init__(self, name: str = "mean", dtype: str | None = None):
        super().__init__(dtype, name)

    def update_state(self, values, sample_weight=None) -> None:
        """Add values: the mean over all axes but the first counts as one sample.

        Parameters
        ----------
        values : array_like
        sample_weight : array_like, optional
            A weight for each sample, or something that broadcasts to that.

        Raises
        ------
        ValueError
            If the weights don't fit.
        """
        dtype = np.dtype(self.dtype)
        values = checks.float_like(values, "values", dtype)
        weights = None
        if sample_weight is not None:
            weights = checks.float_like(sample_weight, "sample_weight", dtype)
            values, weights = same_rank(values, weights)
            extra = tuple(range(weights.ndim, values.ndim))
            values = values.mean(axis=extra) if extra else values
            try:
                weights = np.broadcast_to(weights, values.shape)
            except ValueError:
                raise ValueError(
                    f"Argument `sample_weight` must broadcast to shape {values.shape}. "
                    f"Received: shape {np.shape(sample_weight)}"
                ) from None
            values = values * weights
            weights = _sample_means(weights)
        values = _sample_means(values)
        self.total += float(values.sum(dtype=np.float64))
        self.count += values.size if weights is None else float(weights.sum(dtype=np.float64))


def _sample_means(values):
    """Means over all axes but the first."""
    return values.mean(axis=tuple(range(1, values.ndim))) if values.ndim > 1 else values


class MeanMetricWrapper(Mean):
    """The mean of a function ``fn(y_true, y_pred, **kwargs)`` that gives a number per sample.

    >>> metric = MeanMetricWrapper(lambda t, p: abs(t - p).max(axis=-1), name="worst")
    >>> metric([[1.0, 2.0]], [[1.0, 5.0]])
    3.0
    """

    def __init__(self, fn: Callable, name: str | None = None, dtype: str | None = None, **kwargs):
        super().__init__(name or getattr(fn, "__name__", type(self).__name__), dtype)
        self._fn, self._kwargs = fn, kwargs

    def update_state(self, y_true, y_pred, sample_weight=None) -> None:
        """Add a batch.

        Parameters
        ----------
        y_true, y_pred : array_like
        sample_weight : array_like, optional
            A weight for each sample, or something that broadcasts to that.

        Raises
        ------
        ValueError, TypeError
            If shapes don't fit or values are no numbers.
        """
        dtype = np.dtype(self.dtype)
        if self.labels == "dense":
            y_true = checks.float_like(y_true, "y_true", dtype)
        values = self._fn(y_true, checks.float_like(y_pred, "y_pred", dtype), **self._kwargs)
        super().update_state(values, sample_weight)

    def get_config(self):
        config = super().get_config()
        if type(self) is MeanMetricWrapper:
            config.update(fn=_REGISTRY.serialize(self._fn), **self._kwargs)
        return config

    @classmethod
    def from_config(cls, config):
        config = dict(config)
        if isinstance(config.get("fn"), str):
            config["fn"] = _REGISTRY.find(config["fn"])
        return cls(**config)


class Accuracy(MeanMetricWrapper):
    """How often predictions equal targets exactly; see `accuracy`.

    >>> Accuracy()([[1], [2], [3], [4]], [[0], [2], [3], [4]])
    0.75
    """

    direction = "up"

    def __init__(self, name: str = "accuracy", dtype: str | None = None):
        super().__init__(accuracy, name, dtype)


class BinaryAccuracy(MeanMetricWrapper):
    """How often ``y_pred > threshold`` is what the target says; see `binary_accuracy`.

    >>> BinaryAccuracy()([[1], [1], [0], [0]], [[0.98], [1], [0], [0.6]])
    0.75
    """

    direction = "up"

    def __init__(self, name: str = "binary_accuracy", dtype: str | None = None,
                 threshold: float = 0.5):
        self.threshold = checks.number(threshold, "threshold")
        super().__init__(binary_accuracy, name, dtype, threshold=self.threshold)

    def lower(self, builder, prediction, labels, sample_weight=None):
        builder.metric(self.name, "binary_hits", prediction, labels, sample_weight,
                       threshold=self.threshold)

    def get_config(self):
        return {**super().get_config(), "threshold": self.threshold}


class CategoricalAccuracy(MeanMetricWrapper):
    """How often the largest score is that of the target; see `categorical_accuracy`.

    >>> CategoricalAccuracy()([[0, 0, 1], [0, 1, 0]], [[0.1, 0.9, 0.8], [0.05, 0.95, 0]])
    0.5
    """

    direction = "up"

    def __init__(self, name: str = "categorical_accuracy", dtype: str | None = None):
        super().__init__(categorical_accuracy, name, dtype)

    def lower(self, builder, prediction, labels, sample_weight=None):
        builder.metric(self.name, "categorical_hits", prediction, labels, sample_weight)


class SparseCategoricalAccuracy(MeanMetricWrapper):
    """How often the largest score is that of the class; see `sparse_categorical_accuracy`.

    >>> SparseCategoricalAccuracy()([[2], [1]], [[0.1, 0.6, 0.3], [0.05, 0.95, 0]])
    0.5
    """

    labels = "classes"
    direction = "up"

    def __init__(self, name: str = "sparse_categorical_accuracy", dtype: str | None = None):
        super().__init__(sparse_categorical_accuracy, name, dtype)

    def lower(self, builder, prediction, labels, sample_weight=None):
        builder.metric(self.name, "categorical_hits", prediction, labels, sample_weight)


class _LossMetric(MeanMetricWrapper):
    """The mean of a loss: every number comes from the loss object that a subclass makes."""

    direction = "down"

    def __init__(self, loss: losses.Loss, name: str | None, dtype: str | None):
        super().__init__(loss.call, name, dtype)
        self._loss = loss

    def lower(self, builder, prediction, labels, sample_weight=None):
        kind, options = self._loss.as_metric()
        builder.metric(self.name, kind, prediction, labels, sample_weight, **options)


class MeanSquaredError(_LossMetric):
    """mean((y_pred - y_true)^2).

    >>> MeanSquaredError()([[0, 1], [0, 0]], [[1, 1], [0, 0]])
    0.25
    """

    def __init__(self, name: str = "mean_squared_error", dtype: str | None = None):
        super().__init__(losses.MeanSquaredError(), name, dtype)


class RootMeanSquaredError(_LossMetric):
    """sqrt(mean((y_pred - y_true)^2)), the root taken of the mean over all samples.

    >>> RootMeanSquaredError()([[0, 1], [0, 0]], [[1, 1], [0, 0]])
    0.5
    """

    def __init__(self, name: str = "root_mean_squared_error", dtype: str | None = None):
        super().__init__(losses.MeanSquaredError(), name, dtype)

    def finalize(self, total, count):
        return math.sqrt(super().finalize(total, count))


class MeanAbsoluteError(_LossMetric):
    """mean(|y_pred - y_true|).

    >>> MeanAbsoluteError()([[0, 1], [0, 0]], [[1, 1], [0, 0]])
    0.25
    """

    def __init__(self, name: str = "mean_absolute_error", dtype: str | None = None):
        super().__init__(losses.MeanAbsoluteError(), name, dtype)


class BinaryCrossentropy(_LossMetric):
    """The mean binary cross-entropy; see `fusedmlp.losses.binary_crossentropy`.

    >>> round(BinaryCrossentropy()([[0, 1], [0, 0]], [[0.6, 0.4], [0.4, 0.6]]), 3)
    0.815
    """

    def __init__(self, name: str = "binary_crossentropy", dtype: str | None = None,
                 from_logits: bool = False, label_smoothing: float = 0.0):
        super().__init__(losses.BinaryCrossentropy(from_logits, label_smoothing), name, dtype)
        self.from_logits = self._loss.from_logits
        self.label_smoothing = self._loss.label_smoothing

    def get_config(self):
        return {**super().get_config(), "from_logits": self.from_logits,
                "label_smoothing": self.label_smoothing}


class CategoricalCrossentropy(_LossMetric):
    """The mean cross-entropy; see `fusedmlp.losses.categorical_crossentropy`.

    >>> metric = CategoricalCrossentropy()
    >>> round(metric([[0, 1, 0], [0, 0, 1]], [[0.05, 0.95, 0], [0.1, 0.8, 0.1]]), 3)
    1.177
    """

    def __init__(self, name: str = "categorical_crossentropy", dtype: str | None = None,
                 from_logits: bool = False, label_smoothing: float = 0.0, axis: int = -1):
        super().__init__(losses.CategoricalCrossentropy(from_logits, label_smoothing, axis),
                         name, dtype)
        self.from_logits, self.axis = self._loss.from_logits, self._loss.axis
        self.label_smoothing = self._loss.label_smoothing

    def get_config(self):
        return {**super().get_config(), "from_logits": self.from_logits,
                "label_smoothing": self.label_smoothing, "axis": self.axis}


class SparseCategoricalCrossentropy(_LossMetric):
    """The mean cross-entropy of classes; see `fusedmlp.losses.sparse_categorical_crossentropy`.

    >>> metric = SparseCategoricalCrossentropy()
    >>> round(metric([1, 2], [[0.05, 0.95, 0], [0.1, 0.8, 0.1]]), 3)
    1.177
    """

    labels = "classes"

    def __init__(self, name: str = "sparse_categorical_crossentropy", dtype: str | None = None,
                 from_logits: bool = False, ignore_class: int | None = None, axis: int = -1):
        super().__init__(
            losses.SparseCategoricalCrossentropy(from_logits, ignore_class, axis=axis), name, dtype
        )
        self.from_logits, self.axis = self._loss.from_logits, self._loss.axis
        self.ignore_class = self._loss.ignore_class

    def update_state(self, y_true, y_pred, sample_weight=None):
        if sample_weight is not None and self.ignore_class is not None:
            kept = (np.asarray(y_true) != self.ignore_class).reshape(np.shape(y_pred)[:-1])
            sample_weight = np.broadcast_to(np.asarray(sample_weight), kept.shape) * kept
        super().update_state(y_true, y_pred, sample_weight)

    def lower(self, builder, prediction, labels, sample_weight=None):
        if sample_weight is not None and self.ignore_class is not None:
            raise ValueError(
                f"Argument `ignore_class` of metric {self.name!r} must be None among "
                "`weighted_metrics`: a plan's count has no sample left out. "
                f"Received: ignore_class={self.ignore_class}"
            )
        super().lower(builder, prediction, labels, sample_weight)

    def get_config(self):
        return {**super().get_config(), "from_logits": self.from_logits,
                "ignore_class": self.ignore_class, "axis": self.axis}


_LOWERED = (BinaryAccuracy, CategoricalAccuracy, SparseCategoricalAccuracy, MeanSquaredError,
            RootMeanSquaredError, MeanAbsoluteError, BinaryCrossentropy, CategoricalCrossentropy,
            SparseCategoricalCrossentropy)
_OF_FUNCTION = {
    accuracy: Accuracy,
    binary_accuracy: BinaryAccuracy,
    categorical_accuracy: CategoricalAccuracy,
    sparse_categorical_accuracy: SparseCategoricalAccuracy,
    mean_squared_error: MeanSquaredError,
    mean_absolute_error: MeanAbsoluteError,
    binary_crossentropy: BinaryCrossentropy,
    categorical_crossentropy: CategoricalCrossentropy,
    sparse_categorical_crossentropy: SparseCategoricalCrossentropy,
}


def _aliases():
    """The losses' short names in both cases, as Keras has them ("mse", "MSE")."""
    found = {}
    for cls in (MeanSquaredError, MeanAbsoluteError, BinaryCrossentropy, CategoricalCrossentropy):
        for alias in spec.LOSSES[cls()._loss.row].aliases:
            found[alias] = found[alias.upper()] = cls
    return found


_REGISTRY = Registry("metric", Metric, (Accuracy, Mean, MeanMetricWrapper, *_LOWERED), _aliases())


def serialize(metric: Metric) -> dict[str, Any]:
    """The config dict of a metric.

    >>> serialize(Mean())["class_name"]
    'Mean'
    """
    return _REGISTRY.serialize(get(metric) if metric in _OF_FUNCTION else metric)


def deserialize(config, custom_objects: Mapping | None = None) -> Metric:
    """A metric from its config dict or name; ValueError if it is unknown.

    >>> deserialize(serialize(MeanSquaredError())).name
    'mean_squared_error'
    """
    return _as_metric(_REGISTRY.deserialize(config, custom_objects))


def get(identifier) -> Metric | None:
    """A metric object from a name, a config dict, a class, an instance or a function.

    Raises
    ------
    ValueError, TypeError
        If the name is unknown (the nearest known ones are named) or the identifier none of these.

    >>> get("mse").name, get(None)
    ('mean_squared_error', None)
    """
    if isinstance(identifier, losses.Loss):
        identifier = identifier.call
    return _as_metric(_REGISTRY.get(identifier))


def _as_metric(found):
    if found is None or isinstance(found, Metric):
        return found
    if inspect.isfunction(found) and found in _OF_FUNCTION:
        return _OF_FUNCTION[found](name=found.__name__)
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
