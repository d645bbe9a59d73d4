"""What `compile` asks for: losses, metrics, their names, and their numbers.

A model with one output has one loss and a list of metrics; one with several has them for each
output, and the loss is the sum of all, each times its weight.  "accuracy" and "crossentropy" stand
for different functions depending on the shape of the targets, as in Keras, so an `Objective` is
bound to shapes before it is lowered.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import numpy as np

from .. import checks, losses, metrics, spec
from .own import (
    ModelLoss,
    Target,
    lower_loss,
    lower_metric,
    lower_own_metrics,
    lower_total,
)
from .ports import Port, per_port
from .weighing import Weighing

__all__ = ["BoundObjective", "BoundOutput", "Objective"]


class Objective:
    """Losses and metrics as they were asked for.

    Parameters
    ----------
    loss : str, Loss, callable, config or None
        Or a list or dict with one of these for each output; one alone is that of each.
    loss_weights : float, list or dict, optional
        Factors of the losses.
    metrics, weighted_metrics : list, tuple, dict or None
        Names, metrics or functions; only the second kind heeds sample weights.  For several outputs
        a list with one of these, or a list of such, for each; or a dict.

    Raises
    ------
    ValueError, TypeError
        If a name is unknown or something is none of these.
    """

    def __init__(self, loss=None, loss_weights=None, metrics=None, weighted_metrics=None):
        self.loss = _single(loss)
        self.loss_weights = _single(loss_weights)
        for argument, value in (("metrics", metrics), ("weighted_metrics", weighted_metrics)):
            if value is not None and not isinstance(value, (list, tuple, Mapping)):
                raise ValueError(
                    f"Argument `{argument}` must be a list, tuple or dict. Received: {value!r} "
                    f"of type {type(value).__name__}"
                )
        self.metrics, self.weighted_metrics = metrics, weighted_metrics
        self._bound: dict[tuple, BoundObjective] = {}
        self.latest: BoundObjective | None = None
        self.owner: Any = None  # the model, which may have metrics of its own
        self.asked = self  # what `compile` was given, where the model computes the loss itself
        self._check()

    def _check(self):
        """Tell unknown names now, not at the first fit."""
        for identifier in _leaves(self.loss):
            _named("loss", losses.resolve, identifier, (1,), (1, 2))
        for weight in _leaves(self.loss_weights):
            if weight is not None:
                checks.number(weight, "loss_weights")
        for argument, asked in (("metrics", self.metrics),
                                ("weighted_metrics", self.weighted_metrics)):
            optional = isinstance(asked, Mapping) or _nested(asked)
            for identifier in _leaves(asked or []):
                if identifier is not None or not optional:
                    _named(argument, metrics.resolve, identifier, (1,), (1, 2))

    def bind(self, shapes: Sequence[tuple | None] | None, ports: Sequence[Port],
             real: Sequence[bool] = (), alone: bool = False) -> BoundObjective:
        """This objective for targets of these shapes, one for each output.

        Without shapes the most likely ones are assumed: what was bound last, else what the losses
        expect.  `real` says which targets are floating-point numbers, `alone` whether those of the
        first output are for all of several, whose loss the model computes itself.

        Raises
        ------
        ValueError
            If losses, weights or metrics are not one for each output.
        """
        if shapes is None:
            if self.latest is not None and self.latest.ports == tuple(ports):
                return self.latest
            asked = per_port(self.loss, ports, "loss")
            shapes = [_likely(loss, port) for loss, port in zip(asked, ports, strict=True)]
        real = tuple(real) or (False,) * len(ports)
        key = (tuple(ports), alone and shapes[0], tuple(
            None if shape is None else (losses.kind_of_labels(shape, (1, *port.shape[1:])),
                                        (one or len(port.shape) > 2) and prod(shape[1:]))
            for shape, port, one in zip(shapes, ports, real, strict=True)))
        bound = self._bound.get(key)
        if bound is None:
            bound = self._bound[key] = BoundObjective(self, shapes, ports, real, alone)
        self.latest = bound
        return bound

    def terms(self, ports: Sequence[Port]) -> list[tuple[Any, float]]:
        """What was asked for as the loss of each output, or None, and its factor."""
        asked = per_port(self.loss, ports, "loss")
        return list(zip(asked, _weights(self.loss_weights, asked, ports), strict=True))

    def get_config(self) -> dict[str, Any]:
        """The arguments of `compile` that make an equal objective."""
        return {
            "loss": _described(self.asked.loss, losses.serialize),
            "loss_weights": _described(self.asked.loss_weights, lambda weight: weight),
            "metrics": _described(self.metrics, metrics.serialize),
            "weighted_metrics": _described(self.weighted_metrics, metrics.serialize),
        }


class BoundOutput:
    """What is asked of one output.

    Attributes
    ----------
    port : Port
    loss : Loss or None
    weight : float
        Factor of its loss.
    metrics : list of Metric
    kinds : tuple of str
        Kinds of label arrays that a plan takes, such as "classes" and "dense", in its order.
    ignore_class : int or None
    own_columns : int
        Of targets of the kind "own", which have other columns than the prediction.
    own_shape : tuple or None
        Of a sample of targets that are for all outputs.
    steps, columns : int
        Of how many rows a sample is for losses and metrics, and how many columns they have: one
        row for each step, what lies in front of the last axis, where that matters.
    """

    def __init__(self, port: Port, shape: tuple | None, loss, weight, metrics_: list,
                 in_python: bool = False, real: bool = False, alone: bool = False):
        self.port, self.weight = port, weight
        shapes = (shape or (1,), ((shape or (1,))[0], *port.shape[1:]))
        self.loss = None if shape is None else losses.resolve(loss, *shapes)
        if shape is None and (loss is not None or metrics_):
            raise ValueError(
                f"Argument `y` must hold the targets of output {port.name!r}, which has a loss or "
                "metrics. Received: None"
            )
        self.metrics = [metrics.resolve(m, *shapes) for m in metrics_]
        self.in_python = "classes" if losses.kind_of_labels(*shapes) == "classes" else "dense"
        self.own_columns = prod(shapes[0][1:])
        if real and len(port.shape) == 2 and self.own_columns != port.columns:
            self.in_python = "own"
        misfits = (len(port.shape) > 2 and self.own_columns != port.columns
                   and shapes[0][1 : len(port.shape) - 1] != port.shape[1:-1])
        if misfits and (real or self.own_columns == 1):  # a function may do without them
            self.in_python = "own" if real else "groups"
        self.own_shape = None
        if alone and shape is not None:
            self.own_shape = shape[1:]
            self.in_python = "own" if real or self.own_columns > 1 else "groups"
        found = [] if self.loss is None else [self.labels_of(self.loss)]
        found += [self.labels_of(m) for m in self.metrics]
        found += [self.in_python] if in_python and shape is not None else []
        self.kinds = tuple(dict.fromkeys(found))
        self.ignore_class = getattr(self.loss, "ignore_class", None)
        self.steps, self.columns = 1, port.columns
        if len(port.shape) > 2 and (
                port.masked or port.weighed or "classes" in self.kinds
                or any(map(_of_steps, (self.loss, *self.metrics)))):
            self.steps, self.columns = prod(port.shape[1:-1]), port.shape[-1]

    def labels_of(self, wanted) -> str:
        """The kind of labels that a loss or a metric gets; in Python it is what is there."""
        return self.in_python if in_python(wanted) else wanted.labels

    def wanted_by(self, kind: str) -> str:
        """Who wants labels of `kind`, for messages."""
        asking = self._asking(kind)
        if asking is not None and asking is not self.loss:
            return f"metric {asking.name!r}"
        if self.loss is not None and self.labels_of(self.loss) == kind:
            return f"loss {self.loss.name!r}"
        return next((f"metric {m.name!r}" for m in self.metrics if self.labels_of(m) == kind),
                    "a method of the model")

    def interval(self, kind: str) -> tuple[float, float] | None:
        """Where targets of `kind` must lie; None where any number will do."""
        asking = self._asking(kind)
        return None if asking is None else spec.LOSSES[asking.row].accepts

    def _asking(self, kind):
        """The first of the loss and the metrics that wants targets of `kind` in an interval."""
        for item in (self.loss, *self.metrics):
            row = spec.LOSSES.get(getattr(item, "row", ""))
            if row is not None and row.accepts and kind == item.labels in ("dense", "signs"):
                return item
        return None


class BoundObjective:
    """Losses and metrics for targets of one kind for each output.

    Attributes
    ----------
    ports : tuple of Port
    outputs : list of BoundOutput
    metrics : list of (str, Metric, bool, int)
        Unique name, metric, whether it heeds sample weights, and the number of its output.
    names : tuple of str
        "loss", the losses of the outputs where there are several, and the names of the metrics: in
        the order of a plan's totals.
    """

    def __init__(self, objective: Objective, shapes: Sequence[tuple | None],
                 ports: Sequence[Port], real: Sequence[bool], alone: bool = False):
        self.ports, self._owner, self._tracked = tuple(ports), objective.owner, []
        whole = isinstance(objective.loss, ModelLoss)
        self.own_loss, self.alone = objective.loss if whole else None, alone
        asked = per_port(None if whole else objective.loss, ports, "loss")
        weights = _weights(objective.loss_weights, asked, ports)
        plain = _metrics_of(objective.metrics, ports, "metrics")
        heeding = _metrics_of(objective.weighted_metrics, ports, "weighted_metrics")
        self.outputs = [
            BoundOutput(port, shape, loss, weight, one + other,
                        whole or (self._owner is not None and self._owner.computes_metrics), floats,
                        alone)
            for port, shape, loss, weight, one, other, floats in
            zip(self.ports, shapes, asked, weights, plain, heeding, real, strict=True)]
        self.metrics = []
        seen: dict[str, int] = {}
        several = len(self.ports) > 1
        for weighted in (False, True):
            for number, output in enumerate(self.outputs):
                count = len(plain[number])
                for metric in output.metrics[count:] if weighted else output.metrics[:count]:
                    prefix = f"{output.port.name}_" if several else ""
                    name = _unique(prefix, metric.name, weighted, seen)
                    self.metrics.append((name, metric, weighted, number))
        with_loss = [output for output in self.outputs if output.loss is not None]
        self.loss_names = tuple(
            f"{output.port.name}_loss" for output in with_loss) if len(with_loss) > 1 else ()
        self.names = ("loss", *self.loss_names, *(name for name, *_ in self.metrics))

    @property
    def in_order(self) -> tuple[str, ...]:
        """The names as `evaluate` returns numbers: for several outputs metrics by the alphabet."""
        if len(self.ports) == 1:
            return self.names
        head = 1 + len(self.loss_names)
        return self.names[:head] + tuple(sorted(self.names[head:]))

    @property
    def by_batch(self) -> bool:
        """Whether the numbers for a set of rows depend on how it is cut into batches."""
        if self.own_loss is not None:
            return True
        if self._owner is not None and self._owner.computes_metrics:
            return True
        if any(in_python(wanted) for o in self.outputs for wanted in (o.loss, *o.metrics)
               if wanted is not None):
            return True  # who knows
        return any(o.loss is not None
                   and (o.loss.by_batch or o.port.masked
                        or o.loss.reduction in ("sum", "mean_with_sample_weight"))
                   for o in self.outputs)

    def lower(self, builder, predictions: Sequence[int], labels: Sequence[dict[str, int]],
              sample_weights: Sequence[int | None], gradient: bool,
              masks: Sequence[int | None] | None = None) -> None:
        """Add losses and metrics to a plan under construction.

        Parameters
        ----------
        builder : fusedmlp.plan.Builder
        predictions, labels, sample_weights : sequence
            Buffers for each output; those of the labels by their kind.
        gradient : bool
            Whether the plan trains.
        masks : sequence, optional
            Buffers of the masks of the outputs, or None.
        """
        totals = iter(self.loss_names)
        weighing = [Weighing(builder, output.steps, weight, mask) for output, weight, mask in
                    zip(self.outputs, sample_weights, masks or [None] * len(predictions),
                        strict=True)]
        predictions = [
            prediction if output.steps == 1 else builder.formed(prediction, output.columns)
            for output, prediction in zip(self.outputs, predictions, strict=True)]
        for output, prediction, kinds, weights in zip(self.outputs, predictions, labels, weighing,
                                                      strict=True):
            if output.loss is not None:
                builder.loss_total = next(totals, None)
                targets = kinds[output.labels_of(output.loss)]
                arguments = (prediction, targets, weights.of_loss(output.loss, targets),
                             output.weight, gradient)
                if in_python(output.loss):
                    lower_loss(builder, output.loss, output.port.shape[1:], *arguments)
                else:
                    output.loss.lower(builder, *arguments)
                builder.loss_total = None
        if self.own_loss is not None:
            lower_total(builder, self.own_loss, [
                Target(output.port.shape[1:], prediction, kinds.get(output.in_python),
                       output.own_shape)
                for output, prediction, kinds in zip(self.outputs, predictions, labels, strict=True)
            ], sample_weights[0], self.alone, gradient)
        builder.penalize_activities(gradient)
        if "loss" not in builder.totals:
            raise ValueError("There is no loss: give `compile()` the argument `loss`, or have a "
                             "layer call `add_loss`")
        for name, metric, weighted, number in self.metrics:
            output = self.outputs[number]
            arguments = (predictions[number], labels[number][output.labels_of(metric)],
                         weighing[number].of_metric(metric, weighted))
            if in_python(metric):
                lower_metric(builder, metric, name, output.port.shape[1:], *arguments)
            else:
                metric.lower(builder, *arguments)
        if self._owner is not None and self._owner.computes_metrics:
            lower_own_metrics(builder, self._owner, [
                (prediction, kinds[output.in_python], weight, output.port)
                for output, prediction, kinds, weight in
                zip(self.outputs, predictions, labels, sample_weights, strict=True)])

    def begin(self) -> list[dict]:
        """Let metrics that are computed in Python begin anew; what they had, for `resume`."""
        if self._owner is not None:
            self._tracked = self._owner.tracked_metrics()
            self._owner.forget_reported()
        own = self._kept_in_python()
        before = [copy.deepcopy(vars(metric)) for metric in own]
        for metric in own:
            metric.reset_state()
        return before

    def _kept_in_python(self):
        """Metrics whose state is no part of a plan's totals."""
        found = [metric for _, metric, *_ in self.metrics if in_python(metric)]
        return found + self._tracked

    def resume(self, before: list[dict]) -> None:
        """Give metrics that are computed in Python back what they had before `begin`."""
        for metric, state in zip(self._kept_in_python(), before, strict=True):
            vars(metric).update(state)

    def logs(self, totals: np.ndarray) -> dict[str, float]:
        """The numbers by name, from sums and counts in the order of `names`; the model may report
        others."""
        found = self.compiled(totals)
        return found if self._owner is None else self._owner.reported(found, self._tracked)

    def compiled(self, totals: np.ndarray) -> dict[str, float]:
        """The numbers that `compile` was asked for, by name."""
        at = 1 + len(self.loss_names)
        result = {name: total / count if count else 0.0 for name, (total, count) in
                  zip(("loss", *self.loss_names), totals[:at].tolist(), strict=True)}
        for name, metric, _, number in self.metrics:
            columns = self.outputs[number].columns
            rows = 1 if in_python(metric) else metric.rows_of_totals(columns)
            if not in_python(metric):
                metric.load(totals[at : at + rows], columns)
            found = metric.result()
            result[name] = found if np.ndim(found) else float(found)
            at += rows
        return result


