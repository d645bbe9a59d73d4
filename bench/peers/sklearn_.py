"""scikit-learn's MLPClassifier."""

from __future__ import annotations

import numpy as np
from sklearn.neural_network import MLPClassifier

from ..workloads import BETA_1, BETA_2, EPSILON, LEARNING_RATE, MOMENTUM
from . import Unsupported, only_float32

NAME = "scikit-learn"
DISTRIBUTIONS = ("scikit-learn",)


class _Started(MLPClassifier):
    """An MLPClassifier that starts from given weights."""

    def _init_coef(self, fan_in, fan_out, dtype):
        kernel, bias = self.given.pop(0)
        return kernel.astype(dtype), bias.astype(dtype)


def _classifier(work, layers):
    only_float32(work)
    if work.loss != "softmax_cross_entropy":
        raise Unsupported("its squared error is half of Keras's, summed over outputs")
    if work.activation == "gelu":
        raise Unsupported("no gelu")
    if work.dropout:
        raise Unsupported("no dropout")
    model = _Started(
        work.widths[1:-1], activation=work.activation, alpha=0.0, batch_size=work.batch,
        solver="adam" if work.optimizer == "adam" else "sgd",
        learning_rate_init=LEARNING_RATE[work.optimizer], momentum=MOMENTUM,
        nesterovs_momentum=True, beta_1=BETA_1, beta_2=BETA_2, epsilon=EPSILON, random_state=0,
    )
    model.given = list(layers)
    return model


class Trainer:
    def __init__(self, work, x, y, layers):
        self.work, self.x, self.y = work, x, y
        self.model = _classifier(work, layers)

    def train(self, shuffle):
        self.model.shuffle = shuffle
        losses = []
        for _ in range(self.work.epochs):
            self.model.partial_fit(self.x, self.y, classes=np.arange(self.work.widths[-1]))
            losses.append(float(self.model.loss_))
        return losses

    def layers(self):
        return list(zip(self.model.coefs_, self.model.intercepts_, strict=True))


def classifier():
    return MLPClassifier


def predictor(work, layers):
    model = _classifier(work, layers)
    columns, classes = work.widths[0], work.widths[-1]
    rows = np.zeros((classes, columns), np.float32)
    model.learning_rate_init = 1e-30  # a fit is needed before predict; this one moves nothing
    model.batch_size = classes
    model.partial_fit(rows, np.arange(classes), classes=np.arange(classes))
    return model.predict_proba
