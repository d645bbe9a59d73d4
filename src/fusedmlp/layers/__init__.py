"""Layers: what a network is made of, under Keras 3's names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .. import spec
from ..registry import Registry
from .activation import Activation
from .activations import ELU, LeakyReLU, Maxout, PReLU, ReLU, Softmax
from .arithmetic import Operation
from .dense import Dense
from .dropout import AlphaDropout, Dropout, GaussianDropout, GaussianNoise, SpatialDropout1D
from .einsum_dense import EinsumDense
from .embedding import Embedding
from .input import Input, InputLayer
from .input_spec import InputSpec
from .lambda_layer import Lambda
from .layer import Layer
from .masks import Masking, MaskOperation
from .merging import (
    Add,
    Average,
    Concatenate,
    Dot,
    Maximum,
    Minimum,
    Multiply,
    Subtract,
    add,
    average,
    concatenate,
    dot,
    maximum,
    minimum,
    multiply,
    subtract,
)
from .normalization import (
    BatchNormalization,
    GroupNormalization,
    LayerNormalization,
    RMSNormalization,
    UnitNormalization,
)
from .pooling import AveragePooling1D, GlobalAveragePooling1D, GlobalMaxPooling1D, MaxPooling1D
from .preprocessing import (
    CategoryEncoding,
    Discretization,
    HashedCrossing,
    Hashing,
    IntegerLookup,
    Normalization,
    Rescaling,
    StringLookup,
    TextVectorization,
)
from .preprocessing.feature_space import FeatureSpace
from .shapes import ActivityRegularization, Flatten, Identity, Permute, RepeatVector, Reshape
from .spectral import SpectralNormalization
from .wrappers import TimeDistributed, Wrapper

__all__ = [
    "ELU",
    "Activation",
    "ActivityRegularization",
    "Add",
    "AlphaDropout",
    "Average",
    "AveragePooling1D",
    "AvgPool1D",
    "BatchNormalization",
    "CategoryEncoding",
    "Concatenate",
    "Dense",
    "Discretization",
    "Dot",
    "Dropout",
    "EinsumDense",
    "Embedding",
    "Flatten",
    "GaussianDropout",
    "GaussianNoise",
    "GlobalAveragePooling1D",
    "GlobalAvgPool1D",
    "GlobalMaxPool1D",
    "GlobalMaxPooling1D",
    "GroupNormalization",
    "HashedCrossing",
    "Hashing",
    "Identity",
    "Input",
    "InputLayer",
    "InputSpec",
    "IntegerLookup",
    "Lambda",
    "Layer",
    "LayerNormalization",
    "LeakyReLU",
    "Masking",
    "MaxPool1D",
    "MaxPooling1D",
    "Maximum",
    "Maxout",
    "Minimum",
    "Multiply",
    "Normalization",
    "PReLU",
    "Permute",
    "RMSNormalization",
    "ReLU",
    "RepeatVector",
    "Rescaling",
    "Reshape",
    "Softmax",
    "SpatialDropout1D",
    "SpectralNormalization",
    "StringLookup",
    "Subtract",
    "TextVectorization",
    "TimeDistributed",
    "UnitNormalization",
    "Wrapper",
    "add",
    "average",
    "concatenate",
    "deserialize",
    "dot",
    "maximum",
    "minimum",
    "multiply",
    "serialize",
    "subtract",
]

_REGISTRY = Registry("layer", Layer, (
    Activation, ActivityRegularization, Add, AlphaDropout, Average, AveragePooling1D,
    BatchNormalization, CategoryEncoding, Concatenate, Dense, Discretization, Dot, Dropout, ELU,
    EinsumDense, Embedding, FeatureSpace, Flatten, GaussianDropout, GaussianNoise,
    GlobalAveragePooling1D, GlobalMaxPooling1D, GroupNormalization, HashedCrossing, Hashing,
    Identity, InputLayer, IntegerLookup, Lambda, LayerNormalization, LeakyReLU, MaskOperation,
    Masking, MaxPooling1D, Maximum, Maxout, Minimum, Multiply, Normalization, Operation, PReLU,
    Permute, RMSNormalization, ReLU, RepeatVector, Rescaling, Reshape, Softmax, SpatialDropout1D,
    SpectralNormalization, StringLookup, Subtract, TextVectorization, TimeDistributed,
    UnitNormalization, Wrapper,
))

AvgPool1D = AveragePooling1D
MaxPool1D = MaxPooling1D
GlobalAvgPool1D = GlobalAveragePooling1D
GlobalMaxPool1D = GlobalMaxPooling1D


def serialize(layer: Layer) -> dict[str, Any]:
    """The config dict of a layer, from which `deserialize` makes an equal one, without weights.

    >>> serialize(Dropout(0.5, name="drop"))["class_name"]
    'Dropout'
    """
    return _REGISTRY.serialize(layer)


def deserialize(config: Mapping[str, Any], custom_objects: Mapping | None = None) -> Layer:
    """A layer from its config dict; ValueError if the class is unknown.

    >>> deserialize(serialize(Dropout(0.5, name="drop"))).rate
    0.5
    """
    return _REGISTRY.deserialize(config, custom_objects)


def __getattr__(name: str) -> Any:
    """Say which public names are near to one that is not here."""
    message = f"module {__name__!r} has no attribute {name!r}"
    if not name.startswith("_"):
        message += f". {spec.nearest(name, __all__, 'name')}"
    raise AttributeError(message)
