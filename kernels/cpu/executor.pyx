"""Runs a plan without returning to Python: many steps in one call, without the interpreter lock.

A plan is translated once into an array of C structs (steps.pxd), which threads carry out
(operations.pyx).  How many of them is decided by measuring, and does not change the result.
"""

cimport numpy as cnp
from libc.math cimport INFINITY
from libc.stdint cimport int32_t, int64_t, uintptr_t
from libc.string cimport memset
from cpython.pythread cimport (
    NOWAIT_LOCK, PyThread_acquire_lock, PyThread_allocate_lock, PyThread_free_lock,
    PyThread_release_lock, PyThread_type_lock, WAIT_LOCK,
)

from .activations cimport pack_params
from .native cimport (
    FM_ALL, FM_COLUMNS, FM_COLUMNS_SUM, FM_LAYER_NORM, FM_LINE, FM_PANEL, FM_RELU, FM_RELU_GRAD,
    FM_RMS_NORM, FM_ROWS, FM_STORE, FM_UNIT_NORM, bfloat16_kernels, fm_kernels, fm_losses,
    kernels_for, run, thread_limit, threads_always, threads_for,
)
from .operations cimport forward_task, one_row_task, train_task, weights_step
from .optimizers cimport CHUNK, whole_phases, whole_rule, whole_scratch, whole_sums
from .products cimport groups_of, part_start
from .steps cimport (
    ACCUMULATE, ACTIVITY_PENALTY, ADD, AFFINE, ALPHA_DROPOUT, AVERAGE, Base, BASES, BATCH_NORM_DX,
    BATCH_NORM_SUMS, BATCH_STATISTICS, BROADCAST, CHANGE, clock, Code, COLLECT, COLUMN_AFFINE,
    COMBINE, CONSTRAIN, COPIES, COPY_GROUPS, DATA, Data, DENSE, DENSE_DB, DENSE_DW, DENSE_DX,
    DENSIFY, DIGITIZE, DISTRIBUTION_LOSS, DIVIDE, DROPOUT, ELEMENTWISE_LOSS, EMBEDDING,
    EMBEDDING_GRAD, ENCODE, EXTREME_GRAD, FEATURE_NORM, FOLD_STATISTICS, GAMMA_GRAD, GATHER,
    GAUSSIAN_DROPOUT, GAUSSIAN_NOISE, GRADIENTS, GROUP_DB, GROUP_DW, KEEP, KEEP_STEPS, LOG, MAP,
    MAP_GRAD, MAX_DATA, MAXIMUM, MAXOUT, MAXOUT_GRAD, MINIMUM, MULTIPLY, OBSERVE, Operand,
    ORTHOGONAL_PENALTY, OVERLAP_LOSS, OVERLAP_SUMS, OWN, PAIR_COLUMNS, PAIR_GRAD, PAIR_KERNEL,
    PAIR_LOSS, PAIR_ROWS, PARAMETERS, PARTS, PENALTY, PENALTY_GRAD, PENALTY_TOTAL, POOL, POOL_GRAD,
    POWER, PRELU, PRELU_DALPHA, PRELU_DX, PUT_COLUMNS, PYTHON, RECORD, REDUCE, RESHAPE, ROW_DOT,
    ROW_LOSS, ROW_MAP, ROW_MAP_GRAD, ROW_NORM, ROW_NORM_GRAD, ROW_SUM, ROW_WEIGHTS, ROWS_TOGETHER,
    Run, SCALE_ROWS, SCALE_SHIFT, SCORE, SOFTMAX_CROSS_ENTROPY, SPARSE_DENSE, SPARSE_DW,
    SPECTRAL_NORM, SQUARES, STANDARDIZE, Step, STEP_MASK, SUBTRACT, SUM_PARTS, TAKE_COLUMNS, TALLY,
    TRANSPOSE, UPDATE, Updating, WHOLE, WORKSPACE,
)

import os
import warnings

import numpy as np

from fusedmlp.kernels.cpu import parts
from fusedmlp.kernels.layout import padded, read, write
from fusedmlp.spec import (
    ACTIVATIONS, ELEMENTWISE, ELEMENTWISE_OPTIMIZERS, SCORES, TALLIES, losses_of,
)

cnp.import_array()

cdef dict _NUMBER = {name: i for i, name in enumerate(ELEMENTWISE)}
# The number of a loss in its kind's table of C functions.
cdef dict _LOSS_NUMBER = {
    name: i for kind in ("elementwise", "row", "distribution", "overlap", "pair")
    for i, name in enumerate(losses_of(kind))
}
cdef dict _SCORE_NUMBER = {name: i for i, name in enumerate(SCORES)}
cdef dict _TALLY_NUMBER = {name: i for i, name in enumerate(TALLIES)}
cdef dict _AXIS = {
    "rows": <int> FM_ROWS, "all": <int> FM_ALL, "columns": <int> FM_COLUMNS,
    "columns_sum": <int> FM_COLUMNS_SUM,
}
cdef dict _DRAWN = {"alpha_dropout": ALPHA_DROPOUT, "gaussian_dropout": GAUSSIAN_DROPOUT,
                    "gaussian_noise": GAUSSIAN_NOISE}
cdef dict _ROW_NORMS = {"layer": FM_LAYER_NORM, "rms": FM_RMS_NORM, "unit": FM_UNIT_NORM}
cdef dict _OPTIMIZER_NUMBER = {name: i for i, name in enumerate(ELEMENTWISE_OPTIMIZERS)}
# Multiply-adds and elements per nanosecond of one core: only to decide about threads.
cdef double _RATE = 45.0
# Nanoseconds of one step from which a second thread may pay.
cdef double _STEP_WORTH = 8e3
cdef double _PARTS_WORTH = 4e3
# Bytes between memory of one thread and that of another, which processors would fetch unasked.
cdef long _APART = 4096
# A run measures itself in slices and goes on with the number of threads that was faster.  The other
# number is tried again once in a while, many threads sooner than one: what slows them passes, such
# as another library's threads that spin for a while after their work.  Seconds, and steps:
cdef double _SLICE = 10e-3
cdef double _TRIAL = 1e-3
cdef double _TRY_MANY_AFTER = 20e-3
cdef double _TRY_ONE_AFTER = 100e-3
# Nanoseconds of a step so long that one thread is not tried where many are as fast as expected.
cdef double _STEP_LONG = 1e6
# A row whose parameters take longer to read is shared by threads, which take tens of microseconds
# to wake; bytes a nanosecond.
cdef double _ROW_WORTH = 55e3
cdef double _ROW_RATE = 94.0
# Calls after which the other number of threads is tried again, and how many in a row: the first
# ones find caches cold.
cdef long _ROW_TRIAL = 256
cdef long _ROW_TRIALS = 8
# Elements of lines that travel between processors in a nanosecond, and nanoseconds of a meeting.
cdef double _TRAVELS = 0.4
cdef double _MEETING = 300.0
# Steps between two looks at the clock, at most and less one: a power of two.
cdef long _MOST_STEPS = 2**20 - 1


cdef inline bint _same(const Operand *a, const Operand *b) noexcept nogil:
    return a.present and a.base == b.base and a.at == b.at


_LATE = ("reduce", "tally", "dense_dw", "sparse_dw", "dense_db", "gamma_grad", "embedding_grad",
         "accumulate", "penalty_grad", "orthogonal_penalty", "collect", "clip", "update", "average",
         "constrain", "observe_parameter", "observe_update")


_BY_SAMPLE = frozenset(("step_mask", "keep_steps", "pool", "pool_grad", "row_weights"))


def _factors(op):
    """What a product of bfloat16 multiplies besides kernels: buffers, and the pairs that it needs.

    Pairs are of neighbours along the sum: within rows, and across them for gradients of kernels.
    """
    if op.op == "dense_dw":
        return [(index, "rows") for index in op.inputs]
    return [(op.inputs[0], "columns")]


cdef int _forks = 0


def _forked():
    """In a forked child: locks that other threads of the parent held are held by nobody now."""
    global _forks
    _forks += 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


def _aligned(long bytes_):
    """Zeroed memory that begins on a cache line."""
    raw = np.zeros(bytes_ + FM_LINE, np.uint8)
    cdef long skip = -<long> (<uintptr_t> cnp.PyArray_DATA(<cnp.ndarray> raw)) % FM_LINE
    if skip < 0:
        skip += FM_LINE
    return raw[skip:skip + bytes_]


cdef int _python(void *owner, int number, long rows) noexcept with gil:
    """A step in Python; what it raises is kept for the caller of the run."""
    executor = <Executor> owner
    try:
        executor._call_python(number, rows)
    except BaseException as error:
        executor._error = error
        return 1
    return 0


