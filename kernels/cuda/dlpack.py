"""Arrays of other libraries through DLPack, read with ctypes.

The structures are those of dlpack.h, version 0.8 (https://dmlc.github.io/dlpack/latest/c_api.html),
which every library still hands out to those who ask for no newer one.
"""

from __future__ import annotations

import ctypes

import numpy as np

__all__ = ["CPU", "CUDA", "Adopted", "on_gpu"]

CPU, CUDA = 1, 2  # DLDeviceType
_MANAGED = 13  # kDLCUDAManaged

_KINDS = {0: "i", 1: "u", 2: "f", 6: "b"}  # DLDataTypeCode


class _Tensor(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p), ("device_type", ctypes.c_int32), ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32), ("code", ctypes.c_uint8), ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16), ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)), ("byte_offset", ctypes.c_uint64),
    )


_Deleter = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class _Managed(ctypes.Structure):
    _fields_ = (("tensor", _Tensor), ("manager", ctypes.c_void_p), ("deleter", _Deleter))


_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_pointer.argtypes, _pointer.restype = (ctypes.py_object, ctypes.c_char_p), ctypes.c_void_p


def on_gpu(array):
    """Whether an array speaks DLPack and says that it lies on an NVIDIA GPU.

    >>> on_gpu(np.zeros(3)), on_gpu([1.0])
    (False, False)
    """
    device = getattr(array, "__dlpack_device__", None)
    return device is not None and int(device()[0]) in (CUDA, _MANAGED)


class Adopted:
    """An array's memory as ``__cuda_array_interface__`` describes it; it lives as long as this.

    Parameters
    ----------
    array
        Anything with ``__dlpack__``.
    stream : int or None
        The stream that the array is to be ready on, as the protocol says: None for memory of the
        processor.

    Attributes
    ----------
    device_type : int

    Raises
    ------
    TypeError
        If its elements are no plain numbers.

    Examples
    --------
    >>> x = np.arange(6.0).reshape(2, 3)
    >>> there = Adopted(x, None)
    >>> there.__cuda_array_interface__["data"][0] == x.ctypes.data
    True
    >>> there.__cuda_array_interface__["typestr"], there.__cuda_array_interface__["shape"]
    ('<f8', (2, 3))
    """

    def __init__(self, array, stream):
        # The capsule keeps the name "dltensor", so it frees the memory itself when it goes.
        self._capsule = array.__dlpack__() if stream is None else array.__dlpack__(stream=stream)
        managed = ctypes.cast(_pointer(self._capsule, b"dltensor"), ctypes.POINTER(_Managed))
        tensor = managed.contents.tensor
        kind = _KINDS.get(tensor.code)
        if kind is None or tensor.lanes != 1 or tensor.bits % 8:
            raise TypeError(
                "An array on the device must hold integers or floating-point numbers. Received: "
                f"DLPack type code {tensor.code} of {tensor.bits} bits, {tensor.lanes} lanes"
            )
        itemsize = tensor.bits // 8
        shape = tuple(tensor.shape[: tensor.ndim])
        strides = None  # C-contiguous
        if tensor.strides:
            strides = tuple(step * itemsize for step in tensor.strides[: tensor.ndim])
        self.device_type = tensor.device_type
        self.__cuda_array_interface__ = {
            "shape": shape, "strides": strides, "typestr": np.dtype(f"{kind}{itemsize}").str,
            "data": ((tensor.data or 0) + tensor.byte_offset, False), "version": 3,
        }
