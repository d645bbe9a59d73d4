"""Small networks: one block that makes many steps in one launch.

A step of such a network takes a GPU no longer than it takes to launch a kernel, so a launch for
each operation costs ten times the work.  Here a launch makes as many steps as it is told to.
Parameters, gradients, optimizer state and activations lie in the block's shared memory while it
runs, where they fit, else in a part of the device's memory that the processor's own cache holds;
they are fetched from their places at the beginning and brought back at the end.

The block runs a program: a table of the plan's operations with the places of their operands.  Its
threads share each operation out, and wait for each other between two of them.  Each element is
computed by one thread, and each sum in an order that depends on its length alone: the same bits
each time.

`Program.of` says whether a plan can be run like that.
"""

from __future__ import annotations

import numpy as np

from fusedmlp.spec import ELEMENTWISE, OPTIMIZERS

from . import driver, rules
from .device import (
    NULL,
    SIMULATED,
    by_dtype,
    cuda,
    device,
    exp,
    folded,
    isinf,
    isnan,
    kernel,
    log,
    plus,
    types,
    vector,
)
from .elementwise import functions
from .random import philox

__all__ = ["THREADS", "Program", "compiled"]

THREADS = 4 if SIMULATED else 512
"""Threads of the block."""

WIDEST = 128
"""Columns of the widest layer, from which on products want more than one processor."""

_SHARED = 220 * 1024 if SIMULATED else None  # bytes of a block's memory; None: ask the device
_MOST_BYTES = 8 << 20  # of everything, where shared memory does not hold it
_MOST_ROWS = 512
_MOST_FLOPS = 4_000_000  # of a step; beyond them many processors take less time, launches included
_FUNCTIONS = 3  # different activations of a network, linear apart
_WIDTH = 16  # numbers of an operation
_NUMBERS = 8  # and its float64

(GATHER, DENSE, DX, DW, DB, ACTIVATION, ACTIVATION_GRAD, MULTIPLY, DROPOUT, CROSS_ENTROPY, SQUARES,
 REDUCE, UPDATE) = range(13)


# -- the program ---------------------------------------------------------------------------------


class _Unsuitable(Exception):
    """What a program can't do."""


