"""Small helpers under the names that Keras gives them."""

from __future__ import annotations

import random as python_random

import numpy as np

from . import random
from .training.batches import PyDataset

__all__ = ["PyDataset", "Sequence", "set_random_seed", "to_categorical"]

Sequence = PyDataset


def set_random_seed(seed: int) -> None:
    """Seed everything that draws: Python's `random`, NumPy's legacy generator, and this package.

    After it, the same calls in the same order build and train the same networks, on any number of
    threads.

    Parameters
    ----------
    seed : int
        From 0 to 2**32 - 1, the range of NumPy's generator.

    Raises
    ------
    ValueError
        If `seed` is no integer or outside of that range.

    >>> set_random_seed(1)
    >>> first = random.normal((3,))
    >>> set_random_seed(1)
    >>> bool((first == random.normal((3,))).all())
    True
    """
    value = random.check_seed(seed)
    if not 0 <= value < 2**32:
        raise ValueError(
            f"Argument `seed` must lie between 0 and 2**32 - 1. Received: seed={seed!r}"
        )
    python_random.seed(value)
    np.random.seed(value)  # noqa: NPY002 - scripts written for Keras draw their data from it
    random.set_global_seed(value)


def to_categorical(x, num_classes: int | None = None) -> np.ndarray:
    """One-hot rows of integer classes.

    Parameters
    ----------
    x : array_like of int, any shape
        Classes from 0 to ``num_classes - 1``; a last axis of length 1 is dropped.
    num_classes : int, optional
        None stands for the largest class plus 1.

    Returns
    -------
    ndarray of float64, shape x.shape + (num_classes,)

    Raises
    ------
    ValueError
        If a class is no integer or out of range, or `x` is empty and `num_classes` missing.

    >>> to_categorical([0, 2])
    array([[1., 0., 0.],
           [0., 0., 1.]])
    """
    values = np.asarray(x)
    classes = values.astype(np.int64) if values.dtype.kind in "iufb" else None
    if classes is None or (values.dtype.kind == "f" and not np.array_equal(classes, values)):
        raise ValueError(
            "Argument `x` must hold integer classes. "
            f"Received: an array of dtype {values.dtype} and shape {values.shape}"
        )
    if classes.ndim > 1 and classes.shape[-1] == 1:
        classes = classes[..., 0]
    if num_classes is None:
        if classes.size == 0:
            raise ValueError(
                "Argument `num_classes` must be given where `x` is empty. "
                f"Received: x of shape {values.shape}"
            )
        num_classes = int(classes.max()) + 1
    if classes.size and not (classes.min() >= 0 and classes.max() < num_classes):
        raise ValueError(
            f"Argument `x` must hold classes from 0 to {num_classes - 1}. "
            f"Received: classes from {classes.min()} to {classes.max()}"
        )
    result = np.zeros((classes.size, num_classes))
    result[np.arange(classes.size), classes.reshape(-1)] = 1.0
    return result.reshape(*classes.shape, num_classes)
