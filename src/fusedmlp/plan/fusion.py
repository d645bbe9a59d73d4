"""Fewer operations for the same result: what is dropped, and what becomes one with another."""

from __future__ import annotations

from .. import spec
from .buffers import Buffers


class Fusion(Buffers):
    """The part of a builder that rewrites its list of operations."""

    def fuse(self, outputs):
        """Drop operations that nobody reads and fuse elementwise activations into dense ones."""
        self._multiply_sparse()
        while True:
            read = set(outputs).union(*(op.inputs for op in self.ops))
            kept = [op for op in self.ops
                    if op.phase != "forward" or read.intersection(op.outputs)]
            if len(kept) == len(self.ops):
                break
            self._dropped_activations.update(
                (op.outputs[0], op.inputs[0]) for op in self.ops
                if op.op == "activation" and not read.intersection(op.outputs))
            shift = {id(op): i for i, op in enumerate(kept)}
            self._loss_ops = [shift[id(self.ops[i])] for i in self._loss_ops]
            self.ops = kept
        self._fuse_biases(outputs)
        readers = self._readers()
        loss_ops = [self.ops[i] for i in self._loss_ops]
        fused = []
        skip = set()
        for op in self.ops:
            if id(op) in skip:
                continue
            if op.op in ("dense", "sparse_dense") and op.outputs[0] not in outputs:
                users = readers.get(op.outputs[0], [])
                if (len(users) == 1 and users[0].op == "activation"
                        and spec.ACTIVATIONS[users[0].attributes["activation"]].kind
                        == "elementwise"):
                    user = users[0]
                    skip.add(id(user))
                    saved = spec.ACTIVATIONS[user.attributes["activation"]].reads == "x"
                    results = user.outputs + (op.outputs if saved and loss_ops else ())
                    op = op._replace(outputs=results,
                                     attributes={**op.attributes, **user.attributes})
            fused.append(op)
        self.ops = fused
        self._loss_ops = [next(i for i, op in enumerate(fused) if op is old) for old in loss_ops]

    def _multiply_sparse(self):
        """Let products read matrices in compressed rows as they are."""
        dense = {op.outputs[0]: op for op in self.ops if op.op == "densify"}
        for i, op in enumerate(self.ops):
            if op.op == "dense" and op.inputs[0] in dense:
                source = dense[op.inputs[0]]
                self.ops[i] = op._replace(  # whatever the precision, with factors as they are
                    op="sparse_dense", inputs=(*source.inputs, *op.inputs[1:]),
                    attributes={"activation": op.attributes["activation"],
                                "params": op.attributes["params"], **source.attributes})

    def _readers(self):
        """The operations that read each buffer."""
        readers = {}
        for op in self.ops:
            for index in op.inputs:
                readers.setdefault(index, []).append(op)
        return readers

    def _fuse_biases(self, outputs):
        """Turn a product without bias and the addition of a repeated parameter into one op."""
        readers, makers = self._readers(), {op.outputs[0]: op for op in self.ops if op.outputs}
        dropped, changed = set(), {}
        for op in self.ops:
            if op.op != "add" or op.phase != "forward":
                continue
            for product, bias in (op.inputs, op.inputs[::-1]):
                dense, repeat = makers.get(product), makers.get(bias)
                if (dense is not None and repeat is not None and dense.op == "dense"
                        and len(dense.inputs) == 2 and repeat.op == "repeat"
                        and len(readers[product]) == 1 and product not in outputs
                        and id(dense) not in dropped):
                    dropped.add(id(dense))
                    if len(readers[bias]) == 1 and bias not in outputs:
                        dropped.add(id(repeat))
                    changed[id(op)] = dense._replace(inputs=(*dense.inputs, repeat.inputs[0]),
                                                     outputs=op.outputs)
                    break
        if changed:
            loss_ops = [self.ops[i] for i in self._loss_ops]
            self.ops = [changed.get(id(op), op) for op in self.ops if id(op) not in dropped]
            self._loss_ops = [next(i for i, op in enumerate(self.ops) if op is old)
                              for old in loss_ops]

    def _fuse_backward(self):
        """Turn dense_dx followed by the derivative of the activation in front into one op."""
        ops, latest = [], {}  # gradient -> place of the dense_dx that nothing has come after
        for op in self.ops:
            place = latest.pop(op.inputs[0], None) if op.op == "activation_grad" else None
            for index in (*op.inputs, *op.outputs):
                latest.pop(index, None)
            if (place is not None and op.inputs[0] == op.outputs[0]
                    and spec.ACTIVATIONS[op.attributes["activation"]].kind == "elementwise"):
                product = ops[place]
                ops[place] = product._replace(inputs=(*product.inputs, op.inputs[1]),
                                              attributes={**product.attributes, **op.attributes})
                continue
            if op.op == "dense_dx" and len(op.inputs) == 2:
                latest[op.outputs[0]] = len(ops)
            ops.append(op)
        self.ops = ops
