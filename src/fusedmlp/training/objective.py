"""What `compile` asks for: the loss, the metrics, their names, and their numbers.

"accuracy" and "crossentropy" stand for different functions depending on the shape of the targets,
as in Keras, so an `Objective` is bound to shapes before it is lowered.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import checks, losses, metrics, spec

__all__ = ["BoundObjective", "Objective"]


class Objective:
    """Loss and metrics as they were asked for.

    Parameters
    ----------
    loss : str, Loss, callable, dict or None
        Or a list with one of these.
    loss_weights : float, optional
        Factor of the loss, or a list with one.
    metrics, weighted_metrics : list, tuple or None
        Names, metrics or functions; only the second kind heeds sample weights.

    Raises
    ------
    ValueError, TypeError
        If a name is unknown or something is none of these.
    """

    def __init__(self, loss=None, loss_weights=None, metrics=None, weighted_metrics=None):
        self.loss = _single(loss, "loss")
        weight = _single(loss_weights, "loss_weights")
        self.weight = 1.0 if weight is None else checks.number(weight, "loss_weights")
        self.metrics = _listed(metrics, "metrics")
        self.weighted_metrics = _listed(weighted_metrics, "weighted_metrics")
        self._bound: dict[str, BoundObjective] = {}
        self.latest: BoundObjective | None = None
        BoundObjective(self, (1,), 2)  # unknown names are told now, not at the first fit

    def bind(self, targets_shape: tuple | None, columns: int) -> BoundObjective:
        """This objective for targets of a shape and a prediction of `columns`.

        Without a shape the most likely one is assumed: what was bound last, else what the loss
        expects.
        """
        if targets_shape is None:
            if self.latest is not None and self.latest.columns == columns:
                return self.latest
            dense = getattr(losses.resolve(self.loss, (1,), (1, columns)), "labels", "") == "dense"
            targets_shape = (1, columns) if dense else (1,)
        kind = losses.kind_of_labels(targets_shape, (1, columns))
        bound = self._bound.get(kind)
        if bound is None or bound.columns != columns:
            bound = self._bound[kind] = BoundObjective(self, targets_shape, columns)
        self.latest = bound
        return bound

    def get_config(self) -> dict[str, Any]:
        """The arguments of `compile` that make an equal objective."""
        return {
            "loss": _described(self.loss, losses.serialize),
            "loss_weights": self.weight,
            "metrics": [_described(m, metrics.serialize) for m in self.metrics],
            "weighted_metrics": [_described(m, metrics.serialize) for m in self.weighted_metrics],
        }


class BoundObjective:
    """Loss and metrics for one kind of targets and one number of predicted columns.

    Attributes
    ----------
    loss : Loss or None
    metrics : list of (str, Metric, bool)
        Unique name, metric, and whether it heeds sample weights.
    kinds : tuple of str
        Kinds of label arrays that a plan takes, "classes" and "dense", in its order.
    names : tuple of str
        "loss" and the names of the metrics, in the order of a plan's totals.
    """

    def __init__(self, objective: Objective, targets_shape: tuple, columns: int):
        prediction_shape = (targets_shape[0], columns)
        self.columns = columns
        self.weight = objective.weight
        self.loss = losses.resolve(objective.loss, targets_shape, prediction_shape)
        self.metrics = []
        seen: dict[str, int] = {}
        for weighted, asked in ((False, objective.metrics), (True, objective.weighted_metrics)):
            for identifier in asked:
                metric = metrics.resolve(identifier, targets_shape, prediction_shape)
                self.metrics.append((_unique(metric.name, weighted, seen), metric, weighted))
        found = [] if self.loss is None else [self.loss.labels]
        found += [metric.labels for _, metric, _ in self.metrics]
        self.kinds = tuple(dict.fromkeys(found))
        self.names = ("loss", *(name for name, _, _ in self.metrics))
        self.ignore_class = getattr(self.loss, "ignore_class", None)

    @property
    def needs_weights(self) -> bool:
        """Whether a metric heeds sample weights."""
        return any(weighted for _, _, weighted in self.metrics)

    def wanted_by(self, kind: str) -> str:
        """Who wants labels of `kind`, for messages."""
        if self.loss is not None and self.loss.labels == kind:
            return f"loss {self.loss.name!r}"
        return next(f"metric {name!r}" for name, m, _ in self.metrics if m.labels == kind)

    def interval(self, kind: str) -> tuple[float, float] | None:
        """Where the loss wants targets of `kind` to lie; None where any number will do.

        Only the row of a cross-entropy says 0 to 1: its targets are probabilities.  The other rows
        have targets of any size, and what they say is where tests draw from.
        """
        row = spec.LOSSES.get(getattr(self.loss, "row", ""))
        if row is None or kind != "dense" or self.loss.labels != kind:
            return None
        return row.target if row.target == (0.0, 1.0) else None

    def lower(self, builder, prediction: int, labels: dict[str, int], sample_weight: int | None,
              gradient: bool) -> None:
        """Add loss and metrics to a plan under construction."""
        self.loss.lower(builder, prediction, labels[self.loss.labels], sample_weight, self.weight,
                        gradient)
        for _, metric, weighted in self.metrics:
            metric.lower(builder, prediction, labels[metric.labels],
                         sample_weight if weighted else None)

    def logs(self, totals: np.ndarray) -> dict[str, float]:
        """The numbers by name, from sums and counts in the order of `names`."""
        (total, count), *rest = totals.tolist()
        result = {"loss": total / count if count else 0.0}
        for (name, metric, _), (total, count) in zip(self.metrics, rest, strict=True):
            result[name] = metric.finalize(total, count)
        return result


def _single(value, argument):
    """The element of a list that has one, anything else as it is."""
    if isinstance(value, (list, tuple)):
        if len(value) != 1:
            raise ValueError(
                f"Argument `{argument}` must be a single one, because the model has one output. "
                f"Received: {value!r}"
            )
        return value[0]
    return value


def _listed(value, argument):
    if value is None:
        return []
    if not isinstance(value, (list, tuple)):
        raise ValueError(
            f"Argument `{argument}` must be a list or tuple. Received: {value!r} "
            f"of type {type(value).__name__}"
        )
    if len(value) == 1 and isinstance(value[0], (list, tuple)):
        value = value[0]
    return list(value)


def _unique(name, weighted, seen):
    """`name`, or with a number or "weighted_" where it is taken, as in Keras."""
    if weighted and name in seen:
        name = f"weighted_{name}"
    count = seen.get(name, 0)
    seen[name] = count + 1
    return f"{name}_{count}" if count else name


def _described(identifier, serialize):
    """A name as it is, an object as its config dict."""
    return identifier if identifier is None or isinstance(identifier, (str, dict)) \
        else serialize(identifier)
