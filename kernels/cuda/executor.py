"""Runs a plan on the device: a stream of launches, the same each step, replayed as a CUDA graph.

Everything that a step touches lies in one allocation, made with the executor.  Parameters and state
are copied there when a call begins and back when it ends, in whole arenas: the caller's arrays are
the truth between calls, so that a model may go on with any backend.  Data stays on the device from
one call to the next until `release`.  A step takes its rows in the order that lies there, too, and
adds losses and metrics up there.

The processor hands out steps ahead of the device, in bursts.  A loss that is not finite is found at
the end of a burst: parameters, state and totals are then put back as they were before it, and the
steps up to the bad one made again, which gives the same bits.

A step in Python runs on the processor, with copies of what it reads: such a plan is launched op by
op, and waits for each of them.
"""

from __future__ import annotations

import math
import os
from functools import partial
from itertools import pairwise
from threading import Lock
from time import perf_counter
from typing import NamedTuple

import numpy as np

from fusedmlp.kernels.layout import read
from fusedmlp.spec import OPTIMIZERS

from . import (
    activations,
    arithmetic,
    dense,
    features,
    losses,
    masks,
    matmul,
    memory,
    metrics,
    normalization,
    observing,
    optimizers,
    panels,
    persistent,
    products,
    random,
    sparse,
    steps,
)
from . import parameters as changes
from .device import SIMULATED, Array, matrix, vector
from .graph import Graph

__all__ = ["Executor"]

_BURST = 256  # most steps that are handed out before the device is waited for
_PATIENCE = math.inf if SIMULATED else 0.1  # seconds that a burst may take and the next be longer
_BOUND = 8  # numbers of rows for which bound launches are kept
_ROWS = 1 << 20  # most rows that are predicted between two copies
_SHARE = 0.8  # of the free memory that data may take as a whole
_WINDOW = 64 << 20  # bytes of data at a time where it does not fit
_SELU_SCALE, _SELU_ALPHA = 1.0507009873554805, 1.6732632423543772


