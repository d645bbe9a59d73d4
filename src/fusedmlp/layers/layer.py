"""What every layer is: a name, variables, a shape rule, and how it is lowered to a plan.

A layer describes; it never computes.  `build` creates its variables for a given input shape, and
`lower` emits the operations of `fusedmlp.plan` that stand for it.
"""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np

from .. import checks, config, initializers, spec
from ..plan import Builder
from ..variable import Variable, float_dtype
from .naming import auto_name

__all__ = ["Layer"]


class Layer:
    """Base class of all layers.

    A layer of one's own defines `lower`, and, where they apply, `build` (which calls
    `add_weight`), `compute_output_shape` and `get_config`.

    Parameters
    ----------
    name : str, optional
        Unique within a model; by default the class's name in snake_case with a number.
    dtype : {"float32", "float64"}, optional
        By default that of the model, which all of its layers share.
    trainable : bool
        Whether training updates the layer's variables; a change takes effect when the model is
        compiled.
    input_shape : tuple of int, optional
        Shape of one sample, for the first layer of a `Sequential`, in place of an `Input`.
    input_dim : int, optional
        Short for ``input_shape=(input_dim,)``.

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
    """

    def __init__(self, *, name: str | None = None, dtype: Any = None, trainable: bool = True,
                 input_shape=None, input_dim: int | None = None, **unknown):
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
        self.name = auto_name(type(self).__name__) if name is None else name
        self.built = False
        self._dtype = self._asked_dtype = None if dtype is None else float_dtype(dtype)
        self._trainable = bool(trainable)
        self._variables: list[Variable] = []
        self._input_columns: int | None = None
        self._input_shape_arg = None
        if input_shape is not None:
            self._input_shape_arg = sample_shape(input_shape, "input_shape")

    # -- shapes and variables ------------------------------------------------------------------

    def build(self, input_shape: tuple) -> None:
        """Create the variables for inputs of `input_shape`, which is (None, columns)."""
        self._input_columns = batch_shape(input_shape, f"layer {self.name!r}")[1]
        self.built = True

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        """Shape of the output for inputs of `input_shape`; ValueError if they don't fit."""
        return tuple(input_shape)

    def lower(self, builder: Builder, x: int) -> int:
        """Emit the operations of the layer.

        Parameters
        ----------
        builder : fusedmlp.plan.Builder
        x : int
            Buffer of the input.

        Returns
        -------
        int
            Buffer of the output.
        """
        raise TypeError(
            f"Layer {self.name!r} of type {type(self).__name__} must define "
            "`lower(self, builder, x)`, which emits its operations"
        )

    def add_weight(self, shape, initializer="glorot_uniform", dtype=None, trainable: bool = True,
                   name: str = "variable") -> Variable:
        """Create a variable of the layer; for use in `build`.

        Parameters
        ----------
        shape : tuple of int
            One or two dimensions.
        initializer : str, dict or callable
            See `fusedmlp.initializers.get`.
        dtype : str, optional
            The layer's dtype by default, and nothing else.
        trainable : bool
        name : str

        Raises
        ------
        ValueError
            If the initializer gives another shape or the dtype differs from the layer's.
        """
        if dtype is not None and float_dtype(dtype) != self.dtype:
            raise ValueError(
                f"Argument `dtype` must be that of layer {self.name!r}, {self.dtype!r}. "
                f"Received: {dtype!r}"
            )
        shape = tuple(shape)
        value = np.asarray(initializers.get(initializer)(shape, dtype=self.dtype))
        if value.shape != shape:
            raise ValueError(
                f"Argument `initializer` of {name!r} must give values of shape {shape}. "
                f"Received: values of shape {value.shape} from {initializer!r}"
            )
        variable = Variable(value, name, trainable, self.dtype)
        variable.path = f"{self.name}/{name}"
        self._variables.append(variable)
        return variable

    def parameter(self, builder: Builder, variable: Variable) -> int:
        """The buffer of one of the layer's variables; for use in `lower`."""
        return builder.parameter(f"{self.name}.{variable.name}", variable.shape, variable.offset,
                                 variable.pitch, variable.updated)

    def _check_columns(self, input_shape) -> int:
        """Width of the input, which must not differ from the one that was built for."""
        columns = batch_shape(input_shape, f"layer {self.name!r}")[1]
        if self.built and self._input_columns not in (None, columns):
            raise ValueError(
                f"Layer {self.name!r} was built for inputs of shape (None, "
                f"{self._input_columns}). Received: input shape {tuple(input_shape)}"
            )
        return columns

    @property
    def _fixed_dtype(self) -> str | None:
        """The dtype that it was given, or its variables have; None if it can take any."""
        return self._asked_dtype or next((v.dtype for v in self.variables), None)

    def _check_dtype(self, dtype: str) -> None:
        """ValueError if the layer can't take the model's dtype."""
        if self._fixed_dtype not in (None, dtype):
            raise ValueError(
                f"All layers of a model must have one dtype, here {dtype!r}. "
                f"Received: layer {self.name!r} with dtype {self._fixed_dtype!r}"
            )

    def _adopt_dtype(self, dtype: str) -> None:
        """Take the model's dtype, which has been checked."""
        self._dtype = dtype

    @property
    def dtype(self) -> str:
        """"float32" or "float64"."""
        return self._dtype or config.floatx()

    @property
    def differs_in_training(self) -> bool:
        """Whether training computes something else than prediction."""
        return False

    @property
    def trainable(self) -> bool:
        """Whether training updates the layer's variables."""
        return self._trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        self._trainable = bool(value)

    @property
    def variables(self) -> list[Variable]:
        """All variables, in the order in which they were created."""
        return list(self._variables)

    @property
    def weights(self) -> list[Variable]:
        """The same as `variables`."""
        return self.variables

    @property
    def trainable_variables(self) -> list[Variable]:
        """The variables that training updates."""
        return [v for v in self.variables if v.trainable] if self._trainable else []

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
        """Keyword arguments that make an equal layer, without its weights."""
        result = {"name": self.name, "trainable": self._trainable, "dtype": self._dtype}
        if self._input_shape_arg is not None:
            result["input_shape"] = self._input_shape_arg
        return result

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Layer:
        """A layer from what `get_config` returned."""
        return cls(**config)

    def __repr__(self):
        return f"<{type(self).__name__} name={self.name}, built={self.built}>"


