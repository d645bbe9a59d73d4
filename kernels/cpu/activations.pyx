"""Activations and their derivatives on contiguous arrays; see the contract for arguments."""

cimport numpy as cnp
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec

from .native cimport (
    fm_kernels, fm_map, fm_map_grad, fm_rows, fm_rows_grad, kernels_for, run, share, threads_for,
)
from .plain cimport alike, apart, empty_like, is_plain

from fusedmlp.spec import ELEMENTWISE, activation as row_of, resolve_activation

cnp.import_array()

cdef dict _NUMBER = {name: i for i, name in enumerate(ELEMENTWISE)}
cdef long _BLOCK = 64


cdef int pack_params(params, int itemsize, Params *packed) except -1:
    cdef int i = 0
    cdef float *narrow = <float *> packed.storage
    for i in range(4):
        packed.storage[i] = 0.0
    i = 0
    for value in params:
        if i == 4:
            raise ValueError("Activations take at most 4 parameters")
        if itemsize == 4:
            narrow[i] = value
        else:
            packed.storage[i] = value
        i += 1
    return 0


# -- functions of single elements ----------------------------------------------------------------

# What an element costs where neither memory nor caches count, in nanoseconds, by precision and
# number of the row: measured when it is first asked for, and again for another instruction set.
cdef enum:
    ROWS = 128
    SAMPLE = 1024
cdef struct Cost:
    fm_map map
    double nanoseconds
cdef Cost[2][ROWS] _costs

assert len(ELEMENTWISE) <= ROWS

# One core reads and writes about 20 bytes in a nanosecond, to which a fast function is bound.
cdef double _BYTES = 20.0
# Beyond the caches an output that is written past them needs not be read first.  That pays where
# the function is faster than the memory, for others overlap both, and where little of the arrays
# would lie in the last cache from one call to the next.
cdef long _STREAMED_BYTES = 48 << 20
cdef double _STREAMED_COST = 0.03  # nanoseconds for each byte of an element
# Calls that take less keep the interpreter's lock: to give it away and back is 50 ns at least.
cdef double _SHORT = 10e3


cdef double _clock() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return 1e9 * now.tv_sec + now.tv_nsec


cdef double _cost(fm_map map, int itemsize, int number, const Params *params) noexcept nogil:
    cdef Cost *found = &_costs[itemsize == 8][number]
    cdef double[SAMPLE] x
    cdef double[SAMPLE] y
    cdef float *narrow = <float *> x
    cdef double best = 1e9, start
    cdef long i
    cdef int _
    if found.map == map:
        return found.nanoseconds
    for i in range(SAMPLE):
        if itemsize == 4:
            narrow[i] = -4.0 + 8.0 / SAMPLE * i
        else:
            x[i] = -4.0 + 8.0 / SAMPLE * i
    for _ in range(5):
        start = _clock()
        map(SAMPLE, x, y, params)
        best = min(best, _clock() - start)
    found.nanoseconds = best / SAMPLE
    found.map = map
    return found.nanoseconds


cdef struct Elements:
    long n
    int itemsize, streamed
    const fm_kernels *kernels
    fm_map map
    fm_map_grad grad
    const char *x
    const char *dy
    char *y
    Params params


cdef void _elements_task(void *argument, int thread, int threads) noexcept nogil:
    cdef Elements *q = <Elements *> argument
    cdef long start, stop, at
    share(q.n, _BLOCK, thread, threads, &start, &stop)
    at = start * q.itemsize
    if stop > start:
        if q.streamed:
            q.kernels.stream(q.map, stop - start, q.x + at, q.y + at, &q.params)
        elif q.map != NULL:
            q.map(stop - start, q.x + at, q.y + at, &q.params)
        else:
            q.grad(stop - start, q.dy + at, q.x + at, q.y + at, &q.params)


cdef void _map(Elements *q, int number) noexcept:
    cdef double bytes = 2.0 * q.n * q.itemsize, cost, time
    cdef int threads
    q.streamed = 0
    if bytes < 64 << 10:
        _elements_task(q, 0, 1)
        return
    cost = _cost(q.map, q.itemsize, number, &q.params)
    time = max(cost * q.n, bytes / _BYTES)
    q.streamed = (bytes >= _STREAMED_BYTES and q.x != q.y
                  and cost < _STREAMED_COST * q.itemsize)
    threads = threads_for(time)
    if threads == 1 and time < _SHORT:
        _elements_task(q, 0, 1)
        return
    with nogil:
        run(threads, _elements_task, q)


