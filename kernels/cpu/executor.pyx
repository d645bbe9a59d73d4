"""Runs a plan without returning to Python: many steps in one call, without the interpreter lock.

A plan is translated once into an array of C structs.  Operations fall into classes.  ROWS
operations split the rows of the batch among threads; COLUMNS operations, products whose weights
outweigh their activations, split the panels of the weights; WEIGHTS operations (gradient, update,
refresh of the transposed copy) split the memory of each weight matrix, so that a thread updates
what it computed and, where products split panels, goes on reading it.  Within the first and the
last class, what a thread reads it wrote itself; threads wait for each other between classes and
before each operation on columns.  STATISTICS operations split the columns of a batch, over all of
its rows; WHOLE operations are one thread's, or split a parameter otherwise than its update does.
Sums of the loss and the metrics are added up by one thread in a fixed order.  So the result does
not depend on the number of threads.
"""

cimport numpy as cnp
from libc.math cimport INFINITY, NAN, isfinite, sqrt
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t, uintptr_t
from libc.string cimport memcpy, memset
from cpython.pythread cimport (
    NOWAIT_LOCK, PyThread_acquire_lock, PyThread_allocate_lock, PyThread_free_lock,
    PyThread_release_lock, PyThread_type_lock, WAIT_LOCK,
)
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec

from .activations cimport Params, pack_params
from .native cimport (
    FM_ALL, FM_COLUMNS, FM_COLUMNS_SUM, FM_LAYER_NORM, FM_LINE, FM_PANEL, FM_RELU, FM_RELU_GRAD,
    FM_RMS_NORM, FM_ROWS, FM_STORE, FM_STRIP, FM_UNIT_NORM, barrier, bfloat16_kernels, fm_await,
    fm_bfloat16, fm_claim, fm_distribution_loss, fm_elementwise_loss, fm_features, fm_join,
    fm_kernels, fm_losses, fm_map, fm_map_grad, fm_masks, fm_overlap_loss, fm_pair_loss, fm_panels,
    fm_row_loss, fm_rows, fm_rows_grad, fm_score, fm_sparse, fm_tally, kernels_for, row_major, run,
    share, thread_limit, threads_always, threads_for,
)

from .optimizers cimport (
    CHUNK, Whole, whole_phase, whole_phases, whole_rule, whole_scratch, whole_sums,
)

import os
import warnings

import numpy as np

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
# What an epsilon of 0 counts as.
cdef double _TINY[2]
_TINY[0], _TINY[1] = 2.0 ** -126, 2.0 ** -1022
# Multiply-adds and elements per nanosecond of one core: only to decide about threads.
cdef double _RATE = 45.0
# Nanoseconds of one step from which a second thread may pay.
cdef double _STEP_WORTH = 8e3
# A run measures itself in slices and goes on with the number of threads that was faster.  The other
# number is tried again once in a while, many threads sooner than one: what slows them passes, such
# as another library's threads that spin for a while after their work.  Seconds, and steps:
cdef double _SLICE = 10e-3
cdef double _TRIAL = 1e-3
cdef double _TRY_MANY_AFTER = 20e-3
cdef double _TRY_ONE_AFTER = 100e-3
# Elements of a parameter whose penalty is summed up at once, by one thread.
cdef long _CHUNK = 4096
# Nanoseconds of a step so long that one thread is not tried where many are as fast as expected.
cdef double _STEP_LONG = 1e6
# A row whose parameters take longer to read is shared by threads, which take tens of microseconds
# to wake; bytes a nanosecond, panels of a piece, and elements of a kernel that is cut up.
cdef double _ROW_WORTH = 55e3
cdef double _ROW_RATE = 94.0
cdef long _ROW_PANELS = 4
# Calls after which the other number of threads is tried again, and how many in a row: the first
# ones find caches cold.
cdef long _ROW_TRIAL = 256
cdef long _ROW_TRIALS = 8
cdef long _ROW_SHARED = 65536
# Elements of lines that travel between processors in a nanosecond, and nanoseconds of a meeting.
cdef double _TRAVELS = 0.4
cdef double _MEETING = 300.0
# Steps between two looks at the clock, at most and less one: a power of two.
cdef long _MOST_STEPS = 2**20 - 1
# Rows that pass through all layers of a prediction together: small enough for the caches.
cdef long _BLOCK_ROWS = 96
# Bytes of a product that the function behind it finds in the nearest cache.
cdef long _NEAR = 12288

# Where an operand lies.
cdef enum Base:
    WORKSPACE
    PARAMETERS
    GRADIENTS
    DATA
    OWN            # of each thread
    COPIES         # of kernels
    BASES

cdef enum Code:
    GATHER
    DENSE
    MAP
    ROW_MAP
    MAXOUT
    PRELU
    DROPOUT
    SOFTMAX_CROSS_ENTROPY
    ROW_LOSS
    ELEMENTWISE_LOSS
    DISTRIBUTION_LOSS
    OVERLAP_LOSS
    PAIR_LOSS
    PAIR_GRAD
    SCORE
    MAP_GRAD
    ROW_MAP_GRAD
    MAXOUT_GRAD
    DENSE_DX
    PRELU_DX
    MULTIPLY
    ADD
    ALPHA_DROPOUT
    GAUSSIAN_DROPOUT
    GAUSSIAN_NOISE
    STANDARDIZE
    BATCH_NORM_DX
    SCALE_SHIFT
    ROW_NORM
    ROW_NORM_GRAD
    EMBEDDING
    RESHAPE
    TAKE_COLUMNS
    PUT_COLUMNS
    ACTIVITY_PENALTY
    PENALTY
    # those that join or cut buffers
    SUBTRACT
    MAXIMUM
    MINIMUM
    EXTREME_GRAD
    AFFINE
    DIVIDE
    POWER
    LOG
    BROADCAST
    ROW_SUM
    ROW_DOT
    SCALE_ROWS
    COPY_GROUPS
    # those that work on the steps of samples
    STEP_MASK
    KEEP_STEPS
    POOL
    POOL_GRAD
    # neighbours as pairs of bfloat16
    PAIR_COLUMNS
    PAIR_ROWS
    # those that make numbers of features
    COLUMN_AFFINE
    FEATURE_NORM
    DIGITIZE
    ENCODE
    # those that read matrices in compressed rows
    SPARSE_DENSE
    DENSIFY
    # gradients of groups of rows, which COMBINE adds up
    GROUP_DW
    GROUP_DB
    # by itself, with the interpreter's lock
    PYTHON
    # WEIGHTS operations from here on
    REDUCE
    ROW_WEIGHTS
    OVERLAP_SUMS
    TALLY
    PENALTY_TOTAL
    PENALTY_GRAD
    DENSE_DW
    SPARSE_DW
    DENSE_DB
    COMBINE
    PRELU_DALPHA
    ACCUMULATE
    COLLECT
    UPDATE
    AVERAGE
    PAIR_KERNEL
    TRANSPOSE
    GAMMA_GRAD
    EMBEDDING_GRAD
    RECORD
    # STATISTICS operations
    BATCH_STATISTICS
    BATCH_NORM_SUMS
    FOLD_STATISTICS
    OBSERVE
    # WHOLE operations
    SPECTRAL_NORM
    ORTHOGONAL_PENALTY
    CONSTRAIN
    # PHASES: threads split them in their own way and meet before and after each
    SQUARES
    WHOLE
    KEEP
    CHANGE

cdef struct Operand:
    Base base
    long at        # bytes from the base to the first row
    long ld        # elements from row to row
    long columns
    long rows      # of a parameter, or a transposed copy of one: those lie in panels
    long beside    # rows of the kernel whose gradient is computed together with that of this bias
    bint classes   # int64
    bint present

# What an optimizer does to one parameter in every `every`-th step, after `clip` of its gradient.
cdef struct Updating:
    bint first             # of the parameters that share hyperparameters
    int number             # of a row of spec.ELEMENTWISE_OPTIMIZERS
    long every
    double rate            # factor of the learning rate
    double decay
    double params[8]
    char *slots[4]         # at the parameter's first element
    bint clips
    double limit           # of each element,
    double norm            # of the norm; infinity where there is none
    bint whole_norm        # whether a norm that is not finite makes all elements NaN
    const double *squares  # whose sum is the square of the norm
    long squares_count
    double *sums           # that this operation computes
    long sums_count
    Whole whole            # of an optimizer that looks at the whole variable
    # of an average
    double keep
    long overwrite         # every so manieth update; 0 for never

cdef struct Step:
    Code code
    Updating *update
    int phase
    bint waits     # all threads meet before it
    bint by_columns
    bint pairs     # a product of bfloat16
    bint grouped   # GROUP_DW or GROUP_DB
    long together  # elements that one thread updates at once: also those of parameters that follow
    bint covered   # whether the update of an earlier parameter is that of this one, too
    int number     # of a data array, a total
    int ending
    Operand a
    Operand b
    Operand c
    Operand d
    Operand e
    Operand f
    Operand g
    Operand h
    Operand i
    long repeat    # rows of the operands for each row of the batch
    long from_repeat
    const int64_t *index
    double *scratch
    fm_map map
    fm_map_grad map_grad
    fm_rows rows_map
    fm_rows_grad rows_grad
    fm_elementwise_loss loss
    fm_row_loss row_loss
    fm_distribution_loss distribution_loss
    fm_overlap_loss overlap_loss
    fm_pair_loss pair_loss
    fm_score score
    fm_tally tally
    const double *options  # of a tally
    Params params
    double x       # smoothing, rate, threshold, ...
    double y
    double weight
    bint mean
    bint of_all    # a mean over all rows, also those that are ignored
    bint weighted_mean
    int weights    # number of the data array that a weighted mean divides by
    bint counts    # a sum adds its rows to the count of its total
    bint clears    # the output is 0 where nothing is copied to
    long units     # number of the counts of a buffer's first column
    long groups, width, step_a, step_b
    long samples[5]   # elements from one sample to the next, of operands a to e,
    long inner[5]     # and from one step of a sample to the next
    const char *constants
    bint has_ignore
    int64_t ignore
    uint64_t seed
    uint32_t stream

