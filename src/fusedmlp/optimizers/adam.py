"""Adam, and Adam with the weight decay of AdamW."""

from __future__ import annotations

from .. import checks, ops
from .base import Optimizer

__all__ = ["Adam", "AdamW"]


class Adam(Optimizer):
    """Gradient descent with adaptive moments.

    With gradient g, parameter w and the count t of updates from 1::

        w <- w - learning_rate weight_decay w            where weight_decay is given
        m <- m + (1 - beta_1) (g - m)
        v <- v + (1 - beta_2) (g^2 - v)
        w <- w - learning_rate sqrt(1 - beta_2^t) / (1 - beta_1^t) m / (sqrt(v) + epsilon)

    Parameters
    ----------
    learning_rate : float
    beta_1, beta_2 : float
        Decay of the moments, at least 0 and below 1.
    epsilon : float
        Not negative; the "epsilon hat" of the paper, added before the correction of v.
    weight_decay : float, optional
    name : str, optional

    Raises
    ------
    ValueError, TypeError
        If an argument is no number or out of range.

    References
    ----------
    Kingma and Ba (2015), arXiv:1412.6980, the form before its section 2.1, which is that of
    keras.optimizers.Adam.

    >>> import numpy as np
    >>> w, adam = np.array([1.0]), Adam(learning_rate=0.1)
    >>> adam.apply([[5.0]], [w])
    >>> w.round(3)
    array([0.9])
    """

    def __init__(self, learning_rate: float = 0.001, beta_1: float = 0.9, beta_2: float = 0.999,
                 epsilon: float = 1e-7, weight_decay: float | None = None,
                 name: str | None = None):
        super().__init__(learning_rate, weight_decay, name)
        self.beta_1 = checks.number(beta_1, "beta_1", low=0.0, below=1.0)
        self.beta_2 = checks.number(beta_2, "beta_2", low=0.0, below=1.0)
        self.epsilon = checks.number(epsilon, "epsilon", low=0.0)

    @property
    def row(self):
        return "adam"

    def update_step(self, param, grad, slots, learning_rate):
        ops.adam_update(param, grad, *slots, self.iterations + 1, learning_rate,
                        beta_1=self.beta_1, beta_2=self.beta_2, epsilon=self.epsilon,
                        weight_decay=self.weight_decay or 0.0)

    def get_config(self):
        return {**super().get_config(), "beta_1": self.beta_1, "beta_2": self.beta_2,
                "epsilon": self.epsilon}


class AdamW(Adam):
    """Adam with decoupled weight decay, by default 0.004; see `Adam`.

    Raises
    ------
    ValueError, TypeError
        If an argument is no number or out of range, or `weight_decay` None.

    References
    ----------
    Loshchilov and Hutter (2019), arXiv:1711.05101; the form is that of keras.optimizers.AdamW.

    >>> AdamW().weight_decay
    0.004
    """

    def __init__(self, learning_rate: float = 0.001, weight_decay: float = 0.004,
                 beta_1: float = 0.9, beta_2: float = 0.999, epsilon: float = 1e-7,
                 name: str | None = None):
        if weight_decay is None:
            raise ValueError(
                "Argument `weight_decay` of AdamW must be a number. Received: weight_decay=None"
            )
        super().__init__(learning_rate, beta_1, beta_2, epsilon, weight_decay, name)