def _named(argument, resolve, *arguments):
    """What `resolve` finds; its errors say which argument of `compile` they are about."""
    try:
        return resolve(*arguments)
    except (TypeError, ValueError) as error:
        if str(error).startswith("Argument"):
            raise
        raise type(error)(f"Argument `{argument}` of `compile`: {error}") from None


def in_python(wanted) -> bool:
    """Whether a loss or a metric has no operation in a plan, but Python of its own.

    >>> in_python(losses.MeanSquaredError()), in_python(losses.get(lambda t, p: abs(t - p)))
    (False, True)
    """
    own = wanted.call if isinstance(wanted, losses.Loss) else wanted.update_state
    if not getattr(own, "__module__", "").startswith("fusedmlp."):  # also in a subclass of ours
        return True
    if isinstance(wanted, metrics.Metric):
        return not wanted.in_plan
    return type(wanted).lower is losses.Loss.lower


def _of_steps(wanted) -> bool:
    """Whether the numbers of a loss or metric depend on where the last axis of a sample ends.

    >>> _of_steps(losses.MeanSquaredError()), _of_steps(losses.CategoricalCrossentropy())
    (False, True)
    """
    if wanted is None or in_python(wanted):
        return False
    if getattr(wanted, "row", "") in spec.LOSSES:
        return spec.LOSSES[wanted.row].kind in ("row", "distribution")
    return getattr(wanted, "_kind", "") in spec.SCORES.keys() - {"binary_hits", "equal_hits"}


