"""Losses, their gradients and hits on contiguous arrays; see the contract for arguments."""

cimport numpy as cnp
from libc.stdint cimport int64_t

from libc.stdlib cimport free, malloc

from .activations cimport Params, pack_params
from .native cimport (
    fm_elementwise_loss, fm_kernels, kernels_for, run, share, threads_for,
)

from .plain cimport alike, apart, empty_like, is_plain

from fusedmlp.spec import LOSSES

cnp.import_array()

cdef dict _NUMBER = {
    row.name: i for i, row in enumerate(row for row in LOSSES.values() if row.kind == "elementwise")
}


cdef struct Rows:
    const fm_kernels *kernels
    fm_elementwise_loss elementwise
    int itemsize, probabilities, has_ignore
    long rows, columns
    int64_t ignore
    double smoothing, scale, epsilon
    const char *p
    const int64_t *classes
    const char *t
    const char *weight
    char *losses
    char *d
    char *hits
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
    t = _from(q.t, start * c, q.itemsize)
    weight = _from(q.weight, start, q.itemsize)
    losses = <char *> _from(q.losses, start, q.itemsize)
    d = <char *> _from(q.d, start * c, q.itemsize)
    hits = <char *> _from(q.hits, start, q.itemsize)
    classes = q.classes + start if q.classes != NULL else NULL
    if q.elementwise != NULL:
        q.elementwise(rows, c, p, c, t, c, weight, q.smoothing, q.scale, losses, d, c, &q.params)
    elif q.probabilities:
        q.kernels.categorical_crossentropy(rows, c, p, c, classes, t, c, weight, q.smoothing,
                                           ignore, q.epsilon, q.scale, losses, d, c)
    else:
        q.kernels.softmax_cross_entropy(rows, c, p, c, classes, t, c, weight, q.smoothing, ignore,
                                        q.scale, losses, d, c, hits)


cdef void _common(Rows *q, cnp.ndarray predictions, labels, sample_weight, double smoothing,
                  ignore_index, double scale, losses, gradient):
    q.itemsize = cnp.PyArray_ITEMSIZE(predictions)
    q.kernels = kernels_for(q.itemsize)
    q.elementwise = NULL
    q.probabilities = 0
    q.rows, q.columns = predictions.shape[0], predictions.shape[1]
    q.p = <const char *> cnp.PyArray_DATA(predictions)
    _labels(q, labels)
    q.weight = _data(sample_weight)
    q.smoothing = smoothing
    q.has_ignore = ignore_index is not None
    q.ignore = ignore_index if q.has_ignore else 0
    q.scale = scale
    q.losses = _data(losses)
    q.d = _data(gradient)
    q.hits = NULL


cdef void _labels(Rows *q, cnp.ndarray labels):
    q.classes = NULL
    q.t = NULL
    if cnp.PyArray_TYPE(labels) == cnp.NPY_INT64:
        q.classes = <const int64_t *> cnp.PyArray_DATA(labels)
    else:
        q.t = <const char *> cnp.PyArray_DATA(labels)


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


def categorical_crossentropy(cnp.ndarray probabilities not None, cnp.ndarray labels not None,
                             sample_weight, label_smoothing, ignore_index, epsilon, scale, losses,
                             dprobabilities):
    cdef Rows q
    _common(&q, probabilities, labels, sample_weight, label_smoothing, ignore_index, scale, losses,
            dprobabilities)
    q.probabilities = 1
    q.epsilon = epsilon
    _start(&q)


def elementwise_loss(name, cnp.ndarray y_pred not None, cnp.ndarray y_true not None, params,
                     sample_weight, label_smoothing, scale, losses, dpred):
    cdef Rows q
    _common(&q, y_pred, y_true, sample_weight, label_smoothing, None, scale, losses, dpred)
    q.elementwise = q.kernels.elementwise_loss[<int> _NUMBER[name]]
    pack_params(params, q.itemsize, &q.params)
    _start(&q)


def categorical_hits(cnp.ndarray predictions not None, cnp.ndarray labels not None,
                     cnp.ndarray hits not None):
    cdef Rows q
    cdef long c = predictions.shape[1]
    _labels(&q, labels)
    kernels_for(cnp.PyArray_ITEMSIZE(predictions)).categorical_hits(
        predictions.shape[0], c, cnp.PyArray_DATA(predictions), c, q.classes, q.t, c,
        cnp.PyArray_DATA(hits))


def binary_hits(cnp.ndarray predictions not None, cnp.ndarray labels not None, threshold,
                cnp.ndarray hits not None):
    cdef Rows q
    cdef long c = predictions.shape[1]
    _labels(&q, labels)
    kernels_for(cnp.PyArray_ITEMSIZE(predictions)).binary_hits(
        predictions.shape[0], c, cnp.PyArray_DATA(predictions), c, q.classes, q.t, c, threshold,
        cnp.PyArray_DATA(hits))


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