cdef enum:
    MAX_DATA = 128
    SIDE = 16  # pairs in a row of a panel, and rows that are transposed together

cdef struct Data:
    const char *pointer
    long columns   # 0 for one number per row
    int itemsize
    # of a matrix in compressed rows, whose values `pointer` points to
    const int32_t *places
    const int64_t *starts

cdef struct Run:
    const fm_kernels *kernels
    const fm_bfloat16 *bfloat16   # NULL where no product asks for it
    const Step *steps
    int count
    bint grouped   # whether some gradients are of groups of rows
    int itemsize
    # what a call is about
    Data data[MAX_DATA]
    const int64_t *order
    long order_length
    long batch_size, first, start, stop
    const double *learning_rate
    int64_t iteration
    double deadline
    long clock_mask
    bint check_finite
    # memory
    char *workspace
    long workspace_bytes   # per thread, in predictions
    char *own
    long own_bytes         # per thread
    char *copies
    long *claimed          # pieces of every operation, of one row
    long *finished
    char *parameters
    char *gradients
    double *totals
    uint64_t seed
    # what is observed in every so manieth step: `records_count` times `observations` rows of four
    # numbers, by `watching_count` operations in the place of the `count` of other steps
    const Step *watching
    int watching_count
    long every
    double *records
    long records_count, first_record, observations
    double *units
    char *kept     # parameters as they were before their update
    # a prediction
    const char *x[MAX_DATA]
    long x_columns[MAX_DATA]
    char *out[MAX_DATA]
    Operand results[MAX_DATA]
    int outputs
    long repeats[MAX_DATA]  # rows of a result for each row of the data
    long rows, block
    # what it tells
    long next
    long last_rows
    bint halt
    bint bad
    bint failed    # a step in Python raised
    void *owner    # the Executor, for steps in Python


cdef inline char *_at(const Operand *o, char **bases, long row, int itemsize) noexcept nogil:
    """Pointer to a row; NULL for an operand that is absent."""
    if not o.present:
        return NULL
    return bases[<int> o.base] + o.at + row * o.ld * (8 if o.classes else itemsize)


