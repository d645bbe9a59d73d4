"""How much of the variance of targets is explained."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from .. import checks
from ..losses.functions import same_rank
from .metric import TallyMetric, weights_of_rows

__all__ = ["R2Score"]


class R2Score(TallyMetric):
    """``1 - sum (t - p)^2 / sum (t - mean t)^2`` for each column.

    Parameters
    ----------
    class_aggregation : {"uniform_average", "variance_weighted_average", None}
        The mean over columns, plain or weighted by their variances, or each column's score.
    num_regressors : int
        Number of independent regressors for the adjusted score; 0 for the plain one.
    name, dtype
        As in `Metric`.

    Raises
    ------
    ValueError, TypeError
        If an argument is none of these.

    Examples
    --------
    >>> round(R2Score()([[1.0], [4.0], [3.0]], [[2.0], [4.0], [4.0]]), 4)
    0.5714
    """

    tally = "moments"
    direction = "up"

    def __init__(self, class_aggregation: str | None = "uniform_average", num_regressors: int = 0,
                 name: str = "r2_score", dtype: str | None = None):
        super().__init__(dtype, name)
        if class_aggregation is not None:
            checks.one_of(class_aggregation, "class_aggregation",
                          ("uniform_average", "variance_weighted_average"))
        self.class_aggregation = class_aggregation
        self.num_regressors = checks.integer(num_regressors, "num_regressors", 0)

    def state_shape(self, columns):
        return (5, columns)

    def update_state(self, y_true, y_pred, sample_weight=None) -> None:
        """Add a batch of targets and predictions (n, c) and weights (n,)."""
        dtype = np.dtype(self.dtype)
        y_true, y_pred = same_rank(checks.float_like(y_true, "y_true", dtype),
                                   checks.float_like(y_pred, "y_pred", dtype))
        if y_pred.ndim != 2 or y_true.shape != y_pred.shape:
            raise ValueError(
                "Arguments `y_true` and `y_pred` must have one shape (samples, columns). "
                f"Received: y_true of shape {y_true.shape}, y_pred of shape {y_pred.shape}"
            )
        self.add(y_true, y_pred, weights_of_rows(sample_weight, len(y_pred), self.dtype))

    def result(self):
        """The score, or with `class_aggregation` None an array of one for each column."""
        if self.state is None:
            return 0.0
        with np.errstate(all="ignore"):
            weight, total, square, residual, number = self.state
            spread = square - total**2 / weight
            scores = 1.0 - residual / spread
            scores = np.where(np.isinf(scores), 0.0, scores)
            if self.class_aggregation == "uniform_average":
                scores = scores.mean()
            elif self.class_aggregation == "variance_weighted_average":
                scores = (spread * scores).sum() / spread.sum()
            scores = self._adjusted(scores, number.sum())
        return scores if self.class_aggregation is None else float(scores)

    def _adjusted(self, scores, number):
        free = number - self.num_regressors - 1
        if self.num_regressors == 0:
            return scores
        if free <= 0:
            if number:
                warnings.warn(
                    f"The adjusted R2 score needs more samples than {self.num_regressors + 1}: "
                    "this is the plain one.", stacklevel=3)
            return scores
        return 1.0 - (1.0 - scores) * (number - 1) / free

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "class_aggregation": self.class_aggregation,
                "num_regressors": self.num_regressors}
