"""Data sets that cut arrays into batches: halves of data, windows of time series, texts in files.

They are `PyDataset`s, which `fit` takes, and iterables.
"""

from __future__ import annotations

import math
import os
import random as python_random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .. import checks, frames, tree
from ..messages import say
from .batches import Batches, PyDataset, is_batches

__all__ = ["RowDataset", "split_dataset", "text_dataset_from_directory",
           "timeseries_dataset_from_array"]


class RowDataset(PyDataset):
    """Rows by number, in batches.

    Parameters
    ----------
    read : callable
        Gives a batch, an array or a structure of arrays, for an array of numbers of rows.
    rows : sequence of int
        Which rows there are, in their order.
    batch_size : int or None
        None brings rows one by one, without an axis of rows.
    shuffle : RandomState, optional
        What shuffles the rows, at first and after each pass.

    Attributes
    ----------
    class_names : list of str or None
        Of labels that come from names of folders.

    >>> data = RowDataset(lambda rows: rows * 10, range(5), batch_size=2)
    >>> len(data), data[2], [batch.tolist() for batch in data]
    (3, array([40]), [[0, 10], [20, 30], [40]])
    """

    def __init__(self, read: Callable, rows: Sequence[int], batch_size: int | None,
                 shuffle: np.random.RandomState | None = None):
        super().__init__()
        self._read, self._rows = read, np.array(rows, np.int64)
        self.batch_size = None if batch_size is None else checks.integer(
            batch_size, "batch_size", 1)
        self._random = shuffle
        self.class_names: list[str] | None = None
        self.on_epoch_end()

    def __len__(self):
        return math.ceil(len(self._rows) / (self.batch_size or 1))

    def __getitem__(self, index):
        count = len(self)
        if not -count <= index < count:
            raise IndexError(f"There are {count} batches. Received: index {index}")
        if self.batch_size is None:
            rows = self._rows[[index]]
            return tree.map_leaves(lambda array: array[0], self._read(rows))
        start = index % count * self.batch_size
        return self._read(self._rows[start : start + self.batch_size])

    def on_epoch_end(self) -> None:
        """Shuffle the rows, where that is asked for."""
        if self._random is not None:
            self._random.shuffle(self._rows)

    def batch(self, batch_size: int) -> RowDataset:
        """The same rows in batches of that size.

        >>> len(RowDataset(lambda rows: rows, range(10), None).batch(4))
        3
        """
        other = RowDataset(self._read, self._rows, batch_size, self._random)
        other.class_names = self.class_names
        return other


# -- halves ----------------------------------------------------------------------------------------


def split_dataset(dataset, left_size=None, right_size=None, shuffle: bool = False, seed=None,
                  preferred_backend: str | None = None) -> tuple[RowDataset, RowDataset]:
    """Divide data into a left and a right part, such as data for training and for tests.

    Parameters
    ----------
    dataset : array, list, tuple or dict of arrays of equally many rows, or batches
        Batches are read as a whole.
    left_size, right_size : int or float, optional
        Rows, or their share; the one that is not given is what is left.
    shuffle : bool
        Whether rows are drawn instead of divided at one place.
    seed : int, optional
    preferred_backend : optional
        Not heeded.

    Returns
    -------
    pair of RowDataset
        Rows one by one (their method `batch` makes batches of them), or, where batches were given,
        batches of that size.

    Raises
    ------
    ValueError, TypeError
        If no size is given or one does not fit, or arrays differ in rows.

    References
    ----------
    Keras 3, keras.utils.split_dataset; `shuffle` gives the same order for the same seed.

    >>> left, right = split_dataset(np.arange(10), left_size=0.8)
    >>> len(left), len(right), [batch.tolist() for batch in right.batch(2)]
    (8, 2, [[8, 9]])
    """
    size = None
    if is_batches(dataset):
        batches = list(Batches(dataset))
        if isinstance(dataset, RowDataset) and dataset.batch_size is None:
            parts = [np.stack(rows) for rows in zip(*map(tree.leaves, batches), strict=True)]
        else:
            size = len(tree.leaves(batches[0])[0]) if batches else None
            parts = [np.concatenate(rows) for rows in zip(*map(tree.leaves, batches), strict=True)]
        if not batches:
            raise ValueError("Argument `dataset` must have at least one batch. Received: none")
        dataset = tree.pack(batches[0], parts)
    else:
        dataset = _arrays(dataset)
    leaves = tree.leaves(dataset)
    rows = len(leaves[0])
    if any(len(leaf) != rows for leaf in leaves):
        raise ValueError(
            "Argument `dataset` must hold arrays of equally many rows. "
            f"Received: {', '.join(str(len(leaf)) for leaf in leaves)}"
        )
    left, right = _sizes(left_size, right_size, rows)
    order = list(range(rows))
    if shuffle:
        python_random.Random(seed).shuffle(order)

    def read(rows):
        return tree.map_leaves(lambda array: array[rows], dataset)

    return RowDataset(read, order[:left], size), RowDataset(read, order[rows - right :], size)