cdef void _slope(Elements *q, int number) noexcept:
    # The derivative of a function costs about as much as the function.
    cdef double bytes = 3.0 * q.n * q.itemsize, time
    cdef int threads
    q.streamed = 0
    if bytes < 64 << 10:
        _elements_task(q, 0, 1)
        return
    time = max(_cost(q.kernels.map[number], q.itemsize, number, &q.params) * q.n, bytes / _BYTES)
    threads = threads_for(time)
    if threads == 1 and time < _SHORT:
        _elements_task(q, 0, 1)
        return
    with nogil:
        run(threads, _elements_task, q)


# What a name stands for without parameters; the names of functions of rows are not in it.
cdef class _Plain:
    cdef int number
    cdef bint reads_y
    cdef Params f32
    cdef Params f64

cdef dict _PLAIN = {}


cdef _Plain _plain(name):
    cdef _Plain found
    if type(name) is not str:
        return None
    found = <_Plain> _PLAIN.get(name)
    if found is not None or name in _PLAIN:
        return found
    try:
        if row_of(name).kind == "elementwise":
            row, values = resolve_activation(name)
            found = _Plain()
            found.number = _NUMBER[row.name]
            found.reads_y = row.reads == "y"
            pack_params(values, 4, &found.f32)
            pack_params(values, 8, &found.f64)
    except ValueError:  # the checked door knows what to say
        return None
    _PLAIN[name] = found
    return found


def quick_activation(x, name, out):
    """The result, or None where an argument needs the checks of `fusedmlp.ops`."""
    cdef Elements q
    cdef _Plain row = _plain(name)
    cdef cnp.ndarray source, target
    if row is None or not is_plain(x, False):
        return None
    source = <cnp.ndarray> x
    if out is None:
        target = empty_like(source)
    else:
        if not is_plain(out, True):
            return None
        target = <cnp.ndarray> out
        if not alike(source, target) or not (
                cnp.PyArray_DATA(source) == cnp.PyArray_DATA(target) or apart(source, target)):
            return None
    q.n, q.itemsize = cnp.PyArray_SIZE(source), cnp.PyArray_ITEMSIZE(source)
    q.kernels = kernels_for(q.itemsize)
    q.map = q.kernels.map[row.number]
    q.x, q.y = <const char *> cnp.PyArray_DATA(source), <char *> cnp.PyArray_DATA(target)
    q.params = row.f32 if q.itemsize == 4 else row.f64
    _map(&q, row.number)
    return target


def quick_activation_grad(dy, name, x, y, out):
    """The result, or None where an argument needs the checks of `fusedmlp.ops`."""
    cdef Elements q
    cdef _Plain row = _plain(name)
    cdef cnp.ndarray given, saved, target
    if row is None:
        return None
    kept = y if row.reads_y else x
    if not is_plain(dy, False) or not is_plain(kept, False):
        return None
    given, saved = <cnp.ndarray> dy, <cnp.ndarray> kept
    if not alike(given, saved):
        return None
    if out is None:
        target = empty_like(given)
    else:
        if not is_plain(out, True):
            return None
        target = <cnp.ndarray> out
        if not alike(given, target) or not apart(saved, target) or not (
                cnp.PyArray_DATA(given) == cnp.PyArray_DATA(target) or apart(given, target)):
            return None
    q.n, q.itemsize = cnp.PyArray_SIZE(given), cnp.PyArray_ITEMSIZE(given)
    q.kernels = kernels_for(q.itemsize)
    q.map = NULL
    q.grad = q.kernels.map_grad[row.number]
    q.x, q.dy = <const char *> cnp.PyArray_DATA(saved), <const char *> cnp.PyArray_DATA(given)
    q.y = <char *> cnp.PyArray_DATA(target)
    q.params = row.f32 if q.itemsize == 4 else row.f64
    _slope(&q, row.number)
    return target


# -- functions of rows ---------------------------------------------------------------------------

cdef struct Rows:
    long rows, columns, ldx, ldy, pieces
    int itemsize
    const fm_kernels *kernels
    fm_rows forward
    fm_rows_grad backward
    const char *x
    const char *dy
    char *y


cdef void _rows_task(void *argument, int thread, int threads) noexcept nogil:
    cdef Rows *q = <Rows *> argument
    cdef long start, stop, size = q.itemsize
    cdef const char *x
    cdef const char *dy
    cdef char *y
    share(q.rows, 1, thread, threads, &start, &stop)
    if stop <= start:
        return
    x = q.x + start * q.ldx * size
    if q.dy == NULL:
        y = q.y + start * q.ldy * size
        if q.forward != NULL:
            q.forward(stop - start, q.columns, x, q.ldx, y, q.ldy)
        else:
            q.kernels.maxout(stop - start, q.columns, q.pieces, x, q.ldx, y, q.ldy)
    else:
        # the gradient has the shape of x, or of y where only that is saved
        dy = q.dy + start * q.ldy * size
        y = q.y + start * q.ldx * size
        if q.backward != NULL:
            q.backward(stop - start, q.columns, dy, q.ldy, x, q.ldx, y, q.ldx)
        else:
            q.kernels.maxout_grad(stop - start, q.columns, q.pieces, dy, q.ldy, x, q.ldx, y,
                                  q.ldx)


