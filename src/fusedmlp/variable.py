"""Variables: named arrays that layers own and that a model keeps side by side in one arena.

A variable begins with storage of its own.  A model that is about to compute moves all of its
variables into one flat, aligned array (`Variable.place`), which is what executors and optimizers
work on; what people see stays an ordinary NumPy view of the right shape.  This module knows no
layer and no backend.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np

from fusedmlp.kernels.layout import layout, read, write

from . import config, tracing, tree

__all__ = ["Variable", "aligned_zeros", "float_dtype", "place_together"]

_LINE = 64  # bytes of a cache line


def aligned_zeros(size: int, dtype: Any) -> np.ndarray:
    """A flat array of zeros that starts on a cache line.

    >>> aligned_zeros(5, "float32").ctypes.data % 64
    0
    """
    itemsize = np.dtype(dtype).itemsize
    memory = np.zeros(size + _LINE // itemsize, dtype)
    skip = -memory.ctypes.data % _LINE // itemsize
    return memory[skip : skip + size]


def float_dtype(dtype: Any, argument: str = "dtype") -> str:
    """The name of a dtype that networks may have: "float32" or "float64".

    Raises
    ------
    ValueError
        If it is another.

    >>> float_dtype(np.float64)
    'float64'
    """
    try:
        name = np.dtype(dtype).name
    except TypeError:
        name = None
    if dtype is None or name not in ("float32", "float64"):
        raise ValueError(
            f"Argument `{argument}` must be 'float32' or 'float64'. Received: {dtype!r}"
        )
    return name


class Variable(np.lib.mixins.NDArrayOperatorsMixin):
    """A named array that a layer reads and an optimizer may update.

    Arithmetic on it gives arrays, or symbolic tensors with such.

    Parameters
    ----------
    initializer : array_like, or str or callable
        The first value, which is copied; or an initializer, or the name of one, which is called
        with `shape` and `dtype`.
    shape : tuple of int, optional
        For an initializer.
    dtype : str, optional
        In place of that of the value: "float32" or "float64", or a type of integers or "bool",
        whose values lie in an arena as floating-point numbers, which hold integers up to 2**24
        (float32) or 2**53 exactly.  Without it a variable takes the floating-point type of the
        model that it becomes part of.
    trainable : bool
        Whether training updates it.
    autocast, aggregation, synchronization
        There for scripts written for Keras.
    name : str, optional

    Attributes
    ----------
    value : ndarray
        The current value.  Once a model has placed the variable, a matrix wider than a panel of the
        arena (`fusedmlp.kernels.layout`), or one of integers, comes as a copy that can't be written
        to, anything else as a view; `assign` changes either.
    path : str
        The name with that of the layer in front.
    arena, offset, pitch
        Where it lies once a model has placed it: the flat array, its first element there, and its
        padded columns.  None before.
    updated : bool
        Whether the optimizer of that model updates it.
    regularizer, constraint
        Of `fusedmlp.regularizers` and `fusedmlp.constraints`, or None.

    Raises
    ------
    ValueError
        If the value has no elements or is no numbers, or the dtype is another.

    Examples
    --------
    >>> v = Variable([[1.0, 2.0]], name="kernel")
    >>> v.shape, v.dtype
    ((1, 2), 'float32')
    >>> v.assign([[3.0, 4.0]])
    >>> v.numpy().tolist()
    [[3.0, 4.0]]
    >>> steps = Variable(0, dtype="int32", trainable=False)
    >>> steps.assign_add(1)
    >>> int(steps)
    1
    """

    def __init__(self, initializer, shape=None, dtype: Any = None, trainable: bool = True,
                 autocast: bool = True, aggregation: str | None = "none",
                 synchronization: str | None = "auto", name: str | None = None):
        if isinstance(initializer, str) or callable(initializer):
            initializer = _initialized(initializer, shape, dtype)
        given = np.asarray(initializer)
        if given.size == 0 or given.dtype.kind not in "fiub":
            raise ValueError(
                "Argument `initializer` must be an array of numbers with at least one element. "
                f"Received: dtype {given.dtype}, shape {given.shape}"
            )
        self.name = "variable" if name is None else name
        self.path = self.name
        # the model's dtype is the one that was asked for, or any
        self._asked = None if dtype is None or _discrete(dtype) is not None else float_dtype(dtype)
        # what people see where the arena holds floating-point numbers that are something else
        self._seen = _discrete(_natural(initializer, given) if dtype is None else dtype)
        stored = self._asked or (
            given.dtype if given.dtype in ("float32", "float64")
            and isinstance(initializer, (np.ndarray, np.generic, Variable)) else config.floatx())
        self.trainable = bool(trainable) and self._seen is None
        self._own: np.ndarray | None = np.array(given, dtype=stored, order="C")
        self._shape, self._dtype = self._own.shape, self._own.dtype
        self.arena: np.ndarray | None = None
        self.offset: int | None = None
        self.pitch: int | None = None
        self.updated = False
        self._on_move: list[weakref.WeakMethod] = []
        self.regularizer: Any = None
        self.constraint: Any = None

    @property
    def value(self) -> np.ndarray:
        """The current value; see the class.  Symbolic within a `call` that is being followed."""
        tracer = tracing.current()
        return self._current() if tracer is None else tracer.call(np.positive, (self,), {})

    def _current(self):
        found = self._own if self._own is not None else self.part(self.arena)
        if self._seen is None:
            return found
        seen = found.astype(self._seen)
        seen.flags.writeable = False
        return seen

    @property
    def shape(self) -> tuple[int, ...]:
        """The extents; padding of the arena is no part of them."""
        return self._shape

    @property
    def matrix_shape(self) -> tuple[int, int]:
        """Rows and columns that it takes in an arena: the last axis, and all others as one."""
        return math.prod(self._shape[:-1]), self._shape[-1] if self._shape else 1

    @property
    def dtype(self) -> str:
        """Name of the element type."""
        return (self._seen or self._dtype).name

    @property
    def required_dtype(self) -> str | None:
        """The dtype that a model with it must have; None if it takes that of any."""
        return self._asked

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self._shape)

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self._shape)

    def numpy(self) -> np.ndarray:
        """A copy of the value."""
        return self.value.copy()

    def part(self, flat: np.ndarray) -> np.ndarray:
        """What belongs to this variable of a flat array that is laid out as its arena.

        Parameters
        ----------
        flat : ndarray
            The arena itself, or one of an optimizer's state arrays.
        """
        return read(self._slice(flat), *self.matrix_shape).reshape(self._shape)

    def assign_part(self, flat: np.ndarray, value: np.ndarray) -> None:
        """Store `value`, of this variable's shape, where `part` reads."""
        write(self._slice(flat), np.reshape(value, self.matrix_shape))

    def _slice(self, flat):
        return flat[self.offset : self.offset + self.matrix_shape[0] * self.pitch]

    def assign(self, value) -> None:
        """Overwrite the value in place.

        Within a `call` that is being followed it is overwritten at the end of each step; what the
        `call` reads afterwards is the new value all the same.

        Parameters
        ----------
        value : array_like of the same shape

        Raises
        ------
        ValueError
            If the shape differs or there is something else than numbers; nothing is changed then.
        """
        tracer = tracing.current()
        if tracer is not None:
            tracer.assign(self, value)
            return
        array = np.asarray(value)
        if array.shape != self.shape or array.dtype.kind not in "fiub":
            raise ValueError(
                f"Argument `value` of variable {self.path!r} must be numbers of shape "
                f"{self.shape}. Received: dtype {array.dtype}, shape {array.shape}"
            )
        if self._own is not None:
            self._own[...] = array
        else:
            self.assign_part(self.arena, array)

    def assign_add(self, value) -> None:
        """Add to the value; errors as in `assign`."""
        self.assign(self + value if tracing.current() else self.value + np.asarray(value))

    def assign_sub(self, value) -> None:
        """Subtract from the value; errors as in `assign`."""
        self.assign(self - value if tracing.current() else self.value - np.asarray(value))

    def place(self, arena: np.ndarray, offset: int, pitch: int, updated: bool = True,
              on_move: Callable[[], None] | None = None) -> None:
        """Move the value into `arena`, where it takes `pitch` padded columns.

        Parameters
        ----------
        arena : ndarray, one-dimensional, of the variable's dtype
            The padding must be 0 and stay so.
        offset, pitch : int
            In elements, as `fusedmlp.plan.layout` gives them.
        updated : bool
            Whether the owner of the arena updates it in training.
        on_move : bound method, optional
            Called when somebody else moves the variable out of this arena; held weakly.
        """
        rows, columns = self.matrix_shape
        if not (self._asked in (None, arena.dtype.name) and pitch >= columns
                and 0 <= offset <= arena.size - rows * pitch):
            raise ValueError(
                f"Arguments `arena`, `offset` and `pitch` must leave room for variable "
                f"{self.path!r} of shape {self.shape} and dtype {self.dtype}. Received: arena of "
                f"dtype {arena.dtype} and size {arena.size}, offset={offset}, pitch={pitch}"
            )
        told = [method() for method in self._on_move]
        self._on_move = []
        for method in told:
            if method is not None:
                method()
        value = self._current()
        self.arena, self.offset, self.pitch, self.updated = arena, offset, pitch, updated
        self._own, self._dtype = None, arena.dtype
        self.assign_part(arena, value)
        if on_move is not None:
            self.watch(on_move)

    def watch(self, on_move: Callable[[], None]) -> None:
        """Have a bound method called, once, when the variable is moved out of its arena.

        Parameters
        ----------
        on_move : bound method
            Held weakly.
        """
        method = weakref.WeakMethod(on_move)
        others = [m for m in self._on_move if m() is not None and m != method]
        self._on_move = [*others, method]

    def __array__(self, dtype=None, copy=None):
        self._refuse_symbolic()
        if copy is False and dtype is not None and np.dtype(dtype) != self.value.dtype:
            raise ValueError(
                f"Argument `copy` can't be False where the dtype changes. Received: dtype={dtype!r}"
            )
        return self.value.astype(self.value.dtype if dtype is None else dtype, copy=bool(copy))

    def __array_ufunc__(self, ufunc, method, *inputs, **kwargs):
        if any(hasattr(x, "_keras_history") for x in inputs):
            return NotImplemented  # symbolic tensors know what to do with variables
        if tracing.current() is not None and method == "__call__" and not kwargs:
            return tracing.current().call(ufunc, inputs, kwargs)
        plain = [x.value if isinstance(x, Variable) else x for x in inputs]
        return getattr(ufunc, method)(*plain, **kwargs)

    def __array_function__(self, function, types, args, kwargs):
        if any(hasattr(x, "_keras_history") for x in tree.leaves(list(args))):
            return NotImplemented
        if tracing.current() is not None:
            return tracing.current().call(function, args, kwargs)

        def plain(x):
            return x.value if isinstance(x, Variable) else x

        args = [tree.map_leaves(plain, arg) for arg in args]
        return function(*args, **{name: plain(x) for name, x in kwargs.items()})

    __eq__, __ne__, __hash__ = object.__eq__, object.__ne__, object.__hash__

    def __len__(self):
        return len(self.value)

    def __float__(self):
        return float(self._number())

    def __int__(self):
        return int(self._number())

    def __bool__(self):
        return bool(self._number())

    def _number(self):
        """The value for Python's own types; SymbolicError where there is none."""
        self._refuse_symbolic()
        return self.value

    def _refuse_symbolic(self):
        if tracing.current() is not None:
            raise tracing.SymbolicError(
                f"The variable {self.path!r} is symbolic within a `call`: it can be part of "
                "arithmetic and of functions of `fusedmlp.ops`"
            )

    def __getitem__(self, index):
        tracer = tracing.current()
        return self.value[index] if tracer is None else tracer.item(self, index)

    def __repr__(self):
        return f"<Variable {self.path!r}, shape {self.shape}, {self.dtype}>"

    # Copies and pickles stand alone: the arena belongs to the model, not to the variable.
    def __getstate__(self):
        return {"name": self.name, "path": self.path, "trainable": self.trainable,
                "value": self.numpy(), "regularizer": self.regularizer,
                "constraint": self.constraint, "dtype": self._asked or self._seen}

    def __setstate__(self, state):
        self.__init__(state["value"], dtype=state.get("dtype"), trainable=state["trainable"],
                      name=state["name"])
        self.path = state["path"]
        self.regularizer, self.constraint = state["regularizer"], state["constraint"]


