"""What threads do with the operations of a step, without the interpreter lock.

Operations fall into classes.  ROWS operations split the rows of the batch among threads; COLUMNS
operations, products whose weights outweigh their activations, split the panels of the weights;
WEIGHTS operations (gradient, update, refresh of the transposed copy) split the memory of each
weight matrix, so that a thread updates what it computed and, where products split panels, goes on
reading it.  Within the first and the last class, what a thread reads it wrote itself; threads wait
for each other between classes and before each operation on columns.  STATISTICS operations split
the columns of a batch, over all of its rows; WHOLE operations are one thread's, or split a
parameter otherwise than its update does.  The outputs of a small network, and what is made of
them up to their gradient, every thread computes for itself (parts.py).  Sums of the loss and the
metrics are added up by one thread in a fixed order.  So the result does not depend on the number
of threads.
"""

from libc.math cimport INFINITY, NAN, isfinite, sqrt
from libc.stdint cimport int64_t, uint32_t
from libc.string cimport memcpy, memset

from .native cimport (
    FM_PANEL, FM_STRIP, barrier, fm_await, fm_claim, fm_features, fm_join, fm_kernels, fm_masks,
    fm_sparse, share,
)
from .optimizers cimport CHUNK, whole_phase
from .products cimport (
    columns_step, combine_step, group_step, groups_of, own_groups, part_of, parts_step, pieces_step,
    product_step, sum_parts,
)
from .steps cimport (
    ACCUMULATE, ACTIVITY_PENALTY, ADD, AFFINE, ALPHA_DROPOUT, AVERAGE, BASES, BATCH_NORM_DX,
    BATCH_NORM_SUMS, BATCH_STATISTICS, BROADCAST, CHANGE, clock, Code, COLLECT, COLUMN_AFFINE,
    COMBINE, COPIES, COPY_GROUPS, DATA, Data, DENSE, DENSE_DB, DENSE_DW, DENSE_DX, DENSIFY,
    DIGITIZE, DISTRIBUTION_LOSS, DIVIDE, DROPOUT, ELEMENTWISE_LOSS, EMBEDDING, EMBEDDING_GRAD,
    ENCODE, EXTREME_GRAD, FEATURE_NORM, FOLD_STATISTICS, GAMMA_GRAD, GATHER, GAUSSIAN_DROPOUT,
    GAUSSIAN_NOISE, GRADIENTS, KEEP, KEEP_STEPS, LOG, MAP, MAP_GRAD, MAXIMUM, MAXOUT, MAXOUT_GRAD,
    MINIMUM, MULTIPLY, OBSERVE, Operand, ORTHOGONAL_PENALTY, OVERLAP_LOSS, OVERLAP_SUMS, OWN,
    PAIR_COLUMNS, PAIR_GRAD, PAIR_KERNEL, PAIR_LOSS, PAIR_ROWS, panels_of, PARAMETERS, PARTS,
    PENALTY, PENALTY_GRAD, PENALTY_TOTAL, POOL, POOL_GRAD, POWER, PRELU, PRELU_DALPHA, PRELU_DX,
    PUT_COLUMNS, PYTHON, RECORD, REDUCE, RESHAPE, row_at, ROW_DOT, ROW_LOSS, ROW_MAP,
    ROW_MAP_GRAD, ROW_NORM, ROW_NORM_GRAD, ROW_SUM, ROW_WEIGHTS, Run, SCALE_ROWS, SCALE_SHIFT,
    SCORE, SOFTMAX_CROSS_ENTROPY, SPARSE_DENSE, SPARSE_DW, SPECTRAL_NORM, SQUARES, STANDARDIZE,
    Step, STEP_MASK, SUBTRACT, SUM_PARTS, TAKE_COLUMNS, TALLY, TRANSPOSE, UPDATE, Updating, WHOLE,
    WORKSPACE,
)

# What an epsilon of 0 counts as.
cdef double _TINY[2]
_TINY[0], _TINY[1] = 2.0 ** -126, 2.0 ** -1022
# Panels of a piece of one row's product, and elements of a kernel that is cut up.
cdef long _ROW_PANELS = 4
cdef long _ROW_SHARED = 65536


cdef void _extents(const Data *data, const int64_t *order, long first, long rows,
                   int64_t *out) noexcept nogil:
    """Where the elements of rows of a matrix in compressed rows begin and end."""
    cdef long i, row
    for i in range(rows):
        row = first + i if order == NULL else order[i]
        out[2 * i], out[2 * i + 1] = data.starts[row], data.starts[row + 1]


cdef void _sparse_step(const Run *q, const Step *s, char **bases, long r0,
                       long rows) noexcept nogil:
    """An operation on matrices in compressed rows: a their extents; `rows` rows from r0."""
    cdef const fm_sparse *k = &q.kernels.sparse
    cdef const Data *data = &q.data[s.number]
    cdef int size = q.itemsize
    cdef const int64_t *extents = <const int64_t *> row_at(&s.a, bases, r0, size)
    cdef const Operand *z = &s.e if s.e.present else &s.d
    cdef char *out
    if s.code == DENSIFY:
        k.densify(rows, s.b.columns, extents, data.pointer, data.places,
                  row_at(&s.b, bases, r0, size), s.b.ld)
        return
    # b kernel, c bias, d y, e z
    out = row_at(z, bases, r0, size)
    k.product(rows, s.d.columns, extents, data.pointer, data.places,
              panels_of(&s.b, bases, 0, size), row_at(&s.c, bases, 0, size), out, s.d.ld)
    if s.map != NULL:
        s.map(rows * s.d.ld, out, row_at(&s.d, bases, r0, size), &s.params)


cdef void _gather(const Run *q, const Step *s, char **bases, const int64_t *order, long first,
                  long rows) noexcept nogil:
    """Rows `first` on of a data array, picked by `order` where there is one, into a buffer."""
    cdef const Data *data = &q.data[s.number]
    cdef char *out = row_at(&s.a, bases, first * s.repeat, q.itemsize)
    cdef const float *narrow = <const float *> data.pointer
    cdef const int64_t *wide = <const int64_t *> data.pointer
    cdef long i, k, width = s.a.columns * data.itemsize
    if data.starts != NULL:
        _extents(data, order, 0, rows, <int64_t *> out)
    elif data.columns and s.repeat > 1:
        for i in range(rows):
            for k in range(s.repeat):
                memcpy(out + (i * s.repeat + k) * s.a.ld * data.itemsize,
                       data.pointer + order[i] * data.columns * data.itemsize + k * width, width)
    elif data.columns:
        q.kernels.gather(rows, data.columns, data.pointer, data.columns, order, out, s.a.ld)
    elif data.itemsize == 4:
        for i in range(rows):
            (<float *> out)[i] = narrow[order[i]]
    else:
        for i in range(rows):
            (<int64_t *> out)[i] = wide[order[i]]


