"""Losses as objects: the rows of `fusedmlp.spec.LOSSES` with Keras 3's names and arguments.

A class names its row, its function and its arguments; what it computes and what a plan gets for it
follows from these.
"""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import checks, config, spec
from ..registry import Registry
from . import functions
from .functions import same_rank, warn_of_one_class
from .loss import Loss

__all__ = ["CLASSES", "OF_FUNCTION", "REGISTRY", "LossFunctionWrapper", "TableLoss"]

_IN_PLAN = {"sum_over_batch_size": "mean", "mean": "mean", "sum": "sum",
            "mean_with_sample_weight": "weighted_mean"}


class TableLoss(Loss):
    """A loss that is a row of the table.

    Parameters
    ----------
    reduction, name, dtype
        As in `Loss`.
    **arguments
        What the function takes besides targets and predictions.

    Attributes
    ----------
    row : str
        Name of the row; that of the subclass's function unless it says otherwise.
    function : callable
        The loss of every sample.

    Examples
    --------
    >>> loss = Huber(delta=2.0)
    >>> loss.row, loss.labels, loss.function([[0.0, 0.0]], [[0.5, 3.0]]).tolist()
    ('huber', 'dense', [1.3125])
    """

    row = ""
    function: Callable
    _default_name: str | None = None

    def __init_subclass__(cls, function: Callable | None = None, row: str = "", labels: str = "",
                          **kwargs):
        super().__init_subclass__(**kwargs)
        if function is not None:  # a row; further subclasses keep it
            cls.function = staticmethod(function)
            cls.row = row or function.__name__
            table = spec.LOSSES[cls.row]
            cls.labels = labels or table.labels
            cls.by_batch = table.kind in ("overlap", "pair")
            cls._default_name = function.__name__
            cls.__doc__ = (
                f"{inspect.cleandoc(cls.__doc__ or '')}\n\nNotes\n-----\n"
                f"Arguments: see `fusedmlp.losses.{function.__name__}` and `Loss`.\n\n"
                f"Loss: ``{table.formula}``.\n\nSource: {table.source}.\n")
        parameters = list(inspect.signature(cls.__init__).parameters.values())[1:]
        cls.__signature__ = inspect.Signature([
            p.replace(default=cls._default_name) if p.name == "name" and p.default is None else p
            for p in parameters if p.name != "arguments"])

    def __init__(self, reduction: str | None = "sum_over_batch_size", name: str | None = None,
                 dtype: str | None = None, **arguments: Any):
        super().__init__(name or self._default_name, reduction, dtype)
        self._arguments = arguments
        for key, value in arguments.items():
            setattr(self, key, value)
        for key, low, high in spec.LOSSES[self.row].limits:
            if key in arguments:
                checks.number(arguments[key], key, low, high)

    def call(self, y_true, y_pred):
        return self.function(y_true, y_pred, **self._arguments)

    def get_config(self):
        return {**super().get_config(), **self._arguments}

    # -- in a plan -------------------------------------------------------------------------------

    def _options(self) -> dict[str, Any]:
        """What `Builder.loss` gets besides buffers, reduction and params."""
        return {key: self._arguments[key] for key in ("from_logits", "label_smoothing")
                if key in self._arguments}

    def _params(self):
        """Values of the row's parameters; epsilon is a setting of the process."""
        values = {"epsilon": config.epsilon(), **self._arguments}
        if spec.LOSSES[self.row].kind == "distribution":
            values["epsilon"] = self._arguments["epsilon"]
        return tuple(float(values[key]) for key, _ in spec.LOSSES[self.row].params)

    def _check_for_plan(self, columns: int) -> None:
        """Raise ValueError for arguments that a plan has no operation for."""
        if self._arguments.get("axis", -1) not in (-1, 1):
            raise ValueError(
                f"Argument `axis` of {type(self).__name__} must be the last axis, -1 or 1, in "
                f"training. Received: axis={self._arguments['axis']}"
            )
        if spec.LOGITS_ROWS.get(self.row, "").startswith("softmax"):
            warn_of_one_class(columns)

    def _reduction_in_plan(self, sample_weight):
        if self.reduction not in _IN_PLAN:
            raise ValueError(
                f"Argument `reduction` of {type(self).__name__} must be one of "
                f"{', '.join(map(repr, _IN_PLAN))} in training. Received: {self.reduction!r}"
            )
        reduction = _IN_PLAN[self.reduction]
        return "mean" if reduction == "weighted_mean" and sample_weight is None else reduction

    def lower(self, builder, prediction, labels, sample_weight=None, weight=1.0, gradient=True):
        reduction = self._reduction_in_plan(sample_weight)
        self._check_for_plan(builder.columns(prediction))
        return builder.loss(self.row, prediction, labels, sample_weight, weight=weight,
                            reduction=reduction, gradient=gradient, params=self._params(),
                            **self._options())

    def as_metric(self) -> tuple[str, dict[str, Any]]:
        """The kind and the options under which `Builder.metric` adds up this loss."""
        options = {**self._options(), "params": self._params()}
        kind = spec.LOGITS_ROWS[self.row] if options.pop("from_logits", False) else self.row
        return kind, options


