"""The part of a builder that numbers buffers, and the state that its other parts share."""

from __future__ import annotations

import math
from collections import Counter

from .data import Buffer, Op, pitch


class Buffers:
    """Buffers of a plan in the making, their shapes and views, and the list of operations."""

    def __init__(self, batch_size, dtype="float32", training=False):
        self.batch_size, self.dtype, self.training = batch_size, dtype, training
        self.buffers, self.ops, self.inputs, self.totals = [], [], [], []
        self.loss_total = None  # name of the total of its own that the next loss is added to
        self.owners = {}  # name of a buffer -> name of the layer whose it is
        self.layer_outputs = {}  # buffer -> name of the layer that gave it first
        self._parameters = {}  # (offset, rows, columns) -> buffer
        self._trainable = set()
        self._graded = {}  # parameter -> buffer of its gradient
        self._spare = {}  # buffer of the gradient of a further use -> that of the first
        self._holders = Counter()  # gradient -> forward buffers whose gradient it is
        self._errors = {}  # output of a product -> gradient before its activation
        self._dropped_activations = {}  # output of an activation that nobody reads -> its input
        self._kept = set()  # gradients that are read again after the adjoint that got them
        self._streams = 0
        self._loss_ops = []
        self._penalties = []  # of parameters, (op, parameter and what weighs it, attributes)
        self.arena = None  # that of the parameters, where it is known
        self.mixes_rows = False  # whether what a step in Python gives a row depends on others
        self._of_batches = False  # whether a penalty is a number that a whole batch makes
        self._told = set()  # what `first_time` was asked
        self.measures = True  # whether metrics that are updated on the way are wanted
        self.assigned = {}  # variable -> its value from here on, where something is assigned to it
        self._last = {}  # what `at_end` was asked, by keys
        self._activities = []  # penalties on activations, (buffer, attributes)
        self._constraints = []  # (parameter, attributes)
        self._shapes = {}  # buffer or view -> shape of a sample, where it is not (columns,)
        self._views = {}  # view -> the buffer that it stands for
        self._forms = {}  # (buffer, columns) -> what a reshape made of it
        self._masks = {}  # (buffer, value, steps) -> the mask that a step_mask made of it
        self._balanced = set()  # weights with which a mean over all rows is the one that is wanted

    # -- buffers -------------------------------------------------------------------------------

    def _new(self, name, columns, role="activation", *, rows=None, dtype=None, step=None,
             offset=None, repeat=1):
        dtype = dtype or self.dtype
        if step is None:
            one = role in ("row", "weight") or dtype == "int64"
            step = 1 if one else pitch(columns, 4 if dtype == "float32" else 8)
        index = len(self.buffers)
        self.buffers.append(Buffer(index, name, rows, columns, dtype, role, step, offset, repeat))
        return index

    def _emit(self, op, inputs, outputs, phase="forward", **attributes):
        inputs = [self._views.get(i, i) for i in inputs]
        self.ops.append(Op(op, tuple(inputs), tuple(outputs), attributes, phase))
        for index in outputs:
            if index in self._spare:
                first = self._spare.pop(index)
                self._emit("accumulate", (first, index), (first,), "backward")

    def columns(self, index):
        """Width of a buffer."""
        return self.buffers[self._views.get(index, index)].columns

    # -- samples of several dimensions -----------------------------------------------------------

    def shape(self, x):
        """Shape of a sample of `x`, a buffer or a view."""
        return self._shapes.get(x) or (self.buffers[self._views.get(x, x)].columns,)

    def size(self, x):
        """Elements of a sample of `x`."""
        return math.prod(self.shape(x))

    def view(self, x, shape):
        """The same elements as samples of another shape; no op.

        Parameters
        ----------
        x : int
        shape : tuple of int
            With as many elements as before.

        Returns
        -------
        int
            Stands for `x` wherever the methods of a builder take a buffer.
        """
        root = self._views.get(x, x)
        index = len(self.buffers)
        name = f"{self.buffers[root].name}.view"
        self.buffers.append(self.buffers[root]._replace(index=index, name=name))
        self._views[index] = root
        self._shapes[index] = tuple(shape)
        return index

    def formed(self, x, columns):
        """The buffer of `x` with so many columns, each sample one or more rows.

        That is `x` itself, or what a ``reshape`` makes of it.
        """
        root = self._views.get(x, x)
        buffer = self.buffers[root]
        if buffer.columns == columns:
            return root
        if (root, columns) in self._forms:
            return self._forms[root, columns]
        shape, repeat = self.shape(x), buffer.columns * buffer.repeat // columns
        if not any(root in op.inputs for op in self.ops) and self._producer(root).op == "gather":
            # data comes in either form, as long as nobody has read it in the other
            step = pitch(columns, 4 if buffer.dtype == "float32" else 8)
            self._shapes[root] = self.shape(root)
            self.buffers[root] = buffer._replace(columns=columns, repeat=repeat, pitch=step)
            return root
        y = self._new(f"{buffer.name}.reshape", columns, repeat=repeat)
        self._shapes[y] = shape
        self._emit("reshape", (root,), (y,))
        self._forms[root, columns] = y
        return y

    def last_axis(self, x):
        """The buffer of `x` whose columns are the last axis of its samples."""
        return self.formed(x, self.shape(x)[-1])

    def packed(self, x):
        """The buffer of `x` with one row for each sample."""
        return self.formed(x, self.size(x))

    def _like(self, x, root, name, columns=None, role="activation"):
        """A new buffer of the form of `root`, for samples of the shape of `x`.

        `columns` take the place of those of the last axis, where they are given.
        """
        buffer, wide = self.buffers[root], columns is None
        y = self._new(name, buffer.columns if wide else columns, role, repeat=buffer.repeat)
        shape = self.shape(x)
        if len(shape) > 1:
            self._shapes[y] = shape if wide else (*shape[:-1], columns)
        return y

    # -- inputs and parameters -------------------------------------------------------------------

    def input(self, columns, name="x", role="input", dtype=None, shape=None, sparse=False,
              repeat=1):
        """A buffer that every step fills with the rows of the next data array.

        Parameters
        ----------
        columns : int
            Elements of a sample.
        shape : tuple of int, optional
            Shape of a sample, ``(columns,)`` by default.
        sparse : bool
            Whether the data is a matrix in compressed rows.
        repeat : int
            Rows of the buffer, each of so many columns, for one of the data.
        """
        source = len(self.inputs)
        if sparse:
            rows = self._new(f"{name}.rows", 2, "sparse", dtype="int64", step=2)
            self._emit("gather", (), (rows,), "gather", source=source)
            self.inputs.append(rows)
            index = self._new(name, columns, role)
            self._emit("densify", (rows,), (index,), source=source)
            return index
        index = self._new(name, columns, role, dtype=dtype, repeat=repeat)
        if shape is not None and len(shape) > 1:
            self._shapes[index] = tuple(shape)
        self._emit("gather", (), (index,), "gather", source=source)
        self.inputs.append(index)
        return index

    def parameter(self, name, shape, offset, step, trainable=True):
        """The parameter that lies at `offset` of the arena with `step` padded columns."""
        rows, columns = shape if len(shape) == 2 else (1, shape[0])
        key = (offset, rows, columns)
        if key not in self._parameters:
            self._parameters[key] = self._new(name, columns, "parameter", rows=rows, step=step,
                                              offset=offset)
        index = self._parameters[key]
        if trainable:
            self._trainable.add(index)
        return index

    def _producer(self, index):
        for op in reversed(self.ops):
            if index in op.outputs:
                return op
        return None

    def mark(self):
        """What `rewind` goes back to."""
        return (len(self.ops), len(self.buffers), self._streams, len(self._activities),
                dict(self.assigned), dict(self._last))

    def rewind(self, mark):
        """Forget the forward operations and buffers that were added since `mark`."""
        ops, buffers, self._streams, activities, self.assigned, self._last = mark
        del self.ops[ops:], self.buffers[buffers:], self._activities[activities:]
        self.layer_outputs = {i: n for i, n in self.layer_outputs.items() if i < buffers}
        self._parameters = {key: i for key, i in self._parameters.items() if i < buffers}
        self._trainable = {i for i in self._trainable if i < buffers}
        self._masks = {key: i for key, i in self._masks.items() if i < buffers}
        for known in (self._forms, self._views, self._shapes):
            for key, i in list(known.items()):
                if (i if known is self._forms else key) >= buffers:
                    del known[key]
