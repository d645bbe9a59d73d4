"""Memory of the device: one allocation that everything lies in, and copies to and from it.

A copy waits until it is done, so that the caller may do with his array what he likes.  Arrays that
lie on the device already, of any library that speaks ``__cuda_array_interface__`` or DLPack
(PyTorch, CuPy, JAX, Numba), are used where they are.
"""

from __future__ import annotations

import numpy as np

from . import dlpack
from .device import SIMULATED, cuda, matrix, vector

__all__ = ["Memory", "adopt", "is_compressed", "on_device", "size", "stream", "synchronize"]

_LINE = 256  # bytes that a part begins at a multiple of, as allocations of the driver do


def stream():
    """A stream of its own for whoever asks."""
    return 0 if SIMULATED else cuda.stream()


def synchronize(stream):
    """Wait for all that was enqueued."""
    if not SIMULATED:
        stream.synchronize()


class Memory:
    """Parts of one allocation, reserved first and then handed out.

    >>> import numpy as np
    >>> memory = Memory()
    >>> numbers, places = memory.reserve(3, "float32"), memory.reserve(2, "int64")
    >>> memory.allocate()
    >>> memory.part(places).copy_to_host().tolist()
    [0, 0]
    """

    def __init__(self):
        self._parts, self._size, self._bytes = [], 0, None

    @property
    def size(self):
        """Bytes that are reserved."""
        return self._size

    def reserve(self, length, dtype):
        """The number of a new part of `length` elements."""
        dtype = np.dtype(dtype)
        self._parts.append((self._size, max(length, 1), dtype))
        self._size += -(-max(length, 1) * dtype.itemsize // _LINE) * _LINE
        return len(self._parts) - 1

    def allocate(self):
        """Take what is reserved, zeros."""
        self._bytes = cuda.to_device(np.zeros(max(self._size, _LINE), np.uint8))

    def offset(self, number):
        """Where a part begins, in bytes."""
        return self._parts[number][0]

    def whole(self, dtype):
        """All parts as one flat device array of a dtype."""
        return self._bytes.view(np.dtype(dtype))

    def part(self, number):
        """The flat device array of a part."""
        offset, length, dtype = self._parts[number]
        return self._bytes[offset : offset + length * dtype.itemsize].view(dtype)


def on_device(array):
    """Whether an array lies on a GPU: it says so by ``__cuda_array_interface__`` or by DLPack.

    >>> on_device(np.zeros(3)), on_device([1.0])
    (False, False)
    """
    if isinstance(array, np.ndarray):
        return False
    named = "__cuda_ndarray__" if SIMULATED else "__cuda_array_interface__"
    return hasattr(array, named) or dlpack.on_gpu(array)


def is_compressed(array):
    """Whether it is a matrix in compressed rows.

    >>> is_compressed(np.zeros((2, 2)))
    False
    """
    return hasattr(array, "starts")


def size(array):
    """Bytes of an array, or of a matrix in compressed rows.

    >>> size(np.zeros(3))
    24
    """
    if is_compressed(array):
        return sum(part.nbytes for part in (array.values, array.columns, array.starts))
    return array.nbytes


def adopt(array, stream):
    """The flat device array of an array that lies on the device, C-contiguous, without a copy.

    Work that its library has enqueued on it is done before what comes on `stream`.
    """
    if SIMULATED:
        held = array
    elif hasattr(array, "__cuda_array_interface__"):
        held = cuda.as_cuda_array(array)  # waits for the stream that the interface names
    else:
        held = cuda.as_cuda_array(dlpack.Adopted(array, int(stream.handle)))
    if not held.is_c_contiguous():
        raise ValueError("An array on the device must be C-contiguous. Received: strides "
                         f"{held.strides} for shape {held.shape}")
    return held.reshape(held.size)


def described(held, shape):
    """The `device.Array` of a flat device array that holds a matrix or a vector."""
    return vector(held, shape[0]) if len(shape) == 1 else matrix(held, *shape)