def _arrays(data):
    """The structure with arrays as leaves; a list of numbers is one."""
    if frames.is_foreign(data):
        return frames.convert(data, "dataset")
    if isinstance(data, dict):
        return {key: _arrays(part) for key, part in data.items()}
    if isinstance(data, (list, tuple)) and data and all(
            hasattr(part, "__len__") and not isinstance(part, str) for part in data):
        return type(data)(_arrays(part) for part in data)
    array = np.asarray(data)
    if not array.ndim or not len(array):
        raise TypeError(
            "Argument `dataset` must be an array, a list, tuple or dict of arrays, or batches. "
            f"Received: {data!r} of type {type(data).__name__}"
        )
    return array


def _sizes(left, right, rows):
    """How many rows each part has."""
    if left is None and right is None:
        raise ValueError(
            "At least one of the arguments `left_size` and `right_size` must be given. "
            "Received: None and None"
        )
    found = []
    for name, size in (("left_size", left), ("right_size", right)):
        if size is None:
            found.append(None)
        elif isinstance(size, (float, np.floating)):
            checks.number(size, name, low=0, below=1)
            found.append(round(size * rows))
        else:
            found.append(checks.integer(size, name, 1, rows - 1))
    left_rows, right_rows = found
    left_rows = rows - right_rows if left_rows is None else left_rows
    right_rows = rows - left_rows if right_rows is None else right_rows
    if left_rows + right_rows > rows or not left_rows or not right_rows:
        raise ValueError(
            f"Arguments `left_size` and `right_size` must divide {rows} rows into two parts that "
            f"are not empty. Received: {left!r} and {right!r}"
        )
    return left_rows, right_rows


# -- time series -----------------------------------------------------------------------------------


def timeseries_dataset_from_array(data, targets, sequence_length: int, sequence_stride: int = 1,
                                  sampling_rate: int = 1, batch_size: int | None = 128,
                                  shuffle: bool = False, seed: int | None = None,
                                  start_index: int | None = None, end_index: int | None = None,
                                  format: str = "tf") -> RowDataset:
    """Windows of a time series, and the target of each.

    Window i holds the steps ``i * sequence_stride + j * sampling_rate`` for j below
    `sequence_length`; its target is ``targets[i * sequence_stride]``.  Windows are cut when they
    are asked for, so `data` may be larger than memory.

    Parameters
    ----------
    data : array_like, shape (steps, ...)
    targets : array_like, shape (steps, ...), or None
        What belongs to the window that begins at a step.
    sequence_length : int
        Steps of a window.
    sequence_stride : int
        Steps from one window to the next.
    sampling_rate : int
        Steps of the series for one of a window.
    batch_size : int or None
        Windows of a batch; None brings them one by one.
    shuffle : bool
        Whether windows come in an order that is drawn, anew for each pass.
    seed : int, optional
        For that.
    start_index, end_index : int, optional
        Steps before the first and from the second on are left out.
    format : {"tf", "grain"}
        There for scripts written for Keras; both are the same here.

    Returns
    -------
    RowDataset
        Of batches ``(windows, targets)``, or of windows alone.

    Raises
    ------
    ValueError, TypeError
        If a number does not fit the data, or there is no window.

    References
    ----------
    Keras 3, keras.utils.timeseries_dataset_from_array.

    >>> series = np.arange(10.0)
    >>> data = timeseries_dataset_from_array(series[:-3], series[3:], sequence_length=3)
    >>> windows, targets = data[0]
    >>> windows[1], targets[:2]
    (array([1., 2., 3.]), array([3., 4.]))
    """
    checks.one_of(format, "format", ("tf", "grain"))
    data = data if hasattr(data, "shape") and hasattr(data, "__getitem__") and not (
        frames.is_foreign(data)) else _arrays(data)
    if targets is not None and (frames.is_foreign(targets) or not hasattr(targets, "shape")):
        targets = _arrays(targets)
    steps = len(data)
    checks.integer(sequence_length, "sequence_length", 1)
    checks.integer(sampling_rate, "sampling_rate", 1, max(steps - 1, 1))
    checks.integer(sequence_stride, "sequence_stride", 1, max(steps - 1, 1))
    first = 0 if start_index is None else checks.integer(start_index, "start_index", 0, steps - 1)
    last = steps if end_index is None else checks.integer(
        end_index, "end_index", first + 1, steps - 1)
    count = last - first - (sequence_length - 1) * sampling_rate
    if targets is not None:
        count = min(count, len(targets) - first)
    if count < 1:
        raise ValueError(
            f"Argument `sequence_length` must leave at least one window in {last - first} steps. "
            f"Received: {sequence_length} with sampling_rate={sampling_rate}"
        )
    offsets = first + np.arange(sequence_length) * sampling_rate

    def read(starts):
        windows = _taken(data, starts[:, None] + offsets)
        return windows if targets is None else (windows, _taken(targets, starts + first))

    return RowDataset(read, range(0, count, sequence_stride), batch_size,
                      np.random.RandomState(seed) if shuffle else None)


