"""Metrics that are means over samples: of values, of functions, of scores and of losses."""

from __future__ import annotations

import inspect
import math
import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import checks, config, losses, spec
from ..losses.functions import same_rank
from . import functions
from .metric import Metric

__all__ = [
    "Accuracy",
    "BinaryAccuracy",
    "BinaryCrossentropy",
    "CategoricalAccuracy",
    "CategoricalCrossentropy",
    "CategoricalHinge",
    "ConcordanceCorrelation",
    "CosineSimilarity",
    "Hinge",
    "KLDivergence",
    "LogCoshError",
    "LossMetric",
    "Mean",
    "MeanAbsoluteError",
    "MeanAbsolutePercentageError",
    "MeanMetricWrapper",
    "MeanSquaredError",
    "MeanSquaredLogarithmicError",
    "PearsonCorrelation",
    "Poisson",
    "RootMeanSquaredError",
    "SparseCategoricalAccuracy",
    "SparseCategoricalCrossentropy",
    "SparseTopKCategoricalAccuracy",
    "SquaredHinge",
    "Sum",
    "TopKCategoricalAccuracy",
]


class Sum(Metric):
    """The (weighted) sum of the values that it is given.

    >>> total = Sum()
    >>> total.update_state([1, 3, 5, 7])
    >>> total.result()
    16.0
    """

    def __init__(self, name: str = "sum", dtype: str | None = None):
        super().__init__(dtype, name)
        self.total = 0.0

    def reset_state(self):
        self.total = 0.0

    def update_state(self, values, sample_weight=None) -> None:
        """Add values, each times its weight or that of its sample."""
        values, _ = _weighted(values, sample_weight, np.dtype(self.dtype), np.sum)
        self.total += float(values.sum(dtype=np.float64))

    def result(self) -> float:
        """The sum of all values since the last `reset_state`."""
        return self.total


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
        self.total = self.count = 0.0

    def reset_state(self):
        self.total = self.count = 0.0

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
        values, weights = _weighted(values, sample_weight, np.dtype(self.dtype), np.mean)
        self.total += float(values.sum(dtype=np.float64))
        self.count += values.size if weights is None else float(weights.sum(dtype=np.float64))

    def result(self) -> float:
        """The mean over all samples since the last `reset_state`; 0 where there are none."""
        return self.total / self.count if self.count else 0.0

    def load(self, totals, columns):
        self.total, self.count = map(float, totals[0])


def _weighted(values, sample_weight, dtype, reduce):
    """Values of samples times weights, and the weights (or None).

    Axes that weights don't have are reduced before, all but the first after the product.
    """
    values = checks.float_like(values, "values", dtype)
    weights = None
    if sample_weight is not None:
        weights = checks.float_like(sample_weight, "sample_weight", dtype)
        values, weights = same_rank(values, weights)
        extra = tuple(range(weights.ndim, values.ndim))
        values = reduce(values, axis=extra) if extra else values
        try:
            weights = np.broadcast_to(weights, values.shape)
        except ValueError:
            raise ValueError(
                f"Argument `sample_weight` must broadcast to shape {values.shape}. "
                f"Received: shape {np.shape(sample_weight)}"
            ) from None
        values = values * weights
        if weights.ndim > 1:
            weights = reduce(weights, axis=tuple(range(1, weights.ndim)))
    if values.ndim > 1:
        values = reduce(values, axis=tuple(range(1, values.ndim)))
    return values, weights


class MeanMetricWrapper(Mean):
    """The mean of a function ``fn(y_true, y_pred, **kwargs)`` that gives a number per sample.

    >>> metric = MeanMetricWrapper(lambda t, p: abs(t - p).max(axis=-1), name="worst")
    >>> metric([[1.0, 2.0]], [[1.0, 5.0]])
    3.0
    """

    heeds_masks = True

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
        if self.labels not in ("classes", "groups"):
            y_true = checks.float_like(y_true, "y_true", dtype)
        values = self._fn(y_true, checks.float_like(y_pred, "y_pred", dtype), **self._kwargs)
        super().update_state(values, sample_weight)

    def get_config(self):
        config = super().get_config()
        if type(self) is MeanMetricWrapper:
            config.update(fn=_registry().serialize(self._fn), **self._kwargs)
        return config

    @classmethod
    def from_config(cls, config):
        config = dict(config)
        if isinstance(config.get("fn"), str):
            config["fn"] = _registry().find(config["fn"])
        return cls(**config)


