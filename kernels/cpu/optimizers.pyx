"""In-place optimizer updates of arrays, and the phases of those that look at a whole variable.

The elementwise rows are loops of `updates.h`, called over flat ranges.  What a "variable" row does
between two sums over the variable is a phase; sums are added up from chunks that depend on the
shape alone, so that the result does not depend on the number of threads.
"""

cimport numpy as cnp
from cpython.mem cimport PyMem_Calloc, PyMem_Free
from libc.math cimport INFINITY, expm1, log, pow, sqrt

from .native cimport (
    FM_LINE, FM_STORE, barrier, fm_kernels, kernels_for, row_major, run, share, threads_for,
)
from .plain cimport alike, apart, is_plain

from inspect import Parameter, Signature

from fusedmlp.kernels import KERNELS
from fusedmlp.spec import ELEMENTWISE_OPTIMIZERS, OPTIMIZERS

cnp.import_array()

cdef dict _NUMBER = {name: i for i, name in enumerate(ELEMENTWISE_OPTIMIZERS)}
cdef double _TINY[2]
_TINY[0], _TINY[1] = 2.0 ** -126, 2.0 ** -1022


# -- elementwise -----------------------------------------------------------------------------------

cdef struct Update:
    const fm_kernels *kernels
    int number, itemsize
    long n
    char *w
    const char *g
    char *slots[4]
    double c[16]
    double decay


cdef void _task(void *argument, int thread, int threads) noexcept nogil:
    cdef Update *q = <Update *> argument
    cdef char *slots[4]
    cdef long start, stop
    cdef int i
    share(q.n, 1024, thread, threads, &start, &stop)
    if stop <= start:
        return
    for i in range(4):
        slots[i] = q.slots[i] + start * q.itemsize
    q.kernels.update[q.number](stop - start, q.w + start * q.itemsize, q.g + start * q.itemsize,
                               slots, q.c, q.decay)


cdef int _start(Update *q, int number, cnp.ndarray param, cnp.ndarray grad, double rate, double t,
                const double *params, double weight_decay) except -1:
    cdef int threads
    q.number = number
    q.itemsize = cnp.PyArray_ITEMSIZE(param)
    q.kernels = kernels_for(q.itemsize)
    q.n = cnp.PyArray_SIZE(param)
    q.w = <char *> cnp.PyArray_DATA(param)
    q.g = <const char *> cnp.PyArray_DATA(grad)
    q.decay = rate * weight_decay
    q.kernels.coefficients[number](rate, t, params, _TINY[q.itemsize == 8], q.c)
    threads = threads_for(0.5 * q.n)
    with nogil:
        run(threads, _task, q)
    return 0


def sgd_update(cnp.ndarray param not None, cnp.ndarray grad not None, learning_rate,
               weight_decay):
    cdef Update q
    _start(&q, _SGD, param, grad, learning_rate, 1.0, NULL, weight_decay)


def momentum_update(cnp.ndarray param not None, cnp.ndarray grad not None,
                    cnp.ndarray velocity not None, learning_rate, momentum, nesterov,
                    weight_decay):
    cdef Update q
    cdef double params[2]
    params[0], params[1] = momentum, bool(nesterov)
    q.slots[0] = <char *> cnp.PyArray_DATA(velocity)
    _start(&q, _MOMENTUM, param, grad, learning_rate, 1.0, params, weight_decay)


def adam_update(cnp.ndarray param not None, cnp.ndarray grad not None, cnp.ndarray m not None,
                cnp.ndarray v not None, step, learning_rate, beta_1, beta_2, epsilon,
                weight_decay):
    cdef Update q
    cdef double params[3]
    params[0], params[1], params[2] = beta_1, beta_2, epsilon
    q.slots[0] = <char *> cnp.PyArray_DATA(m)
    q.slots[1] = <char *> cnp.PyArray_DATA(v)
    _start(&q, _ADAM, param, grad, learning_rate, step, params, weight_decay)


