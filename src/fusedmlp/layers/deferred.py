"""Functions of symbolic tensors that are no operations: noted down, and computed in Python.

What NumPy's functions (and so `fusedmlp.ops`) make of symbolic tensors and variables is a
`Deferred` tensor, which knows the calls that it takes.  Where somebody needs its buffer, they
become one step in Python within the plan, with the gradient that `fusedmlp.expressions` derives.
It may also have no row for each row of the batch, such as a penalty: a number, which `add_to_loss`
adds to the loss.
"""

from __future__ import annotations

import inspect
from math import prod
from typing import Any

import numpy as np

from .. import checks, random, tracing, tree
from ..expressions import Program
from ..expressions.functions import (
    activated,
    astype,
    described,
    halted,
    item,
    loss_of_samples,
    taken,
)
from ..numeric import erf, top_k
from ..variable import Variable
from . import tensor as tensors
from .layer import Layer, lower_variable, of_package
from .naming import auto_name
from .tensor import KerasTensor, PlanTensor, SymbolicError, columns_of

__all__ = ["Call", "Deferred", "Tracer", "add_to_loss", "defer", "follow",
           "follow_loss", "in_rows", "value_of"]

_ROWS = (3, 5)  # of the samples that tell the shape of a result
_SUBSTITUTES = {np.take: taken}
_OF_BATCHES = ("circle", "dice", "tversky")  # losses whose samples depend on each other


class Deferred(PlanTensor):
    """What a function makes of tensors of a plan, and of variables, before anybody needs it.

    Attributes
    ----------
    expression : (function, args, kwargs)
        Tensors and variables are among the args alone, also within lists.
    """

    def __init__(self, shape, dtype: str, builder, expression: tuple):
        self.shape, self.dtype, self.builder = shape, dtype, builder
        self.name = auto_name(expression[0].__name__)
        self.expression = expression
        self._keras_history = tensors.History(None, 0, 0)
        self._keras_mask = None
        self._buffer: int | None = None

    @property
    def by_rows(self) -> bool:
        """Whether it has a row for each row of the batch."""
        return bool(self.shape) and self.shape[0] is None and None not in self.shape[1:]

    @property
    def buffer(self) -> int:
        """The buffer of its values; the step that fills it is emitted when this is first asked."""
        if self._buffer is None or self._buffer >= len(self.builder.buffers):
            if not self.by_rows:
                raise SymbolicError(
                    f"{self!r} has no row for each row of the batch, so it can't be what a layer "
                    "is called on or returns: it can be part of arithmetic, and be given to "
                    "`add_loss`"
                )
            self._buffer = _step(self, columns_of(self.shape))
        return self._buffer


class Call(Layer):
    """A function of NumPy as a layer of a graph, made where one is applied to symbolic tensors.

    Parameters
    ----------
    function : callable
        Of NumPy, or of `fusedmlp.expressions.functions`.
    """

    _is_part = _loses_masks = False
    _defers = True

    def __init__(self, function, variables=(), **kwargs):
        if isinstance(function, str):
            function = _named(function)
        if kwargs.get("name") is None:
            kwargs["name"] = auto_name(function.__name__)
        super().__init__(**kwargs)
        self.function = function
        self._variables.extend(variables)

    @of_package
    def call(self, *args, **kwargs):
        return _noted(self.function, args, kwargs)

    def get_config(self):
        if self._variables:
            raise ValueError(
                f"{self.name!r} reads the variable {self._variables[0].path!r}, which a config "
                "can't hold: put it in a layer of your own. Received: a function of a variable"
            )
        module = "" if self.function in _OWN else "linalg." if hasattr(
            np.linalg, self.function.__name__) and not hasattr(np, self.function.__name__) else ""
        return {**super().get_config(), "function": module + self.function.__name__}


_OWN = (activated, astype, erf, halted, item, taken, top_k)


def _named(name):
    """The function that a config names."""
    for function in _OWN:
        if function.__name__ == name:
            return function
    found = np
    for part in name.split("."):
        found = getattr(found, part)
    return found


