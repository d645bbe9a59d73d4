"""What of a model goes into a file, and how it comes back.

A saved model holds its network, its weights, how it was compiled, the state of its optimizer, and
the seed and the count of epochs that decide shuffles and dropout: training that goes on from a
file gives the bits of training that went on without one.  How files are written is the business of
`fusedmlp.saving.archive`.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .. import layers, spec
from ..models import Model
from ..registry import custom_object_scope
from . import archive

__all__ = ["load_model", "load_weights", "save_model", "save_weights"]

_CONFIG, _STATE = "config.json", "state.json"
_WEIGHTS, _OPTIMIZER = "weights.npz", "optimizer.npz"
_OTHER_FORMATS = (".h5", ".hdf5", ".onnx", ".safetensors", ".pkl", ".pt", ".pth", ".tflite")


# -- writing -------------------------------------------------------------------------------------


def save_model(model: Model, filepath: str | Path, overwrite: bool = True) -> None:
    """Write a model to a file, from which `load_model` makes an equal one.

    Parameters
    ----------
    model : Model
    filepath : str or Path
        ``.keras`` is the usual suffix.  Those of other formats are refused.
    overwrite : bool
        Whether a file that exists may be replaced.  It is replaced as a whole or not at all.

    Raises
    ------
    ValueError
        If the file exists and may not be replaced, its suffix is that of another format, or the
        model holds functions or classes of your own that are not registered
        (`register_keras_serializable`).
    TypeError
        If `model` is no model.
    OSError
        If the file can't be written.

    Examples
    --------
    >>> import os, tempfile
    >>> import fusedmlp as fm
    >>> model = fm.Sequential([fm.Input((4,)), fm.layers.Dense(3)])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "model.keras")
    ...     fm.saving.save_model(model, path)
    ...     again = fm.saving.load_model(path)
    >>> again.count_params()
    15
    """
    _check_model(model)
    if archive.as_path(filepath).suffix.lower() in _OTHER_FORMATS:
        raise ValueError(
            "Argument `filepath` must not have the suffix of another format: expected '.keras' or "
            f"one of your own. Received: {str(filepath)!r}"
        )
    config = {
        "model": layers.serialize(model),
        "input_shape": model.input_shape if model.built else None,
        "compile": model.get_compile_config(),
    }
    state = {"model": model._state()}
    members = {_CONFIG: config, _STATE: state, _WEIGHTS: _weights(model)}
    slots = _optimizer_slots(model)
    if slots is not None:
        state["optimizer"] = {"iterations": model.optimizer.iterations}
        members[_OPTIMIZER] = slots
    archive.write(filepath, members, overwrite)


def save_weights(model: Model, filepath: str | Path, overwrite: bool = True) -> None:
    """Write a model's weights, and nothing else, to a file for `load_weights`.

    Parameters
    ----------
    model : Model
        Built.
    filepath : str or Path
        Any name; the content is the same whatever its suffix.
    overwrite : bool
        Whether a file that exists may be replaced.

    Raises
    ------
    ValueError
        If the model is not built, or the file exists and may not be replaced.
    TypeError
        If `model` is no model.
    OSError
        If the file can't be written.

    Examples
    --------
    >>> import os, tempfile
    >>> import fusedmlp as fm
    >>> one, two = (fm.Sequential([fm.Input((4,)), fm.layers.Dense(3)]) for _ in range(2))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "weights.npz")
    ...     fm.saving.save_weights(one, path)
    ...     fm.saving.load_weights(two, path)
    >>> bool((one.get_weights()[0] == two.get_weights()[0]).all())
    True
    """
    _check_built(model)
    archive.write(filepath, {_WEIGHTS: _weights(model)}, overwrite)


def _check_model(model):
    if not isinstance(model, Model):
        raise TypeError(
            f"Argument `model` must be a model. Received: {model!r} of type {type(model).__name__}"
        )


def _check_built(model):
    _check_model(model)
    if not model.built:
        raise ValueError(
            f"Argument `model` must be built, by an Input or `build(input_shape)`. "
            f"Received: {model!r}"
        )


def _weights(model):
    """Arrays by their place and path; the place keeps equal paths apart."""
    return {f"{i}/{v.path}": v.value for i, v in enumerate(model.variables)}


def _optimizer_slots(model):
    """The optimizer's arrays, cut up by variable; None where there are none yet."""
    optimizer = model.optimizer
    if optimizer is None or not optimizer.built:
        return None
    model.place()
    if any(slot.size != model.updated_size for slot in optimizer.slots):
        warnings.warn(
            f"The state of {optimizer!r} belongs to other variables than those of "
            f"{model.name!r}, so it is not saved", stacklevel=4,
        )
        return None
    return {f"{name}/{i}/{v.path}": _part(slot, v)
            for name, slot in zip(spec.OPTIMIZERS[optimizer.row].slots, optimizer.slots,
                                  strict=True)
            for i, v in enumerate(model.variables) if v.updated}


