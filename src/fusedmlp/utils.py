"""Small helpers under the names that Keras gives them.

Those that belong to other parts (plots, configs, custom objects) are loaded when first used.
"""

from __future__ import annotations

import importlib
import random as python_random
from typing import TYPE_CHECKING, Any

import numpy as np

from . import config, random, spec
from .config import (
    disable_interactive_logging,
    enable_interactive_logging,
    is_interactive_logging_enabled,
)
from .registry import (
    custom_object_scope,
    get_custom_objects,
    get_registered_name,
    get_registered_object,
    register_keras_serializable,
)
from .training.batches import PyDataset

if TYPE_CHECKING:
    from .diagnostics.drawing import model_to_dot, plot_model
    from .downloads import get_file
    from .layers.preprocessing.feature_space import FeatureSpace
    from .saving.objects import deserialize_keras_object, serialize_keras_object
    from .settings import Config
    from .training.array_datasets import (
        split_dataset,
        text_dataset_from_directory,
        timeseries_dataset_from_array,
    )
    from .training.progbar import Progbar

__all__ = [
    "Config", "CustomObjectScope", "FeatureSpace", "Progbar", "PyDataset", "Sequence",
    "clear_session", "custom_object_scope", "deserialize_keras_object",
    "disable_interactive_logging", "enable_interactive_logging", "get_custom_objects", "get_file",
    "get_registered_name", "get_registered_object", "get_source_inputs",
    "is_interactive_logging_enabled", "is_keras_tensor", "model_to_dot", "normalize",
    "pack_x_y_sample_weight", "pad_sequences", "plot_model", "register_keras_serializable",
    "serialize_keras_object", "set_random_seed", "split_dataset", "standardize_dtype",
    "text_dataset_from_directory", "timeseries_dataset_from_array", "to_categorical",
    "unpack_x_y_sample_weight",
]

Sequence = PyDataset
CustomObjectScope = custom_object_scope
_ELSEWHERE = {
    "Config": "settings",
    "FeatureSpace": "layers.preprocessing.feature_space",
    "Progbar": "training.progbar",
    "get_file": "downloads",
    "split_dataset": "training.array_datasets",
    "text_dataset_from_directory": "training.array_datasets",
    "timeseries_dataset_from_array": "training.array_datasets",
    "deserialize_keras_object": "saving.objects",
    "serialize_keras_object": "saving.objects",
    "model_to_dot": "diagnostics.drawing",
    "plot_model": "diagnostics.drawing",
}


def __getattr__(name: str) -> Any:
    """Load what lives elsewhere, and say which public names are near to an unknown one."""
    if name in _ELSEWHERE:
        value = getattr(importlib.import_module(f"fusedmlp.{_ELSEWHERE[name]}"), name)
        globals()[name] = value
        return value
    message = f"module {__name__!r} has no attribute {name!r}"
    if not name.startswith("_"):
        message += f". {spec.nearest(name, __all__, 'name')}"
    raise AttributeError(message)


def normalize(x, axis: int = -1, order: int = 2) -> np.ndarray:
    """Divide by the norm along an axis; what has norm 0 stays 0.

    Parameters
    ----------
    x : array_like
    axis : int
    order : int or float
        Of the norm.

    Raises
    ------
    TypeError, ValueError
        If `x` holds no numbers, or has no such axis.

    >>> normalize([[3.0, 4.0], [0.0, 0.0]])
    array([[0.6, 0.8],
           [0. , 0. ]])
    """
    from . import checks

    array = checks.real_array(x, "x")
    if not -array.ndim <= axis < array.ndim:
        raise ValueError(
            f"Argument `axis` must be an axis of `x`, which has {array.ndim}. Received: {axis!r}"
        )
    norm = np.linalg.norm(array, order, axis, keepdims=True)
    return array / np.where(norm == 0, 1, norm)


