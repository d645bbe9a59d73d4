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
from threading import Lock
from time import perf_counter

import numpy as np

from fusedmlp.kernels.layout import read

from . import matmul, memory, panels, persistent, products, sparse, steps
from .binding import Binding, later
from .device import SIMULATED, matrix, vector
from .graph import Graph
from .observing import Book

__all__ = ["Executor"]

_BURST = 256  # most steps that are handed out before the device is waited for
_PATIENCE = math.inf if SIMULATED else 0.1  # seconds that a burst may take and the next be longer
_BOUND = 8  # numbers of rows for which bound launches are kept
_ROWS = 1 << 20  # most rows that are predicted between two copies
_SHARE = 0.8  # of the free memory that data may take as a whole
_WINDOW = 64 << 20  # bytes of data at a time where it does not fit


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
            return memory.parameter(arena, buffer)
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
        return Book(self._scalars, vector(self._notes, 2),
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
            binding = Binding(self, *key)
            calls = self._bound[key] = binding.calls()
        return calls

    def _gather(self, source, size, rows):
        """The launch that fetches the rows of a step from the data of that number."""
        index = self.plan.inputs[source]
        order = vector(self._order, len(self._order))
        launch = (sparse.gather if self.plan.buffers[index].role == "sparse" else steps.gather)
        return later(launch, self._resident[source], order, self._clock, size, rows,
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
