"""From what people pass as data to what a plan gathers from.

Everything is checked here, before anything is changed: rank, width, numbers of rows, classes and
targets in range, weights.  What comes out are C-contiguous arrays of the model's dtype (int64 for
classes), converted once; float32 input of a float32 model is used as it is.  Classes are always a
copy, because kernels index with them: they must stay as they were checked, whatever a callback does
to the caller's array.  Arrays that lie where the backend in use computes stay there, but for what
has to be looked at: classes, weights, and targets that must lie in an interval.  Matrices in files
that would have to be converted are left there and read in blocks (`fusedmlp.training.stored`).
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from math import prod
from typing import Any, NamedTuple

import numpy as np

from .. import backend, checks
from ..losses.functions import as_signs
from .compressed import CompressedRows, is_sparse
from .objective import BoundObjective
from .ports import Port, spread
from .stored import Stored, is_stored

__all__ = ["Converted", "Features", "Samples", "by_rows", "class_weights", "features", "inputs",
           "is_alone", "labels", "only", "outputs", "prepare", "split", "targets", "unpack",
           "weights", "weights_of"]


class Samples(NamedTuple):
    """Arrays in the order of a plan's inputs: each input, then of each output its labels of each
    kind, and its weights if it has any (`weighted` says how many for a sample).

    Those that stay in a file are `Stored` or `Converted`, sparse ones are `CompressedRows`
    (`sparse` says of each input whether it is; it is empty where none is).
    """

    arrays: tuple
    rows: int
    weighted: tuple
    sparse: tuple = ()


class Features(tuple):
    """Arrays (rows, columns) for the inputs of a plan that have been made of the data already."""


class Converted:
    """A `Stored` matrix whose blocks are checked and changed by a function as they are read."""

    def __init__(self, stored: Stored, function: Callable[[np.ndarray], np.ndarray]):
        self._stored, self._function = stored, function
        self.block_rows = stored.block_rows

    def take(self, rows: np.ndarray) -> np.ndarray:
        """The rows at these places."""
        return self._function(self._stored.take(rows))

    def check(self) -> None:
        """Read it once, so that what is wrong is told before training begins."""
        for block in self._stored.blocks():
            self._function(block)


def features(x, name: str, columns: int | None, dtype: np.dtype,
             shape: tuple | None = None) -> np.ndarray:
    """Input as an array (rows, columns) of `dtype`.

    Parameters
    ----------
    x : array_like
        One column may be given without its axis.
    columns : int or None
        Width of the model's input; None before it is known.
    shape : tuple, optional
        Of an input whose samples have several axes; they become the columns.

    Raises
    ------
    ValueError, TypeError
        If it holds no numbers, or has no rows, or another rank or width.

    >>> features([[1, 2]], "x", 2, np.dtype("float32"))
    array([[1., 2.]], dtype=float32)
    """
    if isinstance(x, (CompressedRows, Stored)):
        array = x
    elif is_sparse(x):
        array = CompressedRows.of(x, name, dtype)
    elif is_stored(x, dtype):
        array = Stored(x, dtype, name)
    else:
        array = _here_or_there(x, partial(checks.float_like, name=name, dtype=dtype), dtype)
    if shape is not None and len(shape) > 2:
        if array.shape[1:] != tuple(shape[1:]) or not len(array):
            wanted = ", ".join(map(str, ("rows", *shape[1:])))
            raise ValueError(
                f"Argument `{name}` must have shape ({wanted}). Received: shape {array.shape}"
            )
        return array.reshape(len(array), columns)
    if array.ndim != 2:
        if array.ndim == 1 and columns == 1:
            array = array.reshape(-1, 1)
        elif array.ndim == 3 and array.shape[2] == 1 and columns in (None, array.shape[1]):
            array = array.reshape(array.shape[:2])
        else:
            wanted = "columns" if columns is None else columns
            remedy = ""
            if array.ndim == 1 and columns in (None, array.size):
                remedy = f" (for a single row pass {name}.reshape(1, -1))"
            raise ValueError(
                f"Argument `{name}` must have shape (rows, {wanted}). "
                f"Received: shape {array.shape}{remedy}"
            )
    if columns is not None and array.shape[1] != columns:
        raise ValueError(
            f"Argument `{name}` must have shape (rows, {columns}). Received: shape {array.shape}"
        )
    if not array.size:
        raise ValueError(
            f"Argument `{name}` must have at least one row and one column. "
            f"Received: shape {array.shape}"
        )
    return array


def _here_or_there(x, convert, dtype=None):
    """An array where it lies, if the backend in use computes there, or what `convert` makes of it.
    """
    held = None if isinstance(x, np.ndarray) else backend.resident(x)
    if held is None:
        return convert(x)
    return held if dtype is None else held.astype(dtype)


def _here(x):
    """What can be looked at: a copy of an array that lies elsewhere."""
    held = None if isinstance(x, np.ndarray) else backend.resident(x)
    return x if held is None else held.host()


def targets(y, name: str, rows: int, beside: str, dtype: np.dtype | None = None,
            shape: tuple | None = None) -> np.ndarray:
    """Targets as an array of whatever dtype: (rows,), (rows, columns), or as `shape` has it.

    Parameters
    ----------
    rows : int
        How many there must be.
    beside : str
        Name of the input, which has so many.
    dtype : dtype, optional
        That of the model: what targets with several columns that are in a file are read as.
    shape : tuple, optional
        Of the output: where its samples have several axes, so may the targets, the last of which
        may be another or left out.

    Raises
    ------
    ValueError, TypeError
        If `y` is missing, holds no numbers, or has another rank or number of rows.
    """
    if y is None:
        raise ValueError(f"Argument `{name}` must hold the targets. Received: None")
    steps = None if shape is None or len(shape) < 3 else tuple(shape[1:-1])
    if dtype is not None and is_stored(y, dtype):
        array = Stored(y, dtype, name)
    elif isinstance(y, Stored):
        array = y
    else:
        array = (checks.real_array(_here(y), name) if steps else
                 _here_or_there(y, partial(checks.real_array, name=name)))
    if steps and array.shape[1:] == (prod(shape[1:]),):
        array = (array.read() if isinstance(array, Stored) else array).reshape(-1, *shape[1:])
    fits = steps and array.ndim <= len(shape) and array.shape[1 : len(shape) - 1] == steps
    if array.ndim not in (1, 2) and not fits:
        raise ValueError(
            f"Argument `{name}` must have shape (rows,) or (rows, columns). "
            f"Received: shape {array.shape}"
        )
    if len(array) != rows:
        raise ValueError(
            f"Arguments `{beside}` and `{name}` must have the same number of rows. "
            f"Received: {rows} and {len(array)}"
        )
    return array


def labels(y: np.ndarray, name: str, kind: str, columns: int, dtype: np.dtype,
           ignore_class: int | None, wanted_by: str,
           interval: tuple[float, float] | None = None) -> np.ndarray:
    """Targets as a plan takes them.

    "classes" and "groups" (any integers): (rows,) int64; "dense" and "signs" (0 and 1 turned into
    -1 and 1): (rows, columns); "halves": (rows, columns / 2).

    Parameters
    ----------
    y : ndarray of rank 1 or 2
    columns : int
        Predicted columns.
    ignore_class : int or None
        A class that may lie out of range.
    wanted_by : str
        The loss or metric, for messages.
    interval : (float, float) or None
        Where dense targets must lie.

    Raises
    ------
    ValueError, TypeError
        If shape or values don't fit; a class or target out of range is named with its row.
    """
    if isinstance(y, Stored):
        # the shape is told from the first row alone; other rows are looked at where values matter
        convert = partial(labels, name=name, kind=kind, columns=columns, dtype=dtype,
                          ignore_class=ignore_class, wanted_by=wanted_by, interval=interval)
        convert(y[:1].read())
        result = Converted(y, convert)
        if interval is not None:
            result.check()
        return result
    held = backend.resident(y)
    if held is not None and (kind not in ("dense", "halves") or interval is not None):
        y, held = held.host(), None
    rows = len(y)
    if kind in ("classes", "groups"):
        if y.ndim == 2 and y.shape[1] != 1:
            raise ValueError(
                f"Argument `{name}` must hold one class per row, shape (rows,), for {wanted_by} "
                "(one-hot targets go with 'categorical_crossentropy' and 'categorical_accuracy'). "
                f"Received: shape {y.shape}"
            )
        y = y.reshape(-1)
        if y.dtype == np.int64:  # other dtypes are copied by their conversion
            y = y.copy()
        if kind == "groups":
            return checks.integers(y, name)
        return checks.class_labels(y, name, rows, columns, ignore_class)
    if kind == "halves":
        if columns % 2:
            raise ValueError(
                f"The prediction must have an even number of columns for {wanted_by}, locations in "
                f"front and logarithms of variances behind. Received: {columns} columns"
            )
        columns //= 2
    if y.shape != (rows, columns) and not (columns == 1 and y.ndim == 1):
        hint = ""
        if y.ndim == 1 or y.shape[1] == 1:
            hint = (" (classes go with 'sparse_categorical_crossentropy', or as "
                    "fusedmlp.utils.to_categorical makes them one-hot)")
        raise ValueError(
            f"Argument `{name}` must have shape (rows, {columns}), "
            f"{'half of' if kind == 'halves' else 'as'} the prediction has, for "
            f"{wanted_by}{hint}. Received: shape {y.shape}"
        )
    if held is not None:
        return held.astype(dtype).reshape(rows, columns)
    array = checks.float_like(y, name, dtype).reshape(rows, columns)
    if interval is not None:
        _within(array, name, interval, wanted_by)
    return as_signs(array) if kind == "signs" else array


def _within(array, name, interval, wanted_by):
    """Raise ValueError for targets outside an interval, or NaN."""
    low, high = interval
    slack = 4 * np.finfo(array.dtype).eps  # averaged probabilities may be rounded past the end
    if low - slack <= array.min() and array.max() <= high + slack:  # false for NaN
        return
    row, column = np.argwhere(~((array >= low - slack) & (array <= high + slack)))[0]
    raise ValueError(
        f"Argument `{name}` must hold targets from {low:g} to {high:g} for {wanted_by}. "
        f"Received: {array[row, column]} in row {row}"
    )


def by_rows(y, name: str, steps: int, shape: tuple) -> np.ndarray:
    """Targets of rank 1 or 2, a row for each of the `steps` of a sample.

    Parameters
    ----------
    y : ndarray
        From `targets`.
    shape : tuple
        Of the output.

    Raises
    ------
    ValueError
        If they are not of one number, or one row, for each step.

    >>> by_rows(np.zeros((2, 3)), "y", 3, (None, 3, 4)).shape
    (6,)
    """
    if steps == 1:
        return y if y.ndim < 3 else y.reshape(len(y), -1)
    if isinstance(y, Stored):
        y = y.read()
    if y.shape[1 : len(shape) - 1] != tuple(shape[1:-1]):
        wanted = ", ".join(map(str, shape[1:-1]))
        raise ValueError(
            f"Argument `{name}` must have shape (rows, {wanted}) or (rows, {wanted}, "
            f"{shape[-1]}), as the prediction has. Received: shape {y.shape}"
        )
    return y.reshape(len(y) * steps, *y.shape[len(shape) - 1 :])


def weights(sample_weight, name: str, rows: int, dtype: np.dtype, steps: int = 1) -> np.ndarray:
    """Weights as an array (rows,), or (rows, steps) for samples of several rows.

    Raises
    ------
    ValueError, TypeError
        If they are no numbers, not one per row, negative or not finite.
    """
    array = checks.float_like(_here(sample_weight), name, dtype)
    of_steps = steps > 1 and array.size == rows * steps and len(array) == rows
    if array.shape not in ((rows,), (rows, 1)) and not of_steps:
        raise ValueError(
            f"Argument `{name}` must have shape ({rows},), one weight per row"
            + (f", or one for each of its {steps} steps. " if steps > 1 else ". ")
            + f"Received: shape {array.shape}"
        )
    array = array.reshape((rows, steps) if of_steps else rows)
    if not (array.min() >= 0 and array.max() < np.inf):  # so for NaN as well
        place = np.unravel_index(np.argmin((array >= 0) & (array < np.inf)), array.shape)
        raise ValueError(
            f"Argument `{name}` must hold finite weights of at least 0. "
            f"Received: {array[place]} in row {place[0]}"
        )
    return array


def class_weights(y: np.ndarray, class_weight: Mapping, dtype: np.dtype,
                  columns: int) -> np.ndarray:
    """A weight per row from a weight per class; classes that are not named weigh 1.

    The class of a one-hot row is that of its largest element.

    Parameters
    ----------
    columns : int
        Predicted columns: as many classes, but two for a single column.

    Raises
    ------
    ValueError, TypeError
        If `class_weight` is no mapping of classes to numbers of at least 0, or targets are no
        classes.

    >>> class_weights(np.array([0, 2, 1]), {2: 5.0}, np.dtype("float32"), 3)
    array([1., 5., 1.], dtype=float32)
    """
    if not isinstance(class_weight, Mapping):
        raise TypeError(
            "Argument `class_weight` must be a dict of classes and their weights. "
            f"Received: {class_weight!r}"
        )
    y = _here(y)
    if isinstance(y, Stored):
        classes = np.concatenate([block.argmax(axis=1) for block in y.blocks()])
    elif y.ndim == 2 and y.shape[1] > 1:
        classes = y.argmax(axis=1)
    else:
        classes = np.round(y.reshape(-1).astype(np.float64))
        if not np.array_equal(classes, y.reshape(-1)):
            raise ValueError(
                "Argument `class_weight` needs targets that are classes. Received: targets that "
                "are no whole numbers"
            )
    result = np.ones(len(y), dtype)
    for key, value in class_weight.items():
        number = _class_key(key, max(columns, 2))
        result[classes == number] = checks.number(value, f"class_weight[{number}]", 0)
    return result


def _class_key(key, classes):
    wanted = f"The keys of `class_weight` must be classes, integers from 0 to {classes - 1}"
    try:
        number = operator.index(key)
    except TypeError:
        raise TypeError(f"{wanted}. Received: key {key!r}") from None
    if not 0 <= number < classes:
        raise ValueError(f"{wanted}. Received: key {key!r}")
    return number


def only(x):
    """The only element of a list or dict that has one."""
    (value,) = x.values() if isinstance(x, Mapping) else x
    return value


def inputs(x, name: str, ports: Sequence[Port], dtype: np.dtype) -> tuple:
    """Input of a model as arrays (rows, columns), one for each port.

    Raises
    ------
    ValueError, TypeError
        If there are not as many as ports, the numbers of rows differ, or as for `features`.
    """
    if isinstance(x, Features):
        return x
    found = []
    for label, value in spread(x, ports, name):
        port = ports[len(found)]
        found.append((label, features(value, label, port.columns, dtype, port.shape)))
    first, array = found[0]
    for label, other in found[1:]:
        if len(other) != len(array):
            raise ValueError(
                f"Arguments `{first}` and `{label}` must have the same number of rows. "
                f"Received: {len(array)} and {len(other)}"
            )
    return tuple(array for _, array in found)


def outputs(y, name: str, ports: Sequence[Port], rows: int, beside: str,
            dtype: np.dtype | None = None, alone: bool = False
            ) -> list[tuple[str, np.ndarray | None]]:
    """Targets of each output by what messages call them; None for outputs that have none.

    One array that is for all outputs (`alone`) is the first one's, of any shape.

    Raises
    ------
    ValueError, TypeError
        If there are others than the outputs, or as for `targets`.
    """
    if y is None:  # a model may do with the losses that its layers add
        return [(name, None)] * len(ports)
    if alone:
        array = targets(y, name, rows, beside, dtype, (None, *np.shape(y)[1:]))
        return [(name, array)] + [(name, None)] * (len(ports) - 1)
    result = []
    for port, (label, value) in zip(ports, spread(y, ports, name, missing=True), strict=True):
        if value is not None:
            value = targets(value, label, rows, beside, dtype, port.shape)
        result.append((label, value))
    return result


def weights_of(sample_weight, name: str, ports: Sequence[Port], rows: int,
               dtype: np.dtype) -> list:
    """Weights of each output, see `weights`, or None; one array is that of all outputs."""
    if sample_weight is None:
        return [None] * len(ports)
    steps = [prod(port.shape[1:-1]) for port in ports]
    if len(ports) > 1 and not isinstance(sample_weight, (list, tuple, Mapping)):
        return [weights(sample_weight, name, rows, dtype, count) for count in steps]
    return [None if value is None else weights(value, label, rows, dtype, count)
            for count, (label, value) in
            zip(steps, spread(sample_weight, ports, name, missing=True), strict=True)]


def prepare(x: tuple, y, names: tuple[str, str, str],
            bind: Callable[[list, Sequence[Port]], BoundObjective], ports: Sequence[Port],
            sample_weight: Any = None, class_weight: Any = None, own_loss: bool = False
            ) -> tuple[Samples, BoundObjective]:
    """Samples for a plan, with all checks made.

    Parameters
    ----------
    x : tuple of ndarray
        From `inputs`.
    y, sample_weight, class_weight
        As people pass them.
    names : tuple of str
        What messages call x, y and the weights.
    bind : callable (shapes of targets, ports) -> BoundObjective
    ports : sequence of Port
        The outputs.
    own_loss : bool
        Whether the model computes the loss itself, of targets of any structure or none.

    Returns
    -------
    samples : Samples
    objective : BoundObjective
    """
    rows, dtype = len(x[0]), x[0].dtype
    alone = own_loss and is_alone(y, ports)
    if own_loss and len(ports) > 1:
        _check_one(sample_weight, names[2])
        _check_one(class_weight, "class_weight")
    found = outputs(y, names[1], ports, rows, names[0], dtype, alone)
    sample_weights = weights_of(sample_weight, names[2], ports, rows, dtype)
    by_output = _class_weights_of(class_weight, ports)
    ports = [port if len(port.shape) < 3 else port._replace(
                weighed=classes is not None or (weight is not None and weight.ndim > 1))
             for port, classes, weight in zip(ports, by_output, sample_weights, strict=True)]
    objective = bind([None if array is None else array.shape for _, array in found], ports,
                     [array is not None and array.dtype.kind == "f" for _, array in found], alone)
    arrays, weighted = list(x), []
    for output, (label, array), weight, classes in zip(
            objective.outputs, found, sample_weights, by_output, strict=True):
        columns, steps = output.columns, output.steps
        if array is not None:
            array = by_rows(array, label, steps, output.port.shape)
        for kind in output.kinds:
            made = labels(array, label, "dense" if kind == "own" else kind,
                          output.own_columns if kind == "own" else columns, dtype,
                          output.ignore_class, output.wanted_by(kind), output.interval(kind))
            arrays.append(made if steps == 1 else made.reshape(rows, -1))
        if classes is not None and array is not None:
            by_class = class_weights(array, classes, dtype, columns)
            if steps > 1:
                by_class = by_class.reshape(rows, steps)
                weight = weight if weight is None or weight.ndim > 1 else weight[:, None]
            with np.errstate(over="ignore"):  # training tells of it, with the step
                weight = by_class if weight is None else weight * by_class
        heeded = weight is not None and (bool(output.kinds) or (own_loss and not weighted))
        weighted.append(weight[0].size if heeded else 0)
        if heeded:
            arrays.append(weight)
    return Samples(tuple(arrays), rows, tuple(weighted), sparse_inputs(x)), objective


def is_alone(y, ports: Sequence[Port]) -> bool:
    """Whether targets are one array, not one for each of several outputs.

    >>> is_alone(np.zeros(3), [Port("a", (None, 1)), Port("b", (None, 1))])
    True
    """
    return len(ports) > 1 and y is not None and not isinstance(y, (list, tuple, Mapping))


def _check_one(weight, name):
    """Raise ValueError for weights by output, of which a loss of the model's own knows nothing."""
    if isinstance(weight, (list, tuple, Mapping)):
        raise ValueError(
            f"Argument `{name}` must be one array with a weight per row where a model with several "
            "outputs computes its loss itself; of classes it can't be given. Received: a "
            f"{type(weight).__name__}"
        )


