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
activation               x                    y                    activation, params
prelu                    x, alpha             y                    --
dropout                  x                    y, mask              rate, stream, seed
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
activation_grad          dy, x or y           dx (may be dy)       activation, params
dense_dw                 x, dz                dkernel              --
dense_db                 dz                   dbias                --
dense_dx                 dz, kernel[, x or y] dx                   activation, params
prelu_grad               dy, x, alpha         dx[, dalpha]         --
maximum_grad             dy, a, b             da                   --
minimum_grad             dy, a, b             da                   --
place                    dy                   dx, 0 elsewhere      start, groups
copy                     x                    x                    --
accumulate               dp, spare            dp + spare, in dp    --
penalty_grad             parameter[, w]       dparameter           l1, l2, per_rows, adds
update                   --                   --                   optimizer, params
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
where the loss gives none (`adds` False). ``update`` applies the optimizer to all trainable
parameters, whose gradients lie at the same offsets in a gradient arena.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace

from fusedmlp.kernels.layout import layout, padded

from . import spec

__all__ = ["Buffer", "Builder", "Op", "Plan", "layout", "pitch"]

_DETAILS = ("activation", "optimizer", "loss", "score", "tally")  # what a printed op shows


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
    number per row), "parameter" and "parameter_gradient"; the last two have an `offset` in their
    arena, where they lie as `fusedmlp.kernels.layout` says.  `pitch` counts elements from row to
    row, of parameters their padded columns.
    """

    index: int
    name: str
    rows: int | None
    columns: int
    dtype: str
    role: str
    pitch: int
    offset: int | None = None


@dataclass(frozen=True)
class Op:
    """One kernel call: what it reads and writes by buffer number, and its constants."""

    op: str
    inputs: tuple
    outputs: tuple
    attributes: dict = field(default_factory=dict)
    phase: str = "forward"


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

    def shape(self, index):
        """Shape of a buffer for a full batch."""
        buffer = self.buffers[index]
        rows = self.batch_size if buffer.rows is None else buffer.rows
        return (rows,) if buffer.role in ("row", "weight") else (rows, buffer.columns)

    def flops(self, op):
        """Floating-point operations of one op for a full batch; a multiply-add counts as two.

        Elementwise functions count as one operation per element.
        """
        if op.op in ("dense", "dense_dx"):
            rows, columns = self.shape(op.inputs[0])
            kernel = self.buffers[op.inputs[1]]
            other = kernel.columns if op.op == "dense" else kernel.rows
            return 2 * rows * columns * other
        if op.op == "dense_dw":
            rows, columns = self.shape(op.inputs[0])
            return 2 * rows * columns * self.buffers[op.inputs[1]].columns
        if op.op == "update":
            return 2 * self.trainable_size
        if op.op == "gather":
            return 0
        return max((self._elements(i) for i in (*op.inputs, *op.outputs)), default=0)

    def bytes(self, op):
        """Bytes that one op reads and writes for a full batch, each array counted once."""
        itemsize = 4 if self.dtype == "float32" else 8
        if op.op == "update":
            slots = len(spec.OPTIMIZERS[op.attributes["optimizer"]].slots)
            return (3 + 2 * slots) * self.trainable_size * itemsize
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
        self._parameters = {}  # (offset, rows, columns) -> buffer
        self._trainable = set()
        self._graded = {}  # parameter -> buffer of its gradient
        self._spare = {}  # buffer of the gradient of a further use -> that of the first
        self._holders = Counter()  # gradient -> forward buffers whose gradient it is
        self._kept = set()  # gradients that are read again after the adjoint that got them
        self._streams = 0
        self._loss_ops = []
        self._penalties = []  # (parameter and what weighs it, attributes)

    # -- buffers -------------------------------------------------------------------------------

    def _new(self, name, columns, role="activation", *, rows=None, dtype=None, step=None,
             offset=None):
        dtype = dtype or self.dtype
        if step is None:
            one = role in ("row", "weight") or dtype == "int64"
            step = 1 if one else pitch(columns, 4 if dtype == "float32" else 8)
        index = len(self.buffers)
        self.buffers.append(Buffer(index, name, rows, columns, dtype, role, step, offset))
        return index

    def _emit(self, op, inputs, outputs, phase="forward", **attributes):
        self.ops.append(Op(op, tuple(inputs), tuple(outputs), attributes, phase))
        for index in outputs:
            if index in self._spare:
                first = self._spare.pop(index)
                self._emit("accumulate", (first, index), (first,), "backward")

    def columns(self, index):
        """Width of a buffer."""
        return self.buffers[index].columns

    def input(self, columns, name="x", role="input", dtype=None):
        """A buffer that every step fills with the rows of the next data array."""
        index = self._new(name, columns, role, dtype=dtype)
        self._emit("gather", (), (index,), "gather", source=len(self.inputs))
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
        y = self._new(name, self.columns(kernel))
        inputs = (x, kernel) if bias is None else (x, kernel, bias)
        extra = {} if precision is None else {"precision": precision}
        self._emit("dense", inputs, (y,), activation="linear", params=(), **extra)
        return y

    def activation(self, x, name, params=()):
        """The activation of the row `name`; no op for ``linear``."""
        row = spec.ACTIVATIONS[name]
        if row.name == "linear":
            return x
        columns = self.columns(x)
        if row.kind == "halves":
            columns //= 2
        elif row.kind == "pieces":
            columns //= int(params[0])
        y = self._new(f"{self.buffers[x].name}.{name}", columns)
        self._emit("activation", (x,), (y,), activation=name, params=tuple(params))
        return y

    def prelu(self, x, alpha, name="prelu"):
        """``x if x >= 0 else alpha x`` with one slope per column."""
        y = self._new(name, self.columns(x))
        self._emit("prelu", (x, alpha), (y,))
        return y

    def dropout(self, x, rate, seed=None, name="dropout"):
        """Dropout in training; the input itself otherwise or where the rate is 0."""
        stream = self._streams
        self._streams += 1
        if not self.training or rate == 0.0:
            return x
        y = self._new(name, self.columns(x))
        mask = self._new(f"{name}.mask", self.columns(x), "mask")
        self._emit("dropout", (x,), (y, mask), rate=float(rate), stream=stream, seed=seed)
        return y

    def combine(self, function, a, b, name=None):
        """One buffer from two, element by element; a single column stands for all of the other's.

        Parameters
        ----------
        function : {"add", "subtract", "multiply", "divide", "maximum", "minimum"}
        a, b : int
        """
        columns = max(self.columns(a), self.columns(b))
        a, b = (self.broadcast(x, columns) for x in (a, b))
        y = self._new(name or function, columns)
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
        y = self._new(name, self.columns(x))
        self._emit("affine", (x,), (y,), factor=float(factor), shift=float(shift))
        return y

    def power(self, x, exponent, name="power"):
        """``x ** exponent`` for a constant exponent."""
        y = self._new(name, self.columns(x))
        self._emit("power", (x,), (y,), exponent=float(exponent))
        return y

    def log(self, x, name="log"):
        """The natural logarithm."""
        y = self._new(name, self.columns(x))
        self._emit("log", (x,), (y,))
        return y

    def row_sum(self, x, factor=1.0, name="row_sum"):
        """`factor` times the sum over the columns, one column."""
        y = self._new(name, 1)
        self._emit("row_sum", (x,), (y,), factor=float(factor))
        return y

    def row_dot(self, a, b, name="row_dot"):
        """The scalar product of each row of a with that of b, one column."""
        y = self._new(name, 1)
        self._emit("row_dot", (a, b), (y,))
        return y

    def scale_rows(self, x, s, name="scale_rows"):
        """Each row of x times its number in s (one column)."""
        y = self._new(name, self.columns(x))
        self._emit("scale_rows", (x, s), (y,))
        return y

    def concatenate(self, parts, groups=1, name="concatenate"):
        """Buffers side by side, within each of `groups` equal groups of their columns."""
        parts = tuple(parts)
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
        entry = (inputs, {"l1": float(l1), "l2": float(l2), "per_rows": bool(per_rows)})
        if (l1 or l2) and entry not in self._penalties:  # a shared layer is lowered more than once
            self._penalties.append(entry)

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
            return self._new(f"d{buffer.name}", buffer.columns, "gradient")
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
        copy = self._new(self.buffers[gradient].name, self.columns(gradient), "gradient")
        self._emit("copy", (gradient,), (copy,), "backward")
        return copy

    def _or_new(self, gradient):
        """The gradient itself where it is free, else a new buffer of its shape."""
        if self._free(gradient):
            return gradient
        return self._new(self.buffers[gradient].name, self.columns(gradient), "gradient")

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

    def _penalize(self):
        """Add the penalties to the total of the loss."""
        for inputs, attributes in self._penalties:
            self._emit("penalty", inputs, (), "loss", total=self.totals.index("loss"),
                       **attributes)

    def _penalize_gradients(self):
        """Add the derivatives of the penalties to the gradients of what training updates."""
        for inputs, attributes in self._penalties:
            parameter = inputs[0]
            if parameter in self._trainable:
                adds = parameter in self._graded
                gradient = self._graded[parameter] if adds else self._gradient_like(parameter)
                self._emit("penalty_grad", inputs, (gradient,), "backward", adds=adds,
                           **attributes)

    # -- update and finish ---------------------------------------------------------------------

    def update(self, optimizer, params):
        """Append the optimizer's update of all trainable parameters."""
        self._emit("update", (), (), "update", optimizer=optimizer, params=tuple(params))

    def fuse(self, outputs):
        """Drop operations that nobody reads and fuse elementwise activations into dense ones."""
        while True:
            read = set(outputs).union(*(op.inputs for op in self.ops))
            kept = [op for op in self.ops
                    if op.phase != "forward" or read.intersection(op.outputs)]
            if len(kept) == len(self.ops):
                break
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
            if op.op == "dense" and op.outputs[0] not in outputs:
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
               trainable_size=0):
        """Fuse, add backward and update operations where there is a loss to train, and return.

        Parameters
        ----------
        outputs : sequence of int
            Buffers that the model returns.
        optimizer : str, optional
            Row of the optimizer; without it the plan only evaluates.
        """
        self.fuse(() if self._loss_ops else tuple(outputs))
        if self._loss_ops:
            self._penalize()
        if optimizer is not None:
            self.backward()
            self._fuse_backward()
            self._penalize_gradients()
            self.update(optimizer, optimizer_params)
        return self._compact(outputs, parameter_size, trainable_size)

    def _compact(self, outputs, parameter_size, trainable_size):
        """Number the buffers that are left from 0 on."""
        gradient_size = trainable_size
        for buffer in self.buffers:
            if buffer.role == "parameter_gradient" and buffer.offset is None:
                self.buffers[buffer.index] = replace(buffer, offset=gradient_size)
                gradient_size += buffer.rows * buffer.pitch
        used = sorted({i for op in self.ops for i in (*op.inputs, *op.outputs)})
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
                    tuple(self.totals), parameter_size, trainable_size, gradient_size)


def _dense_adjoint(builder, op, gradients, needed):
    x, kernel = op.inputs[:2]
    bias = op.inputs[2] if len(op.inputs) == 3 else None
    dz = _through_activation(builder, op, gradients[op.outputs[0]])
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


def _dropout_adjoint(builder, op, gradients, needed):
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


_ADJOINTS = {
    "dense": _dense_adjoint,
    "activation": _activation_adjoint,
    "prelu": _prelu_adjoint,
    "dropout": _dropout_adjoint,
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
}

# Adjoints that don't write over a gradient which others need; any other one gets a copy of such.
_SHARING = frozenset(_ADJOINTS.values())