def _registry():
    from . import _REGISTRY

    return _REGISTRY


# -- scores --------------------------------------------------------------------------------------


class _Score(MeanMetricWrapper):
    """The mean of a function that is a row of `fusedmlp.spec.SCORES` as well."""

    direction = "up"
    in_plan = True
    _kind = ""

    def _params(self) -> tuple[float, ...]:
        return ()

    def lower(self, builder, prediction, labels, sample_weight=None):
        builder.metric(self.name, self._kind, prediction, labels, sample_weight,
                       params=self._params())

    def get_config(self):
        return {**super().get_config(), **self._kwargs}


class Accuracy(_Score):
    """How often predictions equal targets exactly; see `accuracy`.

    >>> Accuracy()([[1], [2], [3], [4]], [[0], [2], [3], [4]])
    0.75
    """

    _kind = "equal_hits"

    def __init__(self, name: str = "accuracy", dtype: str | None = None):
        super().__init__(functions.accuracy, name, dtype)


class BinaryAccuracy(_Score):
    """How often ``y_pred > threshold`` is what the target says; see `binary_accuracy`.

    >>> BinaryAccuracy()([[1], [1], [0], [0]], [[0.98], [1], [0], [0.6]])
    0.75
    """

    _kind = "binary_hits"

    def __init__(self, name: str = "binary_accuracy", dtype: str | None = None,
                 threshold: float = 0.5):
        self.threshold = checks.number(threshold, "threshold")
        super().__init__(functions.binary_accuracy, name, dtype, threshold=self.threshold)

    def _params(self):
        return (self.threshold,)


class CategoricalAccuracy(_Score):
    """How often the largest score is that of the target; see `categorical_accuracy`.

    >>> CategoricalAccuracy()([[0, 0, 1], [0, 1, 0]], [[0.1, 0.9, 0.8], [0.05, 0.95, 0]])
    0.5
    """

    _kind = "categorical_hits"

    def __init__(self, name: str = "categorical_accuracy", dtype: str | None = None):
        super().__init__(functions.categorical_accuracy, name, dtype)


class SparseCategoricalAccuracy(_Score):
    """How often the largest score is that of the class; see `sparse_categorical_accuracy`.

    >>> SparseCategoricalAccuracy()([[2], [1]], [[0.1, 0.6, 0.3], [0.05, 0.95, 0]])
    0.5
    """

    labels = "classes"
    _kind = "categorical_hits"

    def __init__(self, name: str = "sparse_categorical_accuracy", dtype: str | None = None):
        super().__init__(functions.sparse_categorical_accuracy, name, dtype)


class TopKCategoricalAccuracy(_Score):
    """How often the target is among the k largest scores; see `top_k_categorical_accuracy`.

    >>> TopKCategoricalAccuracy(k=1)([[0, 0, 1], [0, 1, 0]], [[0.1, 0.9, 0.8], [0.05, 0.95, 0]])
    0.5
    """

    _kind = "top_k_hits"

    def __init__(self, k: int = 5, name: str = "top_k_categorical_accuracy",
                 dtype: str | None = None):
        self.k = checks.integer(k, "k", 1)
        super().__init__(functions.top_k_categorical_accuracy, name, dtype, k=self.k)

    def _params(self):
        return (float(self.k), 0.0)


class SparseTopKCategoricalAccuracy(_Score):
    """How often the class is among the k largest; see `sparse_top_k_categorical_accuracy`.

    >>> SparseTopKCategoricalAccuracy(k=1)([2, 1], [[0.1, 0.9, 0.8], [0.05, 0.95, 0]])
    0.5
    """

    _kind = "top_k_hits"

    def __init__(self, k: int = 5, name: str = "sparse_top_k_categorical_accuracy",
                 dtype: str | None = None, from_sorted_ids: bool = False):
        self.k, self.from_sorted_ids = checks.integer(k, "k", 1), bool(from_sorted_ids)
        super().__init__(functions.sparse_top_k_categorical_accuracy, name, dtype, k=self.k,
                         from_sorted_ids=self.from_sorted_ids)

    @property
    def labels(self) -> str:
        """Sorted classes may be any, scores have as many as columns."""
        return "groups" if self.from_sorted_ids else "classes"

    def _params(self):
        return (float(self.k), float(self.from_sorted_ids))


