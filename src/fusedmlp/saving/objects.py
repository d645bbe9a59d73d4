"""Any object of this package as plain data, and back: layers, losses, optimizers and their like.

What kind of object a config describes is said by its "module", as in Keras; the kinds themselves
know how they are described.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..registry import _CUSTOM, custom_object_scope, get_registered_name

__all__ = ["deserialize_keras_object", "serialize_keras_object"]

# Modules whose `serialize` and `deserialize` know a kind, and the base class of the kind.
_KINDS = (("layers", "Layer"), ("losses", "Loss"), ("metrics", "Metric"),
          ("optimizers", "Optimizer"), ("initializers", "Initializer"),
          ("regularizers", "Regularizer"), ("constraints", "Constraint"),
          ("optimizers.schedules", "LearningRateSchedule"))
_PLAIN = (str, int, float, bool, type(None))


def _modules():
    """Modules of the kinds that there are, with their base classes."""
    for name, base in _KINDS:
        try:
            module = importlib.import_module(f"fusedmlp.{name}")
        except ImportError:
            continue
        yield name, module, getattr(module, base, ())


def serialize_keras_object(obj: Any) -> Any:
    """Plain data from which `deserialize_keras_object` makes an equal object.

    Parameters
    ----------
    obj
        A layer, loss, metric, optimizer, initializer or the like; a registered class or function;
        numbers, strings, arrays; lists, tuples and dicts of these.

    Returns
    -------
    dict, or what `obj` is if that is plain data

    Raises
    ------
    TypeError, ValueError
        If it is something else, or a class or function that is not registered.

    Examples
    --------
    >>> from fusedmlp import initializers
    >>> serialize_keras_object(initializers.Ones())
    {'module': 'fusedmlp.initializers', 'class_name': 'Ones', 'config': {}, 'registered_name': None}
    """
    if isinstance(obj, _PLAIN):
        return obj
    if isinstance(obj, (list, tuple)):
        return [serialize_keras_object(part) for part in obj] if isinstance(obj, list) else {
            "class_name": "__tuple__", "items": [serialize_keras_object(part) for part in obj]}
    if isinstance(obj, dict):
        return {key: serialize_keras_object(part) for key, part in obj.items()}
    if isinstance(obj, (np.ndarray, np.generic)):
        return obj.item() if not np.ndim(obj) else {
            "class_name": "__numpy__",
            "config": {"value": obj.tolist(), "dtype": obj.dtype.name}}
    for name, module, base in _modules():
        if isinstance(obj, base):
            described = module.serialize(obj)
            own = type(obj) in _CUSTOM.values()
            return {"module": None if own else f"fusedmlp.{name}", **described,
                    "registered_name": get_registered_name(type(obj)) if own else None}
    if inspect.isfunction(obj) or inspect.isclass(obj):
        if obj in _CUSTOM.values():
            kind = "function" if inspect.isfunction(obj) else "class"
            return {"module": None, "class_name": kind, "config": get_registered_name(obj),
                    "registered_name": get_registered_name(obj)}
        from .. import activations

        return {"module": "fusedmlp.activations", "class_name": "function",
                "config": activations.serialize(obj), "registered_name": None}
    if hasattr(obj, "get_config") and type(obj) in _CUSTOM.values():
        return {"module": None, "class_name": type(obj).__name__, "config": obj.get_config(),
                "registered_name": get_registered_name(type(obj))}
    raise TypeError(
        "Argument `obj` must be an object of this package, one that is registered, or plain data. "
        f"Received: {obj!r} of type {type(obj).__name__}"
    )


def deserialize_keras_object(config: Any, custom_objects: Mapping[str, Any] | None = None,
                             safe_mode: bool = True, **kwargs: Any) -> Any:
    """An object from what `serialize_keras_object` returned.

    Parameters
    ----------
    config
    custom_objects : mapping, optional
        Further classes and functions by name.
    safe_mode : bool
        There for scripts written for Keras: nothing in a config is ever run.
    **kwargs
        `module_objects`, which is the same as `custom_objects`.

    Raises
    ------
    ValueError
        If a class or function is unknown.

    Examples
    --------
    >>> from fusedmlp import initializers
    >>> config = serialize_keras_object({"kernel": [initializers.Ones(), (1, 2)]})
    >>> deserialize_keras_object(config)
    {'kernel': [Ones(), (1, 2)]}
    """
    named = {**(kwargs.pop("module_objects", None) or {}), **(custom_objects or {})}
    if kwargs:
        raise TypeError(f"Unknown arguments: {', '.join(kwargs)}")
    with custom_object_scope(named):
        return _made(config)


def _made(config):
    if isinstance(config, list):
        return [_made(part) for part in config]
    if not isinstance(config, Mapping):
        return config
    name = config.get("class_name")
    if not isinstance(name, str):
        return {key: _made(part) for key, part in config.items()}
    if name == "__tuple__":
        return tuple(_made(part) for part in config["items"])
    inner = config.get("config")
    if name == "__numpy__":
        return np.array(inner["value"], inner["dtype"])
    own = _CUSTOM.get(config.get("registered_name") or name)
    if name in ("function", "class"):
        if own is None:
            from .. import activations

            return activations.get(inner)
        return own
    if own is not None and inspect.isclass(own):
        return own.from_config(dict(inner or {})) if hasattr(own, "from_config") else own(
            **(inner or {}))
    wanted = str(config.get("module") or "").partition(".")[2]
    found = {kind: module for kind, module, _ in _modules()}
    order = [wanted] if wanted in found else list(found)
    errors = []
    for kind in order:
        try:
            return found[kind].deserialize(dict(config))
        except ValueError as error:
            errors.append(str(error))
    raise ValueError(errors[0])