def _single(value):
    """The element of a list that has one, anything else as it is."""
    return value[0] if isinstance(value, (list, tuple)) and len(value) == 1 else value


def _is_leaf(value):
    return not isinstance(value, (list, tuple, Mapping)) or (
        isinstance(value, Mapping) and "class_name" in value)


def _leaves(value):
    """Identifiers within lists and dicts; a config dict is one."""
    if _is_leaf(value):
        return [value]
    parts = value.values() if isinstance(value, Mapping) else value
    return [leaf for part in parts for leaf in _leaves(part)]


def _nested(value):
    return isinstance(value, (list, tuple)) and any(not _is_leaf(part) for part in value)


def _likely(loss, port):
    """The shape of targets that a loss expects; None where there is no loss."""
    *steps, columns = port.shape[1:] or (1,)
    found = losses.resolve(loss, (1, *steps), (1, *steps, columns))
    return {"dense": (1, *steps, columns), "signs": (1, *steps, columns),
            "halves": (1, *steps, columns // 2)}.get(getattr(found, "labels", ""), (1, *steps))


def _weights(asked, found, ports):
    """A factor for each output."""
    if isinstance(asked, (list, tuple)) and len(asked) != len(ports):
        with_loss = [i for i, loss in enumerate(found) if loss is not None]
        if len(asked) == len(with_loss):  # one for each output that has a loss
            spreaded = dict(zip(with_loss, asked, strict=True))
            asked = [spreaded.get(i) for i in range(len(ports))]
    values = per_port(asked, ports, "loss_weights")
    return [1.0 if w is None else checks.number(w, "loss_weights") for w in values]


def _metrics_of(asked, ports, argument):
    """A list of identifiers for each output."""
    if asked is None or (not _is_leaf(asked) and not len(asked)):
        return [[] for _ in ports]
    if len(ports) == 1:
        if isinstance(asked, Mapping):
            asked = per_port(asked, ports, argument)
        return [[leaf for leaf in _leaves(asked) if leaf is not None or not _nested(asked)]]
    parts = per_port(asked, ports, argument)
    return [[] if part is None else _leaves(part) for part in parts]


def _unique(prefix, name, weighted, seen):
    """The name with its output in front, or with a number or "weighted_" where it is taken."""
    full = prefix + name
    if weighted and full in seen:
        full = f"{prefix}weighted_{name}"
    count = seen.get(full, 0)
    seen[full] = count + 1
    return f"{full}_{count}" if count else full


def _described(value, serialize):
    """Names as they are, objects as their config dicts, within the same lists and dicts."""
    if value is None or isinstance(value, (str, int, float)):
        return value
    if _is_leaf(value):
        return value if isinstance(value, Mapping) else serialize(value)
    if isinstance(value, Mapping):
        return {key: _described(part, serialize) for key, part in value.items()}
    return [_described(part, serialize) for part in value]
