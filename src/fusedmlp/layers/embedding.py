"""A table of vectors that whole numbers are looked up in."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from .. import checks, constraints, initializers, regularizers
from ..variable import Variable
from .layer import Layer, axes_shape, described
from .masks import not_equal

__all__ = ["Embedding"]


class Embedding(Layer):
    """Puts a learned vector in the place of each whole number.

    Inputs of shape (rows, ...) give outputs of shape (rows, ..., output_dim).  The numbers travel
    in the model's dtype, which is exact for tables of up to 2**24 rows in float32; fractions are
    cut off.  A number that names no row of the table gives NaN and no gradient, so the loss shows
    it at once and the warning names this layer.  Only the gradients of rows that a batch names are
    computed, but the optimizer updates the whole table, as that of Keras does.

    Parameters
    ----------
    input_dim : int
        Rows of the table: numbers go from 0 to ``input_dim - 1``.
    output_dim : int
        Columns of the table.
    embeddings_initializer : str, dict, array or callable
        See `fusedmlp.initializers.get`.
    embeddings_regularizer, embeddings_constraint
        See `fusedmlp.regularizers` and `fusedmlp.constraints`.
    mask_zero : bool
        Whether the output has a mask (see `Masking`), which leaves out what comes from 0; its row
        of the table is looked up all the same.
    weights : array_like of shape (input_dim, output_dim), optional
        What the table holds at first.
    **kwargs
        What `Layer` takes.

    Attributes
    ----------
    embeddings : Variable, shape (input_dim, output_dim)

    Raises
    ------
    ValueError, TypeError
        If an argument is none of these.

    References
    ----------
    Keras 3, keras.layers.Embedding.

    Examples
    --------
    >>> import fusedmlp as fm
    >>> layer = fm.layers.Embedding(3, 2, weights=[[0.0, 0.5], [1.0, 1.5], [2.0, 2.5]])
    >>> layer([[2, 0]])
    array([[[2. , 2.5],
            [0. , 0.5]]], dtype=float32)
    """

    def __init__(self, input_dim: int, output_dim: int, embeddings_initializer="uniform",
                 embeddings_regularizer=None, embeddings_constraint=None, mask_zero: bool = False,
                 weights=None, **kwargs):
        input_dim = checks.integer(input_dim, "input_dim", 1)
        output_dim = checks.integer(output_dim, "output_dim", 1)
        if isinstance(weights, (list, tuple)) and len(weights) == 1:
            weights = weights[0]
        if weights is not None and np.shape(weights) != (input_dim, output_dim):
            raise ValueError(
                f"Argument `weights` must have the shape {(input_dim, output_dim)}. "
                f"Received: shape {np.shape(weights)}"
            )
        if kwargs.pop("input_length", None) is not None:
            warnings.warn("Argument `input_length` is not needed any more", stacklevel=2)
        super().__init__(**kwargs)
        self.input_dim, self.output_dim = input_dim, output_dim
        self.embeddings_initializer = initializers.get(embeddings_initializer)
        self.embeddings_regularizer = regularizers.get(embeddings_regularizer)
        self.embeddings_constraint = constraints.get(embeddings_constraint)
        self.mask_zero = self._supports_masking = bool(mask_zero)
        self.embeddings: Variable | None = None
        if weights is not None:
            self.build()
            self.set_weights([np.asarray(weights)])

    def build(self, input_shape=None):
        most = 2 ** (np.finfo(self.dtype).nmant + 1)
        if self.input_dim > most:
            raise ValueError(
                f"Argument `input_dim` must be at most {most} in {self.dtype}, in which numbers "
                f"above are not told apart: give the layer dtype='float64'. "
                f"Received: {self.input_dim}"
            )
        if self.embeddings is None:
            self.embeddings = self.add_weight(
                (self.input_dim, self.output_dim), self.embeddings_initializer, name="embeddings",
                regularizer=self.embeddings_regularizer, constraint=self.embeddings_constraint)
        self.built = True

    def compute_mask(self, inputs, mask=None):
        """Where the numbers are not 0, with `mask_zero`; else None."""
        return not_equal(inputs, 0) if self.mask_zero else None

    def compute_output_shape(self, input_shape):
        if len(input_shape) == 1:  # a column, as `x[:, 0]` gives it
            return (None, self.output_dim)
        return (*axes_shape(input_shape, f"layer {self.name!r}"), self.output_dim)

    def lower(self, builder, x):
        return builder.embedding(x, self.parameter(builder, self.embeddings), name=self.name)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(), "input_dim": self.input_dim, "output_dim": self.output_dim,
            **described(self, initializers, "embeddings_initializer"),
            **described(self, regularizers, "embeddings_regularizer"),
            **described(self, constraints, "embeddings_constraint"),
            "mask_zero": self.mask_zero,
        }
