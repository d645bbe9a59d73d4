"""Runs a plan op by op, one kernel call of this folder after the other.

A plan is bound to memory once for every number of rows that occurs (full batches, the shorter last
one): each op becomes a callable without arguments over views that are already cut to size.
"""

import math
import os
from contextlib import contextmanager
from functools import partial
from threading import Lock
from time import perf_counter

import numpy as np

from fusedmlp.kernels.layout import read, write
from fusedmlp.spec import OPTIMIZERS

from . import (
    activations,
    dense,
    features,
    join,
    losses,
    masks,
    metrics,
    normalization,
    optimizers,
    parameters,
    random,
    sparse,
)

__all__ = ["Executor"]

_SELU_SCALE, _SELU_ALPHA = 1.0507009873554805, 1.6732632423543772
_BOUND = 8  # numbers of rows for which bound calls are kept


def _rounded(precision, function, factors, rest):
    """The function of factors that are rounded first where a precision is asked for."""
    if precision == "bfloat16":
        factors = [dense.bfloat16(factor) for factor in factors]
    function(*factors, *rest)


def _dx(dz, kernel, dx):
    dense.dense_grad(dz, None, kernel, dx, None, None)


def _quietly(function, *arrays):
    """A NumPy function of all arrays but the last, into the last."""
    with np.errstate(all="ignore"):
        function(*arrays[:-1], out=arrays[-1])


def _quiet_operation(function):
    """The method of an op that is one NumPy function of its inputs."""

    def bind(self, inputs, outputs, rows):
        return partial(_quietly, function, *inputs, outputs[0])

    return bind