class Program:
    """A plan as tables.

    Attributes
    ----------
    code : ndarray of int64, shape (operations, 16)
    numbers : ndarray of float64, shape (operations, 8)
    copies : ndarray of int64, shape (parts, 7)
        Place here; place in the whole memory; rows; columns; pitch; 1 where it is only brought
        back; pitch here.
    size : int
        Elements of the block's own memory.
    activations, optimizer
        What the kernel is made for.
    data, labels : list of int
        Numbers of the data arrays of floating-point numbers, and of class numbers.
    """

    def __init__(self, executor):
        self.executor, self.plan = executor, executor.plan
        self.itemsize = np.dtype(self.plan.dtype).itemsize
        self.size, self._copies, self._places = 0, [], {}
        self.activations, self.optimizer, self.data, self.labels = ["linear"], "sgd", [], []
        self._code, self._constants, self._kernel = [], [], None
        for op in self.plan.ops:
            method = getattr(self, "_" + op.op, None)
            if method is None or "precision" in op.attributes:
                raise _Unsuitable
            inputs = [self.place(i) for i in op.inputs]
            outputs = [self.place(i) for i in op.outputs]
            method(op, inputs, outputs, **op.attributes)
        if self.size * self.itemsize > _MOST_BYTES:
            raise _Unsuitable
        self.code = np.zeros((len(self._code), _WIDTH), np.int64)
        self.numbers = np.zeros((len(self._code), _NUMBERS))
        for row, numbers, code, constants in zip(self.code, self.numbers, self._code,
                                                 self._constants, strict=True):
            row[: len(code)] = code
            numbers[: len(constants)] = constants
        self.copies = np.array(self._copies, np.int64).reshape(-1, 7)

    @classmethod
    def of(cls, executor):
        """The program of an executor's plan; None where it is too large, or has other operations.
        """
        plan = executor.plan
        widest = max((b.columns for b in plan.buffers), default=0)
        flops = sum(map(plan.flops, plan.ops))
        if (plan.batch_size > _MOST_ROWS or widest > WIDEST or flops > _MOST_FLOPS
                or not plan.totals):
            return None
        try:
            return cls(executor)
        except _Unsuitable:
            return None

    @property
    def shared_bytes(self):
        """Bytes of shared memory that a launch asks for: 0 where the memory does not fit."""
        size, most = max(self.size, 1) * self.itemsize, _SHARED
        if most is None:
            most = driver.shared_bytes() - 8 * THREADS  # which the sums take
        return size if size <= most else 0

    # -- running ---------------------------------------------------------------------------------

    def prepare(self):
        """Bring the tables to the device, and compile."""
        self._tables = [cuda.to_device(table.reshape(-1))
                        for table in (self.copies, self.code, self.numbers)]
        shared = self.shared_bytes
        self._own = cuda.to_device(np.zeros(1 if shared else self.size, self.plan.dtype))
        self._kernel = compiled(self.plan.dtype, tuple(self.activations), self.optimizer,
                                bool(shared))

    def enqueue(self, stream, rows, batch, steps):
        """Make so many steps over data of so many rows, from the one on that the clock says."""
        if self._kernel is None:
            self.prepare()
        executor = self.executor
        copies, code, numbers = (vector(table, len(table)).data for table in self._tables)
        data = [executor._resident[source].data for source in self.data]
        data += [NULL] * (3 - len(data))
        labels = executor._resident[self.labels[0]].data if self.labels else NULL
        whole = executor._memory.whole(self.plan.dtype)
        order, rates = executor._order, executor._rates
        arguments = (vector(whole, len(whole)).data, vector(self._own, len(self._own)).data, copies,
                     len(self.copies), code, numbers, len(self.code), *data, labels,
                     vector(order, len(order)).data, vector(rates, len(rates)).data,
                     executor._clock.data, executor._sums.data, rows, batch, steps)
        self._kernel(stream, 1, *arguments, shared=self.shared_bytes)

    # -- places ----------------------------------------------------------------------------------

    def _take(self, size):
        place = self.size
        self.size += -(-size // 4) * 4
        return place

    def _copied(self, held, offset, view, parameter=False, back_only=False):
        """A place for what is fetched and brought back.

        Rows of a parameter have an odd pitch, so that threads that read down a column don't meet
        in a bank of shared memory.
        """
        own = view.columns | 1 if parameter else view.columns
        place = self._take(view.rows * own)
        self._copies.append((place, self.executor.element(held) + offset, view.rows, view.columns,
                             view.pitch, int(back_only), own))
        return place

    def place(self, index):
        """Where a buffer lies in the block's memory."""
        if index not in self._places:
            buffer, executor = self.plan.buffers[index], self.executor
            view = executor._view(index, self.plan.batch_size)
            if buffer.repeat != 1 or buffer.role in ("sparse", "statistics"):
                raise _Unsuitable
            if buffer.dtype == "int64":
                if buffer.columns != 1:
                    raise _Unsuitable
                place = self._take(self.plan.batch_size)
            elif buffer.role in ("parameter", "parameter_gradient"):
                held = (executor._arena if buffer.role == "parameter"
                        else executor._gradient_arena)
                place = self._copied(held, buffer.offset, view, True, buffer.role != "parameter")
            else:
                place = self._copied(executor._buffers[index], 0, view, False, True)
            self._places[index] = place
        return self._places[index]

    # -- operations ------------------------------------------------------------------------------

    def _emit(self, *code, numbers=()):
        self._code.append(code)
        self._constants.append(numbers)

    def _columns(self, index):
        return self.plan.buffers[index].columns

    def _function(self, name, params):
        if name not in ELEMENTWISE:
            raise _Unsuitable
        if name not in self.activations:
            self.activations.append(name)
            if len(self.activations) > _FUNCTIONS + 1:
                raise _Unsuitable
        dtype = np.dtype(self.plan.dtype).type
        return self.activations.index(name), [float(dtype(p)) for p in params]

    def _gather(self, op, inputs, outputs, source):
        buffer = self.plan.buffers[op.outputs[0]]
        integer = int(buffer.dtype == "int64")
        number = len(self.labels if integer else self.data)
        if number > (0 if integer else 2):
            raise _Unsuitable
        (self.labels if integer else self.data).append(source)
        columns = 1 if integer or buffer.role in ("row", "weight") else buffer.columns
        self._emit(GATHER, outputs[0], columns, integer, number)

    def _dense(self, op, inputs, outputs, activation, params):
        code, params = self._function(activation, params)
        x, kernel, bias = (*inputs, -1)[:3]
        y, z = (*outputs, -1)[:2]
        self._emit(DENSE, x, kernel, bias, y, z, self._columns(op.inputs[0]),
                   self._columns(op.outputs[0]), code, numbers=params)

    def _dense_dx(self, op, inputs, outputs, activation, params):
        dz, kernel, saved = (*inputs, -1)[:3]
        code, params = self._function("linear" if saved < 0 else activation,
                                      () if saved < 0 else params)
        self._emit(DX, dz, kernel, saved, outputs[0], self._columns(op.outputs[0]),
                   self._columns(op.inputs[0]), code, numbers=params)

    def _dense_dw(self, op, inputs, outputs):
        self._emit(DW, *inputs, outputs[0], *map(self._columns, op.inputs))

    def _dense_db(self, op, inputs, outputs):
        self._emit(DB, inputs[0], outputs[0], self._columns(op.inputs[0]))

    def _activation(self, op, inputs, outputs, activation, params):
        code, params = self._function(activation, params)
        self._emit(ACTIVATION, inputs[0], outputs[0], self._columns(op.inputs[0]), code,
                   numbers=params)

    def _activation_grad(self, op, inputs, outputs, activation, params):
        code, params = self._function(activation, params)
        self._emit(ACTIVATION_GRAD, *inputs, outputs[0], self._columns(op.inputs[0]), code,
                   numbers=params)

    def _multiply(self, op, inputs, outputs):
        self._emit(MULTIPLY, *inputs, outputs[0], self._columns(op.inputs[0]))

    def _dropout(self, op, inputs, outputs, rate, stream, seed):
        seed = self.executor.seed if seed is None else seed
        self._emit(DROPOUT, inputs[0], *outputs, self._columns(op.inputs[0]), seed & 0xFFFFFFFF,
                   seed >> 32 & 0xFFFFFFFF, stream & 0xFFFFFFFF, int(rate * 2**32),
                   numbers=[1.0 / (1.0 - rate)])

    def _softmax_cross_entropy(self, op, inputs, outputs, label_smoothing, ignore_index, reduction,
                               weight):
        labels = self.plan.buffers[op.inputs[1]]
        if labels.dtype != "int64" or label_smoothing or ignore_index is not None or (
                reduction == "weighted_mean"):
            raise _Unsuitable
        self._emit(CROSS_ENTROPY, *(*inputs, -1)[:3], *(*outputs, -1, -1)[:3],
                   self._columns(op.inputs[0]), int(reduction == "mean"), numbers=[weight])

    def _elementwise_loss(self, op, inputs, outputs, loss, params, label_smoothing, reduction,
                          weight):
        if loss != "mean_squared_error" or label_smoothing or reduction == "weighted_mean":
            raise _Unsuitable
        self._emit(SQUARES, *(*inputs, -1)[:3], *(*outputs, -1)[:2], self._columns(op.inputs[0]),
                   int(reduction == "mean"), numbers=[weight])

    def _reduce(self, op, inputs, outputs, total, reduction, weight, counts):
        self._emit(REDUCE, *(*inputs, -1)[:2], 2 * total, int(reduction == "sum"), int(counts),
                   int(self.plan.totals[total] == "loss"), numbers=[weight])

    def _update(self, op, inputs, outputs, optimizer, params, rate, every, parameters, slots,
                exempt):
        row = OPTIMIZERS[optimizer]
        if row.kind != "elementwise" or len(params) > 7 or any(
                o.op == "update" and o is not op for o in self.plan.ops):
            raise _Unsuitable
        self.optimizer = optimizer
        executor, (*params, decay) = self.executor, params
        params = [*params, *[0.0] * 6][:6]
        offsets = {b.offset: b for b in self.plan.buffers if b.role == "parameter"}
        gradients = {b.offset: b.index for b in self.plan.buffers
                     if b.role == "parameter_gradient"}
        for k, at in enumerate(parameters):
            buffer = offsets[at]
            if at not in gradients:
                raise _Unsuitable
            view = executor._view(buffer.index, 1)
            held = [self._copied(executor._slot_arenas[number], where[k], view, True)
                    for number, where in slots]
            self._emit(UPDATE, self.place(buffer.index), self.place(gradients[at]),
                       *(*held, 0, 0, 0)[:3], view.rows * (view.columns | 1), every,
                       numbers=[rate, 0.0 if exempt[k] else decay, *params])


# -- the kernel ----------------------------------------------------------------------------------


@by_dtype
def _body(R, activations, optimizer):
    """The device function that makes the steps, for a memory of either kind."""
    names = (*activations, *["linear"] * (_FUNCTIONS + 1 - len(activations)))
    f0, f1, f2, f3 = (functions(R)[name][0] for name in names)
    g0, g1, g2, g3 = (functions(R)[name][1] for name in names)
    factors, element = rules.factors()[optimizer], rules.elements(R)[optimizer]
    slots = len(OPTIMIZERS[optimizer].slots)
    tiny, zero, one, two = np.float64(np.finfo(R).tiny), R(0), R(1), R(2)
    add = folded(THREADS, plus)

    @device
    def f(code, x, a, b, c):
        if code == 0:
            return f0(x, a, b, c)
        if code == 1:
            return f1(x, a, b, c)
        if code == 2:
            return f2(x, a, b, c)
        return f3(x, a, b, c)

    @device
    def df(code, saved, a, b, c):
        if code == 0:
            return g0(saved, a, b, c)
        if code == 1:
            return g1(saved, a, b, c)
        if code == 2:
            return g2(saved, a, b, c)
        return g3(saved, a, b, c)

    @device
    def copy(mem, whole, copies, count, back):
        for part in range(count):
            at, there, rows = copies[7 * part], copies[7 * part + 1], copies[7 * part + 2]
            columns, pitch = copies[7 * part + 3], copies[7 * part + 4]
            only_back, own = copies[7 * part + 5], copies[7 * part + 6]
            e = cuda.threadIdx.x
            while e < rows * own:
                i, j = e // own, e % own
                if j < columns:
                    other = there + i * pitch + j
                    if back:
                        whole[other] = mem[at + e]
                    else:
                        mem[at + e] = zero if only_back else whole[other]
                elif not back:
                    mem[at + e] = zero
                e += THREADS
        cuda.syncthreads()

    # Products: a thread computes two rows and some columns of the output at a time.  Its columns
    # lie `across` apart, so that neighbouring threads read neighbours.  Rows of a kernel have an
    # odd pitch, `ld`.

    @device
    def product(mem, n, m, d, x, down, along, k, ld, bias, y, z, pitch, code, a, b, c):
        # y = f(x k + bias): x_ip lies at x + i down + p along, and k_pj at k + p ld + j
        across = (m + 3) // 4
        t = cuda.threadIdx.x
        while t < (n + 1) // 2 * across:
            i, j = t // across * 2, t % across
            first, second = x + i * down, x + min(i + 1, n - 1) * down
            j1, j2 = min(j + across, m - 1), min(j + 2 * across, m - 1)
            j3 = min(j + 3 * across, m - 1)
            s0 = s1 = s2 = s3 = zero
            if bias >= 0:
                s0, s1, s2, s3 = mem[bias + j], mem[bias + j1], mem[bias + j2], mem[bias + j3]
            r0, r1, r2, r3 = s0, s1, s2, s3
            for p in range(d):
                u, v = mem[first + p * along], mem[second + p * along]
                row = k + p * ld
                w0, w1, w2, w3 = mem[row + j], mem[row + j1], mem[row + j2], mem[row + j3]
                s0 += u * w0
                s1 += u * w1
                s2 += u * w2
                s3 += u * w3
                r0 += v * w0
                r1 += v * w1
                r2 += v * w2
                r3 += v * w3
            for q in range(8):
                row, column = i + q // 4, j + q % 4 * across
                if row < n and column < m:
                    value = (s0 if q == 0 else s1 if q == 1 else s2 if q == 2 else s3 if q == 3
                             else r0 if q == 4 else r1 if q == 5 else r2 if q == 6 else r3)
                    if z >= 0:
                        mem[z + row * m + column] = value
                    mem[y + row * pitch + column] = f(code, value, a, b, c)
            t += THREADS

    @device
    def dx(mem, n, dz, k, saved, out, d, m, code, a, b, c):
        across, ld = (d + 1) // 2, m | 1
        t = cuda.threadIdx.x
        while t < (n + 1) // 2 * across:
            i, j = t // across * 2, t % across
            second, other = min(i + 1, n - 1), min(j + across, d - 1)
            s0 = s1 = r0 = r1 = zero
            for p in range(m):
                u, v = mem[dz + i * m + p], mem[dz + second * m + p]
                w0, w1 = mem[k + j * ld + p], mem[k + other * ld + p]
                s0 += u * w0
                s1 += u * w1
                r0 += v * w0
                r1 += v * w1
            for q in range(4):
                row, column = i + q // 2, j + q % 2 * across
                if row < n and column < d:
                    value = s0 if q == 0 else s1 if q == 1 else r0 if q == 2 else r1
                    at = row * d + column
                    if saved >= 0:
                        value *= df(code, mem[saved + at], a, b, c)
                    mem[out + at] = value
            t += THREADS

    @device
    def cross_entropy(mem, n, z, labels, weights, losses, d, hits, c, scale):
        i = cuda.threadIdx.x
        while i < n:
            row = z + i * c
            largest, best = mem[row], 0
            for j in range(1, c):
                value = mem[row + j]
                if value > largest or (value != value and largest == largest):
                    largest, best = value, j
            total = zero
            for j in range(c):
                total += exp(mem[row + j] - largest)
            label = int(mem[labels + i])
            weight = mem[weights + i] if weights >= 0 else one
            mem[losses + i] = weight * (largest - mem[row + label] + log(total))
            if hits >= 0:
                mem[hits + i] = one if best == label else zero
            if d >= 0:
                for j in range(c):
                    p = exp(mem[row + j] - largest) / total
                    if j == label:
                        p -= one
                    mem[d + i * c + j] = p * (weight * scale)
            i += THREADS

    @device
    def squares(mem, n, p, y, weights, losses, d, c, scale):
        i = cuda.threadIdx.x
        while i < n:
            weight = mem[weights + i] if weights >= 0 else one
            total = zero
            for j in range(c):
                e = mem[p + i * c + j] - mem[y + i * c + j]
                total += e * e
                if d >= 0:
                    mem[d + i * c + j] = two * e / R(c) * (weight * scale)
            mem[losses + i] = weight * total / R(c)
            i += THREADS

    @device
    def reduce(mem, values, n, x, weights, at, whole, counts, watched, factor, totals, clock, step):
        amount, count = 0.0, 0.0
        i = cuda.threadIdx.x
        while i < n:
            if weights >= 0:
                amount += np.float64(mem[x + i]) * np.float64(mem[weights + i])
                count += np.float64(mem[weights + i])
            else:
                amount += np.float64(mem[x + i])
                count += 1.0
            i += THREADS
        amount = add(values, amount)
        count = add(values, count)
        if cuda.threadIdx.x == 0:
            if whole:
                amount *= n
                count = np.float64(n)
            totals[at] += factor * amount
            if counts:
                totals[at + 1] += count
            if watched and (isnan(amount) or isinf(amount)) and clock[2] < 0:
                clock[2] = step

    @device
    def dropout(mem, n, x, y, mask, m, key_0, key_1, number, limit, keep, iteration):
        quads = (m + 3) // 4
        at = cuda.threadIdx.x
        while at < n * quads:
            i, quad = at // quads, at % quads
            words = philox(np.uint64(quad), np.uint64(i),
                           np.uint64(iteration) & np.uint64(0xFFFFFFFF), np.uint64(number),
                           np.uint64(key_0), np.uint64(key_1))
            for k in range(4):
                j = 4 * quad + k
                if j < m:
                    e = i * m + j
                    kept = zero if words[k] < np.uint64(limit) else keep
                    mem[mask + e] = kept
                    mem[y + e] = mem[x + e] * kept
            at += THREADS

    @device
    def run(mem, values, whole, copies, parts, code, numbers, count, data_0, data_1, data_2, labels,
            order, rates, clock, totals, rows, batch, steps):
        t = cuda.threadIdx.x
        copy(mem, whole, copies, parts, False)
        first, iteration = clock[0] + 1, clock[1] + 1
        cuda.syncthreads()
        for done in range(steps):
            step = first + done
            begin = step * batch
            n = min(batch, rows - begin)
            for op in range(count):
                at, con = op * _WIDTH, op * _NUMBERS
                kind, p1, p2 = code[at], code[at + 1], code[at + 2]
                p3, p4, p5 = code[at + 3], code[at + 4], code[at + 5]
                p6, p7, p8 = code[at + 6], code[at + 7], code[at + 8]
                c0, c1, c2 = numbers[con], numbers[con + 1], numbers[con + 2]
                if kind == GATHER:
                    e = t
                    while e < n * p2:
                        source = order[begin + e // p2] * p2 + e % p2
                        if p3:
                            mem[p1 + e] = R(labels[source])
                        elif p4 == 0:
                            mem[p1 + e] = data_0[source]
                        elif p4 == 1:
                            mem[p1 + e] = data_1[source]
                        else:
                            mem[p1 + e] = data_2[source]
                        e += THREADS
                elif kind == DENSE:
                    product(mem, n, p7, p6, p1, p6, 1, p2, p7 | 1, p3, p4, p5, p7, p8, R(c0),
                            R(c1), R(c2))
                elif kind == DX:
                    dx(mem, n, p1, p2, p3, p4, p5, p6, p7, R(c0), R(c1), R(c2))
                elif kind == DW:  # of x transposed and dz
                    product(mem, p4, p5, n, p1, 1, p4, p2, p5, -1, p3, -1, p5 | 1, 0, zero, zero,
                            zero)
                elif kind == DB:
                    j = t
                    while j < p3:
                        total = zero
                        for i in range(n):
                            total += mem[p1 + i * p3 + j]
                        mem[p2 + j] = total
                        j += THREADS
                elif kind == ACTIVATION:
                    e = t
                    while e < n * p3:
                        mem[p2 + e] = f(p4, mem[p1 + e], R(c0), R(c1), R(c2))
                        e += THREADS
                elif kind == ACTIVATION_GRAD:
                    e = t
                    while e < n * p4:
                        mem[p3 + e] = mem[p1 + e] * df(p5, mem[p2 + e], R(c0), R(c1), R(c2))
                        e += THREADS
                elif kind == MULTIPLY:
                    e = t
                    while e < n * p4:
                        mem[p3 + e] = mem[p1 + e] * mem[p2 + e]
                        e += THREADS
                elif kind == DROPOUT:
                    dropout(mem, n, p1, p2, p3, p4, p5, p6, p7, p8, R(c0), iteration + done)
                elif kind == CROSS_ENTROPY:
                    scale = c0 / np.float64(n) if p8 else c0
                    cross_entropy(mem, n, p1, p2, p3, p4, p5, p6, p7, R(scale))
                elif kind == SQUARES:
                    scale = c0 / np.float64(n) if p7 else c0
                    squares(mem, n, p1, p2, p3, p4, p5, p6, R(scale))
                elif kind == REDUCE:
                    reduce(mem, values, n, p1, p2, p3, p4, p5, p6, c0, totals, clock, step)
                elif kind == UPDATE and (iteration + done + 1) % p7 == 0:
                    rate = rates[step] * c0
                    k1, k2, k3, k4, k5, k6, k7 = factors(
                        rate, np.float64((iteration + done + 1) // p7), numbers[con + 2],
                        numbers[con + 3], numbers[con + 4], numbers[con + 5], numbers[con + 6],
                        numbers[con + 7], tiny)
                    shrink = R(rate * c1)
                    e = t
                    while e < p6:
                        w = mem[p1 + e]
                        s = mem[p3 + e] if slots > 0 else zero
                        u = mem[p4 + e] if slots > 1 else zero
                        v = mem[p5 + e] if slots > 2 else zero
                        w, s, u, v = element(w - shrink * w, mem[p2 + e], s, u, v, R(k1), R(k2),
                                             R(k3), R(k4), R(k5), R(k6), R(k7))
                        mem[p1 + e] = w
                        if slots > 0:
                            mem[p3 + e] = s
                        if slots > 1:
                            mem[p4 + e] = u
                        if slots > 2:
                            mem[p5 + e] = v
                        e += THREADS
                cuda.syncthreads()
        copy(mem, whole, copies, parts, True)
        if t == 0:
            clock[0] += steps
            clock[1] += steps

    return run


@by_dtype
def compiled(R, activations, optimizer, shared):
    """The kernel, with its memory in shared memory or in the memory that it is given."""
    run = _body(R, activations, optimizer)
    number = types.float32 if R is np.float32 else types.float64
    words = "R* R* i* i i* d* i R* R* R* i* i* d* i* d* i i i"

    if shared:
        @kernel(words, R, name="persistent_shared", block=THREADS)
        def persistent(whole, mine, copies, parts, code, numbers, count, data_0, data_1, data_2,
                       labels, order, rates, clock, totals, rows, batch, steps):
            memory = cuda.shared.array(0, number)
            values = cuda.shared.array(THREADS, np.float64)
            run(memory, values, whole, copies, parts, code, numbers, count, data_0, data_1, data_2,
                labels, order, rates, clock, totals, rows, batch, steps)
    else:
        @kernel(words, R, name="persistent", block=THREADS)
        def persistent(whole, mine, copies, parts, code, numbers, count, data_0, data_1, data_2,
                       labels, order, rates, clock, totals, rows, batch, steps):
            values = cuda.shared.array(THREADS, np.float64)
            run(mine, values, whole, copies, parts, code, numbers, count, data_0, data_1, data_2,
                labels, order, rates, clock, totals, rows, batch, steps)

    return persistent
