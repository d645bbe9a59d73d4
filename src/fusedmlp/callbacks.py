"""Callbacks under Keras 3's names: hooks into training, evaluation and prediction."""

from __future__ import annotations

from typing import Any

from . import spec
from .training.callbacks import (
    Callback,
    CallbackList,
    History,
    LambdaCallback,
    ProgbarLogger,
)
from .training.checkpoints import BackupAndRestore, ModelCheckpoint
from .training.loggers import CSVLogger, TensorBoard
from .training.monitors import EarlyStopping, ReduceLROnPlateau
from .training.steering import LearningRateScheduler, SwapEMAWeights, TerminateOnNaN

__all__ = ["BackupAndRestore", "CSVLogger", "Callback", "CallbackList", "EarlyStopping", "History",
           "LambdaCallback", "LearningRateScheduler", "ModelCheckpoint", "ProgbarLogger",
           "ReduceLROnPlateau", "SwapEMAWeights", "TensorBoard", "TerminateOnNaN"]


def __getattr__(name: str) -> Any:
    """Say which public names are near to one that is not here."""
    message = f"module {__name__!r} has no attribute {name!r}"
    if not name.startswith("_"):
        message += f". {spec.nearest(name, __all__, 'name')}"
    raise AttributeError(message)
