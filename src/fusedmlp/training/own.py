"""Losses and metrics of one's own that are Python: steps of the plan on arrays of a batch."""

from __future__ import annotations

import inspect
from math import prod
from typing import NamedTuple

import numpy as np

from .. import tracing, tree
from ..differences import quotient, step_size
from ..layers.deferred import add_to_loss, follow, follow_loss, in_rows
from ..layers.tensor import PlanTensor
from ..losses import Loss

__all__ = ["ModelLoss", "Target", "lower_loss", "lower_metric", "lower_own_metrics",
           "lower_total"]


class ModelLoss(Loss):
    """The `compute_loss` that a model of one's own defines: one number for a whole batch.

    Parameters
    ----------
    model : Model
    """

    by_batch = True

    def __init__(self, model):
        super().__init__("compute_loss")
        self.model = model

    def call(self, y_true, y_pred):
        """Not for calls from outside: the model's method wants its input, too."""
        raise TypeError(f"Call `compute_loss` of {self.model.name!r}")

    @property
    def counts_losses(self) -> bool:
        """Whether the method names what layers add to the loss, or the one that it stands for."""
        method = inspect.unwrap(type(self.model).compute_loss)
        names = getattr(getattr(method, "__code__", None), "co_names", ("losses",))
        return not {"losses", "compute_loss"}.isdisjoint(names)

    def arguments(self, **given):
        """Those that the method takes: it may do without `training`, as older ones do."""
        known = inspect.signature(self.model.compute_loss).parameters
        if any(p.kind is p.VAR_KEYWORD for p in known.values()):
            return given
        return {name: value for name, value in given.items() if name in known}

    def inputs(self, parts: list):
        """What is given as `x`, of one part for each input."""
        structure = self.model._signature[0]
        if len(parts) == 1 and not isinstance(structure, dict):
            return parts[0]
        return tree.pack(structure, parts) if len(tree.leaves(structure)) == len(parts) else parts

    def predictions(self, parts: list):
        """What is given as `y_pred`, of one part for each output: what the model returns."""
        return tree.pack(self.model._signature[1], parts)

    def targets(self, parts: list, alone: bool):
        """What is given as `y`, of one part, or None, for each output."""
        if len(parts) == 1 or alone or all(part is None for part in parts):
            return parts[0]
        return self.predictions(parts)

    def total(self, x, y_true, y_pred, weights, training: bool) -> float:
        """The number that the method returns.

        Raises
        ------
        ValueError
            If it is none.
        """
        self.model._in_loss = True
        try:
            with tracing.exactly():
                found = np.asarray(self.model.compute_loss(**self.arguments(
                    x=x, y=y_true, y_pred=y_pred, sample_weight=weights, training=training)))
        finally:
            self.model._in_loss = False
        if found.size != 1 or found.dtype.kind not in "fiu":
            raise ValueError(
                f"`compute_loss` of {self.model.name!r} must return a number. Received: "
                f"dtype {found.dtype}, shape {found.shape}"
            )
        return float(found.reshape(()))


def _shaped(array, sample, repeat):
    """Predictions or targets as samples of a shape, whose last axis may be another.

    Parameters
    ----------
    array : ndarray
        With `repeat` rows for each sample.
    """
    if repeat > 1:
        return array.reshape(-1, *sample[:-1], *array.shape[1:])
    whole = array.ndim == 2 and len(sample) > 1 and array.shape[1] == prod(sample)
    return array.reshape(-1, *sample) if whole else array


class Target(NamedTuple):
    """An output of a model, and what is there of its targets, in a plan under construction.

    Attributes
    ----------
    sample : tuple
        Shape of a predicted sample.
    prediction : int
        Buffer.
    labels : int or None
        Buffer; None where there are no targets.
    own : tuple or None
        Shape of a sample of targets that are of another shape than the prediction.
    """

    sample: tuple
    prediction: int
    labels: int | None
    own: tuple | None


