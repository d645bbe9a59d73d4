"""Callbacks: what people hook into training, evaluation and prediction.

The names, arguments and moments are those of Keras 3.  This module knows a model only by the
attributes that callbacks use (`stop_training`, `metrics`, `get_weights`, ...).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any

from .progress import Progress, resolve_verbose

__all__ = ["Callback", "CallbackList", "History", "LambdaCallback", "ProgbarLogger"]


class Callback:
    """Base class: override the methods of the moments of interest.

    `logs` are dicts of numbers by name, as they stand at that moment; batches and epochs count
    from 0.  An epoch runs in one call without the interpreter as long as no callback wants to see
    its batches, so overriding a method of batches costs speed.

    Attributes
    ----------
    model : Model
        The model that is being trained, evaluated or asked.
    params : dict
        "verbose", "epochs" and "steps".
    every_batch : bool
        False in a subclass says that its methods of batches need not be called for each of them:
        now and then is enough, with the number of the last one.

    Examples
    --------
    >>> class Losses(Callback):
    ...     def on_epoch_end(self, epoch, logs=None):
    ...         print(epoch, logs["loss"])
    >>> Losses().on_epoch_end(0, {"loss": 0.5})
    0 0.5
    """

    every_batch = True

    def __init__(self):
        self.params: dict[str, Any] | None = None
        self._model = None

    @property
    def model(self):
        """The model that is being trained, evaluated or asked."""
        return self._model

    def set_model(self, model) -> None:
        """Called with the model before everything else."""
        self._model = model

    def get_state(self) -> dict[str, Any]:
        """What a training that is resumed must know of this callback, for `set_state`.

        Values are plain data, or lists of arrays.
        """
        return {}

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from what `get_state` returned; called after `on_train_begin`."""

    def set_params(self, params: dict[str, Any]) -> None:
        """Called with "verbose", "epochs" and "steps" before everything else."""
        self.params = params

    def on_train_begin(self, logs=None) -> None:
        """At the beginning of `fit`."""

    def on_train_end(self, logs=None) -> None:
        """At the end of `fit`, with the logs of the last epoch."""

    def on_epoch_begin(self, epoch: int, logs=None) -> None:
        """Before an epoch of `fit`."""

    def on_epoch_end(self, epoch: int, logs=None) -> None:
        """After an epoch of `fit` and its validation, with the logs of both."""

    def on_train_batch_begin(self, batch: int, logs=None) -> None:
        """Before a step of `fit`."""

    def on_train_batch_end(self, batch: int, logs=None) -> None:
        """After a step of `fit`, with the means of the epoch so far."""

    def on_batch_begin(self, batch: int, logs=None) -> None:
        """Another name of `on_train_batch_begin`."""

    def on_batch_end(self, batch: int, logs=None) -> None:
        """Another name of `on_train_batch_end`."""

    def on_test_begin(self, logs=None) -> None:
        """Before an evaluation, also that of the validation data in `fit`."""

    def on_test_end(self, logs=None) -> None:
        """After an evaluation, with its logs."""

    def on_test_batch_begin(self, batch: int, logs=None) -> None:
        """Before a batch of an evaluation."""

    def on_test_batch_end(self, batch: int, logs=None) -> None:
        """After a batch of an evaluation, with the means so far."""

    def on_predict_begin(self, logs=None) -> None:
        """Before a prediction."""

    def on_predict_end(self, logs=None) -> None:
        """After a prediction."""

    def on_predict_batch_begin(self, batch: int, logs=None) -> None:
        """Before a batch of a prediction."""

    def on_predict_batch_end(self, batch: int, logs=None) -> None:
        """After a batch of a prediction, with ``{"outputs": array}``."""


_MOMENTS = tuple(name for name in vars(Callback) if name.startswith("on_"))


@lru_cache(maxsize=256)
def _overridden(cls):
    """The moments that a class overrides."""
    return frozenset(n for n in _MOMENTS if getattr(cls, n) is not getattr(Callback, n))


