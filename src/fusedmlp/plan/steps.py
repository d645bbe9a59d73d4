"""Operations on the steps of samples: masks, what they keep, pooling.

A sample of shape (..., steps, columns) has as many steps as there are elements in front of the
last axis, and a mask one number for each: 0 for a step that is left out.
"""

from __future__ import annotations

import math

from .buffers import Buffers


class Steps(Buffers):
    """The part of a builder for masks and for pooling over steps."""

    def step_mask(self, x, value, steps, name="mask"):
        """1 for each step of `x` with an element that is not `value`, else 0.

        Parameters
        ----------
        x : int
        value : float
        steps : int
            Of a sample, which is cut into so many equal parts.

        Returns
        -------
        int
            Buffer with `steps` columns.
        """
        root = self._of_steps(x, steps)
        key = (root, repr(float(value)), steps)
        if key not in self._masks:
            mask = self._masks[key] = self._new(name, steps)
            self._emit("step_mask", (root,), (mask,), steps=steps, value=float(value))
        return self._masks[key]

    def keep_steps(self, x, mask, name="keep_steps"):
        """`x` in the steps that the mask keeps, 0 in the others."""
        steps = self.size(mask)
        root = self._of_steps(x, steps)
        y = self._like(x, root, name)
        self._emit("keep_steps", (root, self.packed(mask)), (y,), steps=steps)
        return y

    def pool(self, x, kind, mask=None, name="pool"):
        """The mean over the steps that the mask keeps, or the largest of all: (columns,).

        Parameters
        ----------
        x : int
        kind : {"mean", "max"}
        mask : int, optional
            For the mean.
        """
        shape = self.shape(x)
        steps = math.prod(shape[:-1])
        y = self._new(name, shape[-1])
        inputs = (self._of_steps(x, steps),) if mask is None else (
            self._of_steps(x, steps), self.packed(mask))
        self._emit("pool", inputs, (y,), steps=steps, kind=kind)
        return y

    def _of_steps(self, x, steps):
        """The buffer of `x` as it is where a sample is one row or one for each step."""
        root = self._views.get(x, x)
        return root if self.buffers[root].repeat in (1, steps) else self.packed(x)
