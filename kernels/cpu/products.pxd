# Products of matrices, and gradients of parameters: how threads share them.
from .native cimport FM_PANEL
from .steps cimport Operand, Run, Step


cdef inline long part_start(long columns, long each, long parts, int thread,
                            int threads) noexcept nogil:
    """The first of the columns, in whole panels, of a thread's parts: see parts.py."""
    return min(columns, (columns + each - 1) // each * (parts * thread // threads) // parts * each)


cdef inline void _cut(const Operand *o, int thread, int threads, int itemsize, long *panel,
                      long *row) noexcept nogil:
    """Where in a parameter's memory a thread's part begins: at a row of a panel."""
    cdef long each = FM_PANEL // itemsize, width
    cdef long at = o.rows * o.ld * thread // threads
    if o.parts and thread < threads:
        at = part_start(o.rows if o.by_rows else o.columns, each, o.parts, thread, threads)
        panel[0], row[0] = (0, at) if o.by_rows else (at // each, 0)
        return
    panel[0] = at // (o.rows * each)
    width = o.ld - panel[0] * each
    if width <= 0 or width > each:
        width = each
    row[0] = (at - panel[0] * o.rows * each) // width
    if row[0] < o.rows:
        row[0] -= row[0] % 2  # neighbours stay together


cdef inline long first_element(const Operand *o, int part, int parts, int itemsize) noexcept nogil:
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


cdef inline void part_of(const Operand *o, int thread, int threads, int itemsize, long *start,
                         long *stop) noexcept nogil:
    """The elements of a parameter that belong to a thread."""
    start[0] = first_element(o, thread, threads, itemsize)
    stop[0] = first_element(o, thread + 1, threads, itemsize)


cdef inline long groups_of(long n) noexcept nogil:
    """Groups of the n rows of a batch, whose gradients of small parameters are added up later.

    A function of the batch alone, so that it decides the bits of a gradient and threads do not.
    """
    return 1 if n < 64 else 2 if n < 1024 else 8 if n < 4096 else 24


cdef inline bint own_groups(long groups, int threads) noexcept nogil:
    """Whether each thread has groups of its own: they are as good as equal parts of the rows."""
    return groups % threads == 0 or groups >= 3 * threads


cdef void product_step(const Run *q, const Step *s, char **bases, long r0, long rows, long c0,
                       long columns) noexcept nogil
cdef void columns_step(const Run *q, const Step *s, char **bases, long n, int thread,
                       int threads) noexcept nogil
cdef void pieces_step(const Run *q, const Step *s, const Operand *o, char *sums, char **bases,
                      long r0, long n, int begin, int until, int parts) noexcept nogil
cdef void parts_step(const Run *q, const Step *s, char **bases, long n, int thread,
                     int threads) noexcept nogil
cdef void sum_parts(const Run *q, const Step *s, char **bases, long n) noexcept nogil
cdef void group_step(const Run *q, const Step *s, char **bases, long n, int thread,
                     int threads) noexcept nogil
cdef void combine_step(const Run *q, const Step *s, char **bases, long n, int thread,
                       int threads) noexcept nogil
