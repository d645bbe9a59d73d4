"""A training that is under way, in a file: for a model that exists and goes on with it.

Unlike `fusedmlp.saving.model` this writes no network: whoever goes on makes the same model first.
Beside weights, state of the optimizer, seed and position in the data it holds the counters of
callbacks.
"""

from __future__ import annotations

from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np

from . import archive
from .model import _optimizer_slots, _restore

__all__ = ["restore_training", "save_training"]

_STATE, _WEIGHTS, _OPTIMIZER, _ARRAYS = (
    "training.json", "weights.npz", "optimizer.npz", "callbacks.npz")


def save_training(model, filepath: str | Path, epoch: int, callbacks: list) -> None:
    """Write a training to a file, which is replaced as a whole or not at all.

    Parameters
    ----------
    model : Model
        Built and compiled.
    filepath : str or Path
    epoch : int
        The epoch that comes next.
    callbacks : list of (str, dict)
        Names of classes and states, as `CallbackList.get_states` returns them.

    Raises
    ------
    OSError
        If the file can't be written.
    """
    states, arrays = [], {}
    for i, (name, state) in enumerate(callbacks):
        plain = {}
        for key, value in state.items():
            if _is_arrays(value):
                arrays.update((f"{i}/{key}/{j}", a) for j, a in enumerate(value))
                plain[key] = {"arrays": len(value)}
            else:
                plain[key] = _plain(value)
        states.append([name, plain])
    optimizer = model.optimizer
    rate = optimizer.get_config().get("learning_rate")
    archive.write(filepath, {
        _STATE: {
            "epoch": epoch,
            "model": model._state(),
            "optimizer": {"steps": optimizer.steps,
                          "learning_rate": rate if isinstance(rate, float) else None},
            "callbacks": states,
        },
        _WEIGHTS: {str(i): v.numpy() for i, v in enumerate(model.variables)},
        _OPTIMIZER: _optimizer_slots(model) or {},
        _ARRAYS: arrays,
    })


def restore_training(model, filepath: str | Path) -> tuple[int, list]:
    """Put a model where the training of a file was.

    Parameters
    ----------
    model : Model
        Built and compiled, of the same network.
    filepath : str or Path
        Written by `save_training`.

    Returns
    -------
    epoch : int
        The epoch that comes next.
    callbacks : list of (str, dict)

    Raises
    ------
    OSError, ValueError
        If the file can't be read, is damaged or is another one's.
    """
    members = archive.read(filepath, (_STATE, _WEIGHTS, _OPTIMIZER, _ARRAYS))
    missing = {_STATE, _WEIGHTS, _OPTIMIZER, _ARRAYS} - set(members)
    if missing:
        raise ValueError(
            f"The file must hold a training; it has no {', '.join(sorted(missing))}. "
            f"Received: {str(filepath)!r}"
        )
    state, arrays = members[_STATE], members[_ARRAYS]
    weights = list(members[_WEIGHTS].values())
    if [w.shape for w in weights] != [v.shape for v in model.variables]:
        raise ValueError(
            f"The file must hold a training of {model.name!r}, whose weights have the shapes "
            f"{[v.shape for v in model.variables]}. Received: {[w.shape for w in weights]} in "
            f"{str(filepath)!r}"
        )
    callbacks = []
    for i, (name, plain) in enumerate(state["callbacks"]):
        callbacks.append((name, {
            key: [arrays[f"{i}/{key}/{j}"] for j in range(value["arrays"])]
            if isinstance(value, dict) and "arrays" in value else _value(value)
            for key, value in plain.items()
        }))
    model.set_weights(weights)
    if members[_OPTIMIZER] or state["optimizer"]["steps"]:
        _restore(model, state["optimizer"], members[_OPTIMIZER], filepath)
    if state["optimizer"]["learning_rate"] is not None:
        model.optimizer.learning_rate = state["optimizer"]["learning_rate"]
    model._set_state(state["model"])
    return state["epoch"], callbacks


def _is_arrays(value) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(a, np.ndarray)
                                                           for a in value)


def _plain(value: Any) -> Any:
    """Numbers that JSON does not have, as text."""
    if isinstance(value, (float, np.floating)):
        return float(value) if isfinite(value) else {"float": str(float(value))}
    return value


def _value(value: Any) -> Any:
    return float(value["float"]) if isinstance(value, dict) and "float" in value else value
