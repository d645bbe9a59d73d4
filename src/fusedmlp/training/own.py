"""Losses and metrics of one's own that are Python: steps of the plan on arrays of a batch."""

from __future__ import annotations

import numpy as np

from ..differences import quotient, step_size

__all__ = ["lower_loss", "lower_metric"]



def lower_loss(builder, loss, prediction: int, labels: int, sample_weight: int | None,
               weight: float, gradient: bool) -> None:
    """Add a loss whose `call(y_true, y_pred)` is Python.

    It must give one number for each row.  Its derivative is ``loss.gradient(y_true, y_pred)``, of
    the shape of y_pred, where the loss (or the function that it wraps) has such an attribute; else
    central differences in float64, two calls for each predicted column, for which a row's loss must
    not depend on other rows.
    """
    where = f"loss {loss.name!r}"
    mean = loss.reduction != "sum"
    exact = getattr(loss, "gradient", None) or getattr(getattr(loss, "fn", None), "gradient", None)
    checked = []

    def rows_of(y_true, y_pred):
        values = np.asarray(loss.call(y_true, y_pred), dtype=np.float64)
        if values.ndim == 0 or len(values) != len(y_pred):
            raise ValueError(
                f"{where} must give one number for each row, shape ({len(y_pred)},), as a mean "
                f"with axis=-1 does. Received: shape {values.shape}"
            )
        return values.reshape(len(values), -1).mean(axis=1)

    def slopes(y_true, y_pred):
        if not checked and len(y_pred) > 1:
            alone = rows_of(y_true[:1], y_pred[:1])
            if not np.allclose(alone, rows_of(y_true, y_pred)[:1], 1e-9, equal_nan=True):
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
                found = slopes(y_true, y_pred) if exact is None else exact(y_true, y_pred)
                factor = factor * (weight / max(len(y_pred), 1) if mean else weight)
                if np.shape(found) != y_pred.shape:
                    raise ValueError(
                        f"`gradient` of {where} must return shape {y_pred.shape}. "
                        f"Received: shape {np.shape(found)}"
                    )
                outputs[1][...] = found * np.reshape(factor, (-1, 1))

    columns = builder.columns(prediction)
    inputs = [prediction, labels] + ([] if sample_weight is None else [sample_weight])
    outputs = builder.python(step, inputs, [1, columns] if gradient else [1], name=loss.name,
                             phase="loss", roles=["row", "gradient"])
    builder.begin_at(outputs[0], "mean" if mean else "sum", weight)


# -- metrics -------------------------------------------------------------------------------------


def lower_metric(builder, metric, name: str, prediction: int, labels: int,
                 sample_weight: int | None) -> None:
    """Add a metric whose `update_state` is Python; the metric itself keeps what it adds up."""

    def step(inputs, outputs):
        y_pred, y_true, *weight = inputs
        metric.update_state(y_true, y_pred, *(w for w in weight))

    inputs = [prediction, labels] + ([] if sample_weight is None else [sample_weight])
    builder.python(step, inputs, [], name=name, phase="loss")
    builder.totals.append(name)
