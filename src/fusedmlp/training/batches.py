"""Data that comes as batches: generators, data loaders, datasets, `PyDataset`.

A batch is ``x``, ``(x,)``, ``(x, y)`` or ``(x, y, sample_weight)``.  What kinds of objects bring
them is told by what they can do, so no library is imported:

- with ``__len__`` and ``__getitem__`` (`PyDataset`, Keras's `Sequence`): batches by number;
- with ``__iter__`` (data loaders, ``tf.data`` datasets): a new pass whenever one is wanted;
- with ``__next__`` (generators): one pass and no more.

This module knows neither models nor arrays.
"""

from __future__ import annotations

import inspect
import itertools
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from .. import checks, frames

__all__ = ["Batches", "PyDataset", "is_batches", "unpack_batch"]


class PyDataset:
    """Base class of data that is made batch by batch.

    Define ``__len__``, the number of batches (or a property `num_batches`, None where there is no
    end), and ``__getitem__``, which returns batch ``index`` as a tuple ``(x, y)`` or
    ``(x, y, sample_weight)``.

    Parameters
    ----------
    workers : int
        Threads that make batches ahead of the training; with 1 the training thread makes them
        itself.
    use_multiprocessing : bool
        Whether they are processes instead, of which there may be only one; the dataset must then
        be picklable.
    max_queue_size : int
        Most batches made ahead.

    Raises
    ------
    ValueError, TypeError
        If a number is no integer or too small.

    References
    ----------
    Keras 3, keras.utils.PyDataset.

    Examples
    --------
    >>> import numpy as np
    >>> import fusedmlp as fm
    >>> class Halves(fm.utils.PyDataset):
    ...     def __len__(self):
    ...         return 2
    ...
    ...     def __getitem__(self, index):
    ...         x = np.full((4, 3), index, "float32")
    ...         return x, x[:, :1]
    >>> model = fm.Sequential([fm.Input((3,)), fm.layers.Dense(1)])
    >>> model.compile("sgd", "mse")
    >>> history = model.fit(Halves(), epochs=2, verbose=0)
    >>> model.optimizer.iterations
    4
    """

    def __init__(self, workers: int = 1, use_multiprocessing: bool = False,
                 max_queue_size: int = 10):
        self.workers = checks.integer(workers, "workers", 0)
        self.use_multiprocessing = bool(use_multiprocessing)
        self.max_queue_size = checks.integer(max_queue_size, "max_queue_size", 1)

    @property
    def num_batches(self) -> int | None:
        """Number of batches; None where there is no end."""
        if hasattr(type(self), "__len__"):
            return len(self)
        raise NotImplementedError(
            f"{type(self).__name__} must define `__len__` or a property `num_batches`"
        )

    def __getitem__(self, index: int) -> tuple:
        raise NotImplementedError(f"{type(self).__name__} must define `__getitem__`")

    def __iter__(self) -> Iterator:
        count = self.num_batches
        return (self[i] for i in (itertools.count() if count is None else range(count)))

    def on_epoch_begin(self) -> None:
        """Called before each pass over the data."""

    def on_epoch_end(self) -> None:
        """Called after each pass over the data."""


def is_batches(x) -> bool:
    """Whether `x` brings batches, and is no array, frame or list of rows.

    >>> is_batches(iter([])), is_batches([[1.0, 2.0]])
    (True, False)
    """
    if isinstance(x, (list, tuple, dict, str, bytes, range)) or x is None:
        return False
    if isinstance(x, PyDataset) or hasattr(x, "__next__"):
        return True
    if _is_torch_dataset(x):
        raise TypeError(
            "A dataset of torch brings samples, not batches: pass "
            "torch.utils.data.DataLoader(dataset, batch_size=32) instead. "
            f"Received: {type(x).__name__}"
        )
    if frames.is_foreign(x) and not hasattr(x, "batch_size"):
        return False
    if any(hasattr(x, name) for name in ("shape", "__array__", "__array_interface__", "dtype")):
        return False
    return _by_number(x) or (hasattr(x, "__iter__") and not hasattr(x, "__getitem__"))


def _by_number(x):
    """Whether batches are asked for by number: an item of anything else is a number or a row."""
    if not (hasattr(x, "__getitem__") and hasattr(x, "__len__")):
        return False
    if isinstance(x, PyDataset) or hasattr(x, "on_epoch_end"):
        return True
    return len(x) > 0 and isinstance(x[0], tuple)


def _is_torch_dataset(x):
    names = [f"{cls.__module__}.{cls.__name__}" for cls in type(x).__mro__]
    return "torch.utils.data.dataset.Dataset" in names


