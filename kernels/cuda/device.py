"""The door to Numba CUDA: how kernels are written, compiled and launched.

Every other module of this folder writes its kernels with what is here, so that one source runs on a
GPU, in Numba's simulator (``NUMBA_ENABLE_CUDASIM=1``) and through the compiler without a GPU:

- `kernel` declares a kernel with the types of its arguments.  It is compiled at its first launch,
  for the device that is there; `declared` lists all of a backend for those who compile them ahead.
- `scalar` declares a function of numbers that kernels call; `device` one that uses threads.
- Arrays reach a kernel as bare pointers, ``p[i]``, without the shape and strides that Numba's
  arrays carry along: an argument costs the same as a number, and an index is not checked for being
  negative.  In the simulator a pointer is a flat array.
- The simulator computes with NumPy's scalars, whose functions give an infinity where Python's
  `math` raises; so the names of `math` are taken from here.

Literals are float64 to Numba, and drag float32 along: constants are written ``R(0.5)``, R being the
type that a factory makes its functions for.
"""

from __future__ import annotations

import math
import os
import sys
import threading
import warnings
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # deprecations inside Numba are none of our users' business
    from numba import cuda
    from numba.core import config, types

from . import driver

__all__ = [
    "BLOCK", "NULL", "SIMULATED", "Array", "Kernel", "bfloat16", "block_largest", "block_sum",
    "by_dtype", "cuda", "declared", "device", "factories", "flat", "folded", "hosted", "kernel",
    "larger", "launch", "matrix", "plus", "scalar", "shared_stream", "team", "vector",
]

SIMULATED = bool(config.ENABLE_CUDASIM)
"""Whether kernels run in Numba's simulator, which has no warps and starts a thread per thread."""

if not SIMULATED:
    from numba.cuda.dispatcher import config as launching  # the settings that a launch looks at

BLOCK = 4 if SIMULATED else 256
"""Threads of a block, where a kernel has no reason for another number."""

_MOST_BLOCKS = 1 if SIMULATED else 132 * 16  # more work is done in rounds


# -- declaring -----------------------------------------------------------------------------------

declared = {}
"""Every kernel that has been made so far, by its name and the dtype that it is for."""

factories = []
"""Every function made by `by_dtype`; what one of them has made, by dtype and the rest of its
arguments, is its attribute `made`."""

_SCALARS = {"i": types.int64, "s": types.int32, "u": types.uint32, "d": types.float64,
            "f": types.float32}


class Kernel:
    """A kernel with the types of its arguments; compiled at its first launch.

    Attributes
    ----------
    name : str
    function : callable
        The Python function.
    types : tuple of numba types
    block : int
        Threads of a block.
    launch_bounds : (int, int)
        What the compiler is told: these, and the blocks that a processor is to hold at least.
    """

    def __init__(self, name, function, types, block):
        self.name, self.function, self.types, self.block = name, function, types, block
        # with the second number ptxas takes the registers it needs rather than spill
        self.launch_bounds = (block, 1)
        self._compiled, self._allowed = None, 48 * 1024

    def __call__(self, stream, blocks, *arguments, shared=0):
        """Enqueue the kernel on a stream; nothing happens for 0 blocks.

        `shared` are the bytes of an array of shared memory of size 0, which the launch decides on.
        """
        if blocks <= 0:
            return
        if self._compiled is None:
            self._compiled = cuda.jit(self.function) if SIMULATED else cuda.jit(
                self.types, launch_bounds=self.launch_bounds)(self.function)
        if SIMULATED:  # where a number has the type that it comes with
            arguments = [np.float32(value) if kind is types.float32 else value
                         for value, kind in zip(arguments, self.types, strict=True)]
            with _quiet():
                self._compiled[int(blocks), self.block, stream, shared](*arguments)
            return
        if shared > self._allowed:
            for variant in self._compiled.overloads.values():
                driver.allow_shared(int(variant._codelibrary.get_cufunc().handle), shared)
            self._allowed = shared
        with _unadvised():
            launch = self._compiled[int(blocks), self.block, stream, shared]
        launch(*arguments)