cdef double _counted(const Run *q, const Step *s, const int64_t *order, long n) noexcept nogil:
    """What a mean is divided by: rows of the batch whose class is not the ignored one, at least 1,
    or the sum of their weights, infinite where it is 0.

    Counted in the data: the gathered labels and weights of other threads may not be there yet.
    """
    cdef const int64_t *classes = <const int64_t *> q.data[s.number].pointer
    cdef const char *weights = q.data[s.weights].pointer
    cdef long i, k
    cdef double sum = 0.0
    for i in range(n):
        if s.repeat > 1:  # labels of each step of a sample, and no weights: see row_weights
            for k in range(s.repeat):
                sum += classes[order[i] * s.repeat + k] != s.ignore
            continue
        if s.has_ignore and classes[order[i]] == s.ignore:
            continue
        if not s.weighted_mean:
            sum += 1.0
        elif q.itemsize == 4:
            sum += (<const float *> weights)[order[i]]
        else:
            sum += (<const double *> weights)[order[i]]
    if s.weighted_mean:
        return sum if sum != 0.0 else INFINITY
    return sum if sum > 0.0 else 1.0


cdef void _scale(char *values, long n, int itemsize, double factor) noexcept nogil:
    cdef long i
    for i in range(n):
        if itemsize == 4:
            (<float *> values)[i] = <float> ((<float *> values)[i] * factor)
        else:
            (<double *> values)[i] = (<double *> values)[i] * factor


cdef inline bint _joins(Code code) noexcept nogil:
    return SUBTRACT <= code <= COPY_GROUPS


cdef void _join_step(const Run *q, const Step *s, char **bases, long r0, long rows) noexcept nogil:
    """An operation that joins or cuts buffers, on `rows` rows from r0."""
    cdef const fm_join *k = &q.kernels.join
    cdef int size = q.itemsize
    cdef Code code = s.code
    cdef char *a = row_at(&s.a, bases, r0, size)
    cdef char *b = row_at(&s.b, bases, r0, size)
    cdef char *c = row_at(&s.c, bases, r0, size)
    if code == SUBTRACT:
        k.subtract(rows * s.a.ld, a, b, c)
    elif code == MAXIMUM:
        k.maximum(rows * s.a.ld, a, b, c)
    elif code == MINIMUM:
        k.minimum(rows * s.a.ld, a, b, c)
    elif code == EXTREME_GRAD:
        k.extreme_grad(rows * s.a.ld, s.number, a, b, c, row_at(&s.d, bases, r0, size))
    elif code == AFFINE:
        k.affine(rows * s.a.ld, s.x, s.y, a, b)
    elif code == DIVIDE:
        k.divide(rows, s.a.columns, a, s.a.ld, b, s.b.ld, c, s.c.ld)
    elif code == POWER:
        k.power(rows, s.a.columns, s.x, a, s.a.ld, b, s.b.ld)
    elif code == LOG:
        k.log(rows, s.a.columns, a, s.a.ld, b, s.b.ld)
    elif code == BROADCAST:
        k.broadcast(rows, s.b.columns, s.x, a, s.a.ld, b, s.b.ld)
    elif code == ROW_SUM:
        k.row_sum(rows, s.a.columns, s.x, a, s.a.ld, b, s.b.ld)
    elif code == ROW_DOT:
        k.row_dot(rows, s.a.columns, a, s.a.ld, b, s.b.ld, c, s.c.ld)
    elif code == SCALE_ROWS:
        k.scale_rows(rows, s.a.columns, a, s.a.ld, b, s.b.ld, c, s.c.ld)
    else:  # COPY_GROUPS
        if s.clears:
            memset(row_at(&s.c, bases, r0, size), 0, rows * s.b.ld * size)
        k.copy_groups(rows, s.groups, s.width, a, s.a.ld, s.step_a, b, s.b.ld, s.step_b)

cdef void _steps_step(const Run *q, const Step *s, char **bases, long r0,
                      long n) noexcept nogil:
    """An operation on the steps of n samples from r0 on."""
    cdef const fm_masks *k = &q.kernels.masks
    cdef int i
    cdef long t = s.groups, c = s.width
    cdef char *at[5]
    cdef const Operand *operands[5]
    operands[0], operands[1], operands[2] = &s.a, &s.b, &s.c
    operands[3], operands[4] = &s.d, &s.e
    for i in range(5):
        at[i] = row_at(operands[i], bases, 0, q.itemsize)
        if at[i] != NULL:
            at[i] += r0 * s.samples[i] * q.itemsize
    if s.code == STEP_MASK:
        # a x, b mask
        k.step_mask(n, t, c, s.x, at[0], s.samples[0], s.inner[0], at[1], s.samples[1], s.inner[1])
    elif s.code == KEEP_STEPS:
        # a x, b mask, c y
        k.keep_steps(n, t, c, at[0], s.samples[0], s.inner[0], at[1], s.samples[1], s.inner[1],
                     at[2], s.samples[2], s.inner[2])
    elif s.code == POOL:
        # a x, b mask, c y
        k.pool(n, t, c, s.number, at[0], s.samples[0], s.inner[0], at[1], s.samples[1], s.inner[1],
               at[2], s.samples[2])
    elif s.number:
        # a dy, b mask, c dx, d x, e y
        k.max_pool_grad(n, t, c, at[0], s.samples[0], at[3], s.samples[3], s.inner[3], at[4],
                        s.samples[4], at[2], s.samples[2], s.inner[2])
    else:
        k.mean_pool_grad(n, t, c, at[0], s.samples[0], at[1], s.samples[1], s.inner[1], at[2],
                         s.samples[2], s.inner[2])


cdef void _row_weights(const Run *q, const Step *s, char **bases, long n) noexcept nogil:
    """Weights of the rows of a loss: a those of samples or rows, b mask, c result, d labels."""
    cdef int size = q.itemsize
    q.kernels.masks.row_weights(
        n, s.groups, s.number, row_at(&s.a, bases, 0, size), s.width, row_at(&s.b, bases, 0, size),
        s.samples[1], s.inner[1], <const int64_t *> row_at(&s.d, bases, 0, size),
        &s.ignore if s.d.present else NULL, row_at(&s.c, bases, 0, size))