def _taken(array, places):
    """Elements of an array, which may be one that can only be read in one piece, by place."""
    if isinstance(array, np.ndarray):
        return array[places]
    low = int(places.min())
    return np.asarray(array[low : int(places.max()) + 1])[places - low]


# -- texts in files --------------------------------------------------------------------------------


def text_dataset_from_directory(directory, labels: Any = "inferred", label_mode="int",
                                class_names=None, batch_size: int | None = 32,
                                max_length: int | None = None, shuffle: bool = True,
                                seed: int | None = None, validation_split: float | None = None,
                                subset: str | None = None, follow_links: bool = False,
                                format: str = "tf", verbose: bool = True):
    """The texts of ".txt" files in folders, whose names are the classes.

    Parameters
    ----------
    directory : str or Path
        With a folder for each class; where `labels` is not "inferred", folders mean nothing.
    labels : "inferred", list of int or None
        None brings texts alone; a list has one for each file, in the order of their paths.
    label_mode : {"int", "categorical", "binary"} or None
        int32 of shape (rows,), float32 of shape (rows, classes), float32 of shape (rows, 1); None
        brings texts alone.
    class_names : list of str, optional
        Names of folders, in the order of their numbers; that of the alphabet by default.
    batch_size : int or None
        None brings texts one by one.
    max_length : int, optional
        Characters of a text; the rest is left out.
    shuffle : bool
        Whether texts come in an order that is drawn; by default, that of their paths.
    seed : int, optional
        For that.
    validation_split : float, optional
        Share of the texts, the last ones, that are for validation.
    subset : {"training", "validation", "both"}, optional
        Which to return, with `validation_split`.
    follow_links : bool
        Whether links to folders are followed.
    format : {"tf", "grain"}
        There for scripts written for Keras; both are the same here.
    verbose : bool
        Whether to say how many files there are.

    Returns
    -------
    RowDataset or pair of RowDataset
        Of batches ``(texts, labels)``, texts being an array of str; or of texts alone.  Its
        `class_names` are those of the labels.

    Raises
    ------
    ValueError, TypeError
        If an argument is none of these, or there are no such files.
    OSError
        If the directory can't be read.

    References
    ----------
    Keras 3, keras.utils.text_dataset_from_directory.

    >>> import os, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name, text in (("bad", "so bad"), ("good", "a good film")):
    ...         os.mkdir(os.path.join(folder, name))
    ...         with open(os.path.join(folder, name, "1.txt"), "w") as file:
    ...             _ = file.write(text)
    ...     data = text_dataset_from_directory(folder, shuffle=False)
    ...     data[0], data.class_names
    Found 2 files belonging to 2 classes.
    ((array(['so bad', 'a good film'], dtype=object), array([0, 1], dtype=int32)), ['bad', 'good'])
    """
    checks.one_of(format, "format", ("tf", "grain"))
    if label_mode is not None:
        checks.one_of(label_mode, "label_mode", ("int", "categorical", "binary"))
    if max_length is not None:
        checks.integer(max_length, "max_length", 1)
    inferred = isinstance(labels, str) and labels == "inferred"
    if not inferred and labels is not None and not isinstance(labels, (list, tuple)):
        raise ValueError(
            "Argument `labels` must be 'inferred', None or a list of integers, one for each file. "
            f"Received: {labels!r}"
        )
    if class_names is not None and not inferred:
        raise ValueError(
            f"Argument `class_names` goes with labels='inferred' alone. Received: {class_names!r}"
        )
    _check_subset(validation_split, subset, shuffle, seed)
    paths, numbers, names = _text_files(os.fspath(directory), labels if label_mode else None,
                                        class_names, follow_links)
    if label_mode is None:
        numbers = names = None
    if verbose:
        belonging = "" if numbers is None else f" belonging to {len(names)} classes"
        say(f"Found {len(paths)} files{belonging}.")
    if label_mode == "binary" and numbers is not None and len(names) != 2:
        raise ValueError(
            f"There must be two classes with label_mode='binary'. Received: {names}"
        )
    order = np.arange(len(paths))
    draws = None
    if shuffle:
        draws = np.random.RandomState(seed)
        draws.shuffle(order)

    def read(rows):
        texts = np.empty(len(rows), object)
        for i, row in enumerate(rows):
            with open(paths[row], encoding="utf-8") as file:
                texts[i] = file.read(-1 if max_length is None else max_length)
        if numbers is None:
            return texts
        if label_mode == "categorical":
            return texts, np.eye(len(names), dtype="float32")[numbers[rows]]
        if label_mode == "binary":
            return texts, numbers[rows, None].astype("float32")
        return texts, numbers[rows]

    held = int((validation_split or 0) * len(paths))
    parts = {"training": order[: len(order) - held], "validation": order[len(order) - held :],
             None: order}
    wanted = ("training", "validation") if subset == "both" else (subset,)
    made = []
    for part in wanted:
        if not len(parts[part]):
            raise ValueError(
                f"Argument `directory` must hold '.txt' files{' for ' + part if part else ''}. "
                f"Received: {os.fspath(directory)!r} with {len(paths)} of them"
            )
        if verbose and part is not None:
            say(f"Using {len(parts[part])} files for {part}.")
        dataset = RowDataset(read, parts[part], batch_size,
                             None if subset == "both" and part == "validation" else draws)
        dataset.class_names = names
        made.append(dataset)
    return tuple(made) if subset == "both" else made[0]


