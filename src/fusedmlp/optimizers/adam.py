"""Adam and its family: running means of the gradient and of its square."""

from __future__ import annotations

from .base import Optimizer, _flag, with_common_arguments

__all__ = ["Adam", "AdamW", "Adamax", "Lamb", "Nadam", "RAdam", "ScheduleFreeAdamW"]


class _Moments(Optimizer):
    """Optimizers with `beta_1`, `beta_2` and `epsilon`; their row is called like the class."""

    def _set_moments(self, beta_1, beta_2, epsilon):
        self._set_numbers(beta_1=beta_1, beta_2=beta_2, epsilon=epsilon)

    @property
    def row(self):
        return type(self)._row

    def get_config(self):
        return {**super().get_config(), "beta_1": self.beta_1, "beta_2": self.beta_2,
                "epsilon": self.epsilon}


class Adam(_Moments):
    """Gradient descent with adaptive moments.

    With gradient g, parameter w and the count t of updates from 1::

        m <- m + (1 - beta_1) (g - m)
        v <- v + (1 - beta_2) (g^2 - v)
        w <- w - learning_rate sqrt(1 - beta_2^t) / (1 - beta_1^t) m / (sqrt(v) + epsilon)

    Parameters
    ----------
    learning_rate : float, LearningRateSchedule or callable
    beta_1, beta_2 : float
        Decay of the moments, at least 0 and below 1.
    epsilon : float
        Not negative; the "epsilon hat" of the paper, added before the correction of v.
    amsgrad : bool
        Whether the largest v so far takes its place.
    weight_decay, ... :
        Those of all optimizers, see `Optimizer`.

    Raises
    ------
    ValueError, TypeError
        If an argument is no number or out of range.

    References
    ----------
    Kingma and Ba (2015), arXiv:1412.6980, the form before its section 2.1, which is that of
    keras.optimizers.Adam; Reddi et al. (2018), arXiv:1904.09237, for `amsgrad`.

    >>> import numpy as np
    >>> w, adam = np.array([1.0]), Adam(learning_rate=0.1)
    >>> adam.apply([[5.0]], [w])
    >>> w.round(3)
    array([0.9])
    """

    @with_common_arguments
    def __init__(self, learning_rate=0.001, beta_1: float = 0.9, beta_2: float = 0.999,
                 epsilon: float = 1e-7, amsgrad: bool = False, **common):
        super().__init__(learning_rate, **common)
        self._set_moments(beta_1, beta_2, epsilon)
        self.amsgrad = _flag(amsgrad, "amsgrad")

    @property
    def row(self):
        return "amsgrad" if self.amsgrad else "adam"

    def get_config(self):
        return {**super().get_config(), "amsgrad": self.amsgrad}


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

    @with_common_arguments
    def __init__(self, learning_rate=0.001, weight_decay: float = 0.004, beta_1: float = 0.9,
                 beta_2: float = 0.999, epsilon: float = 1e-7, amsgrad: bool = False, **common):
        if weight_decay is None:
            raise ValueError(
                "Argument `weight_decay` of AdamW must be a number. Received: weight_decay=None"
            )
        super().__init__(learning_rate, beta_1, beta_2, epsilon, amsgrad,
                         weight_decay=weight_decay, **common)


class Adamax(_Moments):
    """Adam with the largest gradient, slowly forgotten, in place of the root of v.

    With gradient g, parameter w and the count t of updates from 1::

        m <- m + (1 - beta_1) (g - m)
        u <- max(beta_2 u, |g|)
        w <- w - learning_rate / (1 - beta_1^t) m / (u + epsilon)

    Parameters and errors as for `Adam`, without `amsgrad`.

    References
    ----------
    Kingma and Ba (2015), arXiv:1412.6980, section 7.1; keras.optimizers.Adamax.

    >>> import numpy as np
    >>> w = np.array([1.0])
    >>> Adamax(learning_rate=0.1).apply([[5.0]], [w])
    >>> w.round(3)
    array([0.9])
    """

    _row = "adamax"

    @with_common_arguments
    def __init__(self, learning_rate=0.001, beta_1: float = 0.9, beta_2: float = 0.999,
                 epsilon: float = 1e-7, **common):
        super().__init__(learning_rate, **common)
        self._set_moments(beta_1, beta_2, epsilon)


class Nadam(_Moments):
    """Adam with Nesterov momentum, whose share mu grows from about half of beta_1 to beta_1.

    With gradient g, parameter w, the count t of updates from 1, and m and v as in `Adam`::

        mu_t = beta_1 (1 - 0.96^t / 2),  M_t = mu_1 ... mu_t
        n = mu_(t+1) / (1 - M_(t+1)) m + (1 - mu_t) / (1 - M_t) g
        w <- w - learning_rate n / (sqrt(v / (1 - beta_2^t)) + epsilon)

    Parameters and errors as for `Adam`, without `amsgrad`.

    References
    ----------
    Dozat (2015), Incorporating Nesterov momentum into Adam; keras.optimizers.Nadam.

    >>> import numpy as np
    >>> w = np.array([1.0])
    >>> Nadam(learning_rate=0.1).apply([[5.0]], [w])
    >>> w.round(3)
    array([0.894])
    """

    _row = "nadam"

    @with_common_arguments
    def __init__(self, learning_rate=0.001, beta_1: float = 0.9, beta_2: float = 0.999,
                 epsilon: float = 1e-7, **common):
        super().__init__(learning_rate, **common)
        self._set_moments(beta_1, beta_2, epsilon)


