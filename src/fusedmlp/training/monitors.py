"""Callbacks that watch a number of the logs: stopping early, lowering the learning rate.

What all of them share is `MonitorCallback`: which number, which direction is better, and by how
much it has to change to count.  Keras 3 is the reference of names, arguments and moments.
"""

from __future__ import annotations

import difflib
import warnings
from typing import Any

from .. import checks
from ..messages import say
from .callbacks import Callback

__all__ = ["EarlyStopping", "MonitorCallback", "ReduceLROnPlateau"]


class MonitorCallback(Callback):
    """Base of callbacks that watch one number.

    Parameters
    ----------
    monitor : str
        Name of the number in the logs.
    mode : {"auto", "min", "max"}
        Whether smaller or larger is better; "auto" takes it from the loss or metric.
    baseline : float, optional
        What `best` begins with.
    min_delta : float
        Smallest change that counts as an improvement.

    Attributes
    ----------
    best : float or None
        The best value so far.

    Raises
    ------
    ValueError, TypeError
        If an argument is none of these.

    References
    ----------
    Keras 3, keras.callbacks.MonitorCallback.

    Examples
    --------
    >>> MonitorCallback("val_loss", mode="up")
    Traceback (most recent call last):
    ...
    ValueError: Argument `mode` must be one of 'auto', 'min', 'max'. Received: 'up'
    """

    def __init__(self, monitor: str = "val_loss", mode: str = "auto",
                 baseline: float | None = None, min_delta: float = 0):
        super().__init__()
        if not isinstance(monitor, str):
            raise TypeError(
                "Argument `monitor` must be the name of a number in the logs. "
                f"Received: {monitor!r}"
            )
        checks.one_of(mode, "mode", ("auto", "min", "max"))
        self.monitor, self.mode = monitor, mode
        self.min_delta = abs(checks.number(min_delta, "min_delta"))
        self.best = None if baseline is None else checks.number(baseline, "baseline")
        self._sign = 0

    def _direct(self):
        """Find out the direction: 1 where larger is better, -1 where smaller is.

        Raises
        ------
        ValueError
            If "auto" can't tell, because `monitor` is neither a loss nor a metric.
        """
        if self.mode != "auto":
            self._sign = 1 if self.mode == "max" else -1
            return
        directions = {"loss": -1, **self.model.metric_directions()}
        directions.update({f"val_{name}": way for name, way in directions.items()})
        if self.monitor.endswith("_loss"):  # of one output
            directions.setdefault(self.monitor, -1)
        if self.monitor not in directions:
            nearest = difflib.get_close_matches(self.monitor, directions, len(directions), 0.0)
            raise ValueError(
                f"Argument `monitor` of {type(self).__name__} must be a number whose direction is "
                f"known, one of {', '.join(map(repr, nearest))} (for another one give mode='min' "
                f"or mode='max'). Received: {self.monitor!r}"
            )
        self._sign = directions[self.monitor]

    def _current(self, logs):
        """The number, or None with a warning."""
        current = (logs or {}).get(self.monitor)
        if current is None:
            warnings.warn(
                f"{type(self).__name__} monitors {self.monitor!r}, which is not in the logs of "
                f"this training. Available: {', '.join(logs or {}) or 'nothing'}",
                stacklevel=3,
            )
        return current

    def _improves(self, value, reference):
        return reference is None or self._sign * (value - reference) > self.min_delta


class EarlyStopping(MonitorCallback):
    """Stops training when a number has not improved for some epochs.

    Parameters
    ----------
    monitor : str
        Name of the number in the logs.
    min_delta : float
        Smallest change that counts as an improvement.
    patience : int
        Epochs without improvement after which training stops.
    verbose : {0, 1}
        1 prints what it does.
    mode : {"auto", "min", "max"}
        Whether smaller or larger is better; "auto" takes it from the loss or metric.
    baseline : float, optional
        Value that has to be improved on as well for the waiting to begin again.
    restore_best_weights : bool
        Whether to go back, when training ends, to the weights of the best epoch.
    start_from_epoch : int
        First epoch that is looked at.

    Attributes
    ----------
    best, best_epoch
        The best value so far, and its epoch, counted from 0.
    stopped_epoch : int
        The epoch at which it stopped the training; 0 if it did not.

    Raises
    ------
    ValueError, TypeError
        If an argument is none of these; when training begins, before anything changes, if "auto"
        can't tell the direction of `monitor`, because it is neither the loss nor a metric.

    References
    ----------
    Prechelt (1998), "Early stopping - but when?"; Keras 3, keras.callbacks.EarlyStopping.

    Examples
    --------
    >>> import numpy as np
    >>> import fusedmlp as fm
    >>> fm.utils.set_random_seed(1)
    >>> model = fm.Sequential([fm.Input((2,)), fm.layers.Dense(1)])
    >>> model.compile(optimizer=fm.optimizers.SGD(0.0), loss="mse")
    >>> stop = EarlyStopping(monitor="loss", patience=3)
    >>> x = np.ones((10, 2), "float32")
    >>> history = model.fit(x, x[:, 0], epochs=10, verbose=0, callbacks=[stop])
    >>> len(history.history["loss"])
    4
    """

    def __init__(self, monitor: str = "val_loss", min_delta: float = 0, patience: int = 0,
                 verbose: int = 0, mode: str = "auto", baseline: float | None = None,
                 restore_best_weights: bool = False, start_from_epoch: int = 0):
        super().__init__(monitor, mode, min_delta=min_delta)
        self.verbose = verbose
        self.patience = checks.integer(patience, "patience", 0)
        self.baseline = None if baseline is None else checks.number(baseline, "baseline")
        self.restore_best_weights = restore_best_weights
        self.start_from_epoch = checks.integer(start_from_epoch, "start_from_epoch", 0)
        self._reset()

    def _reset(self):
        self.wait = self.stopped_epoch = self.best_epoch = 0
        self.best: float | None = None
        self.best_weights: list | None = None

    def get_state(self) -> dict[str, Any]:
        return {"wait": self.wait, "best": self.best, "best_epoch": self.best_epoch,
                "best_weights": self.best_weights}

    def set_state(self, state: dict[str, Any]) -> None:
        self.wait, self.best, self.best_epoch, self.best_weights = (
            state[key] for key in ("wait", "best", "best_epoch", "best_weights"))

    def on_train_begin(self, logs=None):
        self._direct()
        self._reset()

    def on_epoch_end(self, epoch, logs=None):
        current = self._current(logs)
        if current is None or epoch < self.start_from_epoch:
            return
        if self.restore_best_weights and self.best_weights is None:
            self.best_weights, self.best_epoch = self.model.get_weights(), epoch
        self.wait += 1
        if self._improves(current, self.best):
            self.best, self.best_epoch = current, epoch
            if self.restore_best_weights:
                self.best_weights = self.model.get_weights()
            if self._improves(current, self.baseline):
                self.wait = 0
        elif self.wait >= self.patience and epoch > 0:
            self.stopped_epoch = epoch
            self.model.stop_training = True

    def on_train_end(self, logs=None):
        if self.stopped_epoch > 0 and self.verbose:
            say(f"Epoch {self.stopped_epoch + 1}: early stopping")
        if self.restore_best_weights and self.best_weights is not None:
            if self.verbose:
                say(f"Restoring the weights of epoch {self.best_epoch + 1}, the best")
            self.model.set_weights(self.best_weights)


