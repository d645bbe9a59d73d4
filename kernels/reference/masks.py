"""Masks of steps, what they keep, and pooling over steps: formula beside code.

A sample has t steps of c elements: arrays are (n, t, c), masks (n, t) with 0 for what is left out.
"""

import numpy as np

__all__ = ["keep_steps", "pool", "pool_grad", "row_weights", "step_mask"]


def step_mask(x, value, out):
    """out = 1 where an element of a step is not `value`, else 0."""
    out[...] = (x != x.dtype.type(value)).any(axis=2)


def keep_steps(x, mask, out):
    """out = x in steps that the mask keeps, else 0."""
    out[...] = np.where(mask[:, :, None] != 0, x, 0)


def _kept(x, mask):
    """Which steps count (n, t, 1), and how many of each sample do (n, 1)."""
    kept = np.ones((*x.shape[:2], 1), bool) if mask is None else mask[:, :, None] != 0
    return kept, kept.sum(axis=1).astype(np.float64)


def pool(x, mask, kind, out):
    """out = sum_k m_k x_k / sum_k m_k, or max_k x_k of all steps; (n, c)."""
    if kind == "max":
        out[...] = x.max(axis=1)
        return
    kept, count = _kept(x, mask)
    with np.errstate(all="ignore"):
        out[...] = np.where(kept, x, 0).sum(axis=1, dtype=np.float64) / count


def pool_grad(dy, x, y, mask, kind, dx):
    """dx_k = dy m_k / sum_k m_k; for the largest, equal parts of dy to the steps that are."""
    with np.errstate(all="ignore"):
        if kind == "max":
            equal = x == y[:, None]
            count = np.maximum(equal.sum(axis=1), 1)
            dx[...] = np.where(equal, (dy / count)[:, None], 0)
            return
        kept, count = _kept(dx, mask)
        dx[...] = np.where(kept, (dy / count)[:, None], 0)


def row_weights(weights, mask, classes, ignore, over, out):
    """Weights of the rows of a loss, out (n, t): `weights` (n, 1), (n, t) or None times the mask.

    Rows of the class `ignore` (classes (n, t) or None) count as masked.  `over` says what the mean
    of the n t rows becomes: itself ("rows"), that over those that the mask keeps ("kept"), or that
    over their weights ("weights"); 0 / 0 is 0.
    """
    there = np.ones(out.shape, bool) if mask is None else mask != 0
    if classes is not None:
        there = there & (classes != ignore)
    with np.errstate(all="ignore"):
        out[...] = np.where(there, 1 if weights is None else weights, 0)
        if over != "rows":
            divisor = (there if over == "kept" else out).sum(dtype=np.float64)
            out *= out.size / divisor if divisor else 0.0
