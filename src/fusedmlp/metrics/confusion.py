"""Metrics that count right and wrong decisions over thresholds.

All share one state, sums of weights by how many thresholds lie below a prediction and by what the
target is; true and false positives and negatives at each threshold follow from it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import checks, config
from ..losses.functions import same_rank
from .metric import TallyMetric

__all__ = [
    "AUC",
    "FalseNegatives",
    "FalsePositives",
    "Precision",
    "PrecisionAtRecall",
    "Recall",
    "RecallAtPrecision",
    "SensitivityAtSpecificity",
    "SpecificityAtSensitivity",
    "TrueNegatives",
    "TruePositives",
]

_BELOW_ALL = -1e10  # what a prediction outside the k largest counts as


def _ratio(a, b):
    """a / b, 0 where b is 0."""
    return np.divide(a, b, out=np.zeros(np.broadcast(a, b).shape), where=np.asarray(b) != 0)


class _Thresholds(TallyMetric):
    """Counts over thresholds.

    Parameters
    ----------
    thresholds : list of float
        In the order of the results.
    top_k, class_id : int, optional
        Only the k largest predictions of a row can be positive; only this column counts.
    by_column : bool
        Whether columns are counted apart.
    label_weights : list of float, optional
        A weight for each column, where columns are counted together.
    """

    tally = "thresholds"
    direction: str | None = "up"

    def __init__(self, thresholds, *, name, dtype, top_k=None, class_id=None, by_column=False,
                 label_weights=None, from_logits=False):
        super().__init__(dtype, name)
        self.thresholds = [float(t) for t in thresholds]
        self.top_k = None if top_k is None else checks.integer(top_k, "top_k", 1)
        self.class_id = None if class_id is None else checks.integer(class_id, "class_id", 0)
        self._by_column, self._column_weights = by_column, label_weights
        self._sigmoid = bool(from_logits)
        self._order = np.argsort(self.thresholds, kind="stable")
        count = len(self.thresholds)
        steps = np.arange(count, dtype=np.float32) / max(count - 1, 1)
        self._even = count >= 3 and np.allclose(self.thresholds, steps, atol=config.epsilon())

    def state_shape(self, columns):
        return (len(self.thresholds) + 1, columns if self._by_column else 1, 2)

    def options(self, columns):
        if self.class_id is not None and self.class_id >= columns:
            raise ValueError(
                f"Argument `class_id` of metric {self.name!r} must be below {columns}, the "
                f"predicted columns. Received: class_id={self.class_id}"
            )
        weights = () if self._column_weights is None else tuple(self._column_weights)
        if weights and len(weights) != columns:
            raise ValueError(
                f"Argument `label_weights` of metric {self.name!r} must have {columns} weights, "
                f"one for each predicted column. Received: {len(weights)}"
            )
        ordered = [self.thresholds[i] for i in self._order]
        return (self._even, self._even and ordered[0] < 0.0,
                -1 if self.class_id is None else self.class_id,
                -1 if self.top_k is None else self.top_k, self._by_column, self._sigmoid,
                bool(weights), len(ordered), *ordered, *weights)

    def update_state(self, y_true, y_pred, sample_weight=None) -> None:
        """Add a batch.

        Parameters
        ----------
        y_true, y_pred : array_like, shape (n, ...) of one shape
            Targets, of which all but 0 count as positive, and predictions from 0 to 1.
        sample_weight : array_like, optional
            Weights of samples or of elements.

        Raises
        ------
        ValueError, TypeError
            If shapes don't fit or values are no numbers.
        """
        dtype = np.dtype(self.dtype)
        y_pred = checks.float_like(y_pred, "y_pred", dtype)
        y_true = checks.float_like(y_true, "y_true", dtype)
        y_true, y_pred = same_rank(y_true, y_pred)
        if y_true.shape != y_pred.shape:
            raise ValueError(
                "Arguments `y_true` and `y_pred` must have the same shape. "
                f"Received: y_true of shape {y_true.shape}, y_pred of shape {y_pred.shape}"
            )
        if y_pred.ndim < 2 and self.class_id is not None:
            raise ValueError(
                f"Argument `y_pred` must have shape (samples, classes) where `class_id` is given. "
                f"Received: shape {y_pred.shape}"
            )
        shape = y_pred.shape
        columns = shape[-1] if y_pred.ndim > 1 else 1
        y_true, y_pred = (np.ascontiguousarray(a).reshape(-1, columns) for a in (y_true, y_pred))
        if sample_weight is None:
            self.add(y_true, y_pred)
            return
        weights = checks.float_like(sample_weight, "sample_weight", dtype)
        if weights.ndim == len(shape) and weights.shape != shape and weights.shape[-1:] == (1,):
            weights = weights[..., 0]
        try:
            if weights.ndim < len(shape) or len(shape) == 1:
                extra = (1,) * (len(shape) - 1 - weights.ndim)
                weights = np.broadcast_to(weights.reshape(weights.shape + extra),
                                          shape[:-1] if len(shape) > 1 else shape)
                self.add(y_true, y_pred, np.ascontiguousarray(weights).reshape(-1))
                return
            weights = np.broadcast_to(weights, shape).reshape(-1, columns)
        except ValueError:
            raise ValueError(
                f"Argument `sample_weight` must broadcast to shape {shape}. "
                f"Received: shape {np.shape(sample_weight)}"
            ) from None
        self._add_elements(y_true, y_pred, np.ascontiguousarray(weights))

    def _add_elements(self, y_true, y_pred, weights):
        """Add columns one after another, each with weights of its own."""
        from .. import ops

        columns = y_pred.shape[1]
        state, options = self._state_for(columns), list(self.options(columns))
        options[4] = False
        for j in range(columns) if self.class_id is None else (self.class_id,):
            part = np.zeros((len(self.thresholds) + 1, 1, 2))
            options[2] = j
            ops.tally(self.tally, y_pred, y_true, part, options=options,
                      sample_weight=np.ascontiguousarray(weights[:, j]))
            state[:, j if self._by_column else 0] += part[:, 0]

    def counts(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """True positives, false positives, true negatives and false negatives by threshold.

        Shape (thresholds,), or (thresholds, columns) where columns are counted apart.
        """
        state = np.zeros((len(self.thresholds) + 1, 1, 2)) if self.state is None else self.state
        above = state[::-1].cumsum(axis=0)[::-1]
        found = above[1:][np.argsort(self._order)]
        if not self._by_column:
            above, found = above[:, 0], found[:, 0]
        missed = above[0] - found
        return found[..., 1], found[..., 0], missed[..., 0], missed[..., 1]

    def _one_or_all(self, values):
        return float(values[0]) if len(self.thresholds) == 1 else values


def _checked(thresholds, default):
    """A threshold or a list of them as a list, each from 0 to 1."""
    if thresholds is None:
        return [default]
    several = list(thresholds) if isinstance(thresholds, (list, tuple, np.ndarray)) \
        else [thresholds]
    return [checks.number(t, "thresholds", 0.0, 1.0) for t in several]


class _Count(_Thresholds):
    """One of the four counts."""

    direction = None
    _which = 0

    def __init__(self, thresholds=None, name: str | None = None, dtype: str | None = None):
        self.init_thresholds = thresholds
        super().__init__(_checked(thresholds, 0.5), name=name, dtype=dtype)

    def result(self):
        """The count, or one for each of several thresholds."""
        return self._one_or_all(self.counts()[self._which])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "thresholds": self.init_thresholds}


class TruePositives(_Count):
    """How many targets that are 1 are predicted above the threshold.

    Parameters
    ----------
    thresholds : float or list of float, optional
        From 0 to 1; 0.5 by default.
    name, dtype
        As in `Metric`.

    Examples
    --------
    >>> TruePositives()([0, 1, 1, 1], [1, 0, 1, 1])
    2.0
    """

    _which = 0


class FalsePositives(_Count):
    """How many targets that are 0 are predicted above the threshold; see `TruePositives`.

    >>> FalsePositives()([0, 1, 0, 0], [0, 0, 1, 1])
    2.0
    """

    _which = 1


class TrueNegatives(_Count):
    """How many targets that are 0 are not predicted above the threshold; see `TruePositives`.

    >>> TrueNegatives()([0, 1, 0, 0], [1, 1, 0, 0])
    2.0
    """

    _which = 2


class FalseNegatives(_Count):
    """How many targets that are 1 are not predicted above the threshold; see `TruePositives`.

    >>> FalseNegatives()([0, 1, 1, 1], [0, 1, 0, 0])
    2.0
    """

    _which = 3


class _Share(_Thresholds):
    """A share of true positives."""

    def __init__(self, thresholds=None, top_k: int | None = None, class_id: int | None = None,
                 name: str | None = None, dtype: str | None = None):
        self.init_thresholds = thresholds
        super().__init__(_checked(thresholds, 0.5 if top_k is None else _BELOW_ALL), name=name,
                         dtype=dtype, top_k=top_k, class_id=class_id)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "thresholds": self.init_thresholds, "top_k": self.top_k,
                "class_id": self.class_id}


class Precision(_Share):
    """The share of predictions above the threshold whose target is 1.

    Parameters
    ----------
    thresholds : float or list of float, optional
        From 0 to 1; 0.5 by default, or with `top_k` none.
    top_k : int, optional
        Only the k largest predictions of a row count as positive.
    class_id : int, optional
        Only this column counts.
    name, dtype
        As in `Metric`.

    Examples
    --------
    >>> round(Precision()([0, 1, 1, 1], [1, 0, 1, 1]), 4)
    0.6667
    """

    def result(self):
        """The precision, or one for each of several thresholds; 0 where nothing is positive."""
        tp, fp, _, _ = self.counts()
        return self._one_or_all(_ratio(tp, tp + fp))


class Recall(_Share):
    """The share of targets that are 1 that are predicted above the threshold; see `Precision`.

    >>> round(Recall()([0, 1, 1, 1], [1, 0, 1, 1]), 4)
    0.6667
    """

    def result(self):
        """The recall, or one for each of several thresholds; 0 where no target is 1."""
        tp, _, _, fn = self.counts()
        return self._one_or_all(_ratio(tp, tp + fn))


def _even(count, ends=(0.0, 1.0)):
    return [ends[0], *((i + 1) / (count - 1) for i in range(count - 2)), ends[1]]


class _BestUnder(_Thresholds):
    """The best of one share over the thresholds at which another is large enough."""

    _argument = ""

    def __init__(self, value, num_thresholds, class_id, name, dtype):
        self.num_thresholds = checks.integer(num_thresholds, "num_thresholds", 1)
        self.value = checks.number(value, self._argument, 0.0, 1.0)
        setattr(self, self._argument, self.value)
        super().__init__([0.5] if num_thresholds == 1 else _even(num_thresholds), name=name,
                         dtype=dtype, class_id=class_id)

    def _shares(self):
        """What is to be at least `value`, and what is to be large."""
        raise NotImplementedError

    def result(self) -> float:
        """The largest; 0 where no threshold serves."""
        bound, wanted = self._shares()
        return float(np.max(np.where(bound >= self.value, wanted, 0.0), initial=0.0))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "num_thresholds": self.num_thresholds,
                self._argument: self.value, "class_id": self.class_id}


class SensitivityAtSpecificity(_BestUnder):
    """The best recall of the positive where that of the negative is at least `specificity`.

    Parameters
    ----------
    specificity : float
        From 0 to 1.
    num_thresholds : int
        Thresholds from 0 to 1 that are tried.
    class_id : int, optional
        Only this column counts.
    name, dtype
        As in `Metric`.

    Examples
    --------
    >>> SensitivityAtSpecificity(0.5)([0, 0, 0, 1, 1], [0, 0.3, 0.8, 0.3, 0.8])
    0.5
    """

    _argument = "specificity"

    def __init__(self, specificity: float, num_thresholds: int = 200,
                 class_id: int | None = None, name: str | None = None, dtype: str | None = None):
        super().__init__(specificity, num_thresholds, class_id, name, dtype)

    def _shares(self):
        tp, fp, tn, fn = self.counts()
        return _ratio(tn, tn + fp), _ratio(tp, tp + fn)


class SpecificityAtSensitivity(_BestUnder):
    """The best recall of the negative where that of the positive is at least `sensitivity`.

    >>> round(SpecificityAtSensitivity(0.5)([0, 0, 0, 1, 1], [0, 0.3, 0.8, 0.3, 0.8]), 4)
    0.6667
    """

    _argument = "sensitivity"

    def __init__(self, sensitivity: float, num_thresholds: int = 200,
                 class_id: int | None = None, name: str | None = None, dtype: str | None = None):
        super().__init__(sensitivity, num_thresholds, class_id, name, dtype)

    def _shares(self):
        tp, fp, tn, fn = self.counts()
        return _ratio(tp, tp + fn), _ratio(tn, tn + fp)


class PrecisionAtRecall(_BestUnder):
    """The best precision where the recall is at least `recall`.

    >>> PrecisionAtRecall(0.5)([0, 0, 0, 1, 1], [0, 0.3, 0.8, 0.3, 0.8])
    0.5
    """

    _argument = "recall"

    def __init__(self, recall: float, num_thresholds: int = 200, class_id: int | None = None,
                 name: str | None = None, dtype: str | None = None):
        super().__init__(recall, num_thresholds, class_id, name, dtype)

    def _shares(self):
        tp, fp, _, fn = self.counts()
        return _ratio(tp, tp + fn), _ratio(tp, tp + fp)


class RecallAtPrecision(_BestUnder):
    """The best recall where the precision is at least `precision`.

    >>> RecallAtPrecision(0.8)([0, 0, 1, 1], [0, 0.5, 0.3, 0.9])
    0.5
    """

    _argument = "precision"

    def __init__(self, precision: float, num_thresholds: int = 200, class_id: int | None = None,
                 name: str | None = None, dtype: str | None = None):
        super().__init__(precision, num_thresholds, class_id, name, dtype)

    def _shares(self):
        tp, fp, _, fn = self.counts()
        return _ratio(tp, tp + fp), _ratio(tp, tp + fn)


class AUC(_Thresholds):
    """The area under a curve over the thresholds.

    Parameters
    ----------
    num_thresholds : int
        At least 2; they lie evenly from 0 to 1.
    curve : {"ROC", "PR", "PRGAIN"}
        Recall over the share of false positives, precision over recall, or the gains of both.
    summation_method : {"interpolation", "minoring", "majoring"}
        Between two thresholds a straight line (for "PR" the interpolation of Davis and Goadrich,
        2006), the lower or the higher one.
    name, dtype
        As in `Metric`.
    thresholds : list of float, optional
        Instead of `num_thresholds`.
    multi_label : bool
        Whether the areas of the columns are averaged; otherwise all elements are one curve.
    num_labels : int, optional
        Columns, with `multi_label` only; taken from the predictions otherwise.
    label_weights : list of float, optional
        Weights of the columns.
    from_logits : bool
        Whether predictions are logits.

    Examples
    --------
    >>> AUC(num_thresholds=3)([0, 0, 1, 1], [0, 0.5, 0.3, 0.9])
    0.75
    """

    def __init__(self, num_thresholds: int = 200, curve: str = "ROC",
                 summation_method: str = "interpolation", name: str | None = None,
                 dtype: str | None = None, thresholds=None, multi_label: bool = False,
                 num_labels: int | None = None, label_weights=None, from_logits: bool = False):
        self._own_thresholds = None if thresholds is None else sorted(
            _checked(list(thresholds), 0.5))
        if thresholds is not None:
            num_thresholds = len(self._own_thresholds) + 2
        self.num_thresholds = checks.integer(num_thresholds, "num_thresholds", 2)
        self.curve, self.summation_method = str(curve).upper(), str(summation_method).lower()
        checks.one_of(self.curve, "curve", ("ROC", "PR", "PRGAIN"))
        checks.one_of(self.summation_method, "summation_method",
                      ("interpolation", "minoring", "majoring"))
        if num_labels and not multi_label:
            raise ValueError(
                "Argument `num_labels` must be None unless `multi_label` is True. "
                f"Received: num_labels={num_labels}"
            )
        self.multi_label, self.num_labels = bool(multi_label), num_labels
        self.label_weights = None if label_weights is None else [float(w) for w in label_weights]
        ends = (-config.epsilon(), 1.0 + config.epsilon())
        inner = _even(self.num_thresholds, ends) if thresholds is None else [
            ends[0], *self._own_thresholds, ends[1]]
        super().__init__(inner, name=name, dtype=dtype, by_column=self.multi_label,
                         label_weights=None if multi_label else self.label_weights,
                         from_logits=from_logits)

    def update_state(self, y_true, y_pred, sample_weight=None):
        if self.multi_label and np.ndim(y_pred) != 2:
            raise ValueError(
                "Argument `y_pred` must have two axes with `multi_label`. "
                f"Received: shape {np.shape(y_pred)}"
            )
        super().update_state(y_true, y_pred, sample_weight)

    def result(self) -> float:
        """The area; 0 before the first batch."""
        tp, fp, tn, fn = self.counts()
        if self.curve == "PR" and self.summation_method == "interpolation":
            return self._averaged(_interpolated(tp, fp, fn))
        recall = _ratio(tp, tp + fn)
        if self.curve == "ROC":
            x, y = _ratio(fp, fp + tn), recall
        elif self.curve == "PR":
            x, y = recall, _ratio(tp, tp + fp)
        else:
            odds = _ratio(tp + fn, tn + fp)
            x = np.where(tp == 0.0, 0.0, np.maximum(1.0 - odds * _ratio(fn, tp), 0.0))
            y = np.where(tp == 0.0, 1.0, 1.0 - odds * _ratio(fp, tp))
        if self.summation_method == "interpolation":
            heights = (y[:-1] + y[1:]) / 2.0
        elif self.summation_method == "minoring":
            heights = np.minimum(y[:-1], y[1:])
        else:
            heights = np.maximum(y[:-1], y[1:])
        return self._averaged((x[:-1] - x[1:]) * heights)

    def _averaged(self, parts):
        """The sum of the parts of an area, or the mean over columns of each one's sum."""
        areas = parts.sum(axis=0)
        if not self.multi_label:
            return float(areas)
        if self.label_weights is None:
            return float(areas.mean())
        weights = np.array(self.label_weights)
        return float(_ratio((areas * weights).sum(), weights.sum()))

    def get_config(self) -> dict[str, Any]:
        found = {**super().get_config(), "num_thresholds": self.num_thresholds,
                 "curve": self.curve, "summation_method": self.summation_method,
                 "multi_label": self.multi_label, "num_labels": self.num_labels,
                 "label_weights": self.label_weights, "from_logits": self._sigmoid}
        if self._own_thresholds is not None:
            found["thresholds"] = self._own_thresholds
        return found


def _interpolated(tp, fp, fn):
    """Parts of the area under precision over recall, true positives linear in the positives.

    Between two thresholds tp = a + s p with p the number of positives, so that the precision is
    s + a / p and the part (s dtp + s a log(p_1 / p_2)) / (tp + fn): Davis and Goadrich (2006).
    """
    p = tp + fp
    dtp, dp = tp[:-1] - tp[1:], p[:-1] - p[1:]
    slope = _ratio(dtp, np.maximum(dp, 0.0))
    intercept = tp[1:] - slope * p[1:]
    both = (p[:-1] > 0.0) & (p[1:] > 0.0)
    ratio = np.where(both, _ratio(p[:-1], np.maximum(p[1:], 0.0)), 1.0)
    return _ratio(slope * (dtp + intercept * np.log(ratio)), np.maximum(tp[1:] + fn[1:], 0.0))
