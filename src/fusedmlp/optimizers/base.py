"""What all optimizers have in common.

An optimizer is its hyperparameters, the count of its updates and its flat state arrays (`slots`).
The update itself is a kernel: a plan holds the row's name and `kernel_params`, and `apply` calls
the same kernel for plain arrays.  This module knows nothing of models.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from .. import checks, spec
from ..registry import snake_case
from ..variable import Variable, aligned_zeros, float_dtype

__all__ = ["Optimizer"]


class Optimizer:
    """Base class of the optimizers.

    Parameters
    ----------
    learning_rate : float
        Not negative.
    weight_decay : float, optional
        Decoupled: before each update parameters shrink by ``learning_rate * weight_decay`` times
        themselves.
    name : str, optional

    Attributes
    ----------
    learning_rate : float
        May be set at any time.
    iterations : int
        Updates made.
    slots : tuple of ndarray
        State arrays, flat, in the order of the row's ``slots``; empty before `build`.

    Raises
    ------
    ValueError, TypeError
        If an argument is no number or out of range.
    """

    def __init__(self, learning_rate: float, weight_decay: float | None = None,
                 name: str | None = None):
        self.learning_rate = learning_rate
        self.weight_decay = (
            None if weight_decay is None else checks.number(weight_decay, "weight_decay", low=0)
        )
        self.name = name or snake_case(type(self).__name__)
        self.iterations = 0
        self.slots: tuple[np.ndarray, ...] = ()
        self._size: int | None = None
        self._shapes: list[tuple[int, ...]] | None = None

    @property
    def row(self) -> str:
        """Key of `spec.OPTIMIZERS`: the kernel that updates."""
        raise NotImplementedError(f"{type(self).__name__} must define `row`")

    @property
    def learning_rate(self) -> float:
        return self._learning_rate

    @learning_rate.setter
    def learning_rate(self, value):
        self._learning_rate = checks.number(value, "learning_rate", low=0)

    def learning_rates(self, first_iteration: int, count: int) -> np.ndarray:
        """The rates of `count` updates from the one with index `first_iteration` on.

        Returns
        -------
        ndarray of float64, shape (count,)
        """
        return np.full(count, self.learning_rate)

    def kernel_params(self) -> tuple[float, ...]:
        """Values of the row's hyperparameters, in its order; None counts as 0."""
        names = (name for name, _ in spec.OPTIMIZERS[self.row].params)
        return tuple(float(getattr(self, name) or 0.0) for name in names)

    # -- state ---------------------------------------------------------------------------------

    @property
    def built(self) -> bool:
        """Whether the state arrays are there."""
        return self._size is not None

    def build(self, size: int, dtype: str = "float32") -> None:
        """Make the state arrays, zero and starting on cache lines, and set `iterations` to 0.

        Parameters
        ----------
        size : int
            Number of elements to update.
        dtype : {"float32", "float64"}

        Raises
        ------
        ValueError, TypeError
            If `size` is no integer or negative, or `dtype` another.
        """
        size, dtype = checks.integer(size, "size", 0), float_dtype(dtype)
        count = len(spec.OPTIMIZERS[self.row].slots)
        self.slots = tuple(aligned_zeros(size, dtype) for _ in range(count))
        self.iterations, self._size, self._shapes = 0, size, None

    # -- updating plain arrays -----------------------------------------------------------------

    def update_step(self, param: np.ndarray, grad: np.ndarray, slots: Sequence[np.ndarray],
                    learning_rate: float) -> None:
        """Update one array in place by the row's kernel; `slots` have its shape."""
        raise NotImplementedError(f"{type(self).__name__} must define `update_step`")

    def apply(self, grads: Sequence, trainable_variables: Sequence) -> None:
        """Update arrays or variables in place by their gradients.

        The first call makes the state for them; later ones must pass the same ones in the same
        order.

        Parameters
        ----------
        grads : sequence of array_like
            One per variable, of its shape.
        trainable_variables : sequence of ndarray or Variable
            float32 or float64, all of one dtype, writeable.

        Raises
        ------
        ValueError, TypeError
            If numbers, shapes or dtypes don't fit; nothing is changed then.

        >>> from fusedmlp.optimizers import SGD
        >>> w = np.array([1.0, 2.0])
        >>> SGD(learning_rate=0.5).apply([[2.0, 2.0]], [w])
        >>> w
        array([0., 1.])
        """
        arrays, grads = self._checked(list(grads), list(trainable_variables))
        if not arrays:
            return
        shapes = [array.shape for array in arrays]
        if not self.built:
            self.build(sum(array.size for array in arrays), arrays[0].dtype.name)
            self._shapes = shapes
        elif self._shapes != shapes:
            raise ValueError(
                "Argument `trainable_variables` must be those that the optimizer was built for"
                + (f", of shapes {self._shapes}" if self._shapes else "")
                + f". Received: shapes {shapes}"
            )
        rate = float(self.learning_rates(self.iterations, 1)[0])
        start = 0
        for array, grad in zip(arrays, grads, strict=True):
            stop = start + array.size
            slots = [slot[start:stop].reshape(array.shape) for slot in self.slots]
            self.update_step(array, grad, slots, rate)
            start = stop
        for array, variable in zip(arrays, trainable_variables, strict=True):
            if isinstance(variable, Variable):
                variable.assign(array)
        self.iterations += 1

    def apply_gradients(self, grads_and_vars: Iterable) -> int:
        """Like `apply`, for pairs of a gradient and its variable; returns `iterations`."""
        pairs = list(grads_and_vars)
        self.apply([grad for grad, _ in pairs], [variable for _, variable in pairs])
        return self.iterations

    def _checked(self, grads, variables):
        """Arrays to update and their gradients, all known to fit before anything changes."""
        if len(grads) != len(variables):
            raise ValueError(
                "Arguments `grads` and `trainable_variables` must be equally many. "
                f"Received: {len(grads)} gradients and {len(variables)} variables"
            )
        arrays, found = [], []
        for number, (grad, variable) in enumerate(zip(grads, variables, strict=True)):
            array = variable.numpy() if isinstance(variable, Variable) else variable
            if not isinstance(array, np.ndarray) or array.dtype not in (np.float32, np.float64):
                raise TypeError(
                    f"Argument `trainable_variables` must hold float32 or float64 arrays or "
                    f"variables. Received: {variable!r} at position {number}"
                )
            if not array.flags.writeable or (arrays and array.dtype != arrays[0].dtype):
                raise ValueError(
                    "Argument `trainable_variables` must hold writeable arrays of one dtype. "
                    f"Received: at position {number} one of dtype {array.dtype}"
                    + ("" if array.flags.writeable else ", read-only")
                )
            grad = checks.float_like(grad, "grads", array.dtype)
            if grad.shape != array.shape:
                raise ValueError(
                    f"Argument `grads` must have the variables' shapes, {array.shape} at position "
                    f"{number}. Received: shape {grad.shape}"
                )
            arrays.append(array)
            found.append(grad.copy() if np.may_share_memory(grad, array) else grad)
        return arrays, found

    # -- config --------------------------------------------------------------------------------

    def get_config(self) -> dict[str, Any]:
        """Arguments that make an equal optimizer, without its state."""
        return {"name": self.name, "learning_rate": self.learning_rate,
                "weight_decay": self.weight_decay}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Optimizer:
        return cls(**config)

    def __setstate__(self, state):
        """Copies and pickles keep the state arrays on cache lines."""
        self.__dict__.update(state)
        slots = tuple(aligned_zeros(slot.size, slot.dtype) for slot in self.slots)
        for slot, saved in zip(slots, self.slots, strict=True):
            slot[:] = saved
        self.slots = slots

    def __repr__(self):
        arguments = ", ".join(f"{key}={value!r}" for key, value in self.get_config().items())
        return f"{type(self).__name__}({arguments})"
