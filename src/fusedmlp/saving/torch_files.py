"""State dicts of PyTorch: their names and shapes, and the files that hold them.

A state dict names arrays ``<module>.<variable>``.  A layer here and a module there have the same
variables under other names, and a `torch.nn.Linear` keeps its matrix transposed; the table below
says which is which.  Files are read without PyTorch: a ``.pt`` file is a zip archive of a pickle
and the numbers, and the pickle is read by an unpickler that knows tensors and dicts of them and
refuses all else, so nothing in a file is run.
"""

from __future__ import annotations

import math
import pickle
import re
import zipfile
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from ..layers import InputLayer, Layer
from ..models import Model, Sequential
from . import safetensors
from .files import kind, read_bytes
from .matching import Match, assign, by_order, leaves

__all__ = ["DamagedError", "is_pickle", "load_torch_weights", "loads", "looks_like", "match",
           "torch_state_dict"]

# Layer: {variable: (its name there, whether it is transposed)}
_NORMALIZATION = {"gamma": ("weight", False), "beta": ("bias", False)}
_NAMES = {
    "Dense": {"kernel": ("weight", True), "bias": ("bias", False)},
    "BatchNormalization": {**_NORMALIZATION, "moving_mean": ("running_mean", False),
                           "moving_variance": ("running_var", False)},
    "LayerNormalization": _NORMALIZATION,
    "RMSNormalization": {"scale": ("weight", False)},
    "PReLU": {"alpha": ("weight", False)},
    "Embedding": {"embeddings": ("weight", False)},
}
_SUFFIXES = {name for row in _NAMES.values() for name, _ in row.values()}
_COUNTER = "num_batches_tracked"  # of BatchNorm1d; nothing here reads it
_INSIDE = ("state_dict", "model_state_dict", "model")  # where checkpoints keep the state dict


class DamagedError(Exception):
    """A file that holds no state dict."""


# -- names ---------------------------------------------------------------------------------------


def _names_of(layer):
    """{variable: (name there, transposed)} of a layer; ValueError if PyTorch has none like it."""
    row = next((_NAMES[c.__name__] for c in type(layer).__mro__ if c.__name__ in _NAMES), None)
    if row is None or any(v.name not in row for v in layer.variables):
        raise ValueError(
            f"Weights of PyTorch can belong to {', '.join(_NAMES)}. Received: layer "
            f"{layer.name!r} of type {type(layer).__name__} with "
            f"{', '.join(repr(v.name) for v in layer.variables)}"
        )
    return row


def _prefixes(model) -> Iterator[str]:
    """The name of the module of each layer with variables.

    In a `torch.nn.Sequential` it is the place among the modules, of which a layer with an
    activation makes two; elsewhere it is the layer's name.
    """
    place = 0
    for layer in model.layers:
        own = str(place) if isinstance(model, Sequential) else layer.name
        if isinstance(layer, Model):
            yield from (f"{own}.{name}" for name in _prefixes(layer))
        elif layer.variables:
            yield own
        if not isinstance(layer, InputLayer):
            activation = getattr(layer, "_row", ("linear",))[0]
            place += 2 if layer.variables and activation != "linear" else 1


def _checked_names(names, layers):
    if isinstance(names, str) or len(names) != len(layers):
        raise ValueError(
            f"Argument `names` must hold one name for each of the {len(layers)} layers with "
            f"weights, {', '.join(repr(layer.name) for layer in layers)}. Received: {names!r}"
        )
    return list(names)


# -- writing -------------------------------------------------------------------------------------