def unpack_batch(batch) -> tuple:
    """x, y and sample weights of a batch, None where there are none.

    Raises
    ------
    ValueError
        If it is a tuple of another length.

    >>> unpack_batch(([1.0], [2.0]))
    ([1.0], [2.0], None)
    """
    if not isinstance(batch, (tuple, list)):
        return batch, None, None
    if len(batch) not in (1, 2, 3):
        raise ValueError(
            "A batch must be a tuple (x,), (x, y) or (x, y, sample_weight). "
            f"Received: a {type(batch).__name__} of length {len(batch)}"
        )
    return (*batch, None, None)[:3]


class Batches:
    """Passes over any of the objects that this module knows.

    Parameters
    ----------
    source
        See `is_batches`.
    order : callable (count) -> sequence of int, optional
        Called for each pass over batches that have numbers; without it they come as they are.

    Attributes
    ----------
    length : int or None
        Batches of a pass, where that is known.
    again : bool
        Whether there can be more than one pass.
    """

    def __init__(self, source, order: Callable | None = None):
        self._source, self._order = source, order
        self._numbered = _by_number(source) or isinstance(source, PyDataset)
        self.again = self._numbered or not hasattr(source, "__next__")
        self.length = _length(source)
        self._begun: Iterator | None = None  # a pass of which nothing has been used yet
        self._peeked: list = []

    @property
    def endless(self) -> bool:
        """Whether it is known that a pass has no end."""
        return self._numbered and self.length is None

    def peek(self) -> Any:
        """A batch that is like those to come; ValueError if there is none."""
        if self._numbered and self.length != 0:
            return self._source[0]
        if self._begun is None:
            self._begun = iter(self._source)
        self._peeked = self._peeked or list(itertools.islice(self._begun, 1))
        if not self._peeked:
            raise ValueError(
                "Argument `x` must bring at least one batch. "
                f"Received: {type(self._source).__name__} without any"
            )
        return self._peeked[0]

    def used_up(self) -> bool:
        """Whether there will never be another batch."""
        if self.again:
            return False
        if self._begun is None:
            self._begun = iter(self._source)
        self._peeked = self._peeked or list(itertools.islice(self._begun, 1))
        return not self._peeked

    def __iter__(self) -> Iterator:
        """The batches of one pass."""
        if self._numbered:
            return self._counted()
        if self._begun is None:
            self._begun = iter(self._source)
        if not self.again:
            return self._rest()
        begun, peeked, self._begun, self._peeked = self._begun, self._peeked, None, []
        return itertools.chain(peeked, begun)

    def _rest(self):
        """What an iterator still has, also after another look ahead."""
        while self._peeked or not self.used_up():
            yield self._peeked.pop()

    def on_epoch(self, moment: str) -> None:
        """Call the method ``on_epoch_begin`` or ``on_epoch_end`` of the source, if it has one."""
        method = getattr(self._source, f"on_epoch_{moment}", None)
        if method is not None:
            method()
            self.length = _length(self._source)

    def _counted(self):
        source, count = self._source, self.length
        if count is None:
            numbers = itertools.count()
        else:
            numbers = range(count) if self._order is None else self._order(count)
        workers = getattr(source, "workers", 1)
        processes = getattr(source, "use_multiprocessing", False)
        if workers > 1 or (workers > 0 and processes):
            return _ahead(source, (int(i) for i in numbers), workers, processes,
                          getattr(source, "max_queue_size", 10))
        return (source[int(i)] for i in numbers)


def _length(source):
    """Batches of a pass; None where it has no end or can't say."""
    if hasattr(source, "num_batches") and not inspect.ismethod(source.num_batches):
        return source.num_batches
    try:
        return len(source)
    except TypeError:  # has no length, or, as datasets of tf.data, does not know it
        return None


_dataset: Any = None  # in a worker process: the dataset it makes batches of


def _adopt(dataset):
    global _dataset
    _dataset = dataset


def _adopted_batch(index):
    return _dataset[index]


def _ahead(source, numbers, workers, processes, most):
    """Batches in the order of `numbers`, made by workers, at most `most` of them ahead."""
    from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

    if processes:
        pool = ProcessPoolExecutor(workers, initializer=_adopt, initargs=(source,))
        make = _adopted_batch
    else:
        pool, make = ThreadPoolExecutor(workers), source.__getitem__
    waiting: deque = deque()
    try:
        for number in itertools.islice(numbers, most):
            waiting.append(pool.submit(make, number))
        while waiting:
            batch = waiting.popleft().result()
            for number in itertools.islice(numbers, 1):
                waiting.append(pool.submit(make, number))
            yield batch
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
