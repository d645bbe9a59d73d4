"""Weights of the rows of a loss: those of samples, of their steps, and the mask of the model."""

from __future__ import annotations

__all__ = ["Weighing"]


class Weighing:
    """What weighs the rows of one output in a plan under construction.

    The mean of a loss is over the rows that the mask keeps, as in Keras, whose `apply_mask`
    multiplies the mask by the number of all rows over that of the rows that count.

    Parameters
    ----------
    builder : fusedmlp.plan.Builder
    steps : int
        Rows of a sample.
    sample_weight, mask : int or None
        Buffers.

    Raises
    ------
    ValueError
        If the mask has not a number for each row.
    """

    def __init__(self, builder, steps: int, sample_weight: int | None, mask: int | None):
        if mask is not None and builder.size(mask) != steps:
            raise ValueError(
                "The mask of an output must have one number for each step, the axes in front of "
                f"the last one, {steps} for each sample. Received: {builder.size(mask)}"
            )
        self._builder, self._steps = builder, steps
        self._weight, self._mask = sample_weight, mask
        self._known: dict[tuple, int | None] = {}

    def of_loss(self, loss, labels: int) -> int | None:
        """The buffer for a loss with these labels; None where every row weighs 1."""
        over = {"sum": "rows", "mean_with_sample_weight": "weights"}.get(
            loss.reduction, "rows" if self._mask is None else "kept")
        return self._rows(self._weight, self._mask, over, labels,
                          getattr(loss, "ignore_class", None))

    def of_metric(self, metric, weighted: bool) -> int | None:
        """The buffer for a metric, of which only some heed the mask."""
        mask = self._mask if metric.heeds_masks else None
        return self._rows(self._weight if weighted else None, mask, "rows")

    def _rows(self, weight, mask, over, labels=None, ignore=None):
        spread = weight is not None and self._steps > 1
        if mask is None and not spread:
            return weight
        if over == "rows":  # the loss itself leaves out what it ignores
            labels = ignore = None
        key = (weight, mask, over, labels, ignore)
        if key not in self._known:
            self._known[key] = self._builder.row_weights(
                self._steps, weight, mask, labels, over=over, ignore_index=ignore)
        return self._known[key]