class Tracer:
    """Notes down what happens to variables alone, and draws, while a `call` is followed.

    Parameters
    ----------
    anchor : KerasTensor
        A tensor of the call; or
    builder : fusedmlp.plan.Builder
        where there is none.
    refuses : bool
        Whether functions that are no operations are refused, so that the `call` gets arrays: that
        of a layer which says its own gradient.
    """

    def __init__(self, anchor: KerasTensor | None = None, builder=None, refuses: bool = False):
        self._anchor, self.refuses = anchor, refuses
        self.counts_losses = False  # whether a `compute_loss` counts what layers added
        self.builder = getattr(anchor, "builder", builder)

    def call(self, function, args: tuple, kwargs: dict):
        """The symbolic tensor of a function of variables."""
        if self.refuses:
            raise SymbolicError(f"`{function.__name__}` has no operation for variables")
        return _noted(_SUBSTITUTES.get(function, function), args, kwargs, self)

    def item(self, variable: Variable, index):
        """A part of a variable."""
        return _item(variable, index, self)

    def latest(self, variable: Variable):
        """A variable, or the symbolic tensor that has been assigned to it."""
        known = {} if self.builder is None else self.builder.assigned
        return known.get(variable, variable)

    def assign(self, variable: Variable, value) -> None:
        """Have each step end with a new value of a variable."""
        if self.refuses:
            raise SymbolicError("values of variables are assigned with arrays")
        value = self.latest(value) if isinstance(value, Variable) else value
        shape = tuple(np.shape(value) if not isinstance(value, (KerasTensor, Variable))
                      else value.shape)
        if shape != variable.shape:
            raise ValueError(
                f"Argument `value` of variable {variable.path!r} must be numbers of shape "
                f"{variable.shape}. Received: shape {shape}"
            )
        if variable.trainable:
            raise ValueError(
                f"The variable {variable.path!r} can't be assigned to within a `call`, because "
                "training updates it: make it with `trainable=False`. Received: a new value"
            )
        if self.builder is not None:
            _assign(self.builder, variable, value, self)

    def update(self, metric, function, args: tuple, kwargs: dict) -> None:
        """Have each step update a metric by ``function(*args, **kwargs)``."""
        if self.refuses:
            raise SymbolicError(f"the metric {metric.name!r} is updated with arrays")
        if self.builder is not None:
            self.builder.mixes_rows = True
            if self.builder.measures:
                _effect(self.builder, function, args, kwargs, metric.name)

    def draw(self, kind: str, shape: tuple, seed, **parameters):
        """Random numbers of a shape whose rows are those of the batch."""
        return _drawn(self, kind, tuple(shape), seed, parameters)


    def loss(self, function, args: tuple, kwargs: dict):
        """What a loss of this package gives for each sample of symbolic tensors."""
        given = dict(inspect.signature(function).bind(*args, **kwargs).arguments)
        y_true, y_pred = given.pop("y_true"), given.pop("y_pred")
        if function.__name__ in _OF_BATCHES or any(
                isinstance(part, (KerasTensor, Variable)) for part in given.values()):
            raise SymbolicError(f"`{function.__name__}` takes arrays alone")
        varies = isinstance(y_true, Deferred) or (
            isinstance(y_true, PlanTensor)
            and self.builder.buffers[y_true.buffer].role not in ("labels", "input"))
        found = _noted(loss_of_samples, (function, y_true, y_pred, given, varies), {}, self)
        if len(found.shape) != len(y_pred.shape) - 1:
            raise SymbolicError(f"`{function.__name__}` gives a number for each sample of arrays")
        return found

    def full(self, shape: tuple, value: float):
        """One number in every element of a shape whose rows are those of the batch."""
        _check_rows(shape)
        if self.builder is None:
            return KerasTensor(shape, self._anchor.dtype)
        zero = self.builder.zeros(self._anchor.buffer, columns_of(shape))
        return _shaped(self.builder, self.builder.affine(zero, 1.0, value), shape)

    def dropout(self, x, rate: float, noise_shape, seed):
        """`random.dropout` of a symbolic tensor."""
        rate, builder = checks.number(rate, "rate", low=0, below=1), self.builder
        shape = tuple(x.shape) if noise_shape is None else tuple(
            extent if wanted is None else wanted
            for extent, wanted in zip(x.shape, noise_shape, strict=True))
        if builder is not None and builder.training and shape == tuple(x.shape) and not isinstance(
                seed, (int, np.integer)):
            made = builder.dropout(x.buffer, rate, _start(seed), name="dropout")
            return PlanTensor(x.shape, x.dtype, builder, made)
        kept = self.draw("uniform", shape, seed, minval=0.0, maxval=1.0) >= rate
        return _noted(np.where, (kept, x / (1.0 - rate), 0.0), {}, self)


