"""Steps that are computed in Python: a layer's own NumPy code, and activations that are functions.

They run inside the plan, between the operations of the kernels, on arrays of the batch.  In
training an executor calls them once for each step, in a prediction once for each block of rows, so
what they make of a row must not depend on the rows beside it.
"""

from __future__ import annotations

import contextlib
import copy

import numpy as np

from .. import tree
from ..differences import quotient, step_size
from .tensor import KerasTensor, PlanTensor, SymbolicError, columns_of

__all__ = ["lower_activation", "step_of_layer"]

_SAMPLE_ROWS = 3  # of the arrays that a layer is asked for its shapes with


# -- layers --------------------------------------------------------------------------------------


def step_of_layer(layer, args: tuple, kwargs: dict):
    """What a layer whose `call` needs arrays gives for symbolic tensors."""
    given = [leaf for leaf in tree.leaves([list(args), kwargs]) if isinstance(leaf, KerasTensor)]

    def called(arrays):
        known = {id(t): array != 0 if t.dtype == "bool" else array
                 for t, array in zip(given, arrays, strict=True)}

        def fill(leaf):
            return known[id(leaf)] if isinstance(leaf, KerasTensor) else leaf

        with np.errstate(all="ignore"):
            return layer.call(*tree.map_leaves(fill, args), **tree.map_leaves(fill, kwargs))

    outputs = _shapes_of(layer, given, args, called)
    if not isinstance(given[0], PlanTensor):
        return tree.map_leaves(lambda shape: KerasTensor(shape.shape, layer.dtype, "output"),
                               outputs)
    builder = given[0].builder
    places = tree.leaves(outputs)

    def function(inputs, results):
        arrays = [_shaped(x, t.shape) for x, t in zip(inputs, given, strict=True)]
        found = tree.leaves(called(arrays))
        _check_count(layer, found, places)
        for array, result, place in zip(found, results, places, strict=True):
            _store(result, array, place.shape, f"`call` of layer {layer.name!r}")

    variables = layer.variables
    buffers = builder.python(
        function, [builder.formed(t.buffer, columns_of(t.shape)) for t in given],
        [columns_of(p.shape) for p in places],
        name=layer.name, gradient=_gradient_of(layer, given, places),
        parameters=[layer.parameter(builder, v) for v in variables])
    made = iter(buffers)
    return tree.map_leaves(lambda p: PlanTensor(p.shape, builder.dtype, builder, next(made)),
                           outputs)


def _shapes_of(layer, given, args, called):
    """Tensors of the shapes of the outputs, in their structure."""
    from .layer import Layer, map_shapes

    own = type(layer).compute_output_shape is not Layer.compute_output_shape
    if own and getattr(layer, "_output_shape", True) is not None:
        shapes = layer.compute_output_shape(tree.map_leaves(lambda t: t.shape, args[0]))
        return map_shapes(lambda shape: KerasTensor(shape, layer.dtype, "output"), shapes)
    samples = [np.ones((_SAMPLE_ROWS, *t.shape[1:]), layer.dtype) for t in given]

    def told(array):
        array = np.asarray(array)
        if array.ndim < 2 or len(array) != _SAMPLE_ROWS:
            raise ValueError(
                f"`call` of layer {layer.name!r} must return an array with a row for each row of "
                f"its input, shape ({_SAMPLE_ROWS}, ...) for so many rows. Received: shape "
                f"{array.shape}"
            )
        return KerasTensor((None, *array.shape[1:]), layer.dtype, "output")

    with _unchanged(layer):
        return tree.map_leaves(told, called(samples))


@contextlib.contextmanager
def _unchanged(layer):
    """Take back within this block what is done to a layer's variables and metrics."""
    variables = [(v, v.numpy()) for v in layer.variables]
    metrics = [(m, copy.deepcopy(vars(m))) for m in layer._all_metrics()]
    try:
        yield
    finally:
        for variable, value in variables:
            variable.assign(value)
        for metric, state in metrics:
            vars(metric).update(state)