class _Correlation(_Score):
    """A correlation along an axis, in training the last one."""

    def __init__(self, fn, name, dtype, axis):
        self.axis = operator.index(axis)
        super().__init__(fn, name, dtype, axis=self.axis)

    @property
    def in_plan(self) -> bool:
        return self.axis in (-1, 1)


class PearsonCorrelation(_Correlation):
    """The mean correlation of targets and predictions; see `pearson_correlation`.

    >>> round(PearsonCorrelation()([[1.0, 2.0, 3.0]], [[2.0, 4.0, 5.0]]), 4)
    0.982
    """

    _kind = "pearson_correlation"

    def __init__(self, name: str = "pearson_correlation", dtype: str | None = None,
                 axis: int = -1):
        super().__init__(functions.pearson_correlation, name, dtype, axis)


class ConcordanceCorrelation(_Correlation):
    """The mean concordance of targets and predictions; see `concordance_correlation`.

    >>> round(ConcordanceCorrelation()([[1.0, 2.0, 3.0]], [[2.0, 4.0, 5.0]]), 4)
    0.4
    """

    _kind = "concordance_correlation"

    def __init__(self, name: str = "concordance_correlation", dtype: str | None = None,
                 axis: int = -1):
        super().__init__(functions.concordance_correlation, name, dtype, axis)

    def _params(self):
        return (config.epsilon(),)


# -- losses --------------------------------------------------------------------------------------


class LossMetric(MeanMetricWrapper):
    """The mean of a loss.

    Parameters
    ----------
    loss : Loss
        One that `fusedmlp.losses` has.
    name : str, optional
        That of the loss by default.
    dtype : str, optional

    Examples
    --------
    >>> LossMetric(losses.Huber(2.0))([[0.0, 0.0]], [[0.5, 3.0]])
    2.0625
    """

    direction: str | None = "down"
    in_plan = True
    _loss_class: type[losses.Loss] | None = None

    def __init_subclass__(cls, loss: type[losses.Loss] | None = None, name: str = "", **kwargs):
        super().__init_subclass__(**kwargs)
        if loss is not None:
            cls._loss_class, cls._default_name = loss, name or loss.function.__name__
            row = spec.LOSSES[loss.row]
            cls.__doc__ = (f"{inspect.cleandoc(cls.__doc__ or '')}\n\nNotes\n-----\nArguments: "
                           f"see `fusedmlp.losses.{loss.function.__name__}`.\n\n"
                           f"Value: ``{row.formula}``.\n")
        if "__init__" not in vars(cls) and cls._loss_class is not None:
            def __init__(self, name=cls._default_name, dtype=None):
                LossMetric.__init__(self, cls._loss_class(), name, dtype)

            __init__.__annotations__ = {"name": "str", "dtype": "str | None"}
            cls.__init__ = __init__

    def __init__(self, loss: losses.Loss, name: str | None = None, dtype: str | None = None):
        super().__init__(loss.call, name or loss.name, dtype)
        self._loss = loss
        self.labels = loss.labels

    def lower(self, builder, prediction, labels, sample_weight=None):
        kind, options = self._loss.as_metric()
        builder.metric(self.name, kind, prediction, labels, sample_weight, **options)

    @property
    def row(self) -> str:
        """Name of the loss's row."""
        return self._loss.row

    def get_config(self) -> dict[str, Any]:
        config = {"name": self.name, "dtype": self._dtype}
        if self._loss_class is None:
            config["loss"] = losses.serialize(self._loss)
        return config

    @classmethod
    def from_config(cls, config):
        config = dict(config)
        if isinstance(config.get("loss"), dict):
            config["loss"] = losses.deserialize(config["loss"])
        return cls(**config)


class MeanSquaredError(LossMetric, loss=losses.MeanSquaredError):
    """The mean of squared errors.

    >>> MeanSquaredError()([[0, 1], [0, 0]], [[1, 1], [0, 0]])
    0.25
    """


