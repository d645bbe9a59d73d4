"""What preprocessing layers share: calls on arrays, data to adapt to, and one-hot codes.

Such a layer is a function of arrays (`transform`), which a call on an array computes at once.
Layers of numbers are lowered to operations of a plan as well; those of words and of integers that
no float can hold are `HostLayer`, which work on the data before it gets to a plan.  This module
knows no plans.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np

from ... import checks, config, frames
from ...training.batches import Batches, is_batches, unpack_batch
from ..layer import Layer
from ..tensor import KerasTensor

__all__ = ["HostLayer", "PreprocessingLayer", "encode", "encoded_shape", "values"]

MODES = ("int", "one_hot", "multi_hot", "count")


class PreprocessingLayer(Layer):
    """Base of layers that are functions of arrays.

    A layer of one's own defines `transform`, and `lower` if it can be part of a plan.
    """

    def __call__(self, inputs, *args, **kwargs):
        """The layer's output for an array, or for a symbolic tensor where a graph is made."""
        leaves = inputs if isinstance(inputs, (list, tuple)) else (inputs,)
        if any(isinstance(leaf, KerasTensor) for leaf in leaves):
            return super().__call__(inputs, *args, **kwargs)
        kwargs.pop("training", None)
        return self.transform(inputs, *args, **kwargs)

    def transform(self, inputs) -> np.ndarray:
        """The layer's output for an array."""
        raise NotImplementedError(f"{type(self).__name__} must define `transform`")


class HostLayer(PreprocessingLayer):
    """Base of layers that no kernel computes: in a model they stand in front of all others.

    A model calls their `transform` on the data once, before an epoch begins.  Elsewhere, in a model
    within another or one of one's own `call`, they are steps in Python, which take whole numbers
    that a float can hold.
    """

    def lower(self, builder, x):
        buffers = [x] if isinstance(x, int) else list(x)
        shapes = [builder.shape(one) for one in buffers]
        given = [(None, *shape) for shape in shapes]
        made = self.compute_output_shape(given[0] if isinstance(x, int) else given)[1:] or (1,)
        largest = 2 ** (np.finfo(builder.dtype).nmant + 1)

        def whole(array, shape):
            wrong = ~((np.abs(array) < largest) & (array == np.floor(array)))  # true of NaN
            if wrong.any():
                raise ValueError(
                    f"Layer {self.name!r} takes whole numbers below {largest} where it does not "
                    "stand in front of all other layers of the outermost model. "
                    f"Received: {array[wrong].flat[0]:g}"
                )
            return array.reshape(len(array), *shape).astype(np.int64)

        def step(inputs, outputs):
            arrays = [whole(*pair) for pair in zip(inputs, shapes, strict=True)]
            made = self.transform(arrays[0] if isinstance(x, int) else arrays)
            outputs[0][...] = np.asarray(made).reshape(outputs[0].shape)

        (y,) = builder.python(step, [builder.packed(one) for one in buffers], [math.prod(made)],
                              name=self.name)
        return builder.view(y, made) if len(made) > 1 else y


def values(data, name: str = "inputs", encoding: str = "utf-8") -> np.ndarray:
    """An array of numbers or words from whatever holds them; words are of dtype object.

    Words may also come as bytes, in the given encoding.

    Raises
    ------
    TypeError
        If it holds anything else.

    >>> values(["a", "b"])
    array(['a', 'b'], dtype=object)
    """
    if frames.is_foreign(data):
        data = data.to_numpy() if hasattr(data, "to_numpy") else data
        if frames.is_foreign(data):
            data = frames.convert(data, name)
    array = np.asarray(data)
    if array.dtype.kind in "biuf":
        return array
    if array.dtype.kind == "S":
        return np.char.decode(array, encoding).astype(object)
    if array.dtype.kind == "U" or "String" in type(array.dtype).__name__:
        return array.astype(object)
    if array.dtype == object:
        plain = [v.decode(encoding) if isinstance(v, bytes) else v for v in array.reshape(-1)]
        if all(isinstance(v, str) for v in plain):
            result = np.empty(len(plain), object)
            result[:] = plain
            return result.reshape(array.shape)
        if all(isinstance(v, (int, float, np.number)) for v in plain):
            return np.array(plain).reshape(array.shape)
    raise TypeError(
        f"Argument `{name}` must hold numbers or words. Received: {checks.received(data, array)}"
    )


def adapted_batches(data, steps: int | None = None, encoding: str = "utf-8"
                    ) -> Iterator[np.ndarray]:
    """The inputs of the batches that `adapt` is given, an array being one of them.

    Raises
    ------
    ValueError
        If there are none.
    """
    if is_batches(data):
        found = (unpack_batch(batch)[0] for batch in islice(Batches(data), steps))
    elif isinstance(data, (list, tuple)) and data and all(hasattr(b, "shape") for b in data):
        found = islice(data, steps)
    else:
        found = iter((data,))
    empty = True
    for batch in found:
        batch = values(batch, "data", encoding)
        empty = empty and not batch.size
        yield batch
    if empty:
        raise ValueError("Argument `data` of `adapt` must hold at least one value. Received: none")


def one_of_modes(value: Any, allowed: tuple = MODES) -> str:
    """An output mode, under the one name that it has here."""
    value = {"binary": "multi_hot", "tf-idf": "tf_idf"}.get(value, value)
    checks.one_of(value, "output_mode", allowed)
    return value


def refuse_sparse(sparse) -> None:
    """ValueError where output as a sparse tensor is asked for."""
    if sparse:
        raise ValueError(
            "Argument `sparse` must be False: output is dense here (SciPy's sparse matrices are "
            f"taken as input by a first Dense layer). Received: sparse={sparse!r}"
        )


def encoded_shape(shape: tuple, mode: str, depth: int) -> tuple:
    """Shape of `encode`'s result.

    >>> encoded_shape((5, 1), "one_hot", 3), encoded_shape((5, 2), "one_hot", 3)
    ((5, 3), (5, 2, 3))
    >>> encoded_shape((5, 2), "count", 3)
    (5, 3)
    """
    shape = tuple(shape)
    if mode == "int":
        return shape
    if mode == "one_hot" and not (len(shape) > 1 and shape[-1] == 1):
        return (*shape, depth)
    return (*shape[:-1], depth)


def encode(indices: np.ndarray, mode: str, depth: int, dtype: Any = None,
           weights: np.ndarray | None = None) -> np.ndarray:
    """Integers as vectors of `depth`; what is out of range is nowhere.

    Parameters
    ----------
    indices : ndarray of int
    mode : {"one_hot", "multi_hot", "count"}
        A vector for each element (a last axis of length 1 is dropped), or one for each row of the
        last axis, which says what is there or how often.
    weights : ndarray, optional
        What each element counts, for "count".

    >>> encode(np.array([[0, 2, 2]]), "count", 3)
    array([[1., 0., 2.]], dtype=float32)
    """
    indices = np.asarray(indices)
    dtype = np.dtype(dtype or config.floatx())
    shape = encoded_shape(indices.shape, mode, depth)
    if mode == "one_hot":
        rows = indices.reshape(-1, 1)
    else:
        rows = indices.reshape(-1, indices.shape[-1] if indices.ndim else 1)
    result = np.zeros((len(rows), depth), dtype)
    row, column = np.nonzero((rows >= 0) & (rows < depth))
    places = rows[row, column].astype(np.int64)
    if mode == "count":
        amount = 1 if weights is None else np.broadcast_to(weights, indices.shape).reshape(
            rows.shape)[row, column]
        np.add.at(result, (row, places), amount)
    else:
        result[row, places] = 1
    return result.reshape(shape)
