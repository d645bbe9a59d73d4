"""Models: networks that can be trained and asked."""

from __future__ import annotations

from typing import Any

from .. import spec
from ..layers import _REGISTRY
from .functional import Functional
from .model import Model
from .sequential import Sequential

__all__ = ["Functional", "Model", "Sequential", "load_model"]

_REGISTRY.names.update(Sequential=Sequential, sequential=Sequential, Functional=Functional,
                       functional=Functional)


def __getattr__(name: str) -> Any:
    """Load what is imported on use, and say which public names are near to an unknown one."""
    if name == "load_model":
        from ..saving import load_model

        return load_model
    message = f"module {__name__!r} has no attribute {name!r}"
    if not name.startswith("_"):
        message += f". {spec.nearest(name, __all__, 'name')}"
    raise AttributeError(message)