def _check_subset(share, subset, shuffle, seed):
    if subset is not None:
        checks.one_of(subset, "subset", ("training", "validation", "both"))
    if share is not None:
        checks.number(share, "validation_split", low=0, below=1)
    if bool(share) != (subset is not None):
        raise ValueError(
            "Arguments `validation_split` and `subset` must be given together. "
            f"Received: {share!r} and {subset!r}"
        )
    if share and shuffle and seed is None:
        raise ValueError(
            "Argument `seed` must be given where data is shuffled and divided, so that the parts "
            "have nothing in common. Received: None"
        )


def _text_files(directory, labels, class_names, follow_links):
    """Paths, numbers of classes and their names; the last two may be None."""
    inferred = isinstance(labels, str)
    folders = sorted(name for name in os.listdir(directory) if not name.startswith(".")
                     and os.path.isdir(os.path.join(directory, name)))
    if class_names is not None:
        unknown = [name for name in class_names if name not in folders]
        if unknown:
            raise ValueError(
                "Argument `class_names` must hold names of folders, "
                f"{', '.join(map(repr, folders))}. Received: {unknown[0]!r}"
            )
        folders = list(class_names)
    paths: list[str] = []
    numbers: list[int] = []
    for number, folder in enumerate(folders if inferred else [""]):
        walk = os.walk(os.path.join(directory, folder), followlinks=follow_links)
        found = [os.path.join(root, name) for root, _, files in sorted(walk)
                 for name in sorted(files) if name.lower().endswith(".txt")]
        paths += found
        numbers += [number] * len(found)
    if inferred:
        return paths, np.array(numbers, "int32"), folders
    if labels is None:
        return paths, None, None
    if len(labels) != len(paths):
        raise ValueError(
            f"Argument `labels` must have a label for each of {len(paths)} files. "
            f"Received: {len(labels)}"
        )
    return paths, np.array(labels, "int32"), [str(label) for label in sorted(set(labels))]
