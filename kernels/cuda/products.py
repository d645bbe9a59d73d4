"""Which way a product takes: own tiles, or an algorithm of cuBLASLt, whichever is faster here.

A way computes all that is asked for, with launches behind the product where no epilogue of cuBLASLt
does what they do.  The first time that a shape comes, each way is timed with the arrays at hand and
the fastest kept for the process; `choices` lists what was found.  A batch that is not full goes the
way of the full one, untimed.

cuBLASLt sums in another order for other shapes, and what is fastest may change from process to
process: the last bits with it.  `fusedmlp.kernels.cuda.set_matmul` fixes the way for those to whom
that matters.
"""

from __future__ import annotations

import statistics
from functools import partial
from typing import NamedTuple

import numpy as np

from fusedmlp.kernels import cuda as backend

from . import activations, cublaslt, dense
from .device import SIMULATED, cuda
from .graph import Graph

__all__ = ["Choice", "choices", "enqueue_dense", "enqueue_dense_dw", "enqueue_dense_dx",
           "least_flops", "workspace_bytes"]

least_flops = 1 << 21
"""Of a product that anything is timed for; smaller ones take no longer than their launch."""

_ALGORITHMS = 6  # of each way that are timed
_REPEATS = 10  # launches between two looks at the clock
_ROUNDS = 5
_CLOSE = 1.03  # times of which the first of the list is taken


class _Way(NamedTuple):
    """A product by cuBLASLt and what follows it.

    Attributes
    ----------
    epilogue : str
    product : callable
        Makes the `cublaslt.Product`.
    then : callable, optional
        Enqueues the rest on a stream.
    """

    epilogue: str
    product: object
    then: object = None


class Choice(NamedTuple):
    """What was chosen for a product, and how long each way took.

    Attributes
    ----------
    name : str
    way : int
        Number of the way; None for the tiles.
    algorithm : cublaslt.Algorithm
        None for the tiles.
    microseconds : dict of str to float, or None
        By name; None where nothing was timed.
    """

    name: str
    way: object = None
    algorithm: object = None
    microseconds: object = None


_TILES = "tiles"
_choices = {}


def choices():
    """What has been chosen in this process: a line for each product.

    >>> isinstance(choices(), list)
    True
    """
    lines = []
    for (kind, n, d, m, dtype, precision, activation, *_), choice in _choices.items():
        what = " ".join(filter(None, (kind, f"{n}x{d}x{m}", dtype, precision, activation)))
        times = ", ".join(f"{name} {time:.1f}"
                          for name, time in (choice.microseconds or {}).items())
        lines.append(f"{what}: {choice.name}" + (f" (microseconds: {times})" if times else ""))
    return lines


def _usable():
    """Whether cuBLASLt may be asked; RuntimeError where it must be and is missing."""
    library = backend.matmul()["library"]
    if library == "tiles":
        return False
    problem = cublaslt.missing()
    if problem and library == "cublaslt":
        raise RuntimeError(f"Products can't be left to cuBLASLt: {problem}")
    return not problem


def workspace_bytes(plan):
    """What an executor of a plan is to reserve for cuBLASLt; 0 where it does not come in."""
    wanted = any(plan.flops(op) >= least_flops for op in plan.ops if op.op.startswith("dense"))
    if not wanted or SIMULATED or not _usable():
        return 0
    return (32 << 20) if cuda.get_current_device().compute_capability >= (9, 0) else (8 << 20)


# -- the three products --------------------------------------------------------------------------


def enqueue_dense(stream, x, kernel, bias, activation, params, out, preactivation, precision=None,
                  workspace=None, full=None):
    """`dense.enqueue_dense`; `workspace`, and `full` rows of a whole batch, are the executor's."""
    tiles = partial(dense.enqueue_dense, stream, x, kernel, bias, activation, params, out,
                    preactivation, precision)
    precision = precision or _precision(x.dtype)

    def ways():
        plain = "none" if bias is None else "bias"
        if activation == "linear" and preactivation is None:
            yield plain, out, None
            return
        if activation == "relu" and preactivation is None:
            yield ("relu" if bias is None else "relu_bias"), out, None
        z = out if preactivation is None else preactivation
        yield plain, z, partial(activations.enqueue_activation, stream, activation, z, params, out)

    key = _key("dense", x, kernel, out, precision, activation, bias is None, preactivation is None)
    _enqueue(key, x.rows, full, stream, tiles, workspace, lambda: [
        _Way(epilogue, partial(cublaslt.Product, x, kernel, target, (False, False), epilogue, bias,
                               precision), then)
        for epilogue, target, then in ways()])


def enqueue_dense_dx(stream, dz, kernel, saved, activation, params, dx, precision=None,
                     workspace=None, full=None):
    """`dense.enqueue_dense_dx`; see `enqueue_dense`."""
    tiles = partial(dense.enqueue_dense_dx, stream, dz, kernel, saved, activation, params, dx,
                    precision)
    precision = precision or _precision(dz.dtype)
    then = None if saved is None or activation == "linear" else partial(
        activations.enqueue_activation_grad, stream, activation, dx, saved, params, dx)
    key = _key("dense_dx", dz, kernel, dx, precision, activation if then else "")
    _enqueue(key, dz.rows, full, stream, tiles, workspace, lambda: [
        _Way("none", partial(cublaslt.Product, dz, kernel, dx, (False, True), precision=precision),
             then)])


