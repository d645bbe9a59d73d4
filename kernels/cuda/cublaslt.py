"""cuBLASLt through ctypes: a matrix product, and what comes right behind it, as one launch.

The library is found where pip, conda or a CUDA toolkit have put it; the wheel is ``nvidia-cublas``.
Matrices are `device.Array`, row by row.  To cuBLASLt, whose matrices lie column by column, each is
its own transpose, so that ``out = a @ b`` is asked for as ``out.T = b.T @ a.T``: the factors change
places, and what cuBLASLt calls a row of the result, along which biases lie, is a column here.

Only algorithms are asked for whose sums have one order: a sum may be cut into parts that are laid
down in the workspace and added up by a further launch, but not into parts that are added as they
come.  A product takes no memory but the workspace that it is given, and may be recorded as part of
a CUDA graph.  (https://docs.nvidia.com/cuda/cublas/#using-the-cublaslt-api; numbers are those of
cublasLt.h, which no version changes.)

Nothing here imports Numba, so that asking what there is costs no more than loading the library.
"""

from __future__ import annotations

import ctypes
import os
from functools import cache
from typing import NamedTuple

__all__ = ["EPILOGUES", "Algorithm", "Product", "address", "aligned", "library", "missing",
           "version"]

LEAST_VERSION = (12, 0)

EPILOGUES = {"none": 1, "relu": 2, "bias": 4, "relu_bias": 6, "column_sums": 256}
"""What comes behind the sums: a vector is added to each row; negative ones become 0; or the sums of
the columns of the second factor are stored as well (BGRADA)."""

# cudaDataType; cublasComputeType_t by the precision that is asked for
_TYPES = {"float32": (0, ctypes.c_float), "float64": (1, ctypes.c_double)}
_COMPUTE = {("float32", None): 68, ("float32", "bfloat16"): 75, ("float32", "tensorfloat32"): 77,
            ("float64", None): 70}
# cublasLtMatmulDescAttributes_t
_TRANSPOSES_A, _TRANSPOSES_B, _EPILOGUE, _BIAS = 3, 4, 7, 8
# cublasLtMatmulPreferenceAttributes_t
_WORKSPACE, _REDUCTIONS, _ALIGNMENTS = 1, 3, (5, 6, 7, 8)
_IN_WORKSPACE = 2  # CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE
_TRANSPOSED = 1  # CUBLAS_OP_T
_NOT_SUPPORTED = 15  # CUBLAS_STATUS_NOT_SUPPORTED
_MOST_ALIGNED = 256  # bytes; more is not asked about


class _Found(ctypes.Structure):
    """cublasLtMatmulHeuristicResult_t"""

    _fields_ = (
        ("algorithm", ctypes.c_uint64 * 8), ("workspace", ctypes.c_size_t), ("state", ctypes.c_int),
        ("waves", ctypes.c_float), ("reserved", ctypes.c_int * 4),
    )


class Algorithm(NamedTuple):
    """A way to compute a product, as the heuristics of cuBLASLt name it.

    Attributes
    ----------
    data : bytes
    workspace : int
        Bytes that it needs.
    """

    data: bytes
    workspace: int


# -- the library ---------------------------------------------------------------------------------

_P, _I, _S = ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t
_ARGUMENTS = {
    "cublasLtCreate": (_P,),
    "cublasLtMatmulDescCreate": (_P, _I, _I),
    "cublasLtMatmulDescDestroy": (_P,),
    "cublasLtMatmulDescSetAttribute": (_P, _I, _P, _S),
    "cublasLtMatrixLayoutCreate": (_P, _I, ctypes.c_uint64, ctypes.c_uint64, ctypes.c_int64),
    "cublasLtMatrixLayoutDestroy": (_P,),
    "cublasLtMatmulPreferenceCreate": (_P,),
    "cublasLtMatmulPreferenceDestroy": (_P,),
    "cublasLtMatmulPreferenceSetAttribute": (_P, _I, _P, _S),
    "cublasLtMatmulAlgoGetHeuristic": (_P, _P, _P, _P, _P, _P, _P, _I, _P, _P),
    "cublasLtMatmul": (_P, _P, _P, _P, _P, _P, _P, _P, _P, _P, _P, _P, _P, _P, _S, _P),
}


@cache
def library():
    """The library, loaded; RuntimeError that says what to install where there is none."""
    try:
        from cuda.pathfinder import load_nvidia_dynamic_lib

        loaded = ctypes.CDLL(load_nvidia_dynamic_lib("cublasLt").abs_path)
    except (ImportError, OSError, RuntimeError) as error:  # what pathfinder raises is the last
        raise RuntimeError("nvidia-cublas is not installed (pip install 'fusedmlp[cublas]')"
                           ) from error
    loaded.cublasLtGetVersion.restype = ctypes.c_size_t
    loaded.cublasLtGetStatusString.restype = ctypes.c_char_p
    for name, arguments in _ARGUMENTS.items():
        getattr(loaded, name).argtypes = arguments
    found = _version_of(loaded)
    if found < LEAST_VERSION:
        raise RuntimeError(f"cuBLASLt {'.'.join(map(str, found))} is older than "
                           f"{'.'.join(map(str, LEAST_VERSION))} (pip install 'fusedmlp[cublas]')")
    return loaded


def _version_of(loaded):
    number = loaded.cublasLtGetVersion()
    return number // 10_000, number // 100 % 100, number % 100


