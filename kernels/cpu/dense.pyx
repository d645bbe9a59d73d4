"""Fully connected layer and its gradients on contiguous arrays; see the contract for arguments."""

cimport numpy as cnp
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

from .activations cimport Params, pack_params
from .native cimport (
    FM_LINE, FM_RELU, FM_STORE, fm_kernels, fm_map, kernels_for, row_major, run, share,
    threads_for,
)

from fusedmlp.spec import ELEMENTWISE

cnp.import_array()

cdef dict _NUMBER = {name: i for i, name in enumerate(ELEMENTWISE)}
cdef int _LINEAR = _NUMBER["linear"]
cdef int _RELU = _NUMBER["relu"]
# Multiply-adds per nanosecond of one core, cautiously: only to decide about threads.
cdef double _RATE = 30.0


cdef struct Product:
    const fm_kernels *kernels
    int itemsize, transposed, ending, failed
    long m, n, k
    const char *a
    long lda
    const char *b
    long ldb
    const char *bias
    char *c
    fm_map map
    const void *params
    char *y


cdef void _columns(Product *q, long row, long rows, long column, long columns) noexcept nogil:
    """One block of c; columns beyond the last whole line pass through padded copies."""
    cdef long size = q.itemsize, line = FM_LINE // size, tail = columns % line, i
    cdef long whole = columns - tail, ldc = q.n, lda_row = 1 if q.transposed else q.lda
    cdef const char *a = q.a + row * lda_row * size
    cdef const char *b = q.b + column * size
    cdef const char *bias = q.bias + column * size if q.bias != NULL else NULL
    cdef char *c = q.c + (row * ldc + column) * size
    cdef char *scratch
    cdef char *b_tail
    cdef char *c_tail
    if whole:
        q.kernels.gemm(q.transposed, rows, whole, q.k, a, q.lda, row_major(b, q.ldb, q.itemsize),
                       bias, row_major(c, ldc, q.itemsize), q.ending, NULL)
    if tail:
        scratch = <char *> malloc((q.k + rows + 1) * FM_LINE)
        if scratch == NULL:
            q.failed = 1
            return
        memset(scratch, 0, (q.k + 1) * FM_LINE)
        b_tail = scratch + FM_LINE
        c_tail = b_tail + q.k * FM_LINE
        if bias != NULL:
            memcpy(scratch, bias + whole * size, tail * size)
        for i in range(q.k):
            memcpy(b_tail + i * FM_LINE, b + (i * q.ldb + whole) * size, tail * size)
        q.kernels.gemm(q.transposed, rows, line, q.k, a, q.lda,
                       row_major(b_tail, line, q.itemsize), scratch if bias != NULL else NULL,
                       row_major(c_tail, line, q.itemsize), q.ending, NULL)
        for i in range(rows):
            memcpy(c + (i * ldc + whole) * size, c_tail + i * FM_LINE, tail * size)
        free(scratch)


cdef void _product_task(void *argument, int thread, int threads) noexcept nogil:
    cdef Product *q = <Product *> argument
    cdef long start, stop, size = q.itemsize, line = FM_LINE // size
    if q.m >= threads or q.map != NULL:
        share(q.m, 1, thread, threads, &start, &stop)
        if stop > start:
            _columns(q, start, stop - start, 0, q.n)
            if q.map != NULL:
                q.map((stop - start) * q.n, q.c + start * q.n * size, q.y + start * q.n * size,
                      q.params)
    else:
        share(q.n, line, thread, threads, &start, &stop)
        if stop > start:
            _columns(q, 0, q.m, start, stop - start)


cdef int _multiply(Product *q) except -1:
    cdef int threads = threads_for(<double> q.m * q.n * q.k / _RATE)
    q.failed = 0
    with nogil:
        run(threads, _product_task, q)
    if q.failed:
        raise MemoryError("No memory for the padded columns of a matrix product")
    return 0


def dense(cnp.ndarray x not None, cnp.ndarray kernel not None, bias, activation, params,
          cnp.ndarray out not None, preactivation):
    cdef Product q
    cdef Params packed
    cdef int number = _NUMBER[activation]
    q.itemsize = cnp.PyArray_ITEMSIZE(x)
    q.kernels = kernels_for(q.itemsize)
    q.transposed = 0
    q.m, q.k, q.n = x.shape[0], x.shape[1], kernel.shape[1]
    q.a, q.lda = <const char *> cnp.PyArray_DATA(x), q.k
    q.b, q.ldb = <const char *> cnp.PyArray_DATA(kernel), q.n
    q.bias = <const char *> cnp.PyArray_DATA(<cnp.ndarray?> bias) if bias is not None else NULL
    q.y = <char *> cnp.PyArray_DATA(out)
    q.c = <char *> cnp.PyArray_DATA(<cnp.ndarray?> preactivation) if preactivation is not None \
        else q.y
    q.ending = FM_STORE
    q.map = NULL
    if number == _RELU and preactivation is None:
        q.ending = FM_RELU
    elif number != _LINEAR or preactivation is not None:
        pack_params(params, q.itemsize, &packed)
        q.params = &packed
        q.map = q.kernels.map[number]
    _multiply(&q)


def dense_grad(cnp.ndarray dz not None, cnp.ndarray x not None, cnp.ndarray kernel not None, dx,
               dkernel, dbias):
    cdef Product q
    cdef long n = dz.shape[0], m = dz.shape[1], d = x.shape[1]
    cdef char *transposed
    q.itemsize = cnp.PyArray_ITEMSIZE(x)
    q.kernels = kernels_for(q.itemsize)
    q.bias = NULL
    q.map = NULL
    q.ending = FM_STORE
    if dbias is not None:
        q.kernels.column_sums(n, m, cnp.PyArray_DATA(dz), m,
                              cnp.PyArray_DATA(<cnp.ndarray?> dbias))
    if dkernel is not None:
        # dkernel (d, m) = x (n, d) read transposed, times dz (n, m)
        q.transposed = 1
        q.m, q.k, q.n = d, n, m
        q.a, q.lda = <const char *> cnp.PyArray_DATA(x), d
        q.b, q.ldb = <const char *> cnp.PyArray_DATA(dz), m
        q.c = <char *> cnp.PyArray_DATA(<cnp.ndarray?> dkernel)
        _multiply(&q)
    if dx is not None:
        # dx (n, d) = dz (n, m) times the transposed kernel (m, d)
        transposed = <char *> malloc(d * m * q.itemsize + 1)
        if transposed == NULL:
            raise MemoryError("No memory for the transposed kernel")
        try:
            q.kernels.transpose(0, d, d, m, cnp.PyArray_DATA(kernel), m,
                                row_major(transposed, d, q.itemsize), 0)
            q.transposed = 0
            q.m, q.k, q.n = n, m, d
            q.a, q.lda = <const char *> cnp.PyArray_DATA(dz), m
            q.b, q.ldb = transposed, d
            q.c = <char *> cnp.PyArray_DATA(<cnp.ndarray?> dx)
            _multiply(&q)
        finally:
            free(transposed)
