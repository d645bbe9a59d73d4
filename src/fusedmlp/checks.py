"""What people pass, turned into what kernels take, or refused by name.

Kernels trust their caller: C-contiguous, aligned arrays of one floating dtype, shapes that agree,
labels in range.  This module makes that true, and is where a wrong argument is told from a right
one: every error names the argument, says what was expected, and ends in what was received.  It
knows neither kernels nor networks.

The dtype rules:

- float32 and float64 are computed as they are; float16 and bfloat16 are widened to float32;
- integers, booleans, Python numbers and (nested) lists have no dtype of their own: they take that
  of the other arguments, or `fusedmlp.config.floatx()` where there is none;
- of several arguments the widest decides; targets and weights take the dtype of the prediction;
- complex numbers, strings, objects, masked values and wider floats are refused.
"""

from __future__ import annotations

import operator
import sys
from math import inf

import numpy as np

from . import backend, config, frames, tracing

__all__ = [
    "class_labels",
    "float_array",
    "float_arrays",
    "float_like",
    "integer",
    "integers",
    "number",
    "one_of",
    "output",
    "real_array",
    "received",
    "shape",
    "updated_arrays",
]

F32, F64 = np.dtype(np.float32), np.dtype(np.float64)
I64, U64 = np.dtype(np.int64), np.dtype(np.uint64)
_ndarray = np.ndarray


# -- floating arrays -----------------------------------------------------------------------------


def float_array(x, name):
    """`x` as a C-contiguous, aligned float32 or float64 array of any rank; itself if it is one.

    Raises
    ------
    TypeError, ValueError
        If it holds anything but real numbers, or rows of several lengths.

    >>> import numpy as np
    >>> float_array(np.arange(3, dtype="float16"), "x").dtype.name
    'float32'
    >>> float_array(["a"], "x")
    Traceback (most recent call last):
    ...
    TypeError: Argument `x` must hold real numbers. Received: list with elements of dtype <U1
    """
    if type(x) is _ndarray:
        dtype = x.dtype
        if dtype is F32 or dtype is F64:
            flags = x.flags
            if flags.c_contiguous and flags.aligned:
                return x
    array, dtype = _real(x, name)
    return _prepared(array, dtype or np.dtype(config.floatx()))


def float_arrays(arrays, names):
    """Several arguments as arrays of one dtype, the widest that any of them has.

    >>> import numpy as np
    >>> a, b = float_arrays((np.ones(2, "float64"), [1, 2]), ("a", "b"))
    >>> b.dtype.name
    'float64'
    """
    dtype = getattr(arrays[0], "dtype", None)
    if dtype is F32 or dtype is F64:
        for x in arrays:
            if type(x) is not _ndarray or x.dtype is not dtype:
                break
            flags = x.flags
            if not (flags.c_contiguous and flags.aligned):
                break
        else:
            return arrays
    found = [_real(x, name) for x, name in zip(arrays, names, strict=True)]
    dtypes = {dtype for _, dtype in found} - {None}
    if not dtypes:
        dtypes.add(np.dtype(config.floatx()))
    dtype = F64 if F64 in dtypes else F32
    return tuple(_prepared(array, dtype) for array, _ in found)


def float_like(x, name, dtype):
    """`x` as a C-contiguous, aligned array of `dtype`, whatever real numbers it holds."""
    if type(x) is _ndarray and x.dtype is dtype:
        flags = x.flags
        if flags.c_contiguous and flags.aligned:
            return x
    return _prepared(_real(x, name)[0], dtype)


def real_array(x, name):
    """`x` as an array of whatever real dtype, rank and order it has; errors as in `float_array`.

    >>> real_array([1, 2], "labels").dtype.kind
    'i'
    """
    return _real(x, name)[0]


