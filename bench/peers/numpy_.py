"""NumPy: what one writes by hand, in float32."""

from __future__ import annotations

import numpy as np

from .. import oracle
from ..workloads import LEARNING_RATE
from . import Unsupported, only_float32

NAME = "NumPy"
DISTRIBUTIONS = ("numpy",)


class Trainer:
    def __init__(self, work, x, y, layers):
        only_float32(work)
        if work.activation == "gelu":
            raise Unsupported("NumPy has no error function")
        self.x, self.y = x, y
        self.network = oracle.Network(work, layers, np.float32)

    def train(self, shuffle):
        return self.network.train(self.x, self.y, shuffle)

    def layers(self):
        return self.network.layers


def predictor(work, layers):
    if work.activation == "gelu":
        raise Unsupported("NumPy has no error function")
    *hidden, (last, last_bias) = layers
    tanh = work.activation == "tanh"
    classes = work.loss == "softmax_cross_entropy"

    def predict(x):
        for kernel, bias in hidden:
            x = x @ kernel
            x += bias
            np.tanh(x, out=x) if tanh else np.maximum(x, 0, out=x)
        z = x @ last
        z += last_bias
        if classes:
            z -= z.max(axis=1, keepdims=True)
            np.exp(z, out=z)
            z /= z.sum(axis=1, keepdims=True)
        return z

    return predict


def elementwise(name, x, out):
    if name == "relu":
        return lambda: np.maximum(x, 0, out=out)
    if name in ("tanh", "exponential", "arctan"):
        function = {"exponential": np.exp}.get(name) or getattr(np, name)
        return lambda: function(x, out=out)
    if name == "sigmoid":

        def sigmoid():
            np.negative(x, out=out)
            np.exp(out, out=out)
            np.add(out, 1, out=out)
            return np.divide(1, out, out=out)

        return sigmoid
    if name == "softplus":
        return lambda: np.logaddexp(x, 0, out=out)
    raise Unsupported(f"NumPy has no {name}")


def cross_entropy(logits, labels):
    rows = np.arange(len(labels))

    def loss_and_gradient():
        gradient = logits - logits.max(axis=1, keepdims=True)
        np.exp(gradient, out=gradient)
        gradient /= gradient.sum(axis=1, keepdims=True)
        loss = -np.log(gradient[rows, labels]).mean()
        gradient[rows, labels] -= 1
        gradient /= len(rows)
        return loss, gradient

    return loss_and_gradient


def adam(parameters, gradient):
    w, m, v = parameters.copy(), np.zeros_like(parameters), np.zeros_like(parameters)
    step = 0

    def update():
        nonlocal step
        step += 1
        oracle.adam(w, gradient, m, v, step, LEARNING_RATE["adam"])

    return update, lambda: w