def missing():
    """Why the library can't be used, with the remedy; empty where it can.

    >>> isinstance(missing(), str)
    True
    """
    try:
        library()
    except RuntimeError as error:
        return str(error)
    return ""


def version():
    """The library's version, such as "13.0.2".

    >>> bool(missing()) or version().count(".") == 2
    True
    """
    return ".".join(map(str, _version_of(library())))


def call(function, *arguments):
    """Call a function of the library by its name; RuntimeError where it reports an error."""
    code = getattr(library(), function)(*arguments)
    if code:
        text = library().cublasLtGetStatusString(ctypes.c_int(code)).decode()
        raise RuntimeError(f"{function} answers {code} ({text})")


@cache
def _handle(process):
    """The library's state on the device, made once in a process: CUDA does not outlive a fork."""
    handle = _P()
    call("cublasLtCreate", ctypes.byref(handle))
    return handle


class _Object:
    """A descriptor: what makes it, what sets its attributes, and what ends it."""

    def __init__(self, kind, *arguments):
        self.kind, self.handle = kind, _P()
        call(f"cublasLt{kind}Create", ctypes.byref(self.handle), *arguments)

    def set(self, attribute, value):
        """`value` is of ctypes, whose size the library checks."""
        call(f"cublasLt{self.kind}SetAttribute", self.handle, attribute, ctypes.byref(value),
             ctypes.sizeof(value))

    def __del__(self):
        if self.handle:
            getattr(library(), f"cublasLt{self.kind}Destroy")(self.handle)


# -- products ------------------------------------------------------------------------------------


def address(pointer):
    """The number behind a `device.Array.data`; Numba's simulator has arrays of NumPy there."""
    return pointer if isinstance(pointer, int) else pointer._ary.ctypes.data


def aligned(pointer):
    """The largest power of two, up to 256, that an address is a multiple of.

    >>> aligned(4096), aligned(48), aligned(7)
    (256, 16, 1)
    """
    return min(pointer & -pointer or _MOST_ALIGNED, _MOST_ALIGNED)


class Product:
    """``out = a @ b``, with an epilogue, ready to be launched.

    Parameters
    ----------
    a, b, out : device.Array
        Of one dtype, float32 or float64.
    transposes : (bool, bool)
        Whether the transpose of a, and that of b, takes part.
    epilogue : str
        One of `EPILOGUES`.
    vector : device.Array, optional
        As long as a row of out: what is added, or where the sums of columns go.
    precision : {None, "tensorfloat32", "bfloat16"}
        What float32 factors may be rounded to; sums are float32.

    Raises
    ------
    RuntimeError
        If the library is missing, or refuses.
    """

    def __init__(self, a, b, out, transposes=(False, False), epilogue="none", vector=None,
                 precision=None):
        kind, self._number = _TYPES[out.dtype.name]
        self.pointers = [address(array.data) for array in (b, a, out)]
        self.operation = _Object("MatmulDesc", _COMPUTE[out.dtype.name, precision], kind)
        for attribute, transposed in zip((_TRANSPOSES_A, _TRANSPOSES_B), reversed(transposes),
                                         strict=True):
            if transposed:
                self.operation.set(attribute, ctypes.c_int32(_TRANSPOSED))
        self.operation.set(_EPILOGUE, ctypes.c_uint32(EPILOGUES[epilogue]))
        if vector is not None:
            self.operation.set(_BIAS, _P(address(vector.data)))
        self.layouts = [
            _Object("MatrixLayout", kind, array.columns, array.rows, max(array.pitch, 1))
            for array in (b, a, out)]

    def preference(self, workspace):
        """The descriptor of what algorithms may be proposed, with so many bytes of workspace."""
        made = _Object("MatmulPreference")
        made.set(_WORKSPACE, ctypes.c_uint64(workspace))
        made.set(_REDUCTIONS, ctypes.c_uint32(_IN_WORKSPACE))
        b, a, out = map(aligned, self.pointers)
        for attribute, value in zip(_ALIGNMENTS, (b, a, out, out), strict=True):
            made.set(attribute, ctypes.c_uint32(value))
        return made

    def algorithms(self, most, workspace):
        """At most so many `Algorithm` for the product, the one first that is thought the fastest.

        Empty where cuBLASLt has no such product.
        """
        found, count = (_Found * most)(), ctypes.c_int()
        preference = self.preference(workspace)
        b, a, out = (layout.handle for layout in self.layouts)
        arguments = (_handle(os.getpid()), self.operation.handle, b, a, out, out,
                     preference.handle, most, found, ctypes.byref(count))
        code = library().cublasLtMatmulAlgoGetHeuristic(*arguments)
        if code == _NOT_SUPPORTED:
            return []
        if code:
            call("cublasLtMatmulAlgoGetHeuristic", *arguments)
        return [Algorithm(bytes(one.algorithm), one.workspace) for one in found[: count.value]
                if one.state == 0]

    def enqueue(self, stream, algorithm, workspace):
        """Enqueue the product on a stream, by its handle; `workspace` is an address, 0 for none."""
        one, none = self._number(1), self._number(0)
        b, a, out = self.pointers
        of_b, of_a, of_out = (layout.handle for layout in self.layouts)
        data = (ctypes.c_uint64 * 8).from_buffer_copy(algorithm.data)
        call("cublasLtMatmul", _handle(os.getpid()), self.operation.handle, ctypes.byref(one),
             b, of_b, a, of_a, ctypes.byref(none), out, of_out, out, of_out, data, workspace,
             algorithm.workspace, stream)
