"""The table of workloads: which networks, which sizes, and the data they are run on.

Plain data and NumPy.  Every subject and every adapter reads these rows; no adapter is known here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["ELEMENTWISE", "OPTIMIZER", "PREDICT", "TRAIN", "XENT", "Workload", "data", "weights"]


@dataclass(frozen=True)
class Workload:
    """One network and how it is trained.

    Attributes
    ----------
    name : str
    widths : tuple of int
        Columns of the input, of every hidden layer and of the output.
    batch, steps, epochs : int
        Rows of a mini-batch, mini-batches of an epoch, epochs of one timed call.
    activation : {"relu", "tanh", "gelu"}
        Of the hidden layers.
    loss : {"softmax_cross_entropy", "mean_squared_error"}
    optimizer : {"adam", "momentum"}
        Adam with Keras's defaults; SGD with Nesterov momentum 0.9 and learning rate 0.01.
    dropout : float
        After every hidden layer.
    policy : {"float32", "mixed_bfloat16"}
        Keras's dtype policy: whether the factors of products are rounded to bfloat16.
    tolerance : float
        Largest relative difference of a loss from that of float64 arithmetic.
    quick : bool
        Whether ``--quick`` runs it.
    """

    name: str
    widths: tuple
    batch: int
    steps: int
    epochs: int = 1
    activation: str = "relu"
    loss: str = "softmax_cross_entropy"
    optimizer: str = "adam"
    dropout: float = 0.0
    policy: str = "float32"
    tolerance: float = 2e-4
    quick: bool = False

    @property
    def rows(self):
        """Rows of the training data."""
        return self.batch * self.steps

    @property
    def updates(self):
        """Steps of one timed call."""
        return self.steps * self.epochs

    @property
    def step_flops(self):
        """Operations of the products of one step: forward, dW, and dX but for the first layer."""
        products = [a * b for a, b in zip(self.widths, self.widths[1:], strict=False)]
        return 2 * self.batch * (3 * sum(products) - products[0])

    @property
    def row_flops(self):
        """Operations of the products of one row's prediction."""
        return 2 * sum(a * b for a, b in zip(self.widths, self.widths[1:], strict=False))

    def __str__(self):
        text = f"{'-'.join(map(str, self.widths))}, batch {self.batch}"
        usual = ("relu", "softmax_cross_entropy", "adam", "float32")
        chosen = (self.activation, self.loss, self.optimizer, self.policy)
        text += "".join(
            f", {name}" for name, default in zip(chosen, usual, strict=True) if name != default
        )
        return text + (f", dropout {self.dropout}" if self.dropout else "")


_W = Workload

# Dropout draws other random numbers in every library, so only means over an epoch agree.  What
# mixed_bfloat16 rounds besides the factors differs, too.
TRAIN = {
    row.name: row
    for row in (
        _W("tiny", (4, 16, 16, 3), 32, 400, quick=True),
        _W("digits-32", (64, 100, 10), 32, 200, quick=True),
        _W("digits-200", (64, 100, 10), 200, 50),
        _W("tabular", (54, 256, 128, 7), 256, 40),
        _W("mnist", (784, 256, 128, 10), 128, 40),
        _W("wide", (784, 1024, 1024, 10), 512, 8),
        _W("simplechains", (4, 32, 16, 4), 10_000, 1, epochs=20, activation="tanh",
           loss="mean_squared_error"),
        _W("ragged", (37, 101, 53, 5), 96, 80),
        _W("tanh", (13, 64, 64, 1), 64, 100, activation="tanh", loss="mean_squared_error"),
        _W("gelu", (54, 256, 128, 7), 256, 40, activation="gelu"),
        _W("momentum", (64, 100, 10), 200, 50, optimizer="momentum"),
        _W("dropout", (54, 256, 128, 7), 256, 40, dropout=0.2, tolerance=0.05),
        _W("mnist-bfloat16", (784, 256, 128, 10), 128, 40, policy="mixed_bfloat16",
           tolerance=0.05),
        _W("wide-bfloat16", (784, 1024, 1024, 10), 512, 8, policy="mixed_bfloat16",
           tolerance=0.05),
    )
}

HEADLINE = ("tiny", "digits-32", "digits-200", "tabular", "mnist", "wide")
"""The workloads whose geometric mean is reported."""

PREDICT = {
    f"{name}, {rows}": (TRAIN[workload], rows)
    for rows in (1, 32, 1024)
    for name, workload in (("tiny", "tiny"), ("digits", "digits-32"), ("mnist", "mnist"),
                           ("wide", "wide"))
}
"""Networks and numbers of rows of one call of predict."""

ELEMENTWISE = {
    f"{name}, {label}": (name, size)
    for size, label in ((10_000, "10,000"), (4_000_000, "4 M"))
    for name in ("tanh", "sigmoid", "exponential", "relu", "gelu", "softplus", "elu", "silu",
                 "arctan")
}
"""Activations and numbers of elements."""

XENT = {f"{rows} x {classes}": (rows, classes)
        for rows, classes in ((256, 10), (1024, 1000), (128, 32_000))}
"""Shapes of the logits of softmax-cross-entropy with its gradient."""

OPTIMIZER = {
    "adam, 10,000": ("adam", 10_000), "adam, 4 M": ("adam", 4_000_000),
    **{f"{name}, {label}": (name, size) for label, size in (("10,000", 10_000), ("4 M", 4_000_000))
       for name in ("rmsprop", "adamax", "radam", "lion", "lamb")},
}
"""Optimizer and number of parameters of one update."""

LEARNING_RATE = {"adam": 1e-3, "momentum": 1e-2}
BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-7
MOMENTUM = 0.9


def weights(work, seed=0):
    """Glorot-uniform kernels and small random biases, float32: a list of (kernel, bias)."""
    rng = np.random.default_rng(seed)
    layers = []
    for fan_in, fan_out in zip(work.widths, work.widths[1:], strict=False):
        limit = np.sqrt(6 / (fan_in + fan_out))
        kernel = rng.uniform(-limit, limit, (fan_in, fan_out)).astype(np.float32)
        layers.append((kernel, rng.uniform(-0.1, 0.1, fan_out).astype(np.float32)))
    return layers


def data(work, rows=None, seed=1):
    """Random inputs and what a random teacher makes of them, so that there is something to learn.

    Returns
    -------
    x : float32 (rows, widths[0])
    y : int64 (rows,) of classes, or float32 (rows, widths[-1]) for squared error
    """
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((rows or work.rows, work.widths[0])).astype(np.float32)
    teacher = rng.standard_normal((work.widths[0], work.widths[-1]))
    score = np.tanh(x @ teacher / np.sqrt(work.widths[0]))
    if work.loss == "softmax_cross_entropy":
        score += 0.3 * rng.standard_normal(score.shape)
        return x, score.argmax(axis=1).astype(np.int64)
    return x, score.astype(np.float32)