def torch_state_dict(model: Model, names: Sequence[str] | None = None) -> dict[str, np.ndarray]:
    """The weights of a model under PyTorch's names and in its shapes.

    Parameters
    ----------
    model : Model
        Built, of layers that PyTorch has, too: Dense, BatchNormalization, LayerNormalization,
        RMSNormalization, PReLU, Embedding, and any without weights.
    names : sequence of str, optional
        Names of the modules, one for each layer with weights.  By default those of the
        `torch.nn.Sequential` with one module for each layer and one for each activation, as in
        ``Sequential(Linear(4, 16), ReLU(), Linear(16, 3))``: "0" and "2".

    Returns
    -------
    dict of str to ndarray
        Copies.  ``module.load_state_dict({k: torch.from_numpy(v) for k, v in ...items()})`` takes
        them over; `fusedmlp.saving.save_torch_weights` writes them to a file.

    Raises
    ------
    ValueError
        If the model is not built, a layer has no counterpart, or there are more or fewer `names`.

    Examples
    --------
    >>> import fusedmlp as fm
    >>> model = fm.Sequential([
    ...     fm.Input((4,)),
    ...     fm.layers.Dense(16, activation="relu"),
    ...     fm.layers.Dense(3),
    ... ])
    >>> {name: array.shape for name, array in torch_state_dict(model).items()}
    {'0.weight': (16, 4), '0.bias': (16,), '2.weight': (3, 16), '2.bias': (3,)}
    """
    layers = list(leaves(model))
    names = list(_prefixes(model)) if names is None else _checked_names(names, layers)
    state = {}
    for prefix, layer in zip(names, layers, strict=True):
        row = _names_of(layer)
        dot = f"{prefix}." if prefix else ""
        for variable in layer.variables:
            name, transposed = row[variable.name]
            array = variable.numpy()
            state[dot + name] = np.ascontiguousarray(array.T) if transposed else array
        if "running_mean" in {row[v.name][0] for v in layer.variables}:
            state[dot + _COUNTER] = np.zeros((), np.int64)
    return state


# -- reading -------------------------------------------------------------------------------------


def load_torch_weights(model: Model, source: Any, names: Sequence[str] | None = None) -> None:
    """Overwrite a model's weights with those of a PyTorch module.

    Parameters
    ----------
    model : Model
        Built, its layers with weights in the order of the module's.
    source : mapping, module, str or Path
        A state dict of tensors or arrays, something with a method ``state_dict``, or a file that
        holds one: ``.pt`` as `torch.save` writes it, or safetensors.  PyTorch itself is not needed
        to read a file.
    names : sequence of str, optional
        Names of the modules, one for each layer with weights, where their order in `source` is
        not that of the layers.

    Raises
    ------
    ValueError
        If names, number or shapes don't fit, which the message lists; the model is then as
        before.  If a layer has no counterpart in PyTorch, or a file holds something else than a
        state dict.
    FileNotFoundError
        If there is no such file.
    TypeError
        If `source` is none of these.

    Examples
    --------
    >>> import fusedmlp as fm
    >>> model = fm.Sequential([fm.Input((2,)), fm.layers.Dense(1)])
    >>> load_torch_weights(model, {"0.weight": [[1.0, 2.0]], "0.bias": [3.0]})
    >>> model.layers[0].kernel.numpy().tolist()
    [[1.0], [2.0]]
    """
    where = "state dict"
    if hasattr(source, "state_dict"):
        source = source.state_dict()
    elif isinstance(source, (str, Path)):
        where, source = source, read(source)
    if not isinstance(source, Mapping):
        raise TypeError(
            "Argument `source` must be a state dict, a module or the path of a file. "
            f"Received: {source!r} of type {type(source).__name__}"
        )
    assign(model, match(model, source, names), where)


def read(filepath: str | Path) -> dict[str, np.ndarray]:
    """The state dict of a file; ValueError if it holds none."""
    content = read_bytes(filepath)
    try:
        if kind(content) == "safetensors":
            return safetensors.loads(content)[0]
        if kind(content) == "zip":
            with zipfile.ZipFile(BytesIO(content)) as file:
                return loads(file)
        raise DamagedError("it is neither a zip archive, as torch.save writes, nor safetensors")
    except (DamagedError, safetensors.DamagedError, zipfile.BadZipFile) as error:
        raise ValueError(
            "Argument `filepath` must be a file with a state dict of PyTorch, but "
            f"{error}. Received: filepath={str(filepath)!r}"
        ) from None


def looks_like(names) -> bool:
    """Whether all names of arrays are such as a state dict has.

    >>> looks_like(["0.weight", "0.bias"]), looks_like(["dense/kernel"])
    (True, False)
    """
    return all(name.rpartition(".")[2] in (*_SUFFIXES, _COUNTER) for name in names)