class RAdam(_Moments):
    """Rectified Adam: momentum alone until the variance of the adaptive rate is bearable.

    With m as in `Adam`, v <- beta_2 v + (1 - beta_2) g^2 and the count t of updates from 1::

        rho_inf = 2 / (1 - beta_2) - 1,  rho = rho_inf - 2 t beta_2^t / (1 - beta_2^t)
        r = sqrt((rho - 4) (rho - 2) rho_inf / ((rho_inf - 4) (rho_inf - 2) rho))
        a = r sqrt(1 - beta_2^t) / (sqrt(v) + epsilon) if rho > 5 else 1
        w <- w - learning_rate / (1 - beta_1^t) m a

    Parameters and errors as for `Adam`, without `amsgrad`; `epsilon` is 1e-8 by default.

    References
    ----------
    Liu et al. (2020), On the variance of the adaptive learning rate and beyond, arXiv:1908.03265;
    the numbers are those of torch.optim.RAdam.

    >>> import numpy as np
    >>> w = np.array([1.0])
    >>> RAdam(learning_rate=0.1).apply([[5.0]], [w])
    >>> w.round(3)
    array([0.5])
    """

    _row = "radam"

    @with_common_arguments
    def __init__(self, learning_rate=0.001, beta_1: float = 0.9, beta_2: float = 0.999,
                 epsilon: float = 1e-8, **common):
        super().__init__(learning_rate, **common)
        self._set_moments(beta_1, beta_2, epsilon)


class Lamb(_Moments):
    """Adam whose steps are as long as the weights of their variable, for large batches.

    With m and v as in `Adam`, and norms over each variable (their ratio is 1 where one is 0)::

        u = m / (1 - beta_1^t) / (sqrt(v / (1 - beta_2^t)) + epsilon)
        w <- w - learning_rate ||w|| / ||u|| u

    Parameters and errors as for `Adam`, without `amsgrad`.

    References
    ----------
    You et al. (2020), Large batch optimization for deep learning, arXiv:1904.00962;
    keras.optimizers.Lamb.

    >>> import numpy as np
    >>> w = np.array([3.0, 4.0])
    >>> Lamb(learning_rate=0.1).apply([[1.0, 1.0]], [w])
    >>> w.round(3)
    array([2.646, 3.646])
    """

    _row = "lamb"

    @with_common_arguments
    def __init__(self, learning_rate=0.001, beta_1: float = 0.9, beta_2: float = 0.999,
                 epsilon: float = 1e-7, **common):
        super().__init__(learning_rate, **common)
        self._set_moments(beta_1, beta_2, epsilon)


class ScheduleFreeAdamW(_Moments):
    """AdamW with averaging in place of a schedule.

    The parameters that are trained lie between a sequence z of plain steps and its average x.
    With v as in `Adam` and the count t of updates from 1::

        r = learning_rate min(t / warmup_steps, 1)
        z <- z - r g / (sqrt(v / (1 - beta_2^t)) + epsilon)
        x <- (1 - 1/t) x + 1/t z
        w <- (1 - beta_1) z + beta_1 x

    Parameters
    ----------
    learning_rate : float, LearningRateSchedule or callable
    beta_1 : float
        Share of the average.
    beta_2, epsilon : float
        As for `Adam`; `epsilon` is 1e-8 by default.
    warmup_steps : int
        Updates in which the rate rises linearly.
    weight_decay, ... :
        Those of all optimizers, see `Optimizer`.

    Raises
    ------
    ValueError, TypeError
        If an argument is no number or out of range.

    References
    ----------
    Defazio et al. (2024), The road less scheduled, arXiv:2405.15682;
    keras.optimizers.ScheduleFreeAdamW, which evaluates the parameters w, too.

    >>> import numpy as np
    >>> w = np.array([1.0])
    >>> ScheduleFreeAdamW(learning_rate=0.1).apply([[5.0]], [w])
    >>> w.round(3)
    array([0.9])
    """

    _row = "schedule_free_adamw"

    @with_common_arguments
    def __init__(self, learning_rate=0.0025, beta_1: float = 0.9, beta_2: float = 0.999,
                 epsilon: float = 1e-8, warmup_steps: int = 0, **common):
        super().__init__(learning_rate, **common)
        self._set_moments(beta_1, beta_2, epsilon)
        self._set_numbers(warmup_steps=warmup_steps)
        self.warmup_steps = int(self.warmup_steps)

    def get_config(self):
        return {**super().get_config(), "warmup_steps": self.warmup_steps}
