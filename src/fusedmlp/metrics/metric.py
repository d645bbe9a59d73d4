"""What a metric is: variables, what a batch adds to them, and the number that they stand for."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from .. import checks, config, tracing
from ..registry import snake_case
from ..variable import float_dtype

__all__ = ["Metric", "MetricVariable", "TallyMetric"]


class MetricVariable(np.lib.mixins.NDArrayOperatorsMixin):
    """An array of any shape that a metric keeps between batches; arithmetic gives arrays.

    >>> count = MetricVariable(np.zeros(2), "count")
    >>> count.assign_add([1.0, 2.0])
    >>> (count * 2).tolist(), count.shape
    ([2.0, 4.0], (2,))
    """

    def __init__(self, value: np.ndarray, name: str | None = None):
        self.value, self.name = value, name

    @property
    def shape(self) -> tuple[int, ...]:
        return self.value.shape

    @property
    def dtype(self) -> str:
        """Name of the element type."""
        return self.value.dtype.name

    def numpy(self) -> np.ndarray:
        """A copy of the value."""
        return self.value.copy()

    def assign(self, value) -> None:
        """Overwrite the value; ValueError if the shape differs."""
        array = np.asarray(value)
        if array.shape not in (self.shape, ()):
            raise ValueError(
                f"Argument `value` of variable {self.name!r} must have shape {self.shape}. "
                f"Received: shape {array.shape}"
            )
        self.value[...] = array

    def assign_add(self, value) -> None:
        """Add to the value."""
        self.assign(self.value + np.asarray(value))

    def assign_sub(self, value) -> None:
        """Subtract from the value."""
        self.assign(self.value - np.asarray(value))

    def __array__(self, dtype=None, copy=None):
        return np.array(self.value, dtype=dtype)

    def __array_ufunc__(self, ufunc, method, *inputs, **kwargs):
        plain = [x.value if isinstance(x, MetricVariable) else x for x in inputs]
        return getattr(ufunc, method)(*plain, **kwargs)

    def __getitem__(self, index):
        return self.value[index]

    def __float__(self):
        return float(self.value)

    def __repr__(self):
        return f"<MetricVariable {self.name!r}, shape {self.shape}, {self.dtype}>"


def _followed(update_state):
    """An `update_state` that becomes a part of the plan where it gets symbolic tensors."""
    @functools.wraps(update_state)
    def update(self, *args, **kwargs):
        tracer = tracing.current()
        if tracer is None:
            return update_state(self, *args, **kwargs)
        return tracer.update(self, functools.partial(update, self), args, kwargs)

    return update


class Metric:
    """Base class.  A subclass defines `update_state` and `result`.

    One that is an attribute of a model or of a layer can be updated in a `call` or a
    `compute_loss`.

    Parameters
    ----------
    dtype : {"float32", "float64"}, optional
        Of the computation; None stands for `fusedmlp.config.floatx()`.
    name : str, optional

    Attributes
    ----------
    variables : list of MetricVariable
        What `add_variable` made; `reset_state` sets them to 0.
    labels : {"dense", "classes", "signs", "halves", "groups"}
        What targets are, as for a `fusedmlp.losses.Loss`.
    direction : {"up", "down", None}
        Whether larger or smaller is better; None where that depends on what is measured.
    in_plan : bool
        Whether training computes it by an operation of the plan (`lower`, `load`).  What it can't
        is updated in Python after each step.
    heeds_masks : bool
        Whether the mask of a model's output says which of its steps count, as in Keras for the
        means of a function of targets and predictions.

    Raises
    ------
    ValueError
        If `dtype` is another.

    Examples
    --------
    >>> class LongestMiss(Metric):
    ...     def __init__(self, name="longest_miss"):
    ...         super().__init__(name=name)
    ...         self.longest = self.add_variable(shape=(), name="longest")
    ...     def update_state(self, y_true, y_pred, sample_weight=None):
    ...         misses = np.abs(np.subtract(y_true, y_pred))
    ...         self.longest.assign(max(float(self.longest), misses.max()))
    ...     def result(self):
    ...         return float(self.longest)
    >>> metric = LongestMiss()
    >>> metric.update_state([1.0, 2.0], [1.5, 5.0])
    >>> metric.update_state([0.0], [1.0])
    >>> metric.result()
    3.0
    """

    labels = "dense"
    direction: str | None = None
    in_plan = False
    heeds_masks = False

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        if "update_state" in vars(cls):
            cls.update_state = _followed(cls.update_state)

    def __init__(self, dtype: str | None = None, name: str | None = None):
        self._dtype = None if dtype is None else float_dtype(dtype)
        self.name = name or snake_case(type(self).__name__)
        self.variables: list[MetricVariable] = []

    @property
    def dtype(self) -> str:
        return self._dtype or config.floatx()

    def add_variable(self, shape=(), initializer=None, dtype: str | None = None,
                     aggregation: str | None = "sum", name: str | None = None) -> MetricVariable:
        """Make an array that the metric keeps between batches.

        Parameters
        ----------
        shape : tuple of int
        initializer : str, Initializer or callable, optional
            Zeros by default.
        dtype : str, optional
            That of the metric by default.
        aggregation
            There for scripts written for Keras.
        name : str, optional
        """
        dtype = np.dtype(dtype or self.dtype)
        value = np.zeros(shape, dtype)
        if initializer not in (None, "zeros"):
            from .. import initializers

            if not callable(initializer):
                initializer = initializers.get(initializer)
            value[...] = initializer(shape or (1,), dtype=self.dtype).reshape(shape)
        variable = MetricVariable(value, name)
        self.variables.append(variable)
        return variable

    def add_weight(self, shape=(), initializer=None, dtype: str | None = None,
                   name: str | None = None) -> MetricVariable:
        """The same as `add_variable`."""
        return self.add_variable(shape, initializer, dtype, name=name)

    def reset_state(self) -> None:
        """Forget what was added up: set all variables to 0."""
        for variable in self.variables:
            variable.value[...] = 0

    def update_state(self, *args, **kwargs) -> None:
        """Add what a batch contributes."""
        raise NotImplementedError(f"{type(self).__name__} must define `update_state`")

    def result(self):
        """The number of all samples since the last `reset_state`; an array for several."""
        raise NotImplementedError(f"{type(self).__name__} must define `result`")

    def __call__(self, *args, **kwargs):
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
            If the metric is computed in Python (`in_plan` is False).
        """
        raise TypeError(
            f"Metric {self.name!r} is computed in Python and has no operation in a plan. "
            f"Received: {self!r}"
        )

    def rows_of_totals(self, columns: int) -> int:
        """How many rows of an executor's totals the metric takes, for so many predicted columns."""
        return 1

    def load(self, totals: np.ndarray, columns: int) -> None:
        """Take over what a plan added up: the metric's rows of the totals, shape (rows, 2)."""
        raise TypeError(f"Metric {self.name!r} has no operation in a plan. Received: {self!r}")

    def get_config(self) -> dict[str, Any]:
        """Arguments that make an equal metric."""
        return {"name": self.name, "dtype": self._dtype}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Metric:
        return cls(**config)

    def __repr__(self):
        return f"<{type(self).__name__} {self.name!r}>"