def match(model: Layer, state: Mapping[str, Any],
          names: Sequence[str] | None = None) -> list[Match]:
    """What of a state dict belongs to the variables of a model."""
    modules = {}
    for key, value in state.items():
        prefix, _, suffix = key.rpartition(".")
        if suffix != _COUNTER:
            modules.setdefault(prefix, {})[suffix] = (key, _array(value))
    layers = list(leaves(model))
    prefixes = _in_order(modules) if names is None else _checked_names(names, layers)
    matches = []
    for prefix, layer in zip(prefixes, layers, strict=False):
        matches += _match_module(layer, prefix, modules.get(prefix, {}))
    for layer in layers[len(prefixes):]:
        matches += by_order(layer.variables, [])
    for prefix in modules.keys() - set(prefixes[:len(layers)]):
        matches += by_order([], modules[prefix].values())
    return matches


def _match_module(layer, prefix, arrays):
    matches, row, arrays = [], _names_of(layer), dict(arrays)
    for variable in layer.variables:
        suffix, transposed = row[variable.name]
        key, array = arrays.pop(suffix, (f"{prefix}.{suffix}", None))
        if array is not None:
            if transposed and array.ndim == 2:
                array = array.T
            if variable.name == "alpha" and array.shape == (1,):  # one slope for all columns
                array = np.broadcast_to(array, variable.shape)
        matches.append(Match(variable, key, array))
    return matches + by_order([], arrays.values())


def _in_order(modules):
    """The order of the modules; numbers in the order of numbers, which files may not keep."""
    names = list(modules)
    if all(re.fullmatch(r"\d+(\.\d+)*", name) for name in names):
        names.sort(key=lambda name: [int(part) for part in name.split(".")])
    return names


def _array(value):
    """An array of a tensor, on whatever device, or of something like an array."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        if str(value.dtype) == "torch.bfloat16":  # NumPy has no such dtype
            value = value.float()
    return np.asarray(value)


# -- files ---------------------------------------------------------------------------------------


_STORAGES = {
    "FloatStorage": "<f4", "DoubleStorage": "<f8", "HalfStorage": "<f2", "BFloat16Storage": "<u2",
    "LongStorage": "<i8", "IntStorage": "<i4", "ShortStorage": "<i2", "CharStorage": "|i1",
    "ByteStorage": "|u1", "BoolStorage": "|b1",
}


def is_pickle(names) -> bool:
    """Whether the members of a zip archive are those that `torch.save` writes."""
    return any(name.endswith("/data.pkl") or name == "data.pkl" for name in names)


def loads(file: zipfile.ZipFile) -> dict[str, np.ndarray]:
    """The state dict in an archive that `torch.save` wrote.

    Raises
    ------
    DamagedError
        If there is none, or something else than tensors and dicts, lists and numbers.
    """
    member = next((n for n in file.namelist() if n.endswith("data.pkl")), None)
    if member is None:
        raise DamagedError("it holds nothing that torch.save writes")
    folder = member.removesuffix("data.pkl")
    try:
        content = _Unpickler(file, folder, file.read(member)).load()
    except DamagedError:
        raise
    except Exception as error:  # whatever a damaged pickle leads to
        raise DamagedError(f"its pickle is damaged: {error}") from None
    for key in _INSIDE:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not content or not all(
            isinstance(array, np.ndarray) for array in content.values()):
        raise DamagedError("it holds no state dict; torch.save(module.state_dict(), ...) writes "
                           "one")
    return content


class _Unpickler(pickle.Unpickler):
    """Knows tensors, and refuses all other objects."""

    def __init__(self, file, folder, content):
        super().__init__(BytesIO(content))
        self.file, self.folder = file, folder

    def find_class(self, module, name):
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _tensor
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return _parameter
        if module == "torch" and name in _STORAGES:
            return name
        raise DamagedError(
            f"it holds an object of {module}.{name}: expected a state dict, which "
            "torch.save(module.state_dict(), ...) writes"
        )

    def persistent_load(self, identifier):
        _, storage, key, *_ = identifier
        content = self.file.read(f"{self.folder}data/{key}")
        return np.frombuffer(content, _STORAGES[storage]), storage


def _tensor(stored, offset, shape, strides, *_):
    numbers, storage = stored
    last = offset + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
    if offset < 0 or min(strides, default=0) < 0 or (math.prod(shape) and last >= numbers.size):
        raise DamagedError("a tensor reaches beyond what is stored of it")
    array = np.lib.stride_tricks.as_strided(
        numbers[offset:], shape, [s * numbers.itemsize for s in strides]).copy()
    if storage == "BFloat16Storage":  # the upper half of a float32
        array = (array.astype("<u4") << 16).view("<f4")
    return array


def _parameter(data, *_):
    return data
