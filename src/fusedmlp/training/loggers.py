"""Callbacks that write the numbers of a training down: as a CSV file, for TensorBoard."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable
from pathlib import Path
from time import perf_counter, time

import numpy as np

from .. import checks
from .callbacks import Callback
from .monitors import current_rate

__all__ = ["CSVLogger", "TensorBoard"]


class CSVLogger(Callback):
    """Writes the logs of every epoch to a CSV file.

    Columns are "epoch", counted from 0, and the logs in alphabetical order.  If the first epoch has
    no validation, there are columns for it all the same, because later ones may; what an epoch does
    not have is "NA".

    Parameters
    ----------
    filename : str or Path
    separator : str
        Between columns; one character.
    append : bool
        Whether a file that exists is kept and written on.

    Raises
    ------
    ValueError, TypeError
        If an argument is none of these.

    References
    ----------
    Keras 3, keras.callbacks.CSVLogger.

    Examples
    --------
    >>> import os, tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> import fusedmlp as fm
    >>> model = fm.Sequential([fm.Input((2,)), fm.layers.Dense(1, kernel_initializer="zeros")])
    >>> model.compile(fm.optimizers.SGD(0.0), "mse")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "log.csv")
    ...     history = model.fit(np.ones((4, 2)), np.ones(4), epochs=2, verbose=0,
    ...                         callbacks=[CSVLogger(path)])
    ...     print(*Path(path).read_text().split(), sep="\\n")
    epoch,loss,val_loss
    0,1.0,NA
    1,1.0,NA
    """

    def __init__(self, filename, separator: str = ",", append: bool = False):
        super().__init__()
        if not isinstance(separator, str) or len(separator) != 1:
            raise ValueError(
                f"Argument `separator` must be one character. Received: {separator!r}"
            )
        self.filename, self.sep, self.append = os.fspath(filename), separator, bool(append)
        self._file, self._writer = None, None

    def on_train_begin(self, logs=None):
        self._close()
        path = Path(self.filename)
        self._header = not (self.append and path.exists() and path.stat().st_size > 0)
        self._file = open(path, "a" if self.append else "w", newline="")  # noqa: SIM115

    def on_epoch_end(self, epoch, logs=None):
        logs = logs or {}
        if self._writer is None:
            names = sorted(logs)
            if not any(name.startswith("val_") for name in names):
                names += [f"val_{name}" for name in names]
            self._writer = csv.DictWriter(self._file, ["epoch", *names], delimiter=self.sep,
                                          restval="NA", extrasaction="ignore")
            if self._header:
                self._writer.writeheader()
        self._writer.writerow({"epoch": epoch, **{k: _cell(v) for k, v in logs.items()}})
        self._file.flush()

    def on_train_end(self, logs=None):
        self._close()

    def _close(self):
        if self._file is not None:
            self._file.close()
        self._file = self._writer = None


def _cell(value):
    if isinstance(value, Iterable) and not isinstance(value, str) and np.ndim(value):
        return f"[{', '.join(map(str, value))}]"
    return value


class TensorBoard(Callback):
    """Writes logs and weights for TensorBoard, with the writer of `tensorboard` or `tensorboardX`.

    Below `log_dir`, "train" and "validation" hold the numbers of each: ``epoch_loss`` and the
    like by epoch, ``epoch_learning_rate``, ``evaluation_loss_vs_iterations`` of every evaluation,
    and, with `update_freq`, ``batch_loss`` and the like by step.

    Parameters
    ----------
    log_dir : str or Path
    histogram_freq : int
        Every so manieth epoch the distributions of all weights are written; 0 for never.
    write_graph : bool
        Whether to write the model's summary as text, in place of Keras's graph of TensorFlow's
        operations.
    write_images : bool
        Must be False: weights are not drawn.
    write_steps_per_second : bool
    update_freq : {"epoch", "batch"} or int
        After how many steps numbers of steps are written; "epoch" for never.
    profile_batch : int
        Must be 0: `model.plan()` says what a step does.
    embeddings_freq : int
        Must be 0: there is no projector.
    embeddings_metadata : None

    Raises
    ------
    ValueError, TypeError
        If an argument is none of these.
    ImportError
        If neither package is installed.

    References
    ----------
    Keras 3, keras.callbacks.TensorBoard.

    Examples
    --------
    >>> TensorBoard("logs", profile_batch=2)
    Traceback (most recent call last):
    ...
    ValueError: Argument `profile_batch` of TensorBoard must be left at its default, because it is \