def enqueue_dense_dw(stream, x, dz, dkernel, dbias, precision=None, workspace=None, full=None):
    """`dense.enqueue_dense_dw`; see `enqueue_dense`."""
    tiles = partial(dense.enqueue_dense_dw, stream, x, dz, dkernel, dbias, precision)
    precision = precision or _precision(x.dtype)

    def ways():
        if dbias is not None and precision is None:  # a sum of what is not rounded
            yield "column_sums", dbias, None
        yield "none", None, dbias if dbias is None else partial(
            dense.enqueue_dense_db, stream, dz, dbias)

    key = _key("dense_dw", x, dz, dkernel, precision, "", dbias is None)
    _enqueue(key, x.rows, full, stream, tiles, workspace, lambda: [
        _Way(epilogue, partial(cublaslt.Product, x, dz, dkernel, (True, False), epilogue, vector,
                               precision), then)
        for epilogue, vector, then in ways()])


def _precision(dtype):
    """What cuBLASLt may round factors to where the layer does not say that all are rounded."""
    wanted = backend.matmul()["precision"]
    return None if wanted == "float32" or dtype != np.float32 else wanted


def _key(kind, a, b, out, precision, activation, *rest):
    """All that an algorithm may depend on; the shape is that of the product, n x d x m."""
    n, d, m = (out.rows, a.columns, out.columns) if kind != "dense_dw" else (
        a.rows, out.rows, out.columns)
    lie = [(array.pitch, cublaslt.aligned(cublaslt.address(array.data))) for array in (a, b, out)]
    return (kind, n, d, m, out.dtype.name, precision, activation, *rest,
            backend.matmul()["library"], *lie)


# -- choosing ------------------------------------------------------------------------------------


def _enqueue(key, rows, full, stream, tiles, workspace, ways):
    _, n, d, m, *_ = key
    if workspace is None or 2 * n * d * m < least_flops or not _usable():
        tiles()
        return
    choice, ways = _choices.get(key), ways()
    if choice is None and full not in (None, rows):
        # the same product of a whole batch, of which an algorithm may suit other rows or not
        like = _choices.get((key[0], full, *key[2:]))
        choice = None if like is None else _first(ways, workspace, like.way)
    if choice is None:
        choice = _choices[key] = (
            _first(ways, workspace) if backend.matmul()["library"] == "cublaslt"
            else _fastest(stream, tiles, ways, workspace))
    if choice.way is None:
        tiles()
    else:
        _run(stream, ways[choice.way], ways[choice.way].product(), choice.algorithm, workspace)


def _run(stream, way, product, algorithm, workspace):
    handle = 0 if SIMULATED else int(stream.handle)
    place = cublaslt.address(workspace.data) if algorithm.workspace else 0
    product.enqueue(handle, algorithm, place)
    if way.then is not None:
        way.then()


def _first(ways, workspace, only=-1):
    """What cuBLASLt proposes first, for the most fused way that it has; else the tiles."""
    if only is None:
        return Choice(_TILES)
    for number, way in enumerate(ways):
        if only not in (-1, number):
            continue
        found = way.product().algorithms(1, workspace.size)
        if found:
            return Choice(f"cuBLASLt {way.epilogue} 0", number, found[0])
    return Choice(_TILES)


def _fastest(stream, tiles, ways, workspace):
    """Time the tiles and every algorithm of every way."""
    named, made = {_TILES: Choice(_TILES)}, {_TILES: tiles}
    for number, way in enumerate(ways):
        product = way.product()
        for k, algorithm in enumerate(product.algorithms(_ALGORITHMS, workspace.size)):
            name = f"cuBLASLt {way.epilogue} {k}"
            named[name] = Choice(name, number, algorithm)
            made[name] = partial(_run, stream, way, product, algorithm, workspace)
    times = _microseconds(stream, made)
    limit = _CLOSE * min(times.values())
    best = next(name for name in made if name in times and times[name] <= limit)
    return named[best]._replace(microseconds=times)


def _microseconds(stream, calls):
    """Microseconds of each call, by name: medians of turns, each a graph of several launches.

    A call whose launch the library refuses is left out.
    """
    graphs = {}
    for name, call in calls.items():
        try:
            call()  # compiles, loads
            stream.synchronize()
            graphs[name] = Graph(int(stream.handle), lambda call=call: [
                call() for _ in range(_REPEATS)])
        except RuntimeError:
            if name == _TILES:
                raise
    begin, end = cuda.event(timing=True), cuda.event(timing=True)
    times = {name: [] for name in graphs}
    for _ in range(_ROUNDS + 1):
        for name, graph in graphs.items():
            begin.record(stream)
            graph.start(int(stream.handle))
            end.record(stream)
            end.synchronize()
            times[name].append(1000.0 * cuda.event_elapsed_time(begin, end) / _REPEATS)
    return {name: statistics.median(values[1:]) for name, values in times.items()}
