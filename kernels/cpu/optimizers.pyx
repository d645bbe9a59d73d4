"""Fused in-place optimizer updates on flat arrays; see the contract for arguments."""

cimport numpy as cnp
from libc.math cimport INFINITY, pow, sqrt

from .native cimport fm_kernels, kernels_for, run, share, threads_for
from .plain cimport alike, apart, is_plain

cnp.import_array()

cdef enum Rule:
    SGD
    MOMENTUM
    ADAM


cdef struct Update:
    const fm_kernels *kernels
    Rule rule
    int itemsize, nesterov
    long n
    char *w
    const char *g
    char *first
    char *second
    double rate, a, b, epsilon, decay


cdef void _task(void *argument, int thread, int threads) noexcept nogil:
    cdef Update *q = <Update *> argument
    cdef long start, stop, at
    share(q.n, 1024, thread, threads, &start, &stop)
    if stop <= start:
        return
    at = start * q.itemsize
    if q.rule == ADAM:
        q.kernels.adam(stop - start, q.w + at, q.g + at, q.first + at, q.second + at, q.rate, q.a,
                       q.b, q.epsilon, q.decay)
    elif q.rule == MOMENTUM:
        q.kernels.momentum(stop - start, q.w + at, q.g + at, q.first + at, q.rate, q.a,
                           q.nesterov, q.decay)
    else:
        q.kernels.sgd(stop - start, q.w + at, q.g + at, q.rate, q.decay)


cdef void _start(Update *q, cnp.ndarray param, cnp.ndarray grad):
    cdef int threads
    q.itemsize = cnp.PyArray_ITEMSIZE(param)
    q.kernels = kernels_for(q.itemsize)
    q.n = cnp.PyArray_SIZE(param)
    q.w = <char *> cnp.PyArray_DATA(param)
    q.g = <const char *> cnp.PyArray_DATA(grad)
    threads = threads_for(0.5 * q.n)
    with nogil:
        run(threads, _task, q)


def sgd_update(cnp.ndarray param not None, cnp.ndarray grad not None, learning_rate,
               weight_decay):
    cdef Update q
    q.rule = SGD
    q.rate, q.decay = learning_rate, weight_decay
    _start(&q, param, grad)


def momentum_update(cnp.ndarray param not None, cnp.ndarray grad not None,
                    cnp.ndarray velocity not None, learning_rate, momentum, nesterov,
                    weight_decay):
    cdef Update q
    q.rule = MOMENTUM
    q.rate, q.a, q.nesterov, q.decay = learning_rate, momentum, bool(nesterov), weight_decay
    q.first = <char *> cnp.PyArray_DATA(velocity)
    _start(&q, param, grad)


def adam_update(cnp.ndarray param not None, cnp.ndarray grad not None, cnp.ndarray m not None,
                cnp.ndarray v not None, step, learning_rate, beta_1, beta_2, epsilon,
                weight_decay):
    cdef Update q
    cdef double rate = learning_rate, count = step
    q.rule = ADAM
    q.a, q.b, q.epsilon = beta_1, beta_2, epsilon
    q.rate = rate * sqrt(1 - pow(q.b, count)) / (1 - pow(q.a, count))
    q.decay = rate * <double> weight_decay
    q.first = <char *> cnp.PyArray_DATA(m)
    q.second = <char *> cnp.PyArray_DATA(v)
    _start(&q, param, grad)


def quick_adam_update(param, grad, m, v, step, learning_rate, beta_1, beta_2, epsilon,
                      weight_decay):
    """True after the update of plain arrays, or None where `fusedmlp.ops` has to check one."""
    cdef Update q
    cdef cnp.ndarray w, g, first, second
    cdef double count, rate, decay
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
    q.a, q.b, q.epsilon = beta_1, beta_2, epsilon
    if not (count >= 1 and 0 <= rate < INFINITY and 0 <= q.a < 1 and 0 <= q.b < 1
            and 0 <= q.epsilon < INFINITY and 0 <= decay < INFINITY):
        return None
    q.rule = ADAM
    q.rate = rate * sqrt(1 - pow(q.b, count)) / (1 - pow(q.a, count))
    q.decay = rate * decay
    q.first = <char *> cnp.PyArray_DATA(first)
    q.second = <char *> cnp.PyArray_DATA(second)
    _start(&q, w, g)
    return True
