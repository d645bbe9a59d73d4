"""Losses and their gradients on contiguous arrays; see the contract for arguments."""

cimport numpy as cnp
from libc.stdint cimport int64_t

from libc.stdlib cimport free, malloc

from .activations cimport Params, pack_params
from .native cimport (
    FM_ALL, FM_COLUMNS, FM_COLUMNS_SUM, FM_ROWS, fm_distribution_loss, fm_elementwise_loss,
    fm_kernels, fm_overlap_loss, fm_pair_loss, fm_row_loss, kernels_for, run, share, threads_for,
)

from .plain cimport alike, apart, empty_like, is_plain

import numpy as np

from fusedmlp.spec import losses_of

cnp.import_array()

# The number of a loss in its kind's table of C functions.
cdef dict _NUMBER = {
    name: i for kind in ("elementwise", "row", "distribution", "overlap", "pair")
    for i, name in enumerate(losses_of(kind))
}
cdef dict _AXIS = {
    "rows": <int> FM_ROWS, "all": <int> FM_ALL, "columns": <int> FM_COLUMNS,
    "columns_sum": <int> FM_COLUMNS_SUM,
}


cdef struct Rows:
    const fm_kernels *kernels
    fm_elementwise_loss elementwise  # one of the four, or softmax-cross-entropy
    fm_row_loss row
    fm_distribution_loss distribution
    fm_overlap_loss overlap
    int itemsize, has_ignore, axis
    long rows, columns, targets      # columns of p and of t
    int64_t ignore
    double smoothing, scale
    const double *sums
    const char *p
    const int64_t *classes
    const char *t
    const char *weight
    char *losses
    char *d
    char *hits
    Params params


cdef struct Pairs:
    const fm_kernels *kernels
    fm_pair_loss function
    long rows, columns
    double scale
    const char *p
    const int64_t *groups
    const char *weight
    char *unweighted
    char *g
    char *losses
    char *d
    bint rescaled
    bint gradient                    # the second half, after all of the first
    Params params


cdef inline char *_data(array):
    return NULL if array is None else <char *> cnp.PyArray_DATA(<cnp.ndarray?> array)


cdef inline const char *_from(const char *data, long elements, int itemsize) noexcept nogil:
    return NULL if data == NULL else data + elements * itemsize


cdef void _task(void *argument, int thread, int threads) noexcept nogil:
    cdef Rows *q = <Rows *> argument
    cdef long start, stop, c = q.columns, rows
    cdef const char *p
    cdef const char *t
    cdef const char *weight
    cdef char *losses
    cdef char *d
    cdef char *hits
    cdef const int64_t *classes
    cdef const int64_t *ignore = &q.ignore if q.has_ignore else NULL
    share(q.rows, 1, thread, threads, &start, &stop)
    rows = stop - start
    if rows <= 0:
        return
    p = _from(q.p, start * c, q.itemsize)
    t = _from(q.t, start * q.targets, q.itemsize)
    weight = _from(q.weight, start, q.itemsize)
    losses = <char *> _from(q.losses, start, q.itemsize)
    d = <char *> _from(q.d, start * c, q.itemsize)
    hits = <char *> _from(q.hits, start, q.itemsize)
    classes = q.classes + start if q.classes != NULL else NULL
    if q.elementwise != NULL:
        q.elementwise(rows, c, p, c, t, c, weight, q.smoothing, q.scale, losses, d, c, &q.params)
    elif q.row != NULL:
        q.row(rows, c, p, c, classes, t, c, weight, q.smoothing, ignore, q.scale, losses, d, c,
              &q.params)
    elif q.distribution != NULL:
        q.distribution(rows, q.targets, p, c, t, q.targets, weight, q.scale, losses, d, c,
                       &q.params)
    elif q.overlap != NULL:
        q.overlap(rows, c, q.axis, p, c, t, c, weight, q.scale, q.sums, losses, d, c, &q.params)
    else:
        q.kernels.softmax_cross_entropy(rows, c, p, c, classes, t, c, weight, q.smoothing, ignore,
                                        q.scale, losses, d, c, hits)