class RootMeanSquaredError(LossMetric, loss=losses.MeanSquaredError,
                           name="root_mean_squared_error"):
    """The root of the mean of squared errors over all samples.

    >>> RootMeanSquaredError()([[0, 1], [0, 0]], [[1, 1], [0, 0]])
    0.5
    """

    def result(self):
        return math.sqrt(super().result())


class MeanAbsoluteError(LossMetric, loss=losses.MeanAbsoluteError):
    """The mean of absolute errors.

    >>> MeanAbsoluteError()([[0, 1], [0, 0]], [[1, 1], [0, 0]])
    0.25
    """


class MeanAbsolutePercentageError(LossMetric, loss=losses.MeanAbsolutePercentageError):
    """The mean of absolute errors in percent of the targets.

    >>> MeanAbsolutePercentageError()([[2.0, 4.0]], [[1.0, 5.0]])
    37.5
    """


class MeanSquaredLogarithmicError(LossMetric, loss=losses.MeanSquaredLogarithmicError):
    """The mean of squared errors of logarithms.

    >>> round(MeanSquaredLogarithmicError()([[0.0, 1.0]], [[1.0, 3.0]]), 4)
    0.4805
    """


class LogCoshError(LossMetric, loss=losses.LogCosh, name="logcosh"):
    """The mean of logarithms of hyperbolic cosines of errors.

    >>> round(LogCoshError()([[0.0, 1.0]], [[1.0, 3.0]]), 4)
    0.8794
    """


class CosineSimilarity(LossMetric, loss=losses.CosineSimilarity):
    """The mean cosine of the angle between targets and predictions: minus the loss of that name.

    >>> round(CosineSimilarity()([[0.0, 1.0], [1.0, 1.0]], [[1.0, 0.0], [1.0, 1.0]]), 4)
    0.5
    """

    direction = "up"

    def __init__(self, name: str = "cosine_similarity", dtype: str | None = None, axis: int = -1):
        super().__init__(losses.CosineSimilarity(axis), name, dtype)
        self.axis = self._loss.axis

    def result(self):
        return 0.0 - super().result()

    @property
    def in_plan(self) -> bool:
        return self.axis in (-1, 1)

    def get_config(self):
        return {**super().get_config(), "axis": self.axis}


class Hinge(LossMetric, loss=losses.Hinge):
    """The mean hinge loss.

    >>> Hinge()([[0, 1], [0, 0]], [[0.5, 0.25], [-2.0, 0.0]])
    0.8125
    """


class SquaredHinge(LossMetric, loss=losses.SquaredHinge):
    """The mean squared hinge loss.

    >>> SquaredHinge()([[-1, 1]], [[0.5, 0.5]])
    1.25
    """


class CategoricalHinge(LossMetric, loss=losses.CategoricalHinge):
    """The mean categorical hinge loss.

    >>> CategoricalHinge()([[0, 1], [1, 0]], [[0.5, 2.0], [0.5, 1.0]])
    0.75
    """


class KLDivergence(LossMetric, loss=losses.KLDivergence):
    """The mean Kullback-Leibler divergence.

    >>> round(KLDivergence()([[0.5, 0.5]], [[0.25, 0.75]]), 4)
    0.1438
    """


class Poisson(LossMetric, loss=losses.Poisson):
    """The mean Poisson loss.

    >>> round(Poisson()([[0.0, 1.0]], [[1.0, 2.0]]), 4)
    1.1534
    """



class BinaryCrossentropy(LossMetric, loss=losses.BinaryCrossentropy):
    """The mean binary cross-entropy.

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


class CategoricalCrossentropy(LossMetric, loss=losses.CategoricalCrossentropy):
    """The mean cross-entropy of probabilities.

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


class SparseCategoricalCrossentropy(LossMetric, loss=losses.SparseCategoricalCrossentropy):
    """The mean cross-entropy of classes.

    >>> metric = SparseCategoricalCrossentropy()
    >>> round(metric([1, 2], [[0.05, 0.95, 0], [0.1, 0.8, 0.1]]), 3)
    1.177
    """

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
