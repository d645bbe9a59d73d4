# What the quick doors recognise: arrays that a kernel can take as they are.  Inline functions on
# NumPy's C interface; a module that uses them calls cnp.import_array() itself.
cimport numpy as cnp


# Exactly an ndarray of float32 or float64 in the machine's byte order, contiguous and aligned,
# with at least one axis; one that is to be written is writeable as well.
cdef inline bint is_plain(object x, bint written) noexcept:
    cdef cnp.ndarray a
    cdef int number
    if not cnp.PyArray_CheckExact(x):
        return False
    a = <cnp.ndarray> x
    number = cnp.PyArray_TYPE(a)
    return (
        (number == cnp.NPY_FLOAT32 or number == cnp.NPY_FLOAT64)
        and cnp.PyArray_NDIM(a) > 0
        and cnp.PyArray_CHKFLAGS(a, cnp.NPY_ARRAY_CARRAY if written else cnp.NPY_ARRAY_CARRAY_RO)
        and cnp.PyArray_ISNOTSWAPPED(a)
    )


# Whether two plain arrays agree in dtype and shape.
cdef inline bint alike(cnp.ndarray a, cnp.ndarray b) noexcept:
    cdef int i, axes = cnp.PyArray_NDIM(a)
    if cnp.PyArray_TYPE(a) != cnp.PyArray_TYPE(b) or cnp.PyArray_NDIM(b) != axes:
        return False
    for i in range(axes):
        if cnp.PyArray_DIM(a, i) != cnp.PyArray_DIM(b, i):
            return False
    return True


# Whether the memory of two contiguous arrays is disjoint.
cdef inline bint apart(cnp.ndarray a, cnp.ndarray b) noexcept:
    cdef char *p = <char *> cnp.PyArray_DATA(a)
    cdef char *q = <char *> cnp.PyArray_DATA(b)
    return p + cnp.PyArray_NBYTES(a) <= q or q + cnp.PyArray_NBYTES(b) <= p


cdef inline cnp.ndarray empty_like(cnp.ndarray a):
    return cnp.PyArray_SimpleNew(cnp.PyArray_NDIM(a), cnp.PyArray_DIMS(a), cnp.PyArray_TYPE(a))
