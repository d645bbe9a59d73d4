"""The backward pass: from the gradients of the losses to those of every trainable parameter.

What one operation passes back says the table in `adjoints`; here is what they share: which buffer
holds which gradient, who may write over it, and how several become their sum.
"""

from __future__ import annotations

from .adjoints import ADJOINTS
from .buffers import Buffers


class Backward(Buffers):
    """The part of a builder that appends the backward operations."""

    def backward(self):
        """Append the operations that compute the gradient of every trainable parameter.

        Call it after `fuse`, so that the adjoints are those of the fused operations.

        A buffer that several operations read gets the sum of what comes back from them.  One
        gradient may be that of several buffers (those that an ``add`` joins): an adjoint writes
        over it only where `_free` says that nobody needs it any more.
        """
        gradients = {}
        needed = self._needed()
        for op in [self.ops[i] for i in self._loss_ops]:
            self._accumulate(gradients, op.inputs[0], op.outputs[1])
        for op in [op for op in reversed(self.ops) if op.phase == "forward"]:
            found = [i for i in op.outputs if i in gradients]
            if not found or not needed.intersection(op.outputs):
                continue
            for index in found:
                self._holders[gradients[index]] -= 1
            ADJOINTS[op.op](self, op, gradients, needed)
            for index in found:
                del gradients[index]

    def _needed(self):
        """Buffers that depend on a trainable parameter, and those parameters."""
        needed = set(self._trainable)
        for op in self.ops:
            if op.phase == "forward" and needed.intersection(op.inputs):
                needed.update(op.outputs)
        return needed

    def _gradient_like(self, index):
        buffer = self.buffers[index]
        if buffer.role != "parameter":
            return self._new(f"d{buffer.name}", buffer.columns, "gradient",
                             repeat=buffer.repeat)
        gradient = self._new(f"d{buffer.name}", buffer.columns, "parameter_gradient",
                             rows=buffer.rows, step=buffer.pitch, offset=buffer.offset)
        if index in self._graded:  # a further use; `_emit` adds it to that of the first
            self._spare[gradient] = self._graded[index]
            self.buffers[gradient] = self.buffers[gradient]._replace(offset=None)
        else:
            self._graded[index] = gradient
        return gradient

    def _emit_backward(self, op, inputs, like, **attributes):
        """Emit an operation of the backward pass; its result has the form of the buffer `like`."""
        result = self._gradient_like(like)
        self._emit(op, inputs, (result,), "backward", **attributes)
        return result

    def _free(self, gradient):
        """Whether the adjoint at work is the last to need a gradient, and may write there."""
        return self._holders[gradient] == 0 and gradient not in self._kept

    def _or_new(self, gradient):
        """The gradient itself where it is free, else a new buffer of its shape."""
        if self._free(gradient):
            return gradient
        return self._another(gradient)

    def _another(self, gradient):
        """A new buffer of the form of a gradient."""
        buffer = self.buffers[gradient]
        return self._new(buffer.name, buffer.columns, "gradient", repeat=buffer.repeat)

    def _accumulate(self, gradients, index, gradient):
        """Let `gradient` be the gradient of a buffer, or a summand of it."""
        if index not in gradients:
            gradients[index] = gradient
            self._holders[gradient] += 1
            return
        before = gradients[index]
        self._holders[before] -= 1
        total = self._or_new(before)
        self._emit("add", (before, gradient), (total,), "backward")
        gradients[index] = total
        self._holders[total] += 1