def lower_total(builder, loss, targets: list, sample_weight: int | None, alone: bool,
                gradient: bool) -> None:
    """Add a `ModelLoss`.

    Where the method can't be followed on symbolic tensors, it runs in Python on arrays, and its
    gradient is taken by central differences, two calls for each prediction.

    Parameters
    ----------
    loss : ModelLoss
    targets : list of Target
        One for each output.
    alone : bool
        Whether the targets are one array, which is kept with the first output.
    """
    if _followed(builder, loss, targets, sample_weight, alone, gradient):
        return
    if not loss.counts_losses:
        builder.drop_penalties()
    inputs = [b.index for b in builder.buffers if b.role == "input"]
    shapes = [builder.shape(index) for index in inputs]
    wide = [builder.formed(t.prediction, builder.size(t.prediction)) for t in targets]
    prediction = wide[0] if len(wide) == 1 else builder.concatenate(wide)
    columns = [builder.columns(buffer) for buffer in wide]
    labels = [t.labels for t in targets if t.labels is not None]
    repeats = [None if t.labels is None else builder.buffers[t.labels].repeat for t in targets]

    def shaped(array, target, repeat):
        if target.own is not None and array.ndim == 2:
            return array.reshape(-1, *target.own)
        return _shaped(array, target.sample, repeat)

    def step(arrays, outputs):
        y_pred, rest = arrays[0].astype(np.float64), iter(arrays[1:])
        y = [None if repeat is None else shaped(next(rest), target, repeat)
             for target, repeat in zip(targets, repeats, strict=True)]
        x = [a.reshape(len(a), *shape) for shape, a in zip(shapes, rest, strict=False)]
        weights = arrays[-1].reshape(-1) if sample_weight is not None else None
        training = len(outputs) > 1
        x, y = loss.inputs(x), loss.targets(y, alone)
        ends = np.cumsum(columns)[:-1]

        def at(prediction):
            parts = [part.reshape(-1, *target.sample) for part, target in
                     zip(np.split(prediction, ends, axis=1), targets, strict=True)]
            return loss.total(x, y, loss.predictions(parts), weights, training)

        with np.errstate(all="ignore"):
            value = at(y_pred)
            outputs[0][...] = value
            if not training:
                return
            steps = step_size(y_pred)
            for place in np.ndindex(y_pred.shape):
                kept, h = y_pred[place], steps[place]
                y_pred[place] = kept + h
                above, up = at(y_pred), y_pred[place] - kept
                y_pred[place] = kept - h
                below, down = at(y_pred), kept - y_pred[place]
                y_pred[place] = kept
                outputs[1][place] = quotient(value, np.float64(above), np.float64(below), up, down)

    given = [prediction, *labels, *inputs] + ([] if sample_weight is None else [sample_weight])
    outputs = builder.python(step, given, [1, sum(columns)] if gradient else [1], name=loss.name,
                             phase="loss", roles=["row", "gradient"])
    builder.begin_at(outputs[0], "mean", 1.0)


def _followed(builder, loss, targets, sample_weight, alone, training):
    """Whether a `ModelLoss` could be added by following it on symbolic tensors."""
    read = [t.labels for t in targets if t.labels is not None]
    read += [] if sample_weight is None else [sample_weight]
    if any(builder.buffers[buffer].repeat != 1 for buffer in read):
        return False
    inputs = [_tensor(builder, b.index) for b in list(builder.buffers) if b.role == "input"]
    y_pred = [_tensor(builder, t.prediction, t.sample) for t in targets]
    given = {"x": loss.inputs(inputs),
             "y": loss.targets([_target(builder, t) for t in targets], alone),
             "y_pred": loss.predictions(y_pred), "training": training,
             "sample_weight": None if sample_weight is None else _tensor(
                 builder, sample_weight, ())}
    found = follow_loss(lambda: loss.model.compute_loss(**loss.arguments(**given)), y_pred[0])
    if found is None:
        return False
    if found.shape:
        raise ValueError(
            f"`compute_loss` of {loss.model.name!r} must return a number. Received: shape "
            f"{found.shape}"
        )
    add_to_loss(found)
    return True


