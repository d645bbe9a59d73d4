"""Models in files: one archive that is written as a whole, holds no code, and resumes exactly."""

from __future__ import annotations

from ..registry import custom_object_scope, get_custom_objects, register_keras_serializable
from .model import load_model, load_weights, save_model, save_weights

CustomObjectScope = custom_object_scope

__all__ = [
    "CustomObjectScope",
    "custom_object_scope",
    "get_custom_objects",
    "load_model",
    "load_weights",
    "register_keras_serializable",
    "save_model",
    "save_weights",
]
