"""Callbacks that steer a training: its learning rate, its end, the weights it is judged with."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from numbers import Real

from ..messages import say
from .callbacks import Callback
from .monitors import current_rate

__all__ = ["LearningRateScheduler", "SwapEMAWeights", "TerminateOnNaN"]


class LearningRateScheduler(Callback):
    """Sets the learning rate at the beginning of every epoch.

    The rate is added to the logs of the epoch as "learning_rate".

    Parameters
    ----------
    schedule : callable (epoch, learning_rate) -> float
        Or ``(epoch)`` alone; epochs count from 0.
    verbose : {0, 1}
        1 prints the rate.

    Raises
    ------
    TypeError
        If `schedule` can't be called.
    ValueError
        In training, if it returns anything but a number of at least 0.

    References
    ----------
    Keras 3, keras.callbacks.LearningRateScheduler.

    Examples
    --------
    >>> import numpy as np
    >>> import fusedmlp as fm
    >>> model = fm.Sequential([fm.Input((2,)), fm.layers.Dense(1)])
    >>> model.compile(optimizer=fm.optimizers.SGD(1.0), loss="mse")
    >>> halve = LearningRateScheduler(lambda epoch, rate: rate / 2)
    >>> x = np.ones((10, 2), "float32")
    >>> history = model.fit(x, x[:, 0], epochs=3, verbose=0, callbacks=[halve])
    >>> history.history["learning_rate"]
    [0.5, 0.25, 0.125]
    """

    def __init__(self, schedule: Callable, verbose: int = 0):
        super().__init__()
        if not callable(schedule):
            raise TypeError(f"Argument `schedule` must be a function. Received: {schedule!r}")
        self.schedule, self.verbose = schedule, verbose
        self._takes_rate = _arguments(schedule) != 1

    def on_epoch_begin(self, epoch, logs=None):
        optimizer = self.model.optimizer
        arguments = (epoch, current_rate(optimizer)) if self._takes_rate else (epoch,)
        rate = self.schedule(*arguments)
        if not isinstance(rate, Real) or isinstance(rate, bool) or not 0 <= rate < math.inf:
            raise ValueError(
                "The function `schedule` of LearningRateScheduler must return a number of at "
                f"least 0. Received: {rate!r} for epoch {epoch}"
            )
        optimizer.learning_rate = float(rate)
        if self.verbose:
            say(f"Epoch {epoch + 1}: LearningRateScheduler sets the learning rate to {rate:g}")

    def on_epoch_end(self, epoch, logs=None):
        if logs is not None:
            logs["learning_rate"] = current_rate(self.model.optimizer)


def _arguments(function):
    """How many arguments a function needs by position; None where that can't be told."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return None
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return None
    return sum(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters)


class TerminateOnNaN(Callback):
    """Ends training at the first loss that is NaN or infinite.

    Steps are watched where they are made, so this costs no speed.

    Parameters
    ----------
    raise_error : bool
        Whether to raise RuntimeError, after which no callback hears of the end of the training.

    References
    ----------
    Keras 3, keras.callbacks.TerminateOnNaN.

    Examples
    --------
    >>> import warnings
    >>> import numpy as np
    >>> import fusedmlp as fm
    >>> model = fm.Sequential([fm.Input((1,)), fm.layers.Dense(1)])
    >>> model.compile("sgd", "mse")
    >>> x = np.array([[1.0], [np.nan], [3.0]])
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("ignore")  # which says in which layer the first NaN arose
    ...     history = model.fit(x, x, batch_size=1, shuffle=False, epochs=5, verbose=0,
    ...                         callbacks=[TerminateOnNaN()])
    Batch 1: the loss is nan, training ends
    >>> model.optimizer.iterations
    2
    """

    every_batch = False  # a run of steps ends with the first loss that is not finite

    def __init__(self, raise_error: bool = False):
        super().__init__()
        self.raise_error = bool(raise_error)

    def on_train_batch_end(self, batch, logs=None):
        loss = (logs or {}).get("loss")
        if loss is None or math.isfinite(loss):
            return
        if self.raise_error:
            raise RuntimeError(f"The loss is {loss} at batch {batch}, training ends at once")
        say(f"Batch {batch}: the loss is {loss}, training ends")
        self.model.stop_training = True


class SwapEMAWeights(Callback):
    """Judges a model by the moving averages of its weights, and trains it with the weights.

    For each evaluation and prediction, those within `fit` included, the averages that an optimizer
    with ``use_ema=True`` keeps take the weights' place, and give it back.

    Parameters
    ----------
    swap_on_epoch : bool
        Whether the averages stay in place from the end of an epoch to the beginning of the next
        one, so that the callbacks after this one, a `ModelCheckpoint` for instance, see them.

    Raises
    ------
    ValueError
        When training, evaluation or prediction begins, if the optimizer keeps no averages.

    References
    ----------
    Keras 3, keras.callbacks.SwapEMAWeights.

    Examples
    --------
    >>> import numpy as np
    >>> import fusedmlp as fm
    >>> model = fm.Sequential([fm.Input((2,)), fm.layers.Dense(1)])
    >>> model.compile(fm.optimizers.SGD(0.1, use_ema=True), "mse")
    >>> x = np.ones((10, 2), "float32")
    >>> history = model.fit(x, x[:, 0], validation_data=(x, x[:, 0]), verbose=0,
    ...                     callbacks=[SwapEMAWeights()])
    """

    def __init__(self, swap_on_epoch: bool = False):
        super().__init__()
        self.swap_on_epoch = bool(swap_on_epoch)
        self._averages_in_place = False

    def _put(self, averages: bool):
        """Have the averages in the model, or the weights."""
        optimizer = self.model.optimizer
        if optimizer is None or not optimizer.use_ema:
            raise ValueError(
                "SwapEMAWeights needs an optimizer with use_ema=True. "
                f"Received: {optimizer!r}"
            )
        if averages != self._averages_in_place:
            self.model.place()
            optimizer.exchange_averages(self.model.trained_variables())
            self._averages_in_place = averages

    def on_train_begin(self, logs=None):
        self._put(False)

    def on_epoch_begin(self, epoch, logs=None):
        self._put(False)

    def on_epoch_end(self, epoch, logs=None):
        if not self.swap_on_epoch:
            return
        self._put(True)
        if epoch == self.params["epochs"] - 1 or self.model.stop_training:
            # training ends with the averages, which the optimizer then puts into the model
            self.model.optimizer.exchange_averages(self.model.trained_variables(), keep=True)
            self._averages_in_place = False

    def on_test_begin(self, logs=None):
        self._put(True)

    def on_test_end(self, logs=None):
        self._put(False)

    def on_predict_begin(self, logs=None):
        self._put(True)

    def on_predict_end(self, logs=None):
        self._put(False)
