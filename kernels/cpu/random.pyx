"""Counter-based random numbers on contiguous arrays; see the contract for arguments."""

cimport numpy as cnp
from cpython.pycapsule cimport PyCapsule_GetPointer
from libc.stdint cimport int64_t, uint32_t, uint64_t

from .native cimport fm_kernels, kernels_for, run, share, shuffle, shuffle_by, threads_for


cdef extern from "numpy/random/bitgen.h" nogil:
    ctypedef struct bitgen_t:
        void *state
        uint32_t (*next_uint32)(void *) noexcept nogil

cnp.import_array()


cdef struct Mask:
    const fm_kernels *kernels
    long rows, columns
    double rate
    uint64_t seed
    uint32_t stream, step
    char *out


cdef void _task(void *argument, int thread, int threads) noexcept nogil:
    cdef Mask *q = <Mask *> argument
    cdef long start, stop
    share(q.rows, 1, thread, threads, &start, &stop)
    q.kernels.dropout_mask(start, stop, q.columns, q.out, q.columns, q.rate, q.seed, q.stream,
                           q.step)


def dropout_mask(rate, seed, stream, step, cnp.ndarray out not None):
    cdef Mask q
    cdef int threads
    q.kernels = kernels_for(cnp.PyArray_ITEMSIZE(out))
    q.rows, q.columns = out.shape[0], out.shape[1]
    q.rate, q.seed = rate, seed & 0xFFFFFFFFFFFFFFFF
    q.stream, q.step = stream & 0xFFFFFFFF, step & 0xFFFFFFFF
    q.out = <char *> cnp.PyArray_DATA(out)
    threads = threads_for(<double> q.rows * q.columns)
    with nogil:
        run(threads, _task, &q)


def quick_permutation(count, seed, epoch, stream):
    """What NumPy's `permutation` gives with a Philox generator of that key and counter."""
    cdef int64_t n = count
    cdef uint64_t first = seed & 0xFFFFFFFFFFFFFFFF, second = epoch & 0xFFFFFFFFFFFFFFFF
    cdef uint64_t last = stream
    cdef cnp.npy_intp shape = n
    cdef cnp.ndarray out
    cdef int64_t *values
    if n >= 1 << 32:
        return None
    out = cnp.PyArray_EMPTY(1, &shape, cnp.NPY_INT64, 0)
    values = <int64_t *> cnp.PyArray_DATA(out)
    with nogil:
        shuffle(n, first, second, last, values)
    return out


def quick_shuffle(count, generator):
    """A permutation as NumPy's `RandomState.shuffle` makes it, drawing from a bit generator."""
    cdef int64_t n = count
    cdef cnp.npy_intp shape = n
    cdef cnp.ndarray out
    cdef int64_t *values
    cdef bitgen_t *source
    if n >= 1 << 32:
        return None
    source = <bitgen_t *> PyCapsule_GetPointer(generator.capsule, "BitGenerator")
    out = cnp.PyArray_EMPTY(1, &shape, cnp.NPY_INT64, 0)
    values = <int64_t *> cnp.PyArray_DATA(out)
    with generator.lock, nogil:
        shuffle_by(n, source.next_uint32, source.state, values)
    return out
