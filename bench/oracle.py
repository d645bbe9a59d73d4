"""What every contender is held to: the same work in plain float64 NumPy.

The training loop takes a dtype, so that in float32 it is also the NumPy contender.  Formulas are
written out here once more, on purpose: an oracle that shared code with the library would share its
mistakes.
"""

from __future__ import annotations

from math import erf, pi, sqrt

import numpy as np

from .workloads import BETA_1, BETA_2, EPSILON, LEARNING_RATE, MOMENTUM

__all__ = ["ELEMENTWISE", "UPDATES", "Network", "adam", "cross_entropy", "final_loss", "predict"]

_erf = np.frompyfunc(erf, 1, 1)


def _gelu(z):
    # x/2 (1 + erf(x / sqrt 2)), Hendrycks and Gimpel (2016)
    return z / 2 * (1 + _erf(z.astype(np.float64) / sqrt(2)).astype(z.dtype))


def _gelu_derivative(z, y):
    # Phi(x) + x phi(x)
    cdf = (1 + _erf(z.astype(np.float64) / sqrt(2)).astype(z.dtype)) / 2
    return cdf + z * np.exp(-z * z / 2) / sqrt(2 * pi)


# name: (function of z, derivative from z and y)
ACTIVATIONS = {
    "relu": (lambda z: np.maximum(z, 0), lambda z, y: y > 0),
    "tanh": (np.tanh, lambda z, y: 1 - y * y),
    "gelu": (_gelu, _gelu_derivative),
}

ELEMENTWISE = {
    "tanh": np.tanh,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "exponential": np.exp,
    "relu": lambda x: np.maximum(x, 0),
    "gelu": _gelu,
    "softplus": lambda x: np.log1p(np.exp(-np.abs(x))) + np.maximum(x, 0),
    "elu": lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
    "silu": lambda x: x / (1 + np.exp(-x)),
    "arctan": np.arctan,
}


def _softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def cross_entropy(logits, labels):
    """Mean softmax-cross-entropy of (n, c) logits and its gradient; float, (n, c)."""
    n = len(logits)
    probabilities = _softmax(logits)
    picked = probabilities[np.arange(n), labels]
    loss = -np.log(picked).mean()
    probabilities[np.arange(n), labels] -= 1
    probabilities /= n
    return float(loss), probabilities


def _squared_error(prediction, target):
    difference = prediction - target
    return float((difference * difference).mean()), difference * (2 / difference.size)


_LOSSES = {"softmax_cross_entropy": cross_entropy, "mean_squared_error": _squared_error}


class Network:
    """A stack of dense layers with its optimizer, trained by hand-written backpropagation.

    Parameters
    ----------
    work : Workload
    layers : list of (kernel, bias)
        Copied.
    dtype
        float64 as the oracle, float32 as a contender.
    epsilon_hat : bool
        Where Adam's epsilon stands: beside sqrt(v) (True: the form before section 2.1 of
        Kingma and Ba, of Keras, scikit-learn and this library) or beside the bias-corrected
        sqrt(v_hat) (False: algorithm 1, PyTorch).
    """

    def __init__(self, work, layers, dtype=np.float64, epsilon_hat=True):
        self.work, self.epsilon_hat, self.step = work, epsilon_hat, 0
        self.rng = np.random.default_rng(2)
        self.layers = [tuple(np.array(a, dtype) for a in pair) for pair in layers]
        flat = [a for pair in self.layers for a in pair]
        self.slots = [[np.zeros_like(a) for a in flat] for _ in range(2)]

    def gradients(self, x, y):
        """Loss of a mini-batch and the gradient of every kernel and bias."""
        function, derivative = ACTIVATIONS[self.work.activation]
        inputs, saved = [x], []
        for kernel, bias in self.layers[:-1]:
            z = inputs[-1] @ kernel
            z += bias
            h = function(z)
            mask = None
            if self.work.dropout:
                keep = self.rng.random(h.shape) >= self.work.dropout
                mask = keep / h.dtype.type(1 - self.work.dropout)
            saved.append((z, h, mask))
            inputs.append(h if mask is None else h * mask)
        kernel, bias = self.layers[-1]
        loss, dz = _LOSSES[self.work.loss](inputs[-1] @ kernel + bias, y)
        gradients = []
        for number in range(len(self.layers) - 1, -1, -1):
            gradients[:0] = [inputs[number].T @ dz, dz.sum(axis=0)]
            if number:
                dz = dz @ self.layers[number][0].T
                z, h, mask = saved[number - 1]
                if mask is not None:
                    dz *= mask
                dz *= derivative(z, h)
        return loss, gradients

    def update(self, gradients):
        """One step of the workload's optimizer."""
        self.step += 1
        parameters = [a for pair in self.layers for a in pair]
        rate = LEARNING_RATE[self.work.optimizer]
        for w, g, m, v in zip(parameters, gradients, *self.slots, strict=True):
            if self.work.optimizer == "adam":
                adam(w, g, m, v, self.step, rate, self.epsilon_hat)
            else:  # Nesterov: v <- mu v - rate g; w <- w + mu v - rate g
                g *= rate
                m *= MOMENTUM
                m -= g
                w += MOMENTUM * m
                w -= g

    def train(self, x, y, shuffle=True):
        """Train the workload's epochs on (rows, d) data; returns the mean loss of each epoch."""
        losses = []
        batch = self.work.batch
        for _ in range(self.work.epochs):
            order = self.rng.permutation(len(x)) if shuffle else np.arange(len(x))
            total = 0.0
            for start in range(0, len(x), batch):
                rows = order[start:start + batch]
                loss, gradients = self.gradients(x[rows], y[rows])
                self.update(gradients)
                total += loss * len(rows)
            losses.append(total / len(x))
        return losses


