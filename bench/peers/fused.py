"""fusedmlp, the installed one, as a user calls it."""

from __future__ import annotations

import fusedmlp
from fusedmlp import ops
from fusedmlp.spec import OPTIMIZERS

from ..workloads import LEARNING_RATE
from . import keras_like

NAME = "fusedmlp"
DISTRIBUTIONS = ("fusedmlp",)


def settings():
    """What of the library is in use, as plain data."""
    return fusedmlp.config.info()


def classifier():
    from fusedmlp.sklearn import MLPClassifier

    return MLPClassifier


class Trainer(keras_like.Trainer):
    keras = fusedmlp


def predictor(work, layers):
    model = keras_like.network(fusedmlp, work, layers, keras_like.output_activation(work))
    return model.predict


def bound_predictor(work, layers, rows):
    """What serves: a callable with its own buffers for at most `rows` rows."""
    model = keras_like.network(fusedmlp, work, layers, keras_like.output_activation(work))
    return model.predictor(batch=rows)


def elementwise(name, x, out):
    return lambda: ops.activation(x, name, out=out)


def cross_entropy(logits, labels):
    return lambda: ops.softmax_cross_entropy(logits, labels)


def cross_entropy_out(logits, labels, out):
    """The same with the gradient written into an array that is given."""
    return lambda: ops.softmax_cross_entropy(logits, labels, out=out)


def adam(parameters, gradient):
    w = parameters.copy()
    m, v = w * 0, w * 0
    step = 0

    def update():
        nonlocal step
        step += 1
        ops.adam_update(w, gradient, m, v, step, LEARNING_RATE["adam"])

    return update, lambda: w


UPDATES = ("rmsprop", "adamax", "radam", "lion", "lamb")


def update(name, parameters, gradient):
    w, row = parameters.copy(), OPTIMIZERS[name]
    slots = [w * 0 for _ in row.slots]
    function, step = getattr(ops, f"{name}_update"), 0

    def one():
        nonlocal step
        step += 1
        counted = (step,) if row.counts else ()
        function(w, gradient, *slots, *counted, LEARNING_RATE["adam"])

    return one, lambda: w