class Executor:
    """See the contract in `fusedmlp.kernels`."""

    def __init__(self, plan, parameters, slots, seed):
        self.plan = plan
        self.seed = seed
        self.totals = np.zeros((len(plan.totals), 2))
        self.units = np.zeros(plan.units)
        self._records, self._first_record = None, 0
        self._before = {}  # parameters that are observed, as they were before their update
        self.nonfinite = -1
        self.check_finite = True
        self.threads = 1  # NumPy's BLAS keeps its own number
        self._parameters, self._slots = parameters, slots
        self._gradients = np.zeros(max(plan.trainable_size, plan.gradient_size), plan.dtype)
        self._matrices = {"parameter": [], "parameter_gradient": []}
        self._arrays = [self._allocate(buffer) for buffer in plan.buffers]
        self._differentiates = any(op.phase == "backward" for op in plan.ops)
        self._calls = {}
        self._lock, self._process = Lock(), os.getpid()
        self._rows = 0
        # what the calls of one step read
        self._data, self._picked = (), None
        self._learning_rate, self._iteration = 0.0, 0
        self._finite = True

    # -- memory ----------------------------------------------------------------------------------

    def _allocate(self, buffer):
        arena = {"parameter": self._parameters, "parameter_gradient": self._gradients}
        if buffer.role in arena:
            flat = arena[buffer.role][buffer.offset : buffer.offset + buffer.rows * buffer.pitch]
            matrix = read(flat, buffer.rows, buffer.columns)
            if matrix.flags.writeable:
                return matrix
            # what lies in several panels is worked on as a matrix that is copied to and fro
            matrix = np.zeros((buffer.rows, buffer.columns), buffer.dtype)
            self._matrices[buffer.role].append((matrix, flat))
            return matrix
        rows = self.plan.batch_size * buffer.repeat if buffer.rows is None else buffer.rows
        one = buffer.role in ("row", "weight") or (
            buffer.dtype == "int64" and buffer.columns == 1)
        return np.zeros((rows,) if one else (rows, buffer.columns), buffer.dtype)

    def _view(self, index, rows):
        array, buffer = self._arrays[index], self.plan.buffers[index]
        return array[: rows * buffer.repeat] if buffer.rows is None else array

    def buffer(self, index):
        """A copy of what the last step left in a buffer."""
        return self._view(index, self._rows).copy()

    def _alone(self):
        """The lock of calls, which share the buffers; in a forked child nobody holds it."""
        if self._process != os.getpid():
            self._lock, self._process = Lock(), os.getpid()
        return self._lock

    def _load(self):
        """Parameters as the arena has them."""
        for matrix, flat in self._matrices["parameter"]:
            matrix[...] = read(flat, *matrix.shape)

    def _store(self, role):
        for matrix, flat in self._matrices[role]:
            write(flat, matrix)

    # -- running ---------------------------------------------------------------------------------

    def record(self, records, first):
        """Write observations into `records`, whose first row is number `first`."""
        self._records, self._first_record = records, first

    def keep(self, data):
        """Data is read where it lies, so there is nothing to be held."""

    def release(self):
        """Nothing is held."""

    def run(self, data, order, batch_size, start, stop, learning_rate, iteration, budget):
        """Run the steps `start` to `stop`; returns the first one not run."""
        end = perf_counter() + budget
        with self._alone(), self._reading(data):
            self._load()
            return self._train(order, batch_size, start, stop, learning_rate, iteration, end)

    def _train(self, order, batch_size, start, stop, learning_rate, iteration, end):
        for step in range(start, stop):
            self._picked = picked = order[step * batch_size : (step + 1) * batch_size]
            self._learning_rate = float(learning_rate[step])
            self._iteration = iteration + step - start
            self._step(len(picked))
            if self.check_finite and not self._finite:
                self.nonfinite = step
                return step + 1
            if perf_counter() >= end:
                return step + 1
        return stop

    def forward(self, x, out):
        """Predictions of all rows of x, batch by batch."""
        several = isinstance(x, tuple)
        x, out = (x, out) if several else ((x,), (out,))
        size, total = self.plan.batch_size, len(x[0])
        with self._alone(), self._reading(x):
            self._load()
            for first in range(0, total, size):
                self._picked = slice(first, min(first + size, total))
                rows = self._picked.stop - first
                self._step(rows)
                for result, array in zip(self.plan.outputs, out, strict=True):
                    array[self._picked] = self._view(result, rows).reshape(rows, -1)

    @contextmanager
    def _reading(self, data):
        """Data that the gather operations pick from, held no longer than for one call."""
        self._data = data
        try:
            yield
        finally:
            self._data, self._picked = (), None

    def _step(self, rows):
        self._rows, self._finite = rows, True
        for call in self._bound(rows):
            call()

    def _bound(self, rows):
        calls = self._calls.get(rows)
        if calls is None:
            if len(self._calls) == _BOUND:
                del self._calls[next(iter(self._calls))]
            calls = self._calls[rows] = [self._bind(op, rows) for op in self.plan.ops]
        return calls

    def _bind(self, op, rows):
        inputs = [self._view(i, rows) for i in op.inputs]
        outputs = [self._view(i, rows) for i in op.outputs]
        call = getattr(self, "_" + op.op)(inputs, outputs, rows, **op.attributes)
        return self._updating(op, call) if op.phase == "update" else call

    # -- one method per op: arrays in, callable out ----------------------------------------------

    def _gather(self, inputs, outputs, rows, source):
        (target,) = outputs
        if target.ndim == 2 or len(target) != rows:  # several rows for one of the data
            target = target.reshape(rows, -1)

        def gather():
            data = self._data[source]
            if self.plan.buffers[self.plan.inputs[source]].role == "sparse":
                target[:, 0] = data.starts[:-1][self._picked]
                target[:, 1] = data.starts[1:][self._picked]
            elif isinstance(self._picked, slice):
                target[...] = self._data[source][self._picked]
            else:  # "clip" lets take write straight into the target
                np.take(self._data[source], self._picked, axis=0, out=target, mode="clip")

        return gather

    def _dense(self, inputs, outputs, rows, activation, params, precision=None):
        x, kernel, *bias = inputs
        y, *z = outputs
        rest = (bias[0][0] if bias else None, activation, params, y, z[0] if z else None)
        return partial(_rounded, precision, dense.dense, (x, kernel), rest)

    def _sparse_dense(self, inputs, outputs, rows, activation, params, source):
        extents, kernel, *bias = inputs
        y, *z = outputs
        function = partial(activations.activation, activation, z[0] if z else y, params, y)

        def sparse_dense():
            sparse.sparse_product(self._data[source], extents, kernel,
                                  bias[0][0] if bias else None, z[0] if z else y)
            if activation != "linear":
                function() if z else activations.activation(activation, y.copy(), params, y)

        return sparse_dense

    def _densify(self, inputs, outputs, rows, source):
        return lambda: sparse.densify(self._data[source], inputs[0], outputs[0])

    def _sparse_dw(self, inputs, outputs, rows, source):
        extents, dz = inputs
        return lambda: sparse.sparse_dw(self._data[source], extents, dz, outputs[0])

    def _activation(self, inputs, outputs, rows, activation, params):
        return partial(activations.activation, activation, inputs[0], params, outputs[0])

    def _activation_grad(self, inputs, outputs, rows, activation, params):
        dy, saved = inputs
        return partial(activations.activation_grad, activation, dy, saved, params, outputs[0])

    def _prelu(self, inputs, outputs, rows):
        x, alpha = inputs
        return partial(activations.prelu, x, alpha[0], outputs[0])

    def _prelu_grad(self, inputs, outputs, rows):
        dy, x, alpha = inputs
        dx, *dalpha = outputs
        slope = dalpha[0][0] if dalpha else np.empty_like(alpha[0])
        return partial(activations.prelu_grad, dy, x, alpha[0], dx, slope)

    def _dropout(self, inputs, outputs, rows, rate, stream, seed):
        (x,), (y, mask) = inputs, outputs
        seed = self.seed if seed is None else seed

        def dropout():
            random.dropout_mask(rate, seed, stream, self._iteration, mask)
            with np.errstate(all="ignore"):
                np.multiply(x, mask, out=y)

        return dropout

    def _alpha_dropout(self, inputs, outputs, rows, rate, stream, seed):
        (x,), (y, mask) = inputs, outputs
        seed = self.seed if seed is None else seed
        low = -_SELU_SCALE * _SELU_ALPHA
        a = ((1.0 - rate) * (1.0 + rate * low**2)) ** -0.5
        b = -a * low * rate

        def alpha_dropout():
            random.dropout_mask(rate, seed, stream, self._iteration, mask)
            mask[...] = np.where(mask == 0.0, 0.0, a)
            with np.errstate(all="ignore"):
                y[...] = x * mask + np.where(mask == 0.0, a * low + b, b)

        return alpha_dropout

    def _gaussian_dropout(self, inputs, outputs, rows, stddev, stream, seed):
        (x,), (y, mask) = inputs, outputs
        seed = self.seed if seed is None else seed

        def gaussian_dropout():
            random.normal(1.0, stddev, seed, stream, self._iteration, mask)
            with np.errstate(all="ignore"):
                np.multiply(x, mask, out=y)

        return gaussian_dropout

    def _gaussian_noise(self, inputs, outputs, rows, stddev, stream, seed):
        (x,), (y,) = inputs, outputs
        seed = self.seed if seed is None else seed

        def gaussian_noise():
            random.normal(0.0, stddev, seed, stream, self._iteration, y)
            with np.errstate(all="ignore"):
                np.add(x, y, out=y)

        return gaussian_noise

    # -- normalization ---------------------------------------------------------------------------

    def _batch_statistics(self, inputs, outputs, rows, momentum, epsilon):
        x, mean, variance, *weights = inputs
        weights = weights[0].reshape(-1, 1) if weights else None
        return partial(_calmly, normalization.batch_statistics, x, mean[0], variance[0], momentum,
                       epsilon, outputs[0][0], outputs[1][0], weights)

    def _standardize(self, inputs, outputs, rows, scale, center):
        x, mean, inv, *more = inputs
        return partial(_calmly, normalization.standardize, x, mean[0], inv[0],
                       *_factors(more, scale, center), outputs[0])

    def _batch_norm_sums(self, inputs, outputs, rows):
        dy, x, mean, inv = inputs
        return partial(_calmly, normalization.batch_norm_sums, dy, x, mean[0], inv[0],
                       outputs[0][0], outputs[1][0])

    def _batch_norm_dx(self, inputs, outputs, rows, scale):
        dy, x, mean, inv, dgamma, dbeta, *more = inputs
        gamma = more.pop(0)[0] if scale else None
        weights = more[0].reshape(-1, 1) if more else None
        return partial(_calmly, normalization.batch_norm_dx, dy, x, mean[0], inv[0], dgamma[0],
                       dbeta[0], gamma, outputs[0], weights)

    def _fold_statistics(self, inputs, outputs, rows, epsilon, scale, center):
        mean, variance, *more = inputs
        return partial(_calmly, normalization.fold_statistics, mean[0], variance[0],
                       *_factors(more, scale, center), epsilon, outputs[0][0], outputs[1][0])

    def _scale_shift(self, inputs, outputs, rows):
        (x, a, b), (y,) = inputs, outputs

        def scale_shift():
            with np.errstate(all="ignore"):
                np.add(x * a, b, out=y)

        return scale_shift

    def _scale_columns(self, inputs, outputs, rows):
        return partial(_quietly, np.multiply, *inputs, outputs[0])

    def _row_norm(self, inputs, outputs, rows, kind, epsilon, scale, center):
        x, *more = inputs
        y, inv, mean = _pad(outputs, 3)
        return partial(_calmly, normalization.row_norm, x, kind, epsilon,
                       *_factors(more, scale, center), y, inv, mean)

    def _row_norm_grad(self, inputs, outputs, rows, kind, epsilon, scale):
        dy, x, inv, *more = inputs
        mean = more.pop(0) if kind == "layer" else None
        gamma, _ = _factors(more, scale, False)
        return partial(_calmly, normalization.row_norm_grad, dy, x, inv, mean, gamma, kind,
                       outputs[0])

    def _gamma_grad(self, inputs, outputs, rows):
        return partial(_calmly, normalization.gamma_grad, *_pad(inputs, 4), outputs[0][0])

    # -- tables and shapes -----------------------------------------------------------------------

    def _embedding(self, inputs, outputs, rows):
        (indices, table), (y,) = inputs, outputs
        y = y.reshape(rows, indices.shape[1], table.shape[1])

        def embedding():
            number, known = _numbers(indices, len(table))
            y[...] = np.where(known[..., None], table[number], np.nan)

        return embedding

    def _embedding_grad(self, inputs, outputs, rows):
        (indices, dy), (dtable,) = inputs, outputs
        dy = dy.reshape(rows, indices.shape[1], dtable.shape[1])

        def embedding_grad():
            number, known = _numbers(indices, len(dtable))
            dtable[...] = 0.0
            np.add.at(dtable, number[known], dy[known])

        return embedding_grad

    def _reshape(self, inputs, outputs, rows):
        (x,), (y,) = inputs, outputs
        return partial(np.copyto, y, x.reshape(y.shape))

    def _take_columns(self, inputs, outputs, rows, index):
        return partial(np.take, inputs[0], np.array(index, np.intp), axis=1, out=outputs[0],
                       mode="clip")

    def _put_columns(self, inputs, outputs, rows, index):
        (dy,), (dx,) = inputs, outputs
        index = np.array(index, np.intp)

        def put_columns():
            dx[...] = 0.0
            np.add.at(dx, (slice(None), index), dy)

        return put_columns

    # -- arithmetic of gradients -----------------------------------------------------------------

    _multiply = _quiet_operation(np.multiply)
    _add = _quiet_operation(np.add)

    _subtract = _quiet_operation(np.subtract)
    _divide = _quiet_operation(np.divide)
    _maximum = _quiet_operation(np.maximum)
    _minimum = _quiet_operation(np.minimum)
    _log = _quiet_operation(np.log)
    _accumulate = _quiet_operation(np.add)

    def _maximum_grad(self, inputs, outputs, rows):
        return partial(join.extreme_grad, *inputs, outputs[0])

    def _minimum_grad(self, inputs, outputs, rows):
        dy, a, b = inputs
        return partial(join.extreme_grad, dy, b, a, outputs[0])

    def _affine(self, inputs, outputs, rows, factor, shift):
        return partial(join.affine, inputs[0], factor, shift, outputs[0])

    def _power(self, inputs, outputs, rows, exponent):
        return partial(join.power, inputs[0], exponent, outputs[0])

    def _broadcast(self, inputs, outputs, rows, factor):
        return partial(join.affine, inputs[0], factor, 0.0, outputs[0])

    def _row_sum(self, inputs, outputs, rows, factor):
        return partial(join.row_sum, inputs[0], factor, outputs[0])

    def _row_dot(self, inputs, outputs, rows):
        return partial(join.row_dot, *inputs, outputs[0])

    _scale_rows = _quiet_operation(np.multiply)

    def _concatenate(self, inputs, outputs, rows, groups):
        return partial(join.concatenate, inputs, groups, outputs[0])

    def _slice(self, inputs, outputs, rows, start, groups):
        return partial(join.cut, inputs[0], start, groups, outputs[0])

    def _place(self, inputs, outputs, rows, start, groups):
        return partial(join.place, inputs[0], start, groups, outputs[0])

    _repeat = _quiet_operation(np.positive)

    def _python(self, inputs, outputs, rows, function, gradient, name, reads):
        given = tuple(array.view() for array in inputs[:reads])
        for array in given:
            array.flags.writeable = False
        call = partial(function, given, tuple(outputs))
        changes = any(matrix is array for array in outputs
                      for matrix, _ in self._matrices["parameter"])
        return self._changing(call) if changes else call

    def _column_affine(self, inputs, outputs, rows, before, scale, after):
        constants = [np.array(values, self.plan.dtype) for values in (before, scale, after)]
        return partial(features.column_affine, inputs[0], *constants, outputs[0])

    def _feature_norm(self, inputs, outputs, rows, least, invert, center):
        x, mean, variance = inputs
        return partial(features.feature_norm, x, mean[0], variance[0], least, invert, center,
                       outputs[0])

    def _digitize(self, inputs, outputs, rows, boundaries):
        return partial(features.digitize, inputs[0], np.array(boundaries, self.plan.dtype),
                       outputs[0])

    def _encode(self, inputs, outputs, rows, depth, kind):
        return partial(features.encode, inputs[0], depth, kind, outputs[0])

    def _step_mask(self, inputs, outputs, rows, steps, value):
        x, mask = (array.reshape(rows, steps, -1) for array in (*inputs, *outputs))
        return partial(masks.step_mask, x, value, mask[:, :, 0])

    def _keep_steps(self, inputs, outputs, rows, steps):
        x, mask, y = (array.reshape(rows, steps, -1) for array in (*inputs, *outputs))
        return partial(masks.keep_steps, x, mask[:, :, 0], y)

    def _pool(self, inputs, outputs, rows, steps, kind):
        x, mask = _pad([array.reshape(rows, steps, -1) for array in inputs], 2)
        mask = None if mask is None else mask[:, :, 0]
        return partial(masks.pool, x, mask, kind, outputs[0])

    def _pool_grad(self, inputs, outputs, rows, steps, kind):
        dy, *more = inputs
        dx = outputs[0].reshape(rows, steps, -1)
        x = y = mask = None
        if kind == "max":
            x, y = more[0].reshape(dx.shape), more[1]
        elif more:
            mask = more[0].reshape(rows, steps)
        return partial(masks.pool_grad, dy, x, y, mask, kind, dx)

    def _row_weights(self, inputs, outputs, rows, steps, over, given, ignore_index):
        found = iter(inputs)
        weights, mask, labels = (next(found).reshape(rows, -1) if there else None
                                 for there in given)
        return partial(masks.row_weights, weights, mask, labels, ignore_index, over,
                       outputs[0].reshape(rows, steps))

    def _dense_dw(self, inputs, outputs, rows, precision=None):
        x, dz = inputs
        return partial(_rounded, precision, dense.dense_grad, (dz, x),
                       (None, None, outputs[0], None))

    def _dense_db(self, inputs, outputs, rows):
        return partial(dense.dense_grad, inputs[0], None, None, None, None, outputs[0][0])

    def _dense_dx(self, inputs, outputs, rows, activation, params, precision=None):
        dz, kernel, *saved = inputs
        (dx,) = outputs
        product = partial(_rounded, precision, _dx, (dz, kernel), (dx,))
        if not saved:
            return product

        def dense_dx():
            product()
            activations.activation_grad(activation, dx, saved[0], params, dx)

        return dense_dx

    # -- losses and metrics ----------------------------------------------------------------------

    def _softmax_cross_entropy(self, inputs, outputs, rows, label_smoothing, ignore_index,
                               reduction, weight):
        logits, labels, sample_weight = _pad(inputs, 3)
        values, gradient, hits = _pad(outputs, 3)

        def loss(scale):
            losses.softmax_cross_entropy(logits, labels, sample_weight, label_smoothing,
                                         ignore_index, scale, values, gradient, hits)

        return _over_counted(loss, labels, ignore_index, sample_weight, weight, reduction,
                             values)

    def _row_loss(self, inputs, outputs, rows, loss, params, label_smoothing, ignore_index,
                  reduction, weight):
        p, labels, sample_weight = _pad(inputs, 3)
        values, gradient = _pad(outputs, 2)

        def row_loss(scale):
            losses.row_loss(loss, p, labels, sample_weight, label_smoothing, ignore_index, params,
                            scale, values, gradient)

        return _over_counted(row_loss, labels, ignore_index, sample_weight, weight, reduction,
                             values)

    def _elementwise_loss(self, inputs, outputs, rows, loss, params, label_smoothing, reduction,
                          weight):
        p, labels, sample_weight = _pad(inputs, 3)
        values, gradient = _pad(outputs, 2)

        def elementwise_loss(scale):
            losses.elementwise_loss(loss, p, labels, params, sample_weight, label_smoothing, scale,
                                    values, gradient)

        return _over_counted(elementwise_loss, labels, None, sample_weight, weight, reduction,
                             values)

    def _distribution_loss(self, inputs, outputs, rows, loss, params, reduction, weight):
        p, labels, sample_weight = _pad(inputs, 3)
        values, gradient = _pad(outputs, 2)

        def distribution_loss(scale):
            losses.distribution_loss(loss, p, labels, params, sample_weight, scale, values,
                                     gradient)

        return _over_counted(distribution_loss, labels, None, sample_weight, weight, reduction,
                             values)

    def _overlap_loss(self, inputs, outputs, rows, loss, params, axis, reduction, weight):
        p, labels, sample_weight = _pad(inputs, 3)
        values, gradient = _pad(outputs, 2)

        def overlap_loss(scale):
            losses.overlap_loss(loss, axis, p, labels, params, sample_weight, scale, values,
                                gradient)

        return _over_counted(overlap_loss, labels, None, sample_weight, weight, reduction,
                             values)

    def _pair_loss(self, inputs, outputs, rows, loss, params, reduction, weight):
        p, labels, sample_weight = _pad(inputs, 3)
        values, gradient = _pad(outputs, 2)
        return partial(losses.pair_loss, loss, p, labels, sample_weight, reduction == "mean",
                       params, _scale(weight, reduction, rows), values, gradient)

    def _score(self, inputs, outputs, rows, score, params):
        return partial(metrics.score, score, *inputs, params, *outputs)

    def _tally(self, inputs, outputs, rows, tally, total, options, size):
        p, labels, sample_weight = _pad(inputs, 3)
        options = np.array(options, np.float64)

        def add():
            state = self.totals.reshape(-1)[2 * total : 2 * total + size]
            metrics.tally(tally, p, labels, sample_weight, options, state)

        return add

    def _reduce(self, inputs, outputs, rows, total, reduction, weight, counts):
        values, sample_weight = _pad(inputs, 2)
        is_loss = self.plan.totals[total] == "loss"

        def reduce():
            with np.errstate(all="ignore"):
                if sample_weight is None:
                    amount, count = values.sum(dtype=np.float64), rows
                else:
                    amount = np.multiply(values, sample_weight, dtype=np.float64).sum()
                    count = sample_weight.sum(dtype=np.float64)
                if reduction == "sum":
                    amount, count = amount * rows, rows
                self.totals[total] += weight * amount, count if counts else 0
            if is_loss and not math.isfinite(amount):
                self._finite = False

        return reduce

    def _penalty(self, inputs, outputs, rows, total, l1, l2, per_rows):
        w, sample_weight = _pad(inputs, 2)

        def penalty():
            with np.errstate(all="ignore"):
                amount = (l1 * np.abs(w).sum(dtype=np.float64)
                          + l2 * np.square(w, dtype=np.float64).sum())
                self.totals[total, 0] += amount * (rows * _part(per_rows, rows, sample_weight))
            if not math.isfinite(amount):
                self._finite = False

        return penalty

    def _penalty_grad(self, inputs, outputs, rows, l1, l2, per_rows, adds):
        w, sample_weight = _pad(inputs, 2)
        (gradient,) = outputs

        def penalty_grad():
            with np.errstate(all="ignore"):
                share = _part(per_rows, rows, sample_weight)
                slope = (l1 * share) * np.sign(w) + (2.0 * l2 * share) * w
                np.add(gradient if adds else 0.0, slope, out=gradient)

        return penalty_grad

    def _activity_penalty(self, inputs, outputs, rows, linear, l1, l2):
        (y,), (values, gradient) = inputs, _pad(outputs, 2)

        def activity_penalty():
            with np.errstate(all="ignore"):
                values[...] = (linear * y + l1 * np.abs(y) + l2 * np.square(y)).sum(axis=1)
                if gradient is not None:
                    gradient[...] = (linear + l1 * np.sign(y) + 2.0 * l2 * y) / max(rows, 1)

        return activity_penalty

    def _orthogonal_penalty(self, inputs, outputs, rows, total, factor, mode, adds):
        (w,), (gradient,) = inputs, _pad(outputs, 1)

        def orthogonal_penalty():
            with np.errstate(all="ignore"):
                amount, slope = parameters.orthogonal_penalty(w, factor, mode == "rows")
                if gradient is not None:
                    np.add(gradient if adds else 0.0, slope, out=gradient, casting="same_kind")
            self.totals[total, 0] += amount * rows
            if not math.isfinite(amount):
                self._finite = False

        return orthogonal_penalty

    def _constrain(self, inputs, outputs, rows, **attributes):
        return self._changing(parameters.constrain, inputs[0], **attributes)

    def _spectral_norm(self, inputs, outputs, rows, iterations, epsilon):
        kernel, u = inputs
        return self._changing(parameters.spectral_norm, kernel, u[0], iterations, epsilon)

    def _changing(self, function, *arguments, **named):
        """A call that writes to parameters."""
        def change():
            with np.errstate(all="ignore"):
                function(*arguments, **named)
            self._store("parameter")

        return change

    # -- what is observed --------------------------------------------------------------------

    def _record(self, every, record):
        """The four numbers of an observation in this step; None where it is not written down."""
        number = (self._iteration + 1) // every - 1 - self._first_record
        if (self._records is None or (self._iteration + 1) % every
                or not 0 <= number < len(self._records)):
            return None
        return self._records[number, record]

    def _observe(self, inputs, outputs, rows, record, every, units, activation, params, below):
        y, *saved = inputs

        def observe():
            out = self._record(every, record)
            if out is None:
                return
            out[:] = np.square(y, dtype=np.float64).sum(), y.size, 0.0, 0.0
            if saved:
                slopes = np.empty_like(y)
                activations.activation_grad(activation, np.ones_like(y), saved[0], params, slopes)
                active = (np.abs(slopes) > slopes.dtype.type(below)).sum(axis=0)
                self.units[units : units + y.shape[1]] += active
                out[2:] = y.size - active.sum(), (active == 0).sum()

        return partial(_calmly, observe)

    def _observe_parameter(self, inputs, outputs, rows, record, every):
        w = inputs[0]

        def observe_parameter():
            out = self._record(every, record)
            if out is not None:
                out[:] = [*(np.square(a, dtype=np.float64).sum() for a in inputs), 0.0, w.size]
                self._before[record] = w.astype(np.float64)

        return partial(_calmly, observe_parameter)

    def _observe_update(self, inputs, outputs, rows, record, every):
        (w,) = inputs

        def observe_update():
            out = self._record(every, record)
            if out is not None:
                out[2] = np.square(w - self._before[record]).sum()

        return partial(_calmly, observe_update)

    # -- what optimizers do ------------------------------------------------------------------

    @property
    def gradients(self):
        if self._differentiates:
            self._store("parameter_gradient")
        return self._gradients

    def _updating(self, op, call):
        """A call among arenas: gradients go there before the first, parameters come from there."""
        first = op is next(other for other in self.plan.ops if other.phase == "update")

        def updating():
            if first and self._differentiates:
                self._store("parameter_gradient")
            call()
            self._load()

        return updating

    def _part(self, flat, offset):
        """The flat part of an arena that belongs to the parameter at `offset`, padding included."""
        (buffer,) = (b for b in self.plan.buffers if b.role == "parameter" and b.offset == offset)
        return flat[offset : offset + buffer.rows * buffer.pitch]

    def _due(self, every):
        return (self._iteration + 1) % every == 0

    def _collect(self, inputs, outputs, rows, slot, every, parameters):
        pairs = [(self._part(self._gradients, at), self._part(self._slots[slot], at))
                 for at in parameters]

        def collect():
            with np.errstate(all="ignore"):
                for gradient, total in pairs:
                    if self._due(every):
                        np.divide(gradient + total, every, out=gradient)
                        total[...] = 0.0
                    else:
                        total += gradient

        return collect

    def _clip(self, inputs, outputs, rows, kind, limit, every, parameters):
        gradients = [self._part(self._gradients, at) for at in parameters]

        def clip():
            if self._due(every):
                optimizers.clip(gradients, kind, limit)

        return clip

    def _update(self, inputs, outputs, rows, optimizer, params, rate, every, parameters, slots,
                exempt):
        row = OPTIMIZERS[optimizer]
        kernel = getattr(optimizers, optimizer + "_update")
        *params, decay = params
        calls = []
        for k, at in enumerate(parameters):
            if row.kind == "elementwise":
                arrays = [self._part(flat, at) for flat in (self._parameters, self._gradients)]
                arrays += [self._slots[number][places[k] : places[k] + arrays[0].size]
                           for number, places in slots]
            else:
                arrays = self._whole(row, at, [(self._slots[number], places[k])
                                               for number, places in slots])
            calls.append((arrays, 0.0 if exempt[k] else decay))

        def update():
            if not self._due(every):
                return
            step = (self._iteration // every + 1,) if row.counts else ()
            for arrays, decay in calls:
                rest = (*step, rate * self._learning_rate, *params, decay)
                if row.kind == "elementwise":
                    kernel(*arrays, *rest)
                    continue
                matrices = [np.array(read(flat, *shape) if len(shape) == 2 else flat)
                            for flat, shape in arrays]
                kernel(*matrices, *rest)
                for matrix, (flat, shape) in zip(matrices, arrays, strict=True):
                    if len(shape) == 2:
                        write(flat, matrix)
                    else:
                        flat[...] = matrix

        return update

    def _whole(self, row, at, slots):
        """For parameter, gradient and state of a "variable" row a flat part and its shape."""
        (buffer,) = (b for b in self.plan.buffers if b.role == "parameter" and b.offset == at)
        shape = (buffer.rows, buffer.columns)
        arrays = [(self._part(flat, at), shape) for flat in (self._parameters, self._gradients)]
        for name, (flat, place) in zip(row.slots, slots, strict=True):
            if name in row.factored:
                length = shape[name == "column"]
                arrays.append((flat[place : place + length], (length,)))
            else:
                arrays.append((flat[place : place + arrays[0][0].size], shape))
        return arrays

    def _average(self, inputs, outputs, rows, slot, momentum, overwrite, every, parameters):
        pairs = [(self._part(self._parameters, at), self._part(self._slots[slot], at))
                 for at in parameters]

        def average():
            updates = self._iteration // every
            keep = momentum if updates else 0.0
            with np.errstate(all="ignore"):
                for param, mean in pairs:
                    mean *= keep
                    mean += (1.0 - keep) * param
                    if overwrite and (updates + 1) % overwrite == 0:
                        param[...] = mean

        return average


def _calmly(function, *arguments, **named):
    with np.errstate(all="ignore"):
        function(*arguments, **named)


def _factors(arrays, scale, center):
    """gamma and beta, or None for the one that there is not."""
    rows = [array[0] for array in arrays]
    gamma = rows.pop(0) if scale else None
    return gamma, rows.pop(0) if center else None


def _numbers(indices, count):
    """Floating-point numbers of rows as integers, and which of them there are."""
    known = (indices > -1.0) & (indices < count)
    return np.where(known, indices, 0.0).astype(np.int64), known


def _pad(arrays, length):
    return [*arrays, *[None] * (length - len(arrays))]


def _over_counted(loss, labels, ignore_index, sample_weight, weight, reduction, values):
    """A loss whose mean is over the rows or weights that count, while totals are divided by all."""
    ignores = ignore_index is not None and labels.ndim == 1
    rows = len(values)  # of the loss: as many as steps of the samples
    if reduction in ("sum", "mean_of_all") or (reduction == "mean" and not ignores):
        return partial(loss, _scale(weight, reduction, rows))

    def scaled():
        kept = labels != ignore_index if ignores else np.ones(rows, bool)
        if reduction == "mean":
            counted = max(int(np.count_nonzero(kept)), 1)
        else:
            counted = sample_weight[kept].sum(dtype=np.float64) or np.inf  # 0 / 0 is 0 in Keras
        loss(weight / counted)
        _quietly(np.multiply, values, rows / counted, values)

    return scaled


def _part(per_rows, rows, sample_weight):
    """What a penalty is multiplied by: 1, or 1 over the rows or their weights."""
    if not per_rows:
        return 1.0
    if sample_weight is None:
        return 1.0 / max(rows, 1)
    return 1.0 / sample_weight.sum(dtype=np.float64)


def _scale(weight, reduction, rows):
    return weight if reduction == "sum" else weight / max(rows, 1)
