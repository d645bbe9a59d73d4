"""The dense layer whose product is an Einstein summation."""

from __future__ import annotations

import re
from math import prod
from typing import Any, NamedTuple

import numpy as np

from .. import activations, checks, constraints, initializers, ops, regularizers
from ..variable import Variable
from .activation import resolved
from .layer import Layer, axes_shape, described
from .tensor import KerasTensor, PlanTensor

__all__ = ["EinsumDense"]

_FORM = re.compile(r"(\.\.\.)?([a-zA-Z]+)(\.\.\.)?,([a-zA-Z]+)->(\.\.\.)?([a-zA-Z]+)(\.\.\.)?")


class _Shapes(NamedTuple):
    """What an equation means for inputs of one shape; axes that "..." stands for are numbers."""

    inputs: tuple
    kernel: tuple
    outputs: tuple
    sizes: dict
    bias: tuple | None

    def of(self, labels):
        return tuple(self.sizes[label] for label in labels)


class EinsumDense(Layer):
    """Sums products of inputs and weights over any axes: ``activation(einsum + bias)``.

    What is a matrix product but for the order of the axes is computed as that of `Dense` is; other
    equations are steps in Python within the plan.

    Parameters
    ----------
    equation : str
        As `numpy.einsum` takes it, of the inputs and the kernel: ``ab,bc->ac``, or with the axes
        that stay as they are left out, ``...a,ab->...b`` or ``ab...,bc->ac...``.  The first axis of
        inputs and outputs is that of the rows.
    output_shape : int or tuple of int or None
        Of the axes that the equation names, but for the rows; None for one that is that of the
        inputs.
    activation : str, function, dict or None
        As `Dense` takes it.
    bias_axes : str, optional
        Axes of the output along which the bias has elements; without it there is no bias.
    kernel_initializer, bias_initializer, kernel_regularizer, bias_regularizer, kernel_constraint, \
bias_constraint
        As `Dense` takes them.
    gptq_unpacked_column_size : None
        There for configs of Keras: computation in integers is not.
    **kwargs
        What `Layer` takes.

    Attributes
    ----------
    kernel : Variable
    bias : Variable or None

    Raises
    ------
    ValueError, TypeError
        If the equation is of another form, its axes don't fit the inputs or the output shape, or
        another argument is none of these.

    References
    ----------
    Keras 3, keras.layers.EinsumDense.

    Examples
    --------
    >>> import fusedmlp as fm
    >>> layer = fm.layers.EinsumDense("abc,cd->abd", output_shape=(None, 64), bias_axes="d")
    >>> layer(fm.Input((32, 128))).shape
    (None, 32, 64)
    >>> layer.kernel.shape, layer.bias.shape
    ((128, 64), (64,))
    """

    def __init__(self, equation: str, output_shape, activation=None, bias_axes: str | None = None,
                 kernel_initializer="glorot_uniform", bias_initializer="zeros",
                 kernel_regularizer=None, bias_regularizer=None, kernel_constraint=None,
                 bias_constraint=None, gptq_unpacked_column_size=None, **kwargs):
        if gptq_unpacked_column_size is not None:
            raise ValueError(
                "Argument `gptq_unpacked_column_size` must be None. "
                f"Received: {gptq_unpacked_column_size!r}"
            )
        self.equation, self._parts = equation, _parsed(equation)
        resolved(activation)
        super().__init__(**kwargs)
        shape = output_shape if isinstance(output_shape, (tuple, list)) else (output_shape,)
        self.partial_output_shape = tuple(
            None if n is None else checks.integer(n, "output_shape", 1) for n in shape)
        self.bias_axes = bias_axes
        self.activation = activations.get(activation)
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self.bias_regularizer = regularizers.get(bias_regularizer)
        self.kernel_constraint = constraints.get(kernel_constraint)
        self.bias_constraint = constraints.get(bias_constraint)
        self._kernel: Variable | None = None
        self.bias: Variable | None = None

    @property
    def kernel(self) -> Variable:
        """The weights; AttributeError before the layer is built."""
        if self._kernel is None:
            raise AttributeError(
                f"Layer {self.name!r} has no kernel before it is built: call "
                "`build(input_shape)`, or give the model an Input"
            )
        return self._kernel

    def _shapes(self, input_shape) -> _Shapes:
        shape = axes_shape(input_shape, f"layer {self.name!r}")
        before, inputs, behind, kernel, outputs = self._parts
        elided = len(shape) - len(inputs)
        if elided < 0 or (elided and not (before or behind)) or (before and not elided):
            raise ValueError(
                f"The input of {self.name!r} must have the axes of its equation {self.equation!r}. "
                f"Received: input shape {tuple(input_shape)}"
            )
        others = tuple(range(elided))
        ins = (*others, *inputs) if before else (*inputs, *others)
        outs = (*others, *outputs) if before else (*outputs, *others)
        sizes = dict(zip(ins, shape, strict=True))
        rows = ins[0]
        if outs[0] != rows or rows in kernel:
            raise ValueError(
                f"Argument `equation` of {self.name!r} must have the rows as first axis of inputs "
                f"and outputs, and not of the kernel. Received: {self.equation!r}"
            )
        named = [label for label in outputs if label != rows]
        if len(named) != len(self.partial_output_shape):
            raise ValueError(
                f"Argument `output_shape` of {self.name!r} must have an element for each of the "
                f"axes {', '.join(named)}. Received: {self.partial_output_shape}"
            )
        for label, size in zip(named, self.partial_output_shape, strict=True):
            known = sizes.setdefault(label, size)
            if known is None or size not in (None, known):
                raise ValueError(
                    f"Argument `output_shape` of {self.name!r} must say the length of axis "
                    f"{label!r}{'' if known is None else f', {known} as in the input, or None'}. "
                    f"Received: {size}"
                )
        unknown = [label for label in kernel if label not in sizes]
        nowhere = [label for label in outputs if label not in (*inputs, *kernel)]
        if unknown or nowhere:
            raise ValueError(
                f"Each axis of the kernel in {self.equation!r} must be one of the inputs or the "
                "outputs, and each of the outputs one of the inputs or the kernel. "
                f"Received: {(unknown or nowhere)[0]!r}"
            )
        bias = None
        if self.bias_axes is not None:
            wrong = [label for label in self.bias_axes if label not in named]
            if wrong or not self.bias_axes:
                raise ValueError(
                    f"Argument `bias_axes` of {self.name!r} must hold axes of the output, "
                    f"{', '.join(named)}. Received: {self.bias_axes!r}"
                )
            first = min(map(outs.index, self.bias_axes))
            bias = tuple(sizes[label] if label in tuple(self.bias_axes) else 1
                         for label in outs[first:])
        return _Shapes(ins, kernel, outs, sizes, bias)

    def build(self, input_shape):
        found = self._shapes(input_shape)
        initializer = self.kernel_initializer
        if isinstance(initializer, initializers.VarianceScaling) and (
                initializer.input_axes is None and initializer.output_axes is None):
            told = [i for i, label in enumerate(found.kernel) if label in found.outputs]
            initializer = type(initializer).from_config({
                **initializer.get_config(), "seed": initializer.seed, "output_axes": told,
                "input_axes": [i for i in range(len(found.kernel)) if i not in told]})
        self._kernel = self.add_weight(found.of(found.kernel), initializer, name="kernel",
                                       regularizer=self.kernel_regularizer,
                                       constraint=self.kernel_constraint)
        if found.bias is not None:
            self.bias = self.add_weight(found.bias, self.bias_initializer, name="bias",
                                        regularizer=self.bias_regularizer,
                                        constraint=self.bias_constraint)
        self.built = True

    def call(self, inputs):
        found = self._shapes(inputs.shape)
        summed = [label for label in found.kernel if label in found.inputs]
        product = (  # of a matrix, whose columns are the kernel's last axis
            found.kernel[:-1] == tuple(summed)
            and not set(summed) & set(found.outputs)
            and all(label in summed or label in found.outputs for label in found.inputs))
        if self._kernel.shape != found.of(found.kernel):
            raise ValueError(
                f"Layer {self.name!r} was built for a kernel of shape {self._kernel.shape}. "
                f"Received: input shape {tuple(inputs.shape)}"
            )
        y = self._product(inputs, found, summed) if product else ops.einsum(
            self.equation, inputs, self._kernel)
        if self.bias is not None and not (product and self._has_plain_bias(found)):
            y = y + self.bias
        return y if self.activation is None else self.activation(y)

    def _has_plain_bias(self, found):
        """Whether the bias is that of a matrix product."""
        return found.outputs[-1] == found.kernel[-1] == self.bias_axes

    def _product(self, inputs, found, summed):
        """The sum as a product, axes being brought in order before and behind it."""
        if not isinstance(inputs, PlanTensor):
            return KerasTensor((None, *found.of(found.outputs[1:])), inputs.dtype)
        builder, last = inputs.builder, found.kernel[-1]
        kept = [label for label in found.outputs[1:] if label != last]
        x = _ordered(builder, inputs.buffer, found, found.inputs[1:], (*kept, *summed), self.name)
        x = builder.view(x, (*found.of(kept), prod(found.of(summed))))
        bias = self.parameter(builder, self.bias) if self._has_plain_bias(found) else None
        y = builder.dense(x, self.parameter(builder, self._kernel), bias, name=self.name,
                          precision="bfloat16" if self.compute_dtype == "bfloat16" else None)
        y = _ordered(builder, y, found, (*kept, last), found.outputs[1:], self.name)
        return PlanTensor((None, *found.of(found.outputs[1:])), inputs.dtype, builder, y)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(), "equation": self.equation,
            "output_shape": list(self.partial_output_shape),
            "activation": activations.serialize(self.activation), "bias_axes": self.bias_axes,
            **described(self, initializers, "kernel_initializer", "bias_initializer"),
            **described(self, regularizers, "kernel_regularizer", "bias_regularizer"),
            **described(self, constraints, "kernel_constraint", "bias_constraint"),
        }


def _parsed(equation):
    """Whether "..." is in front and behind, and the labels of inputs, kernel and outputs.

    >>> _parsed("...x,xy->...y")
    (True, ('x',), False, ('x', 'y'), ('y',))
    """
    match = _FORM.fullmatch(equation.replace(" ", "")) if isinstance(equation, str) else None
    if match is not None:
        front, inputs, back, kernel, front_too, outputs, back_too = match.groups()
        labels = tuple(map(tuple, (inputs, kernel, outputs)))
        if front == front_too and back == back_too and not (front and back) and all(
                len(set(part)) == len(part) for part in labels):
            return bool(front), labels[0], bool(back), *labels[1:]
    raise ValueError(
        "Argument `equation` must have the form 'ab,bc->ac', '...a,ab->...b' or 'ab...,bc->ac...', "
        f"with each axis once in a part. Received: {equation!r}"
    )


def _ordered(builder, x, found, given, wanted, name):
    """The axes of samples in another order."""
    if tuple(given) == tuple(wanted):
        return x
    shape = found.of(given)
    order = np.arange(prod(shape)).reshape(shape).transpose([given.index(a) for a in wanted])
    return builder.take_columns(x, order.ravel().tolist(), order.shape, name=name)
