"""Layers that make one tensor of several, and their forms as functions."""

from __future__ import annotations

from functools import reduce
from typing import Any

from .layer import Layer, is_shape
from .masks import either, joined, not_equal

__all__ = [
    "Add", "Average", "Concatenate", "Dot", "Maximum", "Minimum", "Multiply", "Subtract", "add",
    "average", "concatenate", "dot", "maximum", "minimum", "multiply", "subtract",
]

_TINY = 1e-24  # square of the smallest norm that `Dot` divides by, as in Keras


def _several(layer, shapes, at_least=1, exactly=None):
    """Shapes of the inputs as a list of tuples; ValueError if it is another number of them."""
    if is_shape(shapes) or not isinstance(shapes, (list, tuple)):
        raise ValueError(
            f"Layer {layer.name!r} must be called on a list of tensors. "
            f"Received: input shape {shapes!r}"
        )
    if len(shapes) < at_least or (exactly is not None and len(shapes) != exactly):
        wanted = f"at least {at_least}" if exactly is None else f"exactly {exactly}"
        raise ValueError(
            f"Layer {layer.name!r} must be called on {wanted} tensors. "
            f"Received: {len(shapes)} of shapes {', '.join(map(str, shapes))}"
        )
    return [tuple(shape) for shape in shapes]


def joined_shape(shapes, where: str) -> tuple:
    """The shape of what is computed element by element from tensors of these shapes.

    A single column stands for as many as the others have.

    >>> joined_shape([(None, 3), (None, 1)], "here")
    (None, 3)
    """
    widest = max(shapes, key=lambda shape: (len(shape), shape[1:]))
    for shape in shapes:
        if shape[1:] != widest[1:] and shape[1:] != (1,) * (len(shape) - 1):
            raise ValueError(
                f"The tensors that {where!r} joins must have the same shape, or one column. "
                f"Received: shapes {', '.join(map(str, shapes))}"
            )
    rows = {shape[0] for shape in shapes} - {None}
    return (rows.pop() if len(rows) == 1 else None, *widest[1:])


class _Merge(Layer):
    """What the layers have in common that work element by element."""

    _supports_masking = True

    _function = ""
    _exactly: int | None = None

    def compute_output_shape(self, input_shape):
        return joined_shape(_several(self, input_shape, exactly=self._exactly), self.name)

    def compute_mask(self, inputs, mask=None):
        """What the mask of one of the inputs keeps; None where one has no mask."""
        found = [] if mask is None else list(mask)
        return either(found) if found and all(m is not None for m in found) else None

    def lower(self, builder, x):
        return reduce(lambda a, b: builder.combine(self._function, a, b, self.name), x)


class Add(_Merge):
    """The sum of tensors of one shape, element by element.

    Called on a list of symbolic tensors or arrays.  A tensor with a single column stands for one
    with as many as the others.

    Raises
    ------
    ValueError
        If it is called on something else than a list, or the shapes don't fit.

    References
    ----------
    Keras 3, keras.layers.Add.

    Examples
    --------
    >>> import fusedmlp as fm
    >>> import numpy as np
    >>> fm.layers.Add()([np.ones((1, 2)), np.array([[1.0, 2.0]])])
    array([[2., 3.]], dtype=float32)
    """

    _function = "add"


class Subtract(_Merge):
    """The first of two tensors less the second; otherwise like `Add`.

    >>> import numpy as np
    >>> Subtract()([np.ones((1, 2)), np.array([[1.0, 2.0]])])
    array([[ 0., -1.]], dtype=float32)
    """

    _function = "subtract"
    _exactly = 2


class Multiply(_Merge):
    """The product of tensors, element by element; otherwise like `Add`.

    >>> import numpy as np
    >>> Multiply()([np.full((1, 2), 3.0), np.array([[1.0, 2.0]])])
    array([[3., 6.]], dtype=float32)
    """

    _function = "multiply"


class Average(_Merge):
    """The mean of tensors, element by element; otherwise like `Add`.

    >>> import numpy as np
    >>> Average()([np.ones((1, 2)), np.array([[1.0, 2.0]])])
    array([[1. , 1.5]], dtype=float32)
    """

    _function = "add"

    def lower(self, builder, x):
        total = super().lower(builder, x)
        return total if len(x) == 1 else builder.affine(total, 1.0 / len(x), 0.0, self.name)


class Maximum(_Merge):
    """The largest of tensors, element by element; otherwise like `Add`.

    Where two are equal, each gets half of the gradient.

    >>> import numpy as np
    >>> Maximum()([np.zeros((1, 2)), np.array([[-1.0, 2.0]])])
    array([[0., 2.]], dtype=float32)
    """

    _function = "maximum"


class Minimum(_Merge):
    """The smallest of tensors, element by element; otherwise like `Maximum`.

    >>> import numpy as np
    >>> Minimum()([np.zeros((1, 2)), np.array([[-1.0, 2.0]])])
    array([[-1.,  0.]], dtype=float32)
    """

    _function = "minimum"


