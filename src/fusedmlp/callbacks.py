"""Callbacks under Keras 3's names: hooks into training, evaluation and prediction."""

from __future__ import annotations

from typing import Any

from . import spec
from .training.callbacks import (
    Callback,
    CallbackList,
    EarlyStopping,
    History,
    LambdaCallback,
    ProgbarLogger,
)

__all__ = ["Callback", "CallbackList", "EarlyStopping", "History", "LambdaCallback",
           "ProgbarLogger"]


def __getattr__(name: str) -> Any:
    """Say which public names are near to one that is not here."""
    message = f"module {__name__!r} has no attribute {name!r}"
    if not name.startswith("_"):
        message += f". {spec.nearest(name, __all__, 'name')}"
    raise AttributeError(message)