def quick_adam_update(param, grad, m, v, step, learning_rate, beta_1, beta_2, epsilon,
                      weight_decay):
    """True after the update of plain arrays, or None where `fusedmlp.ops` has to check one."""
    cdef Update q
    cdef cnp.ndarray w, g, first, second
    cdef double count, rate, decay
    cdef double params[3]
    if not (is_plain(param, True) and is_plain(grad, False) and is_plain(m, True)
            and is_plain(v, True)):
        return None
    w, g, first, second = <cnp.ndarray> param, <cnp.ndarray> grad, <cnp.ndarray> m, <cnp.ndarray> v
    if not (alike(w, g) and alike(w, first) and alike(w, second) and apart(w, g)
            and apart(w, first) and apart(w, second) and apart(g, first) and apart(g, second)
            and apart(first, second)):
        return None
    if not (type(step) is int and type(learning_rate) is float and type(beta_1) is float
            and type(beta_2) is float and type(epsilon) is float and type(weight_decay) is float):
        return None
    count, rate, decay = step, learning_rate, weight_decay
    params[0], params[1], params[2] = beta_1, beta_2, epsilon
    if not (count >= 1 and 0 <= rate < INFINITY and 0 <= params[0] < 1 and 0 <= params[1] < 1
            and 0 <= params[2] < INFINITY and 0 <= decay < INFINITY):
        return None
    q.slots[0] = <char *> cnp.PyArray_DATA(first)
    q.slots[1] = <char *> cnp.PyArray_DATA(second)
    _start(&q, _ADAM, w, g, rate, count, params, decay)
    return True


cdef int _SGD = _NUMBER["sgd"], _MOMENTUM = _NUMBER["momentum"], _ADAM = _NUMBER["adam"]


def _elementwise(row):
    """The function of a row that has none of its own above."""
    cdef int number = _NUMBER[row.name], slots = len(row.slots), counts = row.counts
    cdef int length = len(KERNELS["optimizers"][f"{row.name}_update"])

    def update(*arguments):
        cdef Update q
        cdef double params[16]
        cdef int i, at = 2 + slots + counts
        if len(arguments) != length:
            raise TypeError(f"{update.__name__} takes {length} arguments, got {len(arguments)}")
        for i in range(slots):
            q.slots[i] = <char *> cnp.PyArray_DATA(<cnp.ndarray?> arguments[2 + i])
        for i in range(at + 1, length - 1):
            params[i - at - 1] = arguments[i]
        _start(&q, number, <cnp.ndarray?> arguments[0], <cnp.ndarray?> arguments[1],
               arguments[at], arguments[at - 1] if counts else 1.0, params, arguments[length - 1])

    return update


# -- optimizers that look at a whole variable ------------------------------------------------------

cdef enum Rule:
    LAMB
    ADAFACTOR
    MUON

cdef dict _RULES = {"lamb": LAMB, "adafactor": ADAFACTOR, "muon": MUON}


cdef int whole_rule(name) except -1:
    return _RULES[name]


cdef inline long _blocks(const Whole *q) noexcept nogil:
    """Parts of the variable whose sums are kept apart."""
    if q.rule == LAMB:
        return (q.shape.rows * q.shape.pitch + CHUNK - 1) // CHUNK
    return (q.shape.rows + BLOCK_ROWS - 1) // BLOCK_ROWS


cdef inline void _total(const Whole *q, double *first, double *second) noexcept nogil:
    cdef long i
    first[0] = second[0] = 0.0
    for i in range(_blocks(q)):
        first[0] += q.sums[2 * i]
        second[0] += q.sums[2 * i + 1]


cdef long whole_sums(const Whole *q) noexcept nogil:
    """Numbers in `sums`."""
    return 2 * _blocks(q)


cdef inline long _padded(long columns, int itemsize) noexcept nogil:
    cdef long line = FM_LINE // itemsize
    return (columns + line - 1) // line * line


cdef long whole_scratch(const Whole *q) noexcept nogil:
    """Bytes of `scratch`: for Muon two matrices of the variable's size and two square ones."""
    cdef long least = min(q.shape.rows, q.shape.columns), most = max(q.shape.rows, q.shape.columns)
    if q.rule != MUON:
        return 0
    return 2 * (most + least) * _padded(least, q.itemsize) * q.itemsize


cdef int whole_phases(const Whole *q) noexcept nogil:
    if q.rule == LAMB:
        return 2
    if q.rule == ADAFACTOR:
        return 3
    return 3 + 3 * <int> q.params[5]


cdef void whole_phase(const Whole *q, int phase, double rate, double decay, double t, int thread,
                      int threads) noexcept nogil:
    if q.rule == LAMB:
        _lamb(q, phase, rate, decay, t, thread, threads)
    elif q.rule == ADAFACTOR:
        _adafactor(q, phase, rate, decay, t, thread, threads)
    else:
        _muon(q, phase, rate, decay, thread, threads)


cdef inline double _corrected(double beta, double t) noexcept nogil:
    """1 - beta^t."""
    return -expm1(t * log(beta)) if beta > 0.0 else 1.0