cdef inline fm_panels _panels(const Operand *o, char **bases, long column,
                              int itemsize) noexcept nogil:
    """The matrix from a column on, a multiple of the panel's width."""
    cdef fm_panels matrix
    if o.rows == 0:
        return row_major(bases[<int> o.base] + o.at + column * itemsize, o.ld, itemsize)
    matrix.at = bases[<int> o.base] + o.at + o.rows * column * itemsize
    matrix.ld = 0
    matrix.step = o.rows * (FM_PANEL // itemsize)
    return matrix


cdef inline double _clock() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return now.tv_sec + 1e-9 * now.tv_nsec


cdef void _extents(const Data *data, const int64_t *order, long first, long rows,
                   int64_t *out) noexcept nogil:
    """Where the elements of rows of a matrix in compressed rows begin and end."""
    cdef long i, row
    for i in range(rows):
        row = first + i if order == NULL else order[i]
        out[2 * i], out[2 * i + 1] = data.starts[row], data.starts[row + 1]


cdef void _sparse_step(const Run *q, const Step *s, char **bases, long r0,
                       long rows) noexcept nogil:
    """An operation on matrices in compressed rows: a their extents; `rows` rows from r0."""
    cdef const fm_sparse *k = &q.kernels.sparse
    cdef const Data *data = &q.data[s.number]
    cdef int size = q.itemsize
    cdef const int64_t *extents = <const int64_t *> _at(&s.a, bases, r0, size)
    cdef const Operand *z = &s.e if s.e.present else &s.d
    cdef char *out
    if s.code == DENSIFY:
        k.densify(rows, s.b.columns, extents, data.pointer, data.places,
                  _at(&s.b, bases, r0, size), s.b.ld)
        return
    # b kernel, c bias, d y, e z
    out = _at(z, bases, r0, size)
    k.product(rows, s.d.columns, extents, data.pointer, data.places,
              _panels(&s.b, bases, 0, size), _at(&s.c, bases, 0, size), out, s.d.ld)
    if s.map != NULL:
        s.map(rows * s.d.ld, out, _at(&s.d, bases, r0, size), &s.params)


cdef void _gather(const Run *q, const Step *s, char **bases, const int64_t *order, long first,
                  long rows) noexcept nogil:
    """Rows `first` on of a data array, picked by `order` where there is one, into a buffer."""
    cdef const Data *data = &q.data[s.number]
    cdef char *out = _at(&s.a, bases, first * s.repeat, q.itemsize)
    cdef const float *narrow = <const float *> data.pointer
    cdef const int64_t *wide = <const int64_t *> data.pointer
    cdef long i, k, width = s.a.columns * data.itemsize
    if data.starts != NULL:
        _extents(data, order, 0, rows, <int64_t *> out)
    elif data.columns and s.repeat > 1:
        for i in range(rows):
            for k in range(s.repeat):
                memcpy(out + (i * s.repeat + k) * s.a.ld * data.itemsize,
                       data.pointer + order[i] * data.columns * data.itemsize + k * width, width)
    elif data.columns:
        q.kernels.gather(rows, data.columns, data.pointer, data.columns, order, out, s.a.ld)
    elif data.itemsize == 4:
        for i in range(rows):
            (<float *> out)[i] = narrow[order[i]]
    else:
        for i in range(rows):
            (<int64_t *> out)[i] = wide[order[i]]


cdef double _counted(const Run *q, const Step *s, const int64_t *order, long n) noexcept nogil:
    """What a mean is divided by: rows of the batch whose class is not the ignored one, at least 1,
    or the sum of their weights, infinite where it is 0.

    Counted in the data: the gathered labels and weights of other threads may not be there yet.
    """
    cdef const int64_t *classes = <const int64_t *> q.data[s.number].pointer
    cdef const char *weights = q.data[s.weights].pointer
    cdef long i, k
    cdef double sum = 0.0
    for i in range(n):
        if s.repeat > 1:  # labels of each step of a sample, and no weights: see row_weights
            for k in range(s.repeat):
                sum += classes[order[i] * s.repeat + k] != s.ignore
            continue
        if s.has_ignore and classes[order[i]] == s.ignore:
            continue
        if not s.weighted_mean:
            sum += 1.0
        elif q.itemsize == 4:
            sum += (<const float *> weights)[order[i]]
        else:
            sum += (<const double *> weights)[order[i]]
    if s.weighted_mean:
        return sum if sum != 0.0 else INFINITY
    return sum if sum > 0.0 else 1.0


cdef void _scale(char *values, long n, int itemsize, double factor) noexcept nogil:
    cdef long i
    for i in range(n):
        if itemsize == 4:
            (<float *> values)[i] = <float> ((<float *> values)[i] * factor)
        else:
            (<double *> values)[i] = (<double *> values)[i] * factor


cdef inline bint _joins(Code code) noexcept nogil:
    return SUBTRACT <= code <= COPY_GROUPS


cdef void _join_step(const Run *q, const Step *s, char **bases, long r0, long rows) noexcept nogil:
    """An operation that joins or cuts buffers, on `rows` rows from r0."""
    cdef const fm_join *k = &q.kernels.join
    cdef int size = q.itemsize
    cdef Code code = s.code
    cdef char *a = _at(&s.a, bases, r0, size)
    cdef char *b = _at(&s.b, bases, r0, size)
    cdef char *c = _at(&s.c, bases, r0, size)
    if code == SUBTRACT:
        k.subtract(rows * s.a.ld, a, b, c)
    elif code == MAXIMUM:
        k.maximum(rows * s.a.ld, a, b, c)
    elif code == MINIMUM:
        k.minimum(rows * s.a.ld, a, b, c)
    elif code == EXTREME_GRAD:
        k.extreme_grad(rows * s.a.ld, s.number, a, b, c, _at(&s.d, bases, r0, size))
    elif code == AFFINE:
        k.affine(rows * s.a.ld, s.x, s.y, a, b)
    elif code == DIVIDE:
        k.divide(rows, s.a.columns, a, s.a.ld, b, s.b.ld, c, s.c.ld)
    elif code == POWER:
        k.power(rows, s.a.columns, s.x, a, s.a.ld, b, s.b.ld)
    elif code == LOG:
        k.log(rows, s.a.columns, a, s.a.ld, b, s.b.ld)
    elif code == BROADCAST:
        k.broadcast(rows, s.b.columns, s.x, a, s.a.ld, b, s.b.ld)
    elif code == ROW_SUM:
        k.row_sum(rows, s.a.columns, s.x, a, s.a.ld, b, s.b.ld)
    elif code == ROW_DOT:
        k.row_dot(rows, s.a.columns, a, s.a.ld, b, s.b.ld, c, s.c.ld)
    elif code == SCALE_ROWS:
        k.scale_rows(rows, s.a.columns, a, s.a.ld, b, s.b.ld, c, s.c.ld)
    else:  # COPY_GROUPS
        if s.clears:
            memset(_at(&s.c, bases, r0, size), 0, rows * s.b.ld * size)
        k.copy_groups(rows, s.groups, s.width, a, s.a.ld, s.step_a, b, s.b.ld, s.step_b)

cdef void _steps_step(const Run *q, const Step *s, char **bases, long r0,
                      long n) noexcept nogil:
    """An operation on the steps of n samples from r0 on."""
    cdef const fm_masks *k = &q.kernels.masks
    cdef int i
    cdef long t = s.groups, c = s.width
    cdef char *at[5]
    cdef const Operand *operands[5]
    operands[0], operands[1], operands[2] = &s.a, &s.b, &s.c
    operands[3], operands[4] = &s.d, &s.e
    for i in range(5):
        at[i] = _at(operands[i], bases, 0, q.itemsize)
        if at[i] != NULL:
            at[i] += r0 * s.samples[i] * q.itemsize
    if s.code == STEP_MASK:
        # a x, b mask
        k.step_mask(n, t, c, s.x, at[0], s.samples[0], s.inner[0], at[1], s.samples[1], s.inner[1])
    elif s.code == KEEP_STEPS:
        # a x, b mask, c y
        k.keep_steps(n, t, c, at[0], s.samples[0], s.inner[0], at[1], s.samples[1], s.inner[1],
                     at[2], s.samples[2], s.inner[2])
    elif s.code == POOL:
        # a x, b mask, c y
        k.pool(n, t, c, s.number, at[0], s.samples[0], s.inner[0], at[1], s.samples[1], s.inner[1],
               at[2], s.samples[2])
    elif s.number:
        # a dy, b mask, c dx, d x, e y
        k.max_pool_grad(n, t, c, at[0], s.samples[0], at[3], s.samples[3], s.inner[3], at[4],
                        s.samples[4], at[2], s.samples[2], s.inner[2])
    else:
        k.mean_pool_grad(n, t, c, at[0], s.samples[0], at[1], s.samples[1], s.inner[1], at[2],
                         s.samples[2], s.inner[2])


cdef void _row_weights(const Run *q, const Step *s, char **bases, long n) noexcept nogil:
    """Weights of the rows of a loss: a those of samples or rows, b mask, c result, d labels."""
    cdef int size = q.itemsize
    q.kernels.masks.row_weights(
        n, s.groups, s.number, _at(&s.a, bases, 0, size), s.width, _at(&s.b, bases, 0, size),
        s.samples[1], s.inner[1], <const int64_t *> _at(&s.d, bases, 0, size),
        &s.ignore if s.d.present else NULL, _at(&s.c, bases, 0, size))


cdef void _product(const Run *q, const Step *s, char **bases, long r0, long rows, long c0,
                   long columns) noexcept nogil:
    """A DENSE or DENSE_DX operation on a block of its output, with the function that follows."""
    cdef int size = q.itemsize
    cdef long line = FM_LINE // size, wide = (columns + line - 1) // line * line, i, at
    cdef bint whole = columns == s.d.columns
    # DENSE: a x, b kernel, c bias, d y, e z; DENSE_DX: a dz, b transposed kernel, c saved, d dx
    cdef const Operand *z = &s.e if s.e.present else &s.d
    cdef bint follows = s.map != NULL if s.code == DENSE else s.map_grad != NULL
    cdef long block = rows
    cdef char *out
    cdef char *y
    cdef char *saved = NULL
    cdef char *bias = NULL
    if s.c.present and s.code == DENSE:
        bias = _at(&s.c, bases, 0, size) + c0 * size
    if follows:  # while its arguments are still in the nearest cache
        block = max(_BLOCK_ROWS, _NEAR // (wide * size))
    while rows > 0:
        block = min(block, rows)
        out = _at(z, bases, r0, size) + c0 * size
        y = _at(&s.d, bases, r0, size) + c0 * size
        if s.c.present and s.code == DENSE_DX:
            saved = _at(&s.c, bases, r0, size) + c0 * size
        (q.bfloat16.gemm if s.pairs else q.kernels.gemm)(
            0, block, columns, s.b.rows, _at(&s.a, bases, r0, size), s.a.ld,
            _panels(&s.b, bases, c0, size), bias, row_major(out, s.d.ld, size), s.ending, saved)
        if follows and whole:
            _follow(s, block * s.d.ld, out, y, saved)
        elif follows:
            for i in range(block):
                at = i * s.d.ld * size
                _follow(s, wide, out + at, y + at, saved + at)
        r0 += block
        rows -= block


cdef inline void _follow(const Step *s, long n, char *out, char *y, char *saved) noexcept nogil:
    """The function that follows a product, or its derivative, on n elements."""
    if s.code == DENSE:
        s.map(n, out, y, &s.params)
    else:
        s.map_grad(n, y, saved, y, &s.params)


cdef void _columns_step(const Run *q, const Step *s, char **bases, long n, int thread,
                        int threads) noexcept nogil:
    """A COLUMNS operation: this thread's panels."""
    cdef long start, stop
    share(s.d.columns, FM_PANEL // q.itemsize, thread, threads, &start, &stop)
    if stop > start:
        _product(q, s, bases, 0, n * s.repeat, start, stop - start)


cdef inline void _cut(const Operand *o, int thread, int threads, int itemsize, long *panel,
                      long *row) noexcept nogil:
    """Where in a parameter's memory a thread's part begins: at a row of a panel."""
    cdef long each = FM_PANEL // itemsize, width
    cdef long at = o.rows * o.ld * thread // threads
    panel[0] = at // (o.rows * each)
    width = o.ld - panel[0] * each
    if width <= 0 or width > each:
        width = each
    row[0] = (at - panel[0] * o.rows * each) // width
    if row[0] < o.rows:
        row[0] -= row[0] % 2  # neighbours stay together


cdef inline long _element(const Operand *o, int part, int parts, int itemsize) noexcept nogil:
    """The first element of a parameter that belongs to a part."""
    cdef long each = FM_PANEL // itemsize, panel, row
    cdef Operand kernel
    if o.beside:  # every panel belongs to the thread that has the kernel's first row of it
        kernel = o[0]
        kernel.rows = o.beside
        _cut(&kernel, part, parts, itemsize, &panel, &row)
        return min(o.ld, (panel + (row > 0)) * each)
    _cut(o, part, parts, itemsize, &panel, &row)
    return panel * o.rows * each + row * min(each, o.ld - panel * each)


cdef inline void _part(const Operand *o, int thread, int threads, int itemsize, long *start,
                       long *stop) noexcept nogil:
    """The elements of a parameter that belong to a thread."""
    start[0] = _element(o, thread, threads, itemsize)
    stop[0] = _element(o, thread + 1, threads, itemsize)


cdef void _pieces(const Run *q, const Step *s, const Operand *o, char *sums, char **bases,
                  long r0, long n, int begin, int until, int parts) noexcept nogil:
    """The gradient, of n rows from r0, or the transposed copy of some of a kernel's `parts`.

    They are the end of one panel, whole panels, and the beginning of another.  `sums` is NULL or
    where the gradient of the bias goes.
    """
    cdef long panel, row, last, end, stop
    _cut(o, begin, parts, q.itemsize, &panel, &row)
    _cut(o, until, parts, q.itemsize, &last, &end)
    while panel < last or (panel == last and row < end):
        if row == 0 and panel < last:
            stop = last
            if s.code != DENSE_DW and s.code != GROUP_DW and s.code != SPARSE_DW:
                stop = panel + 1  # a transposed copy or a table
            _piece(q, s, o, sums, bases, r0, n, panel, stop, 0, o.rows)
            panel = stop
        elif panel < last:
            _piece(q, s, o, sums, bases, r0, n, panel, panel + 1, row, o.rows)
            panel, row = panel + 1, 0
        else:
            _piece(q, s, o, sums, bases, r0, n, panel, panel + 1, row, end)
            return


cdef void _piece(const Run *q, const Step *s, const Operand *o, char *sums, char **bases, long r0,
                 long n, long panel, long stop, long first, long end) noexcept nogil:
    """Rows `first` to `end` of the panels from `panel` to `stop`."""
    cdef int size = q.itemsize
    cdef long each = FM_PANEL // size, column = panel * each, width = min(each, o.ld - column)
    cdef long columns = min(stop * each, o.columns) - column
    cdef fm_panels paired, matrix = _panels(o, bases, column, size)
    cdef float pairs[SIDE * SIDE]
    cdef long at, to
    cdef char *x
    cdef char *dz
    if columns <= 0:
        return
    if s.code == SPARSE_DW:
        # a extents, b dz, c dkernel
        matrix.at = <char *> matrix.at + first * width * size
        q.kernels.sparse.dw(
            n, first, end, columns, <const int64_t *> _at(&s.a, bases, 0, size),
            q.data[s.number].pointer, q.data[s.number].places,
            _at(&s.b, bases, 0, size) + column * size, s.b.ld, matrix)
    elif s.code == DENSE_DW or s.code == GROUP_DW:
        # a x, b dz, c dkernel, d dbias, which belongs to the kernel's first row
        r0 *= s.repeat
        matrix.at = <char *> matrix.at + first * width * size
        x = _at(&s.a, bases, r0, size) + first * size
        dz = _at(&s.b, bases, r0, size) + column * size
        if s.pairs:
            q.bfloat16.gemm(1, end - first, columns, (n * s.repeat + 1) // 2, x, s.a.ld,
                            row_major(dz, s.b.ld, size), NULL, matrix, FM_STORE, NULL)
        else:
            q.kernels.kernel_grad(end - first, columns, n * s.repeat, x, s.a.ld, dz, s.b.ld,
                                  matrix, sums + column * size if sums != NULL and first == 0
                                  else NULL)
    elif s.code == EMBEDDING_GRAD:
        # a numbers, b dy, c dtable
        q.kernels.embedding_grad(n, s.a.columns, o.columns, column, columns,
                                 _at(&s.a, bases, 0, size), s.a.ld, _at(&s.b, bases, 0, size),
                                 s.b.ld, matrix.at, o.rows, width, first, end)
    elif s.code == PAIR_KERNEL:
        # a kernel, b its pairs; `first` is even
        paired = _panels(&s.b, bases, column, size)
        q.bfloat16.pair_rows(
            end - first, width, <char *> matrix.at + first * width * size, width,
            <char *> paired.at + first // 2 * width * size, width)
    elif s.pairs:
        # a kernel, b pairs of its columns, transposed
        at = first
        while at < end:
            to = min(at - at % SIDE + SIDE, end)
            q.bfloat16.pair_columns(to - at, columns, <char *> matrix.at + at * width * size,
                                    width, pairs, SIDE)
            q.kernels.transpose(at, to, o.rows, (columns + 1) // 2, pairs - at * SIDE, SIDE,
                                _panels(&s.b, bases, 0, size), column // 2)
            at = to
    else:
        # a kernel, b transposed
        q.kernels.transpose(first, end, o.rows, columns, matrix.at, width,
                            _panels(&s.b, bases, 0, size), column)


cdef inline long _groups(long n) noexcept nogil:
    """Groups of the n rows of a batch, whose gradients of small parameters are added up later.

    A function of the batch alone, so that it decides the bits of a gradient and threads do not.
    """
    return 1 if n < 64 else 2 if n < 1024 else 8 if n < 4096 else 24


cdef inline bint _own_groups(long groups, int threads) noexcept nogil:
    """Whether each thread has groups of its own: they are as good as equal parts of the rows."""
    return groups % threads == 0 or groups >= 3 * threads


cdef void _group_step(const Run *q, const Step *s, char **bases, long n, int thread,
                      int threads) noexcept nogil:
    """A GROUP_DW or GROUP_DB operation: gradients of this thread's groups, or parts of some."""
    cdef long groups = _groups(n), group, r0, rows, start, stop
    cdef bint own = _own_groups(groups, threads)
    cdef int begin, end, size = q.itemsize
    cdef Operand o = s.c, bias = s.d
    for group in range(groups):
        # which of the group's parts, as many as threads, are this thread's
        begin = <int> max(0, min(threads, thread * groups - group * threads))
        end = <int> max(0, min(threads, (thread + 1) * groups - group * threads))
        if own:
            begin = 0
            end = threads if groups * thread // threads <= group \
                < groups * (thread + 1) // threads else 0
        r0, rows = n * group // groups, n * (group + 1) // groups - n * group // groups
        if end > begin and s.code == GROUP_DW:
            _pieces(q, s, &o, _at(&bias, bases, 0, size), bases, r0, rows, begin, end, threads)
        elif end > begin:
            start = _element(&o, begin, threads, size)
            stop = _element(&o, end, threads, size)
            r0 *= s.repeat
            q.kernels.column_sums(rows * s.repeat, stop - start,
                                  _at(&s.a, bases, r0, size) + start * size, s.a.ld,
                                  _at(&o, bases, 0, size) + start * size)
        o.at += o.rows * o.ld * size
        bias.at += bias.rows * bias.ld * size


cdef void _combine(const Run *q, const Step *s, char **bases, long n, int thread,
                   int threads) noexcept nogil:
    """This thread's part of a gradient (a) from those of groups of rows (b)."""
    cdef long start, stop, group, groups = _groups(n), each = s.b.rows * s.b.ld * q.itemsize
    cdef char *sum
    cdef char *part
    _part(&s.a, thread, threads, q.itemsize, &start, &stop)
    if stop <= start:
        return
    sum = _at(&s.a, bases, 0, q.itemsize) + start * q.itemsize
    part = _at(&s.b, bases, 0, q.itemsize) + start * q.itemsize
    if groups == 1:
        memcpy(sum, part, (stop - start) * q.itemsize)
    for group in range(1, groups):
        q.kernels.add(stop - start, part if group == 1 else sum, part + group * each, sum)


cdef void _features_step(const Run *q, const Step *s, char **bases, long r0,
                         long rows) noexcept nogil:
    """An operation that makes numbers of features, on `rows` rows from r0."""
    cdef const fm_features *k = &q.kernels.features
    cdef int size = q.itemsize
    cdef char *x = _at(&s.a, bases, r0, size)
    cdef char *y = _at(&s.b, bases, r0, size)
    if s.code == COLUMN_AFFINE:
        k.column_affine(rows, s.a.columns, s.constants, x, s.a.ld, y, s.b.ld)
    elif s.code == FEATURE_NORM:
        k.feature_norm(rows, s.a.columns, s.c.columns == 1, s.number, s.mean, s.x,
                       _at(&s.c, bases, 0, size), _at(&s.d, bases, 0, size), x, s.a.ld, y, s.b.ld)
    elif s.code == DIGITIZE:
        k.digitize(rows, s.a.columns, s.width, s.constants, x, s.a.ld, y, s.b.ld)
    else:
        k.encode(rows, s.a.columns, s.width, s.number, x, s.a.ld, y, s.b.ld)


cdef void _rows_step(const Run *q, const Step *s, char **bases, const int64_t *order, long r0,
                     long rows, long n, int64_t count) noexcept nogil:
    """A ROWS operation on `rows` rows from r0 of a batch of n; `count` updates came before."""
    cdef const fm_kernels *k = q.kernels
    cdef int size = q.itemsize
    cdef Code code = s.code
    r0, rows = r0 * s.repeat, rows * s.repeat
    cdef char *a = _at(&s.a, bases, r0, size)
    cdef char *b
    cdef char *c
    cdef char *d
    cdef const int64_t *ignore
    cdef double scale
    cdef double kept
    if code == DENSE or code == DENSE_DX:
        _product(q, s, bases, r0, rows, 0, s.d.columns)
    elif code == MAP:
        s.map(rows * s.a.ld, a, _at(&s.b, bases, r0, size), &s.params)
    elif code == MAP_GRAD:
        s.map_grad(rows * s.a.ld, a, _at(&s.b, bases, r0, size), _at(&s.c, bases, r0, size),
                   &s.params)
    elif code == ROW_MAP:
        s.rows_map(rows, s.b.columns, a, s.a.ld, _at(&s.b, bases, r0, size), s.b.ld)
    elif code == ROW_MAP_GRAD:
        s.rows_grad(rows, s.a.columns, a, s.a.ld, _at(&s.b, bases, r0, size), s.b.ld,
                    _at(&s.c, bases, r0, size), s.c.ld)
    elif code == MAXOUT:
        k.maxout(rows, s.b.columns, s.number, a, s.a.ld, _at(&s.b, bases, r0, size), s.b.ld)
    elif code == MAXOUT_GRAD:
        k.maxout_grad(rows, s.a.columns, s.number, a, s.a.ld, _at(&s.b, bases, r0, size), s.b.ld,
                      _at(&s.c, bases, r0, size), s.c.ld)
    elif code == PAIR_COLUMNS:
        q.bfloat16.pair_columns(rows, s.a.columns, a, s.a.ld, _at(&s.b, bases, r0, size), s.b.ld)
    elif code == PAIR_ROWS:
        q.bfloat16.pair_rows(rows, s.a.ld, a, s.a.ld, _at(&s.b, bases, r0 // 2, size), s.b.ld)
    elif code == PRELU:
        k.prelu(rows, s.a.columns, a, s.a.ld, _at(&s.b, bases, 0, size),
                _at(&s.c, bases, r0, size), s.c.ld)
    elif code == PRELU_DX:
        k.prelu_grad(rows, s.a.columns, a, s.a.ld, _at(&s.b, bases, r0, size), s.b.ld,
                     _at(&s.c, bases, 0, size), _at(&s.d, bases, r0, size), s.d.ld)
    elif code == DROPOUT:
        # a x, b y, c mask
        k.dropout_mask(r0, r0 + rows, s.c.columns, _at(&s.c, bases, 0, size), s.c.ld, s.x,
                       s.seed, s.stream, <uint32_t> count)
        k.multiply(rows * s.a.ld, a, _at(&s.c, bases, r0, size), _at(&s.b, bases, r0, size))
    elif code == MULTIPLY:
        k.multiply(rows * s.a.ld, a, _at(&s.b, bases, r0, size), _at(&s.c, bases, r0, size))
    elif code == ADD:
        k.add(rows * s.a.ld, a, _at(&s.b, bases, r0, size), _at(&s.c, bases, r0, size))
    elif _joins(code):
        _join_step(q, s, bases, r0, rows)
    elif STEP_MASK <= code <= POOL_GRAD:
        _steps_step(q, s, bases, r0, rows)
    elif code == PAIR_LOSS:
        # a prediction, b labels, d losses before weights, f derivatives by products
        s.pair_loss(r0, r0 + rows, n, s.a.columns, _at(&s.a, bases, 0, size), s.a.ld,
                    <const int64_t *> _at(&s.b, bases, 0, size), _at(&s.d, bases, 0, size),
                    _at(&s.f, bases, 0, size), s.f.ld, &s.params)
    elif code == PAIR_GRAD:
        # a prediction, b losses before weights, c sample weight, d losses, e gradient, f as above
        scale = s.weight / n if s.mean else s.weight
        k.losses.pair_grad(
            r0, r0 + rows, n, s.a.columns, _at(&s.a, bases, 0, size), s.a.ld,
            _at(&s.c, bases, 0, size), s.mean, scale, _at(&s.b, bases, 0, size),
            _at(&s.f, bases, 0, size), s.f.ld, _at(&s.d, bases, 0, size),
            _at(&s.e, bases, 0, size), s.e.ld)
    elif ALPHA_DROPOUT <= code < PENALTY:
        _layer_step(q, s, bases, r0, rows, n, count)
    elif COLUMN_AFFINE <= code <= ENCODE:
        _features_step(q, s, bases, r0, rows)
    elif code == SPARSE_DENSE or code == DENSIFY:
        _sparse_step(q, s, bases, r0, rows)
    else:
        # a prediction, b labels, c sample weight, d losses (or scores), e gradient, f hits
        b = _at(&s.b, bases, r0, size)
        c = _at(&s.c, bases, r0, size)
        d = _at(&s.d, bases, r0, size)
        n *= s.repeat
        kept = <double> n
        if s.weighted_mean or (s.has_ignore and s.mean and not s.of_all):
            kept = _counted(q, s, order, n // s.repeat)
        scale = s.weight / kept if s.mean or s.weighted_mean else s.weight
        ignore = &s.ignore if s.has_ignore else NULL
        if code == SOFTMAX_CROSS_ENTROPY:
            k.softmax_cross_entropy(
                rows, s.a.columns, a, s.a.ld, <const int64_t *> b if s.b.classes else NULL,
                NULL if s.b.classes else b, s.b.ld, c, s.x, ignore, scale, d,
                _at(&s.e, bases, r0, size), s.e.ld, _at(&s.f, bases, r0, size))
        elif code == ROW_LOSS:
            s.row_loss(
                rows, s.a.columns, a, s.a.ld, <const int64_t *> b if s.b.classes else NULL,
                NULL if s.b.classes else b, s.b.ld, c, s.x, ignore, scale, d,
                _at(&s.e, bases, r0, size), s.e.ld, &s.params)
        elif code == ELEMENTWISE_LOSS:
            s.loss(rows, s.a.columns, a, s.a.ld, b, s.b.ld, c, s.x, scale, d,
                   _at(&s.e, bases, r0, size), s.e.ld, &s.params)
        elif code == DISTRIBUTION_LOSS:
            s.distribution_loss(rows, s.b.columns, a, s.a.ld, b, s.b.ld, c, scale, d,
                                _at(&s.e, bases, r0, size), s.e.ld, &s.params)
        elif code == OVERLAP_LOSS:
            # f sums
            s.overlap_loss(rows, s.a.columns, s.number, a, s.a.ld, b, s.b.ld, c, scale,
                           <const double *> _at(&s.f, bases, 0, size), d,
                           _at(&s.e, bases, r0, size), s.e.ld, &s.params)
        elif code == SCORE:
            s.score(rows, s.a.columns, a, s.a.ld, <const int64_t *> b if s.b.classes else NULL,
                    NULL if s.b.classes else b, s.b.ld, &s.params, d)
        if kept != n:
            # the mean is over the rows that count, while totals are divided by n
            _scale(d, rows, size, n / kept)


cdef void _layer_step(const Run *q, const Step *s, char **bases, long r0, long rows, long n,
                      int64_t count) noexcept nogil:
    """A ROWS operation of a layer besides products and activations; see `_rows_step`."""
    cdef const fm_kernels *k = q.kernels
    cdef int size = q.itemsize
    cdef Code code = s.code
    cdef uint32_t step = <uint32_t> count
    cdef char *a = _at(&s.a, bases, r0, size)
    cdef char *b
    if code == ALPHA_DROPOUT:
        # a x, b y, c mask
        k.dropout_mask(r0, r0 + rows, s.c.columns, _at(&s.c, bases, 0, size), s.c.ld,
                       s.params.storage[0], s.seed, s.stream, step)
        k.alpha_dropout(rows * s.a.ld, a, _at(&s.c, bases, r0, size), _at(&s.b, bases, r0, size),
                        s.x, s.y, s.weight)
    elif code == GAUSSIAN_DROPOUT:
        # a x, b y, c mask
        k.normal(r0, r0 + rows, s.c.columns, _at(&s.c, bases, 0, size), s.c.ld, 1.0, s.x, s.seed,
                 s.stream, step)
        k.multiply(rows * s.a.ld, a, _at(&s.c, bases, r0, size), _at(&s.b, bases, r0, size))
    elif code == GAUSSIAN_NOISE:
        # a x, b y
        b = _at(&s.b, bases, r0, size)
        k.normal(r0, r0 + rows, s.b.columns, _at(&s.b, bases, 0, size), s.b.ld, 0.0, s.x, s.seed,
                 s.stream, step)
        k.add(rows * s.a.ld, a, b, b)
    elif code == STANDARDIZE:
        # a x, b mean, c inv, d gamma, e beta, f y
        k.standardize(rows, s.a.columns, a, s.a.ld, _at(&s.b, bases, 0, size),
                      _at(&s.c, bases, 0, size), _at(&s.d, bases, 0, size),
                      _at(&s.e, bases, 0, size), _at(&s.f, bases, r0, size), s.f.ld)
    elif code == BATCH_NORM_DX:
        # a dy, b x, c mean, d inv, e dgamma, f dbeta, g gamma, h dx, i weights
        k.batch_norm_dx(rows, s.a.columns, n * s.repeat, a, s.a.ld, _at(&s.b, bases, r0, size),
                        s.b.ld, _at(&s.i, bases, r0, size), _at(&s.c, bases, 0, size),
                        _at(&s.d, bases, 0, size), _at(&s.e, bases, 0, size),
                        _at(&s.f, bases, 0, size), _at(&s.g, bases, 0, size),
                        _at(&s.h, bases, r0, size), s.h.ld)
    elif code == SCALE_SHIFT:
        # a x, b factors, c summands, d y
        k.scale_shift(rows, s.a.columns, a, s.a.ld, _at(&s.b, bases, 0, size),
                      _at(&s.c, bases, 0, size), _at(&s.d, bases, r0, size), s.d.ld)
    elif code == ROW_NORM:
        # a x, b gamma, c beta, d y, e inv, f mean
        k.row_norm(rows, s.a.columns, a, s.a.ld, s.number, s.x, _at(&s.b, bases, 0, size),
                   _at(&s.c, bases, 0, size), _at(&s.d, bases, r0, size), s.d.ld,
                   _at(&s.e, bases, r0, size), _at(&s.f, bases, r0, size))
    elif code == ROW_NORM_GRAD:
        # a dy, b x, c inv, d mean, e gamma, f dx
        k.row_norm_grad(rows, s.a.columns, a, s.a.ld, _at(&s.b, bases, r0, size), s.b.ld,
                        _at(&s.c, bases, r0, size), _at(&s.d, bases, r0, size),
                        _at(&s.e, bases, 0, size), s.number, _at(&s.f, bases, r0, size), s.f.ld)
    elif code == EMBEDDING:
        # a numbers, b table, c y
        k.embedding(rows, s.a.columns, s.b.columns, a, s.a.ld, _at(&s.b, bases, 0, size), s.b.rows,
                    s.b.ld, FM_PANEL // size, _at(&s.c, bases, r0, size), s.c.ld)
    elif code == RESHAPE:
        # a x, b y
        k.reshape(rows, s.from_repeat, s.a.columns, _at(&s.a, bases, r0 * s.from_repeat, size),
                  s.a.ld, s.number, s.b.columns, _at(&s.b, bases, r0 * s.number, size), s.b.ld)
    elif code == TAKE_COLUMNS:
        # a x, b y
        k.take_columns(rows, s.b.columns, s.index, a, s.a.ld, _at(&s.b, bases, r0, size), s.b.ld)
    elif code == PUT_COLUMNS:
        # a dy, b dx
        k.put_columns(rows, s.a.columns, s.index, a, s.a.ld, _at(&s.b, bases, r0, size), s.b.ld,
                      s.b.columns)
    elif code == ACTIVITY_PENALTY:
        # a y, b penalties, c gradient
        k.activity_penalty(rows, s.a.columns, a, s.a.ld, s.weight, s.x, s.y, 1.0 / n,
                           _at(&s.b, bases, r0, size), _at(&s.c, bases, r0, size), s.c.ld)


cdef void _statistics_step(const Run *q, const Step *s, char **bases, long n, int thread,
                           int threads) noexcept nogil:
    """A STATISTICS operation on this thread's columns."""
    cdef const fm_kernels *k = q.kernels
    cdef int size = q.itemsize
    cdef long start, stop
    share(s.a.columns, FM_STRIP, thread, threads, &start, &stop)
    if stop <= start:
        return
    if s.code == BATCH_STATISTICS:
        # a x, b and c the moving mean and variance, d mean, e inv, f weights
        k.batch_statistics(n * s.repeat, start, stop, _at(&s.a, bases, 0, size), s.a.ld,
                           _at(&s.f, bases, 0, size), s.x, s.y,
                           _at(&s.b, bases, 0, size), _at(&s.c, bases, 0, size),
                           _at(&s.d, bases, 0, size), _at(&s.e, bases, 0, size))
    elif s.code == BATCH_NORM_SUMS:
        # a dy, b x, c mean, d inv, e dgamma, f dbeta
        k.batch_norm_sums(n * s.repeat, start, stop, _at(&s.a, bases, 0, size), s.a.ld,
                          _at(&s.b, bases, 0, size), s.b.ld, _at(&s.c, bases, 0, size),
                          _at(&s.d, bases, 0, size), _at(&s.e, bases, 0, size),
                          _at(&s.f, bases, 0, size))
    else:
        # a mean, b variance, c gamma, d beta, e factors, f summands
        k.fold_statistics(start, stop, _at(&s.a, bases, 0, size), _at(&s.b, bases, 0, size),
                          _at(&s.c, bases, 0, size), _at(&s.d, bases, 0, size), s.x,
                          _at(&s.e, bases, 0, size), _at(&s.f, bases, 0, size))


cdef void _observe_columns(const Run *q, const Step *s, char **bases, long n, int thread,
                           int threads) noexcept nogil:
    """What is counted of this thread's columns of a buffer (a); b is what its slopes are of."""
    cdef long start, stop
    share(s.a.columns, FM_STRIP, thread, threads, &start, &stop)
    if stop > start:
        q.kernels.observe(n * s.repeat, start, stop, _at(&s.a, bases, 0, q.itemsize), s.a.ld,
                          _at(&s.b, bases, 0, q.itemsize), s.b.ld, s.map_grad, &s.params, s.x,
                          s.scratch, s.scratch + s.a.columns)


cdef void _whole_step(Run *q, const Step *s, char **bases, long n, int thread,
                      int threads) noexcept nogil:
    """A WHOLE operation on a parameter (a): this thread's part, or all of it."""
    cdef const fm_kernels *k = q.kernels
    cdef int size = q.itemsize
    cdef long start, stop
    cdef char *a = _at(&s.a, bases, 0, size)
    cdef double penalty
    if s.code == SPECTRAL_NORM:
        # b u
        if thread == 0:
            k.spectral_norm(s.a.rows, s.a.columns, s.a.ld, FM_PANEL // size, a,
                            _at(&s.b, bases, 0, size), s.number, s.x, s.scratch)
    elif s.code == ORTHOGONAL_PENALTY:
        # b gradient
        if thread == 0:
            penalty = n * k.orthogonal_penalty(
                s.a.rows, s.a.columns, s.a.ld, FM_PANEL // size, a, s.mean, s.x,
                _at(&s.b, bases, 0, size), s.ending, s.scratch)
            q.totals[2 * s.number] += penalty
            if not isfinite(penalty):
                q.bad = True
    elif s.number < 0:
        _part(&s.a, thread, threads, size, &start, &stop)
        k.non_negative(stop - start, a + start * size)
    else:
        if s.number == 0:
            share(s.a.columns, 16, thread, threads, &start, &stop)
        elif s.number == 1:
            share(s.a.rows, 1, thread, threads, &start, &stop)
        else:
            start, stop = 0, s.a.rows if thread == 0 else 0
        if stop > start:
            k.constrain_norm(s.a.rows, s.a.columns, s.a.ld, FM_PANEL // size, a, s.number, start,
                             stop, s.params.storage)


cdef void _penalty(const Run *q, const Step *s, char **bases, int thread,
                   int threads) noexcept nogil:
    """The penalty of this thread's chunks of a parameter (a), each into its place (b)."""
    cdef long start, stop, i, size, n = s.a.rows * s.a.ld
    cdef double *sums = <double *> (bases[<int> s.b.base] + s.b.at)
    share((n + _CHUNK - 1) // _CHUNK, 1, thread, threads, &start, &stop)
    for i in range(start, stop):
        size = n - i * _CHUNK if n - i * _CHUNK < _CHUNK else _CHUNK
        sums[i] = q.kernels.penalty(
            size, _at(&s.a, bases, 0, q.itemsize) + i * _CHUNK * q.itemsize, s.x, s.y)


cdef inline double *_records(const Run *q, int64_t count) noexcept nogil:
    """Where the observations of this step are written; NULL where it is not observed."""
    cdef long number
    if q.every == 0 or (count + 1) % q.every != 0:
        return NULL
    number = (count + 1) // q.every - 1 - q.first_record
    if number < 0 or number >= q.records_count:
        return NULL
    return q.records + 4 * number * q.observations


cdef void _observe_parameter(const Run *q, const Step *s, int thread,
                             int threads) noexcept nogil:
    """Sums of squares of this thread's chunks: parameter, gradient (in front), change."""
    cdef long size = q.itemsize, elements = s.a.rows * s.a.ld, start, stop, i, n
    cdef long chunks = (elements + CHUNK - 1) // CHUNK
    cdef const char *w
    share(chunks, 1, thread, threads, &start, &stop)
    for i in range(start, stop):
        n = min(<long> CHUNK, elements - i * CHUNK)
        w = q.parameters + s.a.at + i * CHUNK * size
        if s.code == CHANGE:
            s.scratch[2 * chunks + i] = q.kernels.distance(
                n, w, q.kept + s.a.at + i * CHUNK * size)
        else:
            s.scratch[i] = q.kernels.squares(n, w)
            s.scratch[chunks + i] = q.kernels.squares(
                n, q.gradients + s.a.at + i * CHUNK * size)
            memcpy(q.kept + s.a.at + i * CHUNK * size, w, n * size)


cdef void _write_record(const Run *q, const Step *s, long n, int64_t count) noexcept nogil:
    """Add up what was counted of a buffer, or of a parameter, and write it down."""
    cdef double *out = _records(q, count) + 4 * s.number
    cdef double active = 0.0, dead = 0.0
    cdef long i, k, chunks = (s.a.rows * s.a.ld + CHUNK - 1) // CHUNK
    for k in range(4):
        out[k] = 0.0
    if s.a.rows:
        for k in range(3):
            for i in range(chunks):
                out[k] += s.scratch[k * chunks + i]
        out[3] = s.a.rows * s.a.columns
        return
    for i in range(s.a.columns):
        out[0] += s.scratch[i]
        active += s.scratch[s.a.columns + i]
        dead += s.scratch[s.a.columns + i] == 0.0
        if s.map_grad != NULL:
            q.units[s.units + i] += s.scratch[s.a.columns + i]
    out[1] = n * s.repeat * s.a.columns
    if s.map_grad != NULL:
        out[2], out[3] = out[1] - active, dead


cdef void _penalty_total(Run *q, const Step *s, char **bases, long n) noexcept nogil:
    cdef const double *sums = <const double *> (bases[<int> s.b.base] + s.b.at)
    cdef double total = 0.0
    cdef long i
    for i in range((s.a.rows * s.a.ld + _CHUNK - 1) // _CHUNK):
        total += sums[i]
    q.totals[2 * s.number] += total * (n * _penalty_scale(q, s, bases, n))
    if not isfinite(total):
        q.bad = True


cdef double _penalty_scale(const Run *q, const Step *s, char **bases, long n) noexcept nogil:
    """What a penalty is multiplied by: 1, or 1 over the rows or their weights (c)."""
    cdef double total = n, count = 0.0
    if not s.mean:
        return 1.0
    if s.c.present:
        q.kernels.sums(n, _at(&s.c, bases, 0, q.itemsize), NULL, &total, &count)
    return 1.0 / total


cdef void _reduce(Run *q, const Step *s, char **bases, long n) noexcept nogil:
    cdef double total = 0.0, count = 0.0
    q.kernels.sums(n * s.repeat, _at(&s.a, bases, 0, q.itemsize),
                   _at(&s.b, bases, 0, q.itemsize), &total,
                   &count)
    if not s.mean:
        total *= n
    if not (s.mean and s.b.present):
        count = n
    q.totals[2 * s.number] += s.weight * total
    if s.counts:
        q.totals[2 * s.number + 1] += count
    if s.has_ignore and not isfinite(total):  # marks the loss among the totals
        q.bad = True


cdef void _weights_step(Run *q, const Step *s, char **bases, long n, int thread, int threads,
                        double rate, int64_t count, double *coefficients) noexcept nogil:
    """A WEIGHTS operation: this thread's part of a parameter."""
    cdef const fm_kernels *k = q.kernels
    cdef int size = q.itemsize
    cdef long start, stop, elements
    cdef char *a
    cdef double t
    if s.code == REDUCE:
        if thread == 0:
            _reduce(q, s, bases, n)
    elif s.code == ROW_WEIGHTS:
        if thread == 0:
            _row_weights(q, s, bases, n)
    elif s.code == OVERLAP_SUMS:
        # a prediction, b labels, c sample weight, d sums
        if thread == 0:
            k.losses.overlap_sums(
                n, s.a.columns, _at(&s.a, bases, 0, size), s.a.ld, _at(&s.b, bases, 0, size),
                s.b.ld, _at(&s.c, bases, 0, size), <double *> _at(&s.d, bases, 0, size))
    elif s.code == TALLY:
        # a prediction, b labels, c sample weight; each tally is one thread's
        if thread == s.number % threads:
            a = _at(&s.b, bases, 0, size)
            s.tally(n * s.repeat, s.a.columns, _at(&s.a, bases, 0, size), s.a.ld,
                    <const int64_t *> a if s.b.classes else NULL, NULL if s.b.classes else a,
                    s.b.ld, _at(&s.c, bases, 0, size), s.options, q.totals + 2 * s.number)
    elif s.code == PENALTY_TOTAL:
        if thread == 0:
            _penalty_total(q, s, bases, n)
    elif s.code == PENALTY_GRAD:
        # a parameter, b its gradient, c sample weight
        _part(&s.a, thread, threads, size, &start, &stop)
        if stop > start:
            t = _penalty_scale(q, s, bases, n)
            k.penalty_grad(stop - start, _at(&s.a, bases, 0, size) + start * size,
                           _at(&s.b, bases, 0, size) + start * size, t * s.x, 2.0 * t * s.y,
                           s.number)
    elif s.code == DENSE_DW or s.code == SPARSE_DW:
        _pieces(q, s, &s.c, _at(&s.d, bases, 0, size), bases, 0, n, thread, thread + 1, threads)
    elif s.code == COMBINE:
        _combine(q, s, bases, n, thread, threads)
    elif s.code == RECORD:
        if thread == 0:
            _write_record(q, s, n, count)
    elif s.code == DENSE_DB:
        # a dz, b dbias
        _part(&s.b, thread, threads, size, &start, &stop)
        if stop > start:
            k.column_sums(n * s.repeat, stop - start, _at(&s.a, bases, 0, size) + start * size,
                          s.a.ld, _at(&s.b, bases, 0, size) + start * size)
    elif s.code == GAMMA_GRAD:
        # a dy, b x, c inv, d mean, e dgamma
        _part(&s.e, thread, threads, size, &start, &stop)
        stop = min(stop, s.e.columns)
        if stop > start:
            k.gamma_grad(n * s.repeat, stop - start, _at(&s.a, bases, 0, size) + start * size,
                         s.a.ld, _at(&s.b, bases, 0, size) + start * size, s.b.ld,
                         _at(&s.c, bases, 0, size), _at(&s.d, bases, 0, size),
                         _at(&s.e, bases, 0, size) + start * size)
    elif s.code == EMBEDDING_GRAD:
        _pieces(q, s, &s.c, NULL, bases, 0, n, thread, thread + 1, threads)
    elif s.code == PRELU_DALPHA:
        # a dy, b x, c dalpha
        _part(&s.c, thread, threads, size, &start, &stop)
        k.prelu_slope_grad(n * s.repeat, start, min(stop, s.c.columns),
                           _at(&s.a, bases, 0, size), s.a.ld, _at(&s.b, bases, 0, size), s.b.ld,
                           _at(&s.c, bases, 0, size))
    elif s.code == TRANSPOSE or s.code == PAIR_KERNEL:
        _pieces(q, s, &s.a, NULL, bases, 0, n, thread, thread + 1, threads)
    else:
        # a parameter; its gradient lies at the same place of another arena
        _part(&s.a, thread, threads, size, &start, &stop)
        elements = stop - start if threads > 1 or not s.together else s.together
        if elements <= 0:
            return
        if s.code == ACCUMULATE:  # a gradient, b that of a further use
            a = _at(&s.a, bases, 0, size) + start * size
            k.add(elements, a, _at(&s.b, bases, 0, size) + start * size, a)
        else:
            _update(q, s, start * size, elements, rate, count, coefficients)


cdef void _update(const Run *q, const Step *s, long at, long elements, double rate, int64_t count,
                  const double *coefficients) noexcept nogil:
    """An operation on some elements of a parameter, from `at` bytes on."""
    cdef const fm_kernels *k = q.kernels
    cdef const Updating *u = s.update
    cdef char *w = q.parameters + s.a.at + at
    cdef char *g = q.gradients + s.a.at + at
    cdef char *slots[4]
    cdef long done, n, size = q.itemsize
    cdef double factor
    cdef int i
    if s.code == COLLECT:
        k.collect(elements, g, u.slots[0] + at, <double> u.every if _due(u, count) else 0.0)
    elif s.code == AVERAGE:
        k.average(elements, w, u.slots[0] + at, 0.0 if count < u.every else u.keep,
                  u.overwrite and (count // u.every + 1) % u.overwrite == 0)
    elif _due(u, count):
        for i in range(4):
            slots[i] = u.slots[i] + at
        rate *= u.rate
        if not u.clips:
            k.update[u.number](elements, w, g, slots, coefficients, rate * u.decay)
            return
        # in parts that stay in the cache between the two
        factor = _factor(u)
        done = 0
        while done < elements:
            n = min(<long> CHUNK, elements - done)
            k.clip(n, g + done * size, factor, u.limit)
            k.update[u.number](n, w + done * size, g + done * size, slots, coefficients,
                               rate * u.decay)
            for i in range(4):
                slots[i] += n * size
            done += n


cdef inline bint _due(const Updating *u, int64_t count) noexcept nogil:
    """Whether the parameters are updated in this step."""
    return u.every == 1 or (count + 1) % u.every == 0


cdef inline double _factor(const Updating *u) noexcept nogil:
    """What brings the norm of the gradient down to its limit; NaN for the norm NaN."""
    cdef double norm = 0.0
    cdef long i
    for i in range(u.squares_count):
        norm += u.squares[i]
    norm = sqrt(norm)
    if u.whole_norm and not isfinite(norm):
        return NAN
    return 1.0 if norm <= u.norm else u.norm / norm


cdef void _phase(const Run *q, const Step *s, double rate, int64_t count, int thread,
                 int threads) noexcept nogil:
    """A PHASES operation."""
    cdef const Updating *u = s.update
    cdef char *g = q.gradients + s.a.at
    cdef long start, stop, i, n, elements = s.a.rows * s.a.ld
    cdef double factor
    if not _due(u, count):
        return
    if s.code == WHOLE and s.phase >= 0:
        rate *= u.rate
        whole_phase(&u.whole, s.phase, rate, rate * u.decay, <double> (count // u.every + 1),
                    thread, threads)
        return
    share((elements + CHUNK - 1) // CHUNK, 1, thread, threads, &start, &stop)
    factor = _factor(u) if s.code == WHOLE else 0.0
    for i in range(start, stop):
        n = min(<long> CHUNK, elements - i * CHUNK)
        if s.code == SQUARES:
            u.sums[i] = q.kernels.squares(n, g + i * CHUNK * q.itemsize)
        else:
            q.kernels.clip(n, g + i * CHUNK * q.itemsize, factor, u.limit)


cdef void _python_step(Run *q, const Step *s, long n) noexcept with gil:
    """A step in Python on all n rows; what it raises is kept for the caller of the run."""
    executor = <Executor> q.owner
    try:
        executor._call_python(s.number, n)
    except BaseException as error:
        executor._error = error
        q.failed = True


cdef void _train_task(void *argument, int thread, int threads) noexcept nogil:
    cdef Run *q = <Run *> argument
    cdef char *bases[<int> BASES]
    cdef const int64_t *order
    cdef long step, n, r0, r1, groups
    cdef int i, operations
    cdef bint own
    cdef int64_t count
    cdef double rate
    cdef double coefficients[16]
    cdef const Step *s
    cdef const Step *steps
    bases[<int> WORKSPACE] = q.workspace
    bases[<int> PARAMETERS] = q.parameters
    bases[<int> GRADIENTS] = q.gradients
    bases[<int> DATA] = NULL
    bases[<int> OWN] = q.own + thread * q.own_bytes
    bases[<int> COPIES] = q.copies
    for step in range(q.start, q.stop):
        n = q.order_length - step * q.batch_size
        n = n if n < q.batch_size else q.batch_size
        order = q.order + step * q.batch_size
        count = q.iteration + step - q.first
        rate = q.learning_rate[step]
        groups = _groups(n) if q.grouped else 1
        own = groups > 1 and _own_groups(groups, threads)
        if own:
            r0 = n * (groups * thread // threads) // groups
            r1 = n * (groups * (thread + 1) // threads) // groups
        else:
            share(n, 1 if q.bfloat16 == NULL else 2, thread, threads, &r0, &r1)
        steps, operations = q.steps, q.count
        if _records(q, count) != NULL:
            steps, operations = q.watching, q.watching_count
        for i in range(operations):
            s = &steps[i]
            if s.covered and threads == 1:
                continue
            if s.waits or (s.grouped and not own):
                barrier(threads)
            if s.code == PYTHON:
                if thread == 0:
                    _python_step(q, s, n)
                barrier(threads)
                if q.failed:
                    return
            elif s.code == PENALTY:
                _penalty(q, s, bases, thread, threads)
            elif s.code >= KEEP:
                _observe_parameter(q, s, thread, threads)
            elif s.code >= SQUARES:
                _phase(q, s, rate, count, thread, threads)
            elif s.code >= SPECTRAL_NORM:
                _whole_step(q, s, bases, n, thread, threads)
            elif s.code == OBSERVE:
                _observe_columns(q, s, bases, n, thread, threads)
            elif s.code >= BATCH_STATISTICS:
                _statistics_step(q, s, bases, n, thread, threads)
            elif s.code >= REDUCE:
                if s.code == UPDATE and s.update.first:
                    q.kernels.coefficients[s.update.number](
                        rate * s.update.rate, <double> (count // s.update.every + 1),
                        s.update.params, _TINY[q.itemsize == 8], coefficients)
                _weights_step(q, s, bases, n, thread, threads, rate, count, coefficients)
            elif s.grouped:
                _group_step(q, s, bases, n, thread, threads)
            elif s.by_columns:
                _columns_step(q, s, bases, n, thread, threads)
            elif s.code == GATHER and s.a.base == OWN:
                _gather(q, s, bases, order, 0, n)
            elif r1 > r0:
                if s.code == GATHER:
                    _gather(q, s, bases, order + r0, r0, r1 - r0)
                else:
                    _rows_step(q, s, bases, order, r0, r1 - r0, n, count)
        if thread == 0:
            q.next = step + 1
            q.last_rows = n
            if (q.bad and q.check_finite) or (
                    (step & q.clock_mask) == 0 and _clock() >= q.deadline):
                q.halt = True
        barrier(threads)
        if q.halt:
            break


cdef void _forward_task(void *argument, int thread, int threads) noexcept nogil:
    cdef Run *q = <Run *> argument
    cdef char *bases[<int> BASES]
    cdef long start, stop, at, rows, size = q.itemsize
    cdef const Step *s
    cdef int j
    share(q.rows, 1, thread, threads, &start, &stop)
    bases[<int> WORKSPACE] = q.workspace + thread * q.workspace_bytes
    bases[<int> PARAMETERS] = q.parameters
    bases[<int> GRADIENTS] = NULL
    bases[<int> COPIES] = q.copies
    at = start
    while at < stop:
        rows = stop - at if stop - at < q.block else q.block
        bases[<int> DATA] = <char *> q.x[0] + at * q.x_columns[0] * size
        for j in range(q.count):
            s = &q.steps[j]
            if s.code == PYTHON:
                _python_step(q, s, rows)
                if q.failed:
                    return
            else:
                _forward_step(q, s, bases, at, rows)
        _hand_out(q, bases, at, rows)
        at += rows


cdef void _forward_step(const Run *q, const Step *s, char **bases, long at,
                        long rows) noexcept nogil:
    """One operation of a prediction, on rows `at` on of the data."""
    cdef char *y
    cdef const char *x
    cdef long i, columns, size = q.itemsize
    if s.code == GATHER and q.data[s.number].starts != NULL:
        _extents(&q.data[s.number], NULL, at, rows, <int64_t *> _at(&s.a, bases, 0, <int> size))
    elif s.code == GATHER:
        y = _at(&s.a, bases, 0, <int> size)
        columns = s.a.columns
        x = q.x[s.number] + at * q.x_columns[s.number] * size
        for i in range(rows * s.repeat):
            memcpy(y + i * s.a.ld * size, x + i * columns * size, columns * size)
    elif s.code == FOLD_STATISTICS:
        _statistics_step(q, s, bases, rows, 0, 1)
    else:
        _rows_step(q, s, bases, NULL, 0, rows, rows, 0)


cdef void _hand_out(const Run *q, char **bases, long at, long rows) noexcept nogil:
    """Copy predictions to where the caller wants them."""
    cdef char *y
    cdef char *out
    cdef const Operand *result
    cdef long i, columns, repeat, size = q.itemsize
    cdef int j
    for j in range(q.outputs):
        result = &q.results[j]
        columns, repeat = result.columns, q.repeats[j]
        y = _at(result, bases, 0, <int> size)
        out = q.out[j] + at * repeat * columns * size
        for i in range(rows * repeat):
            memcpy(out + i * columns * size, y + i * result.ld * size, columns * size)


cdef inline long _row_pieces(const Run *q, const Step *s) noexcept nogil:
    """Pieces of columns that a product of one row is handed out in; 1 of anything else."""
    cdef long width = _ROW_PANELS * (FM_PANEL // q.itemsize)
    if s.code != DENSE or s.b.rows * s.d.columns < _ROW_SHARED:
        return 1
    return (s.d.columns + width - 1) // width


cdef void _one_row_task(void *argument, int thread, int threads) noexcept nogil:
    """A prediction of one row, pieces of each product going to whoever is there.

    The caller does not wait for a thread that is still waking up.
    """
    cdef Run *q = <Run *> argument
    cdef char *bases[<int> BASES]
    cdef const Step *s
    cdef long width = _ROW_PANELS * (FM_PANEL // q.itemsize), pieces, piece
    cdef int j
    bases[<int> WORKSPACE] = q.workspace
    bases[<int> PARAMETERS] = q.parameters
    bases[<int> GRADIENTS] = NULL
    bases[<int> COPIES] = q.copies
    bases[<int> DATA] = <char *> q.x[0]
    for j in range(q.count):
        s = &q.steps[j]
        pieces = _row_pieces(q, s)
        piece = fm_claim(&q.claimed[j])
        while piece < pieces:
            if pieces == 1:
                _forward_step(q, s, bases, 0, 1)
            else:
                _product(q, s, bases, 0, 1, piece * width,
                         min(width, s.d.columns - piece * width))
            fm_claim(&q.finished[j])
            piece = fm_claim(&q.claimed[j])
        fm_await(&q.finished[j], pieces)
    if thread == 0:
        _hand_out(q, bases, 0, 1)


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
        self._run.owner = <void *> self
        self._python, self._views, self._error = [], {}, None
        if not plan.totals and all(op.op != "python" for op in plan.ops):
            self._run.block = min(plan.batch_size, _BLOCK_ROWS)
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
        self._operands, self._options, self._beside = [], [], {}
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
                chunks = -(-buffer.rows * buffer.pitch // _CHUNK)
                sums[id(op)] = (<int> WORKSPACE, at, chunks, chunks, 1, False)
                at += _lines(chunks * sizeof(double))
        groups, at = self._place_groups(ops, halved, at)
        at = self._place_between_rows(ops, at)
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
            elif id(op) in halved:
                i += self._pair(&self._steps[i], op, ops, halved, pairs)
                self._step(&self._steps[i], op, copies)
                self._halve(&self._steps[i], op, pairs, paired)
                i += 1
            else:
                self._step(&self._steps[i], op, copies)
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
        count, n = _groups(self._run.block), self._run.block
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
        """ROWS operations first, WEIGHTS operations behind them, where they lose no input."""
        rows = [op for op in self.plan.ops if op.op not in _LATE]
        weights = [op for op in self.plan.ops if op.op in _LATE]
        for op in weights:
            after = self.plan.ops[self.plan.ops.index(op) + 1:]
            if any(set(op.inputs).intersection(other.outputs) for other in after if other in rows):
                return list(self.plan.ops)
        return rows + weights

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
        for i in range(1, count):
            steps[i].waits = (
                steps[i].by_columns or steps[i].by_columns != steps[i - 1].by_columns
                or _class(steps[i].code) != _class(steps[i - 1].code)
                or steps[i].phase != steps[i - 1].phase
                or steps[i].code != steps[i - 1].code
                and (steps[i].code >= SQUARES or steps[i - 1].code >= SQUARES)
                or steps[i].code in (PAIR_LOSS, PAIR_GRAD, PYTHON))

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
        self._run.own_bytes = 0
        if most == 1 or not self.plan.totals:
            return
        for i in range(self._run.count):
            if steps[i].code == GROUP_DW:
                rowwise.update((steps[i].a.at, steps[i].b.at))
        for i in range(self._run.count):
            s = &steps[i]
            if s.code != DENSE and s.code != DENSE_DX:
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
        parts = list(clipped.values()) if u.whole_norm else [clipped[offset]]
        u.squares = self._updatings[<int> parts[0]].sums
        for part in parts:
            one = &self._updatings[<int> part]
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
            self._own = _aligned(thread_limit() * q.own_bytes)
            q.own = <char *> cnp.PyArray_DATA(<cnp.ndarray> self._own)
            self._owners = thread_limit()
        with nogil:
            self._refresh_copies()
            self._slices(_clock() + budget)
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
            _weights_step(&self._run, &self._steps[i], bases, 0, 0, 1, 0.0, 0, NULL)

    cdef void _slices(self, double end) noexcept nogil:
        """Run to `stop`, `end` or a loss that is not finite, with as many threads as are fast.

        How many threads run is decided by measuring and never changes a result.
        """
        cdef Run *q = &self._run
        cdef int most = thread_limit(), threads
        cdef bint many, trial, unknown
        cdef double now = _clock(), before, spent
        if most > 1 and not threads_always() and self._nanoseconds < _STEP_WORTH:
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
            threads = run(threads, _train_task, q)
            if q.failed:
                return
            before, now = now, _clock()
            spent = (now - before) / (q.next - q.start)
            self._seconds[threads > 1] = spent  # the machine changes from second to second
            if trial and self._seconds[1] <= self._seconds[0]:
                self._trial_at = now + max(_TRY_ONE_AFTER, 50.0 * spent)
            elif trial:
                self._trial_at = now + max(_TRY_MANY_AFTER, 4.0 * spent)
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
                run(threads, _forward_task, q)
        else:
            with nogil:
                _forward_task(q, 0, 1)
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
        cdef double before = _clock(), spent
        cdef int threads = 1
        self._row_calls += 1
        if self._row_calls % _ROW_TRIAL < _ROW_TRIALS:
            many = threads_always() or not many
        if many:
            memset(q.claimed, 0, 2 * q.count * sizeof(long))
            threads = run(thread_limit(), _one_row_task, q)
        else:
            _forward_task(q, 0, 1)
        many = threads > 1
        spent = _clock() - before
        if self._row_seconds[many] == 0.0 or spent < self._row_seconds[many]:
            self._row_seconds[many] = spent
        else:  # a single slow call says little
            self._row_seconds[many] += 0.125 * (spent - self._row_seconds[many])
        return threads

    def buffer(self, index):
        """A copy of what the last step left in a buffer."""
        return self._view(index, self._run.last_rows, True).copy()

    def _view(self, index, batch, writeable):
        """The valid rows and columns of a buffer, of a batch of so many rows; a copy of a parameter
        or its gradient."""
        _, _, ld, columns, rows, classes = self._operands[index]
        buffer = self.plan.buffers[index]
        rows = batch * buffer.repeat if buffer.rows is None else rows
        flat = self._flat(index, rows)
        if buffer.offset is not None:
            return read(flat, rows, columns).copy()
        flat = flat.reshape(rows, ld)
        one = buffer.role in ("row", "weight") or (classes and columns == 1)
        view = flat[:, 0] if one else flat[:, :columns]
        view.flags.writeable = writeable
        return view

    def _flat(self, index, rows):
        """The memory of a buffer of so many rows."""
        base, at, ld, *_ = self._operands[index]
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
