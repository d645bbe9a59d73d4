"""Kernels that move memory, against a copy of as many bytes: arrays that no cache holds."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace

import numpy as np

from .. import oracle
from ..cases import Case, distance
from .card import alternate

TITLE = "Kernels, against a copy from the device to itself"
UNIT = "µs per call"
HEADLINE = ()
TARGET = "at least 85 % of the bandwidth of a copy"
ALTERNATE = alternate

_LENGTH, _QUICK_LENGTH = 1 << 26, 1 << 22
_CHECKED = 50_000  # elements at either end, and as many in between
_ACTIVATIONS = ("relu", "tanh", "sigmoid", "gelu", "silu", "softplus", "elu", "exponential",
                "arctan")
_LOGITS = {"softmax_cross_entropy, 10": (1 << 22, 10),
           "softmax_cross_entropy, 1000": (1 << 16, 1000),
           "softmax_cross_entropy, 32000": (1 << 11, 32_000)}
_OURS = SimpleNamespace(NAME="fusedmlp")
_RATE = 1e-3

NAMES = (*_ACTIVATIONS, "relu_grad", *_LOGITS, "sgd", "momentum", "adam", "dropout")
QUICK = ("relu", "gelu", "softmax_cross_entropy, 10", "adam")


def _parts(size):
    """Slices that are looked at: the beginning, the end, and what lies in the middle."""
    count = min(_CHECKED, size)
    middle = (size - count) // 2
    return [slice(0, count), slice(middle, middle + count), slice(size - count, size)]


def _error(found, expected_of, *sources):
    """The largest distance of the parts from ``expected_of(*float64 parts)``, NaN for any NaN."""
    if np.isnan(found).any():
        return np.nan
    return max(distance(found[part], expected_of(*(s[part].astype(np.float64) for s in sources)))
               for part in _parts(len(found)))


def _activation(adapter, card, name, length):
    from fusedmlp.kernels.cuda import activations
    from fusedmlp.spec import ACTIVATIONS

    row, x = ACTIVATIONS[name], card.numbers(length)
    params = () if row.variants else tuple(float(value) for _, value in row.params)
    (source, on_x), (y, on_y) = card.send(x), card.send(np.full(length, np.nan, np.float32))
    contender = card.replay(partial(activations.enqueue_activation, card.stream, name, on_x, params,
                                    on_y))
    contender.held = source, y
    return contender, _error(y.copy_to_host(), oracle.ELEMENTWISE[name], x)


def _relu_grad(adapter, card, name, length):
    from fusedmlp.kernels.cuda import activations

    dy, y = card.numbers(length), card.numbers(length)
    held = [card.send(a) for a in (dy, y, np.full(length, np.nan, np.float32))]
    contender = card.replay(partial(activations.enqueue_activation_grad, card.stream, "relu",
                                    held[0][1], held[1][1], (), held[2][1]))
    contender.held = held
    return contender, _error(held[2][0].copy_to_host(), lambda dy, y: dy * (y > 0), dy, y)


def _cross_entropy(adapter, card, rows, classes):
    from fusedmlp.kernels.cuda import losses

    z, labels = card.numbers(rows, classes), card.random.integers(0, classes, rows)
    held = [card.send(a) for a in (z, labels, np.full(rows, np.nan, np.float32),
                                   np.full((rows, classes), np.nan, np.float32))]
    (_, on_z), (_, on_labels), (loss, on_loss), (gradient, on_gradient) = held
    contender = card.replay(partial(
        losses.enqueue_softmax_cross_entropy, card.stream, on_z, on_labels, None, 0.0, None,
        1.0 / rows, on_loss, on_gradient, None))
    contender.held = held
    found = gradient.copy_to_host().reshape(rows, classes)
    error = np.nan if np.isnan(found).any() else 0.0
    for i in (0, rows // 2, rows - 1):
        value, slope = oracle.cross_entropy(z[i : i + 1].astype(np.float64), labels[i : i + 1])
        error = max(error, distance(found[i] * rows, slope[0]),
                    abs(float(loss[i : i + 1].copy_to_host()[0]) - value) / max(value, 1.0))
    return contender, error


def _update(adapter, card, name, length):
    from fusedmlp.kernels.cuda import optimizers
    from fusedmlp.spec import OPTIMIZERS

    row = OPTIMIZERS[name]
    params = [0.9 if key == "momentum" else float(value) for key, value in row.params]
    w, g = card.numbers(length), card.numbers(length)
    held = [card.send(a) for a in (w, g, *[np.zeros(length, np.float32) for _ in row.slots],
                                   np.array([_RATE, 0.0]))]
    arrays = [array for _, array in held]
    enqueue = partial(optimizers.enqueue_update, card.stream, name, *arrays[:2], arrays[2:-1],
                      arrays[-1], 1.0, 1, params)
    enqueue()  # the first update, from states of 0
    card.wait()

    def expected(w, g):
        if name == "adam":
            oracle.adam(w, g, np.zeros_like(w), np.zeros_like(w), 1, _RATE)
            return w
        return w - _RATE * g

    error = _error(held[0][0].copy_to_host(), expected, w, g)
    contender = card.replay(enqueue)
    contender.held = held
    return contender, error


def _dropout(adapter, card, name, length):
    from fusedmlp.kernels.cuda import random
    from fusedmlp.kernels.reference import random as reference

    columns, rate, seed = 1024, 0.25, int(card.random.integers(1 << 62))
    rows = length // columns
    x = card.numbers(rows, columns)
    empty = np.full((rows, columns), np.nan, np.float32)
    held = [card.send(a) for a in (x, empty, empty, np.array([0.0, 5.0]))]
    contender = card.replay(partial(
        random.enqueue_dropout, card.stream, held[0][1], rate, seed, 3, held[3][1],
        1.0 / (1.0 - rate), (0.0, 0.0), held[1][1], held[2][1]))
    contender.held = held
    looked_at = min(50, rows)
    mask = np.empty((looked_at, columns), np.float32)
    reference.dropout_mask(rate, seed, 3, 5, mask)
    found = held[1][0].copy_to_host().reshape(rows, columns)
    wrong = np.isnan(found).any() or not np.array_equal(
        held[2][0].copy_to_host()[: mask.size], mask.ravel())
    expected = x[:looked_at].astype(np.float64) * mask
    return contender, np.nan if wrong else distance(found[:looked_at], expected)


def plan(name, length):
    """What a kernel is measured by: function, arguments, bytes moved, a note."""
    if name in _LOGITS:
        rows, classes = _LOGITS[name]
        rows = max(1, rows * length // _LENGTH)
        return _cross_entropy, (rows, classes), 8 * rows * classes, f"{rows:,} x {classes:,}"
    note = f"{length / 2**20:.0f} M float32"
    if name in _ACTIVATIONS:
        return _activation, (name, length), 8 * length, note
    if name == "relu_grad":
        return _relu_grad, (name, length), 12 * length, note
    if name == "dropout":
        return _dropout, (name, length), 12 * length, note
    slots = {"sgd": 0, "momentum": 1, "adam": 2}[name]
    return _update, (name, length), (12 + 8 * slots) * length, note


def cases(names, card, quick=False):
    """Build and verify one case after the other."""
    for name in names:
        function, arguments, nbytes, note = plan(name, _QUICK_LENGTH if quick else _LENGTH)
        case = Case(name, 1e-5, note, units=card.LAUNCHES, bytes=nbytes)
        case.add(_OURS, function, card, *arguments)
        yield case
