"""What every layer is: a name, variables, a shape rule, and how it is lowered to a plan.

A layer describes; it never computes.  `build` creates its variables for a given input shape, and
`lower` emits the operations of `fusedmlp.plan` that stand for it; a layer that is made of others
says so by its `call`.  Calling a layer on symbolic tensors gives symbolic tensors, on arrays it
gives arrays.
"""

from __future__ import annotations

import functools
import inspect
import types
import warnings
from typing import Any

import numpy as np

from .. import (
    checks,
    config,
    constraints,
    dtype_policies,
    initializers,
    regularizers,
    spec,
    tracing,
    tree,
)
from ..dtype_policies import DTypePolicy
from ..plan import Builder
from ..variable import Variable, float_dtype
from . import input_spec as specs
from . import tensor as tensors
from .naming import auto_name
from .tensor import KerasTensor, Node, PlanTensor, SymbolicError

__all__ = ["Layer"]

# How often an attribute of a layer was set that is, or may hold, a layer, a variable or a metric.
changes = [0]


def of_package(call):
    """Mark a `call` that this package defines, which needs nobody to follow it."""
    call.of_package = True
    return call


class Layer:
    """Base class of all layers.

    A layer of one's own defines `call`, and, where they apply, `build` (which calls
    `add_weight`), `compute_output_shape` and `get_config`.  Its `call` gets symbolic tensors, to
    which it applies layers, activations and arithmetic, also with its own weights; or it defines
    `lower` instead, which emits operations of a plan.

    A `call` that needs more of NumPy gets arrays (rows first): it becomes a step in Python within
    the plan, which is slower.  What comes after it trains as ever.  For what comes before it, and
    for its own weights, it defines ``backward(dy, x, y)``: from the gradient at its output, its
    input and its output (lists where there are several) it returns the gradient at its input; a
    layer with weights returns a pair, of that and of a list with the gradient at each of its
    `variables` (None where it isn't trained).

    Where the `call` takes an argument `mask`, it gets that of its input (see
    `fusedmlp.layers.masks`), or None.  The mask of its output is what `compute_mask` returns, for a
    class that defines it or sets `supports_masking` True; else it has none, and a warning says so.

    Parameters
    ----------
    name : str, optional
        Unique within a model; by default the class's name in snake_case with a number.
    dtype : {"float32", "float64", "mixed_bfloat16"} or DTypePolicy, optional
        By default that of the model, which all of its layers share.
    trainable : bool
        Whether training updates the layer's variables; a change takes effect when the model is
        compiled.
    input_shape : tuple of int, optional
        Shape of one sample, for the first layer of a `Sequential`, in place of an `Input`.
    input_dim : int, optional
        Short for ``input_shape=(input_dim,)``.
    activity_regularizer : str, dict or Regularizer, optional
        A penalty on the layer's output, the mean over the batch, that is added to the loss.

    Raises
    ------
    TypeError, ValueError
        If a keyword is unknown or a value is none of these.

    Examples
    --------
    >>> class Squash(Layer):
    ...     def lower(self, builder, x):
    ...         return builder.activation(x, "tanh")
    >>> import fusedmlp as fm
    >>> model = fm.Sequential([fm.Input((2,)), Squash()])
    >>> model.predict([[0.0, 100.0]], verbose=0)
    array([[0., 1.]], dtype=float32)

    >>> class Residual(Layer):
    ...     def __init__(self, units, **kwargs):
    ...         super().__init__(**kwargs)
    ...         self.dense = fm.layers.Dense(units, activation="relu")
    ...     def call(self, x):
    ...         return x + self.dense(x)
    >>> Residual(3)(fm.Input((3,))).shape
    (None, 3)
    >>> Residual(3)([[0.0, 0.0, 0.0]])
    array([[0., 0., 0.]], dtype=float32)
    """

    def __new__(cls, *args, **kwargs):
        layer = super().__new__(cls)
        layer._made_with = _plain_arguments(cls, args, kwargs)
        return layer

    def __init__(self, *, name: str | None = None, dtype: Any = None, trainable: bool = True,
                 input_shape=None, input_dim: int | None = None, activity_regularizer=None,
                 **unknown):
        if unknown:
            raise TypeError(_unknown_keywords(type(self), unknown))
        if name is not None and (not isinstance(name, str) or not name or "/" in name):
            raise ValueError(
                f"Argument `name` must be a string that is not empty and has no '/'. "
                f"Received: {name!r}"
            )
        if input_dim is not None:
            if input_shape is not None:
                raise ValueError(
                    "Arguments `input_shape` and `input_dim` can't be given together. "
                    f"Received: input_shape={input_shape!r}, input_dim={input_dim!r}"
                )
            input_shape = (input_dim,)
        self.activity_regularizer = regularizers.get(activity_regularizer)
        self.name = auto_name(type(self).__name__) if name is None else name
        self.built = False
        policy = dtype_policies.asked() if dtype is None else dtype_policies.get(dtype)
        self._dtype = self._asked_dtype = None if policy is None else policy.variable_dtype
        self._policy = policy
        self._trainable = bool(trainable)
        self._variables: list[Variable] = []
        self._input_columns: int | None = None
        self._inbound_nodes: list[Node] = []
        self._eager: dict = {}  # what calls on arrays hold ready
        self._called_losses: list[float] = []  # what the latest of them added to the loss
        self._input_shape_arg = None
        if input_shape is not None:
            self._input_shape_arg = sample_shape(input_shape, "input_shape")

    # -- shapes and variables ------------------------------------------------------------------

    def build(self, input_shape: tuple) -> None:
        """Create the variables for inputs of `input_shape`, which is (None, columns).

        Where there are several inputs, it is a list or dict of such.
        """
        if is_shape(input_shape) and len(input_shape) > 1:
            self._input_columns = axes_shape(input_shape, f"layer {self.name!r}")[-1]
        self.built = True

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        """Shape of the output for inputs of `input_shape`; ValueError if they don't fit."""
        if not self._composes:
            return tuple(input_shape)
        inputs = map_shapes(lambda shape: KerasTensor(shape, self.dtype, "input"), input_shape)
        self._build_for((inputs,))
        return tree.map_leaves(lambda t: t.shape, self._traced((inputs,), {}, False))

    def lower(self, builder: Builder, x: int) -> int:
        """Emit the operations of the layer.

        Parameters
        ----------
        builder : fusedmlp.plan.Builder
        x : int
            Buffer of the input; a list or dict where there are several.

        Returns
        -------
        int
            Buffer of the output.
        """
        raise TypeError(
            f"Layer {self.name!r} of type {type(self).__name__} must define "
            "`call(self, inputs)`, which applies layers and arithmetic to symbolic tensors, or "
            "`lower(self, builder, x)`, which emits its operations"
        )

    _output_dtype: str | None = None  # of symbolic outputs, where it is not the layer's
    _supports_masking: bool | None = None
    _loses_masks = True  # whether a mask that it does not pass on is worth a warning

    @property
    def supports_masking(self) -> bool:
        """Whether outputs get masks, from `compute_mask`; True for classes that define that."""
        if self._supports_masking is None:
            return type(self).compute_mask is not Layer.compute_mask
        return self._supports_masking

    @supports_masking.setter
    def supports_masking(self, value: bool) -> None:
        self._supports_masking = bool(value)

    def compute_mask(self, inputs, previous_mask=None):
        """The mask of the output: by default that of the input.

        Parameters
        ----------
        inputs : symbolic tensor, or structure of such
        previous_mask : symbolic tensor or None, or structure of these
            The masks of the inputs.

        Returns
        -------
        symbolic tensor, or None, or one for each output
        """
        return previous_mask

    input_spec: specs.InputSpec | None = None
    """What inputs must be like; an `InputSpec` or, where there are several, a structure of these,
    which a class of one's own sets in ``__init__`` or `build`."""

    def _check_inputs(self, args, kwargs):
        if self.input_spec is not None:
            first = args[0] if args else next(iter(kwargs.values()), None)
            specs.check(self.input_spec, first, self.name, self.dtype)

    _is_part = True  # whether `Model.layers` lists it
    _in_loss = False  # whether a `compute_loss` is running on arrays
    _defers = False  # whether its outputs may be steps that wait for somebody to need them

    python_step = False
    """Set True in a class whose `call` is to get arrays, without a try with symbolic tensors."""

    # -- calls ---------------------------------------------------------------------------------

    @of_package
    def call(self, inputs, *args, **kwargs):
        """What the layer makes of its inputs: by default what `lower` emits.

        A layer of one's own that defines it gets symbolic tensors, in the structure in which it is
        called on them; `training=` is passed where the definition takes it.
        """
        leaf = tree.leaves(inputs)[0]
        if isinstance(leaf, PlanTensor):
            return self._lowered(leaf.builder, inputs, kwargs.get("mask"))
        if not isinstance(leaf, KerasTensor):
            return self._call_on_arrays((inputs,), kwargs)
        shapes = self.compute_output_shape(tree.map_leaves(lambda t: t.shape, inputs))
        dtype = self._output_dtype or self.dtype
        return map_shapes(lambda shape: KerasTensor(shape, dtype, "output"), shapes)

    def __call__(self, *args, **kwargs):
        """The layer applied to symbolic tensors, which gives such, or to arrays, which gives these.

        Parameters
        ----------
        *args, **kwargs
            As `call` takes them.  `training` says whether layers behave as in training, `mask` is
            that of the input, where it has none of its own.

        Raises
        ------
        ValueError, TypeError
            If shapes or dtypes don't fit.
        """
        leaf = next((leaf for leaf in tree.leaves([list(args), kwargs])
                     if isinstance(leaf, KerasTensor)), None)
        if leaf is None:
            return self._call_on_arrays(args, kwargs)
        training = self._asked_training(kwargs)
        if isinstance(leaf, PlanTensor):
            return self._emitted(leaf.builder, args, kwargs, training)
        self._check_inputs(args, kwargs)
        if not self.built:
            self._build_for(args, kwargs)
            self._check_inputs(args, kwargs)  # against what `build` says of them
        outputs = self._masked(
            args, kwargs, lambda kwargs: self._traced(args, kwargs, bool(training)))
        if tensors.recording():
            if training is not None:
                kwargs = {**kwargs, "training": training}
            Node(self, args, kwargs, outputs)
        return outputs

    @property
    def _composes(self) -> bool:
        """Whether the layer says by its `call` what it is made of."""
        return type(self).call is not Layer.call

    def _asked_training(self, kwargs):
        """Take `training` out of the arguments."""
        return kwargs.pop("training", None)

    @property
    def _takes_mask(self) -> bool:
        return "mask" in _parameters(type(self).call if self._composes else type(self).lower)

    def _masked(self, args, kwargs, function):
        """The outputs ``function(kwargs)``, with their masks.

        The function gets a mask among its arguments where the layer takes one.
        """
        first = args[0] if args else next(iter(kwargs.values()), None)
        kwargs = dict(kwargs)
        mask = kwargs.pop("mask", None)
        if any(not isinstance(m, KerasTensor) for m in tree.leaves(mask) if m is not None):
            raise ValueError(
                f"Argument `mask` of a call of {self.name!r} must be a mask as `compute_mask` "
                f"gives it, or None. Received: {mask!r}"
            )
        if mask is None:
            mask = tree.map_leaves(lambda t: getattr(t, "_keras_mask", None), first)
        given = any(m is not None for m in tree.leaves(mask))
        if given and self._takes_mask:
            kwargs["mask"] = mask
        outputs = function(kwargs)
        found = [t for t in tree.leaves(outputs) if isinstance(t, KerasTensor)]
        if all(t._keras_mask is not None for t in found):
            return outputs
        if self.supports_masking:
            masks = self.compute_mask(first, mask)
            masks = [] if masks is None else tree.leaves(masks)
            for tensor, one in zip(found, masks, strict=False):
                if tensor._keras_mask is None:
                    tensor._keras_mask = one
        elif given and self._loses_masks and not isinstance(found[0], PlanTensor):
            warnings.warn(
                f"Layer {self.name!r} of type {type(self).__name__} was given a mask and does not "
                "support masking: layers behind it don't see the mask", stacklevel=4)
        return outputs

    def _invoked(self, args, kwargs, training):
        """What `call` returns, whose own calls of layers leave no nodes behind."""
        if self._composes and "training" in _parameters(type(self).call):
            kwargs = {**kwargs, "training": training}
        leaf = next(t for t in tree.leaves([list(args), kwargs]) if isinstance(t, KerasTensor))
        before = leaf.builder.mark() if isinstance(leaf, PlanTensor) else None
        with tensors.unrecorded():
            if not self.python_step:
                try:
                    with tracing.following(self._tracer(leaf)):
                        return tree.map_leaves(tracing.symbolic, self.call(*args, **kwargs))
                except SymbolicError:
                    if not self._foreign:
                        raise
                    if before is not None:
                        leaf.builder.rewind(before)
            from .python_steps import step_of_layer

            return step_of_layer(self, args, kwargs)

    @property
    def _foreign(self) -> bool:
        """Whether its `call` is not of this package."""
        return not hasattr(type(self).call, "of_package")

    def _tracer(self, leaf):
        """Who follows the layer's own `call`; nobody what this package's layers do."""
        if not self._foreign:
            return None
        from .deferred import Tracer

        return Tracer(leaf, refuses=hasattr(self, "backward"))

    def _build_for(self, args, kwargs=None):
        """Build for the shapes and the dtype of symbolic tensors, where that has not been done."""
        if self.built:
            return
        with tracing.following(None):
            self._build_now(args, kwargs)

    def _build_now(self, args, kwargs):
        first = args[0] if args else next(iter(kwargs.values()))
        found = [leaf for leaf in tree.leaves(first) if isinstance(leaf, KerasTensor)]
        dtype = next((t.dtype for t in found if t.dtype in ("float32", "float64")), None)
        dtype = dtype or self._fixed_dtype or config.floatx()
        self._check_dtype(dtype)
        self._adopt_dtype(dtype)
        self.build(tree.map_leaves(lambda t: getattr(t, "shape", None), first))
        self.built = True
        self._trace_training(args, kwargs)

    def _trace_training(self, args, kwargs=None):
        """Have the layers built that `call` uses in training alone."""
        if self._composes and "training" in _parameters(type(self).call):
            self._traced(args, kwargs or {}, True)

    def _traced(self, args, kwargs, training):
        """New symbolic tensors of the shapes that the layer makes of symbolic ones."""
        def fresh(t):
            tensor = KerasTensor(t.shape, t.dtype)
            tensor._keras_mask = t._keras_mask
            return tensor

        return tree.map_leaves(fresh, self._invoked(args, kwargs, training))

    def _emitted(self, builder, args, kwargs, training):
        """Tensors of the buffers that the layer's operations write."""
        first, before = len(builder.buffers), builder.training
        if training is not None:
            builder.training = bool(training)
        try:
            result = self._masked(
                args, kwargs, lambda kwargs: self._invoked(args, kwargs, builder.training))
        finally:
            builder.training = before
        if not self._defers:
            for leaf in tree.leaves(result):
                if not getattr(leaf, "by_rows", True):
                    continue  # a number, say, which others make something of
                if self.activity_regularizer is not None:
                    _penalize_activity(self.activity_regularizer, leaf)
                builder.layer_output(leaf.buffer, self.name)
        for buffer in builder.buffers[first:]:
            builder.owners.setdefault(buffer.name, self.name)
        return result

    def _lowered(self, builder, inputs, mask=None):
        """`lower` for tensors of a plan."""
        def seen(t):  # as samples of the tensor's shape, whatever made the buffer
            shape = t.shape[1:] or (1,)  # a column of shape (rows,)
            same = builder.shape(t.buffer) == shape
            return t.buffer if same else builder.view(t.buffer, shape)

        buffers = tree.map_leaves(seen, inputs)
        shapes = self.compute_output_shape(tree.map_leaves(lambda t: t.shape, inputs))
        more = {} if mask is None else {"mask": tree.map_leaves(seen, mask)}
        result = iter(tree.leaves(self.lower(builder, buffers, **more)))
        dtype = self._output_dtype or builder.dtype
        return map_shapes(lambda shape: PlanTensor(shape, dtype, builder, next(result)), shapes)

    def _call_on_arrays(self, args, kwargs):
        from .eager import call_on_arrays

        return call_on_arrays(self, args, kwargs)

    # -- what calls left behind ----------------------------------------------------------------

    def _first_node(self) -> Node:
        if not self._inbound_nodes:
            raise AttributeError(
                f"Layer {self.name!r} has no symbolic input and output before it is called on a "
                "symbolic tensor, as `fusedmlp.Input` makes one, or is part of a built model"
            )
        return self._inbound_nodes[0]

    @property
    def input(self):
        """The symbolic tensor (or structure) of the first call; AttributeError before it."""
        node = self._first_node()
        if node.is_input:
            return node.outputs
        return node.args[0] if len(node.args) == 1 else list(node.input_tensors)

    @property
    def output(self):
        """The symbolic tensor (or structure) that the first call gave; AttributeError before it."""
        return self._first_node().outputs

    def add_weight(self, shape=None, initializer=None, dtype=None, trainable: bool = True,
                   autocast: bool = True, regularizer=None, constraint=None,
                   aggregation: str | None = "none", overwrite_with_gradient: bool = False,
                   name: str | None = None) -> Variable:
        """Create a variable of the layer; for use in `build` or `__init__`.

        Parameters
        ----------
        shape : tuple of int, optional
            Of any number of axes; () by default, a number.
        initializer : str, dict or callable, optional
            See `fusedmlp.initializers.get`; "glorot_uniform" by default, "zeros" for integers.
        dtype : str, optional
            The layer's by default; else a type of integers or "bool", see `fusedmlp.Variable`.
        trainable : bool
        autocast, aggregation, overwrite_with_gradient
            There for scripts written for Keras.
        regularizer, constraint : str, dict or object, optional
            See `fusedmlp.regularizers` and `fusedmlp.constraints`; for what training updates.
        name : str, optional

        Raises
        ------
        ValueError
            If the initializer gives another shape, or the dtype is another floating-point type than
            the layer's.

        Examples
        --------
        >>> import numpy as np
        >>> import fusedmlp as fm
        >>> class Softened(fm.layers.Layer):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.temperature = self.add_weight(initializer="ones")
        ...     def call(self, logits):
        ...         return fm.ops.softmax(logits / self.temperature)
        >>> layer = Softened()
        >>> layer.temperature.assign(0.5)
        >>> layer(np.log([[1.0, 3.0]])).round(3)
        array([[0.1, 0.9]], dtype=float32)
        """
        if isinstance(shape, str):
            raise ValueError(
                "Argument `name` of `add_weight` must be given by its name, and a shape first. "
                f"Received: shape={shape!r}"
            )
        discrete = dtype is not None and np.dtype(dtype).kind in "iub"
        if dtype is not None and not discrete and float_dtype(dtype) != self.dtype:
            raise ValueError(
                f"Argument `dtype` must be that of layer {self.name!r}, {self.dtype!r}, or one of "
                f"integers. Received: {dtype!r}"
            )
        shape, name = () if shape is None else tuple(shape), name or "variable"
        if initializer is None:
            initializer = "zeros" if discrete else "glorot_uniform"
        value = np.asarray(initializers.get(initializer)(shape, dtype=self.dtype))
        if value.shape != shape:
            raise ValueError(
                f"Argument `initializer` of {name!r} must give values of shape {shape}. "
                f"Received: values of shape {value.shape} from {initializer!r}"
            )
        variable = Variable(value, dtype=dtype or self.dtype, trainable=trainable, name=name)
        variable.path = f"{self.name}/{name}"
        variable.regularizer = regularizers.get(regularizer)
        variable.constraint = constraints.get(constraint)
        self._variables.append(variable)
        return variable

    def parameter(self, builder: Builder, variable: Variable) -> int:
        """The buffer of one of the layer's variables; for use in `lower`."""
        return lower_variable(builder, variable, f"{self.name}.{variable.name}")

    def _check_columns(self, input_shape) -> int:
        """Last axis of the input, which must not differ from the one that was built for."""
        columns = axes_shape(input_shape, f"layer {self.name!r}")[-1]
        if self.built and self._input_columns not in (None, columns):
            raise ValueError(
                f"Layer {self.name!r} was built for inputs of shape "
                f"{'(None, ' if len(input_shape) == 2 else '(None, ..., '}{self._input_columns}). "
                f"Received: input shape {tuple(input_shape)}"
            )
        return columns

    @property
    def losses(self) -> list[float]:
        """What is added to the loss.

        First the penalties of the weights as they are now, one for each that has a regularizer,
        then what the latest call on arrays added, `add_loss` and penalties of outputs.  Empty
        within a `compute_loss`, to whose result all of this is added.
        """
        if tracing.current() is not None:
            tracing.current().counts_losses = True
            return []
        if self._in_loss:
            return []
        return [float(v.regularizer(v.value)) for v in self.variables
                if v.regularizer is not None] + self._called_losses

    def add_loss(self, loss) -> None:
        """Add to what training minimises; for use in `call`.

        Parameters
        ----------
        loss : symbolic tensor, or list of such
            Made of the input, of what layers give and of weights, by arithmetic and
            `fusedmlp.ops`; the sum over its elements counts.  Its gradient is that of the
            functions it is made of.

        Raises
        ------
        ValueError
            Outside of `call`, or if it is no tensor.

        Examples
        --------
        >>> import numpy as np
        >>> import fusedmlp as fm
        >>> class Small(fm.layers.Layer):
        ...     def call(self, x):
        ...         self.add_loss(0.1 * fm.ops.mean(fm.ops.square(x)))
        ...         return x
        >>> model = fm.Sequential([fm.Input((2,)), Small()])
        >>> model.compile("sgd", "mse")
        >>> round(model.evaluate(np.ones((4, 2)), np.ones((4, 2)), verbose=0), 6)
        0.1
        """
        for part in tree.leaves(loss):
            if isinstance(part, Variable) and tracing.current() is not None:
                part = tracing.current().call(np.positive, (part,), {})
            if tracing.current() is None or not isinstance(part, KerasTensor):
                raise ValueError(
                    f"`add_loss()` of {self.name!r} can be called within `call()` alone, with a "
                    "tensor that is made of the layer's input or its weights by arithmetic and "
                    f"`fusedmlp.ops`. Received: {part!r} of type {type(part).__name__}"
                )
            if isinstance(part, PlanTensor):
                from .deferred import add_to_loss

                add_to_loss(part)

    def add_metric(self, *args, **kwargs) -> None:
        """Refused, as Keras 3 refuses it: metrics are given to `compile`.

        Raises
        ------
        NotImplementedError
        """
        raise NotImplementedError(
            f"Layer {self.name!r} has no metrics of its own: give `compile` the argument "
            f"`metrics`. Received: add_metric(*{args!r}, **{kwargs!r})"
        )

    @property
    def _fixed_dtype(self) -> str | None:
        """The dtype that it was given, or its variables have; None if it can take any."""
        found = (self._asked_dtype, *(v.required_dtype for v in self._own_variables),
                 *(layer._fixed_dtype for layer in self._sublayers))
        return next((dtype for dtype in found if dtype), None)

    def _check_dtype(self, dtype: str) -> None:
        """ValueError if the layer can't take the model's dtype."""
        for layer in self._sublayers:
            layer._check_dtype(dtype)
        if self._sublayers:
            return
        if self._fixed_dtype not in (None, dtype):
            raise ValueError(
                f"All layers of a model must have one dtype, here {dtype!r}. "
                f"Received: layer {self.name!r} with dtype {self._fixed_dtype!r}"
            )

    def _adopt_dtype(self, dtype: str) -> None:
        """Take the model's dtype, which has been checked."""
        self._dtype = dtype
        for layer in self._sublayers:
            layer._adopt_dtype(dtype)

    @property
    def dtype(self) -> str:
        """"float32" or "float64": what variables lie in and arrays come out in."""
        return self._dtype or config.floatx()

    @property
    def variable_dtype(self) -> str:
        """The same as `dtype`."""
        return self.dtype

    @property
    def compute_dtype(self) -> str:
        """The dtype of the factors of products; "bfloat16" with the policy "mixed_bfloat16"."""
        return self.dtype_policy.compute_dtype

    @property
    def dtype_policy(self) -> DTypePolicy:
        """The policy that it was given, else that of its dtype."""
        return self._policy or DTypePolicy(self.dtype)

    @property
    def differs_in_training(self) -> bool:
        """Whether training computes something else than prediction."""
        if self._composes and self._foreign and "training" in _parameters(type(self).call):
            return True
        return any(layer.differs_in_training for layer in self._sublayers)

    @property
    def trainable(self) -> bool:
        """Whether training updates the layer's variables."""
        return self._trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        self._trainable = bool(value)
        for layer in self._sublayers:
            layer.trainable = value

    @property
    def _sublayers(self) -> list[Layer]:
        """Layers that are attributes of this one, also within lists and dicts, each once."""
        found: dict[int, Layer] = {}
        for value in self._holders():
            _collect(value, found, Layer)
        return list(found.values())

    # Attributes of the base classes, in which no layers are looked for.
    _internal = frozenset(("_inbound_nodes", "_eager", "_called_losses", "_front", "_variables",
                           "_made_with"))

    def __setattr__(self, name, value):
        if type(value) not in _PLAIN and name not in self._internal and (
                isinstance(value, _HOLDERS) or hasattr(type(value), "reset_state")):
            vars(self).setdefault("_holding", set()).add(name)
            changes[0] += 1
        super().__setattr__(name, value)

    def _holders(self):
        """The attributes that are layers, variables or metrics, or may hold some."""
        attributes = vars(self)
        holding = attributes.get("_holding", ())  # names, also those that don't hold any more
        return [value for name, value in attributes.items() if name in holding]

    @property
    def _own_variables(self) -> list[Variable]:
        """The layer's own: those that `add_weight` made, and those that are attributes of it, also
        within lists and dicts; what can be trained comes first."""
        found = {id(v): v for v in self._variables}
        others: dict[int, Variable] = {}
        for value in self._holders():
            _collect(value, others, Variable)
        if others.keys() - found.keys():  # a layer around another one may name its variables
            inner = {id(v) for layer in self._sublayers for v in layer.variables}
            found.update((key, v) for key, v in others.items() if key not in inner)
        return sorted(found.values(), key=lambda v: not v.trainable)

    def _all_metrics(self) -> list:
        """The metrics that are attributes of the layer, and those of the layers that it is made of.
        """
        before, known = vars(self).get("_known_metrics", (None, None))
        if before == changes[0]:
            return known
        from ..metrics import Metric

        found: dict = {}
        if self._add_metrics(found, Metric):
            vars(self)["_known_metrics"] = changes[0], list(found.values())
        return list(found.values())

    def _add_metrics(self, found, kind):
        """Put all metrics into `found`; whether none can come without an attribute being set."""
        known = True
        for value in self._holders():
            known = known and not isinstance(value, (list, dict))
            if type(value) is not Variable:
                _collect(value, found, kind)
        for layer in self._sublayers:
            known = layer._add_metrics(found, kind) and known
        return known

    @property
    def metrics(self) -> list:
        """The metrics that are attributes of the layer or of one that it is made of.

        What a `call` updates them by is reported by `fit` and `evaluate`, and begins anew with each
        epoch.
        """
        return self._all_metrics()

    @property
    def variables(self) -> list[Variable]:
        """All variables: the layer's own, those first that can be trained, then those of the
        layers that it is made of."""
        found = {id(v): v for v in self._own_variables}
        for layer in self._sublayers:
            found.update((id(v), v) for v in layer.variables)
        return list(found.values())

    @property
    def weights(self) -> list[Variable]:
        """The same as `variables`."""
        return self.variables

    @property
    def trainable_variables(self) -> list[Variable]:
        """The variables that training updates."""
        if not self._trainable:
            return []
        found = {id(v): v for v in self._own_variables if v.trainable}
        for layer in self._sublayers:
            found.update((id(v), v) for v in layer.trainable_variables)
        return list(found.values())

    @property
    def trainable_weights(self) -> list[Variable]:
        """The same as `trainable_variables`."""
        return self.trainable_variables

    @property
    def non_trainable_variables(self) -> list[Variable]:
        """The variables that training leaves alone."""
        trained = {id(v) for v in self.trainable_variables}
        return [v for v in self.variables if id(v) not in trained]

    @property
    def non_trainable_weights(self) -> list[Variable]:
        """The same as `non_trainable_variables`."""
        return self.non_trainable_variables

    def count_params(self) -> int:
        """Number of elements of all variables; ValueError before the layer is built."""
        if not self.built:
            raise ValueError(
                f"Layer {self.name!r} has no parameters to count before it is built: call "
                "`build(input_shape)`, or give the model an Input"
            )
        return sum(v.size for v in self.variables)

    def get_weights(self) -> list[np.ndarray]:
        """Copies of all variables, in the order of `weights`."""
        return [v.numpy() for v in self.variables]

    def set_weights(self, weights) -> None:
        """Overwrite all variables.

        Parameters
        ----------
        weights : sequence of array_like
            Number, order and shapes as `get_weights` gives them.

        Raises
        ------
        ValueError
            If they differ; nothing is changed then.
        """
        variables = self.variables
        arrays = [np.asarray(w) for w in weights]
        if len(arrays) != len(variables):
            raise ValueError(
                f"Argument `weights` must hold {len(variables)} arrays for {self.name!r}. "
                f"Received: {len(arrays)} arrays"
            )
        for variable, array in zip(variables, arrays, strict=True):
            if array.shape != variable.shape or array.dtype.kind not in "fiub":
                raise ValueError(
                    f"Argument `weights` must hold numbers of shape {variable.shape} for "
                    f"{variable.path!r}. Received: dtype {array.dtype}, shape {array.shape}"
                )
        for variable, array in zip(variables, arrays, strict=True):
            variable.assign(array)

    # -- description ---------------------------------------------------------------------------

    def get_config(self) -> dict[str, Any]:
        """Keyword arguments that make an equal layer, without its weights.

        A class of one's own that does not define it is described by the arguments that it was made
        with, where all of them are numbers, strings, None, or lists, tuples and dicts of these.

        Raises
        ------
        NotImplementedError
            If one of them is something else.
        """
        result = {"name": self.name, "trainable": self._trainable,
                  "dtype": None if self._dtype is None else self.dtype_policy.name}
        if self._input_shape_arg is not None:
            result["input_shape"] = self._input_shape_arg
        if self.activity_regularizer is not None:
            result["activity_regularizer"] = regularizers.serialize(self.activity_regularizer)
        if type(self).get_config is Layer.get_config and _is_own(type(self)):
            if self._made_with is None:
                raise NotImplementedError(
                    f"{type(self).__name__} was made with arguments that are not numbers, strings, "
                    "None, or lists, tuples and dicts of these: it must define `get_config`, which "
                    "returns the arguments of `__init__`"
                )
            result = {**self._made_with, **result}
            known = _parameters(type(self).__init__)
            if not _takes_any(type(self).__init__):
                result = {name: value for name, value in result.items() if name in known}
        return result

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Layer:
        """A layer from what `get_config` returned."""
        return cls(**config)

    def __repr__(self):
        return f"<{type(self).__name__} name={self.name}, built={self.built}>"

    # Copies and pickles take no part in the graphs that the original was called in.
    def __getstate__(self):
        state = {**self.__dict__, "_inbound_nodes": [], "_eager": {}}
        state.pop("_known_metrics", None)
        return state


