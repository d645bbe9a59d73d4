from .native cimport fm_kernels, fm_matrix

cdef enum:
    # elements, and rows of a matrix, whose squares one thread adds up
    CHUNK = 4096
    BLOCK_ROWS = 32

# One optimizer of kind "variable" on one variable.  It runs in phases; all threads meet before each
# of them and after the last, and each knows its own share of the work.
cdef struct Whole:
    const fm_kernels *kernels
    int rule
    int itemsize
    fm_matrix shape
    char *w
    const char *g
    char *slots[2]
    double params[8]
    double *sums     # two for each chunk or block of rows
    char *scratch    # zero where no element lies

cdef int whole_phases(const Whole *q) noexcept nogil
cdef void whole_phase(const Whole *q, int phase, double rate, double decay, double t, int thread,
                      int threads) noexcept nogil
cdef long whole_sums(const Whole *q) noexcept nogil
cdef long whole_scratch(const Whole *q) noexcept nogil
cdef int whole_rule(name) except -1