def _real(x, name):
    """`x` as an array of real numbers, and the dtype that it asks for (None: none of its own)."""
    masked = sys.modules.get("numpy.ma")  # a slow import; without it there is no masked array
    if masked is not None and masked.is_masked(x):
        raise TypeError(
            f"Argument `{name}` must have no masked values (fill them first: {name}.filled(0.0)). "
            f"Received: {masked.count_masked(x)} masked values"
        )
    array = _as_array(x, name)
    kind = array.dtype.kind
    if kind in "biu":
        return array, None
    if kind == "f" and array.dtype.itemsize <= 8:
        if isinstance(x, (list, tuple, int, float)):
            return array, None
        return array, F64 if array.dtype.itemsize == 8 else F32
    if array.dtype.name == "bfloat16":
        return array, F32
    raise TypeError(f"Argument `{name}` must hold real numbers. Received: {received(x, array)}")


def _as_array(x, name):
    if type(x) is not _ndarray and frames.is_foreign(x):
        return frames.convert(x, name)
    try:
        return np.asarray(x)
    except (TypeError, ValueError) as error:
        if tracing.current() is not None and isinstance(error, tracing.SymbolicError):
            raise  # so that whoever follows a `call` knows that it takes arrays
        held = backend.resident(x)
        if held is not None:
            return held.host()
        there = hasattr(x, "__cuda_array_interface__")
        remedy = " (arrays on a GPU are used there within fusedmlp.device('gpu'))" if there else ""
        raise ValueError(
            f"Argument `{name}` must be an array of numbers, all its rows of one length{remedy}. "
            f"Received: {type(x).__name__} ({error})"
        ) from None


def _prepared(array, dtype):
    array = np.asarray(array, dtype=dtype, order="C")
    return array if array.flags.aligned else array.copy()


def received(x, array):
    """How an error calls `x`, which NumPy reads as `array`.

    >>> import numpy as np
    >>> received(None, np.asarray(None))
    'NoneType'
    """
    if isinstance(x, np.ndarray):
        return f"array of dtype {array.dtype} and shape {array.shape}"
    if array.ndim == 0:
        return type(x).__name__
    return f"{type(x).__name__} with elements of dtype {array.dtype}"


def shape(array, expected, name, meaning):
    """Raise ValueError unless `array` has the shape `expected`, in which None stands for any.

    >>> import numpy as np
    >>> shape(np.ones(3), (4,), "bias", "(m,) with m = 4, the columns of `kernel`")
    Traceback (most recent call last):
    ...
    ValueError: Argument `bias` must have shape (m,) with m = 4, the columns of `kernel`. \
Received: shape (3,)
    """
    actual = array.shape
    if actual == expected:
        return
    if len(actual) != len(expected) or any(
        want is not None and have != want for have, want in zip(actual, expected, strict=True)
    ):
        raise ValueError(
            f"Argument `{name}` must have shape {meaning}. Received: shape {actual}"
        )


# -- labels --------------------------------------------------------------------------------------


def class_labels(labels, name, rows, classes, ignore_index=None):
    """Integer class labels as contiguous int64, in range.

    Parameters
    ----------
    labels : array of integers, or of floats that are whole numbers, shape (rows,)
    classes : int
        Labels go from 0 to ``classes - 1``.
    ignore_index : int, optional
        The one label that may lie outside.

    Raises
    ------
    TypeError, ValueError
        If a label is not whole or out of range; the message has its value and row.

    >>> class_labels([0, 2], "labels", 2, 3)
    array([0, 2])
    >>> class_labels([0, 3], "labels", 2, 3)
    Traceback (most recent call last):
    ...
    ValueError: Argument `labels` must hold classes from 0 to 2. Received: 3 in row 1
    """
    given = labels
    if not (type(labels) is _ndarray and labels.dtype is I64 and labels.flags.c_contiguous
            and labels.flags.aligned):
        given = _real(labels, name)[0]
        if given.dtype.kind not in "biu":
            _whole(given, name)
        labels = _prepared(given, I64)
    if labels.shape != (rows,):
        shape(labels, (rows,), name, f"(n,) with n = {rows}, the number of rows")
    # Read as unsigned, a negative label is the largest.
    if rows and not 0 <= labels.item(labels.view(U64).argmax()) < classes:
        outside = (labels < 0) | (labels >= classes)
        if ignore_index is not None:
            outside &= labels != ignore_index
        if outside.any():
            row = int(outside.argmax())
            also = "" if ignore_index is None else f", or ignore_index = {ignore_index}"
            raise ValueError(
                f"Argument `{name}` must hold classes from 0 to {classes - 1}{also}. "
                f"Received: {given[row]} in row {row}"
            )
    return labels