cdef void _common(Rows *q, cnp.ndarray predictions, cnp.ndarray labels, sample_weight,
                  double smoothing, ignore_index, double scale, losses, gradient):
    q.itemsize = cnp.PyArray_ITEMSIZE(predictions)
    q.kernels = kernels_for(q.itemsize)
    q.elementwise, q.row, q.distribution, q.overlap = NULL, NULL, NULL, NULL
    q.rows, q.columns = predictions.shape[0], predictions.shape[1]
    q.targets = labels.shape[1] if cnp.PyArray_NDIM(labels) == 2 else 1
    q.p = <const char *> cnp.PyArray_DATA(predictions)
    q.classes, q.t = NULL, NULL
    if cnp.PyArray_TYPE(labels) == cnp.NPY_INT64:
        q.classes = <const int64_t *> cnp.PyArray_DATA(labels)
    else:
        q.t = <const char *> cnp.PyArray_DATA(labels)
    q.weight = _data(sample_weight)
    q.smoothing = smoothing
    q.has_ignore = ignore_index is not None
    q.ignore = ignore_index if q.has_ignore else 0
    q.scale = scale
    q.losses = _data(losses)
    q.d = _data(gradient)
    q.hits = NULL


cdef void _start(Rows *q):
    cdef int threads = threads_for(<double> q.rows * q.columns)
    with nogil:
        run(threads, _task, q)


def softmax_cross_entropy(cnp.ndarray logits not None, cnp.ndarray labels not None, sample_weight,
                          label_smoothing, ignore_index, scale, losses, dlogits, hits):
    cdef Rows q
    _common(&q, logits, labels, sample_weight, label_smoothing, ignore_index, scale, losses,
            dlogits)
    q.hits = _data(hits)
    _start(&q)


def row_loss(name, cnp.ndarray predictions not None, cnp.ndarray labels not None, sample_weight,
             label_smoothing, ignore_index, params, scale, losses, dpredictions):
    cdef Rows q
    _common(&q, predictions, labels, sample_weight, label_smoothing, ignore_index, scale, losses,
            dpredictions)
    q.row = q.kernels.losses.row_loss[<int> _NUMBER[name]]
    pack_params(params, q.itemsize, &q.params)
    _start(&q)


def elementwise_loss(name, cnp.ndarray y_pred not None, cnp.ndarray y_true not None, params,
                     sample_weight, label_smoothing, scale, losses, dpred):
    cdef Rows q
    _common(&q, y_pred, y_true, sample_weight, label_smoothing, None, scale, losses, dpred)
    q.elementwise = q.kernels.losses.elementwise_loss[<int> _NUMBER[name]]
    pack_params(params, q.itemsize, &q.params)
    _start(&q)


def distribution_loss(name, cnp.ndarray y_pred not None, cnp.ndarray y_true not None, params,
                      sample_weight, scale, losses, dpred):
    cdef Rows q
    _common(&q, y_pred, y_true, sample_weight, 0.0, None, scale, losses, dpred)
    q.distribution = q.kernels.losses.distribution_loss[<int> _NUMBER[name]]
    pack_params(params, q.itemsize, &q.params)
    _start(&q)


def overlap_loss(name, axis, cnp.ndarray y_pred not None, cnp.ndarray y_true not None, params,
                 sample_weight, scale, losses, dpred):
    cdef Rows q
    cdef cnp.ndarray sums
    _common(&q, y_pred, y_true, sample_weight, 0.0, None, scale, losses, dpred)
    q.overlap = q.kernels.losses.overlap_loss[<int> _NUMBER[name]]
    q.axis = _AXIS[axis]
    pack_params(params, q.itemsize, &q.params)
    sums = np.zeros(3 * q.columns + 1)
    q.sums = <const double *> cnp.PyArray_DATA(sums)
    if q.axis != FM_ROWS:
        q.kernels.losses.overlap_sums(q.rows, q.columns, q.p, q.columns, q.t, q.columns, q.weight,
                                      <double *> cnp.PyArray_DATA(sums))
    _start(&q)