# -- regression ----------------------------------------------------------------------------------


class MeanSquaredError(TableLoss, function=functions.mean_squared_error):
    """The mean of squared errors.

    >>> MeanSquaredError()([[0.0, 1.0], [0.0, 0.0]], [[1.0, 1.0], [1.0, 0.0]])
    0.5
    """


class MeanAbsoluteError(TableLoss, function=functions.mean_absolute_error):
    """The mean of absolute errors.

    >>> MeanAbsoluteError()([[0.0, 1.0], [0.0, 0.0]], [[1.0, 1.0], [1.0, 0.0]])
    0.5
    """


class MeanAbsolutePercentageError(TableLoss, function=functions.mean_absolute_percentage_error):
    """The mean of absolute errors in percent of the targets.

    >>> MeanAbsolutePercentageError()([[2.0, 4.0]], [[1.0, 5.0]])
    37.5
    """


class MeanSquaredLogarithmicError(TableLoss, function=functions.mean_squared_logarithmic_error):
    """The mean of squared errors of logarithms, of targets and predictions above 0.

    >>> round(MeanSquaredLogarithmicError()([[0.0, 1.0]], [[1.0, 3.0]]), 4)
    0.4805
    """


class LogCosh(TableLoss, function=functions.log_cosh):
    """The mean of logarithms of hyperbolic cosines of errors: squared near 0, absolute afar.

    >>> round(LogCosh()([[0.0, 1.0]], [[1.0, 3.0]]), 4)
    0.8794
    """


class Huber(TableLoss, function=functions.huber):
    """The mean of errors squared up to `delta` and absolute from there.

    >>> Huber(delta=2.0)([[0.0, 0.0]], [[0.5, 3.0]])
    2.0625
    """

    def __init__(self, delta: float = 1.0, reduction="sum_over_batch_size", name="huber_loss",
                 dtype=None):
        super().__init__(reduction, name, dtype, delta=delta)


class Quantile(TableLoss, function=functions.quantile):
    """The pinball loss: least where the prediction is that quantile of the targets.

    >>> Quantile(0.75)([[0.0, 4.0]], [[1.0, 3.0]])
    0.5
    """

    def __init__(self, quantile: float = 0.5, reduction="sum_over_batch_size", name="quantile",
                 dtype=None):
        super().__init__(reduction, name, dtype, quantile=quantile)


class Poisson(TableLoss, function=functions.poisson):
    """The mean Poisson loss of predicted rates.

    >>> round(Poisson()([[0.0, 1.0]], [[1.0, 2.0]]), 4)
    1.1534
    """


class CosineSimilarity(TableLoss, function=functions.cosine_similarity):
    """Minus the cosine of the angle between targets and predictions.

    >>> round(CosineSimilarity()([[0.0, 1.0], [1.0, 1.0]], [[1.0, 0.0], [1.0, 1.0]]), 4)
    -0.5
    """

    def __init__(self, axis: int = -1, reduction="sum_over_batch_size", name="cosine_similarity",
                 dtype=None):
        super().__init__(reduction, name, dtype, axis=operator.index(axis))


class GaussianNegativeLogLikelihood(TableLoss,
                                    function=functions.gaussian_negative_log_likelihood):
    """The mean negative log-likelihood under normal distributions that the network predicts.

    >>> GaussianNegativeLogLikelihood()([[1.0], [1.0]], [[1.0, 0.0], [3.0, 0.0]])
    1.0
    """

    def __init__(self, full: bool = False, epsilon: float = 1e-6, reduction="sum_over_batch_size",
                 name="gaussian_negative_log_likelihood", dtype=None):
        super().__init__(reduction, name, dtype, full=bool(full),
                         epsilon=checks.number(epsilon, "epsilon", 1e-300))


# -- margins -------------------------------------------------------------------------------------


