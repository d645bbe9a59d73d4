"""A plan's operations as launches: one method for each op, arrays in, functions of a stream out.

What a step computes besides the outputs of its operations, sums and the like, lies in memory that
the executor spares for it.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from fusedmlp.spec import OPTIMIZERS

from . import (
    activations,
    arithmetic,
    dense,
    features,
    losses,
    masks,
    memory,
    metrics,
    normalization,
    observing,
    optimizers,
    products,
    random,
    sparse,
    steps,
)
from . import parameters as changes
from .device import vector

__all__ = ["OF_SAMPLES", "OPERATIONS", "Binding", "later"]

_SELU_SCALE, _SELU_ALPHA = 1.0507009873554805, 1.6732632423543772

OPERATIONS = {**arithmetic.OPERATIONS, **normalization.OPERATIONS}
"""Launchers that take a stream, inputs, outputs and the attributes of their op."""

OF_SAMPLES = masks.OPERATIONS
"""Those that are also told how many samples there are."""


def _biases(ops):
    """Which column sums come out of a product's own pass: numbers of the two, by the product's."""
    return {number: number + 1 for number, (op, following) in enumerate(pairwise(ops))
            if op.op == "dense_dw" and following.op == "dense_db"
            and following.inputs[0] == op.inputs[1]}


class Binding:
    """The launches of a step of `rows` rows."""

    def __init__(self, executor, rows, size):
        self.executor, self.plan, self.rows, self.size = executor, executor.plan, rows, size
        self.number = 0  # of the op that is being bound

    def calls(self):
        """All of them in order, each a function of the stream."""
        executor = self.executor
        rates = vector(executor._rates, len(executor._rates))
        found = [later(steps.begin, executor._clock, rates, executor._scalars)]
        with_bias = _biases(self.plan.ops)
        for number, op in enumerate(self.plan.ops):
            if number in with_bias.values():
                continue
            self.number = number
            inputs = [self.view(i) for i in op.inputs]
            outputs = [self.view(i) for i in op.outputs]
            if number in with_bias:
                outputs.append(self.view(self.plan.ops[with_bias[number]].outputs[0]))
            if op.op in OPERATIONS:
                found.append(later(OPERATIONS[op.op], inputs, outputs, **op.attributes))
                continue
            if op.op in OF_SAMPLES:
                found.append(later(OF_SAMPLES[op.op], inputs, outputs, self.rows,
                                    **op.attributes))
                continue
            made = getattr(self, "_" + op.op)(inputs, outputs, **op.attributes)
            found += made if isinstance(made, list) else [made]
        return found

    def view(self, index):
        return self.executor._view(index, self.rows)

    def spare(self, length, dtype=None, name=""):
        """Memory for what this op computes besides its outputs."""
        return self.executor.spare((self.number, name), length, dtype)

    # -- data and products -----------------------------------------------------------------------

    def _gather(self, inputs, outputs, source):
        return self.executor._gather(source, self.size, self.rows)

    def _dense(self, inputs, outputs, activation, params, precision=None):
        return self._product(products.enqueue_dense, precision, *_pad(inputs, 3), activation,
                             params, *_pad(outputs, 2))

    def _dense_dw(self, inputs, outputs, precision=None):
        return self._product(products.enqueue_dense_dw, precision, *inputs, *_pad(outputs, 2))

    def _dense_db(self, inputs, outputs):
        return later(dense.enqueue_dense_db, inputs[0], outputs[0])

    def _dense_dx(self, inputs, outputs, activation, params, precision=None):
        return self._product(products.enqueue_dense_dx, precision, *_pad(inputs, 3), activation,
                             params, outputs[0])

    def _product(self, function, precision, *arguments):
        return later(function, *arguments, precision=precision,
                      workspace=self.executor._workspace, full=self.size)
    def _sparse_dense(self, inputs, outputs, activation, params, source):
        (extents, kernel, *bias), y = inputs, outputs[0]
        z = outputs[-1]
        found = [later(sparse.sparse_product, self.executor._resident[source], extents, kernel,
                        *_pad(bias, 1), z)]
        if activation != "linear":
            found.append(later(activations.enqueue_activation, activation, z, params, y))
        return found

    def _densify(self, inputs, outputs, source):
        return later(sparse.densify, self.executor._resident[source], inputs[0], outputs[0])

    def _sparse_dw(self, inputs, outputs, source):
        return later(sparse.sparse_dw, self.executor._resident[source], *inputs, outputs[0])

    # -- features and steps in Python ------------------------------------------------------------

    def _column_affine(self, inputs, outputs, before, scale, after):
        columns = inputs[0].columns
        constants = [np.broadcast_to(values, columns) for values in (before, scale, after)]
        held = self.executor.constant(np.concatenate(constants), self.plan.dtype)
        return later(features.column_affine, inputs, outputs, held)

    def _feature_norm(self, inputs, outputs, least, invert, center):
        return later(features.feature_norm, inputs, outputs, least, invert, center)

    def _digitize(self, inputs, outputs, boundaries):
        held = self.executor.constant(boundaries, self.plan.dtype)
        return later(features.digitize, inputs, outputs, held)

    def _encode(self, inputs, outputs, depth, kind):
        return later(features.encode, inputs, outputs, depth, kind)

    def _take_columns(self, inputs, outputs, index):
        held = self.executor.constant(index, np.int64)
        return later(features.take_columns, inputs, outputs, held)

    def _put_columns(self, inputs, outputs, index):
        held = self.executor.constant(features.inverse(index, outputs[0].columns), np.int64)
        return later(features.put_columns, inputs, outputs, held)

    def _python(self, inputs, outputs, function, gradient, name, reads):
        op, executor = self.plan.ops[self.number], self.executor

        def call(stream):
            given = tuple(executor.taken(i, self.rows) for i in op.inputs[:reads])
            for array in given:
                array.flags.writeable = False
            results = tuple(np.zeros_like(executor.taken(i, self.rows)) for i in op.outputs)
            function(given, results)
            for i, array in zip(op.outputs, results, strict=True):
                executor.put(i, array)

        return call

    # -- activations and noise -------------------------------------------------------------------

    def _activation(self, inputs, outputs, activation, params):
        return later(activations.enqueue_activation, activation, inputs[0], params, outputs[0])

    def _activation_grad(self, inputs, outputs, activation, params):
        return later(activations.enqueue_activation_grad, activation, *inputs, params, outputs[0])

    def _prelu(self, inputs, outputs):
        return later(activations.enqueue_prelu, *inputs, outputs[0])

    def _prelu_grad(self, inputs, outputs):
        dx, *dalpha = outputs
        spare = dalpha[0] if dalpha else self.spare(inputs[2].columns)
        return later(activations.enqueue_prelu_grad, *inputs, dx, spare)

    def _dropout(self, inputs, outputs, rate, stream, seed):
        return self._dropped(inputs, outputs, rate, stream, seed, 1.0 / (1.0 - rate), (0.0, 0.0))

    def _alpha_dropout(self, inputs, outputs, rate, stream, seed):
        low = -_SELU_SCALE * _SELU_ALPHA
        a = ((1.0 - rate) * (1.0 + rate * low**2)) ** -0.5
        b = -a * low * rate
        return self._dropped(inputs, outputs, rate, stream, seed, a, (a * low + b, b))

    def _dropped(self, inputs, outputs, rate, stream, seed, keep, shift):
        return later(random.enqueue_dropout, inputs[0], rate, self._seed(seed), stream,
                      self.executor._scalars, keep, shift, *outputs)

    def _gaussian_dropout(self, inputs, outputs, stddev, stream, seed):
        return later(random.enqueue_normal, inputs[0], 1.0, stddev, self._seed(seed), stream,
                      self.executor._scalars, True, *outputs)

    def _gaussian_noise(self, inputs, outputs, stddev, stream, seed):
        return later(random.enqueue_normal, inputs[0], 0.0, stddev, self._seed(seed), stream,
                      self.executor._scalars, False, outputs[0], None)

    def _seed(self, seed):
        return self.executor.seed if seed is None else seed

    # -- losses, metrics, penalties --------------------------------------------------------------

    def _softmax_cross_entropy(self, inputs, outputs, label_smoothing, ignore_index, reduction,
                               weight):
        p, labels, sample_weight = _pad(inputs, 3)
        found, gradient, hits = _pad(outputs, 3)
        return self._over_counted(
            lambda scale: later(losses.enqueue_softmax_cross_entropy, p, labels, sample_weight,
                                 label_smoothing, ignore_index, scale, found, gradient, hits),
            labels, sample_weight, ignore_index, reduction, weight, outputs)

    def _row_loss(self, inputs, outputs, loss, params, label_smoothing, ignore_index, reduction,
                  weight):
        p, labels, sample_weight = _pad(inputs, 3)
        return self._over_counted(
            lambda scale: later(losses.enqueue_row_loss, loss, p, labels, sample_weight,
                                 label_smoothing, ignore_index, params, scale, *_pad(outputs, 2)),
            labels, sample_weight, ignore_index, reduction, weight, outputs)

    def _elementwise_loss(self, inputs, outputs, loss, params, label_smoothing, reduction, weight):
        p, labels, sample_weight = _pad(inputs, 3)
        return self._over_counted(
            lambda scale: later(losses.enqueue_elementwise_loss, loss, p, labels, params,
                                 sample_weight, label_smoothing, scale, *_pad(outputs, 2)),
            labels, sample_weight, None, reduction, weight, outputs)

    def _distribution_loss(self, inputs, outputs, loss, params, reduction, weight):
        p, labels, sample_weight = _pad(inputs, 3)
        return self._over_counted(
            lambda scale: later(losses.enqueue_distribution_loss, loss, p, labels, params,
                                 sample_weight, scale, *_pad(outputs, 2)),
            labels, sample_weight, None, reduction, weight, outputs)

    def _overlap_loss(self, inputs, outputs, loss, params, axis, reduction, weight):
        p, labels, sample_weight = _pad(inputs, 3)
        return self._over_counted(
            lambda scale: later(losses.enqueue_overlap_loss, loss, axis, p, labels, params,
                                 sample_weight, scale, *_pad(outputs, 2)),
            labels, sample_weight, None, reduction, weight, outputs)

    def _pair_loss(self, inputs, outputs, loss, params, reduction, weight):
        worked_with = self.spare(losses.pair_statistics(self.rows), np.float64)
        return later(losses.enqueue_pair_loss, loss, *_pad(inputs, 3), reduction == "mean",
                      params, _scale(reduction, weight, self.rows), *_pad(outputs, 2),
                      worked_with)

    def _over_counted(self, loss, labels, sample_weight, ignore_index, reduction, weight, outputs):
        """A loss whose mean is over the rows or weights that count; totals are divided by all."""
        values, gradient = _pad(outputs, 2)[:2]
        ignores = ignore_index is not None and labels.dtype == np.int64
        if reduction in ("sum", "mean_of_all") or (reduction == "mean" and not ignores):
            return loss(_scale(reduction, weight, values.size))
        return [loss(weight), later(
            steps.rescale, labels, ignore_index,
            sample_weight if reduction == "weighted_mean" else None, values, gradient)]

    def _score(self, inputs, outputs, score, params):
        return later(metrics.enqueue_score, score, *inputs, params, *outputs)

    def _tally(self, inputs, outputs, tally, total, options, size):
        executor = self.executor
        held = executor.constant(options)
        return later(metrics.enqueue_tally, tally, *_pad(inputs, 3), held,
                      vector(executor._totals, size, 2 * total))

    def _reduce(self, inputs, outputs, total, reduction, weight, counts):
        executor = self.executor
        values, weights = _pad(inputs, 2)
        return later(steps.reduce, values, weights, self.rows, reduction == "sum", counts,
                      self.plan.totals[total] == "loss", weight, executor._sums, total,
                      executor._clock)

    def _penalty(self, inputs, outputs, total, l1, l2, per_rows):
        executor = self.executor
        return later(steps.penalty, *_pad(inputs, 2), self.rows, l1, l2, per_rows,
                      executor._sums, total, executor._clock)

    def _penalty_grad(self, inputs, outputs, l1, l2, per_rows, adds):
        return later(steps.penalty_grad, *_pad(inputs, 2), self.rows, l1, l2, per_rows, adds,
                      outputs[0])

    def _activity_penalty(self, inputs, outputs, linear, l1, l2):
        return later(changes.activity_penalty, inputs[0], *_pad(outputs, 2), self.rows, linear,
                      l1, l2)

    def _orthogonal_penalty(self, inputs, outputs, total, factor, mode, adds):
        executor, (w,) = self.executor, inputs
        scratch = [self.spare(length, np.float64, name=i)
                   for i, length in enumerate(changes.orthogonal_scratch(w, mode))]
        return later(changes.orthogonal_penalty, w, *_pad(outputs, 1), scratch, self.rows,
                      factor, mode, adds, executor._sums, total, executor._clock)

    # -- parameters besides the update -----------------------------------------------------------

    def _constrain(self, inputs, outputs, **attributes):
        return later(changes.constrain, inputs[0], **attributes)

    def _spectral_norm(self, inputs, outputs, iterations, epsilon):
        left, right = (self.spare(length, np.float64, name=i)
                       for i, length in enumerate(changes.spectral_scratch(inputs[0])))
        return later(changes.spectral_norm, *inputs, left, right, iterations, epsilon)

    def _collect(self, inputs, outputs, slot, every, parameters):
        executor = self.executor
        return [self._over(changes.collect, part, executor._gradient_arena,
                           executor._slot_arenas[slot], every=every)
                for part in self._runs(parameters)]

    def _average(self, inputs, outputs, slot, momentum, overwrite, every, parameters):
        executor = self.executor
        return [self._over(changes.average, part, executor._arena,
                           executor._slot_arenas[slot], every=every, momentum=momentum,
                           overwrite=overwrite)
                for part in self._runs(parameters)]

    def _clip(self, inputs, outputs, kind, limit, every, parameters):
        gradients = self.executor._gradient_arena
        runs = self._runs(parameters, merges=kind != "norm")
        if kind == "value":
            return [self._over(changes.clip_values, run, gradients, every=every,
                               limit=limit) for run in runs]
        counts = [changes.blocks(size) for _, size in runs]
        starts = np.concatenate([[0], np.cumsum(counts)]).tolist()
        sums = self.spare(starts[-1], np.float64)
        found = [self._over(changes.squares, run, gradients, sums=sums, every=every,
                            first=start) for run, start in zip(runs, starts, strict=False)]
        whole = kind == "global_norm"
        for run, start, count in zip(runs, starts, counts, strict=False):
            found.append(self._over(
                changes.clip_norms, run, gradients, sums=sums, every=every,
                first=0 if whole else start, count=starts[-1] if whole else count, whole=whole,
                limit=limit))
        return found

    def _runs(self, offsets, merges=True):
        """Places and sizes of parameters, of those that lie side by side as one."""
        sizes = {b.offset: b.rows * b.pitch for b in self.plan.buffers if b.role == "parameter"}
        runs = []
        for at in sorted(offsets):
            if runs and merges and sum(runs[-1]) == at:
                runs[-1] = runs[-1][0], runs[-1][1] + sizes[at]
            else:
                runs.append((at, sizes[at]))
        return runs

    def _over(self, function, run, *arenas, **named):
        """A launch over a run of some arenas, which is told the rates."""
        at, size = run
        return later(function, *(vector(arena, size, at) for arena in arenas),
                      rates=self.executor._scalars, **named)

    # -- observations ----------------------------------------------------------------------------

    def _observe(self, inputs, outputs, record, every, units, activation, params, below):
        y, *saved = inputs
        sums = self.spare(2 * y.columns, np.float64)
        return later(observing.columns, y, *_pad(saved, 1), sums, self.executor.book(), every,
                      record, units, activation, params, below)

    def _observe_parameter(self, inputs, outputs, record, every):
        return later(observing.parameter, *inputs, *self._kept(inputs[0], record),
                      self.executor.book(), every, record)

    def _observe_update(self, inputs, outputs, record, every):
        return later(observing.update, inputs[0], *self._kept(inputs[0], record),
                      self.executor.book(), every, record)

    def _kept(self, w, record):
        """What an observed parameter was before its update, and sums."""
        size = w.rows * w.pitch
        return (self.executor.spare(("before", record), size),
                self.executor.spare(("sums", record), 2 * changes.blocks(size), np.float64))

    # -- updates ---------------------------------------------------------------------------------

    def _update(self, inputs, outputs, optimizer, params, rate, every, parameters, slots, exempt):
        """One launch for all parameters that lie side by side and are treated alike."""
        if OPTIMIZERS[optimizer].kind != "elementwise":
            return self._whole_updates(optimizer, params, rate, every, parameters, slots, exempt)
        executor = self.executor
        sizes = {b.offset: b.rows * b.pitch for b in self.plan.buffers if b.role == "parameter"}
        places = [(at, *(where[k] for _, where in slots)) for k, at in enumerate(parameters)]
        runs = []  # of [places, elements, exempt]
        for place, free in sorted(zip(places, exempt, strict=True)):
            size = sizes[place[0]]
            if runs and runs[-1][2] == free and all(
                    a + runs[-1][1] == b for a, b in zip(runs[-1][0], place, strict=True)):
                runs[-1][1] += size
            else:
                runs.append([place, size, free])
        held = [executor._slot_arenas[number] for number, _ in slots]
        *params, decay = params
        return [
            later(optimizers.enqueue_update, optimizer, vector(executor._arena, size, place[0]),
                   vector(executor._gradient_arena, size, place[0]),
                   [vector(slot, size, at) for slot, at in zip(held, place[1:], strict=True)],
                   executor._scalars, rate, every, [*params, 0.0 if free else decay])
            for place, size, free in runs
        ]

    def _whole_updates(self, optimizer, params, rate, every, parameters, slots, exempt):
        """The launches of an optimizer that looks at each parameter as a whole."""
        executor, row, found = self.executor, OPTIMIZERS[optimizer], []
        *params, decay = params
        buffers = {b.offset: b for b in self.plan.buffers if b.role == "parameter"}
        for k, at in enumerate(parameters):
            buffer, held = buffers[at], []
            for name, (number, places) in zip(row.slots, slots, strict=True):
                arena = executor._slot_arenas[number]
                if name in row.factored:
                    length = buffer.columns if name == "column" else buffer.rows
                    held.append(vector(arena, length, places[k]))
                else:
                    held.append(memory.parameter(arena, buffer, places[k]))
            work = self.spare(*optimizers.scratch(optimizer, buffer.rows, buffer.columns,
                                                  self.plan.dtype), name=k)
            found.append(later(
                optimizers.enqueue_whole_update, optimizer,
                memory.parameter(executor._arena, buffer),
                memory.parameter(executor._gradient_arena, buffer), held, executor._scalars, rate,
                every, [*params, 0.0 if exempt[k] else decay], work))
        return found


def later(function, *arguments, **named):
    """A function of the stream, which comes first among the arguments."""
    return lambda stream: function(stream, *arguments, **named)


def _scale(reduction, weight, rows):
    """The factor of the gradient of a loss of so many rows."""
    return weight if reduction == "sum" else weight / max(rows, 1)


def _pad(arrays, length):
    return [*arrays, *[None] * (length - len(arrays))]