def integers(labels, name):
    """Any integers, or floats that are whole numbers, as contiguous int64.

    >>> integers([3.0, -1.0], "labels")
    array([ 3, -1])
    """
    given = _real(labels, name)[0]
    if given.dtype.kind not in "biu":
        _whole(given, name)
    return _prepared(given, I64)


def _whole(values, name):
    wide = values.astype(F64)
    broken = ~(np.isfinite(wide) & (wide == np.floor(wide))).reshape(-1)
    if broken.any():
        row = int(broken.argmax())
        raise ValueError(
            f"Argument `{name}` must hold whole numbers, the indices of classes. "
            f"Received: {wide.reshape(-1)[row]} in row {row}"
        )


# -- outputs and arrays updated in place -----------------------------------------------------------


def output(out, expected, dtype, name="out"):
    """Raise unless `out` is an array that a kernel can write `expected` elements of `dtype` to.

    >>> import numpy as np
    >>> output(np.empty(3), (3,), np.dtype("float32"))
    Traceback (most recent call last):
    ...
    TypeError: Argument `out` must have dtype float32. Received: dtype float64
    """
    if not isinstance(out, _ndarray):
        raise TypeError(
            f"Argument `{name}` must be a NumPy array. Received: {type(out).__name__}"
        )
    if out.dtype != dtype:
        raise TypeError(f"Argument `{name}` must have dtype {dtype}. Received: dtype {out.dtype}")
    if out.shape != expected:
        raise ValueError(
            f"Argument `{name}` must have shape {expected}. Received: shape {out.shape}"
        )
    flags = out.flags
    if not flags.carray:
        wrong = ("a read-only array" if not flags.writeable else
                 "an array that is not C-contiguous" if not flags.c_contiguous else
                 "an array that is not aligned")
        raise ValueError(
            f"Argument `{name}` must be writeable, C-contiguous and aligned. Received: {wrong}"
        )


def updated_arrays(arrays, names, read_only):
    """Flat arrays for a kernel that updates in place, and how to bring back what it wrote.

    Parameters
    ----------
    arrays, names : tuple
        The first array decides shape and dtype; all are updated in place except those in
        `read_only`.
    read_only : str
        Name of the argument that is only read (the gradient), which may be any array-like.

    Returns
    -------
    flat : list of ndarray
        One-dimensional and contiguous; views of the arguments wherever possible.
    copies : list of (ndarray, ndarray)
        Pairs (argument, contiguous copy) that the caller copies back after the kernel.

    Raises
    ------
    TypeError
        If an array to update is no NumPy array of float32 or float64, or dtypes differ.
    ValueError
        If shapes differ, an array to update is read-only, or two of them share memory.
    """
    first = arrays[0]
    for array, name in zip(arrays, names, strict=True):
        if name != read_only:
            _updatable(array, name, first, names[0])
    flat, copies = [], []
    for array, name in zip(arrays, names, strict=True):
        if name == read_only:
            found, dtype = _real(array, name)
            if dtype is F64 and first.dtype == F32:
                raise TypeError(
                    f"Argument `{name}` must have dtype float32, that of `{names[0]}`. "
                    "Received: dtype float64"
                )
            if found.shape != first.shape:
                _differs(name, first, names[0], found)
            flat.append(_prepared(found, first.dtype).reshape(-1))
        elif array.flags.carray:
            flat.append(array.reshape(-1))
        else:
            copy = np.array(array, order="C").reshape(array.shape)
            copies.append((array, copy))
            flat.append(copy.reshape(-1))
    _separate(arrays, names)
    return flat, copies