cdef void _lamb(const Whole *q, int phase, double rate, double decay, double t, int thread,
                int threads) noexcept nogil:
    cdef double c[16]
    cdef double w_squares, u_squares
    cdef long start, stop, i, at, n, size = q.shape.rows * q.shape.pitch
    c[0], c[1], c[2] = rate, 1.0 - q.params[0], 1.0 - q.params[1]
    c[3], c[4] = _corrected(q.params[0], t), _corrected(q.params[1], t)
    c[5] = max(q.params[2], _TINY[q.itemsize == 8])
    if phase == 1:
        _total(q, &w_squares, &u_squares)
        if w_squares != 0.0 and u_squares != 0.0:
            rate = rate * (sqrt(w_squares) / sqrt(u_squares))
    share(_blocks(q), 1, thread, threads, &start, &stop)
    for i in range(start, stop):
        at = i * CHUNK * q.itemsize
        n = min(<long> CHUNK, size - i * CHUNK)
        if phase == 0:
            q.sums[2 * i] = q.sums[2 * i + 1] = 0.0
            q.kernels.lamb_moments(n, q.w + at, q.g + at, q.slots[0] + at, q.slots[1] + at, c,
                                   decay, &q.sums[2 * i])
        else:
            q.kernels.lamb_apply(n, q.w + at, q.slots[0] + at, q.slots[1] + at, c, rate)


cdef void _adafactor(const Whole *q, int phase, double rate, double decay, double t, int thread,
                     int threads) noexcept nogil:
    cdef double c[16]
    cdef double w_squares, u_squares, mean, size = <double> q.shape.rows * q.shape.columns
    cdef long start, stop, i, first, end
    c[0] = 1.0 - pow(t, q.params[0])
    c[1] = max(q.params[1], _TINY[q.itemsize == 8])
    mean = 1.0
    if phase == 0:
        share(q.shape.columns, BLOCK_ROWS, thread, threads, &start, &stop)
        q.kernels.adafactor_columns(&q.shape, start, stop, q.g, q.slots[1], c)
    else:
        mean = _mean(q.slots[0], q.shape.rows, q.itemsize)
    if phase == 2:
        _total(q, &w_squares, &u_squares)
        rate = min(rate, 1.0 / sqrt(t)) * max(sqrt(w_squares / size), q.params[2]) \
            / max(sqrt(u_squares / size) / q.params[3], 1.0)
    share(_blocks(q), 1, thread, threads, &start, &stop)
    for i in range(start, stop):
        first, end = i * BLOCK_ROWS, min((i + 1) * BLOCK_ROWS, q.shape.rows)
        if phase == 0:
            q.sums[2 * i] = q.sums[2 * i + 1] = 0.0
            q.kernels.adafactor_rows(&q.shape, first, end, q.w, q.g, q.slots[0], c, decay,
                                     &q.sums[2 * i])
        else:
            q.kernels.adafactor_apply(&q.shape, first, end, q.w, q.g, q.slots[0], q.slots[1], mean,
                                      rate, &q.sums[2 * i + 1] if phase == 1 else NULL)


cdef double _mean(const char *x, long n, int itemsize) noexcept nogil:
    cdef double total = 0.0
    cdef long i
    for i in range(n):
        total += (<const float *> x)[i] if itemsize == 4 else (<const double *> x)[i]
    return total / n


