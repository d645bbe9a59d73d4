"""Updates of flat parameters in place; the equations are those of `fusedmlp.spec.OPTIMIZERS`."""

import math

import numpy as np

__all__ = ["adam_update", "momentum_update", "sgd_update"]


def sgd_update(param, grad, learning_rate, weight_decay):
    """w <- w - learning_rate g."""
    with np.errstate(all="ignore"):
        _decay(param, learning_rate, weight_decay)
        param -= learning_rate * grad


def momentum_update(param, grad, velocity, learning_rate, momentum, nesterov, weight_decay):
    """v <- momentum v - learning_rate g;  w <- w + (momentum v - learning_rate g or v)."""
    with np.errstate(all="ignore"):
        _decay(param, learning_rate, weight_decay)
        step = learning_rate * grad
        velocity *= momentum
        velocity -= step
        param += momentum * velocity - step if nesterov else velocity


def adam_update(param, grad, m, v, step, learning_rate, beta_1, beta_2, epsilon, weight_decay):
    """m <- m + (1 - beta_1) (g - m);  v <- v + (1 - beta_2) (g^2 - v);

    w <- w - learning_rate sqrt(1 - beta_2^t) / (1 - beta_1^t) m / (sqrt(v) + epsilon).
    """
    with np.errstate(all="ignore"):
        _decay(param, learning_rate, weight_decay)
        m += (1.0 - beta_1) * (grad - m)
        v += (1.0 - beta_2) * (grad * grad - v)
        alpha = learning_rate * math.sqrt(1.0 - beta_2**step) / (1.0 - beta_1**step)
        param -= alpha * m / (np.sqrt(v) + epsilon)


def _decay(param, learning_rate, weight_decay):
    """w <- w - learning_rate weight_decay w, before the step (Loshchilov and Hutter, 2019)."""
    if weight_decay:
        param -= (learning_rate * weight_decay) * param
