"""Weights in Keras's HDF5 files: ``.weights.h5``, what is in ``.keras``, and the older ``.h5``.

A file of Keras 3 is a tree of groups after the tree of layers: the n-th layer of a class lies in
``layers/<class>_<n>``, its variables in ``vars/0``, ``vars/1``, ...; the trainable ones come first
(Keras 3, keras.saving, `saving_lib`).  The older layout is a list of layers, each with a list of
its weights (`legacy_h5_format`).  h5py is imported on use.
"""

from __future__ import annotations

import importlib.util
import io
import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..layers.layer import Layer
from ..models import Functional, Sequential
from ..registry import snake_case
from ..variable import Variable
from .files import optional
from .matching import Match, by_order

__all__ = ["MEMBER", "DamagedError", "available", "dumps", "legacy_config", "match"]

MEMBER = "model.weights.h5"
_LEGACY = "model_weights"


class DamagedError(Exception):
    """No HDF5 file, or one that Keras did not write."""


def available() -> bool:
    """Whether h5py is there."""
    return importlib.util.find_spec("h5py") is not None


def _library():
    return optional("h5py", "An HDF5 file", "h5")


# -- the tree ------------------------------------------------------------------------------------


def tree(layer: Layer, path: str = "", visited: set[int] | None = None) -> Iterator[tuple]:
    """(group, layer) of a layer and all layers in it, in Keras's order; each layer once."""
    visited = set() if visited is None else visited
    if id(layer) in visited:
        return
    visited.add(id(layer))
    yield path, layer
    attributes = dict(vars(layer))
    if hasattr(layer, "layers"):
        attributes["layers"] = layer.layers
    described = isinstance(layer, (Functional, Sequential))  # by its layers, before all else
    attributes = sorted(attributes.items(), key=lambda item: (
        not (described and item[0] == "layers"), item[0].startswith("_"), item[0]))
    for name, value in attributes:
        inner = f"{path}/{name}".lstrip("/")
        if isinstance(value, Layer):
            yield from tree(value, inner, visited)
        elif isinstance(value, (list, tuple, dict)):
            yield from _container(value, inner, visited)


def _container(items, path, visited):
    count = Counter()
    for item in items.values() if isinstance(items, dict) else items:
        if isinstance(item, Layer):
            kind = snake_case(type(item).__name__)
            number = count[kind]
            count[kind] += 1
            name = f"{kind}_{number}" if number else kind
            yield from tree(item, f"{path}/{name}", visited)


def _own(layer):
    """The variables of a layer itself, the trainable ones first.

    A layer around another one that has the other's `kernel` as an attribute has it once more.
    """
    own = list(layer._own_variables)
    kernel = getattr(layer, "kernel", None)
    if isinstance(getattr(layer, "layer", None), Layer) and isinstance(kernel, Variable):
        own.append(kernel)
    return [v for v in own if v.trainable] + [v for v in own if not v.trainable]


# -- writing -------------------------------------------------------------------------------------


def dumps(model: Layer) -> bytes:
    """The bytes of a ``.weights.h5`` file with the weights of a model."""
    h5py = _library()
    target = io.BytesIO()
    with h5py.File(target, "w") as file:
        for path, layer in tree(model):
            group = file.create_group(f"{path}/vars")
            group.attrs["name"] = layer.name
            for i, variable in enumerate(_own(layer)):
                group[str(i)] = variable.numpy()
    return target.getvalue()


# -- reading -------------------------------------------------------------------------------------


def match(model: Layer, content: bytes, named: bool = False) -> list[Match]:
    """What belongs to the variables of a model.

    Parameters
    ----------
    model : Model
    content : bytes
        Of a file in any of Keras's layouts.
    named : bool
        Whether layers are found by name; in the older layout only.

    Raises
    ------
    DamagedError
        If it is no such file.
    ValueError
        If `named` is True and the layout is the newer one.
    """
    with _opened(content) as file:
        group = file.get(_LEGACY, file)
        if "layer_names" in group.attrs or "layer_names0" in group.attrs:
            return _match_legacy(model, group, named)
        if named:
            raise ValueError(
                "Argument `by_name` can be True only for files that name their layers: those "
                "written here and Keras's older '.h5'. Received: by_name=True for a file of Keras 3"
            )
        return _match_tree(model, file)


def _opened(content):
    try:
        return _library().File(io.BytesIO(content), "r")
    except OSError as error:
        raise DamagedError(str(error)) from None


def _match_tree(model, file):
    groups = {}

    def note(name, item):
        parts = name.split("/")
        if len(parts) >= 2 and parts[-2] == "vars" and hasattr(item, "dtype"):
            groups.setdefault("/".join(parts[:-2]), {})[parts[-1]] = item

    file.visititems(note)
    matches = []
    for path, layer in tree(model):
        arrays = _in_order(groups.pop(path, {}))
        matches += by_order(_own(layer), [(f"{path}/vars/{i}", a) for i, a in arrays])
    for path, items in groups.items():
        if not (path.startswith("optimizer") or path.endswith("seed_generator")):
            matches += [Match(None, f"{path}/vars/{i}", a) for i, a in _in_order(items)]
    return matches


def _in_order(items):
    return [(i, np.asarray(items[i])) for i in sorted(items, key=lambda i: (len(i), i))]


def _match_legacy(model, group, named):
    saved = {}
    for name in _texts(group, "layer_names"):
        if name not in group:
            raise DamagedError(f"there is no group {name!r}")
        arrays = [(weight, np.asarray(group[name][weight]))
                  for weight in _texts(group[name], "weight_names")]
        if arrays:
            saved[name] = arrays
    ours = [layer for layer in model.layers if layer.variables]
    if named:
        pairs = [(layer, saved[layer.name]) for layer in ours if layer.name in saved]
        return [m for layer, arrays in pairs for m in by_order(_trained_first(layer), arrays)]
    matches = []
    for layer, arrays in zip(ours, saved.values(), strict=False):
        matches += by_order(_trained_first(layer), arrays)
    for layer in ours[len(saved):]:
        matches += by_order(layer.variables, [])
    for arrays in list(saved.values())[len(ours):]:
        matches += by_order([], arrays)
    return matches


def _trained_first(layer):
    return ([v for v in layer.variables if v.trainable]
            + [v for v in layer.variables if not v.trainable])


def _texts(group, name):
    """A list of texts in the attributes of a group; long ones are cut into numbered pieces."""
    if name in group.attrs:
        pieces = [group.attrs[name]]
    else:
        numbers = range(len(group.attrs))
        pieces = [group.attrs[f"{name}{i}"] for i in numbers if f"{name}{i}" in group.attrs]
    return [text.decode() if isinstance(text, bytes) else str(text)
            for piece in pieces for text in piece]


def legacy_config(content: bytes) -> dict[str, Any] | None:
    """What the older layout says of the whole model: its config, and how it was compiled.

    Returns
    -------
    dict or None
        None if the file holds weights alone.
    """
    with _opened(content) as file:
        if "model_config" not in file.attrs:
            return None
        try:
            config = json.loads(file.attrs["model_config"])
            config["compile_config"] = json.loads(file.attrs.get("training_config", "null"))
        except (ValueError, TypeError) as error:
            raise DamagedError(f"model_config is no JSON: {error}") from None
        return config
