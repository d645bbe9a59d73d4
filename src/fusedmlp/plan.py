"""Lowering a network to a Plan: a flat list of kernel calls over numbered buffers.

A plan is plain data.  It knows shapes, dtypes and the order of operations, and nothing of layers,
arrays or backends; an executor (``kernels/*/executor.py``) binds it to memory and runs it.  Layers
describe themselves to a `Builder` by forward operations only; the backward operations follow from
the table of adjoints in this module.

What each op computes (n is the number of rows of the batch):

======================== ==================== ==================== ==========================
op                       inputs               outputs              attributes
======================== ==================== ==================== ==========================
gather                   --                   rows of data[source] source
dense                    x, kernel[, bias]    y[, z]               activation, params
sparse_dense             rows, kernel[, bias] y[, z]               activation, params, source
densify                  rows                 x                    source
activation               x                    y                    activation, params
prelu                    x, alpha             y                    --
dropout, alpha_dropout   x                    y, mask              rate, stream, seed
gaussian_dropout         x                    y, mask              stddev, stream, seed
gaussian_noise           x                    y                    stddev, stream, seed
batch_statistics         x, m, v              mean, inv            momentum, epsilon
standardize              x, mean, inv         y                    scale, center
                         [, gamma][, beta]
fold_statistics          m, v[, gamma]        a, b                 epsilon, scale, center
                         [, beta]
scale_shift              x, a, b              y                    --
row_norm                 x[, gamma][, beta]   y[, inv[, mean]]     kind, epsilon, scale, center
embedding                indices, table       y                    --
reshape                  x                    y                    --
take_columns             x                    y                    index
spectral_norm            kernel, u            -- (both)            iterations, epsilon
softmax_cross_entropy    logits, labels[, w]  losses[, d[, hits]]  label_smoothing, reduction,
                                                                   weight, ignore_index
row_loss                 p, labels[, w]       losses[, d]          the same, loss and params
elementwise_loss         p, labels[, w]       losses[, d]          loss, params, reduction,
                                                                   weight, label_smoothing
distribution_loss        p, labels[, w]       losses[, d]          loss, params, reduction, weight
overlap_loss             p, labels[, w]       losses[, d]          the same and axis
pair_loss                p, labels[, w]       losses[, d]          loss, params, reduction, weight
score                    p, labels            scores               score, params
tally                    p, labels[, w]       --                   tally, options, total
reduce                   rows[, w]            --                   total, reduction, weight,
                                                                   counts
penalty                  parameter[, w]       --                   total, l1, l2, per_rows
activity_penalty         y                    rows[, d]            l1, l2
add, subtract, multiply, a, b                 y                    --
divide, maximum, minimum
affine                   x                    factor x + shift     factor, shift
power                    x                    x ** exponent        exponent
log                      x                    log x                --
broadcast                x (n, 1)             factor x in each     factor
                                              column
row_sum                  x                    factor sum_k x_k     factor
row_dot                  a, b                 sum_k a_k b_k        --
scale_rows               x, s (n, 1)          s x                  --
concatenate              x1, x2, ...          side by side         groups
repeat                   parameter (1, c)     its row in each row  --
slice                    x                    some columns of x    start, groups
python                   x1, ... [, p1, ...]  y1, ...              function, gradient, name,
                                                                   reads
column_affine            x                    y                    before, scale, after
feature_norm             x, mean, variance    y                    least, invert, center
digitize                 x                    y                    boundaries
encode                   x                    y                    depth, kind
activation_grad          dy, x or y           dx (may be dy)       activation, params
dense_dw                 x, dz                dkernel              --
sparse_dw                rows, dz             dkernel              source
dense_db                 dz                   dbias                --
dense_dx                 dz, kernel[, x or y] dx                   activation, params
prelu_grad               dy, x, alpha         dx[, dalpha]         --
maximum_grad             dy, a, b             da                   --
minimum_grad             dy, a, b             da                   --
place                    dy                   dx, 0 elsewhere      start, groups
copy                     x                    x                    --
accumulate               dp, spare            dp + spare, in dp    --
batch_norm_sums          dy, x, mean, inv     dgamma, dbeta        --
batch_norm_dx            dy, x, mean, inv,    dx (may be dy)       scale
                         dgamma, dbeta
                         [, gamma]
scale_columns            dy, a                dx (may be dy)       --
row_norm_grad            dy, x, inv[, mean]   dx                   kind, epsilon, scale
                         [, gamma]
gamma_grad               dy, x, inv[, mean]   dgamma               --
embedding_grad           indices, dy          dtable               --
put_columns              dy                   dx                   index
penalty_grad             parameter[, w]       dparameter           l1, l2, per_rows, adds
orthogonal_penalty       parameter            [dparameter]         total, factor, mode, adds
collect                  --                   --                   slot, every, parameters
clip                     --                   --                   kind, limit, every, parameters
update                   --                   --                   optimizer, params, rate, every,
                                                                   parameters, slots, exempt
average                  --                   --                   slot, momentum, overwrite, every,
                                                                   parameters
constrain                parameter            -- (itself)          kind, low, high, rate,
                                                                   epsilon, axis
observe                  y[, x or y]          --                   record, every, units,
                                                                   activation, params, below
observe_parameter        parameter, dp        --                   record, every
observe_update           parameter            --                   record, every
======================== ==================== ==================== ==========================

``dense_dx`` is dz @ kernel.T, times the derivative of `activation` at its third input where there
is one. ``dense``, ``dense_dx`` and ``dense_dw`` have an attribute `precision` "bfloat16" where the
factors of the product are rounded to that. A loss's gradient ``d`` is that of ``weight *
sum(losses) / n`` for reduction "mean" and of ``weight * sum(losses)`` for "sum". With an
`ignore_index` the mean is over the k rows whose label is another one: k takes the place of n, and
``losses`` are multiplied by n / k; for reduction "weighted_mean" k is the sum of their weights. An
overlap loss is one number for the whole batch, which every row gets, unless `axis` is "rows".
``reduce`` adds to total k `weight` times the sum of its rows,
and n if it `counts`; with w the sum of rows times w and the sum of w; with reduction "sum" n times
the sum, and n. ``concatenate`` and ``slice`` cut the columns of their wide side into `groups` of
equal width and work on each. ``maximum_grad`` passes dy where a is the larger one, and half of it
where both are equal. The outputs of ``add``, ``subtract`` and ``multiply`` may be their first
input. ``accumulate`` adds the gradient of a further use of a parameter, which lies behind the
trainable part of the gradient arena. ``python`` calls ``function(inputs, outputs)`` with tuples of
arrays: the first `reads` inputs, read-only, and the outputs, which it must fill. ``penalty`` adds
to total k n times ``l1 sum |w| + l2 sum w^2`` (once with `per_rows`, whose penalties are divided by
n; n / sum w times where w is given, and they are divided by its sum) and nothing to its count;
``penalty_grad`` adds ``l1 sign(w) + 2 l2 w`` (divided likewise) to a parameter's gradient, or is it
where the loss gives none (`adds` False).

``collect``, ``clip``, ``update`` and ``average`` work on the parameters that begin at the offsets
`parameters` of the arena, whose gradients lie at the same offsets in a gradient arena.
``collect`` adds gradients to the state
array number `slot`, and in every step number `every` (2 `every`, ...) turns gradients into the mean
of the last `every` and the array into 0; in the other steps ``clip`` and ``update`` do nothing.
``clip`` keeps gradients within `limit`: each element (`kind` "value"), the norm of each parameter's
("norm") or the norm of all together ("global_norm"; one that is not finite makes all NaN).
``update`` applies a row of `spec.OPTIMIZERS` with the learning rate times `rate`; `slots` holds for
each of the row's slots the number of a state array and the offset of each parameter's part, and
`exempt` says for each parameter whether it is spared the weight decay. ``average`` replaces state a
by ``momentum a + (1 - momentum) w``, by w before the first update, and w by a in every update
number `overwrite` (0: never).

``batch_statistics`` are the mean of each column and ``inv = 1 / sqrt(variance + epsilon)``; they
move the parameters m and v, ``m <- momentum m + (1 - momentum) mean``. ``standardize`` is
``(x - mean) inv gamma + beta``. ``fold_statistics`` gives the a and b with which ``scale_shift``,
``a x + b``, does the same with m and v. ``row_norm`` treats each row alike: of kind "layer" by its
mean and variance, of kind "rms" by its mean square, of kind "unit" by its Euclidean norm.
``embedding`` puts the rows of the table side by side that the columns of `indices` name; those that
name none are NaN. ``take_columns`` is ``y[:, j] = x[:, index[j]]``. ``activity_penalty`` gives the
penalty of each row, and its gradient divided by n. ``alpha_dropout`` and the Gaussian ops are those
of the Keras layers. ``constrain`` kind "norm" scales each column (axis 0), each row (axis 1) or the
whole (axis None) of a parameter to a norm between `low` and `high`, by ``rate``; kind
"non_negative" is ``max(w, 0)``. ``spectral_norm`` divides the kernel by an estimate of its largest
singular value, which u keeps.

A sample of several dimensions is a row of a buffer (its elements in order), or as many rows as
`Buffer.repeat` says, so that ops on the last axis see it as the columns; ``reshape`` goes from one
form to the other. Which shape a sample has is known to the `Builder` alone.

``column_affine`` is ``(x - before) * scale + after`` with a number of each for every column,
``feature_norm`` is ``(x - mean) / s`` with ``s = max(sqrt(variance), least)``, or ``x s + mean``
where it is inverted; without `center` the mean counts as 0. ``digitize`` counts the boundaries that
are not above x, ``encode`` makes vectors of `depth` of whole numbers: of each ("one_hot"), or of a
row ("multi_hot", "count"); both have no derivative.

A plan that observes writes what `Plan.observations` lists into the executor's `records`, in every
step number `every` (2 `every`, ...), four numbers each.  ``observe`` writes of a buffer the sum of
squares, the number of elements, how many of them have a slope of `activation` within `below` of 0
(the second input is what the derivative reads), and how many columns have no other; to the
executor's `units` from number `units` on it adds for each column how often the slope was another.
``observe_parameter`` writes the sums of squares of a parameter and of its gradient before both are
changed, ``observe_update`` that of the parameter's change since then.

A matrix in compressed rows is data of which a step gathers where its rows begin and end (the role
"sparse", two columns). A product with it is ``sparse_dense``, and where something else reads it
``densify`` writes out the rows of the batch.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field, replace

from fusedmlp.kernels.layout import layout, padded

from . import spec

__all__ = ["Buffer", "Builder", "Op", "Plan", "layout", "pitch"]

_DETAILS = ("activation", "optimizer", "loss", "score", "tally", "kind")  # what a printed op shows


def pitch(columns, itemsize):
    """Elements from one row of an activation to the next: cache lines, no multiple of 1 KiB above.

    Rows that lie a large power of two apart fall into the same few cache sets, so twelve of them
    read side by side would evict each other.

    >>> pitch(10, 4), pitch(100, 4), pitch(256, 4), pitch(3, 8)
    (16, 112, 272, 8)
    """
    elements = padded(columns, itemsize)
    if elements * itemsize >= 1024 and (elements * itemsize) % 1024 == 0:
        elements += padded(1, itemsize)
    return elements


@dataclass(frozen=True)
class Buffer:
    """One numbered array of a plan.

    `rows` None stands for the rows of the batch, at most `Plan.batch_size`.  `role` is one of
    "input", "labels", "weight", "activation", "gradient" (of an activation), "mask", "row" (one
    number per row), "statistics" (of columns), "parameter" and "parameter_gradient"; the last two
    have an `offset` in their arena, where they lie as `fusedmlp.kernels.layout` says.  `pitch`
    counts elements from row to row, of parameters their padded columns.  Where `rows` is None, a
    row of the batch takes `repeat` rows.
    """

    index: int
    name: str
    rows: int | None
    columns: int
    dtype: str
    role: str
    pitch: int
    offset: int | None = None
    repeat: int = 1


@dataclass(frozen=True)
class Op:
    """One kernel call: what it reads and writes by buffer number, and its constants."""

    op: str
    inputs: tuple
    outputs: tuple
    attributes: dict = field(default_factory=dict)
    phase: str = "forward"


@dataclass(frozen=True)
class Observation:
    """What one row of the records of a plan that observes is about.

    `kind` is "activation" (a layer's output), "error" (the gradient of the loss at the outputs of
    a layer's product, before its activation) or "parameter"; `name` is that of the buffer.
    `activation` is that whose slopes are counted ("linear": none), and `units` the place of the
    counts of its columns.
    """

    kind: str
    layer: str
    name: str
    columns: int
    activation: str = "linear"
    params: tuple = ()
    units: int = 0


@dataclass(frozen=True)
class Plan:
    """A lowered network: what an executor runs.  `print(plan)` shows it as a table.

    Attributes
    ----------
    buffers, ops : tuple
    batch_size : int
        Most rows in one step.
    dtype : str
        "float32" or "float64".
    inputs : tuple of int
        Buffers that are filled from the data, in the order in which data is passed.
    outputs : tuple of int
        Buffers that hold the model's outputs.
    totals : tuple of str
        Names of the sums that a run adds up: the loss, then the metrics.
    parameter_size, trainable_size : int
        Elements of the parameter arena, and of its trainable front part.
    gradient_size : int
        Elements of the gradient arena: the trainable part, and behind it the gradients of further
        uses of the same parameters.
    observations : tuple of Observation
        What a plan that observes writes down; empty for any other.
    """

    buffers: tuple
    ops: tuple
    batch_size: int
    dtype: str
    inputs: tuple
    outputs: tuple
    totals: tuple = ()
    parameter_size: int = 0
    trainable_size: int = 0
    gradient_size: int = 0
    observations: tuple = ()

    @property
    def units(self):
        """Columns whose slopes are counted, of all observations together."""
        return sum(o.columns for o in self.observations if o.activation != "linear")

    def shape(self, index):
        """Shape of a buffer for a full batch."""
        buffer = self.buffers[index]
        rows = self.batch_size * buffer.repeat if buffer.rows is None else buffer.rows
        return (rows,) if buffer.role in ("row", "weight") else (rows, buffer.columns)

    def flops(self, op):
        """Floating-point operations of one op for a full batch; a multiply-add counts as two.

        Elementwise functions count as one operation per element.
        """
        if op.op in ("sparse_dense", "sparse_dw"):  # how many are not 0 is known to the data alone
            width = self.buffers[op.inputs[1]].columns
            return 2 * self.batch_size * _NONZERO * width
        if op.op in ("dense", "dense_dx"):
            rows, columns = self.shape(op.inputs[0])
            kernel = self.buffers[op.inputs[1]]
            other = kernel.columns if op.op == "dense" else kernel.rows
            return 2 * rows * columns * other
        if op.op == "dense_dw":
            rows, columns = self.shape(op.inputs[0])
            return 2 * rows * columns * self.buffers[op.inputs[1]].columns
        if op.phase == "update":
            return 2 * self.trainable_size
        if op.op == "gather":
            return 0
        if op.phase == "observe":  # once in so many steps
            return self._elements(op.inputs[0]) // op.attributes["every"]
        return max((self._elements(i) for i in (*op.inputs, *op.outputs)), default=0)

    def bytes(self, op):
        """Bytes that one op reads and writes for a full batch, each array counted once."""
        itemsize = 4 if self.dtype == "float32" else 8
        if op.op == "update":
            row = spec.OPTIMIZERS[op.attributes["optimizer"]]
            slots = len(row.slots) - len(row.factored)
            return (3 + 2 * slots) * self.trainable_size * itemsize
        if op.phase == "update":
            return {"clip": 2, "average": 3}.get(op.op, 4) * self.trainable_size * itemsize
        if op.phase == "observe":
            touched = sum(self._elements(i) * itemsize for i in op.inputs)
            return touched // op.attributes["every"]
        touched = [*op.inputs, *op.outputs] * (2 if op.op == "gather" else 1)
        return sum(self._elements(i) * itemsize for i in touched)

    def _elements(self, index):
        elements = 1
        for extent in self.shape(index):
            elements *= extent
        return elements

    def __str__(self):
        rows = [("", "op", "inputs", "outputs", "shape", "flops", "bytes")]
        for number, op in enumerate(self.ops):
            name = op.op
            detail = next((op.attributes[key] for key in _DETAILS if key in op.attributes),
                          "linear")
            if detail != "linear":
                name += f" [{detail}]"
            shown = op.outputs or op.inputs
            rows.append((
                str(number),
                name,
                " ".join(self.buffers[i].name for i in op.inputs) or "-",
                " ".join(self.buffers[i].name for i in op.outputs) or "-",
                "x".join(map(str, self.shape(shown[0]))) if shown else f"{self.trainable_size}",
                f"{self.flops(op):,}",
                f"{self.bytes(op):,}",
            ))
        widths = [max(len(row[i]) for row in rows) for i in range(7)]
        lines = [
            "  ".join(
                cell.rjust(width) if i in (0, 5, 6) else cell.ljust(width)
                for i, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in rows
        ]
        total = sum(self.flops(op) for op in self.ops)
        lines.append(
            f"{len(self.ops)} ops, {len(self.buffers)} buffers, batch {self.batch_size}, "
            f"{self.dtype}, {total:,} flops per step"
        )
        return "\n".join(lines)


_NONZERO = 64  # elements of a sparse row that its work is estimated by


class Builder:
    """Collects the operations of a plan.

    Layers call the forward methods (`dense`, `activation`, `dropout`, ...), each of which takes
    and returns buffer numbers; then `loss`, `metric`, `backward` and `update` add the rest, and
    `finish` fuses and returns the plan.

    Parameters
    ----------
    batch_size : int
    dtype : {"float32", "float64"}
    training : bool
        Whether layers that differ in training (dropout) are to be lowered as in training.
    """

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
        self._activities = []  # penalties on activations, (buffer, attributes)
        self._constraints = []  # (parameter, attributes)
        self._shapes = {}  # buffer or view -> shape of a sample, where it is not (columns,)
        self._views = {}  # view -> the buffer that it stands for
        self._forms = {}  # (buffer, columns) -> what a reshape made of it

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
        self.buffers.append(replace(self.buffers[root], index=index, name=name))
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
            self.buffers[root] = replace(buffer, columns=columns, repeat=repeat, pitch=step)
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

    def input(self, columns, name="x", role="input", dtype=None, shape=None, sparse=False):
        """A buffer that every step fills with the rows of the next data array.

        Parameters
        ----------
        columns : int
            Elements of a sample.
        shape : tuple of int, optional
            Shape of a sample, ``(columns,)`` by default.
        sparse : bool
            Whether the data is a matrix in compressed rows.
        """
        source = len(self.inputs)
        if sparse:
            rows = self._new(f"{name}.rows", 2, "sparse", dtype="int64", step=2)
            self._emit("gather", (), (rows,), "gather", source=source)
            self.inputs.append(rows)
            index = self._new(name, columns, role)
            self._emit("densify", (rows,), (index,), source=source)
            return index
        index = self._new(name, columns, role, dtype=dtype)
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

    # -- forward -------------------------------------------------------------------------------

    def dense(self, x, kernel, bias=None, name="dense", precision=None):
        """``x @ kernel + bias``; an elementwise activation that follows is fused into it.

        With `precision` "bfloat16" the factors of the product, and of the two in its gradient, are
        rounded to that; sums and everything else stay float32.
        """
        root = self.last_axis(x)
        y = self._like(x, root, name, self.columns(kernel))
        inputs = (root, kernel) if bias is None else (root, kernel, bias)
        extra = {} if precision is None else {"precision": precision}
        self._emit("dense", inputs, (y,), activation="linear", params=(), **extra)
        return y

    def activation(self, x, name, params=()):
        """The activation of the row `name`; no op for ``linear``."""
        row = spec.ACTIVATIONS[name]
        if row.name == "linear":
            return x
        columns, root = None, self._views.get(x, x)
        if row.kind != "elementwise":
            root = self.last_axis(x)
            columns = self.columns(root)
            if row.kind == "halves":
                columns //= 2
            elif row.kind == "pieces":
                columns //= int(params[0])
        y = self._like(x, root, f"{self.buffers[root].name}.{name}", columns)
        self._emit("activation", (root,), (y,), activation=name, params=tuple(params))
        return y

    def prelu(self, x, alpha, name="prelu"):
        """``x if x >= 0 else alpha x``; `alpha` has a slope per column, or per element."""
        root = self.formed(x, self.columns(alpha))
        y = self._like(x, root, name)
        self._emit("prelu", (root, alpha), (y,))
        return y

    # -- what is drawn at random in training -----------------------------------------------------

    def dropout(self, x, rate, seed=None, name="dropout"):
        """Dropout in training; the input itself otherwise or where the rate is 0."""
        return self._drawn("dropout", x, rate, seed, name, rate=float(rate))

    def alpha_dropout(self, x, rate, seed=None, name="alpha_dropout"):
        """The same for self-normalizing networks: what is dropped becomes selu's lower limit."""
        return self._drawn("alpha_dropout", x, rate, seed, name, rate=float(rate))

    def gaussian_dropout(self, x, stddev, seed=None, name="gaussian_dropout"):
        """Factors drawn from a normal distribution around 1, in training."""
        return self._drawn("gaussian_dropout", x, stddev, seed, name, stddev=float(stddev))

    def gaussian_noise(self, x, stddev, seed=None, name="gaussian_noise"):
        """Summands drawn from a normal distribution around 0, in training."""
        return self._drawn("gaussian_noise", x, stddev, seed, name, stddev=float(stddev))

    def _drawn(self, op, x, amount, seed, name, **attributes):
        stream = self._streams
        self._streams += 1
        if not self.training or amount == 0.0:
            return x
        root = self._views.get(x, x)
        outputs = [self._like(x, root, name)]
        if op != "gaussian_noise":
            outputs.append(self._like(x, root, f"{name}.mask", role="mask"))
        self._emit(op, (root,), outputs, stream=stream, seed=seed, **attributes)
        return outputs[0]

    # -- normalization ---------------------------------------------------------------------------

    def batch_norm(self, x, mean, variance, gamma=None, beta=None, *, momentum, epsilon,
                   batch=None, name="batch_norm"):
        """Standardize the columns: by the batch in training, else by what training has seen.

        Parameters
        ----------
        mean, variance : int
            Parameters that hold the moving statistics; training by the batch moves them.
        gamma, beta : int, optional
            Parameters: factor and summand of each column.
        momentum, epsilon : float
        batch : bool, optional
            Whether the batch's own statistics are used; by default in training.
        """
        root = self.last_axis(x)
        y, x = self._like(x, root, name), root
        given = {"scale": gamma is not None, "center": beta is not None}
        more = [i for i in (gamma, beta) if i is not None]
        pair = [self._new(f"{name}.{part}", self.columns(x), "statistics", rows=1)
                for part in ("mean", "inv")]
        if self.training if batch is None else batch:
            self._emit("batch_statistics", (x, mean, variance), pair, momentum=float(momentum),
                       epsilon=float(epsilon))
            self._emit("standardize", (x, *pair, *more), (y,), **given)
        else:
            self._emit("fold_statistics", (mean, variance, *more), pair, epsilon=float(epsilon),
                       **given)
            self._emit("scale_shift", (x, *pair), (y,))
        return y

    def row_norm(self, x, kind, epsilon, gamma=None, beta=None, name="row_norm"):
        """Normalize along the last axis; `kind` is "layer", "rms" or "unit".

        `gamma` and `beta` are parameters with a factor and a summand for each column.
        """
        root = self.last_axis(x)
        outputs, x = [self._like(x, root, name)], root
        if self.training:
            parts = ("inv", "mean") if kind == "layer" else ("inv",)
            outputs += [self._new(f"{name}.{part}", 1, "row", repeat=self.buffers[x].repeat)
                        for part in parts]
        more = [i for i in (gamma, beta) if i is not None]
        self._emit("row_norm", (x, *more), outputs, kind=kind, epsilon=float(epsilon),
                   scale=gamma is not None, center=beta is not None)
        return outputs[0]

    def spectral_norm(self, kernel, u, iterations, epsilon):
        """Divide a kernel by its largest singular value at the beginning of each training step.

        Parameters
        ----------
        kernel, u : int
            Parameters; u, one row, keeps the estimate of the singular vector.
        iterations : int
            Power iterations a step.
        epsilon : float
            Norms below it count as it.
        """
        if self.training:
            self._emit("spectral_norm", (kernel, u), (), "prepare", iterations=int(iterations),
                       epsilon=float(epsilon))

    # -- tables and shapes -----------------------------------------------------------------------

    def embedding(self, indices, table, name="embedding"):
        """The rows of a table that the elements of `indices` name: one more axis."""
        shape = (*self.shape(indices), self.columns(table))
        indices = self.packed(indices)
        y = self._new(name, math.prod(shape))
        self._shapes[y] = shape
        self._emit("embedding", (indices, table), (y,))
        return y

    def take_columns(self, x, index, shape, name="take"):
        """Elements of each sample in the order of `index`, as samples of `shape`."""
        x = self.packed(x)
        y = self._new(name, len(index))
        self._shapes[y] = tuple(shape)
        self._emit("take_columns", (x,), (y,), index=tuple(index))
        return y

    def combine(self, function, a, b, name=None):
        """One buffer from two, element by element; a single column stands for all of the other's.

        Parameters
        ----------
        function : {"add", "subtract", "multiply", "divide", "maximum", "minimum"}
        a, b : int
        """
        shape = self.shape(a if self.size(a) >= self.size(b) else b)
        if self.shape(a) == self.shape(b):
            a = self._views.get(a, a)
            b = self.formed(b, self.columns(a))
        else:
            columns = max(self.size(a), self.size(b))
            a, b = (self.broadcast(self.packed(x), columns) for x in (a, b))
        y = self._like(a, a, name or function)
        if len(shape) > 1:
            self._shapes[y] = shape
        self._emit(function, (a, b), (y,))
        return y

    def broadcast(self, x, columns, factor=1.0):
        """`factor` times the only column of x, in each of `columns`; x itself if it has so many."""
        if self.columns(x) == columns and factor == 1.0:
            return x
        if self.columns(x) != 1:
            raise ValueError(
                f"Only a single column can stand for {columns} columns. "
                f"Received: {self.buffers[x].name!r} with {self.columns(x)} columns"
            )
        y = self._new(f"{self.buffers[x].name}.broadcast", columns)
        self._emit("broadcast", (x,), (y,), factor=float(factor))
        return y

    def affine(self, x, factor=1.0, shift=0.0, name="affine"):
        """``factor * x + shift``."""
        y = self._like(x, self._views.get(x, x), name)
        self._emit("affine", (x,), (y,), factor=float(factor), shift=float(shift))
        return y

    def power(self, x, exponent, name="power"):
        """``x ** exponent`` for a constant exponent."""
        y = self._like(x, self._views.get(x, x), name)
        self._emit("power", (x,), (y,), exponent=float(exponent))
        return y

    def log(self, x, name="log"):
        """The natural logarithm."""
        y = self._like(x, self._views.get(x, x), name)
        self._emit("log", (x,), (y,))
        return y

    def row_sum(self, x, factor=1.0, name="row_sum"):
        """`factor` times the sum over the columns, one column."""
        x = self.packed(x)
        y = self._new(name, 1)
        self._emit("row_sum", (x,), (y,), factor=float(factor))
        return y

    def row_dot(self, a, b, name="row_dot"):
        """The scalar product of each row of a with that of b, one column."""
        a, b = self.packed(a), self.packed(b)
        y = self._new(name, 1)
        self._emit("row_dot", (a, b), (y,))
        return y

    def scale_rows(self, x, s, name="scale_rows"):
        """Each row of x times its number in s (one column)."""
        x = self.packed(x)
        y = self._new(name, self.columns(x))
        self._emit("scale_rows", (x, s), (y,))
        return y

    def concatenate(self, parts, groups=1, name="concatenate"):
        """Buffers side by side, within each of `groups` equal groups of their columns."""
        parts = tuple(map(self.packed, parts))
        if len(parts) == 1:
            return parts[0]
        y = self._new(name, sum(map(self.columns, parts)))
        self._emit("concatenate", parts, (y,), groups=groups)
        return y

    def repeat(self, parameter, name="repeat"):
        """The only row of a parameter in each row.

        Added to a product that nothing else reads, it becomes the product's bias.
        """
        y = self._new(name, self.columns(parameter))
        self._emit("repeat", (parameter,), (y,))
        return y

    def slice(self, x, start, columns, groups=1, name="slice"):
        """`columns` of x from `start` on, of each of `groups` equal groups of its columns."""
        x = self.packed(x)
        y = self._new(name, columns * groups)
        self._emit("slice", (x,), (y,), start=start, groups=groups)
        return y

    def mark(self):
        """What `rewind` goes back to."""
        return len(self.ops), len(self.buffers), self._streams

    def rewind(self, mark):
        """Forget the forward operations and buffers that were added since `mark`."""
        ops, buffers, self._streams = mark
        del self.ops[ops:], self.buffers[buffers:]
        self.layer_outputs = {i: n for i, n in self.layer_outputs.items() if i < buffers}
        self._parameters = {key: i for key, i in self._parameters.items() if i < buffers}
        self._trainable = {i for i in self._trainable if i < buffers}

    def begin_at(self, losses, reduction, weight):
        """Let the last operation, which gives losses and perhaps their gradient, be a loss."""
        self._loss_ops.append(len(self.ops) - 1)
        self._total_loss(losses, reduction, weight)

    def _total_loss(self, losses, reduction, weight):
        self.reduce("loss", losses, reduction=reduction, weight=weight)
        if self.loss_total is not None:
            self.reduce(self.loss_total, losses, reduction=reduction)

    def python(self, function, inputs, columns, *, name, gradient=None, parameters=(),
               phase="forward", roles=None):
        """A step in Python: ``function(inputs, outputs)`` with tuples of arrays.

        Parameters
        ----------
        function : callable
            Fills the arrays `outputs`, (rows, columns), from `inputs`, which are read-only.
        inputs : sequence of int
            Buffers.
        columns : sequence of int
            Of each output.
        name : str
            Of the layer, loss or metric, for messages.
        gradient : callable, optional
            ``gradient(dys, inputs, outputs, dxs, dparameters)`` fills the arrays `dxs`, and
            `dparameters` for the trainable ones among `parameters`, from the gradients of the
            outputs (None for one that nothing depends on).  None in dxs: nobody needs it.
        parameters : sequence of int
            Parameters that the function reads by itself.
        roles : sequence of str, optional
            Of the outputs, "activation" by default; "row" for one number per row.

        Returns
        -------
        list of int
            Buffers of the outputs.
        """
        roles = roles or ["activation"] * len(columns)
        outputs = [self._new(name, count, role) for count, role in
                   zip(columns, roles, strict=False)]
        self._emit("python", (*inputs, *parameters), outputs, phase, function=function,
                   gradient=gradient, name=name, reads=len(inputs))
        return outputs

    # -- features ------------------------------------------------------------------------------

    def column_affine(self, x, before=0.0, scale=1.0, after=0.0, name="column_affine"):
        """``(x - before) * scale + after`` with constants, one for all columns or one for each."""
        x, shape = self.packed(x), self.shape(x)
        columns = self.columns(x)
        wide = {key: _per_column(values, columns) for key, values in
                (("before", before), ("scale", scale), ("after", after))}
        y = self._new(name, columns)
        self._emit("column_affine", (x,), (y,), **wide)
        return self.view(y, shape) if len(shape) > 1 else y

    def feature_norm(self, x, mean, variance, least=1e-7, invert=False, name="feature_norm"):
        """``(x - mean) / max(sqrt(variance), least)``, or its inverse.

        `mean` and `variance` are parameters with one number, or one for each column.
        """
        x = self.packed(x)
        y = self._new(name, self.columns(x))
        self._emit("feature_norm", (x, mean, variance), (y,), least=float(least),
                   invert=bool(invert), center=True)
        return y

    def digitize(self, x, boundaries, name="digitize"):
        """How many of the ascending `boundaries` are not above x."""
        x, shape = self.packed(x), self.shape(x)
        y = self._new(name, self.columns(x))
        self._emit("digitize", (x,), (y,), boundaries=tuple(map(float, boundaries)))
        return self.view(y, shape) if len(shape) > 1 else y

    def encode(self, x, depth, kind, name="encode"):
        """Whole numbers as vectors of `depth`: each ("one_hot") or rows ("multi_hot", "count")."""
        x = self.packed(x)
        y = self._new(name, depth * (self.columns(x) if kind == "one_hot" else 1))
        self._emit("encode", (x,), (y,), depth=int(depth), kind=kind)
        return y

    # -- loss and metrics ----------------------------------------------------------------------

    def _producer(self, index):
        for op in reversed(self.ops):
            if index in op.outputs:
                return op
        return None

    def before(self, index, activation):
        """The input of the activation that made a buffer; None if something else made it."""
        producer = self._producer(index)
        made = (producer is not None and producer.op == "activation"
                and producer.attributes["activation"] == activation)
        return producer.inputs[0] if made else None

    def loss(self, name, prediction, labels, sample_weight=None, *, params=(), from_logits=False,
             label_smoothing=0.0, ignore_index=None, axis="rows", reduction="mean", weight=1.0,
             gradient=True):
        """Add a loss and, where `gradient`, what the backward pass starts from.

        A softmax or sigmoid that produced `prediction` is fused with its cross-entropy.  `weight`
        times the loss is added to the total "loss", and the loss itself to a total called
        `loss_total`, where that attribute says so.

        Parameters
        ----------
        name : str
            "categorical_crossentropy", "binary_crossentropy" or another row of the losses.
        prediction, labels, sample_weight : int
            Buffers.
        params : tuple of float
            In the row's order; those that a row for logits does not have are left out.
        axis : {"rows", "all", "columns", "columns_sum"}
            What an overlap loss adds up.
        """
        kind = spec.LOSSES[name].kind
        if kind != "elementwise" and len(self.shape(prediction)) > 1:
            raise ValueError(
                f"The loss {name!r} takes predictions of shape (rows, classes): put a Flatten or "
                f"Reshape behind the last layer. Received: samples of shape "
                f"{self.shape(prediction)}"
            )
        prediction = self.packed(prediction)
        logits = spec.LOGITS_ROWS.get(name)
        if logits is not None:
            producer = self._producer(prediction)
            if from_logits:
                name = logits
            elif (producer is not None and producer.op == "activation"
                  and producer.attributes["activation"] == spec.LOSSES[logits].logits_of):
                prediction, name = producer.inputs[0], logits
        losses = self._new("losses", 1, "row")
        outputs = [losses]
        if gradient:
            outputs.append(self._new(f"d{self.buffers[prediction].name}",
                                     self.columns(prediction), "gradient"))
        self._emit_loss(name, prediction, labels, sample_weight, outputs, params=params,
                        label_smoothing=label_smoothing, ignore_index=ignore_index, axis=axis,
                        reduction=reduction, weight=weight)
        self._loss_ops.append(len(self.ops) - 1)
        reduction = "sum" if reduction == "sum" else "mean"  # losses are over what counts by now
        self._total_loss(losses, reduction, weight)
        return losses

    def _emit_loss(self, name, prediction, labels, sample_weight, outputs, *, params=(),
                   label_smoothing=0.0, ignore_index=None, axis="rows", reduction, weight=1.0):
        row = spec.LOSSES[name]
        params = tuple(params or (value for _, value in row.params))[: len(row.params)]
        attributes = {"reduction": reduction, "weight": float(weight)}
        if row.kind in ("row", "elementwise"):
            attributes["label_smoothing"] = float(label_smoothing)
        if row.kind == "row":
            attributes["ignore_index"] = ignore_index
        if row.kind == "overlap":
            attributes["axis"] = axis
        inputs = (prediction, labels) if sample_weight is None else (
            prediction, labels, sample_weight)
        if name == "softmax_cross_entropy":
            self._emit(name, inputs, outputs, "loss", **attributes)
        else:
            self._emit(f"{row.kind}_loss", inputs, outputs, "loss", loss=name, params=params,
                       **attributes)

    def reduce(self, name, rows, sample_weight=None, reduction="mean", weight=1.0):
        """Add `weight` times the numbers of a row buffer to the total called `name`.

        The total is made where there is none; "loss" is one sum of several losses over the same
        rows, which are counted once, any other name that occurs again is another total.
        """
        inputs = (rows,) if sample_weight is None else (rows, sample_weight)
        again = name == "loss" and name in self.totals
        number = self.totals.index(name) if again else len(self.totals)
        self._emit("reduce", inputs, (), "loss", total=number, reduction=reduction,
                   weight=float(weight), counts=not again)
        if not again:
            self.totals.append(name)

    def penalty(self, parameter, *, l1=0.0, l2=0.0, per_rows=False, sample_weight=None):
        """Add ``l1 sum |w| + l2 sum w^2`` of a parameter to the loss; nothing in a prediction.

        Parameters
        ----------
        parameter : int
            Buffer of a parameter.
        l1, l2 : float
        per_rows : bool
            Whether the penalty is divided by the number of rows of each batch, as scikit-learn
            does it.
        sample_weight : int, optional
            Buffer of weights whose sum takes the place of that number.
        """
        inputs = (parameter,) if sample_weight is None else (parameter, sample_weight)
        if l1 or l2:
            self._penalize_once("penalty", inputs, l1=float(l1), l2=float(l2),
                                per_rows=bool(per_rows))

    def _penalize_once(self, *entry, **attributes):
        entry = (*entry, attributes)
        if entry not in self._penalties:  # a shared layer is lowered more than once
            self._penalties.append(entry)

    def orthogonal_penalty(self, parameter, factor, mode="rows"):
        """Add `factor` times the mean absolute cosine between the rows (or columns) to the loss."""
        vectors = self.buffers[parameter].rows if mode == "rows" else self.columns(parameter)
        if factor and vectors > 1:
            self._penalize_once("orthogonal_penalty", (parameter,), factor=float(factor), mode=mode)

    def activity_penalty(self, y, *, l1=0.0, l2=0.0):
        """Add ``l1 sum |y| + l2 sum y^2``, the mean over the batch, to the loss."""
        if l1 or l2:
            y = self._views.get(y, y)
            self._activities.append((y, {"l1": float(l1), "l2": float(l2)}))

    def constrain(self, parameter, kind, *, low=0.0, high=1.0, rate=1.0, epsilon=0.0, axis=0):
        """Project a parameter after each of its updates; see the table of ops.

        Parameters
        ----------
        parameter : int
        kind : {"norm", "non_negative"}
        low, high, rate, epsilon : float
            A norm goes the part `rate` of its way into [low, high].
        axis : {0, 1, None}
            Norms of columns, of rows, of the whole.
        """
        entry = (parameter, {"kind": kind, "low": float(low), "high": float(high),
                             "rate": float(rate), "epsilon": float(epsilon), "axis": axis})
        if parameter in self._trainable and entry not in self._constraints:
            self._constraints.append(entry)

    def metric(self, name, kind, prediction, labels, sample_weight=None, *, params=(),
               **attributes):
        """Add a metric that is a mean over rows: `kind` is a score, or the name of a loss row.

        Hits of the prediction that a fused softmax cross-entropy reads come out of its pass.

        Parameters
        ----------
        name : str
            Of the total.
        kind : str
            A row of the scores or of the losses.
        prediction, labels, sample_weight : int
            Buffers; only the total heeds the weights.
        params : tuple of float
            In the row's order; its defaults by default.
        **attributes
            ``label_smoothing``, ``ignore_index`` and ``axis`` of a loss.
        """
        rows = None
        prediction = self.packed(prediction)
        if kind == "categorical_hits":
            producer = self._producer(prediction)
            if (producer is not None and producer.op == "activation"
                    and producer.attributes["activation"] == "softmax"):
                prediction = producer.inputs[0]  # the largest is at the same place
            for i in self._loss_ops:
                op = self.ops[i]
                if (op.op == "softmax_cross_entropy" and op.inputs[:2] == (prediction, labels)
                        and len(op.outputs) == 2):
                    rows = self._new("hits", 1, "row")
                    self.ops[i] = replace(op, outputs=(*op.outputs, rows))
        if rows is None:
            rows = self._new(name, 1, "row")
            if kind in spec.SCORES:
                params = tuple(params or (value for _, value in spec.SCORES[kind].params))
                self._emit("score", (prediction, labels), (rows,), "loss", score=kind,
                           params=params)
            else:
                # "sum": no gradient is wanted, and ignored rows count among the n as in Keras
                self._emit_loss(kind, prediction, labels, None, (rows,), params=params,
                                reduction="sum", **attributes)
        self.reduce(name, rows, sample_weight)

    def tally(self, name, kind, prediction, labels, sample_weight=None, *, options=(), size):
        """Add a metric that adds up more than a sum; its state takes several rows of the totals.

        Parameters
        ----------
        name : str
            Of the totals.
        kind : str
            A row of the tallies.
        prediction, labels, sample_weight : int
            Buffers.
        options : sequence of float
            In the row's order.
        size : int
            Elements of the state.
        """
        inputs = (prediction, labels) if sample_weight is None else (
            prediction, labels, sample_weight)
        self._emit("tally", inputs, (), "loss", tally=kind, total=len(self.totals),
                   options=tuple(map(float, options)), size=int(size))
        self.totals.extend([name] * -(-size // 2))

    # -- backward ------------------------------------------------------------------------------

    def backward(self):
        """Append the operations that compute the gradient of every trainable parameter.

        Call it after `fuse`, so that the adjoints are those of the fused operations.

        A buffer that several operations read gets the sum of what comes back from them.  One
        gradient may be that of several buffers (those that an ``add`` joins): an adjoint writes
        over it only where `_free` says that nobody needs it any more.
        """
        gradients = {}
        needed = self._needed()
        for op in [self.ops[i] for i in self._loss_ops]:
            self._accumulate(gradients, op.inputs[0], op.outputs[1])
        for op in [op for op in reversed(self.ops) if op.phase == "forward"]:
            found = [i for i in op.outputs if i in gradients]
            if not found or not needed.intersection(op.outputs):
                continue
            for index in found:
                self._holders[gradients[index]] -= 1
            adjoint = _ADJOINTS[op.op]
            if adjoint not in _SHARING:  # it may write over the gradient
                for index in found:
                    gradients[index] = self._copy_unless_free(gradients[index])
            adjoint(self, op, gradients, needed)
            for index in found:
                del gradients[index]

    def _needed(self):
        """Buffers that depend on a trainable parameter, and those parameters."""
        needed = set(self._trainable)
        for op in self.ops:
            if op.phase == "forward" and needed.intersection(op.inputs):
                needed.update(op.outputs)
        return needed

    def _gradient_like(self, index):
        buffer = self.buffers[index]
        if buffer.role != "parameter":
            return self._new(f"d{buffer.name}", buffer.columns, "gradient",
                             repeat=buffer.repeat)
        gradient = self._new(f"d{buffer.name}", buffer.columns, "parameter_gradient",
                             rows=buffer.rows, step=buffer.pitch, offset=buffer.offset)
        if index in self._graded:  # a further use; `_emit` adds it to that of the first
            self._spare[gradient] = self._graded[index]
            self.buffers[gradient] = replace(self.buffers[gradient], offset=None)
        else:
            self._graded[index] = gradient
        return gradient

    def _free(self, gradient):
        """Whether the adjoint at work is the last to need a gradient, and may write there."""
        return self._holders[gradient] == 0 and gradient not in self._kept

    def _copy_unless_free(self, gradient):
        if self._free(gradient):
            return gradient
        copy = self._another(gradient)
        self._emit("copy", (gradient,), (copy,), "backward")
        return copy

    def _or_new(self, gradient):
        """The gradient itself where it is free, else a new buffer of its shape."""
        if self._free(gradient):
            return gradient
        return self._another(gradient)

    def _another(self, gradient):
        """A new buffer of the form of a gradient."""
        buffer = self.buffers[gradient]
        return self._new(buffer.name, buffer.columns, "gradient", repeat=buffer.repeat)

    def _accumulate(self, gradients, index, gradient):
        """Let `gradient` be the gradient of a buffer, or a summand of it."""
        if index not in gradients:
            gradients[index] = gradient
            self._holders[gradient] += 1
            return
        before = gradients[index]
        self._holders[before] -= 1
        total = self._or_new(before)
        self._emit("add", (before, gradient), (total,), "backward")
        gradients[index] = total
        self._holders[total] += 1

    # -- penalties -----------------------------------------------------------------------------

    def _penalize(self, training):
        """Add the penalties to the total of the loss, before anything is fused."""
        total = self.totals.index("loss")
        for y, attributes in self._activities:
            rows = self._new("penalties", 1, "row", repeat=self.buffers[y].repeat)
            outputs = [rows]
            if training:
                outputs.append(self._gradient_like(y))
                self._loss_ops.append(len(self.ops))
            self._emit("activity_penalty", (y,), outputs, "loss", **attributes)
            self.reduce("loss", rows)
        for op, inputs, attributes in self._penalties:
            if op == "penalty":
                self._emit(op, inputs, (), "loss", total=total, **attributes)
            elif not (training and inputs[0] in self._trainable):
                self._emit(op, inputs, (), "loss", total=total, adds=False, **attributes)

    def _penalize_gradients(self):
        """Add the derivatives of the penalties to the gradients of what training updates."""
        for op, inputs, attributes in self._penalties:
            parameter = inputs[0]
            if parameter in self._trainable:
                adds = parameter in self._graded
                gradient = self._graded[parameter] if adds else self._gradient_like(parameter)
                if op == "penalty":
                    op = "penalty_grad"
                else:
                    attributes = {"total": self.totals.index("loss"), **attributes}
                self._emit(op, inputs, (gradient,), "backward", adds=adds, **attributes)

    # -- update and finish ---------------------------------------------------------------------

    def graded(self):
        """Offsets of the parameters that have a gradient, in the order of the arena."""
        return tuple(sorted(self.buffers[i].offset for i in self._graded))

    def outside_gradient(self, parameter):
        """Take the gradient of a parameter from what the caller writes into the gradient arena."""
        self._graded[parameter] = self._gradient_like(parameter)

    def collect(self, slot, every):
        """Append the accumulation of gradients over `every` steps in the state array `slot`."""
        self._emit("collect", (), (), "update", slot=slot, every=every,
                   parameters=self.graded())

    def clip(self, kind, limit, every=1):
        """Append the clipping of gradients: `kind` is "value", "norm" or "global_norm"."""
        self._emit("clip", (), (), "update", kind=kind, limit=float(limit), every=every,
                   parameters=self.graded())

    def update(self, optimizer, params, *, parameters=None, slots=None, exempt=None, rate=1.0,
               every=1):
        """Append the optimizer's update of parameters, by default of all that have a gradient.

        Parameters
        ----------
        optimizer : str
            A row of the optimizers.
        params : sequence of float
            Its hyperparameters in the row's order.
        parameters : sequence of int, optional
            Offsets in the arena.
        slots : sequence of (int, sequence of int), optional
            For each of the row's slots the number of its state array and the offsets of the
            parameters' parts, by default arrays in the row's order laid out as the arena.
        exempt : sequence of bool, optional
            Whether weight decay spares a parameter.
        rate : float
            Factor of the learning rate.
        every : int
            Steps per update.
        """
        parameters = self.graded() if parameters is None else tuple(parameters)
        if slots is None:
            count = len(spec.OPTIMIZERS[optimizer].slots)
            slots = tuple((number, parameters) for number in range(count))
        exempt = (False,) * len(parameters) if exempt is None else tuple(exempt)
        self._emit("update", (), (), "update", optimizer=optimizer,
                   params=tuple(map(float, params)), rate=float(rate), every=every,
                   parameters=parameters, slots=tuple(slots), exempt=exempt)

    def average(self, slot, momentum, overwrite=0, every=1):
        """Append the moving average of the parameters in the state array `slot`."""
        self._emit("average", (), (), "update", slot=slot, momentum=float(momentum),
                   overwrite=overwrite, every=every, parameters=self.graded())

    def project(self):
        """Append the projections of constrained parameters, behind all that moves them."""
        for parameter, attributes in self._constraints:
            self._emit("constrain", (parameter,), (), "update", **attributes)

    # -- observing -----------------------------------------------------------------------------

    def layer_output(self, index, layer):
        """Let a buffer be the output of the layer of that name, unless it is another's already."""
        self.layer_outputs.setdefault(self._views.get(index, index), layer)

    def _observe(self, every, below):
        """Append the operations that write down what activations and gradients are.

        A layer whose output is no longer computed, such as a softmax that is fused with its loss,
        is observed by what its operation reads.
        """
        shown = {}  # buffer -> name of its layer
        for index, layer in self.layer_outputs.items():
            while index in self._dropped_activations:
                index = self._dropped_activations[index]
            shown.setdefault(index, layer)
        logits = {self.ops[i].inputs[0] for i in self._loss_ops}
        found, units = [], 0

        def emit(kind, layer, inputs, name="linear", params=(), first=0):
            buffer = self.buffers[inputs[0]]
            self._emit("observe", inputs, (), "observe", record=len(found), every=every,
                       units=first, activation=name, params=params, below=below(name, params))
            found.append(Observation(kind, layer, buffer.name, buffer.columns, name, params, first))

        for op in [op for op in self.ops if op.phase == "forward"]:
            for index in op.outputs:
                if index in self._errors:
                    kernel = self.buffers[op.inputs[1]].name
                    emit("error", self.owners.get(kernel, kernel), (self._errors[index],))
                if index not in shown:
                    continue
                name, saved = self._observed_slope(op, index, logits)
                params = () if name == "linear" else tuple(op.attributes["params"])
                emit("activation", shown[index], (index, *saved), name, params, units)
                units += self.columns(index) if name != "linear" else 0
        parameters = sorted(self._graded, key=lambda i: self.buffers[i].offset)
        for parameter in parameters:
            self._emit("observe_parameter", (parameter, self._graded[parameter]), (), "observe",
                       record=len(found), every=every)
            name = self.buffers[parameter].name
            found.append(Observation("parameter", self.owners.get(name, name), name,
                                     self.buffers[parameter].columns))
        return found, parameters

    def _observed_slope(self, op, index, logits):
        """The activation that gave a buffer, and what its derivative reads; "linear" for none.

        One whose input the loss reads by itself has no part in the backward pass.
        """
        name = op.attributes.get("activation", "linear")
        if (op.op not in ("dense", "sparse_dense", "activation") or index != op.outputs[0]
                or spec.ACTIVATIONS[name].kind != "elementwise" or name == "linear"
                or (op.op == "activation" and op.inputs[0] in logits)):
            return "linear", ()
        if spec.ACTIVATIONS[name].reads == "y":
            return name, (index,)
        return name, (op.inputs[0] if op.op == "activation" else op.outputs[1],)

    def _multiply_sparse(self):
        """Let products read matrices in compressed rows as they are."""
        dense = {op.outputs[0]: op for op in self.ops if op.op == "densify"}
        for i, op in enumerate(self.ops):
            if op.op == "dense" and op.inputs[0] in dense:
                source = dense[op.inputs[0]]
                self.ops[i] = replace(  # whatever the precision, with factors as they are
                    op, op="sparse_dense", inputs=(*source.inputs, *op.inputs[1:]),
                    attributes={"activation": op.attributes["activation"],
                                "params": op.attributes["params"], **source.attributes})

    def fuse(self, outputs):
        """Drop operations that nobody reads and fuse elementwise activations into dense ones."""
        self._multiply_sparse()
        while True:
            read = set(outputs).union(*(op.inputs for op in self.ops))
            kept = [op for op in self.ops
                    if op.phase != "forward" or read.intersection(op.outputs)]
            if len(kept) == len(self.ops):
                break
            self._dropped_activations.update(
                (op.outputs[0], op.inputs[0]) for op in self.ops
                if op.op == "activation" and not read.intersection(op.outputs))
            shift = {id(op): i for i, op in enumerate(kept)}
            self._loss_ops = [shift[id(self.ops[i])] for i in self._loss_ops]
            self.ops = kept
        self._fuse_biases(outputs)
        readers = self._readers()
        loss_ops = [self.ops[i] for i in self._loss_ops]
        fused = []
        skip = set()
        for op in self.ops:
            if id(op) in skip:
                continue
            if op.op in ("dense", "sparse_dense") and op.outputs[0] not in outputs:
                users = readers.get(op.outputs[0], [])
                if (len(users) == 1 and users[0].op == "activation"
                        and spec.ACTIVATIONS[users[0].attributes["activation"]].kind
                        == "elementwise"):
                    user = users[0]
                    skip.add(id(user))
                    saved = spec.ACTIVATIONS[user.attributes["activation"]].reads == "x"
                    results = user.outputs + (op.outputs if saved and loss_ops else ())
                    op = replace(op, outputs=results,
                                 attributes={**op.attributes, **user.attributes})
            fused.append(op)
        self.ops = fused
        self._loss_ops = [next(i for i, op in enumerate(fused) if op is old) for old in loss_ops]

    def _readers(self):
        """The operations that read each buffer."""
        readers = {}
        for op in self.ops:
            for index in op.inputs:
                readers.setdefault(index, []).append(op)
        return readers

    def _fuse_biases(self, outputs):
        """Turn a product without bias and the addition of a repeated parameter into one op."""
        readers, makers = self._readers(), {op.outputs[0]: op for op in self.ops if op.outputs}
        dropped, changed = set(), {}
        for op in self.ops:
            if op.op != "add" or op.phase != "forward":
                continue
            for product, bias in (op.inputs, op.inputs[::-1]):
                dense, repeat = makers.get(product), makers.get(bias)
                if (dense is not None and repeat is not None and dense.op == "dense"
                        and len(dense.inputs) == 2 and repeat.op == "repeat"
                        and len(readers[product]) == 1 and product not in outputs
                        and id(dense) not in dropped):
                    dropped.add(id(dense))
                    if len(readers[bias]) == 1 and bias not in outputs:
                        dropped.add(id(repeat))
                    changed[id(op)] = replace(dense, inputs=(*dense.inputs, repeat.inputs[0]),
                                              outputs=op.outputs)
                    break
        if changed:
            loss_ops = [self.ops[i] for i in self._loss_ops]
            self.ops = [changed.get(id(op), op) for op in self.ops if id(op) not in dropped]
            self._loss_ops = [next(i for i, op in enumerate(self.ops) if op is old)
                              for old in loss_ops]

    def _fuse_backward(self):
        """Turn dense_dx followed by the derivative of the activation in front into one op."""
        ops, latest = [], {}  # gradient -> place of the dense_dx that nothing has come after
        for op in self.ops:
            place = latest.pop(op.inputs[0], None) if op.op == "activation_grad" else None
            for index in (*op.inputs, *op.outputs):
                latest.pop(index, None)
            if (place is not None and op.inputs[0] == op.outputs[0]
                    and spec.ACTIVATIONS[op.attributes["activation"]].kind == "elementwise"):
                product = ops[place]
                ops[place] = replace(product, inputs=(*product.inputs, op.inputs[1]),
                                     attributes={**product.attributes, **op.attributes})
                continue
            if op.op == "dense_dx" and len(op.inputs) == 2:
                latest[op.outputs[0]] = len(ops)
            ops.append(op)
        self.ops = ops

    def finish(self, outputs, *, optimizer=None, optimizer_params=(), parameter_size=0,
               trainable_size=0, observe=0, below=None):
        """Fuse, add backward and update operations where there is a loss to train, and return.

        Parameters
        ----------
        outputs : sequence of int
            Buffers that the model returns.
        optimizer : str or callable, optional
            Row of the optimizer, whose hyperparameters are `optimizer_params`, or a function that
            appends its operations to the builder; without it the plan only evaluates.
        observe : int
            Steps from one that is observed to the next; 0 for a plan that doesn't observe.
        below : callable (activation, params) -> float, optional
            Up to which absolute value a slope counts as 0; needed where the plan observes.
        """
        observations, observed = [], []
        outputs = [self._views.get(i, i) for i in outputs]
        if self._loss_ops:
            self._penalize(optimizer is not None)
        self.fuse(() if self._loss_ops else tuple(outputs))
        if optimizer is not None:
            self.backward()
            self._fuse_backward()
            self._penalize_gradients()
            if observe:
                observations, observed = self._observe(observe, below)
            if callable(optimizer):
                optimizer(self)
            else:
                self.update(optimizer, optimizer_params)
                self.project()
            first = len(observations) - len(observed)
            for record, parameter in enumerate(observed, first):
                self._emit("observe_update", (parameter,), (), "observe", record=record,
                           every=observe)
        return self._compact(outputs, parameter_size, trainable_size, tuple(observations))

    def _compact(self, outputs, parameter_size, trainable_size, observations):
        """Number the buffers that are left from 0 on."""
        gradient_size = trainable_size
        for buffer in self.buffers:
            if buffer.role == "parameter_gradient" and buffer.offset is None:
                self.buffers[buffer.index] = replace(buffer, offset=gradient_size)
                gradient_size += buffer.rows * buffer.pitch
        used = sorted({*(i for op in self.ops for i in (*op.inputs, *op.outputs)),
                       *self._graded, *self._graded.values()})
        number = {old: new for new, old in enumerate(used)}
        buffers = tuple(replace(self.buffers[old], index=new) for old, new in number.items())
        for buffer in buffers:
            if buffer.role == "parameter_gradient" and buffer.offset < trainable_size and (
                    buffer.offset + buffer.rows * buffer.pitch > trainable_size):
                raise ValueError(
                    f"Argument `trainable_size` must cover every trainable parameter: expected at "
                    f"least {buffer.offset + buffer.rows * buffer.pitch} for {buffer.name!r}. "
                    f"Received: {trainable_size}"
                )
        ops = tuple(
            replace(op, inputs=tuple(number[i] for i in op.inputs),
                    outputs=tuple(number[i] for i in op.outputs))
            for op in self.ops
        )
        return Plan(buffers, ops, self.batch_size, self.dtype,
                    tuple(number[i] for i in self.inputs),
                    tuple(number[i] for i in outputs if i in number),
                    tuple(self.totals), parameter_size, trainable_size, gradient_size,
                    observations)


def _per_column(values, columns):
    """A number for each column from one for all or one for each.

    >>> _per_column(2.0, 3), _per_column([1, 2], 2)
    ((2.0, 2.0, 2.0), (1.0, 2.0))
    """
    found = tuple(map(float, values)) if hasattr(values, "__len__") else (float(values),)
    return found * columns if len(found) == 1 else found


def _dense_adjoint(builder, op, gradients, needed):
    x, kernel = op.inputs[:2]
    bias = op.inputs[2] if len(op.inputs) == 3 else None
    dz = _through_activation(builder, op, gradients[op.outputs[0]])
    if kernel in builder._trainable:  # then it is kept
        builder._errors[op.outputs[0]] = dz
    extra = {key: op.attributes[key] for key in ("precision",) if key in op.attributes}
    if kernel in builder._trainable:
        builder._emit("dense_dw", (x, dz), (builder._gradient_like(kernel),), "backward", **extra)
        builder._kept.add(dz)
    if bias is not None and bias in builder._trainable:
        builder._emit("dense_db", (dz,), (builder._gradient_like(bias),), "backward")
        builder._kept.add(dz)
    if x in needed:
        dx = builder._gradient_like(x)
        builder._emit("dense_dx", (dz, kernel), (dx,), "backward", activation="linear", params=(),
                      **extra)
        builder._accumulate(gradients, x, dx)


def _sparse_dense_adjoint(builder, op, gradients, needed):
    """As that of dense, without a gradient of the data."""
    rows, kernel, *bias = op.inputs
    dz = _through_activation(builder, op, gradients[op.outputs[0]])
    if kernel in builder._trainable:
        builder._errors[op.outputs[0]] = dz
        builder._emit("sparse_dw", (rows, dz), (builder._gradient_like(kernel),), "backward",
                      source=op.attributes["source"])
        builder._kept.add(dz)
    if bias and bias[0] in builder._trainable:
        builder._emit("dense_db", (dz,), (builder._gradient_like(bias[0]),), "backward")
        builder._kept.add(dz)


def _through_activation(builder, op, dy):
    """dz of a dense with a fused activation, written over dy where it is free."""
    name = op.attributes["activation"]
    if name == "linear":
        return dy
    row = spec.ACTIVATIONS[name]
    saved = op.outputs[0] if row.reads == "y" else op.outputs[1]
    dz = builder._or_new(dy)
    builder._emit("activation_grad", (dy, saved), (dz,), "backward", activation=name,
                  params=op.attributes["params"])
    return dz


def _activation_adjoint(builder, op, gradients, needed):
    row = spec.ACTIVATIONS[op.attributes["activation"]]
    dy = gradients[op.outputs[0]]
    saved = op.outputs[0] if row.reads == "y" else op.inputs[0]
    same = builder.columns(op.inputs[0]) == builder.columns(op.outputs[0])
    dx = builder._or_new(dy) if same else builder._gradient_like(op.inputs[0])
    builder._emit("activation_grad", (dy, saved), (dx,), "backward", **op.attributes)
    builder._accumulate(gradients, op.inputs[0], dx)


def _prelu_adjoint(builder, op, gradients, needed):
    x, alpha = op.inputs
    outputs = [builder._gradient_like(x)]
    if alpha in builder._trainable:
        outputs.append(builder._gradient_like(alpha))
    builder._emit("prelu_grad", (gradients[op.outputs[0]], x, alpha), outputs, "backward")
    builder._accumulate(gradients, x, outputs[0])


def _mask_adjoint(builder, op, gradients, needed):
    dy = gradients[op.outputs[0]]
    dx = builder._or_new(dy)
    builder._emit("multiply", (dy, op.outputs[1]), (dx,), "backward")
    builder._accumulate(gradients, op.inputs[0], dx)


# -- adjoints of the operations that join buffers ------------------------------------------------


def _backward(builder, op, inputs, like, **attributes):
    """Emit an operation of the backward pass whose result has the shape of the buffer `like`."""
    result = builder._gradient_like(like)
    builder._emit(op, inputs, (result,), "backward", **attributes)
    return result


def _add_adjoint(builder, op, gradients, needed):
    """y = a + b: both gradients are dy."""
    for x in op.inputs:
        if x in needed:
            builder._accumulate(gradients, x, gradients[op.outputs[0]])


def _subtract_adjoint(builder, op, gradients, needed):
    """y = a - b: da = dy, db = -dy."""
    dy, (a, b) = gradients[op.outputs[0]], op.inputs
    if b in needed:
        db = _backward(builder, "affine", (dy,), b, factor=-1.0, shift=0.0)
        builder._accumulate(gradients, b, db)
    if a in needed:
        builder._accumulate(gradients, a, dy)


def _multiply_adjoint(builder, op, gradients, needed):
    """y = a b: da = dy b, db = dy a."""
    dy, (a, b) = gradients[op.outputs[0]], op.inputs
    for x, other in ((a, b), (b, a)):
        if x in needed:
            builder._accumulate(gradients, x, _backward(builder, "multiply", (dy, other), x))


def _divide_adjoint(builder, op, gradients, needed):
    """y = a / b: da = dy / b, db = -da y."""
    dy, (a, b), y = gradients[op.outputs[0]], op.inputs, op.outputs[0]
    da = _backward(builder, "divide", (dy, b), a)
    if b in needed:
        product = _backward(builder, "multiply", (da, y), b)
        builder._emit("affine", (product,), (product,), "backward", factor=-1.0, shift=0.0)
        builder._accumulate(gradients, b, product)
    if a in needed:
        builder._accumulate(gradients, a, da)


def _extreme_adjoint(builder, op, gradients, needed):
    """y = max(a, b) or min(a, b): dy to the one that it is, half to each where they are equal."""
    dy, (a, b) = gradients[op.outputs[0]], op.inputs
    for x, other in ((a, b), (b, a)):
        if x in needed:
            builder._accumulate(
                gradients, x, _backward(builder, f"{op.op}_grad", (dy, x, other), x))


def _affine_adjoint(builder, op, gradients, needed):
    """y = factor x + shift: dx = factor dy."""
    dy = gradients[op.outputs[0]]
    if op.attributes["factor"] != 1.0:
        dx = builder._or_new(dy)
        builder._emit("affine", (dy,), (dx,), "backward", factor=op.attributes["factor"],
                      shift=0.0)
        dy = dx
    builder._accumulate(gradients, op.inputs[0], dy)


def _power_adjoint(builder, op, gradients, needed):
    """y = x^p: dx = p x^(p - 1) dy."""
    (x,), p = op.inputs, op.attributes["exponent"]
    slope = _backward(builder, "power", (x,), x, exponent=p - 1.0)
    builder._emit("affine", (slope,), (slope,), "backward", factor=p, shift=0.0)
    builder._emit("multiply", (slope, gradients[op.outputs[0]]), (slope,), "backward")
    builder._accumulate(gradients, x, slope)


def _log_adjoint(builder, op, gradients, needed):
    """y = log x: dx = dy / x."""
    (x,) = op.inputs
    builder._accumulate(
        gradients, x, _backward(builder, "divide", (gradients[op.outputs[0]], x), x))


def _broadcast_adjoint(builder, op, gradients, needed):
    """y_k = factor x: dx = factor sum_k dy_k."""
    dx = _backward(builder, "row_sum", (gradients[op.outputs[0]],), op.inputs[0], **op.attributes)
    builder._accumulate(gradients, op.inputs[0], dx)


def _row_sum_adjoint(builder, op, gradients, needed):
    """y = factor sum_k x_k: dx_k = factor dy."""
    dx = _backward(builder, "broadcast", (gradients[op.outputs[0]],), op.inputs[0],
                   **op.attributes)
    builder._accumulate(gradients, op.inputs[0], dx)


def _row_dot_adjoint(builder, op, gradients, needed):
    """y = sum_k a_k b_k: da = dy b, db = dy a."""
    dy, (a, b) = gradients[op.outputs[0]], op.inputs
    for x, other in ((a, b), (b, a)):
        if x in needed:
            builder._accumulate(gradients, x, _backward(builder, "scale_rows", (other, dy), x))


def _scale_rows_adjoint(builder, op, gradients, needed):
    """y = s x: dx = s dy, ds = sum_k dy_k x_k."""
    dy, (x, s) = gradients[op.outputs[0]], op.inputs
    if x in needed:
        builder._accumulate(gradients, x, _backward(builder, "scale_rows", (dy, s), x))
    if s in needed:
        builder._accumulate(gradients, s, _backward(builder, "row_dot", (dy, x), s))


def _concatenate_adjoint(builder, op, gradients, needed):
    """Each part gets its columns of dy."""
    dy, start, groups = gradients[op.outputs[0]], 0, op.attributes["groups"]
    for x in op.inputs:
        if x in needed:
            dx = _backward(builder, "slice", (dy,), x, start=start, groups=groups)
            builder._accumulate(gradients, x, dx)
        start += builder.columns(x) // groups


def _python_adjoint(builder, op, gradients, needed):
    """What the step's own `gradient` makes of dy, x and y."""
    attributes = op.attributes
    reads, step = attributes["reads"], attributes["gradient"]
    if step is None:
        raise ValueError(
            f"{attributes['name']!r} is computed in Python and says nothing of its gradient, which "
            "something that is to be trained needs. Define its `backward` (see "
            "fusedmlp.layers.Layer), or set `trainable = False` for what comes before it and is in "
            "it"
        )
    inputs, parameters = op.inputs[:reads], op.inputs[reads:]
    dys = [gradients.get(i) for i in op.outputs]
    given = [dy is not None for dy in dys]
    wanted = [x in needed for x in inputs]
    dxs = [builder._gradient_like(x) for x, asked in zip(inputs, wanted, strict=True) if asked]
    trained = [p for p in parameters if p in builder._trainable]
    dparameters = [builder._gradient_like(p) for p in trained]
    places = [parameters.index(p) for p in trained]
    counts = (len(dys) - given.count(False), len(inputs), len(op.outputs))

    def backward(arrays, results):
        found, at = iter(arrays[: counts[0]]), counts[0]
        xs, ys = arrays[at : at + counts[1]], arrays[at + counts[1] :]
        made, more = iter(results[: len(dxs)]), results[len(dxs) :]
        step(tuple(next(found) if there else None for there in given), xs, ys,
             tuple(next(made) if asked else None for asked in wanted),
             dict(zip(places, more, strict=True)))

    given_dys = [dy for dy in dys if dy is not None]
    read = (*given_dys, *inputs, *op.outputs)
    builder._emit("python", read, (*dxs, *dparameters), "backward", function=backward,
                  gradient=None, name=attributes["name"], reads=len(read))
    builder._kept.update(given_dys)
    made = iter(dxs)
    for x, asked in zip(inputs, wanted, strict=True):
        if asked:
            builder._accumulate(gradients, x, next(made))


def _repeat_adjoint(builder, op, gradients, needed):
    """y = p in each row: dp is the sum of dy over the rows."""
    dy, (parameter,) = gradients[op.outputs[0]], op.inputs
    builder._emit("dense_db", (dy,), (builder._gradient_like(parameter),), "backward")
    builder._kept.add(dy)


def _slice_adjoint(builder, op, gradients, needed):
    """The columns that were taken get dy, the others 0."""
    dx = _backward(builder, "place", (gradients[op.outputs[0]],), op.inputs[0], **op.attributes)
    builder._accumulate(gradients, op.inputs[0], dx)


# -- adjoints of layers --------------------------------------------------------------------------


def _noise_adjoint(builder, op, gradients, needed):
    builder._accumulate(gradients, op.inputs[0], gradients[op.outputs[0]])


def _optional(op, first):
    """gamma and beta, or None each, among the inputs from number `first` on."""
    more = list(op.inputs[first:])
    gamma = more.pop(0) if op.attributes["scale"] else None
    return gamma, more.pop(0) if op.attributes["center"] else None


def _standardize_adjoint(builder, op, gradients, needed):
    x, mean, inv = op.inputs[:3]
    gamma, beta = _optional(op, 3)
    dy = gradients[op.outputs[0]]
    sums = []
    for parameter, part in ((gamma, "dgamma"), (beta, "dbeta")):
        if parameter in builder._trainable:
            sums.append(builder._gradient_like(parameter))
        else:
            sums.append(builder._new(f"{builder.buffers[op.outputs[0]].name}.{part}",
                                     builder.columns(x), "statistics", rows=1))
    builder._emit("batch_norm_sums", (dy, x, mean, inv), sums, "backward")
    if x in needed:
        more = () if gamma is None else (gamma,)
        dx = builder._or_new(dy)
        builder._emit("batch_norm_dx", (dy, x, mean, inv, *sums, *more), (dx,), "backward",
                      scale=gamma is not None)
        builder._accumulate(gradients, x, dx)


def _scale_shift_adjoint(builder, op, gradients, needed):
    dy = gradients[op.outputs[0]]
    dx = builder._or_new(dy)
    builder._emit("scale_columns", (dy, op.inputs[1]), (dx,), "backward")
    builder._accumulate(gradients, op.inputs[0], dx)


def _row_norm_adjoint(builder, op, gradients, needed):
    x = op.inputs[0]
    gamma, beta = _optional(op, 1)
    dy, saved = gradients[op.outputs[0]], op.outputs[1:]
    if gamma in builder._trainable:
        builder._emit("gamma_grad", (dy, x, *saved), (builder._gradient_like(gamma),), "backward")
        builder._kept.add(dy)
    if beta in builder._trainable:
        builder._emit("dense_db", (dy,), (builder._gradient_like(beta),), "backward")
        builder._kept.add(dy)
    if x in needed:
        dx = builder._gradient_like(x)
        more = () if gamma is None else (gamma,)
        builder._emit("row_norm_grad", (dy, x, *saved, *more), (dx,), "backward",
                      kind=op.attributes["kind"], epsilon=op.attributes["epsilon"],
                      scale=gamma is not None)
        builder._accumulate(gradients, x, dx)


def _embedding_adjoint(builder, op, gradients, needed):
    indices, table = op.inputs
    if table in builder._trainable:
        dy = gradients[op.outputs[0]]
        builder._emit("embedding_grad", (indices, dy), (builder._gradient_like(table),), "backward")
        builder._kept.add(dy)


def _moved_adjoint(builder, op, gradients, needed):
    """The adjoint of an op that moves elements about moves them back, adding up copies."""
    dx = builder._gradient_like(op.inputs[0])
    name = "put_columns" if op.op == "take_columns" else op.op
    builder._emit(name, (gradients[op.outputs[0]],), (dx,), "backward", **op.attributes)
    builder._accumulate(gradients, op.inputs[0], dx)


def _column_affine_adjoint(builder, op, gradients, needed):
    """y = (x - before) scale + after: dx = scale dy."""
    scale = op.attributes["scale"]
    zero = (0.0,) * len(scale)
    dx = _backward(builder, "column_affine", (gradients[op.outputs[0]],), op.inputs[0],
                   before=zero, scale=scale, after=zero)
    builder._accumulate(gradients, op.inputs[0], dx)


def _feature_norm_adjoint(builder, op, gradients, needed):
    """y = (x - mean) / s: dx = dy / s; inverted, dx = s dy."""
    dy, (x, *moments) = gradients[op.outputs[0]], op.inputs
    dx = _backward(builder, "feature_norm", (dy, *moments), x,
                   **{**op.attributes, "center": False})
    builder._accumulate(gradients, x, dx)


def _no_adjoint(builder, op, gradients, needed):
    """Steps and codes: the derivative is 0 wherever there is one."""


_ADJOINTS = {
    "dense": _dense_adjoint,
    "sparse_dense": _sparse_dense_adjoint,
    "densify": _no_adjoint,
    "activation": _activation_adjoint,
    "prelu": _prelu_adjoint,
    "dropout": _mask_adjoint,
    "alpha_dropout": _mask_adjoint,
    "gaussian_dropout": _mask_adjoint,
    "gaussian_noise": _noise_adjoint,
    "standardize": _standardize_adjoint,
    "scale_shift": _scale_shift_adjoint,
    "row_norm": _row_norm_adjoint,
    "embedding": _embedding_adjoint,
    "reshape": _moved_adjoint,
    "take_columns": _moved_adjoint,
    "add": _add_adjoint,
    "subtract": _subtract_adjoint,
    "multiply": _multiply_adjoint,
    "divide": _divide_adjoint,
    "maximum": _extreme_adjoint,
    "minimum": _extreme_adjoint,
    "affine": _affine_adjoint,
    "power": _power_adjoint,
    "log": _log_adjoint,
    "broadcast": _broadcast_adjoint,
    "row_sum": _row_sum_adjoint,
    "row_dot": _row_dot_adjoint,
    "scale_rows": _scale_rows_adjoint,
    "concatenate": _concatenate_adjoint,
    "repeat": _repeat_adjoint,
    "slice": _slice_adjoint,
    "python": _python_adjoint,
    "column_affine": _column_affine_adjoint,
    "feature_norm": _feature_norm_adjoint,
    "digitize": _no_adjoint,
    "encode": _no_adjoint,
}

# Adjoints that don't write over a gradient which others need; any other one gets a copy of such.
_SHARING = frozenset(_ADJOINTS.values())
