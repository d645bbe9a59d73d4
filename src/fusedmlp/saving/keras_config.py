"""Configs that Keras wrote, as configs of this package.

Keras describes an object by module, class name, registered name and config, and says in it, too,
what is fixed here: dtype policies, how a layer was built, options of its backends.  What is left
when these are taken away has the form that the registries here read.  This module knows no file.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from .. import spec
from ..registry import Registry, get_custom_objects

__all__ = ["translate"]

_NEUTRAL = (None, False, [], {})  # values which say that an option is not used
# Options that mean something only beside another one, which is not used then.
_BESIDE_ANOTHER = {"ema_momentum", "jit_compile", "renorm_momentum"}
_RENAMED = {"batch_input_shape": "batch_shape"}  # of Keras 2
_POLICIES = {"mixed_float16": "float32"}  # whose variables are so
_FUNCTIONS = ("function", "builtin_function_or_method")


def translate(config: Any) -> Any:
    """A config of Keras as one of this package.

    Parameters
    ----------
    config : dict
        Of a model, a layer, an optimizer or the like, or the arguments of `compile`.

    Returns
    -------
    dict
        For the registries and for `compile_from_config`.

    Raises
    ------
    ValueError
        If it holds classes that are not known here, all of which are named, or Python code.

    Examples
    --------
    >>> translate({"module": "keras.layers", "class_name": "Dropout", "registered_name": None,
    ...            "config": {"name": "drop", "rate": 0.5, "dtype":
    ...                       {"class_name": "DTypePolicy", "config": {"name": "float32"}}}})
    {'class_name': 'Dropout', 'config': {'name': 'drop', 'rate': 0.5, 'dtype': 'float32'}}
    """
    unknown: dict[str, None] = {}
    result = _translate(config, unknown)
    if unknown:
        raise ValueError(
            "A config must hold classes that are known here, or registered with fusedmlp.saving."
            f"register_keras_serializable. Received: {', '.join(map(repr, unknown))}"
        )
    return result


def _translate(item, unknown):
    if isinstance(item, Mapping):
        if isinstance(item.get("class_name"), str):
            return _translate_object(item, unknown)
        return _translate_items(item, unknown)
    if isinstance(item, (list, tuple)):
        return [_translate(value, unknown) for value in item]
    return item


def _translate_items(items, unknown):
    result = {key: _translate(value, unknown) for key, value in items.items()}
    if isinstance(result.get("activation"), dict):
        if "class_name" not in result["activation"]:  # how Keras writes a lambda there
            _refuse_code()
        result["activation"] = _as_function(result["activation"])
    return result


def _as_function(described):
    """An activation that is given as a layer, such as LeakyReLU, as the function that it applies.

    >>> _as_function({"class_name": "LeakyReLU", "config": {"name": "l", "negative_slope": 0.1}})
    {'class_name': 'leaky_relu', 'config': {'negative_slope': 0.1}}
    """
    name, config = described["class_name"].lower(), described["config"]
    for row in spec.ACTIVATIONS.values():
        if row.name.replace("_", "") == name:
            params = {key: config[key] for key, _ in row.params if config.get(key) is not None}
            return {"class_name": row.name, "config": params}
    return described


def _refuse_code():
    raise ValueError(
        "A config must hold no Python code, which is not run here: build the network in a "
        "program and read its weights with `load_weights`. Received: a lambda function"
    )


def _translate_object(item, unknown):
    name, config = item["class_name"], item.get("config")
    if name.endswith("DTypePolicy") or name == "Policy":
        dtype = config["name"]
        return _POLICIES.get(dtype, dtype)
    if name in _FUNCTIONS:
        return config
    if name == "__tuple__":
        return tuple(_translate(value, unknown) for value in item["items"])
    if name == "__lambda__":
        _refuse_code()
    if name == "__keras_tensor__":
        return dict(item)
    found = _find(item, name)
    if found is None:
        unknown[name] = None  # a set that keeps its order
    name, cls = found or (name, None)
    inner = config if isinstance(config, Mapping) else {}
    inner = {_RENAMED.get(key, key): value for key, value in inner.items()}
    inner = _translate_items(inner, unknown)
    result = {"class_name": name, "config": _accepted(cls, inner)}
    for key in ("name", "inbound_nodes"):  # of a layer in a functional model
        if key in item:
            result[key] = _translate(item[key], unknown)
    return result


def _find(item, name):
    """(name for the registries, class or None) of the object; None if it is unknown."""
    module = item.get("module") or ""
    registries = sorted(Registry.all, key=lambda registry: registry.kind not in module)
    for table in (get_custom_objects(), *(registry.names for registry in registries)):
        for candidate in (item.get("registered_name"), name):
            if candidate in table:
                return candidate, table[candidate]
    return None


def _accepted(cls, config):
    """The config without what this package does not have, where Keras does not use it either."""
    if not inspect.isclass(cls):
        return config
    known = set()
    for base in cls.__mro__:
        if "__init__" in vars(base):
            known.update(inspect.signature(base.__init__).parameters)
    return {key: value for key, value in config.items()
            if key in known or not (value in _NEUTRAL or key in _BESIDE_ANOTHER)}
