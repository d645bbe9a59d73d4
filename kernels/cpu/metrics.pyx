"""Scores and tallies of metrics on contiguous arrays; see the contract for arguments."""

cimport numpy as cnp
from libc.stdint cimport int64_t

from .activations cimport Params, pack_params
from .native cimport fm_kernels, kernels_for

from fusedmlp.spec import SCORES, TALLIES

cnp.import_array()

cdef dict _SCORE = {name: i for i, name in enumerate(SCORES)}
cdef dict _TALLY = {name: i for i, name in enumerate(TALLIES)}


cdef struct Labels:
    const int64_t *classes
    const char *t
    long columns


cdef Labels _labels(cnp.ndarray labels):
    cdef Labels found
    found.classes, found.t, found.columns = NULL, NULL, 1
    if cnp.PyArray_TYPE(labels) == cnp.NPY_INT64:
        found.classes = <const int64_t *> cnp.PyArray_DATA(labels)
    else:
        found.t = <const char *> cnp.PyArray_DATA(labels)
        if cnp.PyArray_NDIM(labels) == 2:
            found.columns = labels.shape[1]
    return found


def score(name, cnp.ndarray predictions not None, cnp.ndarray labels not None, params,
          cnp.ndarray scores not None):
    cdef int size = cnp.PyArray_ITEMSIZE(predictions)
    cdef long rows = predictions.shape[0], c = predictions.shape[1]
    cdef Labels found = _labels(labels)
    cdef Params packed
    cdef const fm_kernels *kernels = kernels_for(size)
    pack_params(params, size, &packed)
    kernels.losses.score[<int> _SCORE[name]](
        rows, c, cnp.PyArray_DATA(predictions), c, found.classes, found.t, found.columns, &packed,
        cnp.PyArray_DATA(scores))


def tally(name, cnp.ndarray predictions not None, cnp.ndarray labels not None, sample_weight,
          cnp.ndarray options not None, cnp.ndarray state not None):
    cdef const fm_kernels *kernels = kernels_for(cnp.PyArray_ITEMSIZE(predictions))
    cdef long rows = predictions.shape[0], c = predictions.shape[1]
    cdef Labels found = _labels(labels)
    cdef void *weight = NULL
    if sample_weight is not None:
        weight = cnp.PyArray_DATA(<cnp.ndarray?> sample_weight)
    kernels.losses.tally[<int> _TALLY[name]](
        rows, c, cnp.PyArray_DATA(predictions), c, found.classes, found.t, found.columns, weight,
        <const double *> cnp.PyArray_DATA(options), <double *> cnp.PyArray_DATA(state))
