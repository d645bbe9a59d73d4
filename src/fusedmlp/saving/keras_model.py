"""Whole models in files that Keras wrote: ``.keras``, and the older ``.h5``."""

from __future__ import annotations

import json
import zipfile
import zlib
from io import BytesIO
from pathlib import Path

from .. import layers
from ..models import Model
from . import hdf5, matching
from .files import kind
from .keras_config import translate

__all__ = ["is_keras", "load"]

_CONFIG, _METADATA = "config.json", "metadata.json"
_COMPILE = ("optimizer", "loss", "loss_weights", "metrics", "weighted_metrics",
            "steps_per_execution")


def is_keras(content: bytes) -> bool:
    """Whether the content of a file is of Keras; for HDF5, whether it can be."""
    if kind(content) != "zip":
        return kind(content) == "hdf5"
    try:
        with zipfile.ZipFile(BytesIO(content)) as file:
            return "keras_version" in json.loads(file.read(_METADATA))
    except (zipfile.BadZipFile, KeyError, ValueError, TypeError):
        return False


def load(content: bytes, filepath: str | Path, compile: bool = True) -> Model:
    """Make a model from the content of a file.

    Raises
    ------
    ValueError
        If the file is damaged, or holds weights alone, or a model of other things than those
        that are known here, which are named.
    ImportError
        If h5py is missing.
    """
    try:
        config, weights = _parts(content)
    except (zipfile.BadZipFile, zlib.error, hdf5.DamagedError, KeyError,
            ValueError) as error:
        raise ValueError(
            f"The file is damaged: {error}. Received: filepath={str(filepath)!r}"
        ) from None
    if config is None:
        raise ValueError(
            "Argument `filepath` must be a saved model. Received: "
            f"{str(filepath)!r}, which holds weights alone, for `load_weights`"
        )
    try:
        model = layers.deserialize(translate(config))
        if not model.built:
            model.build(_input_shape(config))
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"The model of file {str(filepath)!r} can't be built here. {error}"
        ) from error
    matching.assign(model, hdf5.match(model, weights), filepath)
    arguments = config.get("compile_config")
    if compile and arguments:
        _compile(model, arguments, filepath)
    return model


def _parts(content):
    """(config of the model, content of a file with its weights)."""
    if kind(content) == "hdf5":
        return hdf5.legacy_config(content), content
    with zipfile.ZipFile(BytesIO(content)) as file:
        if hdf5.MEMBER not in file.namelist():
            raise ValueError(f"it has no {hdf5.MEMBER}")
        return json.loads(file.read(_CONFIG)), file.read(hdf5.MEMBER)


def _input_shape(config):
    inner = config["config"] if isinstance(config.get("config"), dict) else {}
    shape = inner.get("build_input_shape") or (config.get("build_config") or {}).get("input_shape")
    if shape is None:
        raise ValueError("The model was saved before it was built.")
    return tuple(shape)


def _compile(model, arguments, filepath):
    arguments = {"optimizer": arguments.get("optimizer_config"), **arguments}
    try:
        chosen = {key: arguments[key] for key in _COMPILE if arguments.get(key) is not None}
        model.compile_from_config(translate(chosen))
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"The model of file {str(filepath)!r} can't be compiled here as it was: pass "
            f"`compile=False` and compile it yourself. {error}"
        ) from error