def lower_variable(builder: Builder, variable: Variable, name: str | None = None) -> int:
    """The buffer of a variable, with its regularizer and constraint where training updates it."""
    if builder.arena is not None and variable.arena is not builder.arena:
        raise SymbolicError(
            f"The variable {variable.path!r} is of no layer that is an attribute of the model, so "
            "that a plan can't read it"
        )
    index = builder.parameter(name or variable.path.replace("/", "."), variable.matrix_shape,
                              variable.offset, variable.pitch, variable.updated)
    if variable.updated and variable.regularizer is not None:
        _penalize(builder, variable, index)
    if variable.updated and variable.constraint is not None:
        variable.constraint.lower(builder, index, variable.ndim)
    return index


def _penalize(builder, variable, index):
    """Add the penalty of a variable, once, to the loss of a plan."""
    regularizer = variable.regularizer
    if not regularizers.is_own(regularizer):
        regularizer.lower(builder, index)
    elif builder.first_time(index, id(regularizer)):
        from .deferred import Tracer, add_to_loss

        tracer = Tracer(builder=builder)
        with tracing.following(tracer):
            add_to_loss(_penalty(regularizer, tracer.call(np.positive, (variable,), {})))


def _penalize_activity(regularizer, y):
    """Add the penalty of a layer's output, divided by the rows of the batch, to a plan's loss."""
    if not regularizers.is_own(regularizer):
        regularizer.lower_activity(y.builder, y.buffer)
        return
    from .deferred import Tracer, add_to_loss

    with tracing.following(Tracer(y)):
        add_to_loss(_penalty(regularizer, y), by_sample=True)


