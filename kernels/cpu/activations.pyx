"""Activations and their derivatives on contiguous arrays; see the contract for arguments."""

cimport numpy as cnp

from .native cimport (
    fm_kernels, fm_map, fm_map_grad, fm_rows, fm_rows_grad, kernels_for, run, share, threads_for,
)

from fusedmlp.spec import ELEMENTWISE

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


cdef struct Elements:
    long n
    int itemsize
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
        if q.map != NULL:
            q.map(stop - start, q.x + at, q.y + at, &q.params)
        else:
            q.grad(stop - start, q.dy + at, q.x + at, q.y + at, &q.params)


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
        q.map = kernels_for(q.itemsize).map[<int> number]
        q.x = <const char *> cnp.PyArray_DATA(x)
        q.y = <char *> cnp.PyArray_DATA(out)
        pack_params(params, q.itemsize, &q.params)
        threads = threads_for(0.5 * q.n)
        if threads == 1:
            with nogil:
                _elements_task(&q, 0, 1)
        else:
            with nogil:
                run(threads, _elements_task, &q)
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
        q.map = NULL
        q.grad = kernels_for(q.itemsize).map_grad[<int> number]
        q.x = <const char *> cnp.PyArray_DATA(saved)
        q.dy = <const char *> cnp.PyArray_DATA(dy)
        q.y = <char *> cnp.PyArray_DATA(dx)
        pack_params(params, q.itemsize, &q.params)
        threads = threads_for(0.5 * q.n)
        with nogil:
            run(threads, _elements_task, &q)
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
