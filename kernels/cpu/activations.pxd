cdef struct Params:
    # Four numbers in either precision, as the C functions read them.
    double storage[4]


cdef int pack_params(params, int itemsize, Params *packed) except -1
