"""Adjoints of the operations on the steps of samples."""

from __future__ import annotations


def keep_steps(builder, op, gradients, needed):
    """y = x where the mask keeps it: dx = dy there, 0 elsewhere."""
    x, mask = op.inputs
    if x in needed:
        dx = builder._emit_backward("keep_steps", (gradients[op.outputs[0]], mask), x,
                                    **op.attributes)
        builder._accumulate(gradients, x, dx)


def pool(builder, op, gradients, needed):
    """Of a mean dy / count for each step that counts, of the largest dy to the steps that are."""
    x, *mask = op.inputs
    if x in needed:
        read = (x, op.outputs[0]) if op.attributes["kind"] == "max" else mask
        dx = builder._emit_backward("pool_grad", (gradients[op.outputs[0]], *read), x,
                                    **op.attributes)
        builder._accumulate(gradients, x, dx)
