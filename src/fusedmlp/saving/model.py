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

from .. import layers
from ..layers.preprocessing.feature_space import FeatureSpace
from ..models import Model
from ..registry import custom_object_scope
from . import archive, keras_model, matching
from .files import as_path, read_bytes
from .weights import WEIGHTS, arrays_of, check_model, warn_of_own

__all__ = ["load_model", "save_model"]

_CONFIG, _STATE = "config.json", "state.json"
_OPTIMIZER = "optimizer.npz"
_HDF5_SUFFIXES = (".h5", ".hdf5")
_OTHER_FORMATS = (".onnx", ".safetensors", ".pkl", ".pt", ".pth", ".tflite")


# -- writing -------------------------------------------------------------------------------------


def save_model(model: Model, filepath: str | Path, overwrite: bool = True) -> None:
    """Write a model to a file, from which `load_model` makes an equal one.

    Parameters
    ----------
    model : Model or FeatureSpace
    filepath : str or Path
        ``.keras`` is the usual suffix.  Those of other formats are refused, but for that of
        Keras's older ``.h5``: it gets what ``.keras`` has, with a warning.
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
    if not isinstance(model, FeatureSpace):
        check_model(model)
    if as_path(filepath).suffix.lower() in _OTHER_FORMATS:
        raise ValueError(
            "Argument `filepath` must not have the suffix of another format: expected '.keras' or "
            f"one of your own. Received: {str(filepath)!r}"
        )
    if as_path(filepath).suffix.lower() in _HDF5_SUFFIXES:
        warnings.warn(
            f"The file {str(filepath)!r} is no HDF5 file but an archive of this package, whatever "
            "its suffix: `load_model` reads it, Keras does not. Usual is '.keras'", stacklevel=3)
    if isinstance(model, FeatureSpace):
        archive.write(filepath, {_CONFIG: {"feature_space": layers.serialize(model)},
                                 WEIGHTS: arrays_of(model)}, overwrite)
        return
    warn_of_own(model)
    config = {
        "model": layers.serialize(model),
        "input_shape": model.input_shape if model.built else None,
        "compile": model.get_compile_config(),
    }
    state = {"model": model._state(), "updated": model.updated_places()}
    members = {_CONFIG: config, _STATE: state, WEIGHTS: arrays_of(model)}
    slots = _optimizer_slots(model)
    if slots is not None:
        state["optimizer"] = {"steps": model.optimizer.steps}
        members[_OPTIMIZER] = slots
    archive.write(filepath, members, overwrite)


def _optimizer_slots(model):
    """The optimizer's arrays, cut up by variable; None where there are none yet."""
    optimizer = model.optimizer
    if optimizer is None or not optimizer.built:
        return None
    trained = model.trained_variables()
    if not optimizer.fits(trained):
        warnings.warn(
            f"The state of {optimizer!r} belongs to other variables than those of "
            f"{model.name!r}, so it is not saved", stacklevel=4,
        )
        return None
    return {key: optimizer.state.read(slot, k) for key, slot, k in _state_keys(model)}


def _state_keys(model):
    """For each array of the optimizer its key in a file, the number of its slot and variable."""
    optimizer, trained = model.optimizer, model.trained_variables()
    places = {id(v): i for i, v in enumerate(model.variables)}
    return [(f"{name}/{places[id(trained[k])]}/{trained[k].path}", slot, k)
            for slot, name in enumerate(optimizer.slot_names)
            for k in optimizer.state.parts(slot)]


# -- reading -------------------------------------------------------------------------------------


