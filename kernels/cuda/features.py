"""Operations that make numbers of features, and that pick columns.

Formulas are those of `fusedmlp.kernels.reference.features`.  Launchers take ``(stream, inputs,
outputs, ...)``; arrays that belong to the operation itself, such as boundaries, lie on the device.
"""

from __future__ import annotations

import numpy as np

from .device import BLOCK, by_dtype, cuda, kernel, larger, launch, sqrt

__all__ = ["column_affine", "digitize", "encode", "feature_norm", "inverse", "put_columns",
           "take_columns"]

_KINDS = {"one_hot": 0, "multi_hot": 1, "count": 2}


# -- elementwise ---------------------------------------------------------------------------------


@by_dtype
def _elementwise(R):
    @kernel("R* R* R* i i", R, name="column_affine")
    def affine(x, constants, out, n, columns):
        i = cuda.blockIdx.x * BLOCK + cuda.threadIdx.x
        while i < n:
            j = i % columns
            out[i] = (x[i] - constants[j]) * constants[columns + j] + constants[2 * columns + j]
            i += cuda.gridDim.x * BLOCK

    @kernel("R* R* R* R* i i i i i R", R, name="feature_norm")
    def normalize(x, means, variances, out, n, columns, wide, inverts, centers, least):
        i = cuda.blockIdx.x * BLOCK + cuda.threadIdx.x
        while i < n:
            j = i % columns if wide else 0
            s = larger(sqrt(variances[j]), least)
            mean = means[j] if centers else R(0)
            out[i] = x[i] * s + mean if inverts else (x[i] - mean) / s
            i += cuda.gridDim.x * BLOCK

    @kernel("R* R* R* i i", R, name="digitize")
    def search(x, boundaries, out, n, count):
        i = cuda.blockIdx.x * BLOCK + cuda.threadIdx.x
        while i < n:
            value, low, high = x[i], 0, count
            while low < high:
                middle = (low + high) // 2
                if value < boundaries[middle]:
                    high = middle
                else:  # NaN lies above all
                    low = middle + 1
            out[i] = R(low)
            i += cuda.gridDim.x * BLOCK

    @kernel("R* R* i i i i", R, name="encode")
    def vectors(x, out, n, columns, depth, kind):
        i = cuda.blockIdx.x * BLOCK + cuda.threadIdx.x
        while i < n:
            place, one = R(i % depth), i // depth
            first, last = (one, one + 1) if kind == 0 else (one * columns, (one + 1) * columns)
            count = R(0)
            for at in range(first, last):
                value = x[at]
                # numbers between two whole ones belong to the lower
                if place <= value and value < place + R(1):
                    count += R(1)
            out[i] = R(1) if kind == 1 and count > R(1) else count
            i += cuda.gridDim.x * BLOCK

    return affine, normalize, search, vectors


def column_affine(stream, inputs, outputs, constants):
    """out = (x - before) scale + after; `constants` holds the three, a vector of each column."""
    x, out = inputs[0], outputs[0]
    _elementwise(x.dtype)[0](stream, launch(x.size), x.data, constants.data, out.data, x.size,
                             x.columns)


def feature_norm(stream, inputs, outputs, least, invert, center):
    """With s = max(sqrt(variance), least): out = (x - mean) / s, or x s + mean; the mean counts
    as 0 without `center`."""
    x, mean, variance = inputs
    _elementwise(x.dtype)[1](stream, launch(x.size), x.data, mean.data, variance.data,
                             outputs[0].data, x.size, x.columns, int(variance.columns > 1),
                             int(invert), int(center), float(least))


def digitize(stream, inputs, outputs, boundaries):
    """out = the number of boundaries, a vector in ascending order, that are not above x."""
    x = inputs[0]
    _elementwise(x.dtype)[2](stream, launch(x.size), x.data, boundaries.data, outputs[0].data,
                             x.size, boundaries.columns)


def encode(stream, inputs, outputs, depth, kind):
    """out = vectors of `depth`: for each element ("one_hot"), or for each row ("multi_hot",
    "count")."""
    x, out = inputs[0], outputs[0]
    _elementwise(x.dtype)[3](stream, launch(out.size), x.data, out.data, out.size, x.columns,
                             depth, _KINDS[kind])


# -- columns -------------------------------------------------------------------------------------


@by_dtype
def _picked(R):
    @kernel("R* i* R* i i i", R, name="take_columns")
    def take(x, index, out, n, columns, wide):
        i = cuda.blockIdx.x * BLOCK + cuda.threadIdx.x
        while i < n:
            out[i] = x[i // columns * wide + index[i % columns]]
            i += cuda.gridDim.x * BLOCK

    @kernel("R* i* R* i i i", R, name="put_columns")
    def put(dy, places, dx, n, columns, wide):
        # where column j begins and ends among the places that took it, which stand behind that
        i = cuda.blockIdx.x * BLOCK + cuda.threadIdx.x
        while i < n:
            row, j = i // columns, i % columns
            total = R(0)
            for at in range(places[j], places[j + 1]):
                total += dy[row * wide + places[columns + 1 + at]]
            dx[i] = total
            i += cuda.gridDim.x * BLOCK

    return take, put


def inverse(index, columns):
    """Which places of `index` name each of so many columns, as `put_columns` takes it.

    >>> inverse([2, 0, 2], 3).tolist()  # 0 is named by place 1, 1 by none, 2 by places 0 and 2
    [0, 1, 1, 3, 1, 0, 2]
    """
    index = np.asarray(index, np.int64)
    order = np.argsort(index, kind="stable")
    return np.concatenate([np.searchsorted(index[order], np.arange(columns + 1)), order])


def take_columns(stream, inputs, outputs, index):
    """out[:, j] = x[:, index[j]]."""
    x, out = inputs[0], outputs[0]
    _picked(x.dtype)[0](stream, launch(out.size), x.data, index.data, out.data, out.size,
                        out.columns, x.columns)


def put_columns(stream, inputs, outputs, places):
    """dx[:, index[j]] += dy[:, j] from zeros; `places` is the `inverse` of the index."""
    dy, dx = inputs[0], outputs[0]
    _picked(dy.dtype)[1](stream, launch(dx.size), dy.data, places.data, dx.data, dx.size,
                         dx.columns, dy.columns)
