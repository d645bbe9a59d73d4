"""What Keras and fusedmlp share: one script, two imports.

Not a contender itself; `keras_` and `fused` bind it to their library.
"""

from __future__ import annotations

from ..workloads import BETA_1, BETA_2, EPSILON, LEARNING_RATE, MOMENTUM


def network(keras, work, layers, last=None):
    """The workload's model with the given weights; `last` activates the output."""
    model = keras.Sequential([keras.Input((work.widths[0],))])
    for width in work.widths[1:-1]:
        model.add(keras.layers.Dense(width, activation=work.activation, dtype=work.policy))
        if work.dropout:
            model.add(keras.layers.Dropout(work.dropout, dtype=work.policy))
    model.add(keras.layers.Dense(work.widths[-1], activation=last, dtype=work.policy))
    model.set_weights([array for pair in layers for array in pair])
    return model


def output_activation(work):
    """What turns the workload's outputs into what `predict` returns."""
    return "softmax" if work.loss == "softmax_cross_entropy" else None


class Trainer:
    """`keras` is set by the subclass."""

    keras = None

    def __init__(self, work, x, y, layers):
        keras = self.keras
        self.work, self.x, self.y = work, x, y
        self.model = network(keras, work, layers)
        rate = LEARNING_RATE[work.optimizer]
        if work.optimizer == "adam":
            optimizer = keras.optimizers.Adam(rate, BETA_1, BETA_2, EPSILON)
        else:
            optimizer = keras.optimizers.SGD(rate, MOMENTUM, nesterov=True)
        if work.loss == "softmax_cross_entropy":
            loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        else:
            loss = keras.losses.MeanSquaredError()
        self.model.compile(optimizer, loss)

    def train(self, shuffle):
        history = self.model.fit(self.x, self.y, batch_size=self.work.batch,
                                 epochs=self.work.epochs, verbose=0, shuffle=shuffle)
        return history.history["loss"]

    def layers(self):
        flat = self.model.get_weights()
        return list(zip(flat[::2], flat[1::2], strict=True))