def _penalty(regularizer, x):
    """What a regularizer of one's own makes of a symbolic tensor."""
    try:
        found = regularizer(x)
    except SymbolicError as error:
        raise TypeError(
            "A regularizer must be made of arithmetic and functions of `fusedmlp.ops`, which can "
            f"be differentiated. Received: {regularizer!r} ({error})"
        ) from None
    if not isinstance(found, PlanTensor):
        raise TypeError(
            "A regularizer must return a tensor that is made of its argument by arithmetic and "
            f"functions of `fusedmlp.ops`. Received: {found!r} from {regularizer!r}"
        )
    return found


# What most attributes are, and what can be a layer or a variable or hold some.
_PLAIN = frozenset((bool, int, float, str, type(None), types.FunctionType))
_HOLDERS = (Layer, Variable, list, tuple, dict)


def _collect(value, found, kind):
    """Put what is of a kind within a value into `found`, by its identity."""
    if isinstance(value, kind):
        found.setdefault(id(value), value)
    elif isinstance(value, (list, tuple)):
        for part in value:
            _collect(part, found, kind)
    elif isinstance(value, dict):
        for part in value.values():
            _collect(part, found, kind)


@functools.cache
def _parameters(function):
    return frozenset(inspect.signature(function).parameters)


@functools.cache
def _takes_any(function):
    """Whether a function has ``**kwargs``."""
    return any(p.kind is p.VAR_KEYWORD for p in inspect.signature(function).parameters.values())


