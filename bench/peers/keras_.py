"""Keras 3 on JAX."""

from __future__ import annotations

import os

import jax  # noqa: F401  (so that a missing backend is said here)
import numpy as np

os.environ.setdefault("KERAS_BACKEND", "jax")
import keras

from . import keras_like

NAME = f"Keras ({keras.backend.backend()})"
DISTRIBUTIONS = ("keras", "jax")


class Trainer(keras_like.Trainer):
    keras = keras


def predictor(work, layers):
    model = keras_like.network(keras, work, layers, keras_like.output_activation(work))
    return lambda x: np.asarray(model.predict_on_batch(x))