class Hinge(TableLoss, function=functions.hinge):
    """The mean hinge loss, targets -1 and 1 (or 0 and 1).

    >>> Hinge()([[0, 1], [0, 0]], [[0.5, 0.25], [-2.0, 0.0]])
    0.8125
    """


class SquaredHinge(TableLoss, function=functions.squared_hinge):
    """The mean squared hinge loss, targets -1 and 1 (or 0 and 1).

    >>> SquaredHinge()([[-1, 1]], [[0.5, 0.5]])
    1.25
    """


class CategoricalHinge(TableLoss, function=functions.categorical_hinge):
    """By how much the score of the target fails to exceed every other by 1.

    >>> CategoricalHinge()([[0, 1], [1, 0]], [[0.5, 2.0], [0.5, 1.0]])
    0.75
    """


class Perceptron(TableLoss, function=functions.perceptron):
    """The mean perceptron loss, targets -1 and 1 (or 0 and 1).

    >>> Perceptron()([[-1, 1]], [[0.5, 0.5]])
    0.25
    """


# -- probabilities -------------------------------------------------------------------------------


class KLDivergence(TableLoss, function=functions.kl_divergence):
    """The Kullback-Leibler divergence of predicted from true probabilities.

    >>> round(KLDivergence()([[0.5, 0.5]], [[0.25, 0.75]]), 4)
    0.1438
    """


def _flag(value, name):
    if not isinstance(value, (bool, np.bool_)):
        raise ValueError(f"Argument `{name}` must be True or False. Received: {value!r}")
    return bool(value)


class BinaryCrossentropy(TableLoss, function=functions.binary_crossentropy):
    """-t log p - (1 - t) log(1 - p), the mean over columns and samples.

    >>> round(BinaryCrossentropy()([[0, 1], [0, 0]], [[0.6, 0.4], [0.4, 0.6]]), 3)
    0.815
    """

    def __init__(self, from_logits: bool = False, label_smoothing: float = 0.0, axis: int = -1,
                 reduction="sum_over_batch_size", name="binary_crossentropy", dtype=None):
        super().__init__(reduction, name, dtype, from_logits=_flag(from_logits, "from_logits"),
                         label_smoothing=functions.smoothing(label_smoothing),
                         axis=operator.index(axis))


class BinaryFocalCrossentropy(TableLoss, function=functions.binary_focal_crossentropy):
    """The binary cross-entropy of what is not yet certain.

    >>> loss = BinaryFocalCrossentropy()
    >>> round(loss([[0, 1], [0, 0]], [[0.6, 0.4], [0.4, 0.6]]), 3)
    0.268
    """

    def __init__(self, apply_class_balancing: bool = False, alpha: float = 0.25,
                 gamma: float = 2.0, from_logits: bool = False, label_smoothing: float = 0.0,
                 axis: int = -1, reduction="sum_over_batch_size",
                 name="binary_focal_crossentropy", dtype=None):
        super().__init__(reduction, name, dtype,
                         apply_class_balancing=_flag(apply_class_balancing,
                                                     "apply_class_balancing"),
                         alpha=checks.number(alpha, "alpha"), gamma=gamma,
                         from_logits=_flag(from_logits, "from_logits"),
                         label_smoothing=functions.smoothing(label_smoothing),
                         axis=operator.index(axis))


class CategoricalCrossentropy(TableLoss, function=functions.categorical_crossentropy,
                              labels="dense"):
    """-sum(t log p) over the classes, targets as probabilities.

    >>> loss = CategoricalCrossentropy()
    >>> round(loss([[0, 1, 0], [0, 0, 1]], [[0.05, 0.95, 0], [0.1, 0.8, 0.1]]), 3)
    1.177
    """

    def __init__(self, from_logits: bool = False, label_smoothing: float = 0.0, axis: int = -1,
                 reduction="sum_over_batch_size", name="categorical_crossentropy", dtype=None):
        super().__init__(reduction, name, dtype, from_logits=_flag(from_logits, "from_logits"),
                         label_smoothing=functions.smoothing(label_smoothing),
                         axis=operator.index(axis))