def load_model(filepath: str | Path, custom_objects: Mapping[str, Any] | None = None,
               compile: bool = True, safe_mode: bool = True) -> Model:
    """Make a model from a file that `save_model` or ``model.save`` wrote.

    Parameters
    ----------
    filepath : str or Path
        Also one that Keras wrote, ``.keras`` or the older ``.h5`` (with the extra ``h5``), if the
        network is dense; training then goes on with a new state of the optimizer.
    custom_objects : mapping, optional
        Classes and functions of your own by name, besides the registered ones.
    compile : bool
        Whether to compile the model as it was, with the state of its optimizer.
    safe_mode : bool
        There for scripts written for Keras: nothing in a file is ever run, so both values mean
        the same.

    Returns
    -------
    Model, or FeatureSpace where one was saved
        Training it further gives the bits that training the saved one would have given.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is no file of this package or of Keras, or is damaged, or holds classes that are
        unknown here, which are named.
    ImportError
        If Keras wrote it and h5py is missing.

    Examples
    --------
    >>> import fusedmlp as fm
    >>> fm.saving.load_model("nowhere.keras")
    Traceback (most recent call last):
    ...
    FileNotFoundError: Argument `filepath` must be a file. Received: 'nowhere.keras'
    """
    content = read_bytes(filepath)
    if keras_model.is_keras(content):
        with custom_object_scope(custom_objects or {}):
            return keras_model.load(content, filepath, compile)
    members = archive.unpack(content, filepath, (_CONFIG, _STATE, WEIGHTS, _OPTIMIZER))
    if _CONFIG not in members and WEIGHTS in members:
        raise ValueError(
            "Argument `filepath` must be a saved model. Received: "
            f"{str(filepath)!r}, which holds weights alone, for `load_weights`"
        )
    space = members.get(_CONFIG, {}).get("feature_space")
    for name in (_CONFIG, WEIGHTS) if space else (_CONFIG, _STATE, WEIGHTS):
        if name not in members:
            raise ValueError(
                f"The file is damaged: it has no {name}. Received: filepath={str(filepath)!r}"
            )
    if space:
        with custom_object_scope(custom_objects or {}):
            return _with_weights(layers.deserialize(space), members[WEIGHTS], filepath)
    config, state = members[_CONFIG], members[_STATE]
    with custom_object_scope(custom_objects or {}):
        model = layers.deserialize(config["model"])
        if config["input_shape"] is not None and not model.built:
            model.build(tuple(config["input_shape"]))
        if model.built:
            _with_weights(model, members[WEIGHTS], filepath)
        if compile and config["compile"]:
            model.compile_from_config(config["compile"])
            model.update_places(state.get("updated"))
            if "optimizer" in state:
                _restore(model, state["optimizer"], members.get(_OPTIMIZER, {}), filepath)
    model._set_state(state["model"])
    return model


def _with_weights(model, arrays, filepath):
    """The model or feature space, with its weights."""
    arrays = [(name.partition("/")[2], a) for name, a in arrays.items()]
    matching.assign(model, matching.by_order(model.variables, arrays), filepath)
    return model


def _renamed(slots, model):
    """Arrays of the optimizer under this model's names: layers may be called otherwise here."""
    paths = [v.path for v in model.variables]
    result = {}
    for key, array in slots.items():
        slot, place, path = key.split("/", 2)
        known = place.isdecimal() and int(place) < len(paths)
        result[f"{slot}/{place}/{paths[int(place)] if known else path}"] = array
    return result


def _restore(model, state, arrays, filepath):
    """Give the optimizer the state that it had."""
    optimizer, arrays = model.optimizer, _renamed(arrays, model)
    optimizer.build(model.trained_variables())
    found, wanted = (sorted({key.partition("/")[0] for key in keys})
                     for keys in (arrays, (key for key, _, _ in _state_keys(model))))
    if found and found != wanted:
        raise ValueError(
            f"The file must hold the state of {type(optimizer).__name__} with these "
            f"hyperparameters: expected {wanted}, found {found}. "
            f"Received: filepath={str(filepath)!r}"
        )
    for key, slot, k in _state_keys(model):
        array, shape = arrays.get(key), optimizer.state.shape(slot, k)
        if array is None or array.shape != shape:
            raise ValueError(
                f"The file is damaged, or holds the state for other variables: expected the "
                f"optimizer's {optimizer.slot_names[slot]!r} of {key.split('/', 2)[2]!r} with "
                f"shape {shape}, found {None if array is None else array.shape}. "
                f"Received: filepath={str(filepath)!r}"
            )
    for key, slot, k in _state_keys(model):
        optimizer.state.write(slot, k, arrays[key])
    optimizer.steps = int(state["steps"])
