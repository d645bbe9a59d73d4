"""PyTorch, eager, with its fused optimizers."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from ..workloads import BETA_1, BETA_2, EPSILON, LEARNING_RATE, MOMENTUM

NAME = "PyTorch"
DISTRIBUTIONS = ("torch",)
EPSILON_HAT = False

_ACTIVATIONS = {"relu": nn.ReLU, "tanh": nn.Tanh, "gelu": nn.GELU}


def _network(work, layers):
    modules = []
    for kernel, bias in layers:
        linear = nn.Linear(*kernel.shape)
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(kernel.T.copy()))
            linear.bias.copy_(torch.from_numpy(bias))
        modules += [linear, _ACTIVATIONS[work.activation]()]
        if work.dropout:
            modules.append(nn.Dropout(work.dropout))
    del modules[-2 if work.dropout else -1:]
    return nn.Sequential(*modules)


def _adam(parameters):
    return torch.optim.Adam(parameters, LEARNING_RATE["adam"], (BETA_1, BETA_2), EPSILON,
                            fused=True)


class Trainer:
    def __init__(self, work, x, y, layers):
        self.work = work
        self.x, self.y = torch.from_numpy(x), torch.from_numpy(y)
        self.model = _network(work, layers)
        self.mixed = work.policy == "mixed_bfloat16"
        classes = work.loss == "softmax_cross_entropy"
        self.loss = nn.CrossEntropyLoss() if classes else nn.MSELoss()
        if work.optimizer == "adam":
            self.optimizer = _adam(self.model.parameters())
        else:
            self.optimizer = torch.optim.SGD(self.model.parameters(), LEARNING_RATE["momentum"],
                                             MOMENTUM, nesterov=True, fused=True)

    def train(self, shuffle):
        rows, batch = len(self.x), self.work.batch
        losses = []
        for _ in range(self.work.epochs):
            order = torch.randperm(rows) if shuffle else torch.arange(rows)
            total = torch.zeros(())
            for start in range(0, rows, batch):
                index = order[start:start + batch]
                self.optimizer.zero_grad(set_to_none=True)
                with torch.autocast("cpu", torch.bfloat16, enabled=self.mixed):
                    loss = self.loss(self.model(self.x[index]), self.y[index])
                loss.backward()
                self.optimizer.step()
                total += loss.detach()
            losses.append(total.item() / self.work.steps)
        return losses

    def layers(self):
        return [(module.weight.detach().numpy().T, module.bias.detach().numpy())
                for module in self.model if isinstance(module, nn.Linear)]


def predictor(work, layers):
    model = _network(work, layers).eval()
    classes = work.loss == "softmax_cross_entropy"

    @torch.inference_mode()
    def predict(x):
        z = model(torch.from_numpy(x))
        return (torch.softmax(z, 1) if classes else z).numpy()

    return predict


def elementwise(name, x, out):
    x, target = torch.from_numpy(x), torch.from_numpy(out)
    with_target = {
        "tanh": torch.tanh, "sigmoid": torch.sigmoid, "exponential": torch.exp,
        "arctan": torch.arctan, "relu": lambda x, out: torch.clamp_min(x, 0, out=out),
        "gelu": torch._C._nn.gelu, "softplus": torch._C._nn.softplus, "elu": torch._C._nn.elu,
        "silu": torch._C._nn.silu,  # what torch.nn.functional calls, where `out` can be given
    }[name]

    def call():
        with_target(x, out=target)
        return out

    return call


def cross_entropy(logits, labels):
    logits, labels = torch.from_numpy(logits).requires_grad_(), torch.from_numpy(labels)

    def loss_and_gradient():
        loss = F.cross_entropy(logits, labels)
        gradient, = torch.autograd.grad(loss, logits)
        return loss.item(), gradient.numpy()

    return loss_and_gradient


def adam(parameters, gradient):
    w = torch.from_numpy(parameters.copy())
    w.grad = torch.from_numpy(gradient)
    return _adam([w]).step, w.numpy


UPDATES = ("adamax", "radam")  # those that compute the same as Keras's


def update(name, parameters, gradient):
    w = torch.from_numpy(parameters.copy())
    w.grad = torch.from_numpy(gradient)
    function = {"adamax": torch.optim.Adamax, "radam": torch.optim.RAdam}[name]
    return function([w], lr=LEARNING_RATE["adam"], foreach=True).step, w.numpy
