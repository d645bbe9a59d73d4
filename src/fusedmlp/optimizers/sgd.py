"""Stochastic gradient descent, plain and with momentum."""

from __future__ import annotations

from .. import checks, ops
from .base import Optimizer

__all__ = ["SGD"]


class SGD(Optimizer):
    """Gradient descent, optionally with (Nesterov) momentum.

    With gradient g and parameter w::

        w <- w - learning_rate weight_decay w            where weight_decay is given
        w <- w - learning_rate g                         without momentum
        v <- momentum v - learning_rate g;  w <- w + v                               with it
        v <- momentum v - learning_rate g;  w <- w + momentum v - learning_rate g    nesterov

    Parameters
    ----------
    learning_rate : float
    momentum : float
        From 0 to 1.
    nesterov : bool
    weight_decay : float, optional
    name : str, optional

    Raises
    ------
    ValueError, TypeError
        If an argument is no number or out of range.

    References
    ----------
    Sutskever et al. (2013), On the importance of initialization and momentum in deep learning,
    ICML; the form is that of keras.optimizers.SGD.

    >>> import numpy as np
    >>> w, sgd = np.array([1.0]), SGD(learning_rate=0.1, momentum=0.5)
    >>> for _ in range(2):
    ...     sgd.apply([[1.0]], [w])
    >>> w.round(3)
    array([0.75])
    """

    def __init__(self, learning_rate: float = 0.01, momentum: float = 0.0, nesterov: bool = False,
                 weight_decay: float | None = None, name: str | None = None):
        super().__init__(learning_rate, weight_decay, name)
        self.momentum = checks.number(momentum, "momentum", 0.0, 1.0)
        if nesterov not in (True, False):
            raise ValueError(f"Argument `nesterov` must be True or False. Received: {nesterov!r}")
        self.nesterov = bool(nesterov)

    @property
    def row(self):
        return "momentum" if self.momentum else "sgd"

    def update_step(self, param, grad, slots, learning_rate):
        ops.sgd_update(param, grad, learning_rate, velocity=slots[0] if slots else None,
                       momentum=self.momentum, nesterov=self.nesterov and bool(slots),
                       weight_decay=self.weight_decay or 0.0)

    def get_config(self):
        return {**super().get_config(), "momentum": self.momentum, "nesterov": self.nesterov}