class TallyMetric(Metric):
    """A metric whose state is a row of `fusedmlp.spec.TALLIES`.

    A subclass says which (`tally`), the shape of the state and the options, and computes `result`
    from `self.state`, a float64 array of that shape, or None before the first batch.
    """

    tally = ""
    in_plan = True

    def __init__(self, dtype: str | None = None, name: str | None = None):
        super().__init__(dtype, name)
        self.state: np.ndarray | None = None

    def state_shape(self, columns: int) -> tuple[int, ...]:
        """Shape of the state for so many predicted columns."""
        raise NotImplementedError(f"{type(self).__name__} must define `state_shape`")

    def options(self, columns: int) -> tuple[float, ...]:
        """Options of the tally, in its order."""
        return ()

    def reset_state(self):
        super().reset_state()
        if self.state is not None:
            self.state[...] = 0.0

    def _state_for(self, columns):
        shape = self.state_shape(columns)
        if self.state is None:
            self.state = np.zeros(shape)
        elif self.state.shape != shape:
            raise ValueError(
                f"Argument `y_pred` of metric {self.name!r} must have as many columns as before. "
                f"Received: {columns}"
            )
        return self.state

    def add(self, y_true, y_pred, sample_weight=None) -> None:
        """Add a batch of predictions (n, c), targets of that shape and weights (n,) or None."""
        from .. import ops

        columns = y_pred.shape[1]
        ops.tally(self.tally, y_pred, y_true, self._state_for(columns),
                  options=self.options(columns), sample_weight=sample_weight)

    def lower(self, builder, prediction, labels, sample_weight=None):
        columns = builder.columns(prediction)
        builder.tally(self.name, self.tally, prediction, labels, sample_weight,
                      options=self.options(columns), size=int(np.prod(self.state_shape(columns))))

    def rows_of_totals(self, columns):
        return -(-int(np.prod(self.state_shape(columns))) // 2)

    def load(self, totals, columns):
        shape = self.state_shape(columns)
        if self.state is None or self.state.shape != shape:
            self.state = np.zeros(shape)
        self.state[...] = totals.reshape(-1)[: self.state.size].reshape(shape)


def weights_of_rows(sample_weight, rows: int, dtype):
    """Weights of a batch as an array (rows,), or None; ValueError if they don't fit."""
    if sample_weight is None:
        return None
    weights = checks.float_like(sample_weight, "sample_weight", np.dtype(dtype))
    if weights.ndim == 2 and weights.shape[1] == 1:
        weights = weights[:, 0]
    try:
        return np.ascontiguousarray(np.broadcast_to(weights, (rows,)))
    except ValueError:
        raise ValueError(
            f"Argument `sample_weight` must have one weight per sample, shape ({rows},). "
            f"Received: shape {np.shape(sample_weight)}"
        ) from None
