"""The builder that layers describe themselves to, put together of its parts."""

from __future__ import annotations

from .arithmetic import Arithmetic
from .data import Plan
from .fusion import Fusion
from .layer_operations import LayerOperations
from .objective import Objective
from .observing import Observing
from .penalties import Penalties
from .steps import Steps
from .updates import Updates


class Builder(LayerOperations, Arithmetic, Steps, Objective, Penalties, Updates, Fusion,
              Observing):
    """Collects the operations of a plan.

    Layers call the forward methods (`dense`, `activation`, `dropout`, ...), each of which takes
    and returns buffer numbers; then `loss`, `metric`, `backward` and `update` add the rest, and
    `finish` fuses and returns the plan.

    Parameters
    ----------
    batch_size : int
    dtype : {"float32", "float64"}
    training : bool
        Whether layers that differ in training (dropout) are to be lowered as in training.
    """

    def finish(self, outputs, *, optimizer=None, optimizer_params=(), parameter_size=0,
               trainable_size=0, observe=0, below=None):
        """Fuse, add backward and update operations where there is a loss to train, and return.

        Parameters
        ----------
        outputs : sequence of int
            Buffers that the model returns.
        optimizer : str or callable, optional
            Row of the optimizer, whose hyperparameters are `optimizer_params`, or a function that
            appends its operations to the builder; without it the plan only evaluates.
        observe : int
            Steps from one that is observed to the next; 0 for a plan that doesn't observe.
        below : callable (activation, params) -> float, optional
            Up to which absolute value a slope counts as 0; needed where the plan observes.
        """
        observations, observed = [], []
        if not self.totals and Plan.draws.fget(self):
            self.totals.append("")  # runs as a step of training does
        outputs = [self._views.get(i, i) for i in outputs]
        if "loss" in self.totals:
            self._penalize(optimizer is not None)
        self.fuse(() if "loss" in self.totals else tuple(outputs))
        if optimizer is not None:
            self.backward()
            self._fuse_backward()
            self._penalize_gradients()
            if observe:
                observations, observed = self._observe(observe, below)
            if callable(optimizer):
                optimizer(self)
            else:
                self.update(optimizer, optimizer_params)
                self.project()
            first = len(observations) - len(observed)
            for record, parameter in enumerate(observed, first):
                self._emit("observe_update", (parameter,), (), "observe", record=record,
                           every=observe)
        self.finish_steps()
        return self._compact(outputs, parameter_size, trainable_size, tuple(observations))

    def _compact(self, outputs, parameter_size, trainable_size, observations):
        """Number the buffers that are left from 0 on."""
        gradient_size = trainable_size
        for buffer in self.buffers:
            if buffer.role == "parameter_gradient" and buffer.offset is None:
                self.buffers[buffer.index] = buffer._replace(offset=gradient_size)
                gradient_size += buffer.rows * buffer.pitch
        used = sorted({*(i for op in self.ops for i in (*op.inputs, *op.outputs)),
                       *self._graded, *self._graded.values()})
        number = {old: new for new, old in enumerate(used)}
        buffers = tuple(self.buffers[old]._replace(index=new) for old, new in number.items())
        for buffer in buffers:
            if buffer.role == "parameter_gradient" and buffer.offset < trainable_size and (
                    buffer.offset + buffer.rows * buffer.pitch > trainable_size):
                raise ValueError(
                    f"Argument `trainable_size` must cover every trainable parameter: expected at "
                    f"least {buffer.offset + buffer.rows * buffer.pitch} for {buffer.name!r}. "
                    f"Received: {trainable_size}"
                )
        ops = tuple(
            op._replace(inputs=tuple(number[i] for i in op.inputs),
                        outputs=tuple(number[i] for i in op.outputs))
            for op in self.ops
        )
        return Plan(buffers, ops, self.batch_size, self.dtype,
                    tuple(number[i] for i in self.inputs),
                    tuple(number[i] for i in outputs if i in number),
                    tuple(self.totals), parameter_size, trainable_size, gradient_size,
                    observations)
