"""Stochastic gradient descent, plain and with momentum."""

from __future__ import annotations

from .base import Optimizer, _flag, with_common_arguments

__all__ = ["SGD"]


class SGD(Optimizer):
    """Gradient descent, optionally with (Nesterov) momentum.

    With gradient g and parameter w::

        w <- w - learning_rate g                         without momentum
        v <- momentum v - learning_rate g;  w <- w + v                               with it
        v <- momentum v - learning_rate g;  w <- w + momentum v - learning_rate g    nesterov

    Parameters
    ----------
    learning_rate : float, LearningRateSchedule or callable
    momentum : float
        From 0 to 1.
    nesterov : bool
    weight_decay, ... :
        Those of all optimizers, see `Optimizer`.

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

    @with_common_arguments
    def __init__(self, learning_rate=0.01, momentum: float = 0.0, nesterov: bool = False,
                 **common):
        super().__init__(learning_rate, **common)
        self._set_numbers(momentum=momentum)
        self.nesterov = _flag(nesterov, "nesterov")

    @property
    def row(self):
        return "momentum" if self.momentum else "sgd"

    def get_config(self):
        return {**super().get_config(), "momentum": self.momentum, "nesterov": self.nesterov}
