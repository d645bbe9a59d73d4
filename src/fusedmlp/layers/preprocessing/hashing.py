"""Layers that number words by a hash: `Hashing`, and `HashedCrossing` of several features."""

from __future__ import annotations

from typing import Any

import numpy as np

from ... import checks, config
from .base import HostLayer, encode, encoded_shape, one_of_modes, refuse_sparse, values
from .fingerprints import crossed, farmhash64, siphash64

__all__ = ["HashedCrossing", "Hashing"]


def salt_key(salt) -> tuple[int, int] | None:
    """A key of SipHash from the argument `salt`; ValueError if it is none.

    >>> salt_key(7), salt_key([1, 2])
    ((7, 7), (1, 2))
    """
    if salt is None:
        return None
    pair = (salt, salt) if isinstance(salt, (int, np.integer)) else tuple(salt)
    if len(pair) != 2 or not all(isinstance(k, (int, np.integer)) for k in pair):
        raise ValueError(f"Argument `salt` must be an integer or two. Received: {salt!r}")
    return int(pair[0]), int(pair[1])


def buckets(array: np.ndarray, count: int, salt: tuple[int, int] | None = None) -> np.ndarray:
    """The bucket, of `count`, of each element: a hash of its text, in decimal for integers.

    >>> buckets(np.array(["A", "B"], object), 3).tolist()
    [1, 0]
    """
    distinct, places = np.unique(array, return_inverse=True)
    texts = [str(v).encode() for v in distinct.tolist()]
    hashes = (farmhash64(t) if salt is None else siphash64(t, salt) for t in texts)
    found = np.fromiter((h % count for h in hashes), np.int64, len(texts))
    return found[places].reshape(array.shape)


def _output_dtype(dtype, mode):
    """Integers for "int", unless another type is asked for; floats for vectors."""
    name = np.dtype(dtype or ("int64" if mode == "int" else config.floatx())).name
    if mode == "int" and name not in ("int32", "int64"):
        raise ValueError(
            f"Argument `dtype` must be 'int32' or 'int64' with output_mode='int'. "
            f"Received: {dtype!r}"
        )
    return name


class Hashing(HostLayer):
    """The bucket into which a hash puts a word or an integer.

    Parameters
    ----------
    num_bins : int
        Buckets, that of the mask included.
    mask_value : str or int, optional
        What stands for nothing and gets bucket 0 for itself.
    salt : int or pair of int, optional
        Key of SipHash-2-4; without it the hash is FarmHash's Fingerprint64.
    output_mode : {"int", "one_hot", "multi_hot", "count"}
        The number, or vectors as `CategoryEncoding` makes them.
    sparse : bool
        Must be False.
    **kwargs
        As `Layer` takes them; `dtype` is that of the output.

    Raises
    ------
    ValueError, TypeError
        If an argument is none of these.

    References
    ----------
    Keras 3, keras.layers.Hashing; buckets are the same as there.

    Examples
    --------
    >>> Hashing(3)([["A"], ["B"], ["C"], ["D"], ["E"]]).ravel()
    array([1, 0, 1, 1, 2])
    """

    def __init__(self, num_bins: int, mask_value=None, salt=None, output_mode: str = "int",
                 sparse: bool = False, dtype=None, **kwargs):
        super().__init__(**kwargs)
        self.num_bins = checks.integer(num_bins, "num_bins", 1)
        self.output_mode = one_of_modes(output_mode)
        refuse_sparse(sparse)
        self.sparse, self.mask_value, self.salt = False, mask_value, salt_key(salt)
        self.output_dtype = _output_dtype(dtype, self.output_mode)

    def transform(self, inputs):
        array = values(inputs)
        masked = None if self.mask_value is None or self.num_bins == 1 else array == self.mask_value
        text = array if array.dtype == object else array.astype(np.int64)
        if masked is None:
            found = buckets(text, self.num_bins, self.salt)
        else:
            found = np.where(masked, 0, 1 + buckets(text, self.num_bins - 1, self.salt))
        if self.output_mode == "int":
            return found.astype(self.output_dtype)
        return encode(found, self.output_mode, self.num_bins, self.output_dtype)

    def compute_output_shape(self, input_shape):
        return encoded_shape(input_shape, self.output_mode, self.num_bins)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "dtype": self.output_dtype, "num_bins": self.num_bins,
                "mask_value": self.mask_value,
                "salt": None if self.salt is None else list(self.salt),
                "output_mode": self.output_mode}


class HashedCrossing(HostLayer):
    """The bucket of what several features are together.

    Parameters
    ----------
    num_bins : int
    output_mode : {"int", "one_hot"}
    sparse : bool
        Must be False.
    name : str, optional
    dtype : str, optional
        Of the output.

    Raises
    ------
    ValueError, TypeError
        If an argument is none of these; when called, unless on two or more arrays of words or
        integers of one shape, (rows,) or (rows, 1).

    References
    ----------
    Keras 3, keras.layers.HashedCrossing; buckets are the same as there.

    Examples
    --------
    >>> layer = HashedCrossing(5)
    >>> layer([["A", "B", "A", "B", "A"], [101, 101, 101, 102, 102]])
    array([1, 4, 1, 1, 3])
    """

    def __init__(self, num_bins: int, output_mode: str = "int", sparse: bool = False,
                 name: str | None = None, dtype=None, **kwargs):
        super().__init__(name=name, **kwargs)
        self.num_bins = checks.integer(num_bins, "num_bins", 1)
        self.output_mode = one_of_modes(output_mode, ("int", "one_hot"))
        refuse_sparse(sparse)
        self.sparse = False
        self.output_dtype = _output_dtype(dtype, self.output_mode)

    def transform(self, inputs):
        if not isinstance(inputs, (list, tuple)) or len(inputs) < 2:
            raise ValueError(
                f"Argument `inputs` of {self.name!r} must be a list of at least two arrays. "
                f"Received: {type(inputs).__name__}"
            )
        arrays = [values(x) for x in inputs]
        shape = arrays[0].shape
        if any(a.shape != shape for a in arrays) or len(shape) > 2 or (
                len(shape) == 2 and shape[1] != 1):
            raise ValueError(
                f"Argument `inputs` of {self.name!r} must hold arrays of one shape, (rows,) or "
                f"(rows, 1). Received: shapes {', '.join(str(a.shape) for a in arrays)}"
            )
        if any(a.dtype.kind == "f" for a in arrays):
            raise TypeError(
                f"Argument `inputs` of {self.name!r} must hold words or integers. "
                "Received: floating-point numbers"
            )
        prints = [[farmhash64(v.encode()) if isinstance(v, str) else int(v) % 2**64
                   for v in a.reshape(-1).tolist()] for a in arrays]
        found = np.fromiter((crossed(row) % self.num_bins for row in zip(*prints, strict=True)),
                            np.int64, len(prints[0])).reshape(shape)
        if self.output_mode == "int":
            return found.astype(self.output_dtype)
        return encode(found, "one_hot", self.num_bins, self.output_dtype)

    def compute_output_shape(self, input_shape):
        return encoded_shape(input_shape[0], self.output_mode, self.num_bins)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "dtype": self.output_dtype, "num_bins": self.num_bins,
                "output_mode": self.output_mode}
