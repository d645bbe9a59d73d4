"""The activation functions under Keras 3's names, generated from the rows of `fusedmlp.spec`.

Each function takes an array and returns one; its parameters are those of its row with the row's
defaults.  The numbers come from `fusedmlp.ops`.  `get`, `serialize` and `deserialize` turn names
into functions and back; `resolve` turns either into what a plan needs.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from math import inf
from typing import Any

import numpy as np

from . import ops, spec, tracing
from .registry import get_custom_objects

_ALONG_AXIS = ("row", "halves", "pieces")  # kinds of rows that work along one axis


def _signature(row):
    """x, the row's parameters, and the axis where the row works along one."""
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    parameters = [inspect.Parameter("x", kind)]
    if row.kind == "slope":
        parameters.append(inspect.Parameter("alpha", kind))
    for name, default in row.params:
        default = None if default == inf else default
        parameters.append(inspect.Parameter(name, kind, default=default))
    if row.kind in _ALONG_AXIS:
        parameters.append(inspect.Parameter("axis", kind, default=-1))
    return inspect.Signature(parameters, return_annotation=np.ndarray)


_SHAPES = {
    "elementwise": "any shape",
    "row": "any shape with at least one axis",
    "halves": "any shape whose length along `axis` is even",
    "pieces": "any shape whose length along `axis` is a multiple of `pieces`",
    "slope": "shape (..., m)",
}
_RESULTS = {
    "elementwise": "the shape of x",
    "row": "the shape of x",
    "halves": "the shape of x, half as long along `axis`",
    "pieces": "the shape of x, 1 / `pieces` as long along `axis`",
    "slope": "the shape of x",
}
_EXAMPLES = {
    "elementwise": ("[-1.0, 0.0, 2.0]", 3),
    "row": ("[1.0, 2.0, 3.0]", 3),
    "halves": ("[1.0, 2.0, 3.0, 4.0]", 2),
    "pieces": ("[1.0, 2.0, 3.0, 4.0]", 2),
}


def _precision(row):
    """The bound of the compiled kernel's error, as the row states it."""
    if row.ulp == (0, 0):
        return "The compiled kernels return the correctly rounded value."
    floor = f" of the result or of {row.floor:g}, whichever is larger" if row.floor else ""
    return (f"The compiled kernels are within {row.ulp[0]:g} units in the last place{floor} in "
            f"float32 and {row.ulp[1]:g} in float64 (``python -m bench.ulp`` measures it).")


def _docstring(row, signature):
    lines = [
        f"{row.formula}.", "",
        f"Derivative: {row.derivative}.", "",
        "Parameters", "----------",
        "x : array_like of float32 or float64",
        f"    {_SHAPES[row.kind].capitalize()}; other number types are converted.",
    ]
    lows = dict(row.minimum)
    for name, parameter in list(signature.parameters.items())[1:]:
        if name == "alpha" and row.kind == "slope":
            lines += ["alpha : array_like, shape (m,)", "    One slope per column."]
        elif name == "axis":
            lines += ["axis : int", "    The axis along which the function works."]
        else:
            kind = "bool" if isinstance(parameter.default, bool) else "float"
            if parameter.default is None:
                kind += " or None"
            low = f", at least {lows[name]:g}" if name in lows else ""
            lines += [f"{name} : {kind}{low}, default {parameter.default}"]
    lines += [
        "", "Returns", "-------",
        f"ndarray, {_RESULTS[row.kind]}", f"    Values in {row.range}.",
        "", "Notes", "-----", f"{_precision(row)}",
        "", "Raises", "------", "ValueError, TypeError",
        "    If `x` holds no numbers or has the wrong shape, or a parameter is out of range.",
        "", "References", "----------", row.source, "",
    ]
    if row.kind == "slope":
        lines += [f">>> {row.name}([[-2.0, 3.0]], [0.5, 0.5]).tolist()", "[[-1.0, 3.0]]"]
    else:
        given, length = _EXAMPLES[row.kind]
        lines += [f">>> {row.name}({given}).shape", f"({length},)"]
    return "\n".join(lines)


def _on_tensor(x, arguments, function):
    """The activation of a symbolic tensor."""
    from .layers.arithmetic import apply_activation

    del arguments["x"]
    axis = arguments.pop("axis", -1)
    return apply_activation(x, *resolve(functools.partial(function, **arguments)), axis)


def _make(row):
    signature = _signature(row)
    compute = ops.prelu if row.kind == "slope" else functools.partial(ops.activation, name=row.name)

    def function(x, *args, **kwargs):
        if type(x) is not np.ndarray and hasattr(x := tracing.symbolic(x), "_keras_history"):
            return _on_tensor(x, signature.bind(x, *args, **kwargs).arguments, function)
        if not args and not kwargs and row.kind != "slope":
            return ops.activation(x, row.name)
        values = signature.bind(x, *args, **kwargs).arguments
        del values["x"]
        return compute(x, **values)

    function.__name__ = function.__qualname__ = row.name
    function.__module__ = __name__
    function.__signature__ = signature
    function.__doc__ = _docstring(row, signature)
    return function


