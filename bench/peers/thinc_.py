"""thinc, the network library under spaCy."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from thinc.api import Adam, Relu, Softmax, chain

from ..workloads import BETA_1, BETA_2, EPSILON, LEARNING_RATE
from . import Unsupported, only_float32

NAME = "thinc"
DISTRIBUTIONS = ("thinc",)


class Trainer:
    def __init__(self, work, x, y, layers):
        only_float32(work)
        if work.activation != "relu":
            raise Unsupported(f"no layer with {work.activation} in float32 that keeps its formula")
        if work.loss != "softmax_cross_entropy" or work.dropout:
            raise Unsupported("only softmax-cross-entropy without dropout is adapted")
        if work.optimizer != "adam":
            raise Unsupported("no momentum SGD")
        self.work, self.x, self.y = work, x, y
        self.rng = np.random.default_rng(2)
        self.dense = [Relu(n, m) for n, m in pairwise(work.widths[:-1])]
        self.dense.append(Softmax(work.widths[-1], work.widths[-2]))
        self.model = chain(*self.dense)
        self.model.initialize()
        for node, (kernel, bias) in zip(self.dense, layers, strict=True):
            node.set_param("W", np.ascontiguousarray(kernel.T))
            node.set_param("b", bias.copy())
        self.optimizer = Adam(LEARNING_RATE["adam"], beta1=BETA_1, beta2=BETA_2, eps=EPSILON,
                              L2=0.0, grad_clip=0.0)

    def train(self, shuffle):
        rows, batch = len(self.x), self.work.batch
        losses = []
        for _ in range(self.work.epochs):
            order = self.rng.permutation(rows) if shuffle else np.arange(rows)
            total = 0.0
            for begin in range(0, rows, batch):
                index = order[begin:begin + batch]
                labels = self.y[index]
                probabilities, backward = self.model.begin_update(self.x[index])
                count = np.arange(len(index))
                total -= float(np.log(probabilities[count, labels]).sum())
                gradient = probabilities.copy()
                gradient[count, labels] -= 1
                gradient /= len(index)
                backward(gradient)
                self.model.finish_update(self.optimizer)
            losses.append(total / rows)
        return losses

    def layers(self):
        return [(node.get_param("W").T, node.get_param("b")) for node in self.dense]