@functools.cache
def _is_own(cls):
    """Whether a class is not of this package."""
    return not cls.__module__.startswith(f"{__name__.partition('.')[0]}.")


def _plain_arguments(cls, args, kwargs):
    """The arguments that a layer of one's own is made with, by name; None if some are no data."""
    if not _is_own(cls):
        return None
    try:
        given = inspect.signature(cls.__init__).bind_partial(None, *args, **kwargs)
    except TypeError:  # which `__init__` is about to say
        return None
    found = {}
    for name, value in list(given.arguments.items())[1:]:
        kind = given.signature.parameters[name].kind
        found.update(value if kind is inspect.Parameter.VAR_KEYWORD else {name: value})
    plain = all(isinstance(part, (str, int, float, type(None))) for part in tree.leaves(found))
    return found if plain else None


def is_shape(value) -> bool:
    """Whether it is one shape, rather than a structure of shapes.

    >>> is_shape((None, 3)), is_shape([(None, 3), (None, 4)])
    (True, False)
    """
    return isinstance(value, (tuple, list)) and all(
        extent is None or isinstance(extent, (int, np.integer)) for extent in value)


def map_shapes(function, shapes):
    """A structure of shapes with `function` applied to each.

    >>> map_shapes(len, {"a": (None, 3), "b": [(None, 3, 4)]})
    {'a': 2, 'b': [3]}
    """
    if is_shape(shapes):
        return function(tuple(shapes))
    if isinstance(shapes, dict):
        done = {key: map_shapes(function, shapes[key]) for key in sorted(shapes)}
        return {key: done[key] for key in shapes}
    return type(shapes)(map_shapes(function, shape) for shape in shapes)


