"""Steps that heed the sign of gradients, not their size."""

from __future__ import annotations

from collections.abc import Sequence

from .. import checks
from .base import Optimizer, with_common_arguments

__all__ = ["Lion", "Rprop"]


class Lion(Optimizer):
    """Steps of one size in the direction of the sign of a mean gradient.

    With gradient g and parameter w::

        w <- w - learning_rate sign(beta_1 m + (1 - beta_1) g)
        m <- beta_2 m + (1 - beta_2) g

    Parameters
    ----------
    learning_rate : float, LearningRateSchedule or callable
        About a tenth of what Adam wants.
    beta_1 : float
        Above 0, where the optimizer would heed nothing but the sign of the last gradient.
    beta_2 : float
        At least 0 and below 1.
    weight_decay, ... :
        Those of all optimizers, see `Optimizer`.

    Raises
    ------
    ValueError, TypeError
        If an argument is no number or out of range.

    References
    ----------
    Chen et al. (2023), Symbolic discovery of optimization algorithms, arXiv:2302.06675;
    keras.optimizers.Lion.

    >>> import numpy as np
    >>> w = np.array([1.0, 1.0])
    >>> Lion(learning_rate=0.1).apply([[5.0, -0.5]], [w])
    >>> w.round(3)
    array([0.9, 1.1])
    """

    @with_common_arguments
    def __init__(self, learning_rate=0.001, beta_1: float = 0.9, beta_2: float = 0.99, **common):
        super().__init__(learning_rate, **common)
        self.beta_1 = checks.number(beta_1, "beta_1", low=0.0, high=1.0)
        self._set_numbers(beta_2=beta_2)
        if self.beta_1 == 0.0:
            raise ValueError(
                "Argument `beta_1` of Lion must be a number above 0 and of at most 1. Received: 0.0"
            )

    @property
    def row(self):
        return "lion"

    def get_config(self):
        return {**super().get_config(), "beta_1": self.beta_1, "beta_2": self.beta_2}


class Rprop(Optimizer):
    """Resilient backpropagation: an element's step grows while the sign of its gradient stays.

    With gradient g, the one before p and parameter w::

        s <- s times eta_plus where signs of g and p agree, eta_minus where they differ, limited
        g <- 0 where they differ;  w <- w - s sign(g);  p <- g

    It wants gradients of all data: batches disagree with each other.

    Parameters
    ----------
    learning_rate : float, LearningRateSchedule or callable
        What s begins with; later values change nothing but the weight decay.
    etas : tuple of float
        eta_minus, at least 0 and below 1, and eta_plus, at least 1.
    step_sizes : tuple of float
        Limits of s.
    weight_decay, ... :
        Those of all optimizers, see `Optimizer`.

    Raises
    ------
    ValueError, TypeError
        If an argument is no number or out of range.

    References
    ----------
    Riedmiller and Braun (1993), A direct adaptive method for faster backpropagation learning;
    the numbers are those of torch.optim.Rprop.

    >>> import numpy as np
    >>> w, rprop = np.array([1.0]), Rprop(learning_rate=0.1)
    >>> for gradient in (5.0, 0.5, -1.0):
    ...     rprop.apply([[gradient]], [w])
    ...     print(w.round(3))
    [0.9]
    [0.78]
    [0.78]
    """

    @with_common_arguments
    def __init__(self, learning_rate=0.01, etas: Sequence[float] = (0.5, 1.2),
                 step_sizes: Sequence[float] = (1e-6, 50.0), **common):
        super().__init__(learning_rate, **common)
        for name, pair in (("etas", etas), ("step_sizes", step_sizes)):
            if not isinstance(pair, (tuple, list)) or len(pair) != 2:
                raise ValueError(
                    f"Argument `{name}` must be a pair of numbers. Received: {pair!r}")
        self._set_numbers(eta_minus=etas[0], eta_plus=etas[1], min_step=step_sizes[0],
                          max_step=step_sizes[1])
        if self.min_step > self.max_step:
            raise ValueError(
                f"Argument `step_sizes` must be a smaller and a larger number. "
                f"Received: {step_sizes!r}"
            )

    @property
    def row(self):
        return "rprop"

    def get_config(self):
        return {**super().get_config(), "etas": [self.eta_minus, self.eta_plus],
                "step_sizes": [self.min_step, self.max_step]}
