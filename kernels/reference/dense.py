"""Affine maps with a fused activation, and their three gradients.

The products are NumPy's, so the order of their additions is that of the BLAS behind it.
"""

import numpy as np

from .activations import activation as _activation

__all__ = ["bfloat16", "dense", "dense_grad"]


def bfloat16(x):
    """float32 numbers rounded to the nearest bfloat16, ties to even; a NaN stays one."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    rounded = bits + np.uint32(0x7FFF) + (bits >> np.uint32(16) & np.uint32(1))
    rounded = np.where(np.isnan(x), bits | np.uint32(0x400000), rounded)
    return (rounded & np.uint32(0xFFFF0000)).view(np.float32)


def dense(x, kernel, bias, activation, params, out, preactivation):
    """``z = x @ kernel + bias``, ``out = activation(z)``.

    x (n, d), kernel (d, m), bias (m,) or None, out (n, m), preactivation (n, m) or None.
    """
    z = out if preactivation is None else preactivation
    with np.errstate(all="ignore"):
        np.matmul(x, kernel, out=z)
        if bias is not None:
            np.add(z, bias, out=z)
    if z is not out or activation != "linear":
        _activation(activation, z, params, out)


def dense_grad(dz, x, kernel, dx, dkernel, dbias):
    """Gradients of ``z = x @ kernel + bias`` from dz (n, m); each of the last three may be None.

    dx (n, d), dkernel (d, m), dbias (m,).
    """
    with np.errstate(all="ignore"):
        if dx is not None:
            np.matmul(dz, kernel.T, out=dx)
        if dkernel is not None:
            np.matmul(x.T, dz, out=dkernel)
        if dbias is not None:
            np.sum(dz, axis=0, out=dbias)