def _unknown_keywords(cls, unknown):
    """The text of the error for keyword arguments that a layer does not have."""
    known = [
        p.name for c in cls.__mro__ if "__init__" in vars(c) and c is not object
        for p in inspect.signature(c.__init__).parameters.values()
        if p.name != "self" and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)
    ]
    return f"{cls.__name__}: {spec.nearest(next(iter(unknown)), known, 'keyword argument')}"


def sample_shape(shape, argument: str = "shape") -> tuple[int, ...]:
    """The shape of one sample, (columns,) or of more axes; ValueError if it is no such tuple.

    >>> sample_shape([64])
    (64,)
    """
    try:
        extents = tuple(checks.integer(extent, argument, 1) for extent in shape)
    except (TypeError, ValueError):
        extents = ()
    if not extents:
        raise ValueError(
            f"Argument `{argument}` must be the shape of one sample, a tuple of positive "
            f"integers such as (64,). Received: {shape!r}"
        )
    return extents


def described(layer, module, *names) -> dict[str, Any]:
    """Attributes of a layer as config dicts, by `serialize` of their module; None stays None."""
    found = {name: getattr(layer, name) for name in names}
    return {name: None if value is None else module.serialize(value)
            for name, value in found.items()}


def axes_shape(shape, where: str) -> tuple:
    """The shape of a batch, (None, ...) with one or more axes behind; ValueError if it is none.

    >>> axes_shape((32, 3, 64), "here")
    (None, 3, 64)
    """
    try:
        rows, *axes = shape
        axes = tuple(checks.integer(extent, "input_shape", 1) for extent in axes)
        if rows is not None:
            checks.integer(rows, "input_shape", 1)
    except (TypeError, ValueError):
        axes = ()
    if not axes:
        raise ValueError(
            f"The input shape of {where} must be (None, columns) or (rows, columns) with a "
            f"positive number of columns, or have more axes between. Received: {shape!r}"
        )
    return (None, *axes)