class Executor:
    """See the contract in `fusedmlp.kernels`."""

    def __init__(self, plan, parameters, slots, seed):
        self.plan, self.seed = plan, seed
        self.totals = np.zeros((len(plan.totals), 2))
        self.units = np.zeros(plan.units)
        self.nonfinite = -1
        self.check_finite = True
        self.threads = 1  # of the processor
        self.persistent = True  # whether small networks make many steps in a launch
        self.resident_bytes = None  # most bytes of data that stay on the device; None: what fits
        self._parameters, self._slots = parameters, slots
        self._lock, self._process = Lock(), os.getpid()
        self._stream, self._recorder = memory.stream(), None
        self._differentiates = any(op.phase == "backward" for op in plan.ops)
        self._updates = any(op.phase == "update" for op in plan.ops)
        self._in_python = any(op.op == "python" for op in plan.ops)
        self._every = max((op.attributes["every"] for op in plan.ops if op.phase == "observe"),
                          default=0)
        self._records, self._first_record = None, 0
        self._gradients = np.zeros(max(plan.trainable_size, plan.gradient_size), plan.dtype)
        self._fresh = True  # whether `_gradients` are those of the device
        self._place()
        self._bound, self._graphs = {}, {}
        self._constants, self._spares, self._before = {}, {}, {}
        self._program = persistent.Program.of(self)
        self._data, self._resident, self._constant = (), (), ()
        self._rows, self._done = 0, 0

    # -- memory ----------------------------------------------------------------------------------

    def _place(self):
        """Reserve all memory, and give each buffer its part."""
        plan, held = self.plan, memory.Memory()
        arenas = [(self._parameters, "parameter"), (self._gradients, "gradient")]
        arenas += [(slot, "slot") for slot in self._slots]
        numbers = [held.reserve(array.size, array.dtype) for array, _ in arenas]
        kept = [held.reserve(array.size, array.dtype)
                for array, kind in arenas if kind != "gradient"]
        others = {b.index: held.reserve(self._length(b, plan.batch_size), b.dtype)
                  for b in plan.buffers if b.role not in ("parameter", "parameter_gradient")}
        totals = [held.reserve(2 * len(plan.totals), np.float64) for _ in range(2)]
        self._cuts = panels.cuts(plan, len(self._slots))
        longest = max((a.size for a, _ in arenas), default=0) if any(self._cuts[:2]) else 0
        staging = held.reserve(longest, plan.dtype)
        size = products.workspace_bytes(plan)
        workspace = held.reserve(size, np.uint8)
        units = [held.reserve(plan.units, np.float64) for _ in range(2)]
        notes = held.reserve(2, np.int64)
        clock = held.reserve(steps.CLOCK, np.int64)
        scalars = held.reserve(steps.SCALARS, np.float64)
        held.allocate()
        self._memory = held
        parts = [held.part(number) for number in numbers]
        self._arena, self._gradient_arena, *self._slot_arenas = parts
        self._totals, kept_totals = map(held.part, totals)
        self._units, kept_units = map(held.part, units)
        self._notes = held.part(notes)
        self._changed = [self._arena, *self._slot_arenas, self._totals, self._units]  # by a step
        self._kept = [*map(held.part, kept), kept_totals, kept_units]
        self._staging = held.part(staging)  # of arenas between the host's form and the device's
        self._workspace = vector(held.part(workspace), size) if size else None  # of cuBLASLt
        self._clock = vector(held.part(clock), steps.CLOCK)
        self._held_clock = held.part(clock)
        self._scalars = vector(held.part(scalars), steps.SCALARS)
        self._sums = vector(self._totals, 2 * max(len(plan.totals), 1))
        self._buffers = {index: held.part(number) for index, number in others.items()}
        known = {**dict(zip(map(id, parts), numbers, strict=True)),
                 **{id(self._buffers[index]): number for index, number in others.items()}}
        self._offsets = {part: held.offset(number) for part, number in known.items()}
        self._order, self._rates = self._numbers(1, np.int64), self._numbers(1, np.float64)
        self._written = self._numbers(1, np.float64)
        self._out = {}

    def element(self, held):
        """Where a part begins in the whole memory, in elements of the plan's dtype."""
        return self._offsets[id(held)] // np.dtype(self.plan.dtype).itemsize

    @staticmethod
    def _numbers(length, dtype):
        """A part of its own, for what grows with the data."""
        held = memory.Memory()
        number = held.reserve(length, dtype)
        held.allocate()
        return held.part(number)

    def _length(self, buffer, rows):
        count = rows * buffer.repeat if buffer.rows is None else buffer.rows
        return count * (1 if _is_vector(buffer) else buffer.columns)

    def _view(self, index, rows):
        """The `device.Array` of a buffer for so many rows of a batch."""
        buffer = self.plan.buffers[index]
        if buffer.role in ("parameter", "parameter_gradient"):
            arena = self._arena if buffer.role == "parameter" else self._gradient_arena
            return _parameter(arena, buffer)
        held = self._buffers[index]
        count = rows * buffer.repeat if buffer.rows is None else buffer.rows
        if _is_vector(buffer) or buffer.role == "statistics":
            return vector(held, count if _is_vector(buffer) else buffer.columns)
        return matrix(held, count, buffer.columns)

    def buffer(self, index):
        """A copy of what the last step left in a buffer."""
        buffer = self.plan.buffers[index]
        if buffer.role in ("parameter", "parameter_gradient"):
            arena = self._parameters if buffer.role == "parameter" else self.gradients
            flat = arena[buffer.offset : buffer.offset + buffer.rows * buffer.pitch]
            return np.array(read(flat, buffer.rows, buffer.columns))
        return self.taken(index, self._rows)

    def taken(self, index, rows):
        """A copy of what the device has in a buffer, of so many rows of a batch."""
        buffer = self.plan.buffers[index]
        if buffer.role in ("parameter", "parameter_gradient"):
            flat = self._fetched(self._part(buffer))
            return flat.reshape(buffer.rows, buffer.pitch)[:, : buffer.columns].copy()
        values = self._fetched(self._buffers[index])[: self._length(buffer, rows)]
        return values if _is_vector(buffer) else values.reshape(-1, buffer.columns)

    def put(self, index, array):
        """Let a buffer of the device hold this."""
        buffer = self.plan.buffers[index]
        if buffer.role in ("parameter", "parameter_gradient"):
            rows = np.zeros((buffer.rows, buffer.pitch), array.dtype)
            rows[:, : buffer.columns] = array
            self._send(rows, self._part(buffer))
        else:
            self._send(array, self._buffers[index])

    def _part(self, buffer):
        """What a parameter or its gradient takes of the device's arena."""
        arena = self._arena if buffer.role == "parameter" else self._gradient_arena
        return arena[buffer.offset : buffer.offset + buffer.rows * buffer.pitch]

    @property
    def gradients(self):
        """The flat gradient arena."""
        if not self._fresh:
            self._fetch_arena(self._gradient_arena, self._gradients, self._cuts[1])
            self._fresh = True
        return self._gradients

    def record(self, records, first):
        """Write observations into `records`, whose first row is number `first`."""
        self._records, self._first_record = records, first

    def keep(self, data):
        """Let copies of these arrays stay on the device until `release`."""
        self._constant = tuple(data)

    def release(self):
        """Let go of data."""
        self._constant = ()
        self._drop()

    def _drop(self):
        if self._resident:
            self._data, self._resident = (), ()
            self._bound.clear()
            self._graphs.clear()

    def constant(self, values, dtype=np.float64):
        """A vector of what does not change."""
        values = np.array(values, dtype)
        key = values.tobytes(), values.dtype
        if key not in self._constants:
            self._constants[key] = held = self._numbers(values.size, dtype)
            self._send(values, held)
        return vector(self._constants[key], values.size)

    def spare(self, key, length, dtype=None):
        """A vector for what a kernel computes and nobody asked for, the same for a key."""
        held = self._spares.setdefault(key, [])  # shorter ones are part of launches made before
        if not held or len(held[-1]) < length:
            held.append(self._numbers(length, dtype or self.plan.dtype))
        return vector(held[-1], length)

    def book(self):
        """Where observations are written."""
        return _Book(self._scalars, vector(self._notes, 2),
                     vector(self._written, len(self._written)),
                     vector(self._units, max(self.plan.units, 1)), len(self.plan.observations))

    def _alone(self):
        """The lock of calls, which share the buffers."""
        if self._process != os.getpid():
            if not SIMULATED:
                raise RuntimeError(
                    "A model that has computed on a GPU can't go on there in a forked process, "
                    "which CUDA does not allow. Start processes with the method 'spawn', or "
                    "compute on the CPU there: with fusedmlp.device('cpu')"
                )
            self._lock, self._process = Lock(), os.getpid()
        return self._lock

    def _send(self, array, held):
        if array.size:
            held[: array.size].copy_to_device(np.ascontiguousarray(array).reshape(-1),
                                              stream=self._stream)

    def _fetch(self, held, array):
        if array.size:
            held[: array.size].copy_to_host(array.reshape(-1), stream=self._stream)
            memory.synchronize(self._stream)

    def _fetched(self, held):
        array = np.empty(held.shape, held.dtype)
        self._fetch(held, array)
        return array

    def _send_arena(self, array, held, parts):
        """The same for an arena, of which these parts are cut into panels."""
        self._send(array, self._staging if parts else held)
        if parts:
            held.copy_to_device(self._staging[: len(held)], stream=self._stream)
            panels.unpack(self._stream, self._staging, held, parts)

    def _fetch_arena(self, held, array, parts):
        if parts:
            staging = self._staging[: len(held)]
            staging.copy_to_device(held, stream=self._stream)
            panels.pack(self._stream, held, staging, parts)
            held = staging
        self._fetch(held, array)

    def _load(self):
        """What the caller may have changed since the last call."""
        of_parameters, of_gradients, of_slots = self._cuts
        self._send_arena(self._parameters, self._arena, of_parameters)
        if self._updates:
            for slot, held, parts in zip(self._slots, self._slot_arenas, of_slots, strict=True):
                self._send_arena(slot, held, parts)
        if self._updates and not self._differentiates:
            self._send_arena(self._gradients, self._gradient_arena, of_gradients)

    def _store(self):
        """What steps have changed."""
        of_parameters, _, of_slots = self._cuts
        self._fetch_arena(self._arena, self._parameters, of_parameters)
        if self._updates:
            for slot, held, parts in zip(self._slots, self._slot_arenas, of_slots, strict=True):
                self._fetch_arena(held, slot, parts)
        self._fetch(self._totals, self.totals)
        self._fetch(self._units, self.units)
        self._fresh = not self._differentiates

    def _copy(self, sources, targets):
        for source, target in zip(sources, targets, strict=True):
            target.copy_to_device(source, stream=self._stream)

    # -- data ------------------------------------------------------------------------------------

    def _fits(self, data):
        if _same(data, self._data):  # and so lies there
            return True
        limit = self.resident_bytes
        if limit is None:
            limit = _SHARE * memory.free()
        return sum(memory.size(a) for a in data if not memory.on_device(a)) <= limit

    def _there(self, data):
        """Bring data to the device, but for what lies there already."""
        if not _same(data, self._data):
            self._drop()
            self._data, self._resident = tuple(data), tuple(map(self._sent, data))

    def _sent(self, array):
        if memory.is_compressed(array):
            first, last = array.starts[0], array.starts[-1]
            return sparse.CompressedRows(*map(self._sent, (
                array.values[first:last], array.columns[first:last], array.starts - first)))
        if memory.on_device(array):
            held = memory.adopt(array, self._stream)
        else:
            held = self._numbers(array.size, array.dtype)
            self._send(array, held)
        return memory.described(held, array.shape)

    def _grown(self, held, array, sends=True):
        """A part that `array` fits in, and lies in after this where it `sends` it."""
        if len(held) < array.size:
            held = self._numbers(max(array.size, 2 * len(held)), array.dtype)
            self._bound.clear()
            self._graphs.clear()
        if sends:
            self._send(array, held)
        return held

    # -- running ---------------------------------------------------------------------------------

    def run(self, data, order, batch_size, start, stop, learning_rate, iteration, budget):
        """Run the steps `start` to `stop`; returns the first one not run."""
        end = perf_counter() + budget
        with self._alone():
            if start >= stop:
                return stop
            self._load()
            self._send(self.totals, self._totals)
            self._send(self.units, self._units)
            self._open_records()
            self._done = iteration
            try:
                for first, last, arrays, rows in self._windows(data, order, batch_size, start,
                                                               stop):
                    step = self._train(arrays, rows, batch_size, first, last,
                                       np.asarray(learning_rate[first:last], np.float64),
                                       iteration + first - start, end)
                    if step < last or self.nonfinite >= 0 or perf_counter() >= end:
                        return step
                return stop
            finally:
                self._store()
                self._fetch_records(iteration)
                if not _same(data, self._constant):
                    self._drop()

    def _open_records(self):
        """Tell the steps to come which rows of the records there are."""
        if not self._every:
            return
        records = () if self._records is None else self._records
        self._send(np.array([self._first_record, len(records)]), self._notes)
        if len(records):
            self._written = self._grown(self._written, records, sends=False)

    def _fetch_records(self, iteration):
        """Copy the rows that the steps from number `iteration` on have written."""
        if self._every and self._records is not None:
            first, last = (np.clip(count // self._every - self._first_record, 0,
                                   len(self._records)) for count in (iteration, self._done))
            if first < last:
                found = self._fetched(self._written)[: self._records.size]
                self._records[first:last] = found.reshape(self._records.shape)[first:last]

    def _windows(self, data, order, size, start, stop):
        """Steps with their arrays and the rows of these: all at once where the data fits."""
        rows = np.asarray(order[start * size : stop * size], np.int64)
        if self._fits(data):
            yield start, stop, data, rows
            return
        bytes_of_step = size * sum(memory.size(a) // max(len(a), 1) for a in data)
        each = max(1, min(_WINDOW, self.resident_bytes or _WINDOW) // max(bytes_of_step, 1))
        for first in range(start, stop, each):
            last = min(first + each, stop)
            picked = rows[(first - start) * size : (last - start) * size]
            arrays = tuple(a.take(picked) if memory.is_compressed(a)
                           else np.take(a, picked, axis=0, mode="clip") for a in data)
            yield first, last, arrays, np.arange(len(picked))
            self._drop()

    def _train(self, data, rows, size, first, last, rates, iteration, end):
        """The steps `first` to `last` of which row number 0 of `rows` is the first."""
        self._there(data)
        self._order = self._grown(self._order, rows)
        self._rates = self._grown(self._rates, rates)
        step, burst, begun = first, 1, perf_counter()
        watched = self.check_finite and bool(self.plan.totals)
        while step < last:
            stop = min(step + burst, last)
            if watched:
                self._copy(self._changed, self._kept)
            self._set_clock(step - first, iteration + step - first)
            self._steps(rows, size, step - first, stop - first)
            bad = int(self._fetched(self._held_clock)[2])
            if watched and bad >= 0:
                if bad + 1 < stop - first:
                    self._again(rows, size, step - first, bad, iteration)
                self.nonfinite = first + bad
                self._done = iteration + bad + 1
                return self.nonfinite + 1
            step = stop
            self._done = iteration + step - first
            now = perf_counter()
            if now >= end:
                return step
            if not self._in_python and now - begun < _PATIENCE:
                burst = min(2 * burst, _BURST)
            begun = now
        return last

    def _again(self, rows, size, first, bad, iteration):
        """Put back what steps from `first` on have changed, and make those up to `bad` again."""
        self._copy(self._kept, self._changed)
        self._set_clock(first, iteration + first)
        self._steps(rows, size, first, bad + 1)
        memory.synchronize(self._stream)

    def _steps(self, rows, size, first, stop):
        """Enqueue the steps `first` to `stop` over these rows."""
        if self.persistent and self._program is not None:
            self._rows = len(rows[(stop - 1) * size : stop * size])
            self._program.enqueue(self._stream, len(rows), size, stop - first)
            for source in self._program.labels:  # which the launch keeps as other numbers
                self._gather(source, size, self._rows)(self._stream)
            return
        for number in range(first, stop):
            self._step(len(rows[number * size : (number + 1) * size]), size)

    def _set_clock(self, step, iteration):
        """Let the next step be this one."""
        self._send(np.array([step - 1, iteration - 1, -1], np.int64), self._held_clock)

    def _step(self, rows, size):
        self._rows = rows
        key = rows, size
        if SIMULATED or self._in_python:
            self._launch(key, self._stream)
            return
        self._calls(key)  # nothing else may be enqueued while launches are recorded
        recorded = *key, *matmul().values()  # of which a change is measured before it is recorded
        graph = self._graphs.get(recorded)
        if graph is None and recorded in self._graphs:  # launched once, so that all is compiled
            if len(self._graphs) > 4 * _BOUND:
                self._graphs.clear()
            if self._recorder is None:
                self._recorder = memory.recorder()
            graph = self._graphs[recorded] = Graph(int(self._recorder.handle),
                                                   partial(self._launch, key, self._recorder))
        if graph is None:
            self._graphs[recorded] = None
            self._launch(key, self._stream)
        else:
            graph.start(int(self._stream.handle))

    def _launch(self, key, stream):
        for call in self._calls(key):
            call(stream)

    def _calls(self, key):
        calls = self._bound.get(key)
        if calls is None:
            if len(self._bound) >= 4 * _BOUND:
                del self._bound[next(iter(self._bound))]
            binding = _Binding(self, *key)
            calls = self._bound[key] = binding.calls()
        return calls

    def _gather(self, source, size, rows):
        """The launch that fetches the rows of a step from the data of that number."""
        index = self.plan.inputs[source]
        order = vector(self._order, len(self._order))
        launch = (sparse.gather if self.plan.buffers[index].role == "sparse" else steps.gather)
        return _later(launch, self._resident[source], order, self._clock, size, rows,
                      self._view(index, rows))

    # -- predicting ------------------------------------------------------------------------------

    def forward(self, x, out):
        """Predictions of all rows of x, batch by batch."""
        x, out = (x, out) if isinstance(x, tuple) else ((x,), (out,))
        with self._alone():
            self._load()
            try:
                total, size = len(x[0]), self.plan.batch_size
                block = max(size, _ROWS // size * size)
                for first in range(0, total, block):
                    last = min(first + block, total)
                    self._predict(tuple(a[first:last] for a in x), last - first,
                                  tuple(a[first:last] for a in out))
            finally:
                self._drop()

    def _predict(self, x, total, out):
        size = self.plan.batch_size
        self._there(x)
        self._order = self._grown(self._order, np.arange(total))
        self._rates = self._grown(self._rates, np.zeros(-(-total // size)))
        results = []
        for number, array in enumerate(out):
            known = self._out.get(number)
            if known is None or len(known) < array.size:
                known = self._out[number] = self._numbers(array.size, array.dtype)
            results.append(known)
        self._set_clock(0, 0)
        for first in range(0, total, size):
            rows = min(size, total - first)
            self._step(rows, size)
            for index, target, array in zip(self.plan.outputs, results, out, strict=True):
                held, columns = self._buffers[index], array.size // max(total, 1)
                steps.put(self._stream, vector(held, rows * columns),
                          vector(target, rows * columns, first * columns))
        for target, array in zip(results, out, strict=True):
            if memory.on_device(array):
                memory.adopt(array, self._stream).copy_to_device(target[: array.size],
                                                                 stream=self._stream)
                memory.synchronize(self._stream)
            elif array.flags.c_contiguous:
                self._fetch(target, array)
            else:
                array[...] = self._fetched(target)[: array.size].reshape(array.shape)


def _same(some, others):
    return len(some) == len(others) and all(a is b for a, b in zip(some, others, strict=True))


def _is_vector(buffer):
    return buffer.role in ("row", "weight") or (buffer.dtype == "int64" and buffer.columns == 1)


def _parameter(held, buffer, offset=None):
    """The `device.Array` of a parameter, or of what lies like it; one row comes as a vector."""
    offset = buffer.offset if offset is None else offset
    if buffer.rows == 1:
        return vector(held, buffer.columns, offset)
    return matrix(held, buffer.rows, buffer.columns, offset, buffer.pitch)


def _biases(ops):
    """Which column sums come out of a product's own pass: numbers of the two, by the product's."""
    return {number: number + 1 for number, (op, following) in enumerate(pairwise(ops))
            if op.op == "dense_dw" and following.op == "dense_db"
            and following.inputs[0] == op.inputs[1]}


class _Book(NamedTuple):
    """Where observations are written, and what says which step writes which row."""

    rates: Array
    notes: Array
    records: Array
    units: Array
    width: int  # observations of a row


_OPERATIONS = {**arithmetic.OPERATIONS, **normalization.OPERATIONS}
_OF_SAMPLES = masks.OPERATIONS  # which are told how many samples there are

# -- one method per op: arrays in, function of a stream out ---------------------------------------


class _Binding:
    """The launches of a step of `rows` rows."""

    def __init__(self, executor, rows, size):
        self.executor, self.plan, self.rows, self.size = executor, executor.plan, rows, size
        self.number = 0  # of the op that is being bound

    def calls(self):
        """All of them in order, each a function of the stream."""
        executor = self.executor
        rates = vector(executor._rates, len(executor._rates))
        found = [_later(steps.begin, executor._clock, rates, executor._scalars)]
        with_bias = _biases(self.plan.ops)
        for number, op in enumerate(self.plan.ops):
            if number in with_bias.values():
                continue
            self.number = number
            inputs = [self.view(i) for i in op.inputs]
            outputs = [self.view(i) for i in op.outputs]
            if number in with_bias:
                outputs.append(self.view(self.plan.ops[with_bias[number]].outputs[0]))
            if op.op in _OPERATIONS:
                found.append(_later(_OPERATIONS[op.op], inputs, outputs, **op.attributes))
                continue
            if op.op in _OF_SAMPLES:
                found.append(_later(_OF_SAMPLES[op.op], inputs, outputs, self.rows,
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
        return _later(dense.enqueue_dense_db, inputs[0], outputs[0])

    def _dense_dx(self, inputs, outputs, activation, params, precision=None):
        return self._product(products.enqueue_dense_dx, precision, *_pad(inputs, 3), activation,
                             params, outputs[0])

    def _product(self, function, precision, *arguments):
        return _later(function, *arguments, precision=precision,
                      workspace=self.executor._workspace, full=self.size)
    def _sparse_dense(self, inputs, outputs, activation, params, source):
        (extents, kernel, *bias), y = inputs, outputs[0]
        z = outputs[-1]
        found = [_later(sparse.sparse_product, self.executor._resident[source], extents, kernel,
                        *_pad(bias, 1), z)]
        if activation != "linear":
            found.append(_later(activations.enqueue_activation, activation, z, params, y))
        return found

    def _densify(self, inputs, outputs, source):
        return _later(sparse.densify, self.executor._resident[source], inputs[0], outputs[0])

    def _sparse_dw(self, inputs, outputs, source):
        return _later(sparse.sparse_dw, self.executor._resident[source], *inputs, outputs[0])

    # -- features and steps in Python ------------------------------------------------------------

    def _column_affine(self, inputs, outputs, before, scale, after):
        columns = inputs[0].columns
        constants = [np.broadcast_to(values, columns) for values in (before, scale, after)]
        held = self.executor.constant(np.concatenate(constants), self.plan.dtype)
        return _later(features.column_affine, inputs, outputs, held)

    def _feature_norm(self, inputs, outputs, least, invert, center):
        return _later(features.feature_norm, inputs, outputs, least, invert, center)

    def _digitize(self, inputs, outputs, boundaries):
        held = self.executor.constant(boundaries, self.plan.dtype)
        return _later(features.digitize, inputs, outputs, held)

    def _encode(self, inputs, outputs, depth, kind):
        return _later(features.encode, inputs, outputs, depth, kind)

    def _take_columns(self, inputs, outputs, index):
        held = self.executor.constant(index, np.int64)
        return _later(features.take_columns, inputs, outputs, held)

    def _put_columns(self, inputs, outputs, index):
        held = self.executor.constant(features.inverse(index, outputs[0].columns), np.int64)
        return _later(features.put_columns, inputs, outputs, held)

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
        return _later(activations.enqueue_activation, activation, inputs[0], params, outputs[0])

    def _activation_grad(self, inputs, outputs, activation, params):
        return _later(activations.enqueue_activation_grad, activation, *inputs, params, outputs[0])

    def _prelu(self, inputs, outputs):
        return _later(activations.enqueue_prelu, *inputs, outputs[0])

    def _prelu_grad(self, inputs, outputs):
        dx, *dalpha = outputs
        spare = dalpha[0] if dalpha else self.spare(inputs[2].columns)
        return _later(activations.enqueue_prelu_grad, *inputs, dx, spare)

    def _dropout(self, inputs, outputs, rate, stream, seed):
        return self._dropped(inputs, outputs, rate, stream, seed, 1.0 / (1.0 - rate), (0.0, 0.0))

    def _alpha_dropout(self, inputs, outputs, rate, stream, seed):
        low = -_SELU_SCALE * _SELU_ALPHA
        a = ((1.0 - rate) * (1.0 + rate * low**2)) ** -0.5
        b = -a * low * rate
        return self._dropped(inputs, outputs, rate, stream, seed, a, (a * low + b, b))

    def _dropped(self, inputs, outputs, rate, stream, seed, keep, shift):
        return _later(random.enqueue_dropout, inputs[0], rate, self._seed(seed), stream,
                      self.executor._scalars, keep, shift, *outputs)

    def _gaussian_dropout(self, inputs, outputs, stddev, stream, seed):
        return _later(random.enqueue_normal, inputs[0], 1.0, stddev, self._seed(seed), stream,
                      self.executor._scalars, True, *outputs)

    def _gaussian_noise(self, inputs, outputs, stddev, stream, seed):
        return _later(random.enqueue_normal, inputs[0], 0.0, stddev, self._seed(seed), stream,
                      self.executor._scalars, False, outputs[0], None)

    def _seed(self, seed):
        return self.executor.seed if seed is None else seed

    # -- losses, metrics, penalties --------------------------------------------------------------

    def _softmax_cross_entropy(self, inputs, outputs, label_smoothing, ignore_index, reduction,
                               weight):
        p, labels, sample_weight = _pad(inputs, 3)
        found, gradient, hits = _pad(outputs, 3)
        return self._over_counted(
            lambda scale: _later(losses.enqueue_softmax_cross_entropy, p, labels, sample_weight,
                                 label_smoothing, ignore_index, scale, found, gradient, hits),
            labels, sample_weight, ignore_index, reduction, weight, outputs)

    def _row_loss(self, inputs, outputs, loss, params, label_smoothing, ignore_index, reduction,
                  weight):
        p, labels, sample_weight = _pad(inputs, 3)
        return self._over_counted(
            lambda scale: _later(losses.enqueue_row_loss, loss, p, labels, sample_weight,
                                 label_smoothing, ignore_index, params, scale, *_pad(outputs, 2)),
            labels, sample_weight, ignore_index, reduction, weight, outputs)

    def _elementwise_loss(self, inputs, outputs, loss, params, label_smoothing, reduction, weight):
        p, labels, sample_weight = _pad(inputs, 3)
        return self._over_counted(
            lambda scale: _later(losses.enqueue_elementwise_loss, loss, p, labels, params,
                                 sample_weight, label_smoothing, scale, *_pad(outputs, 2)),
            labels, sample_weight, None, reduction, weight, outputs)

    def _distribution_loss(self, inputs, outputs, loss, params, reduction, weight):
        p, labels, sample_weight = _pad(inputs, 3)
        return self._over_counted(
            lambda scale: _later(losses.enqueue_distribution_loss, loss, p, labels, params,
                                 sample_weight, scale, *_pad(outputs, 2)),
            labels, sample_weight, None, reduction, weight, outputs)

    def _overlap_loss(self, inputs, outputs, loss, params, axis, reduction, weight):
        p, labels, sample_weight = _pad(inputs, 3)
        return self._over_counted(
            lambda scale: _later(losses.enqueue_overlap_loss, loss, axis, p, labels, params,
                                 sample_weight, scale, *_pad(outputs, 2)),
            labels, sample_weight, None, reduction, weight, outputs)

    def _pair_loss(self, inputs, outputs, loss, params, reduction, weight):
        worked_with = self.spare(losses.pair_statistics(self.rows), np.float64)
        return _later(losses.enqueue_pair_loss, loss, *_pad(inputs, 3), reduction == "mean",
                      params, _scale(reduction, weight, self.rows), *_pad(outputs, 2),
                      worked_with)

    def _over_counted(self, loss, labels, sample_weight, ignore_index, reduction, weight, outputs):
        """A loss whose mean is over the rows or weights that count; totals are divided by all."""
        values, gradient = _pad(outputs, 2)[:2]
        ignores = ignore_index is not None and labels.dtype == np.int64
        if reduction in ("sum", "mean_of_all") or (reduction == "mean" and not ignores):
            return loss(_scale(reduction, weight, values.size))
        return [loss(weight), _later(
            steps.rescale, labels, ignore_index,
            sample_weight if reduction == "weighted_mean" else None, values, gradient)]

    def _score(self, inputs, outputs, score, params):
        return _later(metrics.enqueue_score, score, *inputs, params, *outputs)

    def _tally(self, inputs, outputs, tally, total, options, size):
        executor = self.executor
        held = executor.constant(options)
        return _later(metrics.enqueue_tally, tally, *_pad(inputs, 3), held,
                      vector(executor._totals, size, 2 * total))

    def _reduce(self, inputs, outputs, total, reduction, weight, counts):
        executor = self.executor
        values, weights = _pad(inputs, 2)
        return _later(steps.reduce, values, weights, self.rows, reduction == "sum", counts,
                      self.plan.totals[total] == "loss", weight, executor._sums, total,
                      executor._clock)

    def _penalty(self, inputs, outputs, total, l1, l2, per_rows):
        executor = self.executor
        return _later(steps.penalty, *_pad(inputs, 2), self.rows, l1, l2, per_rows,
                      executor._sums, total, executor._clock)

    def _penalty_grad(self, inputs, outputs, l1, l2, per_rows, adds):
        return _later(steps.penalty_grad, *_pad(inputs, 2), self.rows, l1, l2, per_rows, adds,
                      outputs[0])

    def _activity_penalty(self, inputs, outputs, linear, l1, l2):
        return _later(changes.activity_penalty, inputs[0], *_pad(outputs, 2), self.rows, linear,
                      l1, l2)

    def _orthogonal_penalty(self, inputs, outputs, total, factor, mode, adds):
        executor, (w,) = self.executor, inputs
        scratch = [self.spare(length, np.float64, name=i)
                   for i, length in enumerate(changes.orthogonal_scratch(w, mode))]
        return _later(changes.orthogonal_penalty, w, *_pad(outputs, 1), scratch, self.rows,
                      factor, mode, adds, executor._sums, total, executor._clock)

    # -- parameters besides the update -----------------------------------------------------------

    def _constrain(self, inputs, outputs, **attributes):
        return _later(changes.constrain, inputs[0], **attributes)

    def _spectral_norm(self, inputs, outputs, iterations, epsilon):
        left, right = (self.spare(length, np.float64, name=i)
                       for i, length in enumerate(changes.spectral_scratch(inputs[0])))
        return _later(changes.spectral_norm, *inputs, left, right, iterations, epsilon)

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
        return _later(function, *(vector(arena, size, at) for arena in arenas),
                      rates=self.executor._scalars, **named)

    # -- observations ----------------------------------------------------------------------------

    def _observe(self, inputs, outputs, record, every, units, activation, params, below):
        y, *saved = inputs
        sums = self.spare(2 * y.columns, np.float64)
        return _later(observing.columns, y, *_pad(saved, 1), sums, self.executor.book(), every,
                      record, units, activation, params, below)

    def _observe_parameter(self, inputs, outputs, record, every):
        return _later(observing.parameter, *inputs, *self._kept(inputs[0], record),
                      self.executor.book(), every, record)

    def _observe_update(self, inputs, outputs, record, every):
        return _later(observing.update, inputs[0], *self._kept(inputs[0], record),
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
            _later(optimizers.enqueue_update, optimizer, vector(executor._arena, size, place[0]),
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
                    held.append(_parameter(arena, buffer, places[k]))
            work = self.spare(*optimizers.scratch(optimizer, buffer.rows, buffer.columns,
                                                  self.plan.dtype), name=k)
            found.append(_later(
                optimizers.enqueue_whole_update, optimizer, _parameter(executor._arena, buffer),
                _parameter(executor._gradient_arena, buffer), held, executor._scalars, rate,
                every, [*params, 0.0 if exempt[k] else decay], work))
        return found


def _later(function, *arguments, **named):
    """A function of the stream, which comes first among the arguments."""
    return lambda stream: function(stream, *arguments, **named)


def _scale(reduction, weight, rows):
    """The factor of the gradient of a loss of so many rows."""
    return weight if reduction == "sum" else weight / max(rows, 1)


def _pad(arrays, length):
    return [*arrays, *[None] * (length - len(arrays))]
