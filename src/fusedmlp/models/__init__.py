"""Models: networks that can be trained and asked."""

from __future__ import annotations

from typing import Any

from .. import spec
from ..layers import _REGISTRY
from .cloning import clone_model, model_from_json
from .functional import Functional
from .model import Model
from .sequential import Sequential

__all__ = ["Functional", "Model", "Sequential", "clone_model", "load_model", "model_from_json",
           "save_model"]

_SAVING = ("load_model", "save_model")

_REGISTRY.names.update(Sequential=Sequential, sequential=Sequential, Functional=Functional,
                       functional=Functional)


def __getattr__(name: str) -> Any:
    """Load what is imported on use, and say which public names are near to an unknown one."""
    if name in _SAVING:
        from .. import saving

        return getattr(saving, name)
    message = f"module {__name__!r} has no attribute {name!r}"
    if not name.startswith("_"):
        message += f". {spec.nearest(name, __all__, 'name')}"
    raise AttributeError(message)
