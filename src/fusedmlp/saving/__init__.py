"""Models in files: one archive that is written as a whole, holds no code, and resumes exactly."""

from __future__ import annotations

from ..registry import (
    custom_object_scope,
    get_custom_objects,
    get_registered_name,
    get_registered_object,
    register_keras_serializable,
)
from .model import load_model, save_model
from .objects import deserialize_keras_object, serialize_keras_object
from .onnx_export import export_onnx, to_onnx
from .onnx_import import from_onnx, import_onnx
from .sklearn_mlp import from_sklearn
from .torch_files import load_torch_weights, torch_state_dict
from .weights import load_weights, save_torch_weights, save_weights

CustomObjectScope = custom_object_scope

__all__ = [
    "CustomObjectScope",
    "custom_object_scope",
    "deserialize_keras_object",
    "export_onnx",
    "from_onnx",
    "from_sklearn",
    "get_custom_objects",
    "get_registered_name",
    "get_registered_object",
    "import_onnx",
    "load_model",
    "load_torch_weights",
    "load_weights",
    "register_keras_serializable",
    "save_model",
    "save_torch_weights",
    "save_weights",
    "serialize_keras_object",
    "to_onnx",
    "torch_state_dict",
]
