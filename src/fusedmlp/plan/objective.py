"""Losses and metrics: what a plan adds up over the rows of its batches."""

from __future__ import annotations

import math

from .. import spec
from .buffers import Buffers


class Objective(Buffers):
    """The part of a builder that ends the forward pass; a loss fuses what stands before it."""

    def before(self, index, activation):
        """The input of the activation that made a buffer; None if something else made it."""
        producer = self._producer(index)
        made = (producer is not None and producer.op == "activation"
                and producer.attributes["activation"] == activation)
        return producer.inputs[0] if made else None

    def beside(self, prediction, labels):
        """The buffer of `prediction` with a row for each row of `labels`."""
        columns = self.size(prediction) // self.buffers[labels].repeat
        return self.formed(prediction, columns)

    def row_weights(self, steps, sample_weight=None, mask=None, labels=None, *, over="rows",
                    ignore_index=None, phase="loss", name="weights"):
        """Weights of the rows of a loss whose samples take `steps` rows each.

        Parameters
        ----------
        steps : int
        sample_weight : int, optional
            Buffer of weights, of samples or of rows.
        mask : int, optional
            Buffer (rows, steps): 0 for steps that don't count.
        labels : int, optional
            Buffer of classes, of which `ignore_index` doesn't count either.
        over : {"rows", "kept", "weights"}
            What the mean of weighted losses over all rows is to be: that; the mean over those that
            count; that over the sum of their weights.
        """
        given = (sample_weight, mask, labels if ignore_index is not None else None)
        y = self._new(name, 1, "row", repeat=steps)
        self._emit("row_weights", [i for i in given if i is not None], (y,), phase, steps=steps,
                   over=over, given=tuple(i is not None for i in given), ignore_index=ignore_index)
        if over != "rows":
            self._balanced.add(y)
        return y

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
        steps = math.prod(self.shape(prediction)[:-1])
        if steps > 1 and kind != "elementwise" and (
                kind in ("overlap", "pair") or self.buffers[labels].repeat != steps):
            raise ValueError(
                f"The loss {name!r} takes predictions of shape (rows, classes): put a Flatten or "
                f"Reshape behind the last layer. Received: samples of shape "
                f"{self.shape(prediction)}"
            )
        prediction = self.beside(prediction, labels)
        if sample_weight in self._balanced and reduction != "sum":
            reduction = "mean_of_all"
        logits = spec.LOGITS_ROWS.get(name)
        if logits is not None:
            producer = self._producer(prediction)
            if from_logits:
                name = logits
            elif (producer is not None and producer.op == "activation"
                  and producer.attributes["activation"] == spec.LOSSES[logits].logits_of):
                prediction, name = producer.inputs[0], logits
        repeat = self.buffers[prediction].repeat
        losses = self._new("losses", 1, "row", repeat=repeat)
        outputs = [losses]
        if gradient:
            outputs.append(self._new(f"d{self.buffers[prediction].name}",
                                     self.columns(prediction), "gradient", repeat=repeat))
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

    def begin_at(self, losses, reduction, weight):
        """Let the last operation, which gives losses and perhaps their gradient, be a loss."""
        self._loss_ops.append(len(self.ops) - 1)
        self._total_loss(losses, reduction, weight)

    def _total_loss(self, losses, reduction, weight):
        self.reduce("loss", losses, reduction=reduction, weight=weight)
        if self.loss_total is not None:
            self.reduce(self.loss_total, losses, reduction=reduction)

    def reduce(self, name, rows, sample_weight=None, reduction="mean", weight=1.0):
        """Add `weight` times the numbers of a row buffer to the total called `name`.

        The total is made where there is none; "loss" is one sum of several losses over the same
        rows, which are counted once, any other name that occurs again is another total.  Where a
        sample takes several rows of the buffer, their mean is its number.
        """
        if sample_weight is None and reduction != "sum":
            weight /= self.buffers[rows].repeat
        inputs = (rows,) if sample_weight is None else (rows, sample_weight)
        again = name == "loss" and name in self.totals
        number = self.totals.index(name) if again else len(self.totals)
        self._emit("reduce", inputs, (), "loss", total=number, reduction=reduction,
                   weight=float(weight), counts=not again)
        if not again:
            self.totals.append(name)

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
        prediction = self.beside(prediction, labels)
        if kind == "categorical_hits":
            producer = self._producer(prediction)
            if (producer is not None and producer.op == "activation"
                    and producer.attributes["activation"] == "softmax"):
                prediction = producer.inputs[0]  # the largest is at the same place
            for i in self._loss_ops:
                op = self.ops[i]
                if (op.op == "softmax_cross_entropy" and op.inputs[:2] == (prediction, labels)
                        and len(op.outputs) == 2):
                    rows = self._new("hits", 1, "row", repeat=self.buffers[prediction].repeat)
                    self.ops[i] = op._replace(outputs=(*op.outputs, rows))
        if rows is None:
            rows = self._new(name, 1, "row", repeat=self.buffers[prediction].repeat)
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
        prediction = self.beside(prediction, labels)
        inputs = (prediction, labels) if sample_weight is None else (
            prediction, labels, sample_weight)
        self._emit("tally", inputs, (), "loss", tally=kind, total=len(self.totals),
                   options=tuple(map(float, options)), size=int(size))
        self.totals.extend([name] * -(-size // 2))
