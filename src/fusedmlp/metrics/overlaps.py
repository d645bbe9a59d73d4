"""F-scores: harmonic means of precision and recall, by class."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import checks, config
from .metric import TallyMetric, weights_of_rows

__all__ = ["F1Score", "FBetaScore"]


class FBetaScore(TallyMetric):
    """The weighted harmonic mean of precision and recall.

    ``(1 + beta^2) precision recall / (beta^2 precision + recall)``

    Parameters
    ----------
    average : {None, "micro", "macro", "weighted"}
        The score of each class; of all classes counted together; the mean over classes, plain or
        weighted by how often they occur.
    beta : float
        Above 0: how many times as important recall is.
    threshold : float, optional
        Above 0 and up to 1; without it the largest prediction of a row is positive.
    name, dtype
        As in `Metric`.

    Raises
    ------
    ValueError, TypeError
        If an argument is none of these.

    Examples
    --------
    >>> metric = FBetaScore(beta=2.0, threshold=0.5)
    >>> metric([[1, 1, 1], [1, 0, 0], [1, 1, 0]],
    ...        [[0.2, 0.6, 0.7], [0.2, 0.6, 0.6], [0.6, 0.8, 0.0]]).round(4).tolist()
    [0.3846, 0.9091, 0.8333]
    """

    tally = "overlaps"
    direction = "up"

    def __init__(self, average: str | None = None, beta: float = 1.0,
                 threshold: float | None = None, name: str = "fbeta_score",
                 dtype: str | None = None):
        super().__init__(dtype, name)
        if average is not None:
            checks.one_of(average, "average", ("micro", "macro", "weighted"))
        self.average = average
        self.beta = checks.number(beta, "beta", 0.0)
        if self.beta == 0.0:
            raise ValueError("Argument `beta` must be above 0. Received: beta=0.0")
        self.threshold = None if threshold is None else checks.number(
            threshold, "threshold", 0.0, 1.0)
        if self.threshold == 0.0:
            raise ValueError("Argument `threshold` must be above 0. Received: threshold=0.0")

    def state_shape(self, columns):
        return (3, columns)

    def options(self, columns):
        return (float("nan") if self.threshold is None else self.threshold,)

    def update_state(self, y_true, y_pred, sample_weight=None) -> None:
        """Add a batch of targets and predictions (n, c) and weights (n,)."""
        y_pred = checks.float_like(y_pred, "y_pred", np.dtype(self.dtype))
        if y_pred.ndim != 2 or np.shape(y_true) != y_pred.shape:
            raise ValueError(
                "Arguments `y_true` and `y_pred` must have one shape (samples, classes). "
                f"Received: y_true of shape {np.shape(y_true)}, y_pred of shape {y_pred.shape}"
            )
        self.add(y_true, y_pred, weights_of_rows(sample_weight, len(y_pred), self.dtype))

    def result(self):
        """The score, or with `average` None an array of one for each class."""
        if self.state is None:
            return 0.0
        epsilon = config.epsilon()
        found, predicted, true = self.state
        if self.average == "micro":
            found, predicted, true = found.sum(), predicted.sum(), true.sum()
        precision, recall = found / (predicted + epsilon), found / (true + epsilon)
        square = self.beta**2
        score = (1.0 + square) * precision * recall / (square * precision + recall + epsilon)
        if self.average == "weighted":
            score = (score * true).sum() / (true.sum() + epsilon)
        elif self.average is not None:
            score = np.mean(score)
        return score if self.average is None else float(score)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "average": self.average, "beta": self.beta,
                "threshold": self.threshold}


class F1Score(FBetaScore):
    """The harmonic mean of precision and recall; see `FBetaScore`.

    >>> round(F1Score("macro")([[1, 0], [0, 1]], [[0.9, 0.1], [0.6, 0.4]]), 4)
    0.3333
    """

    def __init__(self, average: str | None = None, threshold: float | None = None,
                 name: str = "f1_score", dtype: str | None = None):
        super().__init__(average, 1.0, threshold, name, dtype)

    def get_config(self):
        return {key: value for key, value in super().get_config().items() if key != "beta"}