cdef void _muon(const Whole *q, int phase, double rate, double decay, int thread,
                int threads) noexcept nogil:
    """x lies with its longer side down: x^T of the equations, so that s = x^T x."""
    cdef bint across = q.shape.rows < q.shape.columns
    cdef long least = min(q.shape.rows, q.shape.columns), most = max(q.shape.rows, q.shape.columns)
    cdef long ld = _padded(least, q.itemsize), start, stop, i, n, line = ld * q.itemsize
    cdef int steps = <int> q.params[5], turn = (phase - 2) // 3
    cdef double squares, unused
    cdef char *x = q.scratch
    cdef char *other = x + most * line
    cdef char *s = other + most * line
    cdef char *polynomial = s + least * line
    if phase >= 2 and turn % 2:
        x, other = other, x
    if phase == 0 or phase == 2 + 3 * steps:
        share(_blocks(q), 1, thread, threads, &start, &stop)
        for i in range(start, stop):
            n = min((i + 1) * BLOCK_ROWS, q.shape.rows)
            if phase == 0:
                q.sums[2 * i + 1] = 0.0
                q.sums[2 * i] = q.kernels.muon_trace(
                    &q.shape, i * BLOCK_ROWS, n, q.g, q.slots[0], q.params[0],
                    q.params[1] != 0.0, across, x, ld)
            else:
                squares = q.params[6] * sqrt(<double> most) if q.params[6] != 0.0 else 1.0
                q.kernels.muon_apply(&q.shape, i * BLOCK_ROWS, n, q.w, x, across, ld,
                                     rate * squares, decay)
        return
    share(least if phase >= 2 and (phase - 2) % 3 < 2 else most, 1, thread, threads, &start, &stop)
    n = stop - start
    if n <= 0:
        return
    if phase == 1:
        _total(q, &squares, &unused)
        q.kernels.clip(n * ld, x + start * line, 1.0 / (sqrt(squares) + 1e-7), INFINITY)
    elif (phase - 2) % 3 == 0:
        q.kernels.gemm(1, n, least, most, x + start * q.itemsize, ld,
                       row_major(x, ld, q.itemsize), NULL,
                       row_major(s + start * line, ld, q.itemsize), FM_STORE, NULL)
    elif (phase - 2) % 3 == 1:
        q.kernels.gemm(0, n, least, least, s + start * line, ld, row_major(s, ld, q.itemsize),
                       NULL, row_major(polynomial + start * line, ld, q.itemsize), FM_STORE, NULL)
        q.kernels.combine(n * ld, q.params[3], s + start * line, q.params[4],
                          polynomial + start * line)
    else:
        q.kernels.gemm(0, n, least, least, x + start * line, ld,
                       row_major(polynomial, ld, q.itemsize), NULL,
                       row_major(other + start * line, ld, q.itemsize), FM_STORE, NULL)
        q.kernels.combine(n * ld, q.params[2], x + start * line, 1.0, other + start * line)


cdef struct Call:
    Whole whole
    double rate, decay, t


cdef void _whole_task(void *argument, int thread, int threads) noexcept nogil:
    cdef Call *q = <Call *> argument
    cdef int phase
    for phase in range(whole_phases(&q.whole)):
        if phase > 0:
            barrier(threads)
        whole_phase(&q.whole, phase, q.rate, q.decay, q.t, thread, threads)


def _whole(row):
    """The function of a row of kind "variable"."""
    cdef int rule = _RULES[row.name], slots = len(row.slots), counts = row.counts
    cdef int length = len(KERNELS["optimizers"][f"{row.name}_update"])

    def update(*arguments):
        cdef Call q
        cdef cnp.ndarray param = <cnp.ndarray?> arguments[0]
        cdef int i, threads, at = 2 + slots + counts
        cdef char *scratch
        if len(arguments) != length:
            raise TypeError(f"{update.__name__} takes {length} arguments, got {len(arguments)}")
        if param.size == 0:
            return
        q.whole.rule = rule
        q.whole.itemsize = cnp.PyArray_ITEMSIZE(param)
        q.whole.kernels = kernels_for(q.whole.itemsize)
        q.whole.shape.rows = param.shape[0] if param.ndim == 2 else 1
        q.whole.shape.columns = param.shape[param.ndim - 1]
        q.whole.shape.pitch = q.whole.shape.panel = q.whole.shape.columns
        q.whole.w = <char *> cnp.PyArray_DATA(param)
        q.whole.g = <const char *> cnp.PyArray_DATA(<cnp.ndarray?> arguments[1])
        for i in range(slots):
            q.whole.slots[i] = <char *> cnp.PyArray_DATA(<cnp.ndarray?> arguments[2 + i])
        for i in range(at + 1, length - 1):
            q.whole.params[i - at - 1] = arguments[i]
        q.rate, q.t = arguments[at], arguments[at - 1] if counts else 1.0
        q.decay = q.rate * <double> arguments[length - 1]
        scratch = <char *> PyMem_Calloc(
            1, whole_sums(&q.whole) * sizeof(double) + whole_scratch(&q.whole) + FM_LINE)
        if scratch == NULL:
            raise MemoryError("No memory for an update")
        q.whole.sums = <double *> scratch
        q.whole.scratch = scratch + whole_sums(&q.whole) * sizeof(double)
        threads = threads_for(2.0 * param.size)
        with nogil:
            run(threads, _whole_task, &q)
        PyMem_Free(scratch)

    return update


for _row in OPTIMIZERS.values():
    _name = f"{_row.name}_update"
    if _name not in globals():
        _function = (_elementwise if _row.kind == "elementwise" else _whole)(_row)
        _function.__name__ = _function.__qualname__ = _name
        _function.__signature__ = Signature(
            [Parameter(key, Parameter.POSITIONAL_OR_KEYWORD)
             for key in KERNELS["optimizers"][_name]])
        globals()[_name] = _function