def pad_sequences(sequences, maxlen: int | None = None, dtype: str = "int32",
                  padding: str = "pre", truncating: str = "pre", value=0.0) -> np.ndarray:
    """Sequences of several lengths as rows of one array.

    Parameters
    ----------
    sequences : list of sequence
    maxlen : int, optional
        Columns; by default the length of the longest.
    dtype : str
    padding, truncating : {"pre", "post"}
        Where values are added and taken away.
    value : float or str
        What is added.

    Returns
    -------
    ndarray of `dtype`, shape (len(sequences), maxlen) and that of an element

    Raises
    ------
    ValueError
        If something is no sequence, elements differ in shape, or an argument is none of these.

    >>> pad_sequences([[1], [2, 3], [4, 5, 6]], maxlen=2)
    array([[0, 1],
           [2, 3],
           [5, 6]], dtype=int32)
    """
    from . import checks

    checks.one_of(padding, "padding", ("pre", "post"))
    checks.one_of(truncating, "truncating", ("pre", "post"))
    if not hasattr(sequences, "__len__") or not all(hasattr(s, "__len__") for s in sequences):
        raise ValueError(
            f"Argument `sequences` must be a list of sequences. Received: {sequences!r}"
        )
    if maxlen is None:
        maxlen = max((len(s) for s in sequences), default=0)
    arrays = [np.asarray(s) for s in sequences]
    shapes = {a.shape[1:] for a in arrays if len(a)}
    if len(shapes) > 1:
        raise ValueError(
            "Argument `sequences` must hold elements of one shape. "
            f"Received: shapes {', '.join(map(str, sorted(shapes)))}"
        )
    result = np.full((len(arrays), maxlen, *next(iter(shapes), ())), value, dtype)
    for row, array in zip(result, arrays, strict=True):
        kept = array[-maxlen:] if truncating == "pre" else array[:maxlen]
        if len(kept) and maxlen:
            if padding == "pre":
                row[-len(kept):] = kept
            else:
                row[: len(kept)] = kept
    return result


def pack_x_y_sample_weight(x, y=None, sample_weight=None):
    """A batch of what is not None: ``x`` or ``(x,)``, ``(x, y)``, ``(x, y, sample_weight)``.

    >>> pack_x_y_sample_weight([1], [2])
    ([1], [2])
    """
    if y is None:
        return (x,) if isinstance(x, (tuple, list)) else x
    return (x, y) if sample_weight is None else (x, y, sample_weight)


def unpack_x_y_sample_weight(data) -> tuple:
    """x, y and sample weights of a batch, None where there are none.

    Raises
    ------
    ValueError
        If it is a tuple of another length than 1 to 3.

    >>> unpack_x_y_sample_weight(([1], [2]))
    ([1], [2], None)
    """
    from .training.batches import unpack_batch

    return unpack_batch(tuple(data) if isinstance(data, list) else data)


def is_keras_tensor(x) -> bool:
    """Whether it is a symbolic tensor, as `fusedmlp.Input` makes one.

    >>> import fusedmlp as fm
    >>> is_keras_tensor(fm.Input((2,))), is_keras_tensor([1.0])
    (True, False)
    """
    from .layers.tensor import KerasTensor

    return isinstance(x, KerasTensor)


def get_source_inputs(tensor) -> list:
    """The symbolic inputs that a symbolic tensor is made of.

    Raises
    ------
    TypeError
        If it is none.

    >>> import fusedmlp as fm
    >>> a, b = fm.Input((2,), name="a"), fm.Input((2,), name="b")
    >>> [x.name for x in get_source_inputs(fm.layers.add([a, fm.layers.Dense(2)(b)]))]
    ['a', 'b']
    """
    from .layers.tensor import node_of

    if not is_keras_tensor(tensor):
        raise TypeError(
            "Argument `tensor` must be a symbolic tensor. "
            f"Received: {tensor!r} of type {type(tensor).__name__}"
        )
    if tensor._keras_history.operation is None:
        return [tensor]
    found, seen, waiting = [], set(), [tensor]
    while waiting:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        node = node_of(one)
        if node.is_input:
            found.append(one)
        waiting += reversed(node.input_tensors)
    return found


def standardize_dtype(dtype) -> str:
    """The name of a dtype; that of `fusedmlp.config.floatx()` for None.

    Raises
    ------
    ValueError
        If there is none of that name.

    >>> standardize_dtype(np.int64), standardize_dtype(None), standardize_dtype("string")
    ('int64', 'float32', 'string')
    """
    if dtype is None:
        return config.floatx()
    if dtype in ("string", str):
        return "string"
    name = {float: "float32", int: "int64", bool: "bool"}.get(dtype) \
        if isinstance(dtype, type) else None
    try:
        return name or np.dtype(getattr(dtype, "name", dtype)).name
    except TypeError:
        if dtype == "bfloat16":
            return "bfloat16"
        raise ValueError(f"Argument `dtype` must name a dtype. Received: {dtype!r}") from None


def clear_session(free_memory: bool = True) -> None:
    """Let names of layers be numbered from the start again.

    Nothing else outlives the objects that hold it, so `free_memory` only has the collector of
    garbage run.

    >>> clear_session()
    """
    from .layers import naming

    naming.reset_names()
    if free_memory:
        import gc

        gc.collect()


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