def _target(builder, target):
    """The targets of an output as a symbolic tensor; None where there are none."""
    if target.labels is None:
        return None
    if target.own is not None:
        return _tensor(builder, target.labels, target.own)
    if builder.buffers[target.labels].dtype == "int64":
        return _tensor(builder, target.labels, ())
    whole = builder.buffers[target.labels].columns == prod(target.sample)
    return _tensor(builder, target.labels, target.sample if whole else None)


def _tensor(builder, index, shape=None):
    """A buffer as a symbolic tensor, with samples of a shape."""
    shape = builder.shape(index) if shape is None else shape
    same = builder.shape(index) == shape or not shape
    return PlanTensor((None, *shape), builder.buffers[index].dtype, builder,
                      index if same else builder.view(index, shape))


def _function_followed(builder, loss, sample, prediction, labels, sample_weight, weight, training):
    """Whether a loss could be added by following its function on symbolic tensors."""
    target = builder.buffers[labels]
    if target.repeat != 1 or (
            sample_weight is not None and builder.buffers[sample_weight].repeat != 1):
        return False
    before, first = builder.mark(), len(builder.ops)
    y_pred = _tensor(builder, prediction, sample)
    whole = target.columns == prod(sample)
    y_true = _tensor(builder, labels,
                     () if target.dtype == "int64" else sample if whole else None)
    weights = None if sample_weight is None else _tensor(builder, sample_weight, ())
    try:
        found = follow(lambda: loss(y_true, y_pred, weights), y_pred)
    except (TypeError, ValueError, AttributeError, IndexError):  # said again of arrays
        found = None
    if found is not None and not found.shape:
        add_to_loss(found if weight == 1.0 else found * weight)
        unknown = any(op.op == "python" and op.attributes["gradient"] is None
                      for op in builder.ops[first:] if op.phase == "forward")
        if not (training and unknown):
            if builder.loss_total is not None:
                builder.penalize_activities(training)  # the first total is that of all
                builder.reduce(builder.loss_total, in_rows(found))
            return True
    builder.rewind(before)
    return False


def lower_loss(builder, loss, sample: tuple, prediction: int, labels: int,
               sample_weight: int | None, weight: float, gradient: bool) -> None:
    """Add a loss whose `call(y_true, y_pred)` is Python, called with samples of shape `sample`.

    It is followed on symbolic tensors and becomes part of the plan, differentiated by the rules of
    `fusedmlp.expressions`.  Where that can't be, it must give one number for each row of arrays.
    Its derivative is then ``loss.gradient(y_true, y_pred)``, of the shape of y_pred, where the loss
    (or the function that it wraps) has such an attribute; else central differences in float64, two
    calls for each predicted column, for which a row's loss must not depend on other rows.
    """
    where = f"loss {loss.name!r}"
    mean = loss.reduction != "sum"
    exact = getattr(loss, "gradient", None) or getattr(getattr(loss, "fn", None), "gradient", None)
    if exact is None and _function_followed(builder, loss, sample, prediction, labels,
                                            sample_weight, weight, gradient):
        return
    checked = []
    prediction = builder.beside(prediction, labels)
    columns, repeat = builder.columns(prediction), builder.buffers[prediction].repeat

    def shaped(array):
        return _shaped(array, sample, repeat)

    def rows_of(y_true, y_pred):
        values = np.asarray(loss.call(shaped(y_true), shaped(y_pred)), dtype=np.float64)
        if (values.ndim == 0 or len(values) * repeat != len(y_pred)
                or values.size % len(y_pred)):
            raise ValueError(
                f"{where} must give one number for each row, shape ({len(y_pred)},), as a mean "
                f"with axis=-1 does. Received: shape {values.shape}"
            )
        return values.reshape(len(y_pred), -1).mean(axis=1)

    def slopes(y_true, y_pred):
        if not checked and len(y_pred) > repeat:
            alone = rows_of(y_true[:repeat], y_pred[:repeat])
            if not np.allclose(alone, rows_of(y_true, y_pred)[:repeat], 1e-9, equal_nan=True):
                raise ValueError(
                    f"{where} must say its gradient by an attribute `gradient(y_true, y_pred)`, "
                    "because the loss of a row depends on other rows. Received: none"
                )
            checked.append(True)
        value = rows_of(y_true, y_pred)
        result = np.empty_like(y_pred)
        for column in range(y_pred.shape[1]):
            kept = y_pred[:, column].copy()
            h = step_size(kept)
            y_pred[:, column] = kept + h
            above, up = rows_of(y_true, y_pred), y_pred[:, column] - kept
            y_pred[:, column] = kept - h
            below, down = rows_of(y_true, y_pred), kept - y_pred[:, column]
            y_pred[:, column] = kept
            result[:, column] = quotient(value, above, below, up, down)
        return result

    def step(inputs, outputs):
        y_pred, y_true = inputs[0].astype(np.float64), inputs[1]
        if y_true.dtype.kind == "f":
            y_true = y_true.astype(np.float64)
        factor = inputs[2].astype(np.float64) if len(inputs) > 2 else 1.0
        with np.errstate(all="ignore"):
            outputs[0][...] = rows_of(y_true, y_pred) * factor
            if len(outputs) > 1:
                found = slopes(y_true, y_pred) if exact is None else exact(
                    shaped(y_true), shaped(y_pred))
                factor = factor * (weight / max(len(y_pred), 1) if mean else weight)
                if np.shape(found) not in (y_pred.shape, shaped(y_pred).shape):
                    raise ValueError(
                        f"`gradient` of {where} must return shape {shaped(y_pred).shape}. "
                        f"Received: shape {np.shape(found)}"
                    )
                outputs[1][...] = np.reshape(found, y_pred.shape) * np.reshape(factor, (-1, 1))

    inputs = [prediction, labels] + ([] if sample_weight is None else [sample_weight])
    outputs = builder.python(step, inputs, [1, columns] if gradient else [1], name=loss.name,
                             phase="loss", roles=["row", "gradient"], repeat=repeat)
    builder.begin_at(outputs[0], "mean" if mean else "sum", weight)