cdef void _pairs_task(void *argument, int thread, int threads) noexcept nogil:
    cdef Pairs *q = <Pairs *> argument
    cdef long start, stop
    share(q.rows, 1, thread, threads, &start, &stop)
    if stop <= start:
        return
    if q.gradient:
        q.kernels.losses.pair_grad(
            start, stop, q.rows, q.columns, q.p, q.columns, q.weight, q.rescaled, q.scale,
            q.unweighted, q.g, q.rows, q.losses, q.d, q.columns)
    else:
        q.function(start, stop, q.rows, q.columns, q.p, q.columns, q.groups, q.unweighted, q.g,
                   q.rows, &q.params)


def pair_loss(name, cnp.ndarray predictions not None, cnp.ndarray labels not None, sample_weight,
              rescaled, params, scale, losses, dpredictions):
    cdef Pairs q
    cdef int size = cnp.PyArray_ITEMSIZE(predictions), threads
    unweighted = np.empty(predictions.shape[0], predictions.dtype)
    g = np.empty((predictions.shape[0], predictions.shape[0]), predictions.dtype)
    q.kernels = kernels_for(size)
    q.function = q.kernels.losses.pair_loss[<int> _NUMBER[name]]
    q.rows, q.columns = predictions.shape[0], predictions.shape[1]
    q.scale, q.rescaled = scale, rescaled
    q.p = <const char *> cnp.PyArray_DATA(predictions)
    q.groups = <const int64_t *> cnp.PyArray_DATA(labels)
    q.weight, q.losses, q.d = _data(sample_weight), _data(losses), _data(dpredictions)
    q.unweighted, q.g = _data(unweighted), _data(g)
    pack_params(params, size, &q.params)
    threads = threads_for(<double> q.rows * q.rows * (q.columns + 20))
    for q.gradient in range(2):
        with nogil:
            run(threads, _pairs_task, &q)


cdef enum:
    FEW_ROWS = 512
# Below this many logits the interpreter's lock is kept: to give it away and back costs more.
cdef long _SHORT = 16384


def quick_softmax_cross_entropy(logits, labels, reduction, out):
    """Loss and gradient of plain arrays, or None where one needs the checks of `fusedmlp.ops`.

    Classes as int64, no sample weights, no smoothing, a mean or a sum over the rows.
    """
    cdef Rows q
    cdef cnp.ndarray z, classes, target
    cdef long i, n, c
    cdef bint mean
    cdef const int64_t *label
    cdef double[FEW_ROWS] few
    cdef char *losses = <char *> few
    cdef double total, count
    if (not is_plain(logits, False) or not cnp.PyArray_CheckExact(labels)
            or type(reduction) is not str):
        return None
    mean = reduction == "mean"
    z, classes = <cnp.ndarray> logits, <cnp.ndarray> labels
    if (cnp.PyArray_NDIM(z) != 2 or cnp.PyArray_NDIM(classes) != 1
            or cnp.PyArray_TYPE(classes) != cnp.NPY_INT64
            or not cnp.PyArray_CHKFLAGS(classes, cnp.NPY_ARRAY_CARRAY_RO)
            or not cnp.PyArray_ISNOTSWAPPED(classes)
            or not (mean or reduction == "sum")):
        return None
    n, c = cnp.PyArray_DIM(z, 0), cnp.PyArray_DIM(z, 1)
    if n == 0 or cnp.PyArray_DIM(classes, 0) != n:
        return None
    label = <const int64_t *> cnp.PyArray_DATA(classes)
    for i in range(n):
        if label[i] < 0 or label[i] >= c:
            return None
    if out is None:
        target = empty_like(z)
    else:
        if not is_plain(out, True):
            return None
        target = <cnp.ndarray> out
        if not alike(z, target) or not apart(z, target) or not apart(classes, target):
            return None
    if n > FEW_ROWS:
        losses = <char *> malloc(n * sizeof(double))
        if losses == NULL:
            raise MemoryError("No memory for the losses of the rows")
    _common(&q, z, classes, None, 0.0, None, 1.0 / n if mean else 1.0, None, target)
    q.losses = losses
    if n * c < _SHORT:
        _task(&q, 0, 1)
    else:
        _start(&q)
    q.kernels.sums(n, losses, NULL, &total, &count)
    if losses != <char *> few:
        free(losses)
    return total / n if mean else total, target