def _discrete(dtype):
    """The dtype of integers or truth values that a name says; None if it is of another kind."""
    try:
        found = np.dtype(dtype)
    except TypeError:
        return None
    return found if found.kind in "iub" else None


def _natural(initializer, array):
    """The dtype that a value has by itself; integers of Python have 32 bits."""
    plain = not isinstance(initializer, (np.ndarray, np.generic, Variable))
    return "int32" if plain and array.dtype.kind in "iu" else array.dtype


def _initialized(initializer, shape, dtype):
    """What an initializer gives for a shape."""
    from . import initializers

    if shape is None:
        raise ValueError(
            "Argument `shape` must be given where the value comes from an initializer. "
            f"Received: shape=None with {initializer!r}"
        )
    wanted = config.floatx() if dtype is None or _discrete(dtype) is not None else dtype
    return np.asarray(initializers.get(initializer)(tuple(shape), dtype=wanted))


def place_together(variables: list[Variable], updated: set[int], dtype: str,
                   on_move: Callable[[], None]) -> tuple[np.ndarray, int]:
    """Move `variables` into a new arena, those to be updated in front.

    Parameters
    ----------
    variables : list of Variable
    updated : set of int
        ``id`` of those that training updates.
    dtype : str
    on_move : bound method
        Told when one of them is moved elsewhere.

    Returns
    -------
    arena : ndarray
    updated_size : int
        Elements of its front part, which the updated ones take.
    """
    front = [v for v in variables if id(v) in updated]
    ordered = front + [v for v in variables if id(v) not in updated]
    itemsize = np.dtype(dtype).itemsize
    places, size = layout([v.matrix_shape for v in ordered], itemsize)
    arena = aligned_zeros(size, dtype)
    for variable, (offset, pitch) in zip(ordered, places, strict=True):
        variable.place(arena, offset, pitch, id(variable) in updated, on_move)
    return arena, layout([v.matrix_shape for v in front], itemsize)[1]
