# The operations of a step, and what a thread does with them; see operations.pyx.
from libc.stdint cimport int64_t

from .steps cimport Run, Step

# For `run` in native.pxd: their argument is a Run.
cdef void train_task(void *argument, int thread, int threads) noexcept nogil
cdef void forward_task(void *argument, int thread, int threads) noexcept nogil
cdef void one_row_task(void *argument, int thread, int threads) noexcept nogil

cdef void weights_step(Run *q, const Step *s, char **bases, long n, int thread, int threads,
                       double rate, int64_t count, double *coefficients) noexcept nogil
