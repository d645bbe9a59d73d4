"""Where a loss that is not finite began."""

from __future__ import annotations

import numpy as np

__all__ = ["origin"]

_DATA = {"input": "in the input data `x`", "labels": "in the targets `y`",
         "weight": "in the sample weights"}


def origin(plan, executor, owners: dict[str, str]) -> str:
    """A clause that says where the first infinity or NaN of the last step is, in plan order.

    Parameters
    ----------
    plan : fusedmlp.plan.Plan
    executor
        Whose last step gave a loss that is not finite.
    owners : dict of str to str
        Names of layers by names of their buffers.
    """
    for op in plan.ops:
        if op.phase in ("backward", "update"):
            break
        for index in op.outputs:
            buffer = plan.buffers[index]
            if buffer.role == "gradient" or buffer.dtype == "int64":
                continue
            if np.isfinite(executor.buffer(index)).all():
                continue
            if buffer.role in _DATA:
                return _DATA[buffer.role]
            if buffer.name in owners:
                return f"in the output of layer {owners[buffer.name]!r}"
            return "in the loss itself, with all layers' outputs finite"
    return "in the sum over the batch"