def _updatable(array, name, first, first_name):
    if not isinstance(array, _ndarray) or array.dtype not in (F32, F64):
        what = f"dtype {array.dtype}" if isinstance(array, _ndarray) else type(array).__name__
        raise TypeError(
            f"Argument `{name}` is updated in place: it must be a NumPy array of dtype float32 or "
            f"float64. Received: {what}"
        )
    if array.dtype != first.dtype:
        raise TypeError(
            f"Argument `{name}` must have dtype {first.dtype}, that of `{first_name}`. "
            f"Received: dtype {array.dtype}"
        )
    if array.shape != first.shape:
        _differs(name, first, first_name, array)
    if not array.flags.writeable:
        raise ValueError(
            f"Argument `{name}` is updated in place: it must be writeable. "
            "Received: a read-only array"
        )


def _differs(name, first, first_name, array):
    raise ValueError(
        f"Argument `{name}` must have shape {first.shape}, that of `{first_name}`. "
        f"Received: shape {array.shape}"
    )


def _separate(arrays, names):
    for i, a in enumerate(arrays):
        for b, name in zip(arrays[i + 1:], names[i + 1:], strict=True):
            if isinstance(b, _ndarray) and np.may_share_memory(a, b) and _overlap(a, b):
                raise ValueError(
                    f"Arguments `{names[i]}` and `{name}` must not share memory. "
                    "Received: arrays that overlap"
                )


def _overlap(a, b):
    try:
        return np.shares_memory(a, b, max_work=100_000)
    except RuntimeError:  # undecided within that much work (numpy.exceptions.TooHardError)
        return True


# -- numbers and names ---------------------------------------------------------------------------


def number(value, name, low=-inf, high=inf, below=None):
    """`value` as a finite float within limits; `below` is an upper limit that is not reached.

    >>> number(0.5, "rate", low=0, below=1)
    0.5
    >>> number(float("nan"), "rate", low=0, below=1)
    Traceback (most recent call last):
    ...
    ValueError: Argument `rate` must be a number of at least 0 and below 1. Received: nan
    """
    limits = " and ".join(
        text for text, there in (
            (f"of at least {low:g}", low > -inf),
            (f"of at most {high:g}", high < inf),
            (f"below {below:g}" if below is not None else "", below is not None),
        ) if there
    )
    wanted = f"Argument `{name}` must be a {'' if limits else 'finite '}number {limits}".rstrip()
    try:
        if isinstance(value, (str, bytes)) or np.ndim(value) != 0:
            raise TypeError
        result = float(value)
    except (TypeError, ValueError):
        raise TypeError(f"{wanted}. Received: {value!r}") from None
    if not (low <= result <= high and abs(result) < inf) or (
            below is not None and result >= below):
        raise ValueError(f"{wanted}. Received: {result!r}")
    return result


def integer(value, name, low, high=None):
    """`value` as a Python integer from `low` to `high`.

    >>> integer(3, "step", 1)
    3
    >>> integer(0, "step", 1)
    Traceback (most recent call last):
    ...
    ValueError: Argument `step` must be an integer of at least 1. Received: 0
    """
    if high is None:
        wanted = f"Argument `{name}` must be an integer of at least {low}"
    else:
        wanted = f"Argument `{name}` must be an integer from {low} to {high}"
    try:
        result = operator.index(value)
    except TypeError:
        raise TypeError(f"{wanted}. Received: {value!r} of type {type(value).__name__}") from None
    if result < low or (high is not None and result > high):
        raise ValueError(f"{wanted}. Received: {value!r}")
    return result


def one_of(value, name, known):
    """Raise ValueError unless `value` is one of the strings `known`.

    >>> one_of("average", "reduction", ("mean", "sum", "none"))
    Traceback (most recent call last):
    ...
    ValueError: Argument `reduction` must be one of 'mean', 'sum', 'none'. Received: 'average'
    """
    if not isinstance(value, str) or value not in known:
        raise ValueError(
            f"Argument `{name}` must be one of {', '.join(map(repr, known))}. "
            f"Received: {value!r}"
        )
