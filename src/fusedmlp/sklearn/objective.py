"""scikit-learn's losses as operations of a plan.

scikit-learn minimises, for a batch of n rows with weights w (1 where there are none)::

    squared error   1/2 sum_i w_i |p_i - t_i|^2 / sum w, reported as its mean over the outputs
    log-loss        sum_i w_i sum_k -t_ik log p_ik / sum w, in one column and for several labels
                    with -(1 - t) log(1 - p) besides
    Poisson         sum_i w_i sum_k (p_ik - t_ik log p_ik + t_ik log t_ik - t_ik) / sum w
    penalty         alpha / 2 sum |W|^2 / sum w, over all kernels and no bias

Source: sklearn.neural_network, `_base.py` and `_multilayer_perceptron.py`.  Plans divide by n, so
weights are scaled batch by batch to sum to n (`per_batch`), and the penalty divides by the sum of
the raw weights.
"""

from __future__ import annotations

import numpy as np
from scipy.special import xlogy

from .. import spec
from ..training import data
from ..training.objective import in_python
from ..training.own import lower_loss

__all__ = ["LibraryObjective", "ScikitObjective", "per_batch"]


def per_batch(weights: np.ndarray, order: np.ndarray, batch: int) -> np.ndarray:
    """Weights scaled so that those of each batch have the mean 1.

    Parameters
    ----------
    weights : ndarray, shape (rows,)
    order : ndarray of int64, shape (rows,)
        Batch b takes the rows ``order[b * batch : (b + 1) * batch]``.

    Raises
    ------
    ZeroDivisionError
        If the weights of a batch sum to zero, as `numpy.average` does.

    >>> per_batch(np.array([1.0, 3.0, 2.0]), np.array([0, 1, 2]), 2)
    array([0.5, 1.5, 1. ])
    """
    picked = weights[order]
    starts = np.arange(0, len(order), batch)
    sums = np.add.reduceat(picked, starts)
    if not sums.all():
        raise ZeroDivisionError("Weights sum to zero, can't be normalized")
    counts = np.diff(starts, append=len(order))
    scaled = np.empty_like(weights)
    scaled[order] = picked * np.repeat((counts / sums).astype(weights.dtype), counts)
    return scaled


class ScikitObjective:
    """What a plan minimises; see the module.

    Parameters
    ----------
    loss : {"squared_error", "log_loss", "poisson"}
    columns : int
        Of the prediction.
    classes : bool
        Whether labels are class numbers instead of columns.
    alpha : float
        Strength of the penalty.
    kernels : list of (Layer, Variable)
        What is penalised.

    Attributes
    ----------
    outputs : tuple of ScikitObjective
        This one, for the network's one output.
    kinds : tuple of str
        Kinds of label arrays.
    steps : int
        Rows of a sample.  All three are what `fusedmlp.training.execution.lower` reads.
    """

    steps = 1

    def __init__(self, loss, columns, classes, alpha, kernels):
        self.loss, self.columns, self.alpha, self.kernels = loss, columns, alpha, kernels
        self.dtype = np.dtype(kernels[0][1].dtype)
        self.outputs = (self,)
        self.kinds = ("classes",) if classes else ("dense",)

    def prepared(self, labels):
        """Labels as the loss takes them: class numbers, or columns of the network's dtype."""
        if self.kinds == ("classes",):
            return labels
        return np.ascontiguousarray(labels, self.dtype)

    def lower(self, builder, predictions, labels, weights, gradient, masks=None):
        """Add loss and penalty to a plan under construction; a list holds one of each output."""
        (prediction,), (sample_weight,) = predictions, weights
        self._lower_loss(builder, prediction, labels[0][self.kinds[0]], sample_weight, gradient)
        self._penalise(builder, sample_weight)

    def _lower_loss(self, builder, prediction, labels, sample_weight, gradient):
        factor = 1.0
        if self.loss == "log_loss":
            name = "categorical_crossentropy" if self.kinds == ("classes",) \
                else "binary_crossentropy"
            if name == "binary_crossentropy":
                factor = self.columns  # rows of the table take the mean over the columns
            params = (float(np.finfo(builder.dtype).eps),)
        else:
            name, params, factor = "mean_squared_error", (), self.columns / 2
            if self.loss == "poisson":
                name, factor = "log_poisson", self.columns
                prediction = builder.before(prediction, "exponential")
        losses = builder.loss(name, prediction, labels, sample_weight, params=params,
                              weight=factor, gradient=gradient)
        if self.loss == "squared_error" and self.columns > 1:
            builder.reduce("summed", losses, weight=factor)

    def _penalise(self, builder, sample_weight):
        if not self.alpha:
            return
        if sample_weight is not None:  # that one is scaled to sum to the rows
            sample_weight = builder.input(1, "raw_weight", "weight")
        for layer, kernel in self.kernels:
            builder.penalty(layer.parameter(builder, kernel), l2=self.alpha / 2, per_rows=True,
                            sample_weight=sample_weight)

    def reported(self, totals, labels, weights) -> float:
        """The sum over rows of what scikit-learn calls the loss, from the totals of a run.

        Parameters
        ----------
        totals : ndarray of float64, shape (totals of the plan, 2)
        labels : ndarray
        weights : tuple of ndarray, shape (rows,) each
            What the run was given.
        """
        total = float(totals[0, 0])
        if self.loss == "poisson":  # t log t - t, which the plan leaves out
            constant = (xlogy(labels, labels) - labels).sum(axis=1, dtype=np.float64)
            total += float(constant @ weights[0] if weights else constant.sum())
        if len(totals) > 1:  # the gradient is that of the sum over outputs, the report is the mean
            total += float(totals[1, 0]) * (1.0 / self.columns - 1.0)
        return total


