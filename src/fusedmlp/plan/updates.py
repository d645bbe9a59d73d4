"""What follows the gradients in a step: accumulation, clipping, the optimizer, averages."""

from __future__ import annotations

from .. import spec
from .backward import Backward


class Updates(Backward):
    """The part of a builder that optimizers call."""

    def graded(self):
        """Offsets of the parameters that have a gradient, in the order of the arena."""
        return tuple(sorted(self.buffers[i].offset for i in self._graded))

    def outside_gradient(self, parameter):
        """Take the gradient of a parameter from what the caller writes into the gradient arena."""
        self._graded[parameter] = self._gradient_like(parameter)

    def collect(self, slot, every):
        """Append the accumulation of gradients over `every` steps in the state array `slot`."""
        self._emit("collect", (), (), "update", slot=slot, every=every,
                   parameters=self.graded())

    def clip(self, kind, limit, every=1):
        """Append the clipping of gradients: `kind` is "value", "norm" or "global_norm"."""
        self._emit("clip", (), (), "update", kind=kind, limit=float(limit), every=every,
                   parameters=self.graded())

    def update(self, optimizer, params, *, parameters=None, slots=None, exempt=None, rate=1.0,
               every=1):
        """Append the optimizer's update of parameters, by default of all that have a gradient.

        Parameters
        ----------
        optimizer : str
            A row of the optimizers.
        params : sequence of float
            Its hyperparameters in the row's order.
        parameters : sequence of int, optional
            Offsets in the arena.
        slots : sequence of (int, sequence of int), optional
            For each of the row's slots the number of its state array and the offsets of the
            parameters' parts, by default arrays in the row's order laid out as the arena.
        exempt : sequence of bool, optional
            Whether weight decay spares a parameter.
        rate : float
            Factor of the learning rate.
        every : int
            Steps per update.
        """
        parameters = self.graded() if parameters is None else tuple(parameters)
        if slots is None:
            count = len(spec.OPTIMIZERS[optimizer].slots)
            slots = tuple((number, parameters) for number in range(count))
        exempt = (False,) * len(parameters) if exempt is None else tuple(exempt)
        self._emit("update", (), (), "update", optimizer=optimizer,
                   params=tuple(map(float, params)), rate=float(rate), every=every,
                   parameters=parameters, slots=tuple(slots), exempt=exempt)

    def average(self, slot, momentum, overwrite=0, every=1):
        """Append the moving average of the parameters in the state array `slot`."""
        self._emit("average", (), (), "update", slot=slot, momentum=float(momentum),
                   overwrite=overwrite, every=every, parameters=self.graded())
