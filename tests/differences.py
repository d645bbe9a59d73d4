"""What holds a training step to finite differences of the model's loss."""

from __future__ import annotations

import numpy as np


def hold_step_to_differences(model, variable, *data, h=1e-6, atol=1e-7):
    """One step of SGD with rate 1 moves a variable by minus the slope of the loss of the batch.

    The model computes in float64; its weights are afterwards what they were.
    """
    kept, before = model.get_weights(), variable.numpy()
    slope = np.empty_like(before)
    for index in np.ndindex(before.shape):
        around = []
        for step in (h, -h):
            moved = before.copy()
            moved[index] += step
            variable.assign(moved)
            around.append(model.test_on_batch(*data))
        slope[index] = (around[0] - around[1]) / (2 * h)
    variable.assign(before)
    model.train_on_batch(*data)
    np.testing.assert_allclose(before - variable.numpy(), slope, atol=atol)
    model.set_weights(kept)
