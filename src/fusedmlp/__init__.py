"""fusedmlp: multilayer perceptrons, trained and served as fast as a CPU allows.

The names are Keras 3's, for networks of dense layers.  ``import fusedmlp`` itself imports nothing
heavy: every name below is loaded when it is first used.

>>> import fusedmlp
>>> fusedmlp.activations.relu([-1.0, 2.0])
array([0., 2.], dtype=float32)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from ._version import __version__

if TYPE_CHECKING:
    from . import (
        activations,
        backend,
        callbacks,
        config,
        constraints,
        datasets,
        diagnostics,
        dtype_policies,
        initializers,
        layers,
        losses,
        metrics,
        mixed_precision,
        models,
        ops,
        optimizers,
        preprocessing,
        random,
        regularizers,
        saving,
        utils,
    )
    from .backend import device
    from .dtype_policies import DTypePolicy, FloatDTypePolicy
    from .initializers import Initializer
    from .layers import Input, InputSpec, Layer
    from .layers.tensor import KerasTensor
    from .losses import Loss
    from .metrics import Metric
    from .models import Model, Sequential
    from .optimizers import Optimizer
    from .regularizers import Regularizer
    from .variable import Variable

_MODULES = (
    "activations", "backend", "callbacks", "config", "constraints", "datasets", "diagnostics",
    "dtype_policies", "initializers", "layers", "losses", "metrics", "mixed_precision", "models",
    "ops", "optimizers", "preprocessing", "random", "regularizers", "saving", "utils",
)
_OPTIONAL = ("sklearn",)  # modules that need more than NumPy, so no part of `__all__`
_NAMES = {
    "DTypePolicy": "dtype_policies",
    "FloatDTypePolicy": "dtype_policies",
    "Initializer": "initializers",
    "Input": "layers",
    "InputSpec": "layers",
    "KerasTensor": "layers.tensor",
    "Layer": "layers",
    "Loss": "losses",
    "Metric": "metrics",
    "Model": "models",
    "Optimizer": "optimizers",
    "Regularizer": "regularizers",
    "Sequential": "models",
    "Variable": "variable",
    "device": "backend",
}

__all__ = [
    "DTypePolicy",
    "FloatDTypePolicy",
    "Initializer",
    "Input",
    "InputSpec",
    "KerasTensor",
    "Layer",
    "Loss",
    "Metric",
    "Model",
    "Optimizer",
    "Regularizer",
    "Sequential",
    "Variable",
    "__version__",
    "activations",
    "backend",
    "callbacks",
    "config",
    "constraints",
    "datasets",
    "device",
    "diagnostics",
    "dtype_policies",
    "initializers",
    "layers",
    "losses",
    "metrics",
    "mixed_precision",
    "models",
    "ops",
    "optimizers",
    "preprocessing",
    "random",
    "regularizers",
    "saving",
    "utils",
    "version",
]


def version() -> str:
    """The version of the package, as `fusedmlp.__version__` is.

    >>> import fusedmlp
    >>> fusedmlp.version() == fusedmlp.__version__
    True
    """
    return __version__


def __getattr__(name: str) -> Any:
    """Load a public name on first use; it is then an ordinary attribute."""
    if name in _MODULES or name in _OPTIONAL:
        return importlib.import_module(f"{__name__}.{name}")
    if name in _NAMES:
        value = getattr(importlib.import_module(f"{__name__}.{_NAMES[name]}"), name)
        globals()[name] = value
        return value
    message = f"module {__name__!r} has no attribute {name!r}"
    if not name.startswith("_"):
        from .spec import nearest  # not `from . import spec`, which would ask here for "spec"

        message += f". {nearest(name, __all__, 'name')}"
    raise AttributeError(message)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