def defer(function, args: tuple, kwargs: dict, anchor: KerasTensor):
    """What a function makes of symbolic tensors.

    Raises
    ------
    SymbolicError
        If it takes the arrays themselves, such as a layer that says its own gradient.
    ValueError
        If the shapes don't fit.
    """
    if getattr(tracing.current(), "refuses", False):
        anchor._refuse(f"`{function.__name__}` has no operation for it")
    function = _SUBSTITUTES.get(function, function)
    if tensors.recording() and not isinstance(anchor, PlanTensor):
        variables = [v for v in tree.leaves([list(args)]) if isinstance(v, Variable)]
        return Call(function, variables)(*args, **kwargs)
    return _noted(function, args, kwargs)


def _noted(function, args, kwargs, tracer=None):
    """The tensor, or the list of such, that the call gives."""
    following = tracer or tracing.current()
    if following is not None and getattr(following.builder, "assigned", None):
        args = tree.map_leaves(
            lambda t: following.latest(t) if isinstance(t, Variable) else t, tuple(args))
    found = [t for t in tree.leaves(list(args)) if isinstance(t, KerasTensor)]
    if any(isinstance(t, (KerasTensor, Variable)) for t in tree.leaves(kwargs)):
        raise SymbolicError(
            f"`{function.__name__}` takes symbolic tensors and variables by position alone")
    builder = next((t.builder for t in found if isinstance(t, PlanTensor)),
                   getattr(tracer, "builder", None))
    shapes = _shapes(function, args, kwargs)
    if builder is None:
        return tree.map_leaves(lambda s: KerasTensor(s.shape, s.dtype), shapes)
    args = tuple(args)
    if isinstance(shapes, list):
        whole = Deferred(None, "", builder, (function, args, kwargs))
        return [Deferred(s.shape, s.dtype, builder, (item, (whole, i), {}))
                for i, s in enumerate(shapes)]
    return Deferred(shapes.shape, shapes.dtype, builder, (function, args, kwargs))


class _Shape:
    """Shape and dtype of a result."""

    def __init__(self, one, other):
        one, other = np.asarray(one), np.asarray(other)
        if one.ndim != other.ndim or one.dtype.kind not in "fiub":
            raise SymbolicError("its shape depends on the values")
        self.shape = tuple(a if a == b else None
                           for a, b in zip(one.shape, other.shape, strict=True))
        self.dtype = one.dtype.name


def _shapes(function, args, kwargs):
    """The shape of the result, told by calls on two samples that differ in their rows."""
    results, numbers = [], np.random.default_rng(0)
    for rows in _ROWS:
        def sample(part, rows=rows):
            if isinstance(part, (KerasTensor, Variable)):
                shape = [rows if n is None else n for n in part.shape]
                return numbers.random(shape).astype(part.dtype)  # from 0 to 1; whole ones are 0
            return part

        given = [tree.map_leaves(sample, arg) for arg in args]
        try:
            with np.errstate(all="ignore"):
                results.append(function(*given, **kwargs))
        except TypeError as error:
            raise SymbolicError(f"`{function.__name__}`: {error}") from None
        except (ValueError, IndexError, np.linalg.LinAlgError) as error:
            shown = ", ".join(str(tuple(t.shape)) for t in tree.leaves(list(args))
                              if isinstance(t, (KerasTensor, Variable)))
            raise ValueError(
                f"`{function.__name__}` can't be applied to tensors of shape {shown}: {error}"
            ) from None
    one, other = results
    if isinstance(one, (list, tuple)):
        return [_Shape(a, b) for a, b in zip(one, other, strict=True)]
    return _Shape(one, other)


def _item(x, index, tracer=None):
    """``x[index]`` of a tensor or a variable."""
    try:
        index = described(index)
    except TypeError as error:
        raise SymbolicError(f"A symbolic tensor takes no {error}") from None
    if tracer is None:
        return defer(item, (x, index), {}, x)
    return _noted(item, (x, index), {}, tracer)


# -- steps in Python -----------------------------------------------------------------------------