def _part(slot, variable):
    """What belongs to a variable of a flat array that is laid out as its arena."""
    rows, columns = variable.shape if variable.ndim == 2 else (1, variable.size)
    flat = slot[variable.offset : variable.offset + rows * variable.pitch]
    block = flat.reshape(rows, variable.pitch)[:, :columns]
    return block if variable.ndim == 2 else block[0]


# -- reading -------------------------------------------------------------------------------------


def load_model(filepath: str | Path, custom_objects: Mapping[str, Any] | None = None,
               compile: bool = True, safe_mode: bool = True) -> Model:
    """Make a model from a file that `save_model` or ``model.save`` wrote.

    Parameters
    ----------
    filepath : str or Path
    custom_objects : mapping, optional
        Classes and functions of your own by name, besides the registered ones.
    compile : bool
        Whether to compile the model as it was, with the state of its optimizer.
    safe_mode : bool
        There for scripts written for Keras: nothing in a file is ever run, so both values mean
        the same.

    Returns
    -------
    Model
        Training it further gives the bits that training the saved one would have given.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is no file of this package (those of Keras are told apart), or is damaged, or holds
        classes that are unknown here.

    Examples
    --------
    >>> import fusedmlp as fm
    >>> fm.saving.load_model("nowhere.keras")
    Traceback (most recent call last):
    ...
    FileNotFoundError: Argument `filepath` must be a file. Received: 'nowhere.keras'
    """
    members = archive.read(filepath, (_CONFIG, _STATE, _WEIGHTS, _OPTIMIZER))
    if _CONFIG not in members and _WEIGHTS in members:
        raise ValueError(
            "Argument `filepath` must be a saved model. Received: "
            f"{str(filepath)!r}, which holds weights alone, for `load_weights`"
        )
    for name in (_CONFIG, _STATE, _WEIGHTS):
        if name not in members:
            raise ValueError(
                f"The file is damaged: it has no {name}. Received: filepath={str(filepath)!r}"
            )
    config, state = members[_CONFIG], members[_STATE]
    with custom_object_scope(custom_objects or {}):
        model = layers.deserialize(config["model"])
        if config["input_shape"] is not None and not model.built:
            model.build(tuple(config["input_shape"]))
        if model.built:
            _assign(model, members[_WEIGHTS], filepath)
        if compile and config["compile"]:
            model.compile_from_config(config["compile"])
            if "optimizer" in state:
                _restore(model, state["optimizer"], members.get(_OPTIMIZER, {}), filepath)
    model._set_state(state["model"])
    return model


def load_weights(model: Model, filepath: str | Path) -> None:
    """Overwrite a model's weights with those of a file.

    Parameters
    ----------
    model : Model
        Built, with variables of the same number, order and shapes as the one that was saved;
        names don't matter.
    filepath : str or Path
        Written by `save_weights` or `save_model`.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is no file of this package, or is damaged, or the shapes differ, or the model is not
        built.  The model is then as before.
    TypeError
        If `model` is no model.

    Examples
    --------
    >>> import os, tempfile
    >>> import fusedmlp as fm
    >>> first, second = (fm.Sequential([fm.Input((4,)), fm.layers.Dense(3)]) for _ in range(2))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "dense.weights.npz")
    ...     save_weights(first, path)
    ...     load_weights(second, path)
    >>> bool((first.get_weights()[0] == second.get_weights()[0]).all())
    True
    """
    _check_built(model)
    members = archive.read(filepath, (_WEIGHTS,))
    if _WEIGHTS not in members:
        raise ValueError(
            f"The file is damaged: it has no {_WEIGHTS}. Received: filepath={str(filepath)!r}"
        )
    _assign(model, members[_WEIGHTS], filepath)


def _assign(model, arrays, filepath):
    """Overwrite all variables, once number, order and shapes are known to agree."""
    variables = model.variables
    found = _described([(path.partition("/")[2], a.shape) for path, a in arrays.items()])
    wanted = _described([(v.path, v.shape) for v in variables])
    if [a.shape for a in arrays.values()] != [v.shape for v in variables]:
        raise ValueError(
            f"Argument `filepath` must hold the weights of {model.name!r}: {wanted}. "
            f"Received: {found} in {str(filepath)!r}"
        )
    model.set_weights(list(arrays.values()))


def _described(items):
    return ", ".join(f"{path} {shape}" for path, shape in items) or "none"


def _restore(model, state, arrays, filepath):
    """Give the optimizer the state that it had."""
    optimizer = model.optimizer
    model.place()
    optimizer.build(model.updated_size, model.dtype)
    optimizer.iterations = int(state["iterations"])
    for name, slot in zip(spec.OPTIMIZERS[optimizer.row].slots, optimizer.slots, strict=True):
        for i, variable in enumerate(model.variables):
            if not variable.updated:
                continue
            array = arrays.get(f"{name}/{i}/{variable.path}")
            if array is None or array.shape != variable.shape:
                shape = None if array is None else np.shape(array)
                raise ValueError(
                    f"The file is damaged: expected the optimizer's {name!r} of "
                    f"{variable.path!r} with shape {variable.shape}, found {shape}. "
                    f"Received: filepath={str(filepath)!r}"
                )
            _part(slot, variable)[...] = array