def lower_own_metrics(builder, model, outputs) -> None:
    """Have each step end with the `compute_metrics` that a model of one's own defines.

    Parameters
    ----------
    model : Model
    outputs : list of (prediction, labels, sample_weight, port)
        Buffers of each output.
    """
    inputs = [b.index for b in builder.buffers if b.role == "input"]
    shapes = [builder.shape(index) for index in inputs]
    kept: list = []
    given = list(inputs)
    for prediction, labels, weight, _ in outputs:
        given += [builder.packed(prediction), labels] + ([] if weight is None else [weight])

    def keep(arrays, results):
        arrays = [np.array(a) for a in arrays]
        kept[:] = [[a.reshape(len(a), *shape) for a, shape in
                    zip(arrays, shapes, strict=False)]]
        rest = iter(arrays[len(inputs):])
        for _, labels, weight, port in outputs:
            repeat = builder_repeats[labels]
            kept.append((_shaped(next(rest), port.shape[1:], 1),
                         _shaped(next(rest), port.shape[1:], repeat),
                         None if weight is None else next(rest).reshape(-1)))

    def compute(arrays, results):
        x, *rest = kept
        model.measure(x, *zip(*rest, strict=True))

    builder_repeats = {labels: builder.buffers[labels].repeat for _, labels, _, _ in outputs}
    builder.python(keep, given, [], name="compute_metrics", phase="loss")
    builder.at_end("compute_metrics", compute, "compute_metrics")


# -- metrics -------------------------------------------------------------------------------------


def lower_metric(builder, metric, name: str, sample: tuple, prediction: int, labels: int,
                 sample_weight: int | None) -> None:
    """Add a metric whose `update_state` is Python; the metric itself keeps what it adds up."""

    def step(inputs, outputs):
        y_pred, y_true, *weight = inputs
        weight = [w.reshape(-1, *sample[:-1]) if len(w) == len(y_pred) and repeat > 1 else w
                  for w in weight]
        metric.update_state(_shaped(y_true, sample, repeat), _shaped(y_pred, sample, repeat),
                            *weight)

    prediction = builder.beside(prediction, labels)
    repeat = builder.buffers[prediction].repeat
    inputs = [prediction, labels] + ([] if sample_weight is None else [sample_weight])
    builder.python(step, inputs, [], name=name, phase="loss")
    builder.totals.append(name)