cdef void _features_step(const Run *q, const Step *s, char **bases, long r0,
                         long rows) noexcept nogil:
    """An operation that makes numbers of features, on `rows` rows from r0."""
    cdef const fm_features *k = &q.kernels.features
    cdef int size = q.itemsize
    cdef char *x = row_at(&s.a, bases, r0, size)
    cdef char *y = row_at(&s.b, bases, r0, size)
    if s.code == COLUMN_AFFINE:
        k.column_affine(rows, s.a.columns, s.constants, x, s.a.ld, y, s.b.ld)
    elif s.code == FEATURE_NORM:
        k.feature_norm(rows, s.a.columns, s.c.columns == 1, s.number, s.mean, s.x,
                       row_at(&s.c, bases, 0, size), row_at(&s.d, bases, 0, size), x, s.a.ld, y,
                       s.b.ld)
    elif s.code == DIGITIZE:
        k.digitize(rows, s.a.columns, s.width, s.constants, x, s.a.ld, y, s.b.ld)
    else:
        k.encode(rows, s.a.columns, s.width, s.number, x, s.a.ld, y, s.b.ld)


cdef void _rows_step(const Run *q, const Step *s, char **bases, const int64_t *order, long r0,
                     long rows, long n, int64_t count) noexcept nogil:
    """A ROWS operation on `rows` rows from r0 of a batch of n; `count` updates came before."""
    cdef const fm_kernels *k = q.kernels
    cdef int size = q.itemsize
    cdef Code code = s.code
    r0, rows = r0 * s.repeat, rows * s.repeat
    cdef char *a = row_at(&s.a, bases, r0, size)
    cdef char *b
    cdef char *c
    cdef char *d
    cdef const int64_t *ignore
    cdef double scale
    cdef double kept
    if code == DENSE or code == DENSE_DX:
        product_step(q, s, bases, r0, rows, 0, s.d.columns)
    elif code == MAP:
        s.map(rows * s.a.ld, a, row_at(&s.b, bases, r0, size), &s.params)
    elif code == MAP_GRAD:
        s.map_grad(rows * s.a.ld, a, row_at(&s.b, bases, r0, size), row_at(&s.c, bases, r0, size),
                   &s.params)
    elif code == ROW_MAP:
        s.rows_map(rows, s.b.columns, a, s.a.ld, row_at(&s.b, bases, r0, size), s.b.ld)
    elif code == ROW_MAP_GRAD:
        s.rows_grad(rows, s.a.columns, a, s.a.ld, row_at(&s.b, bases, r0, size), s.b.ld,
                    row_at(&s.c, bases, r0, size), s.c.ld)
    elif code == MAXOUT:
        k.maxout(rows, s.b.columns, s.number, a, s.a.ld, row_at(&s.b, bases, r0, size), s.b.ld)
    elif code == MAXOUT_GRAD:
        k.maxout_grad(rows, s.a.columns, s.number, a, s.a.ld, row_at(&s.b, bases, r0, size), s.b.ld,
                      row_at(&s.c, bases, r0, size), s.c.ld)
    elif code == PAIR_COLUMNS:
        q.bfloat16.pair_columns(rows, s.a.columns, a, s.a.ld, row_at(&s.b, bases, r0, size), s.b.ld)
    elif code == PAIR_ROWS:
        q.bfloat16.pair_rows(rows, s.a.ld, a, s.a.ld, row_at(&s.b, bases, r0 // 2, size), s.b.ld)
    elif code == PRELU:
        k.prelu(rows, s.a.columns, a, s.a.ld, row_at(&s.b, bases, 0, size),
                row_at(&s.c, bases, r0, size), s.c.ld)
    elif code == PRELU_DX:
        k.prelu_grad(rows, s.a.columns, a, s.a.ld, row_at(&s.b, bases, r0, size), s.b.ld,
                     row_at(&s.c, bases, 0, size), row_at(&s.d, bases, r0, size), s.d.ld)
    elif code == DROPOUT:
        # a x, b y, c mask
        k.dropout_mask(r0, r0 + rows, s.c.columns, row_at(&s.c, bases, 0, size), s.c.ld, s.x,
                       s.seed, s.stream, <uint32_t> count)
        k.multiply(rows * s.a.ld, a, row_at(&s.c, bases, r0, size), row_at(&s.b, bases, r0, size))
    elif code == MULTIPLY:
        k.multiply(rows * s.a.ld, a, row_at(&s.b, bases, r0, size), row_at(&s.c, bases, r0, size))
    elif code == ADD:
        k.add(rows * s.a.ld, a, row_at(&s.b, bases, r0, size), row_at(&s.c, bases, r0, size))
    elif _joins(code):
        _join_step(q, s, bases, r0, rows)
    elif STEP_MASK <= code <= POOL_GRAD:
        _steps_step(q, s, bases, r0, rows)
    elif code == PAIR_LOSS:
        # a prediction, b labels, d losses before weights, f derivatives by products
        s.pair_loss(r0, r0 + rows, n, s.a.columns, row_at(&s.a, bases, 0, size), s.a.ld,
                    <const int64_t *> row_at(&s.b, bases, 0, size), row_at(&s.d, bases, 0, size),
                    row_at(&s.f, bases, 0, size), s.f.ld, &s.params)
    elif code == PAIR_GRAD:
        # a prediction, b losses before weights, c sample weight, d losses, e gradient, f as above
        scale = s.weight / n if s.mean else s.weight
        k.losses.pair_grad(
            r0, r0 + rows, n, s.a.columns, row_at(&s.a, bases, 0, size), s.a.ld,
            row_at(&s.c, bases, 0, size), s.mean, scale, row_at(&s.b, bases, 0, size),
            row_at(&s.f, bases, 0, size), s.f.ld, row_at(&s.d, bases, 0, size),
            row_at(&s.e, bases, 0, size), s.e.ld)
    elif ALPHA_DROPOUT <= code < PENALTY:
        _layer_step(q, s, bases, r0, rows, n, count)
    elif COLUMN_AFFINE <= code <= ENCODE:
        _features_step(q, s, bases, r0, rows)
    elif code == SPARSE_DENSE or code == DENSIFY:
        _sparse_step(q, s, bases, r0, rows)
    else:
        # a prediction, b labels, c sample weight, d losses (or scores), e gradient, f hits
        b = row_at(&s.b, bases, r0, size)
        c = row_at(&s.c, bases, r0, size)
        d = row_at(&s.d, bases, r0, size)
        n *= s.repeat
        kept = <double> n
        if s.weighted_mean or (s.has_ignore and s.mean and not s.of_all):
            kept = _counted(q, s, order, n // s.repeat)
        scale = s.weight / kept if s.mean or s.weighted_mean else s.weight
        ignore = &s.ignore if s.has_ignore else NULL
        if code == SOFTMAX_CROSS_ENTROPY:
            k.softmax_cross_entropy(
                rows, s.a.columns, a, s.a.ld, <const int64_t *> b if s.b.classes else NULL,
                NULL if s.b.classes else b, s.b.ld, c, s.x, ignore, scale, d,
                row_at(&s.e, bases, r0, size), s.e.ld, row_at(&s.f, bases, r0, size))
        elif code == ROW_LOSS:
            s.row_loss(
                rows, s.a.columns, a, s.a.ld, <const int64_t *> b if s.b.classes else NULL,
                NULL if s.b.classes else b, s.b.ld, c, s.x, ignore, scale, d,
                row_at(&s.e, bases, r0, size), s.e.ld, &s.params)
        elif code == ELEMENTWISE_LOSS:
            s.loss(rows, s.a.columns, a, s.a.ld, b, s.b.ld, c, s.x, scale, d,
                   row_at(&s.e, bases, r0, size), s.e.ld, &s.params)
        elif code == DISTRIBUTION_LOSS:
            s.distribution_loss(rows, s.b.columns, a, s.a.ld, b, s.b.ld, c, scale, d,
                                row_at(&s.e, bases, r0, size), s.e.ld, &s.params)
        elif code == OVERLAP_LOSS:
            # f sums
            s.overlap_loss(rows, s.a.columns, s.number, a, s.a.ld, b, s.b.ld, c, scale,
                           <const double *> row_at(&s.f, bases, 0, size), d,
                           row_at(&s.e, bases, r0, size), s.e.ld, &s.params)
        elif code == SCORE:
            s.score(rows, s.a.columns, a, s.a.ld, <const int64_t *> b if s.b.classes else NULL,
                    NULL if s.b.classes else b, s.b.ld, &s.params, d)
        if kept != n:
            # the mean is over the rows that count, while totals are divided by n
            _scale(d, rows, size, n / kept)


cdef void _layer_step(const Run *q, const Step *s, char **bases, long r0, long rows, long n,
                      int64_t count) noexcept nogil:
    """A ROWS operation of a layer besides products and activations; see `_rows_step`."""
    cdef const fm_kernels *k = q.kernels
    cdef int size = q.itemsize
    cdef Code code = s.code
    cdef uint32_t step = <uint32_t> count
    cdef char *a = row_at(&s.a, bases, r0, size)
    cdef char *b
    if code == ALPHA_DROPOUT:
        # a x, b y, c mask
        k.dropout_mask(r0, r0 + rows, s.c.columns, row_at(&s.c, bases, 0, size), s.c.ld,
                       s.params.storage[0], s.seed, s.stream, step)
        k.alpha_dropout(rows * s.a.ld, a, row_at(&s.c, bases, r0, size),
                        row_at(&s.b, bases, r0, size), s.x, s.y, s.weight)
    elif code == GAUSSIAN_DROPOUT:
        # a x, b y, c mask
        k.normal(r0, r0 + rows, s.c.columns, row_at(&s.c, bases, 0, size), s.c.ld, 1.0, s.x, s.seed,
                 s.stream, step)
        k.multiply(rows * s.a.ld, a, row_at(&s.c, bases, r0, size), row_at(&s.b, bases, r0, size))
    elif code == GAUSSIAN_NOISE:
        # a x, b y
        b = row_at(&s.b, bases, r0, size)
        k.normal(r0, r0 + rows, s.b.columns, row_at(&s.b, bases, 0, size), s.b.ld, 0.0, s.x, s.seed,
                 s.stream, step)
        k.add(rows * s.a.ld, a, b, b)
    elif code == STANDARDIZE:
        # a x, b mean, c inv, d gamma, e beta, f y
        k.standardize(rows, s.a.columns, a, s.a.ld, row_at(&s.b, bases, 0, size),
                      row_at(&s.c, bases, 0, size), row_at(&s.d, bases, 0, size),
                      row_at(&s.e, bases, 0, size), row_at(&s.f, bases, r0, size), s.f.ld)
    elif code == BATCH_NORM_DX:
        # a dy, b x, c mean, d inv, e dgamma, f dbeta, g gamma, h dx, i weights
        k.batch_norm_dx(rows, s.a.columns, n * s.repeat, a, s.a.ld, row_at(&s.b, bases, r0, size),
                        s.b.ld, row_at(&s.i, bases, r0, size), row_at(&s.c, bases, 0, size),
                        row_at(&s.d, bases, 0, size), row_at(&s.e, bases, 0, size),
                        row_at(&s.f, bases, 0, size), row_at(&s.g, bases, 0, size),
                        row_at(&s.h, bases, r0, size), s.h.ld)
    elif code == SCALE_SHIFT:
        # a x, b factors, c summands, d y
        k.scale_shift(rows, s.a.columns, a, s.a.ld, row_at(&s.b, bases, 0, size),
                      row_at(&s.c, bases, 0, size), row_at(&s.d, bases, r0, size), s.d.ld)
    elif code == ROW_NORM:
        # a x, b gamma, c beta, d y, e inv, f mean
        k.row_norm(rows, s.a.columns, a, s.a.ld, s.number, s.x, row_at(&s.b, bases, 0, size),
                   row_at(&s.c, bases, 0, size), row_at(&s.d, bases, r0, size), s.d.ld,
                   row_at(&s.e, bases, r0, size), row_at(&s.f, bases, r0, size))
    elif code == ROW_NORM_GRAD:
        # a dy, b x, c inv, d mean, e gamma, f dx
        k.row_norm_grad(rows, s.a.columns, a, s.a.ld, row_at(&s.b, bases, r0, size), s.b.ld,
                        row_at(&s.c, bases, r0, size), row_at(&s.d, bases, r0, size),
                        row_at(&s.e, bases, 0, size), s.number, row_at(&s.f, bases, r0, size),
                        s.f.ld)
    elif code == EMBEDDING:
        # a numbers, b table, c y
        k.embedding(rows, s.a.columns, s.b.columns, a, s.a.ld, row_at(&s.b, bases, 0, size),
                    s.b.rows, s.b.ld, FM_PANEL // size, row_at(&s.c, bases, r0, size), s.c.ld)
    elif code == RESHAPE:
        # a x, b y
        k.reshape(rows, s.from_repeat, s.a.columns, row_at(&s.a, bases, r0 * s.from_repeat, size),
                  s.a.ld, s.number, s.b.columns, row_at(&s.b, bases, r0 * s.number, size), s.b.ld)
    elif code == TAKE_COLUMNS:
        # a x, b y
        k.take_columns(rows, s.b.columns, s.index, a, s.a.ld, row_at(&s.b, bases, r0, size), s.b.ld)
    elif code == PUT_COLUMNS:
        # a dy, b dx
        k.put_columns(rows, s.a.columns, s.index, a, s.a.ld, row_at(&s.b, bases, r0, size), s.b.ld,
                      s.b.columns)
    elif code == ACTIVITY_PENALTY:
        # a y, b penalties, c gradient
        k.activity_penalty(rows, s.a.columns, a, s.a.ld, s.weight, s.x, s.y, 1.0 / n,
                           row_at(&s.b, bases, r0, size), row_at(&s.c, bases, r0, size), s.c.ld)


cdef void _statistics_step(const Run *q, const Step *s, char **bases, long n, int thread,
                           int threads) noexcept nogil:
    """A STATISTICS operation on this thread's columns."""
    cdef const fm_kernels *k = q.kernels
    cdef int size = q.itemsize
    cdef long start, stop
    share(s.a.columns, FM_STRIP, thread, threads, &start, &stop)
    if stop <= start:
        return
    if s.code == BATCH_STATISTICS:
        # a x, b and c the moving mean and variance, d mean, e inv, f weights
        k.batch_statistics(n * s.repeat, start, stop, row_at(&s.a, bases, 0, size), s.a.ld,
                           row_at(&s.f, bases, 0, size), s.x, s.y,
                           row_at(&s.b, bases, 0, size), row_at(&s.c, bases, 0, size),
                           row_at(&s.d, bases, 0, size), row_at(&s.e, bases, 0, size))
    elif s.code == BATCH_NORM_SUMS:
        # a dy, b x, c mean, d inv, e dgamma, f dbeta
        k.batch_norm_sums(n * s.repeat, start, stop, row_at(&s.a, bases, 0, size), s.a.ld,
                          row_at(&s.b, bases, 0, size), s.b.ld, row_at(&s.c, bases, 0, size),
                          row_at(&s.d, bases, 0, size), row_at(&s.e, bases, 0, size),
                          row_at(&s.f, bases, 0, size))
    else:
        # a mean, b variance, c gamma, d beta, e factors, f summands
        k.fold_statistics(start, stop, row_at(&s.a, bases, 0, size), row_at(&s.b, bases, 0, size),
                          row_at(&s.c, bases, 0, size), row_at(&s.d, bases, 0, size), s.x,
                          row_at(&s.e, bases, 0, size), row_at(&s.f, bases, 0, size))


cdef void _observe_columns(const Run *q, const Step *s, char **bases, long n, int thread,
                           int threads) noexcept nogil:
    """What is counted of this thread's columns of a buffer (a); b is what its slopes are of."""
    cdef long start, stop
    share(s.a.columns, FM_STRIP, thread, threads, &start, &stop)
    if stop > start:
        q.kernels.observe(n * s.repeat, start, stop, row_at(&s.a, bases, 0, q.itemsize), s.a.ld,
                          row_at(&s.b, bases, 0, q.itemsize), s.b.ld, s.map_grad, &s.params, s.x,
                          s.scratch, s.scratch + s.a.columns)


cdef void _whole_step(Run *q, const Step *s, char **bases, long n, int thread,
                      int threads) noexcept nogil:
    """A WHOLE operation on a parameter (a): this thread's part, or all of it."""
    cdef const fm_kernels *k = q.kernels
    cdef int size = q.itemsize
    cdef long start, stop
    cdef char *a = row_at(&s.a, bases, 0, size)
    cdef double penalty
    if s.code == SPECTRAL_NORM:
        # b u
        if thread == 0:
            k.spectral_norm(s.a.rows, s.a.columns, s.a.ld, FM_PANEL // size, a,
                            row_at(&s.b, bases, 0, size), s.number, s.x, s.scratch)
    elif s.code == ORTHOGONAL_PENALTY:
        # b gradient
        if thread == 0:
            penalty = n * k.orthogonal_penalty(
                s.a.rows, s.a.columns, s.a.ld, FM_PANEL // size, a, s.mean, s.x,
                row_at(&s.b, bases, 0, size), s.ending, s.scratch)
            q.totals[2 * s.number] += penalty
            if not isfinite(penalty):
                q.bad = True
    elif s.number < 0:
        part_of(&s.a, thread, threads, size, &start, &stop)
        k.non_negative(stop - start, a + start * size)
    else:
        if s.number == 0:
            share(s.a.columns, 16, thread, threads, &start, &stop)
        elif s.number == 1:
            share(s.a.rows, 1, thread, threads, &start, &stop)
        else:
            start, stop = 0, s.a.rows if thread == 0 else 0
        if stop > start:
            k.constrain_norm(s.a.rows, s.a.columns, s.a.ld, FM_PANEL // size, a, s.number, start,
                             stop, s.params.storage)


cdef inline long _chunks(long n) noexcept nogil:
    return (n + CHUNK - 1) // CHUNK


cdef void _penalty(const Run *q, const Step *s, char **bases, int thread,
                   int threads) noexcept nogil:
    """The penalty of this thread's chunks of a parameter (a), each into its place (b)."""
    cdef long start, stop, first, part, n = s.a.rows * s.a.ld
    cdef double *sums = <double *> (bases[<int> s.b.base] + s.b.at)
    if s.a.parts == 0:
        share(_chunks(n), 1, thread, threads, &start, &stop)
        _penalties(q, s, bases, 0, n, start, stop, sums)
        return
    for part in range(s.a.parts * thread // threads, s.a.parts * (thread + 1) // threads):
        part_of(&s.a, <int> part, <int> s.a.parts, q.itemsize, &first, &stop)
        n = stop - first
        _penalties(q, s, bases, first, n, 0, _chunks(n), sums + part * s.b.ld)


cdef void _penalties(const Run *q, const Step *s, char **bases, long first, long n, long start,
                     long stop, double *sums) noexcept nogil:
    """The penalties of chunks `start` to `stop` of n elements from the first on."""
    cdef long i
    for i in range(start, stop):
        sums[i] = q.kernels.penalty(
            min(<long> CHUNK, n - i * CHUNK),
            row_at(&s.a, bases, 0, q.itemsize) + (first + i * CHUNK) * q.itemsize, s.x, s.y)


cdef inline double *_records(const Run *q, int64_t count) noexcept nogil:
    """Where the observations of this step are written; NULL where it is not observed."""
    cdef long number
    if q.every == 0 or (count + 1) % q.every != 0:
        return NULL
    number = (count + 1) // q.every - 1 - q.first_record
    if number < 0 or number >= q.records_count:
        return NULL
    return q.records + 4 * number * q.observations


cdef void _observe_parameter(const Run *q, const Step *s, int thread,
                             int threads) noexcept nogil:
    """Sums of squares of this thread's chunks: parameter, gradient (in front), change."""
    cdef long size = q.itemsize, elements = s.a.rows * s.a.ld, start, stop, i, n
    cdef long chunks = _chunks(elements)
    cdef const char *w
    share(chunks, 1, thread, threads, &start, &stop)
    for i in range(start, stop):
        n = min(<long> CHUNK, elements - i * CHUNK)
        w = q.parameters + s.a.at + i * CHUNK * size
        if s.code == CHANGE:
            s.scratch[2 * chunks + i] = q.kernels.distance(
                n, w, q.kept + s.a.at + i * CHUNK * size)
        else:
            s.scratch[i] = q.kernels.squares(n, w)
            s.scratch[chunks + i] = q.kernels.squares(
                n, q.gradients + s.a.at + i * CHUNK * size)
            memcpy(q.kept + s.a.at + i * CHUNK * size, w, n * size)


cdef void _write_record(const Run *q, const Step *s, long n, int64_t count) noexcept nogil:
    """Add up what was counted of a buffer, or of a parameter, and write it down."""
    cdef double *out = _records(q, count) + 4 * s.number
    cdef double active = 0.0, dead = 0.0
    cdef long i, k, chunks = _chunks(s.a.rows * s.a.ld)
    for k in range(4):
        out[k] = 0.0
    if s.a.rows:
        for k in range(3):
            for i in range(chunks):
                out[k] += s.scratch[k * chunks + i]
        out[3] = s.a.rows * s.a.columns
        return
    for i in range(s.a.columns):
        out[0] += s.scratch[i]
        active += s.scratch[s.a.columns + i]
        dead += s.scratch[s.a.columns + i] == 0.0
        if s.map_grad != NULL:
            q.units[s.units + i] += s.scratch[s.a.columns + i]
    out[1] = n * s.repeat * s.a.columns
    if s.map_grad != NULL:
        out[2], out[3] = out[1] - active, dead


cdef void _penalty_total(Run *q, const Step *s, char **bases, long n) noexcept nogil:
    cdef const double *sums = <const double *> (bases[<int> s.b.base] + s.b.at)
    cdef double total = 0.0
    cdef long i, part, first, stop
    for part in range(max(s.a.parts, 1)):
        part_of(&s.a, <int> part, max(<int> s.a.parts, 1), q.itemsize, &first, &stop)
        for i in range(_chunks(stop - first)):
            total += sums[part * s.b.ld + i]
    q.totals[2 * s.number] += total * (n * _penalty_scale(q, s, bases, n))
    if not isfinite(total):
        q.bad = True


cdef double _penalty_scale(const Run *q, const Step *s, char **bases, long n) noexcept nogil:
    """What a penalty is multiplied by: 1, or 1 over the rows or their weights (c)."""
    cdef double total = n, count = 0.0
    if not s.mean:
        return 1.0
    if s.c.present:
        q.kernels.sums(n, row_at(&s.c, bases, 0, q.itemsize), NULL, &total, &count)
    return 1.0 / total


cdef void _reduce(Run *q, const Step *s, char **bases, long n) noexcept nogil:
    cdef double total = 0.0, count = 0.0
    q.kernels.sums(n * s.repeat, row_at(&s.a, bases, 0, q.itemsize),
                   row_at(&s.b, bases, 0, q.itemsize), &total,
                   &count)
    if not s.mean:
        total *= n
    if not (s.mean and s.b.present):
        count = n
    q.totals[2 * s.number] += s.weight * total
    if s.counts:
        q.totals[2 * s.number + 1] += count
    if s.has_ignore and not isfinite(total):  # marks the loss among the totals
        q.bad = True


cdef void weights_step(Run *q, const Step *s, char **bases, long n, int thread, int threads,
                       double rate, int64_t count, double *coefficients) noexcept nogil:
    """A WEIGHTS operation: this thread's part of a parameter."""
    cdef const fm_kernels *k = q.kernels
    cdef int size = q.itemsize
    cdef long start, stop, elements
    cdef char *a
    cdef double t
    if s.code == REDUCE:
        if thread == 0:
            _reduce(q, s, bases, n)
    elif s.code == ROW_WEIGHTS:
        if thread == 0:
            _row_weights(q, s, bases, n)
    elif s.code == OVERLAP_SUMS:
        # a prediction, b labels, c sample weight, d sums
        if thread == 0:
            k.losses.overlap_sums(
                n, s.a.columns, row_at(&s.a, bases, 0, size), s.a.ld, row_at(&s.b, bases, 0, size),
                s.b.ld, row_at(&s.c, bases, 0, size), <double *> row_at(&s.d, bases, 0, size))
    elif s.code == TALLY:
        # a prediction, b labels, c sample weight; each tally is one thread's
        if thread == s.number % threads:
            a = row_at(&s.b, bases, 0, size)
            s.tally(n * s.repeat, s.a.columns, row_at(&s.a, bases, 0, size), s.a.ld,
                    <const int64_t *> a if s.b.classes else NULL, NULL if s.b.classes else a,
                    s.b.ld, row_at(&s.c, bases, 0, size), s.options, q.totals + 2 * s.number)
    elif s.code == PENALTY_TOTAL:
        if thread == 0:
            _penalty_total(q, s, bases, n)
    elif s.code == PENALTY_GRAD:
        # a parameter, b its gradient, c sample weight
        part_of(&s.a, thread, threads, size, &start, &stop)
        if stop > start:
            t = _penalty_scale(q, s, bases, n)
            k.penalty_grad(stop - start, row_at(&s.a, bases, 0, size) + start * size,
                           row_at(&s.b, bases, 0, size) + start * size, t * s.x, 2.0 * t * s.y,
                           s.number)
    elif s.code == DENSE_DW or s.code == SPARSE_DW:
        pieces_step(q, s, &s.c, row_at(&s.d, bases, 0, size), bases, 0, n, thread, thread + 1,
                    threads)
    elif s.code == COMBINE:
        combine_step(q, s, bases, n, thread, threads)
    elif s.code == RECORD:
        if thread == 0:
            _write_record(q, s, n, count)
    elif s.code == DENSE_DB:
        # a dz, b dbias
        part_of(&s.b, thread, threads, size, &start, &stop)
        if stop > start:
            k.column_sums(n * s.repeat, stop - start, row_at(&s.a, bases, 0, size) + start * size,
                          s.a.ld, row_at(&s.b, bases, 0, size) + start * size)
    elif s.code == GAMMA_GRAD:
        # a dy, b x, c inv, d mean, e dgamma
        part_of(&s.e, thread, threads, size, &start, &stop)
        stop = min(stop, s.e.columns)
        if stop > start:
            k.gamma_grad(n * s.repeat, stop - start, row_at(&s.a, bases, 0, size) + start * size,
                         s.a.ld, row_at(&s.b, bases, 0, size) + start * size, s.b.ld,
                         row_at(&s.c, bases, 0, size), row_at(&s.d, bases, 0, size),
                         row_at(&s.e, bases, 0, size) + start * size)
    elif s.code == EMBEDDING_GRAD:
        pieces_step(q, s, &s.c, NULL, bases, 0, n, thread, thread + 1, threads)
    elif s.code == PRELU_DALPHA:
        # a dy, b x, c dalpha
        part_of(&s.c, thread, threads, size, &start, &stop)
        k.prelu_slope_grad(n * s.repeat, start, min(stop, s.c.columns),
                           row_at(&s.a, bases, 0, size), s.a.ld, row_at(&s.b, bases, 0, size),
                           s.b.ld, row_at(&s.c, bases, 0, size))
    elif s.code == TRANSPOSE or s.code == PAIR_KERNEL:
        pieces_step(q, s, &s.a, NULL, bases, 0, n, thread, thread + 1, threads)
    else:
        # a parameter; its gradient lies at the same place of another arena
        part_of(&s.a, thread, threads, size, &start, &stop)
        elements = stop - start if threads > 1 or not s.together else s.together
        if elements <= 0:
            return
        if s.code == ACCUMULATE:  # a gradient, b that of a further use
            a = row_at(&s.a, bases, 0, size) + start * size
            k.add(elements, a, row_at(&s.b, bases, 0, size) + start * size, a)
        else:
            _update(q, s, start * size, elements, rate, count, coefficients)


cdef void _update(const Run *q, const Step *s, long at, long elements, double rate, int64_t count,
                  const double *coefficients) noexcept nogil:
    """An operation on some elements of a parameter, from `at` bytes on."""
    cdef const fm_kernels *k = q.kernels
    cdef const Updating *u = s.update
    cdef char *w = q.parameters + s.a.at + at
    cdef char *g = q.gradients + s.a.at + at
    cdef char *slots[4]
    cdef long done, n, size = q.itemsize
    cdef double factor
    cdef int i
    if s.code == COLLECT:
        k.collect(elements, g, u.slots[0] + at, <double> u.every if _due(u, count) else 0.0)
    elif s.code == AVERAGE:
        k.average(elements, w, u.slots[0] + at, 0.0 if count < u.every else u.keep,
                  u.overwrite and (count // u.every + 1) % u.overwrite == 0)
    elif _due(u, count):
        for i in range(4):
            slots[i] = u.slots[i] + at
        rate *= u.rate
        if not u.clips:
            k.update[u.number](elements, w, g, slots, coefficients, rate * u.decay)
            return
        # in parts that stay in the cache between the two
        factor = _factor(u)
        done = 0
        while done < elements:
            n = min(<long> CHUNK, elements - done)
            k.clip(n, g + done * size, factor, u.limit)
            k.update[u.number](n, w + done * size, g + done * size, slots, coefficients,
                               rate * u.decay)
            for i in range(4):
                slots[i] += n * size
            done += n


cdef inline bint _due(const Updating *u, int64_t count) noexcept nogil:
    """Whether the parameters are updated in this step."""
    return u.every == 1 or (count + 1) % u.every == 0


cdef inline double _factor(const Updating *u) noexcept nogil:
    """What brings the norm of the gradient down to its limit; NaN for the norm NaN."""
    cdef double norm = 0.0
    cdef long i
    for i in range(u.squares_count):
        norm += u.squares[i]
    norm = sqrt(norm)
    if u.whole_norm and not isfinite(norm):
        return NAN
    return 1.0 if norm <= u.norm else u.norm / norm


cdef void _phase(const Run *q, const Step *s, double rate, int64_t count, int thread,
                 int threads) noexcept nogil:
    """A PHASES operation."""
    cdef const Updating *u = s.update
    cdef char *g = q.gradients + s.a.at
    cdef long start, stop, i, n, elements = s.a.rows * s.a.ld
    cdef double factor
    if not _due(u, count):
        return
    if s.code == WHOLE and s.phase >= 0:
        rate *= u.rate
        whole_phase(&u.whole, s.phase, rate, rate * u.decay, <double> (count // u.every + 1),
                    thread, threads)
        return
    share(_chunks(elements), 1, thread, threads, &start, &stop)
    factor = _factor(u) if s.code == WHOLE else 0.0
    for i in range(start, stop):
        n = min(<long> CHUNK, elements - i * CHUNK)
        if s.code == SQUARES:
            u.sums[i] = q.kernels.squares(n, g + i * CHUNK * q.itemsize)
        else:
            q.kernels.clip(n, g + i * CHUNK * q.itemsize, factor, u.limit)


cdef void train_task(void *argument, int thread, int threads) noexcept nogil:
    cdef Run *q = <Run *> argument
    cdef char *bases[<int> BASES]
    cdef const int64_t *order
    cdef long step, n, r0, r1, groups
    cdef int i, operations
    cdef bint own
    cdef int64_t count
    cdef double rate
    cdef double coefficients[16]
    cdef const Step *s
    cdef const Step *steps
    bases[<int> WORKSPACE] = q.workspace
    bases[<int> PARAMETERS] = q.parameters
    bases[<int> GRADIENTS] = q.gradients
    bases[<int> DATA] = NULL
    bases[<int> OWN] = q.own + thread * q.own_bytes
    bases[<int> COPIES] = q.copies
    for step in range(q.start, q.stop):
        n = q.order_length - step * q.batch_size
        n = n if n < q.batch_size else q.batch_size
        order = q.order + step * q.batch_size
        count = q.iteration + step - q.first
        rate = q.learning_rate[step]
        groups = groups_of(n) if q.grouped else 1
        own = groups > 1 and own_groups(groups, threads)
        if own:
            r0 = n * (groups * thread // threads) // groups
            r1 = n * (groups * (thread + 1) // threads) // groups
        else:
            share(n, 1 if q.bfloat16 == NULL else 2, thread, threads, &r0, &r1)
        steps, operations = q.steps, q.count
        if _records(q, count) != NULL:
            steps, operations = q.watching, q.watching_count
        for i in range(operations):
            s = &steps[i]
            if s.covered and threads == 1:
                continue
            if s.waits or (s.grouped and not own):
                barrier(threads)
            if s.code == PYTHON:
                if thread == 0:
                    q.failed = q.python(q.owner, s.number, n) != 0
                barrier(threads)
                if q.failed:
                    return
            elif s.code == PENALTY:
                _penalty(q, s, bases, thread, threads)
            elif s.code >= KEEP:
                _observe_parameter(q, s, thread, threads)
            elif s.code >= SQUARES:
                _phase(q, s, rate, count, thread, threads)
            elif s.code >= SPECTRAL_NORM:
                _whole_step(q, s, bases, n, thread, threads)
            elif s.code == OBSERVE:
                _observe_columns(q, s, bases, n, thread, threads)
            elif s.code >= BATCH_STATISTICS:
                _statistics_step(q, s, bases, n, thread, threads)
            elif s.code >= REDUCE:
                if s.code == UPDATE and s.update.first:
                    q.kernels.coefficients[s.update.number](
                        rate * s.update.rate, <double> (count // s.update.every + 1),
                        s.update.params, _TINY[q.itemsize == 8], coefficients)
                weights_step(q, s, bases, n, thread, threads, rate, count, coefficients)
            elif s.grouped:
                group_step(q, s, bases, n, thread, threads)
            elif s.by_columns:
                columns_step(q, s, bases, n, thread, threads)
            elif s.code == PARTS:
                parts_step(q, s, bases, n, thread, threads)
            elif s.code == SUM_PARTS:
                sum_parts(q, s, bases, n)
            elif s.private and s.code == GATHER:
                _gather(q, s, bases, order, 0, n)
            elif s.private:
                _rows_step(q, s, bases, order, 0, n, n, count)
            elif r1 > r0:
                if s.code == GATHER:
                    _gather(q, s, bases, order + r0, r0, r1 - r0)
                else:
                    _rows_step(q, s, bases, order, r0, r1 - r0, n, count)
        if thread == 0:
            q.next = step + 1
            q.last_rows = n
            if (q.bad and q.check_finite) or (
                    (step & q.clock_mask) == 0 and clock() >= q.deadline):
                q.halt = True
        barrier(threads)
        if q.halt:
            break


cdef void forward_task(void *argument, int thread, int threads) noexcept nogil:
    cdef Run *q = <Run *> argument
    cdef char *bases[<int> BASES]
    cdef long start, stop, at, rows, size = q.itemsize
    cdef const Step *s
    cdef int j
    share(q.rows, 1, thread, threads, &start, &stop)
    bases[<int> WORKSPACE] = q.workspace + thread * q.workspace_bytes
    bases[<int> PARAMETERS] = q.parameters
    bases[<int> GRADIENTS] = NULL
    bases[<int> COPIES] = q.copies
    at = start
    while at < stop:
        rows = stop - at if stop - at < q.block else q.block
        bases[<int> DATA] = <char *> q.x[0] + at * q.x_columns[0] * size
        for j in range(q.count):
            s = &q.steps[j]
            if s.code == PYTHON:
                q.failed = q.python(q.owner, s.number, rows) != 0
                if q.failed:
                    return
            else:
                _forward_step(q, s, bases, at, rows)
        _hand_out(q, bases, at, rows)
        at += rows


cdef void _forward_step(const Run *q, const Step *s, char **bases, long at,
                        long rows) noexcept nogil:
    """One operation of a prediction, on rows `at` on of the data."""
    cdef char *y
    cdef const char *x
    cdef long i, columns, size = q.itemsize
    if s.code == GATHER and q.data[s.number].starts != NULL:
        _extents(&q.data[s.number], NULL, at, rows, <int64_t *> row_at(&s.a, bases, 0, <int> size))
    elif s.code == GATHER:
        y = row_at(&s.a, bases, 0, <int> size)
        columns = s.a.columns
        x = q.x[s.number] + at * q.x_columns[s.number] * size
        for i in range(rows * s.repeat):
            memcpy(y + i * s.a.ld * size, x + i * columns * size, columns * size)
    elif s.code == FOLD_STATISTICS:
        _statistics_step(q, s, bases, rows, 0, 1)
    else:
        _rows_step(q, s, bases, NULL, 0, rows, rows, 0)


cdef void _hand_out(const Run *q, char **bases, long at, long rows) noexcept nogil:
    """Copy predictions to where the caller wants them."""
    cdef char *y
    cdef char *out
    cdef const Operand *result
    cdef long i, columns, repeat, size = q.itemsize
    cdef int j
    for j in range(q.outputs):
        result = &q.results[j]
        columns, repeat = result.columns, q.repeats[j]
        y = row_at(result, bases, 0, <int> size)
        out = q.out[j] + at * repeat * columns * size
        for i in range(rows * repeat):
            memcpy(out + i * columns * size, y + i * result.ld * size, columns * size)


cdef inline long _row_pieces(const Run *q, const Step *s) noexcept nogil:
    """Pieces of columns that a product of one row is handed out in; 1 of anything else."""
    cdef long width = _ROW_PANELS * (FM_PANEL // q.itemsize)
    if s.code != DENSE or s.b.rows * s.d.columns < _ROW_SHARED:
        return 1
    return (s.d.columns + width - 1) // width


cdef void one_row_task(void *argument, int thread, int threads) noexcept nogil:
    """A prediction of one row, pieces of each product going to whoever is there.

    The caller does not wait for a thread that is still waking up.
    """
    cdef Run *q = <Run *> argument
    cdef char *bases[<int> BASES]
    cdef const Step *s
    cdef long width = _ROW_PANELS * (FM_PANEL // q.itemsize), pieces, piece
    cdef int j
    bases[<int> WORKSPACE] = q.workspace
    bases[<int> PARAMETERS] = q.parameters
    bases[<int> GRADIENTS] = NULL
    bases[<int> COPIES] = q.copies
    bases[<int> DATA] = <char *> q.x[0]
    for j in range(q.count):
        s = &q.steps[j]
        pieces = _row_pieces(q, s)
        piece = fm_claim(&q.claimed[j])
        while piece < pieces:
            if pieces == 1:
                _forward_step(q, s, bases, 0, 1)
            else:
                product_step(q, s, bases, 0, 1, piece * width,
                             min(width, s.d.columns - piece * width))
            fm_claim(&q.finished[j])
            piece = fm_claim(&q.claimed[j])
        fm_await(&q.finished[j], pieces)
    if thread == 0:
        _hand_out(q, bases, 0, 1)