def sparse_inputs(x: tuple) -> tuple:
    """Of each input whether it is a matrix in compressed rows; empty where none is.

    >>> sparse_inputs((np.zeros((2, 2)),))
    ()
    """
    found = tuple(isinstance(a, CompressedRows) for a in x)
    return found if any(found) else ()


def _class_weights_of(class_weight, ports):
    """The weights of classes of each output: a dict by outputs where there are several."""
    if class_weight is None:
        return [None] * len(ports)
    names = [port.name for port in ports]
    if isinstance(class_weight, Mapping) and class_weight and all(
            key in names for key in class_weight):
        return [class_weight.get(name) for name in names]
    if len(ports) > 1:
        raise ValueError(
            f"Argument `class_weight` must be a dict by the names of outputs, each with a dict of "
            f"classes and their weights; the outputs are {', '.join(map(repr, names))}. "
            f"Received: {class_weight!r}"
        )
    return [class_weight]


def split(fraction, *arrays):
    """Cut off the last rows of each array.

    Parameters
    ----------
    fraction : float
        Share of the rows that are cut off, above 0 and below 1.
    *arrays : ndarray or None
        Of equal length.

    Returns
    -------
    front, back : list of ndarray or None

    Raises
    ------
    ValueError
        If nothing would be left on either side.
    """
    rows = len(arrays[0])
    cut = int(np.floor(rows * (1.0 - fraction)))
    if cut in (0, rows):
        raise ValueError(
            f"Argument `validation_split` must leave rows on both sides of the {rows} there are. "
            f"Received: {fraction!r}"
        )
    return ([None if a is None else a[:cut] for a in arrays],
            [None if a is None else a[cut:] for a in arrays])


def unpack(data, argument: str = "validation_data") -> tuple:
    """x, y and weights (or None) from a tuple of two or three; of x alone, of one.

    Raises
    ------
    ValueError
        If it is no such tuple.
    """
    if not isinstance(data, (tuple, list)) or len(data) not in (1, 2, 3):
        raise ValueError(
            f"Argument `{argument}` must be a tuple (x, y) or (x, y, sample_weight), or (x,) "
            f"where no targets are needed. Received: {type(data).__name__}"
            + (f" of length {len(data)}" if isinstance(data, (tuple, list)) else "")
        )
    return (*data, None, None)[:3]
