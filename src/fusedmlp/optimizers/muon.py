"""Muon: orthogonal steps for matrices, Adam for everything else."""

from __future__ import annotations

import re
from collections.abc import Sequence

from .. import checks
from .base import Optimizer, _flag, with_common_arguments
from .state import Slot

__all__ = ["Muon"]


class Muon(Optimizer):
    """Momentum whose step is made orthogonal, for kernels; Adam for biases and what is excluded.

    With gradient g and a kernel w::

        m <- momentum m + g;  x = g + momentum m if nesterov else m
        x <- x / (||x|| + 1e-7), transposed where it has more rows than columns
        ns_steps times:  s = x x^T,  x <- muon_a x + (muon_b s + muon_c s^2) x
        w <- w - learning_rate rms_rate sqrt(max(rows, columns)) x

    Parameters
    ----------
    learning_rate : float, LearningRateSchedule or callable
    adam_beta_1, adam_beta_2 : float
        Decay of Adam's moments.
    adam_weight_decay : float, optional
        Weight decay of what Adam updates.
    epsilon : float
        Adam's.
    weight_decay : float, optional
        Weight decay of kernels.
    exclude_layers : list of str, optional
        Regular expressions: a variable whose path one of them is found in is Adam's.
    exclude_embeddings : bool
        Whether a variable with "embedding" in its path is Adam's.
    muon_a, muon_b, muon_c : float
        Coefficients of the polynomial.
    adam_lr_ratio : float
        Factor of the learning rate for Adam.
    momentum : float
    ns_steps : int
        Steps of Newton and Schulz.
    nesterov : bool
    rms_rate : float, optional
        Without it the step is the learning rate times x.
    clipnorm, ... :
        Those of all optimizers, see `Optimizer`; in the order of Keras.

    Raises
    ------
    ValueError, TypeError
        If an argument is no number or out of range.

    References
    ----------
    Jordan (2024), Muon: an optimizer for hidden layers in neural networks; Liu et al. (2025), Muon
    is scalable for LLM training, arXiv:2502.16982; keras.optimizers.Muon.

    >>> import numpy as np
    >>> w = np.zeros((2, 2))
    >>> Muon(learning_rate=1.0, rms_rate=None).apply([[[5.0, 0.0], [0.0, 0.5]]], [w])
    >>> bool((np.abs(np.diag(w) + 1) < 0.4).all())
    True
    """

    @with_common_arguments
    def __init__(self, learning_rate=0.001, adam_beta_1: float = 0.9, adam_beta_2: float = 0.999,
                 adam_weight_decay: float | None = 0.004, epsilon: float = 1e-7,
                 weight_decay: float | None = 0.004, *,
                 exclude_layers: Sequence[str] | None = None, exclude_embeddings: bool = True,
                 muon_a: float = 3.4445, muon_b: float = -4.7750, muon_c: float = 2.0315,
                 adam_lr_ratio: float = 1, momentum: float = 0.95, ns_steps: int = 5,
                 nesterov: bool = True, rms_rate: float | None = 0.2, **common):
        super().__init__(learning_rate, weight_decay=weight_decay, **common)
        self._set_numbers(adam_beta_1=adam_beta_1, adam_beta_2=adam_beta_2, epsilon=epsilon,
                          muon_a=muon_a, muon_b=muon_b, muon_c=muon_c,
                          adam_lr_ratio=adam_lr_ratio, momentum=momentum)
        self.adam_weight_decay = (
            None if adam_weight_decay is None
            else checks.number(adam_weight_decay, "adam_weight_decay", low=0.0))
        self.ns_steps = checks.integer(ns_steps, "ns_steps", 0)
        self.nesterov = _flag(nesterov, "nesterov")
        self.exclude_embeddings = _flag(exclude_embeddings, "exclude_embeddings")
        self.exclude_layers = list(exclude_layers or [])
        self.rms_rate = (
            None if rms_rate is None else checks.number(rms_rate, "rms_rate", low=1e-30))

    @property
    def row(self):
        return "muon"

    def fingerprint(self):
        return (*super().fingerprint(), self._adam_params(), self.adam_lr_ratio,
                self.exclude_embeddings, tuple(self.exclude_layers))

    def _adam_params(self):
        return (self.adam_beta_1, self.adam_beta_2, self.epsilon, self.adam_weight_decay or 0.0)

    def _is_adams(self, variable):
        path = getattr(variable, "path", "")
        return (len(variable.shape) != 2
                or (self.exclude_embeddings and "embedding" in path.lower())
                or any(re.search(pattern, path) for pattern in self.exclude_layers))

    def _row_slots(self, variables):
        adams = tuple(k for k, variable in enumerate(variables) if self._is_adams(variable))
        return [Slot("momentum"), Slot("velocity", members=adams)]

    def _groups(self, variables):
        adams = [k for k, variable in enumerate(variables) if self._is_adams(variable)]
        kernels = [k for k in range(len(variables)) if k not in adams]
        yield "muon", self.kernel_params(), 1.0, (0,), kernels
        if self.adam_lr_ratio == 1.0:
            yield "adam", self._adam_params(), 1.0, (0, 1), adams
        else:  # the decay heeds the learning rate without the ratio
            *params, decay = self._adam_params()
            ratio = self.adam_lr_ratio
            yield "adam", (*params, decay / ratio if ratio else 0.0), ratio, (0, 1), adams

    def get_config(self):
        own = ("adam_beta_1", "adam_beta_2", "epsilon", "exclude_layers", "muon_a", "muon_b",
               "muon_c", "adam_lr_ratio", "momentum", "ns_steps", "nesterov",
               "exclude_embeddings", "adam_weight_decay", "rms_rate")
        return {**super().get_config(), **{name: getattr(self, name) for name in own}}