class CallbackList(Callback):
    """Several callbacks, called one after another.

    Parameters
    ----------
    callbacks : Callback or iterable of Callback, optional
    add_history, add_progbar : bool
        Whether to append a `History` and a `ProgbarLogger` where there is none.
    model : Model, optional
    **params
        Passed on to each with `Callback.set_params`.

    Raises
    ------
    TypeError
        If one is no instance of `Callback`.

    >>> CallbackList([History]).callbacks
    Traceback (most recent call last):
    ...
    TypeError: Argument `callbacks` must hold instances of Callback. \
Received: <class 'fusedmlp.training.callbacks.History'>
    """

    def __init__(self, callbacks=None, add_history: bool = False, add_progbar: bool = False,
                 model=None, **params):
        super().__init__()
        if callbacks is None:
            callbacks = ()
        elif isinstance(callbacks, Callback) or not isinstance(callbacks, Iterable):
            callbacks = (callbacks,)
        self.callbacks: list[Callback] = []
        self.history: History | None = None
        self.progbar: ProgbarLogger | None = None
        self._methods: dict[str, list[Callable]] = {}
        for callback in callbacks:
            self.append(callback)
        if add_history and self.history is None:
            self.append(History())
        if add_progbar and self.progbar is None:
            self.append(ProgbarLogger())
        if model is not None:
            self.set_model(model)
        self.set_params(params)

    def append(self, callback: Callback) -> None:
        """Add one at the end."""
        if not isinstance(callback, Callback):
            raise TypeError(
                f"Argument `callbacks` must hold instances of Callback. Received: {callback!r}"
            )
        self.callbacks.append(callback)
        if isinstance(callback, History):
            self.history = callback
        elif isinstance(callback, ProgbarLogger):
            self.progbar = callback
        self._methods.clear()

    def set_model(self, model) -> None:
        super().set_model(model)
        if self.history is not None:
            model.history = self.history
        for callback in self.callbacks:
            callback.set_model(model)

    def set_params(self, params) -> None:
        self.params = params
        if params:
            for callback in self.callbacks:
                callback.set_params(params)

    def methods(self, *moments: str) -> list[Callable]:
        """The methods for one of `moments` that do something.

        A method counts if its class overrides it or if it was set on the instance.
        """
        found = self._methods.get(moments[0])
        if found is None:
            found = self._methods[moments[0]] = [
                getattr(callback, moment)
                for callback in self.callbacks for moment in moments
                if moment in _overridden(type(callback)) or moment in vars(callback)
            ]
        return found

    def wants_batches(self, kind: str) -> bool:
        """Whether a callback wants to see each batch of "train", "test" or "predict"."""
        moments = [f"on_{kind}_batch_begin", f"on_{kind}_batch_end"]
        if kind == "train":
            moments += ["on_batch_begin", "on_batch_end"]
        return any(
            callback.every_batch and (moment in _overridden(type(callback))
                                      or moment in vars(callback))
            for callback in self.callbacks for moment in moments
        )

    def on_train_begin(self, logs=None):
        for method in self.methods("on_train_begin"):
            method(logs)

    def on_train_end(self, logs=None):
        for method in self.methods("on_train_end"):
            method(logs)

    def on_epoch_begin(self, epoch, logs=None):
        for method in self.methods("on_epoch_begin"):
            method(epoch, logs)

    def on_epoch_end(self, epoch, logs=None):
        for method in self.methods("on_epoch_end"):
            method(epoch, logs)
        for callback in self.callbacks:
            after = getattr(callback, "after_epoch", None)
            if after is not None:  # what has to see the others' work done
                after(epoch)

    def get_states(self) -> list[tuple[str, dict]]:
        """Names of classes and states of all callbacks that have one."""
        return [(type(c).__name__, state) for c in self.callbacks if (state := c.get_state())]

    def set_states(self, states: list[tuple[str, dict]]) -> None:
        """Hand back what `get_states` returned: to each the first that is left of its class."""
        left = list(states)
        for callback in self.callbacks:
            for found in left:
                if found[0] == type(callback).__name__:
                    callback.set_state(found[1])
                    left.remove(found)
                    break

    def on_train_batch_begin(self, batch, logs=None):
        for method in self.methods("on_train_batch_begin", "on_batch_begin"):
            method(batch, logs=logs)

    def on_train_batch_end(self, batch, logs=None):
        for method in self.methods("on_train_batch_end", "on_batch_end"):
            method(batch, logs=logs)

    def on_batch_begin(self, batch, logs=None):
        self.on_train_batch_begin(batch, logs)

    def on_batch_end(self, batch, logs=None):
        self.on_train_batch_end(batch, logs)

    def on_test_begin(self, logs=None):
        for method in self.methods("on_test_begin"):
            method(logs)

    def on_test_end(self, logs=None):
        for method in self.methods("on_test_end"):
            method(logs)

    def on_test_batch_begin(self, batch, logs=None):
        for method in self.methods("on_test_batch_begin"):
            method(batch, logs=logs)

    def on_test_batch_end(self, batch, logs=None):
        for method in self.methods("on_test_batch_end"):
            method(batch, logs=logs)

    def on_predict_begin(self, logs=None):
        for method in self.methods("on_predict_begin"):
            method(logs)

    def on_predict_end(self, logs=None):
        for method in self.methods("on_predict_end"):
            method(logs)

    def on_predict_batch_begin(self, batch, logs=None):
        for method in self.methods("on_predict_batch_begin"):
            method(batch, logs=logs)

    def on_predict_batch_end(self, batch, logs=None):
        for method in self.methods("on_predict_batch_end"):
            method(batch, logs=logs)