cdef class Executor:
    """See the contract in `fusedmlp.kernels`."""

    cdef readonly object plan
    cdef readonly object totals
    cdef readonly object units
    cdef object _records, _kept_memory, _chunks
    cdef public long nonfinite
    cdef public int threads_used  # the most threads that a call has used so far
    cdef double _seconds[2]       # of a step with one thread, with many; 0 where unknown
    cdef double _trial_at
    cdef public bint check_finite
    cdef object _parameters, _slots, _workspace, _gradients, _steps_memory
    cdef object _own, _copies, _claims
    cdef double _row_nanoseconds
    cdef double _row_seconds[2]   # of a row with one thread, with many; 0 where unknown
    cdef long _row_calls
    cdef int _owners          # threads that `_own` has room for
    cdef bint _compressed     # whether an input is a matrix in compressed rows
    cdef object _updatings_memory, _sums_memory, _scratch_memory
    cdef Updating *_updatings
    cdef object _operands, _between, _options
    cdef dict _beside         # by base and place of a bias or its gradient; see Operand
    cdef set _apart           # buffers of which every thread has columns of its own
    cdef int _last_threads    # how many ran the last step
    cdef dict _parted         # (parts, by rows) by base and place; see Operand
    cdef list _python      # (function, inputs, outputs) of the steps in Python
    cdef dict _views       # their arrays, by step and number of rows
    cdef object _error     # what one of them raised
    cdef list _kept  # arrays that steps point to
    cdef Run _run
    cdef Step *_steps
    cdef int _transposes      # that a run begins with
    cdef double _nanoseconds  # of a step, of a row in predictions
    cdef int _workspaces
    cdef PyThread_type_lock _lock  # one call at a time: the workspace is shared
    cdef int _lock_forks           # how often the process had been forked when it was made

    def __cinit__(self, plan, parameters, slots, seed):
        self._lock = PyThread_allocate_lock()
        self._lock_forks = _forks
        if self._lock == NULL:
            raise MemoryError("No memory for a lock")
        self.plan = plan
        self.totals = np.zeros((len(plan.totals), 2))
        self.nonfinite = -1
        self.check_finite = True
        self._parameters = parameters
        self._slots = tuple(slots)
        self._kept = []
        self._records, self._chunks = None, {}
        self._run.observations = len(plan.observations)
        self.units = np.zeros(plan.units)
        self._run.units = <double *> cnp.PyArray_DATA(<cnp.ndarray> self.units)
        self._kept_memory = _aligned(
            plan.trainable_size * (4 if plan.dtype == "float32" else 8) if plan.observations else 0)
        self._run.kept = <char *> cnp.PyArray_DATA(<cnp.ndarray> self._kept_memory)
        self._run.itemsize = 4 if plan.dtype == "float32" else 8
        self._run.kernels = kernels_for(self._run.itemsize)
        self._run.seed = seed & 0xFFFFFFFFFFFFFFFF
        self._run.block = plan.batch_size
        self._run.owner, self._run.python = <void *> self, _python
        self._python, self._views, self._error = [], {}, None
        if not plan.totals and all(op.op != "python" for op in plan.ops):
            self._run.block = min(plan.batch_size, ROWS_TOGETHER)
        self._gradients = _aligned(
            max(plan.trainable_size, plan.gradient_size) * self._run.itemsize)
        self._run.parameters = <char *> cnp.PyArray_DATA(<cnp.ndarray?> parameters)
        self._run.gradients = <char *> cnp.PyArray_DATA(<cnp.ndarray?> self._gradients)
        self._run.totals = <double *> cnp.PyArray_DATA(<cnp.ndarray> self.totals)
        self._translate()

    def __dealloc__(self):
        if self._lock != NULL:
            PyThread_free_lock(self._lock)

    cdef inline void _acquire(self) noexcept:
        cdef PyThread_type_lock fresh
        if self._lock_forks != _forks:
            fresh = PyThread_allocate_lock()
            if fresh != NULL:
                self._lock = fresh
            self._lock_forks = _forks
        if PyThread_acquire_lock(self._lock, NOWAIT_LOCK) == 0:
            with nogil:
                PyThread_acquire_lock(self._lock, WAIT_LOCK)

    # -- translation -------------------------------------------------------------------------

    cdef _translate(self):
        cdef long at = 0
        cdef int i = 0
        cdef long rows
        plan = self.plan
        size = self._run.itemsize
        if max(len(plan.inputs), len(plan.outputs)) > MAX_DATA:
            raise ValueError(
                f"A plan can take and give {MAX_DATA} arrays at most. "
                f"Received: {len(plan.inputs)} inputs and {len(plan.outputs)} outputs"
            )
        direct = self._direct_input()
        self._compressed = any(plan.buffers[i].role == "sparse" for i in plan.inputs)
        self._operands, self._options = [], []
        self._beside, self._parted, self._apart = {}, {}, set()
        for buffer in plan.buffers:
            if buffer.role == "parameter":
                place = (<int> PARAMETERS, buffer.offset * size, buffer.pitch)
            elif buffer.role == "parameter_gradient":
                place = (<int> GRADIENTS, buffer.offset * size, buffer.pitch)
            elif buffer.index == direct:
                place = (<int> DATA, 0, buffer.columns)
            else:
                place = (<int> WORKSPACE, at, buffer.pitch)
                rows = buffer.rows or self._run.block * buffer.repeat
                at += _lines(rows * buffer.pitch * (8 if buffer.dtype == "int64" else size))
            self._operands.append((*place, buffer.columns, buffer.rows or 0,
                                   buffer.dtype == "int64"))
        ops = [op for op in self._scheduled()
               if not (op.op == "gather" and op.outputs[0] == direct)]
        halved = {id(op) for op in ops if op.attributes.get("precision") == "bfloat16"}
        self._run.bfloat16 = bfloat16_kernels() if halved else NULL
        if halved and self._run.bfloat16 == NULL:
            halved = set()
            warnings.warn(
                "The dtype policy 'mixed_bfloat16' asks for products of bfloat16, which need a "
                "processor with AVX512_BF16 and the instruction set 'avx512': products are float32 "
                "here", stacklevel=2)
        # every kernel that dense_dx reads gets a transposed copy, and every one in a product of
        # bfloat16 a copy of those, refreshed where it changes
        copies, paired, memory = {}, {}, 0
        for op in ops:
            if op.op not in ("dense", "dense_dx"):
                continue
            kernel, half = plan.buffers[op.inputs[1]], id(op) in halved
            if op.op == "dense_dx" and kernel.index not in copies:
                rows, pitch = kernel.columns, padded(kernel.rows, size)
                rows = (rows + 1) // 2 if half else rows
                copies[kernel.index] = (<int> COPIES, memory, pitch, kernel.rows, rows, False)
                memory += rows * pitch * size
            elif op.op == "dense" and half and kernel.index not in paired:
                rows = (kernel.rows + 1) // 2
                paired[kernel.index] = (<int> COPIES, memory, kernel.pitch, kernel.columns, rows,
                                        False)
                memory += rows * kernel.pitch * size
        # what such products multiply instead of activations and gradients: pairs along k
        pairs = {}
        for op in ops:
            if id(op) not in halved:
                continue
            for index, kind in _factors(op):
                if (index, kind) in pairs:
                    continue
                buffer = plan.buffers[index]
                rows = self._run.block * buffer.repeat
                if kind == "rows":
                    rows, pitch, columns = (rows + 1) // 2, buffer.pitch, buffer.columns
                else:
                    columns = (buffer.columns + 1) // 2
                    pitch = padded(columns, size)
                    if pitch * size % 1024 == 0:  # rows would lie in the same few cache sets
                        pitch += FM_LINE // size
                pairs[index, kind] = (<int> WORKSPACE, at, pitch, columns, 0, False)
                at += _lines(rows * pitch * size)
        self._copies = _aligned(memory)
        self._run.copies = <char *> cnp.PyArray_DATA(<cnp.ndarray> self._copies)
        updates = self._updates(ops)
        sums = {}
        for op in ops:
            if op.op == "penalty":
                buffer = plan.buffers[op.inputs[0]]
                chunks = -(-buffer.rows * buffer.pitch // CHUNK)
                sums[id(op)] = (<int> WORKSPACE, at, chunks, chunks, 1, False)
                at += _lines(parts.COUNT * chunks * sizeof(double))
        found = parts.find(plan, ops, _LATE, FM_PANEL // size, halved,
                           groups_of(self._run.block) > 1)
        kept = set() if found is None else found.gradients(ops)
        groups, at = self._place_groups(ops, halved | kept, at)
        at = self._place_between_rows(ops, at)
        self._run.parted = found is not None
        if found is not None:
            sums_of_parts, at = self._place_parts(found, at)
            ops.sort(key=lambda op: op.op != "penalty")  # so that threads have met behind them
        self._workspace = _aligned(at)
        self._run.workspace = <char *> cnp.PyArray_DATA(<cnp.ndarray> self._workspace)
        self._run.workspace_bytes = at
        self._workspaces = 1
        total = 2 * (len(copies) + len(paired)) + len(sums) + 3 * len(halved) + len(groups)
        for op in ops:
            total += len(updates[id(op)]) if id(op) in updates else max(3, len(op.inputs))
        if plan.observations:  # the steps that are not observed have a list of their own
            total = 2 * (total + len(plan.observations))
        self._steps_memory = _aligned(total * sizeof(Step))
        self._steps = <Step *> cnp.PyArray_DATA(<cnp.ndarray> self._steps_memory)
        i += self._refresh(&self._steps[i], copies, paired)
        self._transposes = i
        self._run.steps = self._steps + i
        last = [op for op in ops if op.phase == "update"][-1:]
        self._run.grouped = bool(groups)
        late = next((op for op in ops if op.op in _LATE), None)
        biases = self._biases(ops, groups, halved)
        for op in ops:
            if id(op) in biases and id(op) not in groups:
                base, place, *_ = self._operands[biases[id(op)].outputs[0]]
                rows = plan.buffers[op.outputs[0]].rows
                self._beside[base, place] = rows
                if base == GRADIENTS:
                    self._beside[<int> PARAMETERS, place] = rows
        sums_beside = {id(bias) for bias in biases.values()}
        for op in ops:
            if op is late:
                for other in ops:
                    if id(other) in groups and id(other) not in sums_beside:
                        self._step(&self._steps[i], other, copies)
                        self._group(&self._steps[i], groups[id(other)])
                        if id(other) in biases:
                            self._assign(&self._steps[i].d, groups[id(biases[id(other)])])
                        i += 1
            if id(op) in groups:
                self._steps[i].code, self._steps[i].repeat = COMBINE, self._repeat(op)
                self._set(&self._steps[i].a, op.outputs[0])
                self._assign(&self._steps[i].b, groups[id(op)])
                i += 1
            elif id(op) in sums_beside:
                continue
            elif id(op) in biases:
                self._step(&self._steps[i], op, copies)
                self._set(&self._steps[i].d, biases[id(op)].outputs[0])
                i += 1
            elif id(op) in updates:
                for code, index, number, phase in updates[id(op)]:
                    self._steps[i].code, self._steps[i].phase = <Code> <int> code, phase
                    self._steps[i].update = &self._updatings[<int> number]
                    self._set(&self._steps[i].a, index)
                    i += 1
            elif op.op == "prelu_grad":
                i += self._prelu_grad(&self._steps[i], &self._steps[i + 1], op)
            elif op.op == "pair_loss":
                i += self._pair_loss(&self._steps[i], &self._steps[i + 1], op)
            elif op.op == "overlap_loss":
                i += self._overlap_loss(&self._steps[i], &self._steps[i + 1], op)
            elif op.op == "penalty":
                self._penalty(&self._steps[i], op, PENALTY, sums[id(op)])
                i += 1
            elif op.op == "concatenate":
                i += self._concatenate(&self._steps[i], op)
            elif found is not None and op is found.second:
                i += self._parts(&self._steps[i], op, copies, sums_of_parts)
            elif id(op) in halved:
                i += self._pair(&self._steps[i], op, ops, halved, pairs)
                self._step(&self._steps[i], op, copies)
                self._halve(&self._steps[i], op, pairs, paired)
                i += 1
            else:
                self._step(&self._steps[i], op, copies)
                if found is not None:
                    self._steps[i].private = op in found.tail
                    self._steps[i].alone = op in found.tail or op is found.back
                    self._steps[i].by_columns = op is found.first or op is found.back
                i += 1
                if op.op == "spectral_norm":
                    changed = op.inputs[:1]
                    i += self._refresh(&self._steps[i], _only(copies, changed),
                                       _only(paired, changed))
            if last and op is last[0]:
                i += self._refresh(&self._steps[i], copies, paired)
        for op in ops:
            if op.op == "penalty":
                self._penalty(&self._steps[i], op, PENALTY_TOTAL, sums[id(op)])
                i += 1
        for op in ops:
            if op.op in ("observe", "observe_update"):
                self._observing(&self._steps[i], op)
                self._steps[i].code = RECORD
                i += 1
        self._run.count = i - self._transposes
        for i in range(self._transposes + self._run.count):
            self._steps[i].repeat = max(self._steps[i].repeat, 1)
        self._join_updates()
        self._split_columns()
        if plan.observations:
            self._watch()
        self._place_barriers(<Step *> self._run.steps, self._run.count)
        if not plan.totals:
            for j, index in enumerate(plan.outputs):
                self._set(&self._run.results[j], index)
                self._run.repeats[j] = plan.buffers[index].repeat
            self._run.outputs = len(plan.outputs)
        flops = sum(plan.flops(op) for op in plan.ops)
        elements = sum(plan.bytes(op) for op in plan.ops if op.op == "update") / size
        self._nanoseconds = flops / (2.0 * _RATE) + elements / 10.0
        if not plan.totals:
            self._nanoseconds /= plan.batch_size
        self._nanoseconds = max(self._nanoseconds, 1.0)  # also of a plan without operations
        self._row_nanoseconds = plan.parameter_size * size / _ROW_RATE
        self._claims = np.zeros(2 * self._run.count, np.int64)
        self._run.claimed = <long *> cnp.PyArray_DATA(<cnp.ndarray> self._claims)
        self._run.finished = self._run.claimed + self._run.count
        self._run.clock_mask = 0
        while ((self._run.clock_mask + 1) * self._nanoseconds < 20e3 and not self._python
               and self._run.clock_mask < _MOST_STEPS):
            self._run.clock_mask = 2 * self._run.clock_mask + 1

    cdef long _place_between_rows(self, ops, long at) except -1:
        """Memory of losses that look at several rows, from `at` on; returns where it ends."""
        cdef long n = self._run.block
        size = self._run.itemsize
        self._between = {}
        for op in ops:
            if op.op == "overlap_loss":
                columns = self.plan.buffers[op.inputs[0]].columns
                self._between[id(op)] = (<int> WORKSPACE, at, columns, columns, 4, False)
                at += _lines((3 * columns + 1) * sizeof(double))
            elif op.op == "pair_loss":
                pitch = _lines(n * size) // size
                self._between[id(op)] = (<int> WORKSPACE, at, pitch, n, n + 1, False)
                at += (n + 1) * pitch * size  # the last row holds losses before weights
        return at

    def _place_groups(self, ops, halved, long at):
        """Gradients that are computed by groups of rows and added up: where those of groups lie.

        A thread then reads rows that it wrote itself, while one that computes a part of the whole
        gradient reads everybody's: lines that travel between processors.  It pays where there
        are fewer elements in the kernel than in the rows of a group.
        """
        plan = self.plan
        places, gradients = {}, set()
        count, n = groups_of(self._run.block), self._run.block
        late = [op for op in ops if op.op in _LATE]
        if count == 1 or not plan.totals or not late or ops[-len(late):] != late:
            return places, at
        changed = {index for op in late for index in op.outputs}
        size = self._run.itemsize
        for name in ("dense_dw", "dense_db"):
            for op in late:
                if op.op != name or id(op) in halved or changed.intersection(op.inputs):
                    continue
                kernel = plan.buffers[op.outputs[0]]
                if name == "dense_dw":
                    rows = n // count * plan.buffers[op.inputs[0]].repeat
                    if rows * (kernel.rows + kernel.columns) < kernel.rows * kernel.columns:
                        continue
                    gradients.add(op.inputs[1])
                elif op.inputs[0] not in gradients:
                    continue
                places[id(op)] = (<int> WORKSPACE, at, kernel.pitch, kernel.columns, kernel.rows,
                                  False)
                at += _lines(count * kernel.rows * kernel.pitch * size)
        return places, at

    def _place_parts(self, found, long at):
        """Operands of the operations that fall into parts, in memory from `at` on.

        Returns where the parts' sums lie, and where the memory ends.
        """
        plan, size = self.plan, self._run.itemsize
        self._apart = self._hidden(found)
        for index in found.private | self._apart:
            buffer = plan.buffers[index]
            base, _, *rest = self._operands[index]
            self._operands[index] = (<int> OWN, self._run.own_bytes, *rest)
            self._run.own_bytes += _lines(
                self._run.block * buffer.pitch * (8 if buffer.dtype == "int64" else size))
        for index in (*found.first.outputs, *found.back.outputs):
            base, place, *rest = self._operands[index]
            self._parted[base, place] = (parts.COUNT, False)
        for op, by_rows in ((found.first, False), (found.second, True)):
            for index in op.inputs[1:]:
                base, place, *rest = self._operands[index]
                self._parted[base, place] = self._parted[<int> GRADIENTS, place] = (
                    parts.COUNT, by_rows)
        buffer = plan.buffers[found.second.outputs[0]]
        place = (<int> WORKSPACE, at, buffer.pitch, buffer.columns, 0, False)
        return place, at + parts.COUNT * self._part_bytes(place)

    cdef long _part_bytes(self, place):
        """Bytes from the sums of one part to those of the next, which other threads write."""
        return _lines(self._run.block * place[2] * self._run.itemsize) + _APART

    def _hidden(self, found):
        """The last hidden layer and its gradient, if nobody looks at columns of other threads."""
        indices = {*found.first.outputs, *found.back.outputs}
        chain = (found.first, found.second, found.back)
        alone = all(op in chain or op.op in ("dense_dw", "dense_db")
                    for op in self.plan.ops if indices.intersection(op.inputs))
        return indices if alone else set()

    cdef int _parts(self, Step *s, op, copies, sums) except -1:
        """A product as sums over parts of its columns, and their sum; returns their number."""
        self._step(s, op, copies)
        s[1] = s[0]
        s[0].code, s[0].map, s[0].ending, s[0].alone = PARTS, NULL, FM_STORE, True
        s[0].e.present = False
        self._assign(&s[0].d, sums)
        s[1].code, s[1].private, s[1].number = SUM_PARTS, True, parts.COUNT
        s[1].a = s[0].d
        s[0].width = s[1].width = self._part_bytes(sums) // self._run.itemsize
        if s[1].ending == FM_RELU:
            s[1].map = self._run.kernels.map[<int> _NUMBER["relu"]]
        return 2

    def _biases(self, ops, groups, halved):
        """Gradients of biases that are sums beside that of a kernel in front of them."""
        added = {index for op in ops if op.op == "accumulate"
                 for index in (*op.inputs, *op.outputs)}
        return {id(op): bias for op, bias in zip(ops, ops[1:])
                if op.op == "dense_dw" and bias.op == "dense_db" and id(op) not in halved
                and op.inputs[1] == bias.inputs[0] and not added.intersection(bias.outputs)
                and (id(op) in groups) == (id(bias) in groups)}

    cdef int _group(self, Step *s, place) except -1:
        """A gradient becomes that of groups of rows, in memory of their own."""
        s.code = GROUP_DW if s.code == DENSE_DW else GROUP_DB
        s.grouped = True
        self._assign(&s.c, place)
        return 0

    def _direct_input(self):
        """The input buffer of a prediction that only products read: they take the data itself."""
        plan = self.plan
        if plan.totals or len(plan.inputs) != 1:
            return -1
        index = plan.inputs[0]
        readers = [op for op in plan.ops if index in op.inputs]
        taken = readers and all(op.op == "dense" for op in readers)
        return index if taken and index not in plan.outputs else -1

    def _scheduled(self):
        """ROWS operations first, WEIGHTS operations behind them, where they lose no input.

        What ends a step stays behind both.
        """
        last = [op for op in self.plan.ops if op.phase == "end"]
        rows = [op for op in self.plan.ops if op.op not in _LATE and op.phase != "end"]
        weights = [op for op in self.plan.ops if op.op in _LATE]
        for op in weights:
            after = self.plan.ops[self.plan.ops.index(op) + 1:]
            if any(set(op.inputs).intersection(other.outputs) for other in after if other in rows):
                return list(self.plan.ops)
        return rows + weights + last

    cdef int _watch(self) except -1:
        """Keep the operations of a step that is observed; other steps have those that don't look.

        So they cost what they cost without, also in threads that wait for one another.
        """
        cdef Step *steps = self._steps + self._transposes
        cdef Step *others = steps + self._run.count
        cdef int i, count = 0
        for i in range(self._run.count):
            if steps[i].code not in (OBSERVE, KEEP, CHANGE, RECORD):
                others[count] = steps[i]
                count += 1
        self._run.watching, self._run.watching_count = steps, self._run.count
        self._place_barriers(steps, self._run.count)
        self._run.steps, self._run.count = others, count
        self._run.every = next(op for op in self.plan.ops
                               if op.phase == "observe").attributes["every"]
        return 0

    cdef void _join_updates(self):
        """Let one thread update parameters at once that lie and are updated side by side."""
        cdef Step *steps = self._steps + self._transposes
        cdef Step *head = NULL
        cdef Step *s
        cdef Updating *a
        cdef Updating *b
        cdef long elements, at
        cdef int i, k
        cdef bint alike
        for i in range(self._run.count):
            s = &steps[i]
            if s.code != UPDATE or s.update.clips:
                head = NULL
                continue
            elements = s.a.rows * s.a.ld
            if head != NULL:
                a, b = head.update, s.update
                at = head.together * self._run.itemsize
                alike = not b.first and a.number == b.number and a.every == b.every \
                    and a.rate == b.rate and a.decay == b.decay and head.a.at + at == s.a.at
                for k in range(8):
                    alike = alike and a.params[k] == b.params[k]
                for k in range(4):
                    alike = alike and (a.slots[k] == b.slots[k] == NULL
                                       or a.slots[k] + at == b.slots[k])
                if alike:
                    head.together += elements
                    s.covered = True
                    continue
            head = s
            head.together = elements

    cdef void _place_barriers(self, Step *steps, int count):
        """Threads meet where the class of the operations changes, and at the end of a step.

        And before a ROWS operation that reads other rows than its own.
        """
        cdef int i
        cdef bint alone = True
        for i in range(count):
            if _class(steps[i].code) == 0 and steps[i].code != PENALTY:
                if steps[i].by_columns and steps[i].a.base == OWN:
                    steps[i].alone = alone
                alone = alone and (steps[i].alone or steps[i].private)
            elif _class(steps[i].code) == 1:
                steps[i].alone = alone
        for i in range(1, count):
            steps[i].waits = not (steps[i].alone and _class(steps[i - 1].code) == 0) and (
                steps[i].by_columns or steps[i].by_columns != steps[i - 1].by_columns
                or _class(steps[i].code) != _class(steps[i - 1].code)
                or steps[i].phase != steps[i - 1].phase
                or steps[i].code != steps[i - 1].code
                and (steps[i].code >= SQUARES or steps[i - 1].code >= SQUARES)
                or steps[i].code in (PAIR_LOSS, PAIR_GRAD, PYTHON, SUM_PARTS))

    cdef _split_columns(self):
        """Choose the products that split columns: where rows make more lines travel.

        A cache line that one thread writes and another reads travels between processors, and costs
        far more than a line of one's own.  With rows, every line of the weights does; with columns
        of the weights, lines of the activations.  Rows that a step gathers from the data are no
        such lines when every thread gathers all of them for itself.
        """
        cdef Step *steps = self._steps + self._transposes
        cdef Step *s
        cdef int i, j
        cdef long rows = self._run.block, most = thread_limit(), size = self._run.itemsize, panels
        cdef long each = FM_PANEL // size
        cdef double k, m, n, by_rows, by_columns, uneven
        cdef bint gathered, alone
        split = set()  # buffers whose columns were written by different threads
        rowwise = set()  # buffers of which gradients read each thread's own rows
        if most == 1 or not self.plan.totals:
            return
        for i in range(self._run.count):
            if steps[i].code == GROUP_DW:
                rowwise.update((steps[i].a.at, steps[i].b.at))
        for i in range(self._run.count):
            s = &steps[i]
            if s.code != DENSE and s.code != DENSE_DX:
                continue
            if s.by_columns:  # as its parts are
                split.add(s.d.at)
                continue
            panels = (s.d.columns + each - 1) // each
            k, m, n = s.b.rows, s.d.columns, rows * s.repeat
            gathered = False
            for j in range(i):
                gathered |= steps[j].code == GATHER and steps[j].a.at == s.a.at
            # elements of lines that travel
            if s.code == DENSE:
                by_rows = k * m + (n * k / 2 if s.a.at in split else 0.0)
                by_columns = 0.0 if gathered else n * k
            else:
                by_rows = k * m + (0.0 if s.d.at in rowwise else n * m / 2)
                by_rows += n * k / 2 if s.a.at in split else 0.0
                by_columns = k * m / 2 + n * k
            if s.d.at in rowwise:
                by_columns += n * m / 2
            uneven = <double> ((panels + most - 1) // most) * each * most / padded(m, size) - 1.0
            if uneven < 0.0:
                uneven = 0.0
            by_columns += (uneven * n * k * m / (_RATE * most) + _MEETING) * _TRAVELS
            s.by_columns = panels >= most and by_columns < by_rows
            if s.by_columns:
                split.add(s.d.at)
        # inputs that only products by columns and the gradients of their kernels read
        for i in range(self._run.count):
            s = &steps[i]
            if s.code != GATHER or s.a.classes or s.repeat > 1:
                continue
            alone = all(self._operands[index][:2] != (<int> WORKSPACE, s.a.at)
                        for _, inputs, _ in self._python for index in inputs)
            for j in range(self._run.count):
                if j != i and steps[j].a.present and steps[j].a.base == WORKSPACE \
                        and steps[j].a.at == s.a.at:
                    alone = alone and (steps[j].by_columns
                                       or steps[j].code in (DENSE_DW, GROUP_DW))
                alone = alone and not (
                    _same(&steps[j].b, &s.a) or _same(&steps[j].c, &s.a)
                    or _same(&steps[j].d, &s.a) or _same(&steps[j].e, &s.a)
                    or _same(&steps[j].f, &s.a))
            if not alone:
                continue
            at = s.a.at
            for j in range(self._run.count):
                if steps[j].a.present and steps[j].a.base == WORKSPACE and steps[j].a.at == at:
                    steps[j].a.base, steps[j].a.at = OWN, self._run.own_bytes
                    steps[j].private = steps[j].code == GATHER
            for j, operand in enumerate(self._operands):
                if operand[:2] == (<int> WORKSPACE, at):
                    self._operands[j] = (<int> OWN, self._run.own_bytes, *operand[2:])
            self._run.own_bytes += _lines(rows * s.a.ld * size)

    cdef int _set_all(self, Step *s, indices) except -1:
        """Operands a to i in order; None for one that is absent."""
        cdef Operand *places[9]
        places[0], places[1], places[2], places[3] = &s.a, &s.b, &s.c, &s.d
        places[4], places[5], places[6], places[7], places[8] = &s.e, &s.f, &s.g, &s.h, &s.i
        cdef int i
        for i, index in enumerate(indices):
            if index is not None:
                self._set(places[i], index)
        return 0

    cdef int _set(self, Operand *operand, index) except -1:
        return self._assign(operand, self._operands[index])

    cdef int _assign(self, Operand *operand, values) except -1:
        base, at, ld, columns, rows, classes = values
        operand.base, operand.at, operand.ld = <Base> <int> base, at, ld
        operand.columns, operand.rows, operand.classes = columns, rows, classes
        operand.beside = self._beside.get((base, at), 0)
        operand.parts, operand.by_rows = self._parted.get((base, at), (0, False))
        operand.present = True
        return 0

    cdef int _refresh(self, Step *steps, copies, paired) except -1:
        """The steps that bring copies of kernels up to date; returns their number."""
        cdef Step *s = steps
        for index, place in paired.items():
            s.code = PAIR_KERNEL
            self._set(&s.a, index)
            self._assign(&s.b, place)
            s += 1
        for index, place in copies.items():
            s.code = TRANSPOSE
            s.pairs = index in paired
            self._set(&s.a, index)
            self._assign(&s.b, place)
            s += 1
        return <int> (s - steps)

    cdef int _pair(self, Step *steps, op, ops, halved, pairs) except -1:
        """The steps that make the pairs of a product's factors; returns their number.

        Where nothing but operations on weights follow, those for all gradients of kernels are made
        in front of the first, so that operations on rows and on weights don't take turns.
        """
        cdef Step *s = steps
        products = [op]
        if op.op == "dense_dw":
            late = [other for other in ops if other.op in _LATE]
            if late == ops[-len(late):]:
                products = [other for other in late if id(other) in halved]
                products = products if op is products[0] else []
        for index, kind in dict.fromkeys(f for each in products for f in _factors(each)):
            s.code = PAIR_ROWS if kind == "rows" else PAIR_COLUMNS
            s.repeat = self.plan.buffers[index].repeat
            self._set(&s.a, index)
            self._assign(&s.b, pairs[index, kind])
            s += 1
        return <int> (s - steps)

    cdef int _halve(self, Step *s, op, pairs, paired) except -1:
        """Let a product multiply pairs."""
        s.pairs = True
        if op.op == "dense_dw":
            self._assign(&s.a, pairs[op.inputs[0], "rows"])
            self._assign(&s.b, pairs[op.inputs[1], "rows"])
        else:
            self._assign(&s.a, pairs[op.inputs[0], "columns"])
            if op.op == "dense":
                self._assign(&s.b, paired[op.inputs[1]])
            else:
                s.b.rows = (self._operands[op.inputs[0]][3] + 1) // 2
        return 0

    def _updates(self, ops):
        """What the optimizer's operations become: for each its (code, parameter, number, phase).

        `number` is the place in `_updatings`, which is filled in here.
        """
        cdef Updating *u
        cdef long doubles = 0, scratch = 0
        cdef int number = 0, phases
        cdef double *sums
        ops = [op for op in ops if op.op in ("collect", "clip", "update", "average")]
        where = {b.offset: b for b in self.plan.buffers if b.role == "parameter"}
        bound = [(op, k, where[offset]) for op in ops
                 for k, offset in enumerate(op.attributes["parameters"])]
        self._updatings_memory = _aligned((len(bound) + 1) * sizeof(Updating))
        self._updatings = <Updating *> cnp.PyArray_DATA(<cnp.ndarray> self._updatings_memory)
        for number, (op, k, buffer) in enumerate(bound):
            u = &self._updatings[number]
            u.every, u.limit, u.norm = op.attributes["every"], INFINITY, INFINITY
            self._shape_update(u, op, k, buffer)
            doubles += u.sums_count
            scratch = max(scratch, whole_scratch(&u.whole) if u.whole.kernels != NULL else 0)
        self._sums_memory = _aligned(doubles * sizeof(double))
        self._scratch_memory = _aligned(scratch)
        sums = <double *> cnp.PyArray_DATA(<cnp.ndarray> self._sums_memory)
        clip, clipped, found = None, {}, {id(op): [] for op in ops}
        for number, (op, k, buffer) in enumerate(bound):
            u = &self._updatings[number]
            items = found[id(op)]
            u.sums = u.whole.sums = sums
            u.whole.scratch = <char *> cnp.PyArray_DATA(<cnp.ndarray> self._scratch_memory)
            sums += u.sums_count
            if op.op == "clip":
                clip = op.attributes
                clipped[buffer.offset] = number
                if clip["kind"] != "value":
                    items.append((SQUARES, buffer.index, number, 0))
            elif op.op != "update":
                items.append((AVERAGE if op.op == "average" else COLLECT, buffer.index, number,
                              0))
            else:
                if clip is not None:
                    self._clip(u, clip, clipped, buffer.offset)
                if u.whole.kernels == NULL:
                    items.append((UPDATE, buffer.index, number, 0))
                    continue
                phases = whole_phases(&u.whole)
                items += [(WHOLE, buffer.index, number, phase)
                          for phase in range(-1 if u.clips else 0, phases)]
        if scratch == 0:  # else the variables take turns with it
            for items in found.values():
                items.sort(key=lambda item: item[3])
        return found

    cdef int _shape_update(self, Updating *u, op, k, buffer) except -1:
        """Hyperparameters, state, and how much memory the sums of a variable take."""
        cdef long size = self._run.itemsize, elements = buffer.rows * buffer.pitch
        cdef long at = buffer.offset * size, place
        cdef int i, slot
        attributes = op.attributes
        if op.op == "clip":
            u.sums_count = (elements + CHUNK - 1) // CHUNK if attributes["kind"] != "value" else 0
        elif op.op != "update":
            slot = attributes["slot"]
            u.slots[0] = <char *> cnp.PyArray_DATA(<cnp.ndarray?> self._slots[slot]) + at
            if op.op == "average":
                u.keep, u.overwrite = attributes["momentum"], attributes["overwrite"]
        else:
            name = attributes["optimizer"]
            u.rate = attributes["rate"]
            *params, decay = attributes["params"]
            u.decay = 0.0 if attributes["exempt"][k] else decay
            for i, value in enumerate(params):
                u.params[i] = value
            for i, (slot, offsets) in enumerate(attributes["slots"]):
                place = offsets[k]
                u.slots[i] = <char *> cnp.PyArray_DATA(<cnp.ndarray?> self._slots[slot]) \
                    + place * size
            if name in _OPTIMIZER_NUMBER:
                u.first, u.number = k == 0, _OPTIMIZER_NUMBER[name]
                return 0
            u.whole.kernels, u.whole.itemsize = self._run.kernels, size
            u.whole.rule = whole_rule(name)
            u.whole.shape.rows, u.whole.shape.columns = buffer.rows, buffer.columns
            u.whole.shape.pitch, u.whole.shape.panel = buffer.pitch, FM_PANEL // size
            u.whole.w, u.whole.g = self._run.parameters + at, self._run.gradients + at
            for i in range(8):
                u.whole.params[i] = u.params[i]
            for i in range(2):
                u.whole.slots[i] = u.slots[i]
            u.sums_count = whole_sums(&u.whole)
        return 0

    cdef int _clip(self, Updating *u, attributes, clipped, offset) except -1:
        """Where the update of a parameter finds the norm that its gradient is held to."""
        cdef Updating *one
        u.clips = True
        if attributes["kind"] == "value":
            u.limit = attributes["limit"]
            return 0
        u.norm = attributes["limit"]
        u.whole_norm = attributes["kind"] == "global_norm"
        numbers = list(clipped.values()) if u.whole_norm else [clipped[offset]]
        u.squares = self._updatings[<int> numbers[0]].sums
        for number in numbers:
            one = &self._updatings[<int> number]
            u.squares_count += one.sums_count
        return 0

    cdef int _penalty(self, Step *s, op, Code code, sums) except -1:
        s.code, s.repeat = code, 1
        self._set(&s.a, op.inputs[0])
        self._assign(&s.b, sums)
        s.x, s.y = op.attributes["l1"], op.attributes["l2"]
        if len(op.inputs) == 2:
            self._set(&s.c, op.inputs[1])
        s.mean = op.attributes["per_rows"]
        s.number = op.attributes["total"]
        return 0

    cdef int _prelu_grad(self, Step *s, Step *slope, op) except -1:
        dy, x, alpha = op.inputs
        s.code = PRELU_DX
        s.repeat = slope.repeat = self._repeat(op)
        self._set(&s.a, dy)
        self._set(&s.b, x)
        self._set(&s.c, alpha)
        self._set(&s.d, op.outputs[0])
        if len(op.outputs) == 1:
            return 1
        slope.code = PRELU_DALPHA
        self._set(&slope.a, dy)
        self._set(&slope.b, x)
        self._set(&slope.c, op.outputs[1])
        return 2

    cdef int _concatenate(self, Step *s, op) except -1:
        """One copy for each part, to its place within every group of columns."""
        cdef long at = 0
        cdef int i
        for i, index in enumerate(op.inputs):
            self._copy_groups(&s[i], index, op.outputs[0], op.attributes["groups"])
            s[i].step_b = s[i].b.columns // s[i].groups
            s[i].b.at += at * self._run.itemsize
            s[i].width = s[i].step_a
            at += s[i].width
        return <int> len(op.inputs)

    cdef int _copy_groups(self, Step *s, source, target, groups) except -1:
        s.code = COPY_GROUPS
        self._set(&s.a, source)
        self._set(&s.b, target)
        s.groups = groups
        s.step_a, s.step_b = s.a.columns // s.groups, s.b.columns // s.groups
        return 0

    cdef int _join(self, Step *s, op) except -1:
        """An operation that joins or cuts buffers; 0 if it is another."""
        attributes, name = op.attributes, op.op
        codes = {
            "subtract": SUBTRACT, "maximum": MAXIMUM, "minimum": MINIMUM,
            "maximum_grad": EXTREME_GRAD, "minimum_grad": EXTREME_GRAD, "affine": AFFINE,
            "divide": DIVIDE, "power": POWER, "log": LOG, "broadcast": BROADCAST,
            "row_sum": ROW_SUM, "row_dot": ROW_DOT, "scale_rows": SCALE_ROWS,
        }
        if name in codes:
            self._set_all(s, (*op.inputs, *op.outputs))
            s.code = codes[name]
            s.number = name == "maximum_grad"
            s.x = attributes.get("factor", attributes.get("exponent", 0.0))
            s.y = attributes.get("shift", 0.0)
        elif name == "repeat":
            self._copy_groups(s, op.inputs[0], op.outputs[0], 1)
            s.width, s.a.ld = s.step_a, 0
        elif name in ("slice", "place"):
            self._copy_groups(s, op.inputs[0], op.outputs[0], attributes["groups"])
            if name == "slice":
                s.width = s.step_b
                s.a.at += <long> attributes["start"] * self._run.itemsize
            else:
                self._set(&s.c, op.outputs[0])
                s.clears = True
                s.width = s.step_a
                s.b.at += <long> attributes["start"] * self._run.itemsize
        else:
            return 0
        return 1

    cdef int _features(self, Step *s, op) except -1:
        """An operation that makes numbers of features; 0 if it is another."""
        attributes, name = op.attributes, op.op
        if name not in ("column_affine", "feature_norm", "digitize", "encode"):
            return 0
        self._set(&s.a, op.inputs[0])
        self._set(&s.b, op.outputs[0])
        if name == "column_affine":
            s.code = COLUMN_AFFINE
            self._constants(s, [attributes[key] for key in ("before", "scale", "after")])
        elif name == "feature_norm":
            s.code = FEATURE_NORM
            self._set(&s.c, op.inputs[1])
            self._set(&s.d, op.inputs[2])
            s.x, s.number = attributes["least"], attributes["invert"]
            s.mean = attributes["center"]
        elif name == "digitize":
            s.code = DIGITIZE
            s.width = len(attributes["boundaries"])
            self._constants(s, [attributes["boundaries"]])
        else:
            s.code = ENCODE
            s.width = attributes["depth"]
            s.number = ("one_hot", "multi_hot", "count").index(attributes["kind"])
        return 1

    cdef int _constants(self, Step *s, rows) except -1:
        """Numbers of a plan in memory of their own, one row behind the other."""
        values = np.array(rows, dtype=self.plan.dtype)
        self._kept.append(values)
        s.constants = <const char *> cnp.PyArray_DATA(<cnp.ndarray> values)
        return 0

    cdef int _activation(self, Step *s, op, bint gradient) except -1:
        """Function pointers of an activation, and the code of an op that is nothing else."""
        cdef const fm_kernels *k = self._run.kernels
        name, params = op.attributes["activation"], op.attributes["params"]
        kind = ACTIVATIONS[name].kind
        if kind == "elementwise":
            pack_params(params, self._run.itemsize, &s.params)
            s.map = k.map[<int> _NUMBER[name]]
            s.map_grad = k.map_grad[<int> _NUMBER[name]]
            s.code = MAP_GRAD if gradient else MAP
        elif name == "maxout":
            s.number = int(params[0])
            s.code = MAXOUT_GRAD if gradient else MAXOUT
        else:
            s.code = ROW_MAP_GRAD if gradient else ROW_MAP
            if name == "softmax":
                s.rows_map, s.rows_grad = k.softmax, k.softmax_grad
            elif name == "log_softmax":
                s.rows_map, s.rows_grad = k.log_softmax, k.log_softmax_grad
            elif name == "sparsemax":
                s.rows_map, s.rows_grad = k.sparsemax, k.sparsemax_grad
            elif name == "glu":
                s.rows_map, s.rows_grad = k.glu, k.glu_grad
            else:
                raise NotImplementedError(f"activation {name!r} in the compiled executor")
        return 0

    cdef int _step(self, Step *s, op, copies) except -1:
        cdef int i
        attributes = op.attributes
        name = op.op
        s.repeat = self._repeat(op)
        if name in ("activation", "activation_grad", "multiply", "add", "prelu"):
            self._set_all(s, (*op.inputs, *op.outputs))
        if name == "gather":
            s.code = GATHER
            s.number = attributes["source"]
            self._set(&s.a, op.outputs[0])
        elif name == "dense":
            for i, index in enumerate(op.inputs):
                self._set(&s.a if i == 0 else &s.b if i == 1 else &s.c, index)
            for i, index in enumerate(op.outputs):
                self._set(&s.d if i == 0 else &s.e, index)
            if attributes["activation"] != "linear":
                self._activation(s, op, False)
            if attributes["activation"] == "relu":
                s.map, s.ending = NULL, FM_RELU
            s.code = DENSE
        elif name == "dense_dx":
            self._set(&s.a, op.inputs[0])
            self._assign(&s.b, copies[op.inputs[1]])
            self._set(&s.d, op.outputs[0])
            # the transposed copy has as many rows as dz has columns
            s.b.rows = self._operands[op.inputs[0]][3]
            if len(op.inputs) == 3:
                self._set(&s.c, op.inputs[2])
                self._activation(s, op, True)
                if attributes["activation"] == "relu" and s.c.ld == s.d.ld:
                    s.map_grad, s.ending = NULL, FM_RELU_GRAD
            s.code = DENSE_DX
        elif name in ("sparse_dense", "densify", "sparse_dw"):
            s.number = attributes["source"]
            if name == "sparse_dense":
                s.code = SPARSE_DENSE
                for i, index in enumerate(op.inputs):
                    self._set(&s.a if i == 0 else &s.b if i == 1 else &s.c, index)
                for i, index in enumerate(op.outputs):
                    self._set(&s.d if i == 0 else &s.e, index)
                if attributes["activation"] != "linear":
                    self._activation(s, op, False)
                    s.code = SPARSE_DENSE
            else:
                s.code = DENSIFY if name == "densify" else SPARSE_DW
                self._set_all(s, (*op.inputs, *op.outputs))
        elif name in ("dense_dw", "dense_db"):
            s.code = DENSE_DW if name == "dense_dw" else DENSE_DB
            self._set_all(s, (*op.inputs, *op.outputs))
        elif name == "activation":
            self._activation(s, op, False)
        elif name == "activation_grad":
            self._activation(s, op, True)
        elif name == "prelu":
            s.code = PRELU
        elif name == "multiply":
            s.code = MULTIPLY
        elif name == "add":
            s.code = ADD
        elif name == "dropout":
            s.code = DROPOUT
            self._set(&s.a, op.inputs[0])
            self._set(&s.b, op.outputs[0])
            self._set(&s.c, op.outputs[1])
            s.x, s.stream = attributes["rate"], attributes["stream"] & 0xFFFFFFFF
            s.seed = self._run.seed if attributes["seed"] is None \
                else attributes["seed"] & 0xFFFFFFFFFFFFFFFF
        elif name == "tally":
            self._tally(s, op)
        elif name == "reduce":
            s.code = REDUCE
            self._set(&s.a, op.inputs[0])
            if len(op.inputs) == 2:
                self._set(&s.b, op.inputs[1])
            s.number = attributes["total"]
            s.mean = attributes["reduction"] == "mean"
            s.weight, s.counts = attributes["weight"], attributes["counts"]
            s.has_ignore = self.plan.totals[s.number] == "loss"
        elif name == "penalty_grad":
            s.code = PENALTY_GRAD
            self._set(&s.a, op.inputs[0])
            self._set(&s.b, op.outputs[0])
            if len(op.inputs) == 2:
                self._set(&s.c, op.inputs[1])
            s.x, s.y, s.mean = attributes["l1"], attributes["l2"], attributes["per_rows"]
            s.number = attributes["adds"]
        elif name == "python":
            s.code, s.number = PYTHON, len(self._python)
            self._python.append((attributes["function"], op.inputs[:attributes["reads"]],
                                 op.outputs))
        elif op.phase == "observe":
            self._observing(s, op)
        elif name == "accumulate":
            s.code = ACCUMULATE
            self._set(&s.a, op.inputs[0])
            self._set(&s.b, op.inputs[1])
        elif not (self._join(s, op) or self._layer(s, op) or self._features(s, op)
                  or self._by_sample(s, op)):
            self._loss(s, op)
        return 0

    cdef int _observing(self, Step *s, op) except -1:
        """An operation of a step that is observed: a buffer (b what its slopes are of), or a
        parameter."""
        attributes = op.attributes
        number = attributes["record"]
        s.number, s.repeat = number, self._repeat(op)
        self._set(&s.a, op.inputs[0])
        if op.op == "observe":
            s.code = OBSERVE
            s.x, s.units = attributes["below"], attributes["units"]
            if attributes["activation"] != "linear":
                self._set(&s.b, op.inputs[1])
                self._activation(s, op, True)
                s.code = OBSERVE
            count = 2 * s.a.columns
        else:
            s.code = KEEP if op.op == "observe_parameter" else CHANGE
            count = 3 * ((s.a.rows * s.a.ld + CHUNK - 1) // CHUNK)
        memory = self._chunks.setdefault(number, np.zeros(count))
        s.scratch = <double *> cnp.PyArray_DATA(<cnp.ndarray> memory)
        return 0

    cdef int _by_sample(self, Step *s, op) except -1:
        """An operation on the steps of samples; 0 if it is another."""
        cdef int i
        attributes, name = op.attributes, op.op
        if name not in _BY_SAMPLE:
            return 0
        inputs, places = list(op.inputs), [*op.inputs, *op.outputs]
        if name in ("pool", "pool_grad") and len(inputs) == 1:
            places = [inputs[0], None, op.outputs[0]]
        elif name == "pool_grad" and attributes["kind"] == "max":
            places = [inputs[0], None, op.outputs[0], *inputs[1:]]
        elif name == "row_weights":
            given = [inputs.pop(0) if there else None for there in attributes["given"]]
            places = [*given[:2], op.outputs[0], given[2]]
        self._set_all(s, places)
        s.groups, s.width = attributes["steps"], 1
        for i, index in enumerate(places):
            if index is None:
                continue
            buffer, (_, _, ld, columns, _, _) = self.plan.buffers[index], self._operands[index]
            s.samples[i] = ld * buffer.repeat
            s.inner[i] = ld if buffer.repeat > 1 else columns // s.groups
        if name == "row_weights":
            s.code = ROW_WEIGHTS
            s.number = ("rows", "kept", "weights").index(attributes["over"])
            if places[0] is not None:
                s.width = self.plan.buffers[places[0]].repeat
            if places[3] is not None:
                s.ignore = attributes["ignore_index"]
            return 1
        s.code = {"step_mask": STEP_MASK, "keep_steps": KEEP_STEPS, "pool": POOL,
                  "pool_grad": POOL_GRAD}[name]
        whole = self.plan.buffers[op.outputs[0] if name == "pool_grad" else op.inputs[0]]
        s.width = whole.columns * whole.repeat // s.groups
        s.x, s.number = attributes.get("value", 0.0), attributes.get("kind") == "max"
        return 1

    def _repeat(self, op):
        """Rows of the operands for each row of the batch; a reshape has two such numbers."""
        if op.op == "reshape" or op.op in _BY_SAMPLE:
            return 1
        return max(self.plan.buffers[i].repeat for i in (*op.inputs, *op.outputs))

    cdef bint _layer(self, Step *s, op) except -1:
        """An op of a layer besides products and activations; False if it is none."""
        name, attributes = op.op, op.attributes
        inputs, outputs = list(op.inputs), list(op.outputs)
        if name in _DRAWN:
            s.code = <Code> <int> _DRAWN[name]
            self._set_all(s, (*inputs, *outputs))
            s.stream = attributes["stream"] & 0xFFFFFFFF
            s.seed = self._run.seed if attributes["seed"] is None \
                else attributes["seed"] & 0xFFFFFFFFFFFFFFFF
            if s.code == ALPHA_DROPOUT:
                rate = s.params.storage[0] = attributes["rate"]
                s.y = low = -1.0507009873554805 * 1.6732632423543772
                s.x = a = ((1.0 - rate) * (1.0 + rate * low * low)) ** -0.5
                s.weight = -a * low * rate
            else:
                s.x = attributes["stddev"]
        elif name == "batch_statistics":
            s.code = BATCH_STATISTICS
            self._set_all(s, (*inputs[:3], *outputs, *inputs[3:]))
            s.x, s.y = attributes["momentum"], attributes["epsilon"]
        elif name == "standardize":
            s.code = STANDARDIZE
            self._set_all(s, (*inputs[:3], *_scale_and_shift(op, 3), *outputs))
        elif name == "batch_norm_sums":
            s.code = BATCH_NORM_SUMS
            self._set_all(s, (*inputs, *outputs))
        elif name == "batch_norm_dx":
            s.code = BATCH_NORM_DX
            more = inputs[6:]
            gamma = more.pop(0) if attributes["scale"] else None
            self._set_all(s, (*inputs[:6], gamma, *outputs, *more))
        elif name == "fold_statistics":
            s.code = FOLD_STATISTICS
            self._set_all(s, (*inputs[:2], *_scale_and_shift(op, 2), *outputs))
            s.x = attributes["epsilon"]
        elif name in ("scale_shift", "scale_columns"):
            s.code = SCALE_SHIFT
            self._set_all(s, (*inputs[:2], inputs[2] if len(inputs) == 3 else None, *outputs))
        elif name == "row_norm":
            s.code = ROW_NORM
            s.number, s.x = _ROW_NORMS[attributes["kind"]], attributes["epsilon"]
            self._set_all(s, (inputs[0], *_scale_and_shift(op, 1), *outputs))
        elif name == "row_norm_grad":
            s.code = ROW_NORM_GRAD
            s.number = _ROW_NORMS[attributes["kind"]]
            mean = 1 if attributes["kind"] == "layer" else 0
            self._set_all(s, (*inputs[:3], inputs[3] if mean else None,
                              _scale_and_shift(op, 3 + mean)[0], *outputs))
        elif name == "gamma_grad":
            s.code = GAMMA_GRAD
            self._set_all(s, (*inputs[:3], inputs[3] if len(inputs) == 4 else None, *outputs))
        elif name in ("embedding", "embedding_grad"):
            s.code = EMBEDDING if name == "embedding" else EMBEDDING_GRAD
            self._set_all(s, (*inputs, *outputs))
        elif name == "reshape":
            s.code = RESHAPE
            self._set_all(s, (*inputs, *outputs))
            s.from_repeat = self.plan.buffers[inputs[0]].repeat
            s.number = self.plan.buffers[outputs[0]].repeat
        elif name in ("take_columns", "put_columns"):
            s.code = TAKE_COLUMNS if name == "take_columns" else PUT_COLUMNS
            self._set_all(s, (*inputs, *outputs))
            index = np.array(attributes["index"], np.int64)
            s.index = <const int64_t *> cnp.PyArray_DATA(<cnp.ndarray> index)
            self._kept.append(index)
        elif name == "activity_penalty":
            s.code = ACTIVITY_PENALTY
            self._set_all(s, (*inputs, *outputs))
            s.weight, s.x, s.y = attributes["linear"], attributes["l1"], attributes["l2"]
        elif name == "orthogonal_penalty":
            s.code = ORTHOGONAL_PENALTY
            self._set_all(s, (*inputs, *outputs))
            s.mean, s.x = attributes["mode"] == "rows", attributes["factor"]
            s.number, s.ending = attributes["total"], attributes["adds"]
            self._scratch(s)
        elif name == "spectral_norm":
            s.code = SPECTRAL_NORM
            self._set_all(s, inputs)
            s.number, s.x = attributes["iterations"], attributes["epsilon"]
            self._scratch(s)
        elif name == "constrain":
            s.code = CONSTRAIN
            self._set_all(s, inputs)
            s.number = {0: 0, 1: 1, None: 2}[attributes["axis"]]
            if attributes["kind"] == "non_negative":
                s.number = -1
            for i, key in enumerate(("low", "high", "rate", "epsilon")):
                s.params.storage[i] = attributes[key]
        else:
            return False
        return True

    cdef int _scratch(self, Step *s) except -1:
        """Memory in double precision for a matrix of the size of a, and a row and a column more."""
        memory = np.zeros(s.a.rows * s.a.columns + s.a.rows + s.a.columns)
        s.scratch = <double *> cnp.PyArray_DATA(<cnp.ndarray> memory)
        self._kept.append(memory)
        return 0

    cdef int _loss(self, Step *s, op) except -1:
        attributes = op.attributes
        cdef const fm_losses *k = self._run.kernels.losses
        cdef int number
        codes = {
            "softmax_cross_entropy": SOFTMAX_CROSS_ENTROPY,
            "row_loss": ROW_LOSS,
            "elementwise_loss": ELEMENTWISE_LOSS,
            "distribution_loss": DISTRIBUTION_LOSS,
            "score": SCORE,
        }
        if op.op not in codes:
            raise NotImplementedError(f"op {op.op!r} in the compiled executor")
        s.code = codes[op.op]
        self._loss_operands(s, op)
        if len(op.outputs) > 2:
            self._set(&s.f, op.outputs[2])
        if s.code != SOFTMAX_CROSS_ENTROPY:
            pack_params(attributes["params"], self._run.itemsize, &s.params)
        if s.code == SCORE:
            number = _SCORE_NUMBER[attributes["score"]]
            s.score = k.score[number]
            return 0
        s.x = attributes.get("label_smoothing", 0.0)
        if attributes.get("ignore_index") is not None and s.b.classes:
            s.has_ignore, s.ignore = True, attributes["ignore_index"]
            s.number = self.plan.inputs.index(op.inputs[1])
        if s.code == SOFTMAX_CROSS_ENTROPY:
            return 0
        number = _LOSS_NUMBER[attributes["loss"]]
        if s.code == ROW_LOSS:
            s.row_loss = k.row_loss[number]
        elif s.code == ELEMENTWISE_LOSS:
            s.loss = k.elementwise_loss[number]
        else:
            s.distribution_loss = k.distribution_loss[number]
        return 0

    cdef int _loss_operands(self, Step *s, op) except -1:
        """What losses have in common: a prediction, b labels, c weights, d losses, e gradient."""
        self._set(&s.a, op.inputs[0])
        self._set(&s.b, op.inputs[1])
        if len(op.inputs) == 3:
            self._set(&s.c, op.inputs[2])
        if op.outputs:
            self._set(&s.d, op.outputs[0])
        if len(op.outputs) > 1:
            self._set(&s.e, op.outputs[1])
        s.of_all = op.attributes.get("reduction") == "mean_of_all"
        s.mean = s.of_all or op.attributes.get("reduction") == "mean"
        s.weight = op.attributes.get("weight", 1.0)
        if op.attributes.get("reduction") == "weighted_mean":
            s.weighted_mean, s.weights = True, self.plan.inputs.index(op.inputs[2])
        return 0

    cdef int _overlap_loss(self, Step *s, Step *after, op) except -1:
        """The sums over all rows, where they are wanted, and what follows from them."""
        cdef Step *loss = s
        cdef int axis = _AXIS[op.attributes["axis"]], number = _LOSS_NUMBER[op.attributes["loss"]]
        place = self._between[id(op)]
        if axis != FM_ROWS:
            loss = after
            s.code = OVERLAP_SUMS
            self._loss_operands(s, op)
            self._assign(&s.d, place)
        loss.code = OVERLAP_LOSS
        self._loss_operands(loss, op)
        self._assign(&loss.f, place)
        loss.number = axis
        loss.overlap_loss = self._run.kernels.losses.overlap_loss[number]
        pack_params(op.attributes["params"], self._run.itemsize, &loss.params)
        return 1 if axis == FM_ROWS else 2

    cdef int _pair_loss(self, Step *s, Step *after, op) except -1:
        """Each row beside all others, and then the gradient through both rows of a pair."""
        cdef int number = _LOSS_NUMBER[op.attributes["loss"]]
        base, at, pitch, n, rows, _ = self._between[id(op)]
        before_weights = (base, at + n * pitch * self._run.itemsize, 1, 1, n, False)
        s.code, after.code = PAIR_LOSS, PAIR_GRAD
        self._loss_operands(s, op)
        self._loss_operands(after, op)
        self._assign(&s.d, before_weights)
        self._assign(&after.b, before_weights)
        self._assign(&s.f, (base, at, pitch, n, rows, False))
        self._assign(&after.f, (base, at, pitch, n, rows, False))
        s.pair_loss = self._run.kernels.losses.pair_loss[number]
        pack_params(op.attributes["params"], self._run.itemsize, &s.params)
        return 2

    cdef int _tally(self, Step *s, op) except -1:
        cdef int number = _TALLY_NUMBER[op.attributes["tally"]]
        s.code = TALLY
        self._loss_operands(s, op)
        s.number = op.attributes["total"]
        s.tally = self._run.kernels.losses.tally[number]
        options = np.array(op.attributes["options"], np.float64)
        self._options.append(options)
        s.options = <const double *> cnp.PyArray_DATA(<cnp.ndarray> options)
        return 0

    # -- running -----------------------------------------------------------------------------

    def record(self, cnp.ndarray records, long first):
        if records is not None and (
                cnp.PyArray_TYPE(records) != cnp.NPY_FLOAT64
                or not cnp.PyArray_ISCARRAY(records)
                or records.shape[1] != self._run.observations or records.shape[2] != 4):
            raise TypeError("Executor.record takes a float64 array (count, observations, 4)")
        self._records, self._run.first_record = records, first
        self._run.records_count = 0 if records is None else records.shape[0]
        self._run.records = NULL if records is None else <double *> cnp.PyArray_DATA(records)

    @property
    def threads(self):
        return thread_limit()

    def keep(self, data):
        """Data is read where it lies, so there is nothing to be held."""

    def release(self):
        """Nothing is held."""

    @property
    def parted(self):
        """Whether threads keep parts of the last products for themselves."""
        return bool(self._run.parted)

    def run(self, tuple data, cnp.ndarray order not None, long batch_size, long start, long stop,
            cnp.ndarray learning_rate not None, int64_t iteration, double budget):
        self._acquire()
        try:
            return self._train(data, order, batch_size, start, stop, learning_rate, iteration,
                               budget)
        finally:
            PyThread_release_lock(self._lock)

    cdef long _train(self, tuple data, cnp.ndarray order, long batch_size, long start, long stop,
                     cnp.ndarray learning_rate, int64_t iteration, double budget) except -1:
        cdef int i
        cdef cnp.ndarray array
        cdef Run *q = &self._run
        for i, item in enumerate(data):
            if self._pass_compressed(i, item):
                continue
            array = item
            q.data[i].pointer = <const char *> cnp.PyArray_DATA(array)
            q.data[i].columns = array.shape[1] if cnp.PyArray_NDIM(array) == 2 else 0
            q.data[i].itemsize = cnp.PyArray_ITEMSIZE(array)
            if q.data[i].columns == 1 and cnp.PyArray_TYPE(array) == cnp.NPY_INT64:
                q.data[i].columns = 0  # one class a row
        if cnp.PyArray_TYPE(order) != cnp.NPY_INT64 \
                or cnp.PyArray_TYPE(learning_rate) != cnp.NPY_FLOAT64:
            raise TypeError("Executor.run takes an int64 order and float64 learning rates")
        q.order = <const int64_t *> cnp.PyArray_DATA(order)
        q.order_length = cnp.PyArray_SIZE(order)
        q.learning_rate = <const double *> cnp.PyArray_DATA(learning_rate)
        q.batch_size = batch_size
        q.iteration = iteration
        q.check_finite = self.check_finite
        q.halt = q.bad = q.failed = False
        q.next = start
        q.first, q.stop = start, stop
        if q.own_bytes and self._owners < thread_limit():
            q.own_bytes += _APART if self._owners == 0 else 0
            self._own = _aligned(thread_limit() * q.own_bytes)
            q.own = <char *> cnp.PyArray_DATA(<cnp.ndarray> self._own)
            self._owners = thread_limit()
        with nogil:
            self._refresh_copies()
            self._slices(clock() + budget)
        if q.failed:
            self._raise()
        if q.bad and q.check_finite:
            self.nonfinite = q.next - 1
        return q.next

    cdef void _refresh_copies(self) noexcept nogil:
        """Copies of kernels, which somebody else may have changed since the last call."""
        cdef char *bases[<int> BASES]
        cdef int i
        bases[<int> PARAMETERS] = self._run.parameters
        bases[<int> COPIES] = self._run.copies
        for i in range(self._transposes):
            weights_step(&self._run, &self._steps[i], bases, 0, 0, 1, 0.0, 0, NULL)

    cdef void _slices(self, double end) noexcept nogil:
        """Run to `stop`, `end` or a loss that is not finite, with as many threads as are fast.

        How many threads run is decided by measuring and never changes a result.
        """
        cdef Run *q = &self._run
        cdef int most = thread_limit(), threads
        cdef bint many, trial, unknown
        cdef double now = clock(), before, spent
        if q.parted and not threads_always():
            most = min(most, 2)
        if most > 1 and not threads_always() and self._nanoseconds < (
                _PARTS_WORTH if q.parted else _STEP_WORTH):
            most = 1
        while (q.next < q.stop and (now < end or q.next == q.first)
               and not q.failed and not (q.bad and q.check_finite)):
            many = most > 1 and (threads_always() or self._seconds[1] <= self._seconds[0])
            trial = most > 1 and not threads_always()
            unknown = self._seconds[0] == 0.0 or self._seconds[1] == 0.0
            if trial and 0.0 < self._seconds[1] < 0.75e-9 * self._nanoseconds \
                    and self._nanoseconds > _STEP_LONG:
                many, trial = True, False  # one thread could not be as fast, and would take long
            if trial and not unknown:
                trial = self._trial_at <= now
                many = many != trial
            threads = most if many else 1
            q.start = q.next
            q.halt = False
            q.deadline = now + (_TRIAL if trial else _SLICE)
            if q.deadline > end:
                q.deadline = end
            threads = run(threads, train_task, q)
            if q.failed:
                return
            before, now = now, clock()
            spent = (now - before) / (q.next - q.start)
            self._seconds[threads > 1] = spent  # the machine changes from second to second
            if trial and self._seconds[1] <= self._seconds[0]:
                self._trial_at = now + max(_TRY_ONE_AFTER, 50.0 * spent)
            elif trial:
                self._trial_at = now + max(_TRY_MANY_AFTER, 4.0 * spent)
            self._last_threads = threads
            if threads > self.threads_used:
                self.threads_used = threads

    def forward(self, x not None, out not None):
        self._acquire()
        try:
            if type(x) is tuple:
                for i, array in enumerate(x):
                    self._pass_input(i, array)
                for i, array in enumerate(out):
                    self._pass_output(i, array)
            else:
                self._pass_input(0, x)
                self._pass_output(0, out)
            self._predict()
        finally:
            PyThread_release_lock(self._lock)

    cdef inline bint _pass_compressed(self, int i, item) except -1:
        """Take a matrix in compressed rows; False for an array."""
        cdef Data *data = &self._run.data[i]
        if isinstance(item, np.ndarray):
            data.starts = NULL
            return False
        data.pointer = <const char *> cnp.PyArray_DATA(<cnp.ndarray?> item.values)
        data.places = <const int32_t *> cnp.PyArray_DATA(<cnp.ndarray?> item.columns)
        data.starts = <const int64_t *> cnp.PyArray_DATA(<cnp.ndarray?> item.starts)
        return True

    cdef inline int _pass_input(self, int i, item) except -1:
        cdef cnp.ndarray x
        if self._compressed and self._pass_compressed(i, item):
            self._run.rows = len(item)
            return 0
        x = item
        self._run.x[i] = <const char *> cnp.PyArray_DATA(x)
        self._run.rows, self._run.x_columns[i] = x.shape[0], x.shape[1]
        return 0

    cdef inline int _pass_output(self, int i, cnp.ndarray out) except -1:
        self._run.out[i] = <char *> cnp.PyArray_DATA(out)
        return 0

    cdef int _predict(self) except -1:
        cdef Run *q = &self._run
        cdef int threads = 1
        q.failed = False
        if q.bfloat16 != NULL:
            with nogil:
                self._refresh_copies()
        if (q.rows == 1 and self._row_nanoseconds > _ROW_WORTH and thread_limit() > 1
                and not self._python):
            with nogil:
                threads = self._one_row()
            self.threads_used = max(self.threads_used, threads)
            q.last_rows = 1
            return 0
        if q.rows > 1 and not self._python:
            threads = threads_for(self._nanoseconds * q.rows)
        if threads > 1:
            if threads > self.threads_used:
                self.threads_used = threads
            if threads > self._workspaces:
                self._workspace = _aligned(threads * q.workspace_bytes)
                q.workspace = <char *> cnp.PyArray_DATA(<cnp.ndarray> self._workspace)
                self._workspaces = threads
            with nogil:
                run(threads, forward_task, q)
        else:
            with nogil:
                forward_task(q, 0, 1)
        if q.failed:
            self._raise()
        q.last_rows = q.rows if q.rows < q.block else q.block
        return 0

    cdef int _raise(self) except -1:
        error, self._error = self._error, None
        raise error

    cdef _call_python(self, int number, long rows):
        """Call a step in Python on its arrays, which are made once for a number of rows."""
        function, inputs, outputs = self._python[number]
        found = self._views.get((number, rows))
        if found is None:
            if len(self._views) >= 8 * len(self._python):
                self._views.clear()
            results = tuple(self._view(i, rows, True) for i in outputs)
            buffers = self.plan.buffers
            # gradients of parameters are matrices here, and written to the arena from there
            stores = tuple((self._flat(i, buffers[i].rows), matrix)
                           for i, matrix in zip(outputs, results, strict=True)
                           if buffers[i].offset is not None)
            found = (tuple(self._view(i, rows, False) for i in inputs), results, stores)
            self._views[number, rows] = found
        function(found[0], found[1])
        for flat, matrix in found[2]:
            write(flat, matrix)

    @property
    def gradients(self):
        return self._gradients.view(self._parameters.dtype)

    cdef int _one_row(self) noexcept nogil:
        """A row with one thread or many, whichever was faster of late; returns their number."""
        cdef Run *q = &self._run
        cdef bint many = threads_always() or self._row_seconds[1] <= self._row_seconds[0]
        cdef double before = clock(), spent
        cdef int threads = 1
        self._row_calls += 1
        if self._row_calls % _ROW_TRIAL < _ROW_TRIALS:
            many = threads_always() or not many
        if many:
            memset(q.claimed, 0, 2 * q.count * sizeof(long))
            threads = run(thread_limit(), one_row_task, q)
        else:
            forward_task(q, 0, 1)
        many = threads > 1
        spent = clock() - before
        if self._row_seconds[many] == 0.0 or spent < self._row_seconds[many]:
            self._row_seconds[many] = spent
        else:  # a single slow call says little
            self._row_seconds[many] += 0.125 * (spent - self._row_seconds[many])
        return threads

    def buffer(self, index):
        """A copy of what the last step left in a buffer."""
        found = self._view(index, self._run.last_rows, True).copy()
        _, _, _, columns, *_ = self._operands[index]
        for thread in range(1, self._last_threads if index in self._apart else 1):
            start, stop = (
                part_start(columns, FM_PANEL // self._run.itemsize, parts.COUNT, each,
                           self._last_threads) for each in (thread, thread + 1))
            found[:, start:stop] = self._view(index, self._run.last_rows, True, thread)[
                :, start:stop]
        return found

    def _view(self, index, batch, writeable, thread=0):
        """The valid rows and columns of a buffer, of a batch of so many rows; a copy of a parameter
        or its gradient."""
        _, _, ld, columns, rows, classes = self._operands[index]
        buffer = self.plan.buffers[index]
        rows = batch * buffer.repeat if buffer.rows is None else rows
        flat = self._flat(index, rows, thread)
        if buffer.offset is not None:
            return read(flat, rows, columns).copy()
        flat = flat.reshape(rows, ld)
        one = buffer.role in ("row", "weight") or (classes and columns == 1)
        view = flat[:, 0] if one else flat[:, :columns]
        view.flags.writeable = writeable
        return view

    def _flat(self, index, rows, thread=0):
        """The memory of a buffer of so many rows; that of a thread, where each has its own."""
        base, at, ld, *_ = self._operands[index]
        if base == OWN:
            at += thread * self._run.own_bytes
        dtype = np.dtype(self.plan.buffers[index].dtype)
        memory = {
            <int> WORKSPACE: self._workspace,
            <int> PARAMETERS: self._parameters.view(np.uint8),
            <int> GRADIENTS: self._gradients,
            <int> OWN: self._own,
        }[base]
        return memory[at:at + rows * ld * dtype.itemsize].view(dtype)


cdef inline int _class(Code code) noexcept nogil:
    """ROWS, WEIGHTS, STATISTICS, WHOLE or PHASES, as a number."""
    return ((code >= REDUCE) + (code >= BATCH_STATISTICS) + (code >= SPECTRAL_NORM)
            + (code >= SQUARES))


def _scale_and_shift(op, first):
    """gamma and beta among the inputs from number `first` on, or None for one that is not."""
    more = list(op.inputs[first:])
    gamma = more.pop(0) if op.attributes["scale"] else None
    return gamma, more.pop(0) if op.attributes.get("center") else None


def _only(places, keys):
    """The places of those keys that have one."""
    return {key: places[key] for key in keys if key in places}


def _lines(bytes_):
    """Rounded up to whole cache lines."""
    return -(-bytes_ // FM_LINE) * FM_LINE
