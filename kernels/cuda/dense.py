"""Affine maps with a fused activation, and their three gradients: tiled products.

A block computes a tile of the output, each of its threads a small piece of that in registers.  The
threads bring slabs of both factors into shared memory, and read the next slab from the device's
memory while they work on this one.  Every output element is the sum of its products in their order,
whatever the tile: the same bits for any number of rows.

``forward``: out = f(x @ kernel + bias).  ``dx``: dz @ kernel.T, times a derivative.  ``dw``:
x.T @ dz, and the column sums of dz on the way.  They are one loop, `_product`, with other ways to
fetch and to store.
"""

from __future__ import annotations

from typing import NamedTuple

from fusedmlp.spec import ACTIVATIONS

from .activations import parameters
from .device import NULL, SIMULATED, bfloat16, by_dtype, cuda, flat, hosted, kernel, scalar
from .elementwise import functions

__all__ = ["dense", "dense_grad", "enqueue_dense", "enqueue_dense_db", "enqueue_dense_dw",
           "enqueue_dense_dx", "enqueue_dense_grad"]


class _Tile(NamedTuple):
    """A block's tile: its rows and columns, the depth of a slab, what a thread computes of it."""

    rows: int
    columns: int
    depth: int
    thread_rows: int
    thread_columns: int

    @property
    def across(self):
        return self.columns // self.thread_columns


_PROCESSORS = 132
if SIMULATED:
    _TILES = {"float32": [_Tile(8, 4, 3, 4, 2)], "float64": [_Tile(4, 8, 2, 2, 4)]}
else:
    _TILES = {
        "float32": [_Tile(128, 128, 8, 8, 8), _Tile(64, 64, 16, 4, 4), _Tile(32, 32, 32, 2, 2)],
        "float64": [_Tile(64, 64, 16, 4, 4), _Tile(32, 32, 32, 2, 2)],
    }


