"""The CUDA driver itself, as far as Numba does not cover it: what devices there are, calls by name.

It is reached through ctypes, so that asking costs nothing where there is no driver.  Nothing here
makes a context or takes memory of a device.
"""

import ctypes
import sys

__all__ = ["LEAST_CAPABILITY", "LEAST_DRIVER", "allow_shared", "call", "clear", "describe",
           "library", "new_stream", "problem", "shared_bytes"]

LEAST_DRIVER = (13, 0)
"""The CUDA version that a driver must serve: that of the toolkit which the kernels compile with."""

LEAST_CAPABILITY = (7, 5)
"""The oldest architecture that this toolkit compiles for."""

# CUdevice_attribute and CUfunction_attribute
_MAJOR, _MINOR = 75, 76  # COMPUTE_CAPABILITY_MAJOR and _MINOR
_SHARED = 97  # MAX_SHARED_MEMORY_PER_BLOCK_OPTIN
_DYNAMIC = 8  # MAX_DYNAMIC_SHARED_SIZE_BYTES

_NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING: does not wait for the default stream

_library = None


def library():
    """The driver's library, initialised; OSError or RuntimeError where that can't be done.

    >>> try:
    ...     library() is library()
    ... except (OSError, RuntimeError):
    ...     True
    True
    """
    global _library
    if _library is None:
        loaded = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
        code = loaded.cuInit(0)
        if code:
            raise RuntimeError(f"cuInit answers {code} ({_text(loaded, code)})")
        _library = loaded
    return _library


def _text(loaded, code):
    """The driver's own name of an error."""
    name = ctypes.c_char_p()
    if loaded.cuGetErrorName(code, ctypes.byref(name)) or name.value is None:
        return "unknown error"
    return name.value.decode()


def call(function, *arguments):
    """Call a function of the driver by its name; RuntimeError where it reports an error."""
    code = getattr(library(), function)(*arguments)
    if code:
        raise RuntimeError(f"{function} answers {code} ({_text(library(), code)})")


def _ask(function, kind, *arguments):
    value = kind()
    call(function, ctypes.byref(value), *arguments)
    return value.value


def _version():
    number = _ask("cuDriverGetVersion", ctypes.c_int)
    return number // 1000, number % 1000 // 10


def _capability(device):
    return tuple(_ask("cuDeviceGetAttribute", ctypes.c_int, attribute, device)
                 for attribute in (_MAJOR, _MINOR))


def shared_bytes():
    """The most shared memory that a block of device 0 may have.

    >>> problem() is not None or shared_bytes() >= 48 * 1024
    True
    """
    return _ask("cuDeviceGetAttribute", ctypes.c_int, _SHARED, 0)


def allow_shared(kernel, size):
    """Let launches of a kernel, a CUkernel, ask for so many bytes: above 48 KiB they must be told.
    """
    call("cuKernelSetAttribute", _DYNAMIC, size, ctypes.c_void_p(kernel), 0)


def clear(address, size):
    """Let so many bytes of the device be 0, before whatever waits for the default stream."""
    call("cuMemsetD8_v2", ctypes.c_uint64(address), ctypes.c_ubyte(0), ctypes.c_size_t(size))


def new_stream():
    """The handle of a stream that does not wait for the default one; it lasts as the process does.
    """
    return _ask("cuStreamCreate", ctypes.c_void_p, _NON_BLOCKING)


def problem():
    """Why kernels can't run on device 0, with the remedy; None where they can.

    >>> problem() is None or isinstance(problem(), str)
    True
    """
    try:
        library()
    except OSError:
        return "no NVIDIA driver was found (install the driver of the GPU, 580 or newer)"
    except RuntimeError as error:
        return f"the NVIDIA driver finds no usable GPU: {error}; nvidia-smi may say more"
    try:
        count = _ask("cuDeviceGetCount", ctypes.c_int)
        version = _version()
        capability = _capability(0) if count else None
    except RuntimeError as error:
        return f"the NVIDIA driver does not answer: {error}; nvidia-smi may say more"
    if not count:
        return ("the NVIDIA driver shows no GPU (CUDA_VISIBLE_DEVICES or the container may hide "
                "it)")
    if version < LEAST_DRIVER:
        return (f"the NVIDIA driver serves CUDA {version[0]}.{version[1]}, older than "
                f"{LEAST_DRIVER[0]}.{LEAST_DRIVER[1]} (install driver 580 or newer)")
    if capability < LEAST_CAPABILITY:
        return (f"the GPU has compute capability {capability[0]}.{capability[1]}, less than "
                f"{LEAST_CAPABILITY[0]}.{LEAST_CAPABILITY[1]}")
    return None


def describe():
    """Name, compute capability and memory of device 0, and the driver's CUDA version.

    >>> problem() is not None or "device" in describe()
    True
    """
    name = ctypes.create_string_buffer(256)
    code = library().cuDeviceGetName(name, len(name), 0)
    shown = name.value.decode() if code == 0 else "unknown"
    memory = _ask("cuDeviceTotalMem_v2", ctypes.c_size_t, 0)
    major, minor = _capability(0)
    return {
        "device": f"{shown}, compute capability {major}.{minor}, {memory / 2**30:.0f} GiB",
        "driver": "CUDA {}.{}".format(*_version()),
    }
