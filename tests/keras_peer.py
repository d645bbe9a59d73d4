"""Keras as the reference of tests that compare with it; they are skipped where it is not there."""

from __future__ import annotations

import importlib.util
import os
import warnings

import pytest

_BACKENDS = ("jax", "torch", "tensorflow")


def load():
    """The module `keras`; skips the calling test without it or a backend for it."""
    backend = next((name for name in _BACKENDS if importlib.util.find_spec(name)), None)
    if importlib.util.find_spec("keras") is None or backend is None:
        pytest.skip("Keras 3 with one of its backends is not installed")
    os.environ.setdefault("KERAS_BACKEND", backend)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import keras
    warnings.filterwarnings("ignore", module=r"keras|jax|torch|tensorflow")  # pytest restores it
    return keras