def _tile(rows, columns, dtype):
    """The widest tile of which there are enough to occupy every processor, and their number."""
    for tile in _TILES[dtype.name]:
        count = -(-rows // tile.rows) * -(-columns // tile.columns)
        if count >= _PROCESSORS:
            break
    return tile, count


def _enqueue(factory, stream, rows, columns, dtype, *arguments, activation="linear",
             precision=None):
    tile, count = _tile(rows, columns, dtype)
    made = factory(dtype, tile, activation, precision)
    made(stream, min(count, 1) if SIMULATED else count, *arguments)


def enqueue_dense(stream, x, kernel, bias, activation, params, out, preactivation,
                  precision=None):
    """``z = x @ kernel + bias``, ``out = activation(z)``.

    x (n, d), kernel (d, m), bias (m,) or None, out (n, m), preactivation (n, m) or None.  With
    `precision` "bfloat16", here and below, both factors are rounded to that.
    """
    _enqueue(_forward, stream, x.rows, kernel.columns, x.dtype, x.data, kernel.data, flat(bias),
             out.data, flat(preactivation), x.rows, kernel.rows, kernel.columns, kernel.pitch,
             int(bias is not None), int(preactivation is not None),
             *parameters(params, x.dtype), activation=activation, precision=precision)


def enqueue_dense_dx(stream, dz, kernel, saved, activation, params, dx, precision=None):
    """dx = dz @ kernel.T times the derivative of `activation` at `saved`, which may be None."""
    if saved is None:
        activation, params = "linear", ()
    _enqueue(_dx, stream, dz.rows, kernel.rows, dz.dtype, dz.data, kernel.data, flat(saved),
             dx.data, NULL, dz.rows, kernel.rows, kernel.columns, kernel.pitch,
             int(saved is not None), 0, *parameters(params, dz.dtype), activation=activation,
             precision=precision)


def enqueue_dense_dw(stream, x, dz, dkernel, dbias, precision=None):
    """dkernel = x.T @ dz and, where it is not None, dbias = dz.sum(axis=0)."""
    if precision is not None and dbias is not None:  # a sum of what is not rounded
        enqueue_dense_db(stream, dz, dbias)
        dbias = None
    _enqueue(_dw, stream, x.columns, dz.columns, x.dtype, x.data, dz.data, NULL,
             dkernel.data, flat(dbias), x.rows, x.columns, dz.columns, dkernel.pitch,
             0, int(dbias is not None), 0.0, 0.0, 0.0, precision=precision)


def enqueue_dense_db(stream, dz, dbias):
    """dbias = dz.sum(axis=0): what is left of `enqueue_dense_dw` for a kernel without rows."""
    _enqueue(_dw, stream, 1, dz.columns, dz.dtype, dz.data, dz.data, NULL, NULL, dbias.data,
             dz.rows, 0, dz.columns, dz.columns, 0, 1, 0.0, 0.0, 0.0)


def enqueue_dense_grad(stream, dz, x, kernel, dx, dkernel, dbias):
    """Gradients of ``z = x @ kernel + bias`` from dz (n, m); each of the last three may be None.

    dx (n, d), dkernel (d, m), dbias (m,).
    """
    if dx is not None:
        enqueue_dense_dx(stream, dz, kernel, None, "linear", (), dx)
    if dkernel is not None and dkernel.size:
        enqueue_dense_dw(stream, x, dz, dkernel, dbias)
    elif dbias is not None:
        enqueue_dense_db(stream, dz, dbias)


dense = hosted(enqueue_dense, "out", "preactivation")
dense_grad = hosted(enqueue_dense_grad, "dx", "dkernel", "dbias")


@scalar
def _nothing(out, extra, at, has_extra, u, v, w):
    pass


def _is_short(activation):
    """Whether a function only picks among numbers: a handful of instructions."""
    return ACTIVATIONS[activation].ulp == (0, 0)


# -- the product ---------------------------------------------------------------------------------


def _rounding(fetch):
    """A function that fetches an element rounded to bfloat16."""
    @scalar
    def rounded(a, i, k, n, d, m, pitch):
        return bfloat16(fetch(a, i, k, n, d, m, pitch))

    return rounded


def _product(R, tile, precision, name, fetch_a, fetch_b, along_depth, sizes, adjust, store,
             finish=None, sums_columns=False):
    """A kernel that stores sum_k a(i, k) b(k, j) for every i and j.

    Parameters
    ----------
    precision : {None, "bfloat16"}
        What factors of float32 are rounded to.
    fetch_a, fetch_b : scalar functions
        ``fetch_a(a, i, k, n, d, m, pitch)`` and ``fetch_b(b, k, j, ...)`` give an element, 0
        outside of the matrix.
    along_depth : (bool, bool)
        Whether neighbours in memory, which neighbouring threads then fetch, are neighbours in k.
    sizes : scalar function
        ``sizes(n, d, m)`` gives the rows and columns of the result and the number of products.
    adjust : scalar function
        ``adjust(sum, extra, i, j, columns, u, v, w)`` gives what takes the place of a sum, where
        the kernel is told that it `has_extra`.
    store : scalar function
        ``store(out, i, j, value, columns, pitch, u, v, w)``.
    finish : scalar function, optional
        ``finish(out, extra, at, has_extra, u, v, w)`` changes element `at` of the output, stored
        before row by row: what takes many instructions, among which sums would leave the registers.
    sums_columns : bool
        What `kept` receives where the kernel is told that it `keeps`: sum_k b(k, j) for every j,
        or else the adjusted sums, row by row.
    """
    TM, TN, TK, RM, RN = tile
    if precision == "bfloat16":
        fetch_a, fetch_b = _rounding(fetch_a), _rounding(fetch_b)
    across = tile.across
    threads = TM // RM * across
    loads_a, loads_b = TM * TK // threads, TK * TN // threads
    assert loads_a * threads == TM * TK
    assert loads_b * threads == TK * TN
    # A thread's rows are groups of 4 neighbours, 16 bytes of float32 in shared memory at once, and
    # the groups of neighbouring threads lie side by side.  The pitch keeps threads that transpose
    # what they store out of each other's banks.
    GM, GN = min(RM, 4), min(RN, 4)
    shape_a, shape_b = (2, TK, TM + 4), (2, TK, TN + 4)
    a_along, b_along = along_depth
    zero = R(0)
    finishes = finish is not None
    finish = finish or _nothing

    @scalar
    def row_of(y, r):
        return r // GM * (TM // RM * GM) + y * GM + r % GM

    @scalar
    def column_of(x, c):
        return c // GN * (across * GN) + x * GN + c % GN

    @scalar
    def place_a(t, load):
        e = t + load * threads
        return (e // TK, e % TK) if a_along else (e % TM, e // TM)

    @scalar
    def place_b(t, load):
        e = t + load * threads
        return (e % TK, e // TK) if b_along else (e // TN, e % TN)

    def product(a, b, extra, out, kept, n, d, m, pitch, has_extra, keeps, u, v, w):
        if SIMULATED:
            slab_a = cuda.shared.array(shape_a, R)
            slab_b = cuda.shared.array(shape_b, R)
        else:
            slab_a = cuda.shared.array(shape_a, R, alignment=16)
            slab_b = cuda.shared.array(shape_b, R, alignment=16)
        sums = cuda.local.array((RM, RN), R)
        column = cuda.local.array(RN, R)
        own_a, own_b = cuda.local.array(RM, R), cuda.local.array(RN, R)
        next_a, next_b = cuda.local.array(loads_a, R), cuda.local.array(loads_b, R)
        t = cuda.threadIdx.x
        y, x = t // across, t % across
        rows, columns, depth = sizes(n, d, m)
        tiles_across = (columns + TN - 1) // TN
        tiles = max((rows + TM - 1) // TM, 1) * tiles_across
        one = cuda.blockIdx.x
        while one < tiles:
            i0, j0 = one // tiles_across * TM, one % tiles_across * TN
            for r in range(RM):
                for c in range(RN):
                    sums[r, c] = zero
            for c in range(RN):
                column[c] = zero
            for load in range(loads_a):
                i, k = place_a(t, load)
                slab_a[0, k, i] = fetch_a(a, i0 + i, k, n, d, m, pitch)
            for load in range(loads_b):
                k, j = place_b(t, load)
                slab_b[0, k, j] = fetch_b(b, k, j0 + j, n, d, m, pitch)
            cuda.syncthreads()
            k0, half = 0, 0
            while k0 < depth:
                more = k0 + TK < depth
                if more:  # the next slabs are on their way while this one is worked on
                    for load in range(loads_a):
                        i, k = place_a(t, load)
                        next_a[load] = fetch_a(a, i0 + i, k0 + TK + k, n, d, m, pitch)
                    for load in range(loads_b):
                        k, j = place_b(t, load)
                        next_b[load] = fetch_b(b, k0 + TK + k, j0 + j, n, d, m, pitch)
                for k in range(TK):
                    for r in range(RM):
                        own_a[r] = slab_a[half, k, row_of(y, r)]
                    for c in range(RN):
                        own_b[c] = slab_b[half, k, column_of(x, c)]
                    for r in range(RM):
                        for c in range(RN):
                            sums[r, c] += own_a[r] * own_b[c]
                    if sums_columns:
                        for c in range(RN):
                            column[c] += own_b[c]
                if more:
                    half = 1 - half
                    for load in range(loads_a):
                        i, k = place_a(t, load)
                        slab_a[half, k, i] = next_a[load]
                    for load in range(loads_b):
                        k, j = place_b(t, load)
                        slab_b[half, k, j] = next_b[load]
                    cuda.syncthreads()
                k0 += TK
            # one short nest for each thing that is done with the sums: long ones are not unrolled,
            # and sums whose place is not known at compile time leave the registers
            if has_extra:
                for r in range(RM):
                    for c in range(RN):
                        i, j = i0 + row_of(y, r), j0 + column_of(x, c)
                        if i < rows and j < columns:
                            sums[r, c] = adjust(sums[r, c], extra, i, j, columns, u, v, w)
            if keeps and not sums_columns:
                for r in range(RM):
                    for c in range(RN):
                        i, j = i0 + row_of(y, r), j0 + column_of(x, c)
                        if i < rows and j < columns:
                            kept[i * columns + j] = sums[r, c]
            for r in range(RM):
                for c in range(RN):
                    i, j = i0 + row_of(y, r), j0 + column_of(x, c)
                    if i < rows and j < columns:
                        store(out, i, j, sums[r, c], columns, pitch, u, v, w)
            if finishes:
                for r in range(RM):
                    for c in range(RN):
                        i, j = i0 + row_of(y, r), j0 + column_of(x, c)
                        if i < rows and j < columns:
                            finish(out, extra, i * columns + j, has_extra, u, v, w)
            if keeps and sums_columns and i0 == 0 and y == 0:
                for c in range(RN):
                    j = j0 + column_of(x, c)
                    if j < columns:
                        kept[j] = column[c]
            cuda.syncthreads()  # the slabs are free for the next tile
            one += cuda.gridDim.x

    signature = "R* R* R* R* R* i i i i i i R R R"
    return kernel(signature, R, name=f"{name}_{TM}x{TN}", block=threads)(product)


@by_dtype
def _forward(R, tile, activation, precision):
    f = functions(R)[activation][0]
    zero, short = R(0), _is_short(activation)

    @scalar
    def sizes(n, d, m):
        return n, m, d

    @scalar
    def fetch_x(x, i, k, n, d, m, pitch):
        return x[i * d + k] if i < n and k < d else zero

    @scalar
    def fetch_kernel(kernel, k, j, n, d, m, pitch):
        return kernel[k * pitch + j] if k < d and j < m else zero

    @scalar
    def add_bias(z, bias, i, j, m, u, v, w):
        return z + bias[j]

    @scalar
    def store(out, i, j, z, m, pitch, u, v, w):
        out[i * m + j] = f(z, u, v, w) if short else z

    @scalar
    def finish(out, bias, at, has_bias, u, v, w):
        out[at] = f(out[at], u, v, w)

    return _product(R, tile, precision, f"dense_{activation}", fetch_x, fetch_kernel,
                    (True, False), sizes, add_bias, store, None if short else finish)


@by_dtype
def _dx(R, tile, activation, precision):
    f = functions(R)[activation][1]
    zero, short = R(0), _is_short(activation)

    @scalar
    def sizes(n, d, m):
        return n, d, m

    @scalar
    def fetch_dz(dz, i, k, n, d, m, pitch):
        return dz[i * m + k] if i < n and k < m else zero

    @scalar
    def fetch_kernel(kernel, k, j, n, d, m, pitch):
        return kernel[j * pitch + k] if k < m and j < d else zero

    @scalar
    def differentiate(dy, saved, i, j, d, u, v, w):
        return dy * f(saved[i * d + j], u, v, w) if short else dy

    @scalar
    def finish(dx, saved, at, has_saved, u, v, w):
        if has_saved:
            dx[at] = dx[at] * f(saved[at], u, v, w)

    @scalar
    def store(dx, i, j, value, columns, pitch, u, v, w):
        dx[i * columns + j] = value

    return _product(R, tile, precision, f"dense_dx_{activation}", fetch_dz, fetch_kernel,
                    (True, True), sizes, differentiate, store, None if short else finish)


@by_dtype
def _dw(R, tile, activation, precision):
    zero = R(0)

    @scalar
    def sizes(n, d, m):
        return d, m, n

    @scalar
    def fetch_x(x, i, k, n, d, m, pitch):
        return x[k * d + i] if i < d and k < n else zero

    @scalar
    def fetch_dz(dz, k, j, n, d, m, pitch):
        return dz[k * m + j] if k < n and j < m else zero

    @scalar
    def same(total, extra, i, j, m, u, v, w):
        return total

    @scalar
    def store(dkernel, i, j, total, m, pitch, u, v, w):
        dkernel[i * pitch + j] = total

    return _product(R, tile, precision, "dense_dw", fetch_x, fetch_dz, (False, False), sizes,
                    same, store, sums_columns=True)