class CategoricalFocalCrossentropy(TableLoss,
                                   function=functions.categorical_focal_crossentropy):
    """The cross-entropy of what is not yet certain, targets as probabilities.

    >>> loss = CategoricalFocalCrossentropy()
    >>> round(loss([[0, 1, 0]], [[0.05, 0.55, 0.4]]), 4)
    0.0303
    """

    def __init__(self, alpha=0.25, gamma: float = 2.0, from_logits: bool = False,
                 label_smoothing: float = 0.0, axis: int = -1, reduction="sum_over_batch_size",
                 name="categorical_focal_crossentropy", dtype=None):
        super().__init__(reduction, name, dtype,
                         alpha=np.asarray(alpha, float).tolist() if np.ndim(alpha) else
                         checks.number(alpha, "alpha"), gamma=gamma,
                         from_logits=_flag(from_logits, "from_logits"),
                         label_smoothing=functions.smoothing(label_smoothing),
                         axis=operator.index(axis))

    def _check_for_plan(self, columns):
        super()._check_for_plan(columns)
        if isinstance(self.alpha, list):
            raise ValueError(
                "Argument `alpha` of CategoricalFocalCrossentropy must be a number in training; "
                "weights of classes go with the argument `class_weight` of `fit`. "
                f"Received: alpha={self.alpha}"
            )


class SparseCategoricalCrossentropy(TableLoss,
                                    function=functions.sparse_categorical_crossentropy,
                                    row="categorical_crossentropy"):
    """-log p of the labelled class, targets as integers.

    The mean is taken over the samples whose label is not `ignore_class`.

    >>> loss = SparseCategoricalCrossentropy()
    >>> round(loss([1, 2], [[0.05, 0.95, 0], [0.1, 0.8, 0.1]]), 3)
    1.177
    """

    def __init__(self, from_logits: bool = False, ignore_class: int | None = None,
                 reduction="sum_over_batch_size", axis: int = -1,
                 name="sparse_categorical_crossentropy", dtype=None):
        if ignore_class is not None:
            try:
                ignore_class = operator.index(ignore_class)
            except TypeError:
                raise TypeError(
                    "Argument `ignore_class` must be an integer or None. "
                    f"Received: ignore_class={ignore_class!r}"
                ) from None
        super().__init__(reduction, name, dtype, from_logits=_flag(from_logits, "from_logits"),
                         ignore_class=ignore_class, axis=operator.index(axis))

    def _options(self):
        return {**super()._options(), "ignore_index": self.ignore_class}

    def _counted(self, y_true, values):
        if self.ignore_class is None:
            return None
        return (np.asarray(y_true) != self.ignore_class).reshape(values.shape)


class CategoricalGeneralizedCrossEntropy(
        TableLoss, function=functions.categorical_generalized_cross_entropy):
    """A cross-entropy that forgives wrong labels, targets as integers.

    >>> CategoricalGeneralizedCrossEntropy()([0, 1], [[0.25, 0.75], [0.0, 1.0]])
    0.5
    """

    def __init__(self, q: float = 0.5, reduction="sum_over_batch_size",
                 name="categorical_generalized_cross_entropy", dtype=None):
        q = checks.number(q, "q", 0.0, below=1.0)
        if q == 0.0:
            raise ValueError("Argument `q` must lie between 0 and 1. Received: q=0.0")
        super().__init__(reduction, name, dtype, q=q)


# -- overlap and pairs ----------------------------------------------------------------------------


class _Overlap(TableLoss, function=functions.dice):
    """What losses have in common that add up over an axis: None, columns (0) or rows (-1, 1)."""

    def lower(self, builder, prediction, labels, sample_weight=None, weight=1.0, gradient=True):
        reduction = self._reduction_in_plan(sample_weight)
        axes = self.axis if isinstance(self.axis, tuple) else (self.axis,)
        if axes in ((-1,), (1,)):
            axis = "rows"
        elif axes == (0,):
            axis, reduction = "columns_sum" if reduction == "sum" else "columns", "mean"
            if sample_weight is not None:
                raise ValueError(
                    f"Argument `sample_weight` must be None where {type(self).__name__} adds up "
                    "over the samples (axis=0). Received: weights"
                )
        elif axes == (None,) or {a % 2 for a in axes} == {0, 1}:
            axis = "all"
            if sample_weight is None:
                reduction = "mean"  # of one number
        else:
            raise ValueError(
                f"Argument `axis` of {type(self).__name__} must be None, 0, 1, -1 or a tuple of "
                f"these in training. Received: axis={self.axis!r}"
            )
        if reduction == "weighted_mean" and axis != "rows":
            raise ValueError(
                f"Argument `reduction` of {type(self).__name__} must be another one than "
                f"'mean_with_sample_weight' for axis={self.axis!r} with sample weights"
                f". Received: {self.reduction!r}"
            )
        return builder.loss(self.row, prediction, labels, sample_weight, weight=weight, axis=axis,
                            reduction=reduction, gradient=gradient, params=self._params())

    def as_metric(self):
        axes = {(-1,): "rows", (1,): "rows", (0,): "columns"}
        axis = self.axis if isinstance(self.axis, tuple) else (self.axis,)
        return self.row, {"params": self._params(), "axis": axes.get(axis, "all")}


