"""Memory of the device: one allocation that everything lies in, and copies to and from it.

A copy waits until it is done, so that the caller may do with his array what he likes.  Arrays that
lie on the device already, of any library that speaks ``__cuda_array_interface__`` or DLPack
(PyTorch, CuPy, JAX, Numba), are used where they are.
"""

from __future__ import annotations

import math

import numpy as np

from . import device, dlpack, driver, steps
from .device import SIMULATED, cuda, matrix, vector

__all__ = ["Memory", "Resident", "adopt", "described", "free", "is_compressed", "on_device",
           "parameter", "recorder", "resident", "size", "stream", "synchronize", "zeros"]

_LINE = 256  # bytes that a part begins at a multiple of, as allocations of the driver do


def stream():
    """A stream of its own for whoever asks."""
    return 0 if SIMULATED else cuda.stream()


def recorder():
    """A stream to record graphs on, which is apart from the default stream.

    While a stream is recorded that waits for the default one, as streams of Numba's do, the driver
    refuses all that other threads do on that.
    """
    return cuda.external_stream(driver.new_stream())


def synchronize(stream):
    """Wait for all that was enqueued."""
    if not SIMULATED:
        stream.synchronize()


def zeros(length, dtype):
    """A flat device array of zeros, which the processor does not hold as well.

    >>> zeros(2, "float32").copy_to_host().tolist()
    [0.0, 0.0]
    """
    if SIMULATED:
        return cuda.to_device(np.zeros(length, dtype))
    held = cuda.device_array(length, dtype)
    driver.clear(held.device_ctypes_pointer.value, held.nbytes)
    return held


def free():
    """Bytes of the device that nobody has taken.

    >>> free() > 0
    True
    """
    return math.inf if SIMULATED else cuda.current_context().get_memory_info().free


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
        self._bytes = zeros(max(self._size, _LINE), np.uint8)

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
    if isinstance(array, (np.ndarray, Resident)):
        return isinstance(array, Resident)
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

    Work that its library has enqueued on it is done before what comes on `stream`: by DLPack, where
    an array speaks that, its library sees to it; else the stream is waited for that the
    ``__cuda_array_interface__`` names, which PyTorch's does not.
    """
    if isinstance(array, Resident):
        return array.flat
    if SIMULATED:
        held = array
    elif dlpack.on_gpu(array):
        held = cuda.as_cuda_array(dlpack.Adopted(array, int(stream.handle)))
    else:
        held = cuda.as_cuda_array(array)
    if not held.is_c_contiguous():
        raise ValueError("An array on the device must be C-contiguous. Received: strides "
                         f"{held.strides} for shape {held.shape}")
    return held.reshape(held.size)


class Resident:
    """An array of another library that lies on the device, as data is passed around.

    Parameters
    ----------
    source
        What keeps the memory.
    flat : device array of Numba's
        All its elements in order.
    shape : tuple

    Attributes
    ----------
    shape, dtype, ndim, size, nbytes
        As NumPy's arrays have them.

    Examples
    --------
    >>> x = resident(cuda.to_device(np.arange(6, dtype="float32").reshape(3, 2)))
    >>> x.shape, len(x[1:]), x[1:].host().tolist(), x.reshape(2, 3).shape
    ((3, 2), 2, [[2.0, 3.0], [4.0, 5.0]], (2, 3))
    """

    def __init__(self, source, flat, shape):
        self._source, self.flat, self.shape = source, flat, tuple(map(int, shape))
        self.dtype, self.ndim = np.dtype(flat.dtype), len(self.shape)
        self.size = int(np.prod(self.shape, dtype=np.int64))
        self.nbytes = self.size * self.dtype.itemsize

    def __len__(self):
        return self.shape[0]

    def __getitem__(self, rows):
        start, stop, _ = rows.indices(len(self))
        stop, width = max(start, stop), self.size // max(len(self), 1)
        return Resident(self._source, self.flat[start * width : stop * width],
                        (stop - start, *self.shape[1:]))

    def reshape(self, *shape):
        """The same elements in another shape, in which -1 stands for what is left."""
        shape = shape[0] if len(shape) == 1 and isinstance(shape[0], tuple) else shape
        if -1 in shape:
            rest = int(np.prod([n for n in shape if n != -1], dtype=np.int64))
            shape = tuple(self.size // max(rest, 1) if n == -1 else n for n in shape)
        return Resident(self._source, self.flat, shape)

    def take(self, rows, axis=0, mode="clip"):
        """Rows, fetched."""
        return np.take(self.host(), rows, axis=axis, mode=mode)

    def host(self):
        """A copy as an array of NumPy's."""
        found = np.empty(self.shape, self.dtype)
        if self.size:
            self.flat[: self.size].copy_to_host(found.reshape(-1))
        return found

    def astype(self, dtype):
        """The same numbers in float32 or float64; a copy on the device where that is another.

        >>> x = resident(cuda.to_device(np.arange(3, dtype="int32")))
        >>> x.astype("float64").host().tolist()
        [0.0, 1.0, 2.0]
        """
        dtype = np.dtype(dtype)
        if dtype == self.dtype:
            return self
        if not steps.converts(self.dtype):  # rare: flags, half precision
            flat = cuda.to_device(np.asarray(self.host(), dtype).reshape(-1))
        else:
            flat, stream = cuda.device_array(max(self.size, 1), dtype), device.shared_stream()
            steps.convert(stream, vector(self.flat, self.size), vector(flat, self.size))
            synchronize(stream)
        return Resident(flat, flat, self.shape)


def resident(array):
    """A `Resident` of an array that lies on the device, whose memory it shares; None for others.

    Raises
    ------
    ValueError
        If its elements don't lie one after another.
    """
    if isinstance(array, Resident):
        return array
    if not on_device(array):
        return None
    stream = device.shared_stream()
    flat = adopt(array, stream)
    synchronize(stream)  # whoever reads it does so on a stream of its own
    return Resident(array, flat, array.shape)


def described(held, shape):
    """The `device.Array` of a flat device array that holds a matrix or a vector."""
    return vector(held, shape[0]) if len(shape) == 1 else matrix(held, *shape)


def parameter(held, buffer, offset=None):
    """The `device.Array` of a parameter, or of what lies like it; one row comes as a vector."""
    offset = buffer.offset if offset is None else offset
    if buffer.rows == 1:
        return vector(held, buffer.columns, offset)
    return matrix(held, buffer.rows, buffer.columns, offset, buffer.pitch)
