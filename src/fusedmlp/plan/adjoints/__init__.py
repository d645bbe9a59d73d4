"""What each forward operation passes back: one function for each row of the table `ADJOINTS`.

``function(builder, op, gradients, needed)`` emits the operations of the backward pass of `op`.
`gradients` holds the buffer of the gradient of each forward buffer that has one so far, `needed`
the buffers that depend on something trainable.  Others may need the gradient of the outputs, too:
it is written over only where ``builder._or_new`` gives it back.
"""

from __future__ import annotations

from . import arithmetic, layers, steps
from .python import python

__all__ = ["ADJOINTS"]

ADJOINTS = {
    "dense": layers.dense,
    "sparse_dense": layers.sparse_dense,
    "densify": layers.none,
    "activation": layers.activation,
    "prelu": layers.prelu,
    "dropout": layers.mask,
    "alpha_dropout": layers.mask,
    "gaussian_dropout": layers.mask,
    "gaussian_noise": layers.noise,
    "standardize": layers.standardize,
    "scale_shift": layers.scale_shift,
    "row_norm": layers.row_norm,
    "embedding": layers.embedding,
    "reshape": layers.moved,
    "take_columns": layers.moved,
    "add": arithmetic.add,
    "subtract": arithmetic.subtract,
    "multiply": arithmetic.multiply,
    "divide": arithmetic.divide,
    "maximum": arithmetic.extreme,
    "minimum": arithmetic.extreme,
    "affine": arithmetic.affine,
    "power": arithmetic.power,
    "log": arithmetic.log,
    "broadcast": arithmetic.broadcast,
    "row_sum": arithmetic.row_sum,
    "row_dot": arithmetic.row_dot,
    "scale_rows": arithmetic.scale_rows,
    "concatenate": arithmetic.concatenate,
    "repeat": arithmetic.repeat,
    "slice": arithmetic.slice,
    "python": python,
    "column_affine": layers.column_affine,
    "feature_norm": layers.feature_norm,
    "digitize": layers.none,
    "encode": layers.none,
    "step_mask": layers.none,
    "keep_steps": steps.keep_steps,
    "pool": steps.pool,
}
