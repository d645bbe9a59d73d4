"""What a plan is made of: numbered buffers and the operations on them.

Plain data, which prints as a table and knows its flops and bytes; the builder makes it, executors
read it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from fusedmlp.kernels.layout import padded

from .. import spec

_DETAILS = ("activation", "optimizer", "loss", "score", "tally", "kind")  # what a printed op shows
_OF_TRAINING = frozenset(("dropout", "alpha_dropout", "gaussian_dropout", "gaussian_noise",
                          "batch_statistics"))
_NONZERO = 64  # elements of a sparse row that its work is estimated by


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


class Buffer(NamedTuple):
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


class Op(NamedTuple):
    """One kernel call: what it reads and writes by buffer number, and its constants."""

    op: str
    inputs: tuple
    outputs: tuple
    attributes: dict[str, Any]
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

    @property
    def draws(self):
        """Whether a step draws random numbers, or looks at its whole batch, as training does."""
        return any(op.op in _OF_TRAINING for op in self.ops)

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
