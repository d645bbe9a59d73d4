"""JAX, a whole epoch as one jitted ``lax.scan`` over data that lies on the device."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from . import Unsupported, jax_step

NAME = "JAX, scan"
DISTRIBUTIONS = ("jax",)


def _epoch(work, state, x, y, order):
    def body(state, index):
        return jax_step.step(work, state, x[index], y[index])

    return jax.lax.scan(body, state, order)


class Trainer:
    def __init__(self, work, x, y, layers):
        self.work = work
        self.rng = np.random.default_rng(2)
        self.x, self.y = jnp.array(x), jnp.array(y)
        self.state = jax_step.start(layers)
        self.epoch = jax.jit(partial(_epoch, work), donate_argnums=0)

    def train(self, shuffle):
        rows, epochs = len(self.x), self.work.epochs
        order = np.concatenate(
            [self.rng.permutation(rows) if shuffle else np.arange(rows) for _ in range(epochs)]
        ).reshape(-1, self.work.batch).astype(np.int32)
        self.state, losses = self.epoch(self.state, self.x, self.y, order)
        return np.asarray(losses).reshape(epochs, -1).mean(axis=1).tolist()

    def layers(self):
        return [tuple(np.asarray(a) for a in pair) for pair in self.state[0]]


def predictor(work, layers):
    layers = [tuple(jnp.array(a) for a in pair) for pair in layers]
    classes = work.loss == "softmax_cross_entropy"

    @jax.jit
    def network(x):
        z = jax_step.forward(work, layers, x)
        return jax.nn.softmax(z) if classes else z

    return lambda x: np.asarray(network(x))


def elementwise(name, x, out):
    functions = {
        "tanh": jnp.tanh, "sigmoid": jax.nn.sigmoid, "exponential": jnp.exp, "relu": jax.nn.relu,
        "gelu": partial(jax.nn.gelu, approximate=False), "softplus": jax.nn.softplus,
        "elu": jax.nn.elu, "silu": jax.nn.silu, "arctan": jnp.arctan,
    }
    if name not in functions:
        raise Unsupported(f"JAX has no {name}")
    function = jax.jit(functions[name])
    x = jnp.array(x)
    return lambda: function(x).block_until_ready()


def cross_entropy(logits, labels):
    logits, labels = jnp.array(logits), jnp.array(labels)

    @jax.jit
    @jax.value_and_grad
    def function(z):
        return -jnp.take_along_axis(jax.nn.log_softmax(z), labels[:, None], 1).mean()

    return lambda: jax.block_until_ready(function(logits))


def adam(parameters, gradient):
    @partial(jax.jit, donate_argnums=(0, 1, 2))
    def step_of(w, m, v, count, g):
        return *jax_step.adam_update(w, g, m, v, count), count + 1

    g = jnp.array(gradient)
    state = (jnp.array(parameters), jnp.zeros_like(g), jnp.zeros_like(g), jnp.float32(1))

    def update():
        nonlocal state
        state = jax.block_until_ready(step_of(*state, g))

    return update, lambda: np.asarray(state[0])