def _leaves_of(output):
    """The tensors with buffers, and the variables, that a deferred tensor is made of."""
    found: dict[int, Any] = {}
    seen, stack = set(), [output]
    while stack:
        part = stack.pop()
        if id(part) in seen:
            continue
        seen.add(id(part))
        if isinstance(part, Deferred) and (part is output or part._buffer is None):
            stack += tree.leaves(list(part.expression[1]))[::-1]
        elif isinstance(part, (PlanTensor, Variable)):
            found[id(part)] = part
    return ([t for t in found.values() if isinstance(t, PlanTensor)],
            [v for v in found.values() if isinstance(v, Variable)])


def _step(output, columns, by_sample=False, role="activation"):
    """The buffer of a step that computes a deferred tensor; a number goes to every row.

    It is divided by their number where it is one `by_sample`.
    """
    builder = output.builder
    given, variables = _leaves_of(output)
    program = Program(output, [*given, *variables])
    placed = [v for v in variables if v.arena is not None
              and (builder.arena is None or v.arena is builder.arena)]
    name, scalar = output.name, not output.by_rows

    def arrays(inputs):
        return [*(_seen(x, t) for x, t in zip(inputs, given, strict=True)),
                *(v.value for v in variables)]

    def function(inputs, outputs):
        found = program.run(arrays(inputs))
        with np.errstate(all="ignore"):
            found = np.reshape(found, () if scalar else outputs[0].shape)
            outputs[0][...] = found / len(outputs[0]) if by_sample else found

    def gradient(dys, xs, ys, dxs, dparameters):
        targets = [*dxs, *(dparameters.get(placed.index(v)) if v in placed else None
                           for v in variables)]
        g = dys[0]
        shape = (len(g), *output.shape[1:])
        g = np.sum(g) / (len(g) if by_sample else 1) if scalar else np.reshape(g, shape)
        found = program.gradients(arrays(xs), g, [t is not None for t in targets])
        for target, value in zip(targets, found, strict=True):
            if target is not None:
                target[...] = np.reshape(value, target.shape)

    if not scalar and any(_mixes(node) for node in program.nodes):
        builder.mixes_rows = True
    wanted = [True] * (len(given) + len(variables))
    missing = program.without_derivative(wanted)
    return builder.python(
        function, [builder.formed(t.buffer, columns_of(t.shape)) for t in given], [columns],
        name=name if missing is None else missing, gradient=gradient if missing is None else None,
        parameters=[lower_variable(builder, v) for v in placed], roles=[role])[0]


# -- what a step does to variables and metrics ---------------------------------------------------


def _effect(builder, function, args, kwargs, name):
    """A step that calls a function with the values of symbolic tensors and variables."""
    asked = [t for t in tree.leaves([list(args), kwargs])
             if isinstance(t, (PlanTensor, Variable))]
    found: dict[int, Any] = {}
    for part in asked:
        below, read = _leaves_of(part) if _waits(part) else ([part], [])
        found.update((id(leaf), leaf) for leaf in (*below, *read))
    given = [t for t in found.values() if isinstance(t, PlanTensor)]
    variables = [v for v in found.values() if isinstance(v, Variable)]
    programs = {id(t): Program(t, [*given, *variables]) for t in asked if _waits(t)}
    for variable in variables:
        lower_variable(builder, variable)  # which says where it can't be read

    def step(inputs, outputs):
        arrays = [*(_seen(x, t) for x, t in zip(inputs, given, strict=True)),
                  *(v.value for v in variables)]
        known = dict(zip(map(id, [*given, *variables]), arrays, strict=True))
        known.update((key, np.asarray(program.run(arrays))) for key, program in programs.items())

        def filled(part):
            return known.get(id(part), part)

        function(*tree.map_leaves(filled, tuple(args)), **tree.map_leaves(filled, kwargs))

    builder.python(step, [builder.formed(t.buffer, columns_of(t.shape)) for t in given], [],
                   name=name, phase="effect")


def value_of(tensor: PlanTensor) -> list:
    """A list whose only element each step replaces by the value of a tensor."""
    kept: list = [None]

    def keep(value):
        kept[0] = np.array(value, dtype=tensor.dtype)

    _effect(tensor.builder, keep, (tensor,), {}, tensor.name)
    return kept


def _waits(part):
    """Whether a tensor has no buffer yet."""
    return isinstance(part, Deferred) and part._buffer is None


