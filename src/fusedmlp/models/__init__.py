"""Models: networks that can be trained and asked."""

from __future__ import annotations

from ..layers import _REGISTRY
from .model import Model
from .sequential import Sequential

__all__ = ["Model", "Sequential", "load_model"]

_REGISTRY.names.update(Sequential=Sequential, sequential=Sequential)


def __getattr__(name):
    if name == "load_model":
        from ..saving import load_model

        return load_model
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
