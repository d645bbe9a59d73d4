"""Data frames, series, Arrow tables and tensors of other libraries as NumPy arrays.

None of these libraries is imported: an object is known by the module that its type comes from.
Missing values become NaN; columns that hold no numbers are named in the error.
"""

from __future__ import annotations

import numpy as np

__all__ = ["convert", "is_foreign"]

_PANDAS, _POLARS, _ARROW, _TORCH = "pandas", "polars", "pyarrow", "torch"
_ROOTS = frozenset((_PANDAS, _POLARS, _ARROW, _TORCH))


def is_foreign(x) -> bool:
    """Whether `convert` knows the library that `x` comes from.

    >>> is_foreign(np.zeros(3))
    False
    """
    return type(x).__module__.partition(".")[0] in _ROOTS


def convert(x, name: str) -> np.ndarray:
    """The values of `x` as an array, of rank 2 for what has columns.

    A frame whose columns are of one type keeps it; of several, the result has the type that holds
    them all.

    Raises
    ------
    TypeError
        If a column of a frame holds no real numbers; it is named.
    """
    root = type(x).__module__.partition(".")[0]
    if root == _TORCH:
        return _tensor(x)
    columns = _columns(x, root)
    if columns is None:
        return _values(x, root, f"Argument `{name}`")
    arrays = [_values(values, root, f"Column {label!r} of argument `{name}`")
              for label, values in columns]
    if not arrays:
        return np.empty((len(x), 0))
    result = np.empty((len(arrays[0]), len(arrays)), np.result_type(*arrays))
    for i, array in enumerate(arrays):
        result[:, i] = array
    return result


def _columns(x, root):
    """Pairs of label and column of a frame or table; None for a single column."""
    if root == _PANDAS:
        if getattr(x, "ndim", 1) == 2 and hasattr(x, "iloc"):
            return [(label, x.iloc[:, i]) for i, label in enumerate(x.columns)]
    elif root == _POLARS:
        if hasattr(x, "collect"):  # a lazy frame
            x = x.collect()
        if hasattr(x, "iter_columns"):
            return [(column.name, column) for column in x.iter_columns()]
    elif hasattr(x, "column_names") or hasattr(x, "schema"):
        return list(zip(x.schema.names, x.columns, strict=True))
    return None


def _values(column, root, what):
    """The values of one column; ones that are missing are NaN."""
    if root == _POLARS:
        array = _polars(column)
    elif root == _ARROW:
        array = _arrow(column)
    else:
        array = _pandas(column)
    if array.dtype.kind in "biuf" or array.dtype.name == "bfloat16":
        return array
    raise TypeError(
        f"{what} must hold real numbers (encode other values first, e.g. with "
        f"fusedmlp.layers.StringLookup or CategoryEncoding). Received: values of type "
        f"{getattr(column, 'dtype', getattr(column, 'type', array.dtype))}"
    )


def _pandas(column):
    dtype = column.dtype
    if isinstance(dtype, np.dtype):
        return column.to_numpy()
    kind = getattr(dtype, "kind", "O")  # nullable and Arrow-backed types
    if kind not in "biuf":
        return column.to_numpy(dtype=object)
    if column.isna().any():
        return column.to_numpy(dtype=np.float64, na_value=np.nan)
    return column.to_numpy(dtype=getattr(dtype, "numpy_dtype", None) or np.float64)


def _polars(column):
    numeric = column.dtype.is_numeric() and not column.dtype.is_decimal()
    if not numeric and str(column.dtype) != "Boolean":
        return np.empty(0, dtype=object)
    return column.to_numpy()  # missing values of integers make it float64 with NaN


def _arrow(column):
    from pyarrow import types

    kind = column.type
    if not (types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind)):
        return np.empty(0, dtype=object)
    if column.null_count and not types.is_floating(kind):
        column = column.cast("float64")
    array = column.to_numpy(**({} if hasattr(column, "chunks") else {"zero_copy_only": False}))
    return array.astype(np.bool_) if array.dtype == object else array


def _tensor(x):
    x = x.detach().cpu()
    if str(x.dtype) == "torch.bfloat16":
        x = x.float()
    return x.numpy()