def kernel(signature, R=np.float64, *, name=None, block=BLOCK):
    """Declare a kernel: ``@kernel("R* R* i", R)``.

    Parameters
    ----------
    signature : str
        A type for each argument: ``R`` the floating-point type, ``d`` float64, ``f`` float32,
        ``i`` int64, ``s`` int32, ``u`` uint32, and a ``*`` behind it for a pointer.
    R : type
        np.float32 or np.float64.
    name : str, optional
        What the kernel is listed under; the function's name unless given.
    block : int
        Threads of a block.
    """
    def declare(function):
        found = tuple(_type(word, R) for word in signature.split())
        made = Kernel(name or function.__name__, function, found, block)
        declared[made.name, np.dtype(R).name] = made
        return made

    return declare


def _type(word, R):
    base = types.float32 if R is np.float32 else types.float64
    base = base if word[0] == "R" else _SCALARS[word[0]]
    return types.CPointer(base) if word.endswith("*") else base


def scalar(function):
    """Declare a function of numbers, which kernels call."""
    return function if SIMULATED else cuda.jit(device=True)(function)


def device(function):
    """Declare a function that uses the threads of a block, which kernels call."""
    return cuda.jit(device=True)(function)


def by_dtype(factory):
    """A factory of R called once for each R; takes anything that names a dtype."""
    made = {}

    def get(dtype, *rest):
        key = (np.dtype(dtype).name, *rest)
        if key not in made:
            made[key] = factory(np.dtype(dtype).type, *rest)
        return made[key]

    get.__name__, get.__module__, get.__doc__ = (
        factory.__name__, factory.__module__, factory.__doc__)
    get.made = made
    factories.append(get)
    return get


@contextmanager
def _quiet():
    """What a launch in the simulator needs of the interpreter.

    Overflow and the like are no news, and the simulator's threads don't inherit `np.errstate`.  Its
    main thread polls the others without a pause: unless it is interrupted often, every barrier
    takes milliseconds.
    """
    before = sys.getswitchinterval()
    sys.setswitchinterval(2e-5)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        sys.setswitchinterval(before)


_advice = threading.Lock()


@contextmanager
def _unadvised():
    """Numba warns of every launch of few blocks, which is what small arrays ask for."""
    with _advice:
        before = launching.CUDA_LOW_OCCUPANCY_WARNINGS
        launching.CUDA_LOW_OCCUPANCY_WARNINGS = 0
        try:
            yield
        finally:
            launching.CUDA_LOW_OCCUPANCY_WARNINGS = before


def _share_safely():
    """Let threads of the simulator that ask for shared memory at once get the same.

    It looks the array up and puts a new one in its place if there is none, and a thread that is
    interrupted in between keeps an array of its own.
    """
    from numba.cuda.simulator import kernelapi

    lock, original = threading.Lock(), kernelapi.FakeCUDAShared.array

    def array(self, shape, dtype, alignment=None):
        if shape == 0:  # dynamic memory, which is there before the threads are
            return original(self, shape, dtype)
        if isinstance(dtype, types.Type):
            dtype = kernelapi.numpy_support.as_dtype(dtype)
        caller = sys._getframe(1)
        place = caller.f_code.co_filename, caller.f_lineno
        with lock:
            if place not in self._allocations:
                self._allocations[place] = np.empty(shape, dtype)
            return self._allocations[place]

    kernelapi.FakeCUDAShared.array = array


if SIMULATED:
    _share_safely()


# -- functions of numbers ------------------------------------------------------------------------

_UPPER_HALF = np.uint32(0xFFFF0000)