def _gradient_of(layer, given, places):
    """The layer's `backward` as a plan wants it; None where it has none."""
    backward = getattr(layer, "backward", None)
    if backward is None:
        return None
    where = f"`backward` of layer {layer.name!r}"
    trained = bool(layer.variables)

    def gradient(dys, xs, ys, dxs, dparameters):
        ys = [_shaped(y, p.shape) for y, p in zip(ys, places, strict=True)]
        dys = [np.zeros_like(y) if dy is None else _shaped(dy, y.shape)
               for dy, y in zip(dys, ys, strict=True)]
        xs = [_shaped(x, t.shape) for x, t in zip(xs, given, strict=True) if t.dtype != "bool"]
        one = [part[0] if len(part) == 1 else part for part in (dys, xs, ys)]
        with np.errstate(all="ignore"):
            found = backward(*one)
        dweights = []
        if trained:
            found, dweights = found
        found = tree.leaves(found)
        taken = [(dx, t) for dx, t in zip(dxs, given, strict=True) if t.dtype != "bool"]
        _check_count(layer, found, taken)
        for array, (target, tensor) in zip(found, taken, strict=True):
            if target is not None:
                _store(target, array, tensor.shape, where)
        for place, target in dparameters.items():
            _store(target, np.asarray(dweights[place]), np.shape(dweights[place]), where)

    return gradient


def _shaped(array, shape):
    return array if len(shape) == 2 else array.reshape(len(array), *shape[1:])


def _store(target, array, shape, where):
    """Put an array where the plan wants it; ValueError if its shape is another."""
    array = np.asarray(array)
    wanted = (len(target), *shape[1:]) if len(shape) > 1 else (target.size,)
    if array.shape != wanted:
        raise ValueError(f"{where} must return shape {wanted}. Received: shape {array.shape}")
    with np.errstate(all="ignore"):
        target[...] = array.reshape(target.shape)


def _check_count(layer, found, wanted):
    if len(found) != len(wanted):
        raise ValueError(
            f"Layer {layer.name!r} must return {len(wanted)} arrays here. Received: {len(found)}"
        )


# -- activations ---------------------------------------------------------------------------------


def lower_activation(builder, x: int, function, name: str) -> int:
    """The buffer of ``function(x)`` for a function of one's own.

    Where it is made of arithmetic and activations of this package, it becomes operations.  Else it
    is a step in Python; its derivative is ``function.derivative(x)`` where there is such an
    attribute, or ``function.backward(dy, x, y)``, or central differences in float64, for which it
    must work on each element by itself.
    """
    columns = builder.columns(x)
    before = builder.mark()
    try:
        result = function(PlanTensor((None, columns), builder.dtype, builder, x))
        if isinstance(result, PlanTensor) and builder.columns(result.buffer) == columns:
            return result.buffer
    except SymbolicError:
        pass
    builder.rewind(before)
    where = f"the activation of {name!r}"

    def step(inputs, outputs):
        with np.errstate(all="ignore"):
            _store(outputs[0], function(inputs[0]), inputs[0].shape, where)

    checked = []

    def gradient(dys, xs, ys, dxs, dparameters):
        (dy,), (x,), (y,), (dx,) = dys, xs, ys, dxs
        with np.errstate(all="ignore"):
            if hasattr(function, "backward"):
                found = function.backward(dy, x, y)
            elif hasattr(function, "derivative"):
                found = dy * function.derivative(x)
            else:
                if not checked and len(x):
                    _check_elementwise(function, x, where)
                    checked.append(True)
                found = dy * _slopes(function, x)
            _store(dx, found, x.shape, where)

    return builder.python(step, [x], [columns], name=f"{name}.activation", gradient=gradient)[0]


def _check_elementwise(function, x, where):
    """ValueError if an element of function(x) depends on more than its element of x."""
    whole = np.asarray(function(x.astype(np.float64)))
    part = np.asarray(function(x[:1, :1].astype(np.float64)))
    if part.shape != (1, 1) or not np.allclose(part[0, 0], whole[0, 0], 1e-9, equal_nan=True):
        raise ValueError(
            f"{where} must work on each element by itself, or say its gradient by an attribute "
            "`backward(dy, x, y)`. Received: a function whose value for an element depends on "
            "others"
        )


def _slopes(function, x):
    """Central differences, element by element."""
    x = x.astype(np.float64)
    h = step_size(x)
    high, low = x + h, x - h
    above, below = np.asarray(function(high)), np.asarray(function(low))
    return quotient(function(x), above, below, high - x, x - low)