def _axes(axis):
    """An axis as config dicts keep it, a list, is a tuple."""
    return tuple(axis) if isinstance(axis, list) else axis


class Dice(_Overlap, function=functions.dice):
    """1 less the Dice coefficient of targets and predictions.

    >>> round(Dice()([[1.0, 0.0], [1.0, 1.0]], [[1.0, 0.0], [0.0, 1.0]]), 4)
    0.2
    """

    def __init__(self, reduction="sum_over_batch_size", name="dice", axis=None, dtype=None):
        super().__init__(reduction, name, dtype, axis=_axes(axis))


class Tversky(_Overlap, function=functions.tversky):
    """1 less the Tversky index of targets and predictions.

    >>> round(Tversky(alpha=0.25, beta=0.75)([[1.0, 0.0]], [[0.5, 0.5]]), 4)
    0.5
    """

    def __init__(self, alpha: float = 0.5, beta: float = 0.5, reduction="sum_over_batch_size",
                 name="tversky", axis=None, dtype=None):
        super().__init__(reduction, name, dtype, alpha=checks.number(alpha, "alpha"),
                         beta=checks.number(beta, "beta"), axis=_axes(axis))


class Circle(TableLoss, function=functions.circle):
    """The circle loss of embeddings of length 1, targets any integers.

    The mean is taken over the samples whose loss is above 0.

    >>> round(Circle(gamma=2.0)([0, 0, 1], [[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]]), 3)
    0.915
    """

    def __init__(self, gamma: float = 80.0, margin: float = 0.4, remove_diagonal: bool = True,
                 reduction="sum_over_batch_size", name="circle", dtype=None):
        super().__init__(reduction, name, dtype, gamma=checks.number(gamma, "gamma"),
                         margin=checks.number(margin, "margin"),
                         remove_diagonal=_flag(remove_diagonal, "remove_diagonal"))

    def _counted(self, y_true, values):
        return values > 0

    def _reduction_in_plan(self, sample_weight):
        reduction = super()._reduction_in_plan(sample_weight)
        if reduction == "weighted_mean":
            raise ValueError(
                "Argument `reduction` of Circle must be another one than "
                f"'mean_with_sample_weight' with sample weights. Received: {self.reduction!r}"
            )
        return reduction


class LossFunctionWrapper(Loss):
    """A Python function ``fn(y_true, y_pred, **kwargs)`` as a loss object.

    >>> double = LossFunctionWrapper(lambda t, p, k: k * abs(p - t).sum(axis=-1), k=2.0)
    >>> double([[1.0]], [[4.0]])
    6.0
    """

    def __init__(self, fn: Callable, reduction="sum_over_batch_size", name=None, dtype=None,
                 **kwargs):
        super().__init__(name or getattr(fn, "__name__", None), reduction, dtype)
        self.fn, self._kwargs = fn, kwargs

    def call(self, y_true, y_pred):
        y_true, y_pred = same_rank(y_true, y_pred)
        return self.fn(y_true, y_pred, **self._kwargs)

    def get_config(self):
        fn = {"fn": REGISTRY.serialize(self.fn), **self._kwargs}
        return {**super().get_config(), **fn}

    def __repr__(self):
        return f"LossFunctionWrapper({self.fn!r})"

    @classmethod
    def from_config(cls, config):
        config = dict(config)
        fn = config.pop("fn")
        return cls(REGISTRY.find(fn) if isinstance(fn, str) else fn, **config)


CLASSES = tuple(
    cls for cls in vars().copy().values()
    if inspect.isclass(cls) and issubclass(cls, TableLoss) and not cls.__name__.startswith("_")
    and cls is not TableLoss
)
"""Every loss of the table, in the order above."""

OF_FUNCTION = {cls.function: cls for cls in CLASSES}
"""The class of a function of `functions`."""


def _aliases():
    """The table's short names, in both cases as Keras has them ("mse", "MSE"), and functions'."""
    found = {}
    for cls in CLASSES:
        found[cls.function.__name__] = cls
        if cls is not SparseCategoricalCrossentropy:
            for alias in spec.LOSSES[cls.row].aliases:
                found[alias] = found[alias.upper()] = cls
    return found


REGISTRY = Registry("loss", Loss, (*CLASSES, LossFunctionWrapper), _aliases())
