"""What a training or an evaluation runs over: epochs as pieces that an executor takes in one go.

Arrays in memory are one `Piece`; matrices in files are read in several; data that comes as batches
is a piece for each of them.  All give the same steps in the same order, so the same numbers.  This
module knows of a model its seed, its count of passes and its place in an unfinished one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from .. import random
from .batches import Batches
from .data import Samples
from .execution import identity_order

__all__ = ["ArrayFeed", "BatchFeed", "Piece", "constant", "pieces"]


_END = object()


class Piece(NamedTuple):
    """Steps `first` to `stop`, which take `size` rows each of `arrays`, in the order `order`."""

    arrays: tuple
    order: np.ndarray
    size: int
    first: int
    stop: int


def pieces(samples: Samples, order: np.ndarray, size: int, first: int, stop: int
           ) -> Iterator[Piece]:
    """Steps of samples, a block at a time where some are in a file.

    >>> samples = Samples((np.zeros((5, 2), "float32"),), 5, False)
    >>> [piece.stop for piece in pieces(samples, identity_order(5), 2, 0, 3)]
    [3]
    """
    blocks = [a.block_rows for a in samples.arrays if hasattr(a, "block_rows")]
    if not blocks:
        yield Piece(samples.arrays, order, size, first, stop)
        return
    steps = max(1, min(blocks) // size)
    for begin in range(first, stop, steps):
        end = min(begin + steps, stop)
        rows = order[begin * size : end * size]
        arrays = tuple(a.take(rows, axis=0) if isinstance(a, np.ndarray) else a.take(rows)
                       for a in samples.arrays)
        yield Piece(arrays, identity_order(len(rows)), size, 0, end - begin)


def constant(samples: Samples) -> tuple:
    """The arrays that all pieces of samples share, whose values stay; none where some are in files.

    >>> len(constant(Samples((np.zeros((5, 2), "float32"),), 5, False)))
    1
    """
    return () if any(hasattr(a, "block_rows") for a in samples.arrays) else samples.arrays


class ArrayFeed:
    """Epochs over samples whose number is known.

    Parameters
    ----------
    model
    samples : Samples
    objective : BoundObjective
    size : int
        Rows of a step.
    shuffle : bool
        Whether each pass takes the rows in an order of its own.
    steps_per_epoch : int or None
        Steps of `steps_per_epoch` go on in the pass over the data that the last ones began.

    Attributes
    ----------
    steps : int
        Of a usual epoch.
    rows : int
        Most rows of a step.
    asked : int or None
        `steps_per_epoch`.
    constant : tuple of ndarray
        See `constant`.
    """

    used_up = False

    def __init__(self, model, samples: Samples, objective, size: int, shuffle: bool,
                 steps_per_epoch: int | None):
        self.objective, self.weighted = objective, samples.weighted
        self.sparse, self.constant = samples.sparse, constant(samples)
        self._model, self._samples, self._size = model, samples, size
        self.rows = min(size, samples.rows)
        self._passes = math.ceil(samples.rows / size)  # steps of a pass over the data
        self.steps = min(steps_per_epoch or self._passes, self._passes)
        self._shuffle = shuffle and self._passes > 1  # one batch is the same in any order
        self.asked = steps_per_epoch
        self.resume()

    def resume(self) -> None:
        """Take up the pass over the data that the model is in."""
        model, rows = self._model, self._samples.rows
        before = model._position
        same = self.asked is not None and before[:2] == (rows, self._size)
        self._position = before[2] if same else 0
        self._order = identity_order(rows)
        if self._position and self._shuffle:
            self._order = random.permutation(rows, model.seed, model._epoch - 1)

    def epoch(self) -> Iterator[Piece]:
        """The pieces of the next epoch, which are fewer than asked for where the data ends."""
        model, samples = self._model, self._samples
        if self._position == 0:
            if self._shuffle:
                self._order = random.permutation(samples.rows, model.seed, model._epoch)
            model._epoch += 1
        start, stop = self._position, self._passes
        if self.asked is not None:
            stop = min(start + self.asked, stop)
        self._position = stop if stop < self._passes else 0
        model._position = (samples.rows, self._size, self._position)
        yield from pieces(samples, self._order, self._size, start, stop)

    def end_pass(self) -> None:
        """Nothing to let go of."""


class BatchFeed:
    """Epochs over data that comes as batches.

    Parameters
    ----------
    model
    batches : Batches
    prepare : callable (batch) -> (Samples, BoundObjective)
        Checks a batch.
    steps_per_epoch : int or None
    argument : str
        What the caller calls that.
    counts : bool
        Whether passes count among the model's.

    Raises
    ------
    ValueError
        If there are no batches, the first is wrong, or there is no end and no `steps_per_epoch`;
        in `epoch`, if a batch differs in kind from the first.
    """

    constant = ()  # a batch may be the same array as the last one with other values

    def __init__(self, model, batches: Batches, prepare: Callable, steps_per_epoch: int | None,
                 argument: str = "steps_per_epoch", counts: bool = True):
        self._model, self._batches, self._prepare = model, batches, prepare
        self.asked, self._counts = steps_per_epoch, counts
        samples, self.objective = self._checked(batches.peek(), 0)
        self.weighted, self.sparse = samples.weighted, samples.sparse
        self.rows = samples.rows
        if steps_per_epoch is None and batches.endless:
            raise ValueError(
                f"Argument `{argument}` must be given for data without an end. Received: None"
            )
        self._running: Iterator | None = None  # a pass that the last epoch has not ended
        self._seen = 0

    @property
    def steps(self) -> int | None:
        """Of a usual epoch; None where that is not known."""
        return self.asked or self._batches.length

    @property
    def used_up(self) -> bool:
        """Whether there will never be another batch."""
        return self._batches.used_up()

    def epoch(self) -> Iterator[Piece]:
        """The pieces of the next epoch, one for each batch."""
        steps = 0
        if self._running is None:
            self._model._epoch += self._counts
            self._batches.on_epoch("begin")
            self._running, self._seen = iter(self._batches), 0
        whole = False
        while self.asked is None or steps < self.asked:
            if self._seen == self._batches.length:
                whole = True
                break
            batch = next(self._running, _END)
            if batch is _END:
                whole = True
                break
            self._seen += 1
            samples, objective = self._checked(batch, self._seen - 1)
            if (objective is not self.objective or samples.weighted != self.weighted
                    or samples.sparse != self.sparse):
                raise ValueError(
                    "Batches must be alike: targets of one rank, and sample weights, or sparse "
                    f"input, in all or in none. Received: another kind in batch {self._seen - 1}"
                )
            steps += 1
            yield Piece(samples.arrays, identity_order(samples.rows), samples.rows, 0, 1)
        if whole or self._seen == self._batches.length:
            self.end_pass()

    def resume(self) -> None:
        """Nothing to take up: data that comes as batches begins with a new pass."""

    def blocks(self) -> Iterator[Piece]:
        """The same as `epoch`: batches stay as they are."""
        return self.epoch()

    def end_pass(self) -> None:
        """Let go of the pass that is under way; the next epoch begins another."""
        if self._running is not None:
            close = getattr(self._running, "close", None)
            self._running = None
            if close is not None and self._batches.again:
                close()
            self._batches.on_epoch("end")

    def _checked(self, batch, number):
        try:
            return self._prepare(batch)
        except (ValueError, TypeError) as error:
            raise type(error)(f"{error} (batch {number} of the data)") from error