class ReduceLROnPlateau(MonitorCallback):
    """Lowers the learning rate when a number has not improved for some epochs.

    The rate of each epoch is added to its logs as "learning_rate".

    Parameters
    ----------
    monitor : str
        Name of the number in the logs.
    factor : float
        What the rate is multiplied by; below 1.
    patience : int
        Epochs without improvement after which it is lowered.
    verbose : {0, 1}
        1 prints what it does.
    mode : {"auto", "min", "max"}
        Whether smaller or larger is better; "auto" takes it from the loss or metric.
    min_delta : float
        Smallest change that counts as an improvement.
    cooldown : int
        Epochs after a reduction in which none are counted.
    min_lr : float
        The rate does not go below it.

    Raises
    ------
    ValueError, TypeError
        If an argument is none of these.

    References
    ----------
    Keras 3, keras.callbacks.ReduceLROnPlateau.

    Examples
    --------
    >>> import numpy as np
    >>> import fusedmlp as fm
    >>> model = fm.Sequential([fm.Input((2,)), fm.layers.Dense(1)])
    >>> model.compile(optimizer=fm.optimizers.SGD(1e-30), loss="mse")
    >>> lower = ReduceLROnPlateau(monitor="loss", factor=0.5, patience=2)
    >>> x = np.ones((10, 2), "float32")
    >>> history = model.fit(x, x[:, 0], epochs=4, verbose=0, callbacks=[lower])
    >>> history.history["learning_rate"]
    [1e-30, 1e-30, 1e-30, 5e-31]
    """

    def __init__(self, monitor: str = "val_loss", factor: float = 0.1, patience: int = 10,
                 verbose: int = 0, mode: str = "auto", min_delta: float = 1e-4, cooldown: int = 0,
                 min_lr: float = 0.0):
        super().__init__(monitor, mode, min_delta=min_delta)
        self.factor = checks.number(factor, "factor", low=0, below=1)
        self.patience = checks.integer(patience, "patience", 0)
        self.verbose = verbose
        self.cooldown = checks.integer(cooldown, "cooldown", 0)
        self.min_lr = checks.number(min_lr, "min_lr", low=0)
        self._reset()

    def _reset(self):
        self.best: float | None = None
        self.wait = self.cooldown_counter = 0

    def get_state(self) -> dict[str, Any]:
        return {"wait": self.wait, "best": self.best, "cooldown_counter": self.cooldown_counter}

    def set_state(self, state: dict[str, Any]) -> None:
        self.wait, self.best, self.cooldown_counter = (
            state[key] for key in ("wait", "best", "cooldown_counter"))

    def in_cooldown(self) -> bool:
        """Whether epochs without improvement are not counted yet."""
        return self.cooldown_counter > 0

    def on_train_begin(self, logs=None):
        self._direct()
        self._reset()

    def on_epoch_end(self, epoch, logs=None):
        logs = {} if logs is None else logs
        logs["learning_rate"] = current_rate(self.model.optimizer)
        current = self._current(logs)
        if current is None:
            return
        if self.in_cooldown():
            self.cooldown_counter -= 1
            self.wait = 0
        if self._improves(current, self.best):
            self.best, self.wait = current, 0
        elif not self.in_cooldown():
            self.wait += 1
            if self.wait >= self.patience:
                self._reduce(epoch)

    def _reduce(self, epoch):
        before = current_rate(self.model.optimizer)
        if before <= self.min_lr:
            return
        rate = max(before * self.factor, self.min_lr)
        self.model.optimizer.learning_rate = rate
        self.cooldown_counter, self.wait = self.cooldown, 0
        if self.verbose:
            say(f"Epoch {epoch + 1}: ReduceLROnPlateau lowers the learning rate to {rate:g}")


def current_rate(optimizer) -> float:
    """The learning rate of the next update."""
    return float(optimizer.learning_rate)