not supported. Received: 2
    """

    def __init__(self, log_dir="logs", histogram_freq: int = 0, write_graph: bool = True,
                 write_images: bool = False, write_steps_per_second: bool = False,
                 update_freq="epoch", profile_batch: int = 0, embeddings_freq: int = 0,
                 embeddings_metadata=None):
        super().__init__()
        for name, value in (("write_images", write_images), ("profile_batch", profile_batch),
                            ("embeddings_freq", embeddings_freq),
                            ("embeddings_metadata", embeddings_metadata)):
            if value:
                raise ValueError(
                    f"Argument `{name}` of TensorBoard must be left at its default, because it is "
                    f"not supported. Received: {value!r}"
                )
        if update_freq != "epoch":
            update_freq = 1 if update_freq == "batch" else checks.integer(
                update_freq, "update_freq", 1)
        self.log_dir, self.update_freq = os.fspath(log_dir), update_freq
        self.histogram_freq = checks.integer(histogram_freq, "histogram_freq", 0)
        self.write_graph = bool(write_graph)
        self.write_steps_per_second = bool(write_steps_per_second)
        self.every_batch = update_freq != "epoch"
        self._open = _writer()
        self._writers: dict = {}
        self._steps = 0
        self._began = self._iterations = 0.0

    def _to(self, part):
        if part not in self._writers:
            self._writers[part] = self._open(os.path.join(self.log_dir, part))
        return self._writers[part]

    def on_train_begin(self, logs=None):
        self._steps = 0
        if self.write_graph and self.model.built:
            lines: list[str] = []
            self.model.summary(print_fn=lines.append)
            self._to("train").text("model", "\n".join(f"    {line}" for line in lines), 0)

    def on_train_end(self, logs=None):
        for writer in self._writers.values():
            writer.close()
        self._writers.clear()

    def on_epoch_begin(self, epoch, logs=None):
        self._began, self._iterations = perf_counter(), self.model.optimizer.iterations

    def on_train_batch_end(self, batch, logs=None):
        self._steps += 1
        if self.update_freq != "epoch" and self._steps % self.update_freq == 0:
            for name, value in (logs or {}).items():
                self._to("train").scalar(f"batch_{name}", value, self._steps)

    def on_test_end(self, logs=None):
        if self.model.optimizer is not None:
            for name, value in (logs or {}).items():
                self._to("validation").scalar(f"evaluation_{name}_vs_iterations", value,
                                              self.model.optimizer.iterations)

    def on_epoch_end(self, epoch, logs=None):
        numbers = dict(logs or {})
        numbers["learning_rate"] = current_rate(self.model.optimizer)
        if self.write_steps_per_second:
            steps = self.model.optimizer.iterations - self._iterations
            numbers["steps_per_second"] = steps / (perf_counter() - self._began)
        for name, value in numbers.items():
            part = "validation" if name.startswith("val_") else "train"
            self._to(part).scalar(f"epoch_{name.removeprefix('val_')}", value, epoch)
        if self.histogram_freq and epoch % self.histogram_freq == 0:
            for variable in self.model.variables:
                self._to("train").histogram(f"{variable.path}/histogram", variable.numpy(), epoch)
        for writer in self._writers.values():
            writer.flush()


def _writer():
    """The class of the writer that is installed."""
    try:
        import tensorboard.summary.writer.event_file_writer  # noqa: F401

        return _TensorboardWriter
    except ImportError:
        pass
    try:
        import tensorboardX  # noqa: F401
    except ImportError:
        raise ImportError(
            "The callback TensorBoard needs the package tensorboard or tensorboardX: "
            "pip install 'fusedmlp[tensorboard]'"
        ) from None
    return _TensorboardXWriter


class _TensorboardWriter:
    """Events by the protocol buffers and the file writer of `tensorboard`, without TensorFlow."""

    def __init__(self, folder):
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        self._file = EventFileWriter(folder)
        self.flush, self.close = self._file.flush, self._file.close

    def scalar(self, name, value, step):
        from tensorboard.plugins.scalar.summary_v2 import scalar_pb

        self._add(scalar_pb(name, float(value)), step)

    def histogram(self, name, values, step):
        from tensorboard.plugins.histogram.summary_v2 import histogram_pb

        self._add(histogram_pb(name, values), step)

    def text(self, name, value, step):
        from tensorboard.plugins.text.summary_v2 import text_pb

        self._add(text_pb(name, value), step)

    def _add(self, summary, step):
        from tensorboard.compat.proto.event_pb2 import Event

        self._file.add_event(Event(summary=summary, step=int(step), wall_time=time()))


class _TensorboardXWriter:
    def __init__(self, folder):
        from tensorboardX import SummaryWriter

        self._file = SummaryWriter(folder)
        self.flush, self.close = self._file.flush, self._file.close

    def scalar(self, name, value, step):
        self._file.add_scalar(name, float(value), int(step))

    def histogram(self, name, values, step):
        self._file.add_histogram(name, values, int(step))

    def text(self, name, value, step):
        self._file.add_text(name, value, int(step))
