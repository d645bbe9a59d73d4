"""Operations that write down what activations, gradients and updates are in a step."""

from __future__ import annotations

from .. import spec
from .buffers import Buffers
from .data import Observation


class Observing(Buffers):
    """The part of a builder for plans that observe."""

    def layer_output(self, index, layer):
        """Let a buffer be the output of the layer of that name, unless it is another's already."""
        self.layer_outputs.setdefault(self._views.get(index, index), layer)

    def _observe(self, every, below):
        """Append the operations that write down what activations and gradients are.

        A layer whose output is no longer computed, such as a softmax that is fused with its loss,
        is observed by what its operation reads.
        """
        shown = {}  # buffer -> name of its layer
        for index, layer in self.layer_outputs.items():
            while index in self._dropped_activations:
                index = self._dropped_activations[index]
            shown.setdefault(index, layer)
        logits = {self.ops[i].inputs[0] for i in self._loss_ops}
        found, units = [], 0

        def emit(kind, layer, inputs, name="linear", params=(), first=0):
            buffer = self.buffers[inputs[0]]
            self._emit("observe", inputs, (), "observe", record=len(found), every=every,
                       units=first, activation=name, params=params, below=below(name, params))
            found.append(Observation(kind, layer, buffer.name, buffer.columns, name, params, first))

        for op in [op for op in self.ops if op.phase == "forward"]:
            for index in op.outputs:
                if index in self._errors:
                    kernel = self.buffers[op.inputs[1]].name
                    emit("error", self.owners.get(kernel, kernel), (self._errors[index],))
                if index not in shown:
                    continue
                name, saved = self._observed_slope(op, index, logits)
                params = () if name == "linear" else tuple(op.attributes["params"])
                emit("activation", shown[index], (index, *saved), name, params, units)
                units += self.columns(index) if name != "linear" else 0
        parameters = sorted(self._graded, key=lambda i: self.buffers[i].offset)
        for parameter in parameters:
            self._emit("observe_parameter", (parameter, self._graded[parameter]), (), "observe",
                       record=len(found), every=every)
            name = self.buffers[parameter].name
            found.append(Observation("parameter", self.owners.get(name, name), name,
                                     self.buffers[parameter].columns))
        return found, parameters

    def _observed_slope(self, op, index, logits):
        """The activation that gave a buffer, and what its derivative reads; "linear" for none.

        One whose input the loss reads by itself has no part in the backward pass.
        """
        name = op.attributes.get("activation", "linear")
        if (op.op not in ("dense", "sparse_dense", "activation") or index != op.outputs[0]
                or spec.ACTIVATIONS[name].kind != "elementwise" or name == "linear"
                or (op.op == "activation" and op.inputs[0] in logits)):
            return "linear", ()
        if spec.ACTIVATIONS[name].reads == "y":
            return name, (index,)
        return name, (op.inputs[0] if op.op == "activation" else op.outputs[1],)
