"""Rates that adapt to each element's gradients, without a mean of the gradients themselves."""

from __future__ import annotations

from .base import Optimizer, _flag, with_common_arguments

__all__ = ["Adadelta", "Adafactor", "Adagrad", "Ftrl", "RMSprop"]


class RMSprop(Optimizer):
    """Gradients over the root of the running mean of their squares.

    With gradient g and parameter w::

        v <- rho v + (1 - rho) g^2;  a <- rho a + (1 - rho) g
        d = learning_rate g / sqrt(v + epsilon)       or, centered, v - a^2 in place of v
        w <- w - d                                    or trace <- momentum trace + d, w <- w - trace

    Parameters
    ----------
    learning_rate : float, LearningRateSchedule or callable
    rho : float
        Decay of the means, from 0 to 1.
    momentum : float
        From 0 to 1.
    epsilon : float
        Not negative.
    centered : bool
        Whether gradients are divided by their standard deviation.
    weight_decay, ... :
        Those of all optimizers, see `Optimizer`.

    Raises
    ------
    ValueError, TypeError
        If an argument is no number or out of range.

    References
    ----------
    Tieleman and Hinton (2012), lecture 6.5 of Neural Networks for Machine Learning; Graves (2013),
    arXiv:1308.0850, for `centered`; keras.optimizers.RMSprop.

    >>> import numpy as np
    >>> w = np.array([1.0])
    >>> RMSprop(learning_rate=0.1).apply([[5.0]], [w])
    >>> w.round(3)
    array([0.684])
    """

    @with_common_arguments
    def __init__(self, learning_rate=0.001, rho: float = 0.9, momentum: float = 0.0,
                 epsilon: float = 1e-7, centered: bool = False, **common):
        super().__init__(learning_rate, **common)
        self._set_numbers(rho=rho, momentum=momentum, epsilon=epsilon)
        self.centered = _flag(centered, "centered")

    @property
    def row(self):
        return ("rmsprop" + ("_centered" if self.centered else "")
                + ("_momentum" if self.momentum else ""))

    def get_config(self):
        return {**super().get_config(), "rho": self.rho, "momentum": self.momentum,
                "epsilon": self.epsilon, "centered": self.centered}


class Adagrad(Optimizer):
    """Gradients over the root of the sum of their squares so far.

    With gradient g and parameter w::

        a <- a + g^2;  w <- w - learning_rate g / sqrt(a + epsilon)

    Parameters
    ----------
    learning_rate : float, LearningRateSchedule or callable
    initial_accumulator_value : float
        What a begins with; not negative.
    epsilon : float
        Not negative.
    weight_decay, ... :
        Those of all optimizers, see `Optimizer`.

    Raises
    ------
    ValueError, TypeError
        If an argument is no number or out of range.

    References
    ----------
    Duchi et al. (2011), Adaptive subgradient methods for online learning and stochastic
    optimization, JMLR 12; keras.optimizers.Adagrad.

    >>> import numpy as np
    >>> w = np.array([1.0])
    >>> Adagrad(learning_rate=0.1).apply([[5.0]], [w])
    >>> w.round(3)
    array([0.9])
    """

    @with_common_arguments
    def __init__(self, learning_rate=0.001, initial_accumulator_value: float = 0.1,
                 epsilon: float = 1e-7, **common):
        super().__init__(learning_rate, **common)
        self._set_numbers(initial_accumulator_value=initial_accumulator_value, epsilon=epsilon)

    @property
    def row(self):
        return "adagrad"

    def get_config(self):
        return {**super().get_config(), "epsilon": self.epsilon,
                "initial_accumulator_value": self.initial_accumulator_value}


class Adadelta(Optimizer):
    """Gradients times the ratio of the sizes of past steps and past gradients.

    With gradient g and parameter w::

        a <- rho a + (1 - rho) g^2
        d = sqrt(b + epsilon) / sqrt(a + epsilon) g
        b <- rho b + (1 - rho) d^2;  w <- w - learning_rate d

    Parameters
    ----------
    learning_rate : float, LearningRateSchedule or callable
        1 in the paper.
    rho : float
        Decay of the means, from 0 to 1.
    epsilon : float
        Not negative.
    weight_decay, ... :
        Those of all optimizers, see `Optimizer`.

    Raises
    ------
    ValueError, TypeError
        If an argument is no number or out of range.

    References
    ----------
    Zeiler (2012), arXiv:1212.5701; keras.optimizers.Adadelta.

    >>> import numpy as np
    >>> w = np.array([1.0])
    >>> Adadelta(learning_rate=1.0, epsilon=0.01).apply([[5.0]], [w])
    >>> w.round(3)
    array([0.555])
    """

    @with_common_arguments
    def __init__(self, learning_rate=0.001, rho: float = 0.95, epsilon: float = 1e-7, **common):
        super().__init__(learning_rate, **common)
        self._set_numbers(rho=rho, epsilon=epsilon)

    @property
    def row(self):
        return "adadelta"

    def get_config(self):
        return {**super().get_config(), "rho": self.rho, "epsilon": self.epsilon}


