"""Callbacks that write models and trainings to files.

They know files by name only; what is in them is the business of the model's own methods.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from .. import checks
from ..messages import say
from .callbacks import Callback
from .monitors import MonitorCallback

__all__ = ["BackupAndRestore", "ModelCheckpoint"]


class _EverySoMany:
    """Counts batches and says when so many have passed, over the ends of epochs."""

    def __init__(self, save_freq):
        if save_freq != "epoch":
            save_freq = checks.integer(save_freq, "save_freq", 1)
        self.freq = save_freq
        self._since, self._last = 0, -1

    def due(self, batch):
        if self.freq == "epoch":
            return False
        self._since += batch - self._last if batch > self._last else batch + 1
        self._last = batch
        if self._since < self.freq:
            return False
        self._since = 0
        return True


class ModelCheckpoint(MonitorCallback):
    """Saves the model, or its weights, at the end of epochs or after so many steps.

    Parameters
    ----------
    filepath : str or Path
        May have fields: ``{epoch}``, counted from 1, ``{batch}`` where steps are counted, and the
        names of logs, as in ``"{epoch:02d}-{val_loss:.2f}.keras"``.  Folders are made as needed.
    monitor : str
        Name of the number in the logs that says which model is best.
    verbose : {0, 1}
        1 prints what it does.
    save_best_only : bool
        Whether to save only when the number is better than ever before.
    save_weights_only : bool
        Whether to call ``model.save_weights`` in place of ``model.save``.
    mode : {"auto", "min", "max"}
        Whether smaller or larger is better; "auto" takes it from the loss or metric.
    save_freq : {"epoch"} or int
    initial_value_threshold : float, optional
        What the number must be better than from the start.

    Raises
    ------
    ValueError, TypeError
        If an argument is none of these; whole models go to files whose names end in ".keras".
    KeyError
        When it saves, if `filepath` has a field that is not in the logs.

    References
    ----------
    Keras 3, keras.callbacks.ModelCheckpoint.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> import fusedmlp as fm
    >>> model = fm.Sequential([fm.Input((2,)), fm.layers.Dense(1)])
    >>> model.compile("sgd", "mse")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save = ModelCheckpoint(os.path.join(folder, "{epoch:02d}.keras"))
    ...     history = model.fit(np.ones((4, 2)), np.ones(4), epochs=2, verbose=0, callbacks=[save])
    ...     sorted(os.listdir(folder))
    ['01.keras', '02.keras']
    """

    def __init__(self, filepath, monitor: str = "val_loss", verbose: int = 0,
                 save_best_only: bool = False, save_weights_only: bool = False,
                 mode: str = "auto", save_freq="epoch",
                 initial_value_threshold: float | None = None):
        super().__init__(monitor, mode, initial_value_threshold)
        self.filepath = os.fspath(filepath)
        if not save_weights_only and not self.filepath.endswith(".keras"):
            raise ValueError(
                "Argument `filepath` of ModelCheckpoint must end in '.keras' for whole models "
                f"(weights alone: save_weights_only=True). Received: {self.filepath!r}"
            )
        self.verbose = verbose
        self.save_best_only, self.save_weights_only = bool(save_best_only), bool(save_weights_only)
        self._batches = _EverySoMany(save_freq)
        self.save_freq = self._batches.freq
        self.every_batch = self.save_freq != "epoch"
        self._epoch = 0

    def get_state(self) -> dict[str, Any]:
        return {"best": self.best}

    def set_state(self, state: dict[str, Any]) -> None:
        self.best = state["best"]

    def on_train_begin(self, logs=None):
        if self.save_best_only:
            self._direct()

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if self._batches.due(batch):
            self._save(self._epoch, {"batch": batch + 1, **(logs or {})})

    def on_epoch_end(self, epoch, logs=None):
        if self.save_freq == "epoch":
            self._save(epoch, logs or {})

    def _save(self, epoch, logs):
        try:
            path = self.filepath.format(**{**logs, "epoch": epoch + 1})
        except KeyError as error:
            raise KeyError(
                f"Argument `filepath` of ModelCheckpoint has the field {error}, which is not among "
                f"{', '.join(['epoch', *logs])}. Received: {self.filepath!r}"
            ) from None
        if self.save_best_only and not self._is_best(epoch, logs):
            return
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        if self.save_weights_only:
            self.model.save_weights(path, overwrite=True)
        else:
            self.model.save(path, overwrite=True)
        if self.verbose:
            say(f"Epoch {epoch + 1}: model saved to {path}")

    def _is_best(self, epoch, logs):
        current = self._current({k: v for k, v in logs.items() if k != "batch"})
        if current is None:
            return True  # as in Keras: better one too many than none
        best, better = self.best, self._improves(current, self.best)
        if better:
            self.best = current
        if self.verbose:
            change = "improved" if better else "did not improve"
            start = "" if best is None else f" from {best:.5f}"
            end = f" to {current:.5f}" if better else ""
            say(f"Epoch {epoch + 1}: {self.monitor} {change}{start}{end}")
        return better


class BackupAndRestore(Callback):
    """Keeps a copy of a running training, from which the same `fit` goes on after a crash.

    Run the same script again: `fit` finds the copy and goes on where it was made, with weights,
    state of the optimizer, seed, order of the data and counters of all callbacks, so that the
    result has the bits of a training that was never interrupted.  With `save_freq` a number of
    steps, the epoch that was interrupted begins again.

    Parameters
    ----------
    backup_dir : str or Path
        Folder of the copy; not to be used by anything else.
    save_freq : {"epoch"} or int
        When the copy is made: at the end of epochs, or after so many steps.
    double_checkpoint : bool
        Whether the copy before the last is kept, too, and used where the last can't be read.
    delete_checkpoint : bool
        Whether the folder is removed when training is complete.

    Raises
    ------
    ValueError, TypeError
        If an argument is none of these; when training begins, if the model is not built, or the
        copy is that of another one.

    References
    ----------
    Keras 3, keras.callbacks.BackupAndRestore.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> import fusedmlp as fm
    >>> def train(folder, epochs, **kwargs):
    ...     fm.utils.set_random_seed(1)
    ...     model = fm.Sequential([fm.Input((2,)), fm.layers.Dense(1)])
    ...     model.compile("adam", "mse")
    ...     return model.fit(np.ones((4, 2)), np.ones(4), epochs=epochs, verbose=0,
    ...                      callbacks=[BackupAndRestore(folder, **kwargs)])
    >>> with tempfile.TemporaryDirectory() as parent:
    ...     folder = os.path.join(parent, "backup")
    ...     first = train(folder, 3, delete_checkpoint=False)  # as if it had been interrupted
    ...     second = train(folder, 5)
    >>> first.epoch, second.epoch
    ([0, 1, 2], [3, 4])
    """

    def __init__(self, backup_dir, save_freq="epoch", double_checkpoint: bool = False,
                 delete_checkpoint: bool = True):
        super().__init__()
        if not backup_dir:
            raise ValueError(
                f"Argument `backup_dir` must be the name of a folder. Received: {backup_dir!r}"
            )
        self.backup_dir = os.fspath(backup_dir)
        self._batches = _EverySoMany(save_freq)
        self.save_freq = self._batches.freq
        self.every_batch = self.save_freq != "epoch"
        self.double_checkpoint = bool(double_checkpoint)
        self.delete_checkpoint = bool(delete_checkpoint)
        folder = Path(self.backup_dir)
        self._latest, self._previous = folder / "latest.keras", folder / "previous.keras"
        self._epoch = 0

    def on_train_begin(self, logs=None):
        if not self.model.built:
            raise ValueError(
                "BackupAndRestore needs a model that is built before `fit`, by an Input or "
                f"`build(input_shape)`. Received: {self.model!r}"
            )
        for path in (self._latest, self._previous):
            if not path.exists():
                continue
            try:
                self.model._restore_training(path)
            except (OSError, ValueError):
                if path == self._latest and self._previous.exists():
                    continue  # it may have been damaged; the one before may serve
                raise
            return

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if self._batches.due(batch):
            self._save(self._epoch)

    def after_epoch(self, epoch: int) -> None:
        """When all callbacks have counted the epoch."""
        if self.save_freq == "epoch":
            self._save(epoch + 1)

    def _save(self, epoch):
        self._latest.parent.mkdir(parents=True, exist_ok=True)
        if self.double_checkpoint and self._latest.exists():
            shutil.copyfile(self._latest, self._previous)
        self.model._save_training(self._latest, epoch)

    def on_train_end(self, logs=None):
        if self.delete_checkpoint and os.path.isdir(self.backup_dir):
            shutil.rmtree(self.backup_dir)