_FUNCTIONS = {}
for _row in spec.ACTIVATIONS.values():
    _function = _make(_row)
    for _name in (_row.name, *_row.aliases):
        _FUNCTIONS[_name] = _function
globals().update(_FUNCTIONS)

__all__ = sorted(_FUNCTIONS) + ["deserialize", "get", "resolve", "serialize"]


def __getattr__(name: str) -> Callable[..., np.ndarray]:
    raise AttributeError(
        f"module {__name__!r} has no attribute {name!r}. "
        f"{spec.nearest(name, _FUNCTIONS, 'activation')}"
    )


def get(identifier) -> Callable[..., np.ndarray]:
    """The function that an identifier stands for.

    Parameters
    ----------
    identifier : str, dict, callable or None
        None stands for ``linear``; a dict has a "class_name" and a "config" with parameters.

    Raises
    ------
    ValueError
        If the name is unknown; the message names the nearest known ones.
    TypeError
        If the identifier is none of these.

    >>> get("swish").__name__, get(None).__name__
    ('silu', 'linear')
    """
    if identifier is None:
        return _FUNCTIONS["linear"]
    if isinstance(identifier, str):
        return get_custom_objects().get(identifier) or _FUNCTIONS[_known(identifier)]
    if isinstance(identifier, Mapping):
        return deserialize(identifier)
    if callable(identifier):
        return identifier
    raise TypeError(
        "Argument `activation` must be a name, a function or None. "
        f"Received: {identifier!r} of type {type(identifier).__name__}"
    )


def _known(name):
    """`name`, which is looked up with an error that names its neighbours."""
    spec.activation(name)
    return name


def serialize(activation) -> str | dict[str, Any]:
    """The name of a function, or the dict of a function with parameters (`functools.partial`).

    Raises
    ------
    ValueError
        If it is none of this module's functions and not registered.

    >>> import functools
    >>> serialize(get("swish"))
    'silu'
    >>> serialize(functools.partial(get("relu"), max_value=6))
    {'class_name': 'relu', 'config': {'max_value': 6}}
    """
    if isinstance(activation, functools.partial) and not activation.args:
        name = serialize(activation.func)
        return {"class_name": name, "config": dict(activation.keywords)}
    name = getattr(activation, "__name__", None)
    if _FUNCTIONS.get(name) is activation:
        return name
    for known, registered in get_custom_objects().items():
        if registered is activation:
            return known
    raise ValueError(
        "Argument `activation` must be one of fusedmlp.activations or registered with "
        f"fusedmlp.saving.register_keras_serializable. Received: {activation!r}"
    )


def deserialize(config, custom_objects: Mapping | None = None) -> Callable[..., np.ndarray]:
    """The function that `serialize` described.

    >>> deserialize({"class_name": "relu", "config": {"max_value": 1.0}})([-1.0, 3.0]).tolist()
    [0.0, 1.0]
    """
    parameters = {}
    name = config
    if isinstance(config, Mapping):
        name, parameters = config.get("class_name"), dict(config.get("config") or {})
    if not isinstance(name, str):
        raise ValueError(
            "A config of an activation must be a name or a dict with a 'class_name'. "
            f"Received: {config!r}"
        )
    function = (custom_objects or {}).get(name) or get(name)
    return functools.partial(function, **parameters) if parameters else function


def resolve(identifier) -> tuple[str, tuple[float, ...]]:
    """The kernel row and its parameter values, which is what a plan holds.

    Parameters
    ----------
    identifier : str, dict, function of this module, `functools.partial` of one, or None

    Returns
    -------
    name : str
        Key of `spec.ACTIVATIONS`.
    params : tuple of float
        In the row's order.

    Raises
    ------
    ValueError, TypeError
        If the name or a parameter is unknown or out of range, if it works along another axis than
        the last, if it needs an argument besides its input, or if it is a function without kernel.

    >>> resolve("relu"), resolve("leaky_relu")
    (('relu', ()), ('leaky_relu', (0.2,)))
    """
    function, params = get(identifier), {}
    if isinstance(function, functools.partial) and not function.args:
        function, params = function.func, dict(function.keywords)
    name = getattr(function, "__name__", None)
    if _FUNCTIONS.get(name) is not function:
        raise TypeError(
            "Argument `activation` must be the name of an activation or a function of "
            f"fusedmlp.activations. Received: {identifier!r}"
        )
    axis = params.pop("axis", -1)
    if axis != -1:
        raise ValueError(
            f"Argument `axis` of {name!r} must be -1 in a layer. Received: axis={axis!r}"
        )
    if spec.ACTIVATIONS[function.__name__].kind == "slope":
        raise ValueError(
            f"Activation {name!r} learns its slopes, so it can't be named as an activation: "
            "expected one that needs nothing but its input. "
            f"Received: {identifier!r}"
        )
    row, values = spec.resolve_activation(function.__name__, params)
    return row.name, values
