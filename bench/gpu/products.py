"""Products of dense layers, against those of PyTorch (cuBLAS): the same arrays, graph by graph."""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from types import SimpleNamespace

import numpy as np

from ..cases import Case, distance
from ..peers import Unsupported
from .card import alternate

TITLE = "Products, float32"
UNIT = "µs per call"
HEADLINE = ()
TARGET = "with cuBLASLt within 5 % of PyTorch; own tiles at least 60 % of it"
ALTERNATE = alternate

_OURS = SimpleNamespace(NAME="fusedmlp")
_SHAPES = ((128, 784, 256), (256, 256, 128), (512, 784, 1024), (512, 1024, 1024),
           (1000, 100, 100), (8192, 784, 256), (4096, 4096, 4096), (8192, 8192, 8192))
_KINDS = ("product", "dense relu", "dx", "dw and db")
_TOLERANCE = 1e-5  # of the largest; what tf32 rounds is far above

NAMES = tuple(f"{kind}, {'x'.join(map(str, shape))}" for kind in _KINDS for shape in _SHAPES)
QUICK = tuple(f"{kind}, 512x1024x1024" for kind in _KINDS)


def shape_of(name):
    """Kind and (n, d, m) of a case.

    >>> shape_of("dw and db, 128x784x256")
    ('dw and db', (128, 784, 256))
    """
    kind, shape = name.split(", ")
    return kind, tuple(map(int, shape.split("x")))


def arrays(card, shape):
    """x, kernel, bias and dz."""
    n, d, m = shape
    return card.numbers(n, d), card.numbers(d, m), card.numbers(m), card.numbers(n, m)


def error(kind, given, found):
    """Of three rows of each result, the largest distance from float64."""
    x, kernel, bias, dz = (a.astype(np.float64) for a in given)
    rows = [0, len(found[0]) // 2, len(found[0]) - 1]
    if kind == "dx":
        expected = dz[rows] @ kernel.T
    elif kind == "dw and db":
        expected = x[:, rows].T @ dz
    else:
        expected = x[rows] @ kernel
        if kind == "dense relu":
            expected = np.maximum(expected + bias, 0.0)
    worst = np.nan if any(np.isnan(one).any() for one in found) else 0.0
    worst = max(worst, distance(found[0][rows], expected))
    return max(worst, distance(found[1], dz.sum(axis=0))) if kind == "dw and db" else worst


@contextmanager
def _library(name):
    from fusedmlp import config

    before = config.matmul()
    config.set_matmul(precision="float32", library=name)
    try:
        yield
    finally:
        config.set_matmul(**before)


def _ours(adapter, card, kind, shape, given, library):
    from fusedmlp.kernels.cuda import cublaslt, device, products

    if library != "tiles" and cublaslt.missing():
        raise Unsupported(cublaslt.missing())
    n, d, m = shape
    x, kernel, bias, dz = (card.send(a) for a in given)
    sizes = {"dx": [(n, d)], "dw and db": [(d, m), (m,)]}.get(kind, [(n, m)])
    out = [card.send(np.full(s, np.nan, np.float32)) for s in sizes]
    room = device.cuda.to_device(np.zeros(32 << 20, np.uint8))
    rest = {"workspace": device.vector(room, len(room))}
    on = [array for _, array in (x, kernel, bias, dz)]
    targets = [array for _, array in out]
    if kind == "dx":
        enqueue = partial(products.enqueue_dense_dx, card.stream, on[3], on[1], None, "linear", (),
                          *targets, **rest)
    elif kind == "dw and db":
        enqueue = partial(products.enqueue_dense_dw, card.stream, on[0], on[3], *targets, **rest)
    else:
        activation = "relu" if kind == "dense relu" else "linear"
        enqueue = partial(products.enqueue_dense, card.stream, on[0], on[1],
                          on[2] if activation == "relu" else None, activation, (), *targets, None,
                          **rest)
    with _library(library):
        contender = card.replay(enqueue)
    contender.held = x, kernel, bias, dz, out, room
    return contender, error(kind, given, [held.copy_to_host().reshape(s)
                                          for (held, _), s in zip(out, sizes, strict=True)])


def cases(names, card, quick=False):
    """Build and verify one case after the other."""
    from . import contenders

    for name in names:
        kind, shape = shape_of(name)
        given = arrays(card, shape)
        case = Case(name, _TOLERANCE, "n x d x m", units=card.LAUNCHES, flops=2.0 * np.prod(shape))
        for label, library in (("fusedmlp", "auto"), ("fusedmlp, tiles", "tiles"),
                               ("fusedmlp, cuBLASLt", "cublaslt")):
            case.add(_OURS, _ours, card, kind, shape, given, library, name=label)
        case.add(contenders.TORCH, contenders.torch_product, card, kind, given)
        yield case