def adam(w, g, m, v, step, rate, epsilon_hat=True):
    """One Adam update in place; see `Network` for `epsilon_hat`."""
    m += (1 - BETA_1) * (g - m)
    v += (1 - BETA_2) * (g * g - v)
    correction = sqrt(1 - BETA_2**step)
    epsilon = EPSILON if epsilon_hat else EPSILON * correction
    w -= rate * correction / (1 - BETA_1**step) * m / (np.sqrt(v) + epsilon)


def _rmsprop(w, g, s, t, rate):
    s["v"] = 0.9 * s.get("v", 0.0) + 0.1 * g * g
    return w - rate * g / np.sqrt(s["v"] + EPSILON)


def _moments(g, s):
    s["m"] = BETA_1 * s.get("m", 0.0) + (1 - BETA_1) * g
    s["v"] = BETA_2 * s.get("v", 0.0) + (1 - BETA_2) * g * g


def _adamax(w, g, s, t, rate):
    _moments(g, s)
    s["u"] = np.maximum(BETA_2 * s.get("u", 0.0), np.abs(g))
    return w - rate / (1 - BETA_1**t) * s["m"] / (s["u"] + EPSILON)


def _radam(w, g, s, t, rate):
    _moments(g, s)
    most = 2 / (1 - BETA_2) - 1
    rho = most - 2 * t * BETA_2**t / (1 - BETA_2**t)
    rate /= 1 - BETA_1**t
    if rho <= 5:
        return w - rate * s["m"]
    r = sqrt((rho - 4) * (rho - 2) * most / ((most - 4) * (most - 2) * rho))
    return w - rate * r * sqrt(1 - BETA_2**t) * s["m"] / (np.sqrt(s["v"]) + 1e-8)


def _lion(w, g, s, t, rate):
    m = s.get("m", 0.0)
    s["m"] = 0.99 * m + 0.01 * g
    return w - rate * np.sign(0.9 * m + 0.1 * g)


def _lamb(w, g, s, t, rate):
    _moments(g, s)
    u = s["m"] / (1 - BETA_1**t) / (np.sqrt(s["v"] / (1 - BETA_2**t)) + EPSILON)
    return w - rate * np.linalg.norm(w) / np.linalg.norm(u) * u


UPDATES = {"rmsprop": _rmsprop, "adamax": _adamax, "radam": _radam, "lion": _lion, "lamb": _lamb}
"""(w, g, memory, count, rate) -> w with the defaults of fusedmlp's rows."""


def predict(work, layers, x, dtype=np.float64):
    """Class probabilities (or plain outputs, for squared error) of (n, d) rows."""
    h = x.astype(dtype, copy=False)
    function, _ = ACTIVATIONS[work.activation]
    for kernel, bias in layers[:-1]:
        h = function(h @ kernel.astype(dtype, copy=False) + bias)
    kernel, bias = layers[-1]
    z = h @ kernel.astype(dtype, copy=False) + bias
    return _softmax(z) if work.loss == "softmax_cross_entropy" else z


def final_loss(work, layers, x, y):
    """Float64 loss of the trained `layers` on all rows, without dropout."""
    outputs = predict(work, layers, x)
    if work.loss == "softmax_cross_entropy":
        return float(-np.log(outputs[np.arange(len(y)), y]).mean())
    return float(((outputs - y) ** 2).mean())
