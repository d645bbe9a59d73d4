"""How parameters follow their gradients: Keras 3's optimizers, and some of others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .. import spec
from ..registry import Registry
from . import schedules
from .adam import Adam, Adamax, AdamW, Lamb, Nadam, RAdam, ScheduleFreeAdamW
from .adaptive import Adadelta, Adafactor, Adagrad, Ftrl, RMSprop
from .base import Optimizer
from .lbfgs import LBFGS
from .multi import MultiOptimizer, OptimizerMap
from .muon import Muon
from .sgd import SGD
from .signs import Lion, Rprop

_BUILT_IN = (SGD, Adam, AdamW, RMSprop, Adagrad, Adadelta, Adamax, Nadam, Ftrl, Lion, Lamb,
             Adafactor, Muon, ScheduleFreeAdamW, RAdam, Rprop, LBFGS)

__all__ = [
    "LBFGS",
    "SGD",
    "Adadelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Ftrl",
    "Lamb",
    "Lion",
    "MultiOptimizer",
    "Muon",
    "Nadam",
    "Optimizer",
    "OptimizerMap",
    "RAdam",
    "RMSprop",
    "Rprop",
    "ScheduleFreeAdamW",
    "deserialize",
    "get",
    "schedules",
    "serialize",
]

_REGISTRY = Registry("optimizer", Optimizer, (*_BUILT_IN, MultiOptimizer))
_ANY_CASE = {cls.__name__.lower(): cls.__name__ for cls in (*_BUILT_IN, MultiOptimizer)}


def serialize(optimizer: Optimizer) -> dict[str, Any]:
    """The config dict of an optimizer, without its state.

    >>> serialize(Adam())["class_name"]
    'Adam'
    """
    return _REGISTRY.serialize(optimizer)


def deserialize(config, custom_objects: Mapping | None = None) -> Optimizer:
    """An optimizer from its config dict or name; ValueError if it is unknown.

    >>> deserialize(serialize(SGD(0.5))).learning_rate
    0.5
    """
    if isinstance(config, Mapping) and isinstance(config.get("class_name"), str):
        config = {**config, "class_name": _any_case(config["class_name"])}
    return _REGISTRY.deserialize(_any_case(config), custom_objects)


def get(identifier) -> Optimizer | None:
    """An optimizer from a name in any case, a config dict, a class or an instance.

    Raises
    ------
    ValueError, TypeError
        If the name is unknown (the nearest known ones are named) or the identifier none of these.

    >>> get("adamw").name, get(None)
    ('adam_w', None)
    """
    if isinstance(identifier, (str, Mapping)):
        try:
            return deserialize(identifier)
        except ValueError as error:
            if str(error).startswith("Unknown optimizer"):
                raise ValueError(f"Argument `optimizer`: {error}") from None
            raise
    found = _REGISTRY.get(identifier)
    if found is None or isinstance(found, Optimizer):
        return found
    raise TypeError(
        "Argument `optimizer` must be a name, a config dict or an Optimizer. "
        f"Received: {identifier!r}"
    )


def _any_case(name):
    """A built-in optimizer's name as its class spells it; anything else as it is."""
    return _ANY_CASE.get(name.lower(), name) if isinstance(name, str) else name


def __getattr__(name):
    raise AttributeError(spec.nearest(name, __all__, "optimizer"))