class Concatenate(Layer):
    """Tensors side by side.

    Parameters
    ----------
    axis : int
        Along which they are put together; their other axes must agree.  Not that of the rows.
    **kwargs
        `name`, `dtype` and `trainable`, as `Layer` takes them.

    Raises
    ------
    ValueError
        If it is called on something else than a list, or the shapes or the axis don't fit.

    References
    ----------
    Keras 3, keras.layers.Concatenate.

    Examples
    --------
    >>> import fusedmlp as fm
    >>> one, two = fm.Input((3,)), fm.Input((2,))
    >>> fm.layers.Concatenate()([one, two]).shape
    (None, 5)
    """

    _supports_masking = True

    def __init__(self, axis: int = -1, **kwargs):
        super().__init__(**kwargs)
        self.axis = axis
        self._groups = 1

    def compute_mask(self, inputs, mask=None):
        """The masks one behind the other, or what one of them keeps along the last axis; an input
        without a mask keeps all."""
        if mask is None or all(m is None for m in mask):
            return None
        masks = [not_equal(x, float("nan"), last_axis=True) if m is None else m
                 for x, m in zip(inputs, mask, strict=True)]
        axis = self._place([tuple(x.shape) for x in inputs])
        return either(masks) if axis == len(inputs[0].shape) - 1 else joined(masks, axis)

    def _place(self, shapes):
        """The axis, counted from the front."""
        rank = len(shapes[0])
        axis = self.axis + rank if self.axis < 0 else self.axis
        others = {(*shape[1:axis], "", *shape[axis + 1:]) for shape in shapes}
        if not 0 < axis < rank or len({len(s) for s in shapes}) > 1 or len(others) > 1:
            raise ValueError(
                f"Layer {self.name!r} must be called on tensors whose shapes agree but for axis "
                f"{self.axis}, which is not that of the rows. Received: shapes "
                f"{', '.join(map(str, shapes))}"
            )
        return axis

    def compute_output_shape(self, input_shape):
        shapes = _several(self, input_shape)
        axis, first = self._place(shapes), shapes[0]
        self._groups = 1
        for extent in first[1:axis]:
            self._groups *= extent
        total = sum(shape[axis] for shape in shapes)
        return (None, *first[1:axis], total, *first[axis + 1:])

    def lower(self, builder, x):
        return builder.concatenate(x, self._groups, self.name)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "axis": self.axis}


class Dot(Layer):
    """The scalar product of each row of one tensor with the same row of another.

    Parameters
    ----------
    axes : int or (int, int)
        1 or -1, the columns.
    normalize : bool
        Whether rows are first divided by their length, so that the result is their cosine.
    **kwargs
        `name`, `dtype` and `trainable`, as `Layer` takes them.

    Raises
    ------
    ValueError, TypeError
        If `axes` is none of these, or it is called on anything but two tensors of shape (None,
        columns) with equally many columns.

    References
    ----------
    Keras 3, keras.layers.Dot.

    Examples
    --------
    >>> import numpy as np
    >>> Dot(axes=1)([np.array([[1.0, 2.0]]), np.array([[3.0, 4.0]])])
    array([[11.]], dtype=float32)
    """

    _supports_masking = True

    def __init__(self, axes, normalize: bool = False, **kwargs):
        pair = axes if isinstance(axes, (list, tuple)) else (axes, axes)
        if len(pair) != 2 or not all(isinstance(axis, int) for axis in pair):
            raise TypeError(
                f"Argument `axes` must be an integer or a pair of integers. Received: {axes!r}"
            )
        if any(axis not in (1, -1) for axis in pair):
            raise ValueError(
                "Argument `axes` must be 1 or -1, the columns of tensors of shape (None, columns). "
                f"Received: {axes!r}"
            )
        super().__init__(**kwargs)
        self.axes, self.normalize = axes, bool(normalize)

    def compute_output_shape(self, input_shape):
        one, two = _several(self, input_shape, exactly=2)
        if len(one) != 2 or len(two) != 2 or one[1] != two[1]:
            raise ValueError(
                f"Layer {self.name!r} must be called on two tensors of shape (None, columns) with "
                f"equally many columns. Received: shapes {one} and {two}"
            )
        return (None, 1)

    def compute_mask(self, inputs, mask=None):
        """None: the result has no steps."""
        return None

    def lower(self, builder, x):
        one, two = x
        if self.normalize:
            one, two = (self._normalized(builder, part) for part in (one, two))
        return builder.row_dot(one, two, self.name)

    def _normalized(self, builder, x):
        """x / sqrt(max(sum x^2, tiny))."""
        squares = builder.row_dot(x, x, f"{self.name}.squares")
        above = builder.activation(builder.affine(squares, 1.0, -_TINY), "relu")
        inverse = builder.power(builder.affine(above, 1.0, _TINY), -0.5)
        return builder.scale_rows(x, inverse, f"{self.name}.normalized")

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "axes": self.axes, "normalize": self.normalize}


def _as_function(cls, name):
    def function(inputs, **kwargs):
        return cls(**kwargs)(inputs)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = (
        f"`{cls.__name__}` made and called at once; keyword arguments are those of the layer.\n\n"
        f"    >>> import numpy as np\n"
        f"    >>> {name}([np.ones((1, 2)), np.ones((1, 2))]).shape\n"
        f"    (1, 2)\n"
    )
    return function


add = _as_function(Add, "add")
subtract = _as_function(Subtract, "subtract")
multiply = _as_function(Multiply, "multiply")
average = _as_function(Average, "average")
maximum = _as_function(Maximum, "maximum")
minimum = _as_function(Minimum, "minimum")


def concatenate(inputs, axis: int = -1, **kwargs):
    """`Concatenate` made and called at once.

    >>> import numpy as np
    >>> concatenate([np.ones((1, 2)), np.ones((1, 3))]).shape
    (1, 5)
    """
    return Concatenate(axis=axis, **kwargs)(inputs)


def dot(inputs, axes=-1, **kwargs):
    """`Dot` made and called at once.

    >>> import numpy as np
    >>> dot([np.ones((1, 2)), np.ones((1, 2))], axes=1)
    array([[2.]], dtype=float32)
    """
    return Dot(axes=axes, **kwargs)(inputs)