def _unknown_keywords(cls, unknown):
    """The text of the error for keyword arguments that a layer does not have."""
    known = [
        p.name for c in cls.__mro__ if "__init__" in vars(c) and c is not object
        for p in inspect.signature(c.__init__).parameters.values()
        if p.name != "self" and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)
    ]
    return f"{cls.__name__}: {spec.nearest(next(iter(unknown)), known, 'keyword argument')}"


def sample_shape(shape, argument: str = "shape") -> tuple[int]:
    """The shape of one sample, (columns,); ValueError if it is no such tuple.

    >>> sample_shape([64])
    (64,)
    """
    try:
        (columns,) = shape
        return (checks.integer(columns, argument, 1),)
    except (TypeError, ValueError):
        raise ValueError(
            f"Argument `{argument}` must be the shape of one sample, a tuple with one positive "
            f"integer such as (64,). Received: {shape!r}"
        ) from None


def batch_shape(shape, where: str) -> tuple[None, int]:
    """The shape of a batch, (None, columns); ValueError if it is none.

    >>> batch_shape((32, 64), "here")
    (None, 64)
    """
    try:
        rows, columns = shape
        if rows is not None:
            checks.integer(rows, "input_shape", 1)
        return None, checks.integer(columns, "input_shape", 1)
    except (TypeError, ValueError):
        raise ValueError(
            f"The input shape of {where} must be (None, columns) or (rows, columns) with a "
            f"positive number of columns. Received: {shape!r}"
        ) from None
