"""Products of matrices and gradients of parameters within a step, and how threads share them."""

from libc.stdint cimport int64_t
from libc.string cimport memcpy

from .native cimport FM_LINE, FM_PANEL, FM_STORE, fm_panels, row_major, share
from .steps cimport (
    DENSE, DENSE_DW, DENSE_DX, EMBEDDING_GRAD, GROUP_DW, Operand, PAIR_KERNEL,
    panels_of, row_at, ROWS_TOGETHER, Run, SPARSE_DW, Step,
)

# Bytes of a product that the function behind it finds in the nearest cache.
cdef long _NEAR = 12288

cdef enum:
    SIDE = 16  # pairs in a row of a panel, and rows that are transposed together


cdef void product_step(const Run *q, const Step *s, char **bases, long r0, long rows, long c0,
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
        bias = row_at(&s.c, bases, 0, size) + c0 * size
    if follows:  # while its arguments are still in the nearest cache
        block = max(ROWS_TOGETHER, _NEAR // (wide * size))
    while rows > 0:
        block = min(block, rows)
        out = row_at(z, bases, r0, size) + c0 * size
        y = row_at(&s.d, bases, r0, size) + c0 * size
        if s.c.present and s.code == DENSE_DX:
            saved = row_at(&s.c, bases, r0, size) + c0 * size
        (q.bfloat16.gemm if s.pairs else q.kernels.gemm)(
            0, block, columns, s.b.rows, row_at(&s.a, bases, r0, size), s.a.ld,
            panels_of(&s.b, bases, c0, size), bias, row_major(out, s.d.ld, size), s.ending, saved)
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


cdef void columns_step(const Run *q, const Step *s, char **bases, long n, int thread,
                       int threads) noexcept nogil:
    """A COLUMNS operation: this thread's panels."""
    cdef long start, stop, each = FM_PANEL // q.itemsize
    if s.d.parts:
        start = part_start(s.d.columns, each, s.d.parts, thread, threads)
        stop = part_start(s.d.columns, each, s.d.parts, thread + 1, threads)
    else:
        share(s.d.columns, each, thread, threads, &start, &stop)
    if stop > start:
        product_step(q, s, bases, 0, n * s.repeat, start, stop - start)


cdef void parts_step(const Run *q, const Step *s, char **bases, long n, int thread,
                     int threads) noexcept nogil:
    """A PARTS operation: sums over this thread's parts of the columns of a."""
    cdef int size = q.itemsize
    cdef long each = FM_PANEL // size, part, start, stop
    # a x, b kernel of one panel, c bias, which the first part has, d sums
    cdef fm_panels kernel
    for part in range(s.a.parts * thread // threads, s.a.parts * (thread + 1) // threads):
        start = part_start(s.a.columns, each, s.a.parts, <int> part, <int> s.a.parts)
        stop = part_start(s.a.columns, each, s.a.parts, <int> part + 1, <int> s.a.parts)
        kernel = panels_of(&s.b, bases, 0, size)
        kernel.at = <char *> kernel.at + start * min(each, s.b.ld) * size
        q.kernels.gemm(
            0, n, s.d.columns, stop - start, row_at(&s.a, bases, 0, size) + start * size, s.a.ld,
            kernel, row_at(&s.c, bases, 0, size) if part == 0 else NULL,
            row_major(row_at(&s.d, bases, 0, size) + part * s.width * size, s.d.ld, size),
            FM_STORE, NULL)


cdef void sum_parts(const Run *q, const Step *s, char **bases, long n) noexcept nogil:
    """A SUM_PARTS operation: the sum (e z, or d y) of parts (a), and the function that follows."""
    cdef const Operand *z = &s.e if s.e.present else &s.d
    cdef char *sum = row_at(z, bases, 0, q.itemsize)
    cdef char *parts = row_at(&s.a, bases, 0, q.itemsize)
    cdef long part
    for part in range(1, s.number):
        q.kernels.add(n * z.ld, parts if part == 1 else sum,
                      parts + part * s.width * q.itemsize, sum)
    if s.map != NULL:
        s.map(n * z.ld, sum, row_at(&s.d, bases, 0, q.itemsize), &s.params)


cdef void pieces_step(const Run *q, const Step *s, const Operand *o, char *sums, char **bases,
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
    cdef fm_panels paired, matrix = panels_of(o, bases, column, size)
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
            n, first, end, columns, <const int64_t *> row_at(&s.a, bases, 0, size),
            q.data[s.number].pointer, q.data[s.number].places,
            row_at(&s.b, bases, 0, size) + column * size, s.b.ld, matrix)
    elif s.code == DENSE_DW or s.code == GROUP_DW:
        # a x, b dz, c dkernel, d dbias, which belongs to the kernel's first row
        r0 *= s.repeat
        matrix.at = <char *> matrix.at + first * width * size
        x = row_at(&s.a, bases, r0, size) + first * size
        dz = row_at(&s.b, bases, r0, size) + column * size
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
                                 row_at(&s.a, bases, 0, size), s.a.ld, row_at(&s.b, bases, 0, size),
                                 s.b.ld, matrix.at, o.rows, width, first, end)
    elif s.code == PAIR_KERNEL:
        # a kernel, b its pairs; `first` is even
        paired = panels_of(&s.b, bases, column, size)
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
                                panels_of(&s.b, bases, 0, size), column // 2)
            at = to
    else:
        # a kernel, b transposed
        q.kernels.transpose(first, end, o.rows, columns, matrix.at, width,
                            panels_of(&s.b, bases, 0, size), column)


cdef void group_step(const Run *q, const Step *s, char **bases, long n, int thread,
                     int threads) noexcept nogil:
    """A GROUP_DW or GROUP_DB operation: gradients of this thread's groups, or parts of some."""
    cdef long groups = groups_of(n), group, r0, rows, start, stop
    cdef bint own = own_groups(groups, threads)
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
            pieces_step(q, s, &o, row_at(&bias, bases, 0, size), bases, r0, rows, begin, end,
                        threads)
        elif end > begin:
            start = first_element(&o, begin, threads, size)
            stop = first_element(&o, end, threads, size)
            r0 *= s.repeat
            q.kernels.column_sums(rows * s.repeat, stop - start,
                                  row_at(&s.a, bases, r0, size) + start * size, s.a.ld,
                                  row_at(&o, bases, 0, size) + start * size)
        o.at += o.rows * o.ld * size
        bias.at += bias.rows * bias.ld * size


cdef void combine_step(const Run *q, const Step *s, char **bases, long n, int thread,
                       int threads) noexcept nogil:
    """This thread's part of a gradient (a) from those of groups of rows (b)."""
    cdef long start, stop, group, groups = groups_of(n), each = s.b.rows * s.b.ld * q.itemsize
    cdef char *sum
    cdef char *part
    part_of(&s.a, thread, threads, q.itemsize, &start, &stop)
    if stop <= start:
        return
    sum = row_at(&s.a, bases, 0, q.itemsize) + start * q.itemsize
    part = row_at(&s.b, bases, 0, q.itemsize) + start * q.itemsize
    if groups == 1:
        memcpy(sum, part, (stop - start) * q.itemsize)
    for group in range(1, groups):
        q.kernels.add(stop - start, part if group == 1 else sum, part + group * each, sum)
