"""What a loss is, and how the losses of samples become one number."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import checks, config, tracing
from ..registry import snake_case
from ..variable import float_dtype

__all__ = ["REDUCTIONS", "Loss", "reduce_losses"]

REDUCTIONS = ("sum_over_batch_size", "mean", "sum", "mean_with_sample_weight", "none", None)


class Loss:
    """Base class.  A subclass defines ``call(y_true, y_pred)``, which gives the loss per sample.

    Parameters
    ----------
    name : str, optional
    reduction : {"sum_over_batch_size", "mean", "sum", "mean_with_sample_weight", "none", None}
        The first two are the mean over the samples, weighted sum over number; the fourth divides
        by the sum of the weights; "none" and None leave the samples apart.
    dtype : str, optional
        Of the computation; None stands for `fusedmlp.config.floatx()`.

    Attributes
    ----------
    labels : {"dense", "classes", "signs", "halves", "groups"}
        What targets are: as many columns as the prediction; integer classes; the same as "dense"
        with 0 and 1 turned into -1 and 1; half as many columns; any integers.
    by_batch : bool
        Whether the loss of a sample depends on the others of its batch.

    Raises
    ------
    ValueError
        If an argument is none of these.

    >>> class Distance(Loss):
    ...     def call(self, y_true, y_pred):
    ...         return np.sqrt(((y_pred - y_true) ** 2).sum(axis=-1))
    >>> Distance()([[0.0, 0.0]], [[3.0, 4.0]])
    5.0
    """

    labels = "dense"
    by_batch = False

    def __init__(self, name: str | None = None, reduction: str | None = "sum_over_batch_size",
                 dtype: str | None = None):
        if reduction not in REDUCTIONS:
            raise ValueError(
                f"Argument `reduction` must be one of {', '.join(map(repr, REDUCTIONS))}. "
                f"Received: reduction={reduction!r}"
            )
        self.name = name or snake_case(type(self).__name__)
        self.reduction = reduction
        self._dtype = None if dtype is None else float_dtype(dtype)

    @property
    def dtype(self) -> str:
        if tracing.exact():
            return "float64"
        return self._dtype or config.floatx()

    def call(self, y_true, y_pred) -> np.ndarray:
        """The loss of every sample."""
        raise NotImplementedError(f"{type(self).__name__} must define `call(self, y_true, y_pred)`")

    def __call__(self, y_true, y_pred, sample_weight=None) -> float | np.ndarray:
        """The reduced loss.

        Parameters
        ----------
        y_true, y_pred : array_like
        sample_weight : array_like, optional
            One weight per sample, or something that broadcasts to that.

        Returns
        -------
        float, or an array of the losses for the reduction None

        Raises
        ------
        ValueError, TypeError
            If shapes don't fit, or there is no sample.
        """
        if tracing.current() is not None and hasattr(y_pred, "_keras_history"):
            return self._of_tensors(y_true, y_pred, sample_weight)
        dtype = np.dtype(self.dtype)
        if self.labels not in ("classes", "groups"):
            y_true = checks.float_like(y_true, "y_true", dtype)
        y_pred = checks.float_like(y_pred, "y_pred", dtype)
        values = np.asarray(self.call(y_true, y_pred))
        counted = self._counted(y_true, values)
        return reduce_losses(values, sample_weight, counted, self.reduction)

    def _of_tensors(self, y_true, y_pred, weights):
        """The reduced loss of symbolic tensors, a tensor."""
        if getattr(self, "ignore_class", None) is not None:
            raise tracing.SymbolicError("classes are ignored in arrays alone")
        values = self.call(y_true, y_pred)
        if weights is not None:
            if len(weights.shape) == len(values.shape) + 1 and weights.shape[-1] == 1:
                weights = weights[..., 0]
            while len(weights.shape) < len(values.shape):
                weights = np.expand_dims(weights, -1)
            values = values * weights  # one loss of a whole batch goes to each sample
        if self.reduction in (None, "none"):
            return values
        if self.reduction == "sum":
            return np.sum(values)
        if self.reduction == "mean_with_sample_weight" and weights is not None:
            return np.sum(values) / np.sum(weights)
        return np.mean(values)

    def _counted(self, y_true, values):
        """Which samples count, as a mask in the shape of `values`; None stands for all."""
        return None

    def lower(self, builder, prediction: int, labels: int, sample_weight: int | None = None,
              weight: float = 1.0, gradient: bool = True) -> int:
        """Add this loss to a plan under construction.

        Parameters
        ----------
        builder : fusedmlp.plan.Builder
        prediction, labels, sample_weight : int
            Buffers.
        weight : float
            Factor of the gradient.
        gradient : bool
            Whether the plan trains.

        Returns
        -------
        int
            The buffer of the losses.

        Raises
        ------
        TypeError
            If the loss is computed in Python, for which a plan has no operation.
        ValueError
            If its reduction leaves no single number to train on.
        """
        raise TypeError(
            f"Loss {self.name!r} is computed in Python and has no kernel to train with: expected "
            f"an instance of a class of fusedmlp.losses. Received: {self!r}"
        )

    def get_config(self) -> dict[str, Any]:
        """Arguments that make an equal loss."""
        return {"name": self.name, "reduction": self.reduction, "dtype": self._dtype}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Loss:
        return cls(**config)

    def __repr__(self):
        arguments = ", ".join(f"{key}={value!r}" for key, value in self.get_config().items())
        return f"{type(self).__name__}({arguments})"


def reduce_losses(values, sample_weight=None, counted=None, reduction="sum_over_batch_size"):
    """Weighted losses, reduced to a float (or left apart), as Keras does it.

    A sample that doesn't count is left out of the mean's number of samples as well.
    """
    if values.size == 0:
        raise ValueError(
            "Argument `y_pred` must hold at least one sample. "
            f"Received: losses of shape {values.shape}"
        )
    weights = None
    if sample_weight is not None:
        weights = checks.float_like(sample_weight, "sample_weight", values.dtype)
        if values.ndim == 0:  # one loss for all samples
            values = np.broadcast_to(values, weights.shape)
        if weights.ndim == values.ndim + 1 and weights.shape[-1] == 1:
            weights = weights[..., 0]
        if weights.ndim < values.ndim:
            weights = weights.reshape(weights.shape + (1,) * (values.ndim - weights.ndim))
        try:
            weights = np.broadcast_to(weights, values.shape)
        except ValueError:
            raise ValueError(
                f"Argument `sample_weight` must have one weight per sample, shape {values.shape}. "
                f"Received: shape {np.shape(sample_weight)}"
            ) from None
    if counted is not None:
        weights = counted.astype(values.dtype) if weights is None else weights * counted
    if weights is not None:
        values = values * weights
    if reduction in (None, "none"):
        return values
    total = float(values.sum(dtype=np.float64))
    if reduction == "sum":
        return total
    if reduction == "mean_with_sample_weight" and weights is not None:
        number = float(weights.sum(dtype=np.float64))
    else:
        number = values.size if counted is None else int(counted.sum())
    return total / number if number else 0.0
