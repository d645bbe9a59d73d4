"""JAX, one jitted training step, called from a Python loop."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from ..workloads import BETA_1, BETA_2, EPSILON, LEARNING_RATE, MOMENTUM

NAME = "JAX, one step"
DISTRIBUTIONS = ("jax",)

_ACTIVATIONS = {"relu": jax.nn.relu, "tanh": jnp.tanh,
                "gelu": partial(jax.nn.gelu, approximate=False)}


def _product(work, x, kernel):
    if work.policy == "mixed_bfloat16":
        return jnp.matmul(x.astype(jnp.bfloat16), kernel.astype(jnp.bfloat16),
                          preferred_element_type=jnp.float32)
    return x @ kernel


def forward(work, layers, x, key=None):
    """Logits; with a key, dropout after every hidden layer."""
    for number, (kernel, bias) in enumerate(layers[:-1]):
        x = _ACTIVATIONS[work.activation](_product(work, x, kernel) + bias)
        if work.dropout and key is not None:
            keep = jax.random.bernoulli(jax.random.fold_in(key, number), 1 - work.dropout, x.shape)
            x = jnp.where(keep, x / (1 - work.dropout), 0)
    kernel, bias = layers[-1]
    return _product(work, x, kernel) + bias


def _loss(layers, work, x, y, key):
    z = forward(work, layers, x, key)
    if work.loss == "softmax_cross_entropy":
        return -jnp.take_along_axis(jax.nn.log_softmax(z), y[:, None], 1).mean()
    return ((z - y) ** 2).mean()


def adam_update(w, g, m, v, step):
    """One Adam update as a pure function."""
    m = m + (1 - BETA_1) * (g - m)
    v = v + (1 - BETA_2) * (g * g - v)
    rate = LEARNING_RATE["adam"] * jnp.sqrt(1 - BETA_2**step) / (1 - BETA_1**step)
    return w - rate * m / (jnp.sqrt(v) + EPSILON), m, v


def _momentum(w, g, m, v, step):
    m = MOMENTUM * m - LEARNING_RATE["momentum"] * g
    return w + MOMENTUM * m - LEARNING_RATE["momentum"] * g, m, v


_UPDATES = {"adam": adam_update, "momentum": _momentum}


def start(layers, seed=0):
    """State of a training: parameters, two slots, step count and random key."""
    layers = [tuple(jnp.array(a) for a in pair) for pair in layers]
    slots = [jax.tree.map(jnp.zeros_like, layers) for _ in range(2)]
    return layers, *slots, jnp.zeros((), jnp.int32), jax.random.key(seed)


def step(work, state, x, y):
    """One step as a pure function: the new state, and the loss."""
    layers, m, v, count, key = state
    count += 1
    step_key = jax.random.fold_in(key, count) if work.dropout else None
    loss, gradients = jax.value_and_grad(_loss)(layers, work, x, y, step_key)
    leaves, tree = jax.tree.flatten(layers)
    updated = [
        _UPDATES[work.optimizer](*leaf, count.astype(jnp.float32))
        for leaf in zip(leaves, *map(jax.tree.leaves, (gradients, m, v)), strict=True)
    ]
    layers, m, v = (jax.tree.unflatten(tree, part) for part in zip(*updated, strict=True))
    return (layers, m, v, count, key), loss


class Trainer:
    def __init__(self, work, x, y, layers):
        self.work, self.x, self.y = work, x, y
        self.rng = np.random.default_rng(2)
        self.state = start(layers)
        self.step = jax.jit(partial(step, work), donate_argnums=0)

    def train(self, shuffle):
        rows, batch = len(self.x), self.work.batch
        losses = []
        for _ in range(self.work.epochs):
            order = self.rng.permutation(rows) if shuffle else np.arange(rows)
            parts = []
            for begin in range(0, rows, batch):
                index = order[begin:begin + batch]
                self.state, loss = self.step(self.state, self.x[index], self.y[index])
                parts.append(loss)
            losses.append(float(np.mean([float(loss) for loss in parts])))
        return losses

    def layers(self):
        return [tuple(np.asarray(a) for a in pair) for pair in self.state[0]]