def _assign(builder, variable, value, tracer):
    """Have each step of a plan end with a new value of a variable."""
    parameter = lower_variable(builder, variable)
    latest: list = [None]

    def keep(new):
        latest[0] = np.asarray(new, dtype=variable.dtype)

    def store(inputs, outputs):
        outputs[0][...] = np.reshape(latest[0], outputs[0].shape)

    _effect(builder, keep, (value,), {}, f"{variable.path} assign")
    builder.at_end(id(variable), store, f"{variable.path} assign", parameter)
    builder.mixes_rows = True
    if not isinstance(value, KerasTensor):
        value = tracer.call(np.array, (np.asarray(value),), {})
    builder.assigned[variable] = value


def _mixes(node):
    """Whether a part of an expression is made of rows of the batch and has none itself."""
    shape = node.shape
    return (shape is not None and (not shape or shape[0] is not None or None in shape[1:])
            and bool(_leaves_of(node)[0]))


def _seen(array, tensor):
    """A buffer's array as the values of a tensor."""
    shape = (-1, *tensor.shape[1:])
    array = array if array.ndim == len(shape) == 2 else np.reshape(array, shape)
    return array != 0 if tensor.dtype == "bool" else array


# -- losses --------------------------------------------------------------------------------------


def follow_loss(function, anchor: PlanTensor) -> PlanTensor | None:
    """The loss that ``function()`` makes of symbolic tensors; None where it takes arrays.

    What layers added to the loss is dropped where the function does not count it.
    """
    tracer = Tracer(anchor)
    found = follow(function, anchor, tracer)
    if found is not None and not tracer.counts_losses:
        anchor.builder.drop_penalties()
    return found


def follow(function, anchor: PlanTensor, tracer: Tracer | None = None) -> PlanTensor | None:
    """What ``function()`` makes of symbolic tensors; None where it takes arrays."""
    before = anchor.builder.mark()
    try:
        with tensors.unrecorded(), tracing.following(tracer or Tracer(anchor)):
            found = function()
    except SymbolicError:
        found = None
    if isinstance(found, PlanTensor):
        return found
    anchor.builder.rewind(before)
    return None


def in_rows(x: PlanTensor) -> int:
    """A buffer of rows, each of which has a number of a plan."""
    return _step(x, 1, role="row")


def add_to_loss(x: PlanTensor, by_sample: bool = False) -> None:
    """Add the sum over all elements of a tensor of a plan to the plan's loss.

    Means over the batch of what has a row for each of its rows are operations; anything else is a
    step in Python.

    Parameters
    ----------
    x : PlanTensor
    by_sample : bool
        Whether the sum is divided by the rows of the batch.
    """
    if x.shape:
        x = _noted(np.sum, (x,), {})
    terms = _of_number(x, 1.0, np.sum if by_sample else np.mean)
    if terms is None:
        terms = [(_step(x, 1, by_sample), 1.0)]
        x.builder.depends_on_batches(any(t.shape[:1] == (None,) for t in _leaves_of(x)[0]))
    for buffer, factor in terms:
        x.builder.activity_penalty(buffer, linear=factor)


def _constant(part):
    return isinstance(part, (int, float, np.number)) or (
        isinstance(part, np.ndarray) and part.ndim == 0)


def _of_number(x, factor, over):
    """Pairs (buffer, f) of which a number is the sum: f times the mean over the batch of the sum of
    a sample.  None if it is not of that form.

    The rows of the batch are gathered by the function `over`: a mean, or a sum that is to be
    divided by their number.
    """
    if not isinstance(x, Deferred) or x._buffer is not None:
        return None
    function, args, _ = x.expression
    if function in (np.multiply, np.divide) and _constant(args[1]):
        c = float(args[1])
        return _of_number(args[0], factor * c if function is np.multiply else factor / c, over)
    if function is np.multiply and _constant(args[0]):
        return _of_number(args[1], factor * float(args[0]), over)
    if function is np.negative:
        return _of_number(args[0], -factor, over)
    if function in (np.add, np.subtract):
        second = factor if function is np.add else -factor
        parts = _of_number(args[0], factor, over), _of_number(args[1], second, over)
        return None if None in parts else parts[0] + parts[1]
    if function not in (np.mean, np.sum) or not isinstance(args[0], PlanTensor):
        return None
    axes, inner = _axes(x), args[0]
    if axes is None:
        return None
    if function is over and axes == tuple(range(len(inner.shape))) and _by_rows(inner):
        return _of_rows(inner, factor / prod(inner.shape[1:]) if over is np.mean else factor)
    if isinstance(inner, Deferred) and inner._buffer is None and not _by_rows(inner):
        below = inner.expression[0]
        if below is over and _axes(inner) == (0,) and _by_rows(inner.expression[1][0]):
            share = prod(inner.shape) if function is np.mean else 1
            return _of_rows(inner.expression[1][0], factor / share)
    return None