class Ftrl(Optimizer):
    """Follow the regularized leader: exact zeros through `l1_regularization_strength`.

    With gradient g, parameter w and p = -learning_rate_power::

        a' = a + g^2
        z <- z + g + 2 l2_shrinkage w - (a'^p - a^p) / learning_rate w
        w <- (clip(z, -l1, l1) - z) / (a'^p / learning_rate + 2 l2 + beta / learning_rate), a <- a'

    A learning rate of 0 changes nothing.

    Parameters
    ----------
    learning_rate : float, LearningRateSchedule or callable
    learning_rate_power : float
        Not positive.
    initial_accumulator_value : float
        What a begins with; not negative.
    l1_regularization_strength, l2_regularization_strength : float
    l2_shrinkage_regularization_strength, beta : float
        Not negative.
    weight_decay, ... :
        Those of all optimizers, see `Optimizer`.

    Raises
    ------
    ValueError, TypeError
        If an argument is no number or out of range.

    References
    ----------
    McMahan et al. (2013), Ad click prediction: a view from the trenches, KDD;
    keras.optimizers.Ftrl.

    >>> import numpy as np
    >>> w = np.array([0.0, 0.0])
    >>> Ftrl(learning_rate=0.1, l1_regularization_strength=1.0).apply([[5.0, 0.5]], [w])
    >>> w.round(3)
    array([-0.08,  0.  ])
    """

    @with_common_arguments
    def __init__(self, learning_rate=0.001, learning_rate_power: float = -0.5,
                 initial_accumulator_value: float = 0.1, l1_regularization_strength: float = 0.0,
                 l2_regularization_strength: float = 0.0,
                 l2_shrinkage_regularization_strength: float = 0.0, beta: float = 0.0, **common):
        super().__init__(learning_rate, **common)
        self._set_numbers(
            learning_rate_power=learning_rate_power,
            initial_accumulator_value=initial_accumulator_value,
            l1_regularization_strength=l1_regularization_strength,
            l2_regularization_strength=l2_regularization_strength,
            l2_shrinkage_regularization_strength=l2_shrinkage_regularization_strength, beta=beta)

    @property
    def row(self):
        return "ftrl"

    def get_config(self):
        own = ("learning_rate_power", "initial_accumulator_value", "l1_regularization_strength",
               "l2_regularization_strength", "l2_shrinkage_regularization_strength", "beta")
        return {**super().get_config(), **{name: getattr(self, name) for name in own}}


class Adafactor(Optimizer):
    """Adaptive rates whose squares are kept by row and column: a matrix needs two vectors of state.

    With b = 1 - t^beta_2_decay, h = g^2 + epsilon_1 and rms(x) the root of the mean square::

        r_i <- b r_i + (1 - b) mean_j h_ij;  c_j <- b c_j + (1 - b) mean_i h_ij
        u_ij = g_ij / sqrt(r_i c_j / mean r)              of a vector: g / sqrt(c), c from its own h
        alpha = max(epsilon_2, rms(w)) min(learning_rate, 1 / sqrt t)
        w <- w - alpha u / max(1, rms(u) / clip_threshold)

    Parameters
    ----------
    learning_rate : float, LearningRateSchedule or callable
    beta_2_decay : float
        Not positive.
    epsilon_1, epsilon_2 : float
        Not negative.
    clip_threshold : float
        Positive.
    relative_step : bool
        There for Keras's signature; the rate is held below 1 / sqrt t either way, as it is there.
    weight_decay, ... :
        Those of all optimizers, see `Optimizer`.

    Raises
    ------
    ValueError, TypeError
        If an argument is no number or out of range.

    References
    ----------
    Shazeer and Stern (2018), arXiv:1804.04235; keras.optimizers.Adafactor.

    >>> import numpy as np
    >>> w = np.array([[1.0, 2.0]])
    >>> Adafactor(learning_rate=0.1).apply([[[5.0, 0.5]]], [w])
    >>> w.round(3)
    array([[0.842, 1.842]])
    """

    @with_common_arguments
    def __init__(self, learning_rate=0.001, beta_2_decay: float = -0.8, epsilon_1: float = 1e-30,
                 epsilon_2: float = 1e-3, clip_threshold: float = 1.0, relative_step: bool = True,
                 **common):
        super().__init__(learning_rate, **common)
        self._set_numbers(beta_2_decay=beta_2_decay, epsilon_1=epsilon_1, epsilon_2=epsilon_2,
                          clip_threshold=clip_threshold)
        self.relative_step = _flag(relative_step, "relative_step")

    @property
    def row(self):
        return "adafactor"

    def get_config(self):
        own = ("beta_2_decay", "epsilon_1", "epsilon_2", "clip_threshold", "relative_step")
        return {**super().get_config(), **{name: getattr(self, name) for name in own}}