if SIMULATED:
    def _rounded_once(function):
        """NumPy's own float32 functions are off by more units than those of CUDA."""
        def rounded(x):
            return type(x)(function(float(x)))

        return rounded

    exp, expm1, log, log1p, tanh, arctan, sinh, cosh, erf, erfc = map(_rounded_once, (
        np.exp, np.expm1, np.log, np.log1p, np.tanh, np.arctan, np.sinh, np.cosh, math.erf,
        math.erfc))
    sqrt, hypot, floor, ceil, trunc = np.sqrt, np.hypot, np.floor, np.ceil, np.trunc
    power, isnan, isinf = np.power, np.isnan, np.isinf
else:
    exp, expm1, log, log1p, tanh, sqrt = (
        math.exp, math.expm1, math.log, math.log1p, math.tanh, math.sqrt)
    arctan, hypot, floor, ceil, trunc = (
        math.atan, math.hypot, math.floor, math.ceil, math.trunc)
    from numba.cuda import libdevice

    power, isnan, isinf, cosh, sinh = math.pow, math.isnan, math.isinf, math.cosh, math.sinh
    erf, erfc = math.erf, math.erfc


if SIMULATED:
    def bfloat16(x):
        """The nearest number of 8 bits, float32 still; of two, the one whose last bit is 0."""
        bits = np.float32(x).view(np.uint32)
        bits = (bits + np.uint32(0x7FFF) + (bits >> np.uint32(16) & np.uint32(1))) & _UPPER_HALF
        return x if x != x else bits.view(np.float32)
else:
    @scalar
    def bfloat16(x):
        """The nearest number of 8 bits, float32 still; of two, the one whose last bit is 0."""
        bits = np.uint32(libdevice.float_as_int(x))
        bits = (bits + np.uint32(0x7FFF) + (bits >> np.uint32(16) & np.uint32(1))) & _UPPER_HALF
        return x if x != x else libdevice.int_as_float(np.int32(bits))


@scalar
def larger(a, b):
    """The larger one; NaN counts as the largest."""
    return a if a >= b or a != a else b


# -- arrays --------------------------------------------------------------------------------------


class Array(NamedTuple):
    """Where a matrix lies in the device's memory.

    Attributes
    ----------
    data : int or flat array
        What a kernel is given as pointer: an address, or in the simulator a flat device array.
    rows, columns : int
        A vector has one row.
    pitch : int
        Elements from one row to the next.
    dtype : numpy.dtype
    """

    data: object
    rows: int
    columns: int
    pitch: int
    dtype: np.dtype

    @property
    def size(self):
        return self.rows * self.columns

    @property
    def shape(self):
        return self.rows, self.columns


if SIMULATED:
    NULL = cuda.to_device(np.zeros(1))
else:
    NULL = 0
"""The pointer of an array that is not there."""


def matrix(held, rows, columns, offset=0, pitch=None):
    """The `Array` of a part of a flat device array, from element `offset` on.

    `held` is a one-dimensional device array of Numba's, which must outlive the result.
    """
    pitch = columns if pitch is None else pitch
    if SIMULATED:
        data = held[offset : offset + max(rows * pitch, 1)]
    else:
        data = held.device_ctypes_pointer.value or 0
        data += offset * held.dtype.itemsize
    return Array(data, rows, columns, pitch, np.dtype(held.dtype))


def vector(held, length, offset=0):
    """The `Array` of a vector; see `matrix`."""
    return matrix(held, 1, length, offset)


def flat(array=None):
    """The pointer of an array, `NULL` for None."""
    return NULL if array is None else array.data


# -- launching -----------------------------------------------------------------------------------