class LibraryObjective(ScikitObjective):
    """A loss of `fusedmlp.losses` or a function, with scikit-learn's penalty.

    Parameters
    ----------
    output : fusedmlp.training.objective.BoundOutput
        The loss, bound to the network's output.
    targets : int
        Columns of the estimator's targets.
    alpha, kernels
        As above.

    Raises
    ------
    ValueError
        If the loss can't be that of an estimator.
    """

    def __init__(self, output, targets, alpha, kernels):
        loss, columns = output.loss, output.port.columns
        if loss.labels == "groups":
            raise ValueError(
                "Parameter 'loss' must be one that brings outputs close to targets, which is what "
                f"an estimator predicts. Received: {loss!r}, which brings rows of a class close to "
                "each other: train a fusedmlp.Sequential with it, and classify its outputs"
            )
        if loss.labels == "halves" and columns == targets:
            raise ValueError(
                "Parameter 'loss' of a classifier can't be one that needs a variance beside each "
                f"output; MLPRegressor takes it. Received: {loss!r}"
            )
        row = spec.LOSSES.get(getattr(loss, "row", ""))
        shares = row is not None and row.accepts and (row.kind == "row" or not row.average)
        if columns == 1 and shares:  # which alone in a row is always all
            raise ValueError(
                "Parameter 'loss' must be one for a single column, such as 'binary_crossentropy', "
                "where the network has one: of two classes, or one target. "
                f"Received: {loss!r}, whose predictions are shares of a row"
            )
        super().__init__(loss, columns, False, alpha, kernels)
        self.kinds, self._output = output.kinds, output

    def prepared(self, labels):
        """Labels as the loss takes them; ValueError for those that it has no value for."""
        (kind,), output = self.kinds, self._output
        return data.labels(labels, "y", kind, self.columns, self.dtype, output.ignore_class,
                           output.wanted_by(kind), output.interval(kind))

    def _lower_loss(self, builder, prediction, labels, sample_weight, gradient):
        arguments = prediction, labels, sample_weight, 1.0, gradient
        if in_python(self.loss):
            lower_loss(builder, self.loss, (self.columns,), *arguments)
        else:
            self.loss.lower(builder, *arguments)

    def reported(self, totals, labels, weights):
        return float(totals[0, 0])
