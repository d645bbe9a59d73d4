"""Intersection over union of predicted and true classes, from a confusion matrix."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import checks, config
from .metric import TallyMetric

__all__ = ["BinaryIoU", "IoU", "MeanIoU", "OneHotIoU", "OneHotMeanIoU"]


class IoU(TallyMetric):
    """The mean of ``true positives / (true positives + false positives + false negatives)``.

    Parameters
    ----------
    num_classes : int
    target_class_ids : list of int
        Classes whose mean is taken; those that do not occur are left out of it.
    name : str, optional
    dtype : str, optional
        "int" (the default) cuts weights to integers, as Keras does; "float32" and "float64" don't.
    ignore_class : int, optional
        Samples with this target don't count.
    sparse_y_true, sparse_y_pred : bool
        Whether targets and predictions are classes themselves, or scores of which the largest
        counts.
    axis : int
        Axis of the scores.

    Raises
    ------
    ValueError, TypeError
        If a class is out of range or an argument is none of these.

    Examples
    --------
    >>> round(IoU(num_classes=2, target_class_ids=[0])([0, 0, 1, 1], [0, 1, 0, 1]), 4)
    0.3333
    """

    tally = "confusion"
    direction = "up"
    _threshold = float("nan")

    def __init__(self, num_classes: int, target_class_ids, name: str | None = None,
                 dtype: str | None = None, ignore_class: int | None = None,
                 sparse_y_true: bool = True, sparse_y_pred: bool = True, axis: int = -1):
        self._whole = dtype is None or str(dtype).startswith(("int", "uint"))
        super().__init__(None if self._whole else dtype, name)
        self._given_dtype = dtype
        self.num_classes = checks.integer(num_classes, "num_classes", 1)
        self.target_class_ids = [
            checks.integer(k, "target_class_ids", 0, self.num_classes - 1)
            for k in target_class_ids]
        self.ignore_class = None if ignore_class is None else checks.integer(
            ignore_class, "ignore_class", -(2**31), 2**31 - 1)
        self.sparse_y_true, self.sparse_y_pred = bool(sparse_y_true), bool(sparse_y_pred)
        self.axis = axis

    @property
    def labels(self) -> str:
        """Classes beside scores are integers, anything else has the columns of the prediction."""
        return "groups" if self.sparse_y_true and not self.sparse_y_pred else "dense"

    @property
    def in_plan(self) -> bool:
        return self.axis in (-1, 1)

    def state_shape(self, columns):
        return (self.num_classes, self.num_classes)

    def options(self, columns):
        ignored = float("nan") if self.ignore_class is None else self.ignore_class
        return (self.num_classes, ignored, not self.sparse_y_true, not self.sparse_y_pred,
                self._threshold, self._whole)

    def update_state(self, y_true, y_pred, sample_weight=None) -> None:
        """Add a batch.

        Parameters
        ----------
        y_true, y_pred : array_like
            Classes, of one shape, or where they are not sparse scores along `axis`.
        sample_weight : array_like, optional
            Of the shape of the classes, one for each sample of several classes, or a number.

        Raises
        ------
        ValueError, TypeError
            If shapes don't fit or values are no numbers.
        """
        dtype = np.dtype(self.dtype)
        y_true = self._flat(y_true, "y_true", self.sparse_y_true, dtype)
        y_pred = self._flat(y_pred, "y_pred", self.sparse_y_pred, dtype)
        if y_true.size != y_pred.size:
            raise ValueError(
                "Arguments `y_true` and `y_pred` must hold as many classes. "
                f"Received: {y_true.size} and {y_pred.size}"
            )
        weights = None
        if sample_weight is not None:
            weights = checks.float_like(sample_weight, "sample_weight", dtype)
            if weights.size > 1 and y_true.size % weights.size == 0:  # of rows of several classes
                weights = np.repeat(weights.reshape(-1), y_true.size // weights.size)
            if weights.size not in (1, y_true.size):
                raise ValueError(
                    f"Argument `sample_weight` must have {y_true.size} weights, one for each "
                    f"class in `y_true`. Received: shape {np.shape(sample_weight)}"
                )
            weights = np.ascontiguousarray(np.broadcast_to(weights.reshape(-1), y_true.shape))
        from .. import ops

        options = list(self.options(1))
        options[2] = options[3] = False  # scores are classes by now
        ops.tally(self.tally, y_pred[:, None], y_true[:, None], self._state_for(1),
                  options=options, sample_weight=weights)

    def _flat(self, values, name, sparse, dtype):
        values = checks.float_like(values, name, dtype)
        if not sparse:
            axis = checks.integer(self.axis, "axis", -values.ndim, values.ndim - 1)
            values = values.argmax(axis=axis).astype(dtype)
        return np.ascontiguousarray(values).reshape(-1)

    def result(self) -> float:
        """The mean over the target classes that occur; 0 where none does."""
        matrix = np.zeros(self.state_shape(1)) if self.state is None else self.state
        right = np.diag(matrix)
        union = matrix.sum(axis=0) + matrix.sum(axis=1) - right
        right, union = right[self.target_class_ids], union[self.target_class_ids]
        occurs = union > 1e-9
        shares = np.where(occurs, right / (union + config.epsilon()), 0.0)
        return float(shares.sum() / (occurs.sum() + config.epsilon()))

    def get_config(self) -> dict[str, Any]:
        found = {"name": self.name, "dtype": self._given_dtype}
        for key in self._keys:
            found[key] = getattr(self, key)
        return found

    _keys = ("num_classes", "target_class_ids", "ignore_class", "sparse_y_true", "sparse_y_pred",
             "axis")


class BinaryIoU(IoU):
    """`IoU` of two classes, a prediction of at least `threshold` being class 1.

    >>> round(BinaryIoU(threshold=0.3)([0, 1, 0, 1], [0.1, 0.2, 0.4, 0.7]), 4)
    0.3333
    """

    def __init__(self, target_class_ids=(0, 1), threshold: float = 0.5, name: str | None = None,
                 dtype: str | None = None):
        super().__init__(2, target_class_ids, name, dtype)
        self._threshold = self.threshold = checks.number(threshold, "threshold")

    _keys = ("target_class_ids", "threshold")


class MeanIoU(IoU):
    """`IoU` of all classes.

    >>> round(MeanIoU(num_classes=2)([0, 0, 1, 1], [0, 1, 0, 1]), 4)
    0.3333
    """

    def __init__(self, num_classes: int, name: str | None = None, dtype: str | None = None,
                 ignore_class: int | None = None, sparse_y_true: bool = True,
                 sparse_y_pred: bool = True, axis: int = -1):
        super().__init__(num_classes, range(checks.integer(num_classes, "num_classes", 1)), name,
                         dtype, ignore_class, sparse_y_true, sparse_y_pred, axis)

    _keys = ("num_classes", "ignore_class", "sparse_y_true", "sparse_y_pred", "axis")


class OneHotIoU(IoU):
    """`IoU` of one-hot targets and scores.

    >>> metric = OneHotIoU(num_classes=2, target_class_ids=[1])
    >>> round(metric([[1, 0], [0, 1]], [[0.9, 0.1], [0.6, 0.4]]), 4)
    0.0
    """

    def __init__(self, num_classes: int, target_class_ids, name: str | None = None,
                 dtype: str | None = None, ignore_class: int | None = None,
                 sparse_y_pred: bool = False, axis: int = -1):
        super().__init__(num_classes, target_class_ids, name, dtype, ignore_class, False,
                         sparse_y_pred, axis)

    _keys = ("num_classes", "target_class_ids", "ignore_class", "sparse_y_pred", "axis")


class OneHotMeanIoU(MeanIoU):
    """`MeanIoU` of one-hot targets and scores.

    >>> round(OneHotMeanIoU(num_classes=2)([[1, 0], [0, 1]], [[0.9, 0.1], [0.6, 0.4]]), 4)
    0.25
    """

    def __init__(self, num_classes: int, name: str | None = None, dtype: str | None = None,
                 ignore_class: int | None = None, sparse_y_pred: bool = False, axis: int = -1):
        super().__init__(num_classes, name, dtype, ignore_class, False, sparse_y_pred, axis)

    _keys = ("num_classes", "ignore_class", "sparse_y_pred", "axis")