def launch(work, each=BLOCK):
    """Blocks for `work` elements of which a block takes `each` at a time; 0 for no work."""
    return min(-(-work // each), _MOST_BLOCKS)


def hosted(enqueue, *changed):
    """The function of the contract that runs `enqueue` on arrays of NumPy.

    `enqueue` takes a stream and then what the contract says; the arguments named in `changed` are
    written to.  What has a default is the executor's business, and no part of the contract.  The
    call waits for the device.
    """
    import inspect

    signature = inspect.signature(enqueue)
    names = [name for name, one in signature.parameters.items()
             if one.default is inspect.Parameter.empty][1:]

    def call(*arguments, **named):
        bound = inspect.signature(call).bind(*arguments, **named).arguments
        stream = shared_stream()
        held = {}  # by identity, so that an array passed twice is one on the device

        def there(value):
            if not isinstance(value, np.ndarray):
                return value
            if id(value) not in held:
                size = max(value.size, 1)
                flat_copy = np.zeros(size, value.dtype)
                flat_copy[: value.size] = value.reshape(-1)
                held[id(value)] = value, cuda.to_device(flat_copy, stream=stream)
            array = held[id(value)][1]
            rows, columns = value.shape if value.ndim == 2 else (1, value.size)
            return matrix(array, rows, columns)

        kept = enqueue(stream, *[there(bound[name]) for name in names])
        for name in changed:
            value = bound[name]
            if isinstance(value, np.ndarray) and value.size:
                copy = held[id(value)][1].copy_to_host(stream=stream)
                _synchronize(stream)
                value[...] = copy[: value.size].reshape(value.shape)
        _synchronize(stream)
        del kept

    call.__name__ = call.__qualname__ = enqueue.__name__.removeprefix("enqueue_")
    call.__module__, call.__doc__ = enqueue.__module__, enqueue.__doc__
    call.__signature__ = signature.replace(
        parameters=[signature.parameters[name] for name in names])
    return call


_streams = {}


def shared_stream():
    """One stream for the calls of a process."""
    if os.getpid() not in _streams:
        _streams[os.getpid()] = 0 if SIMULATED else cuda.stream()
    return _streams[os.getpid()]


def _synchronize(stream):
    if not SIMULATED:
        stream.synchronize()


# -- threads that work together ------------------------------------------------------------------


@scalar
def plus(a, b):
    """The sum."""
    return a + b


def folded(threads, join):
    """A function that joins a number of every thread of a block; all get the same.

    It takes an array of shared memory with room for the numbers, and the thread's own.  Threads of
    the upper half join theirs to the lower half until one is left: the order of additions depends
    on the number of threads alone.
    """
    @device
    def fold(values, value):
        t = cuda.threadIdx.x
        values[t] = value
        cuda.syncthreads()
        step = threads // 2
        while step > 0:
            if t < step:
                values[t] = join(values[t], values[t + step])
            cuda.syncthreads()
            step //= 2
        found = values[0]
        cuda.syncthreads()
        return found

    return fold


def _of_block(join):
    """A factory of functions that join a number of every thread of a block; all get the same."""
    fold = folded(BLOCK, join)

    @by_dtype
    def of_block(R):
        @device
        def joined(value):
            return fold(cuda.shared.array(BLOCK, R), value)

        return joined

    return of_block


block_sum = _of_block(plus)
block_largest = _of_block(larger)


@by_dtype
def team(R, wide):
    """How many threads work on a row, how many rows a block works on, and their reductions.

    A warp for each row, whose lanes exchange numbers by themselves, or, for `wide` rows, a block.
    The simulator has no warps: there a block takes their place.

    Returns
    -------
    lanes, rows : int
    add, largest : device functions of one number
    """
    if wide or SIMULATED:
        return BLOCK, 1, block_sum(R), block_largest(R)

    @device
    def warp_sum(value):
        step = 16
        while step > 0:
            value += cuda.shfl_xor_sync(0xFFFFFFFF, value, step)
            step //= 2
        return value

    @device
    def warp_largest(value):
        step = 16
        while step > 0:
            value = larger(value, cuda.shfl_xor_sync(0xFFFFFFFF, value, step))
            step //= 2
        return value

    return 32, BLOCK // 32, warp_sum, warp_largest