cdef int _row_function(name, params, Rows *q) except -1:
    q.forward = NULL
    q.backward = NULL
    if name == "softmax":
        q.forward, q.backward = q.kernels.softmax, q.kernels.softmax_grad
    elif name == "log_softmax":
        q.forward, q.backward = q.kernels.log_softmax, q.kernels.log_softmax_grad
    elif name == "sparsemax":
        q.forward, q.backward = q.kernels.sparsemax, q.kernels.sparsemax_grad
    elif name == "glu":
        q.forward, q.backward = q.kernels.glu, q.kernels.glu_grad
    elif name == "maxout":
        q.pieces = int(params[0])
    else:
        raise KeyError(name)
    return 0


def activation(name, cnp.ndarray x not None, params, cnp.ndarray out not None):
    cdef Elements q
    cdef Rows rows
    cdef int threads
    number = _NUMBER.get(name)
    if number is not None:
        q.itemsize = cnp.PyArray_ITEMSIZE(x)
        q.n = cnp.PyArray_SIZE(x)
        q.kernels = kernels_for(q.itemsize)
        q.map = q.kernels.map[<int> number]
        q.x = <const char *> cnp.PyArray_DATA(x)
        q.y = <char *> cnp.PyArray_DATA(out)
        pack_params(params, q.itemsize, &q.params)
        _map(&q, number)
        return
    rows.itemsize = cnp.PyArray_ITEMSIZE(x)
    rows.kernels = kernels_for(rows.itemsize)
    rows.rows, rows.ldx = x.shape[0], x.shape[1]
    rows.columns = rows.ldy = out.shape[1]
    rows.x, rows.dy = <const char *> cnp.PyArray_DATA(x), NULL
    rows.y = <char *> cnp.PyArray_DATA(out)
    _row_function(name, params, &rows)
    threads = threads_for(<double> rows.rows * rows.ldx)
    with nogil:
        run(threads, _rows_task, &rows)


def activation_grad(name, cnp.ndarray dy not None, cnp.ndarray saved not None, params,
                    cnp.ndarray dx not None):
    cdef Elements q
    cdef Rows rows
    cdef int threads
    number = _NUMBER.get(name)
    if number is not None:
        q.itemsize = cnp.PyArray_ITEMSIZE(dy)
        q.n = cnp.PyArray_SIZE(dy)
        q.kernels = kernels_for(q.itemsize)
        q.map = NULL
        q.grad = q.kernels.map_grad[<int> number]
        q.x = <const char *> cnp.PyArray_DATA(saved)
        q.dy = <const char *> cnp.PyArray_DATA(dy)
        q.y = <char *> cnp.PyArray_DATA(dx)
        pack_params(params, q.itemsize, &q.params)
        _slope(&q, number)
        return
    rows.itemsize = cnp.PyArray_ITEMSIZE(dy)
    rows.kernels = kernels_for(rows.itemsize)
    rows.rows, rows.ldx = saved.shape[0], saved.shape[1]
    rows.columns = rows.ldy = dy.shape[1]
    rows.x, rows.dy = <const char *> cnp.PyArray_DATA(saved), <const char *> cnp.PyArray_DATA(dy)
    rows.y = <char *> cnp.PyArray_DATA(dx)
    _row_function(name, params, &rows)
    threads = threads_for(<double> rows.rows * rows.ldx)
    with nogil:
        run(threads, _rows_task, &rows)


def prelu(cnp.ndarray x not None, cnp.ndarray alpha not None, cnp.ndarray out not None):
    cdef long n = x.shape[0], m = x.shape[1]
    kernels_for(cnp.PyArray_ITEMSIZE(x)).prelu(
        n, m, cnp.PyArray_DATA(x), m, cnp.PyArray_DATA(alpha), cnp.PyArray_DATA(out), m)


def prelu_grad(cnp.ndarray dy not None, cnp.ndarray x not None, cnp.ndarray alpha not None,
               cnp.ndarray dx not None, cnp.ndarray dalpha not None):
    cdef long n = x.shape[0], m = x.shape[1]
    cdef const fm_kernels *kernels = kernels_for(cnp.PyArray_ITEMSIZE(x))
    kernels.prelu_slope_grad(n, 0, m, cnp.PyArray_DATA(dy), m, cnp.PyArray_DATA(x), m,
                             cnp.PyArray_DATA(dalpha))
    kernels.prelu_grad(n, m, cnp.PyArray_DATA(dy), m, cnp.PyArray_DATA(x), m,
                       cnp.PyArray_DATA(alpha), cnp.PyArray_DATA(dx), m)