class History(Callback):
    """Records the logs of every epoch; `fit` adds one and returns it.

    Attributes
    ----------
    history : dict of str to list of float
    epoch : list of int

    >>> record = History()
    >>> record.on_train_begin()
    >>> record.on_epoch_end(0, {"loss": 0.5})
    >>> record.epoch, record.history
    ([0], {'loss': [0.5]})
    """

    def __init__(self):
        super().__init__()
        self.history: dict[str, list[float]] = {}
        self.epoch: list[int] = []

    def on_train_begin(self, logs=None):
        self.epoch = []

    def on_epoch_end(self, epoch, logs=None):
        self.epoch.append(epoch)
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(value)


class ProgbarLogger(Callback):
    """Shows progress on standard output; `fit`, `evaluate` and `predict` add one as needed.

    With ``verbose=1`` a bar if `tqdm` is installed, and otherwise, as with ``verbose=2``, one line
    per epoch.

    >>> logger = ProgbarLogger()
    >>> logger.set_params({"verbose": 2, "epochs": 3, "steps": 5})
    >>> logger.verbose, logger.epochs
    (2, 3)
    """

    every_batch = False

    def __init__(self):
        super().__init__()
        self.verbose, self.epochs, self.target = 1, 1, 0
        self._seen = 0
        self._progress: Progress | None = None
        self._training = False

    def set_params(self, params):
        super().set_params(params)
        self.verbose = resolve_verbose(params["verbose"])
        self.epochs, self.target = params["epochs"], params["steps"]

    def on_train_begin(self, logs=None):
        self._training = True

    def on_train_end(self, logs=None):
        self._training = False

    def on_epoch_begin(self, epoch, logs=None):
        self._begin(f"Epoch {epoch + 1}/{self.epochs}")

    def on_train_batch_end(self, batch, logs=None):
        self._update(batch, logs)

    def on_epoch_end(self, epoch, logs=None):
        self._finish(logs)

    def on_test_begin(self, logs=None):
        if not self._training:
            self._begin("")

    def on_test_batch_end(self, batch, logs=None):
        if not self._training:
            self._update(batch, logs)

    def on_test_end(self, logs=None):
        if not self._training:
            self._finish(logs)

    def on_predict_begin(self, logs=None):
        self._begin("")

    def on_predict_batch_end(self, batch, logs=None):
        self._update(batch, None)

    def on_predict_end(self, logs=None):
        self._finish(None)

    def close(self) -> None:
        """End a bar that an exception interrupted."""
        self._training = False
        if self._progress is not None:
            self._progress.close()
            self._progress = None

    def _begin(self, title):
        self._seen = 0
        if self.verbose:
            self._progress = Progress(self.target, title, self.verbose)

    def _update(self, batch, logs):
        self._seen = batch + 1
        if self._progress is not None:
            self._progress.update(self._seen, logs)

    def _finish(self, logs):
        if self._progress is not None:
            self._progress.finish(self._seen or self.target, logs)
            self._progress = None


class LambdaCallback(Callback):
    """A callback made of functions.

    Parameters
    ----------
    on_epoch_begin, on_epoch_end : callable (epoch, logs), optional
    on_train_begin, on_train_end : callable (logs), optional
    on_train_batch_begin, on_train_batch_end : callable (batch, logs=logs), optional
    **kwargs
        Functions for other methods of `Callback`, or further attributes.

    Raises
    ------
    TypeError
        If what is given for a method can't be called.

    Examples
    --------
    >>> show = LambdaCallback(on_epoch_end=lambda epoch, logs: print(epoch, logs["loss"]))
    >>> show.on_epoch_end(0, {"loss": 0.5})
    0 0.5
    """

    def __init__(self, on_epoch_begin=None, on_epoch_end=None, on_train_begin=None,
                 on_train_end=None, on_train_batch_begin=None, on_train_batch_end=None, **kwargs):
        super().__init__()
        given = {"on_epoch_begin": on_epoch_begin, "on_epoch_end": on_epoch_end,
                 "on_train_begin": on_train_begin, "on_train_end": on_train_end,
                 "on_train_batch_begin": on_train_batch_begin,
                 "on_train_batch_end": on_train_batch_end, **kwargs}
        for name, function in given.items():
            if name in _MOMENTS and function is not None and not callable(function):
                raise TypeError(
                    f"Argument `{name}` must be a function. Received: {function!r}"
                )
        self.__dict__.update((name, value) for name, value in given.items()
                             if value is not None or name not in _MOMENTS)