def _of_rows(x, factor):
    """The same for `factor` times the mean over the batch of the sum over a sample of x."""
    if isinstance(x, Deferred) and x._buffer is None and x.expression[0] in (np.mean, np.sum):
        inner, axes = x.expression[1][0], _axes(x)
        if axes is not None and 0 not in axes and isinstance(inner, PlanTensor) and _by_rows(inner):
            share = prod(inner.shape[a] for a in axes) if x.expression[0] is np.mean else 1
            return _of_rows(inner, factor / share)
    return [(x.buffer, factor)]


def _by_rows(x):
    return (isinstance(x, PlanTensor) and bool(x.shape) and x.shape[0] is None
            and None not in x.shape[1:])


def _axes(x):
    """The axes that a sum or mean is over; None where they are not told as plain arguments."""
    _, args, kwargs = x.expression
    if len(args) > 2 or set(kwargs) - {"axis", "keepdims"} or not isinstance(args[0], PlanTensor):
        return None
    axis = kwargs.get("axis", args[1] if len(args) > 1 else None)
    depth = len(args[0].shape)
    if axis is None:
        return tuple(range(depth))
    return tuple(sorted(a % depth for a in (axis if isinstance(axis, (tuple, list)) else (axis,))))


# -- random numbers ------------------------------------------------------------------------------


def _start(seed):
    """Where a generator's numbers start, for an operation; None for the model's seed."""
    return None if seed is None else int(seed.state[0]) & (2**63 - 1)


def _drawn(tracer, kind, shape, seed, parameters):
    """A tensor of random numbers, new ones in each step and each prediction."""
    builder = tracer.builder
    _check_rows(shape)
    if builder is None:
        return KerasTensor(shape, tracer._anchor.dtype)
    dtype, columns = builder.dtype, columns_of(shape)
    if kind == "normal" and builder.training and not isinstance(seed, (int, np.integer)):
        zero = builder.zeros(tracer._anchor.buffer, columns)
        noise = builder.gaussian_noise(zero, parameters["stddev"], _start(seed), name="normal")
        made = PlanTensor((None, columns), dtype, builder, noise)
        if parameters["mean"]:
            made = made + parameters["mean"]
        buffer = made.buffer
    else:
        draw, key = getattr(random, kind), []
        if builder.training and not isinstance(seed, (int, np.integer)):
            key = [_key(builder, tracer._anchor.buffer, _start(seed), kind)]

        def function(inputs, outputs):
            numbers = draw((len(outputs[0]), *shape[1:]), dtype=parameters.get("dtype", dtype),
                           seed=_word(inputs[0][0]) if key else seed,
                           **{k: v for k, v in parameters.items() if k != "dtype"})
            outputs[0][...] = numbers.reshape(outputs[0].shape)

        buffer = builder.python(function, key, [columns], name=kind)[0]
    return _shaped(builder, buffer, shape)


_KEY_BITS = 64


def _key(builder, x, start, name):
    """A buffer whose first row has the bits of a key, which follows from seed, place and step.

    A mask of dropout is such a function on every backend, so what is drawn in Python by that key is
    the same on each, and after any resume.
    """
    one = builder.affine(builder.zeros(x, _KEY_BITS), 0.0, 1.0)
    return builder.dropout(one, 0.5, start, name=f"{name} key")


def _word(bits):
    """The seed that a row of such a buffer stands for."""
    return int.from_bytes(np.packbits(bits > 0).tobytes(), "little") >> 1


def _check_rows(shape):
    """SymbolicError unless the shape is that of rows of the batch."""
    if tuple(shape[:1]) != (None,) or None in shape[1:]:
        raise SymbolicError(
            "Random numbers and constants within a `call` must have a row for each row of the "
            f"batch, the shape (None, ...). Received: shape {shape}")


def _shaped(builder, buffer, shape):
    """The tensor of a buffer whose samples are of a shape."""
    if len(shape) > 2:
        buffer = builder.view(buffer, shape[1:])
    return PlanTensor(shape, builder.dtype, builder, buffer)
