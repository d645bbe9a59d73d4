"""A step's launches as a CUDA graph: recorded once, then started as a whole.

Starting a graph costs the processor a few microseconds, however many launches it holds; each of
these alone costs as much.  The functions are the driver's own
(https://docs.nvidia.com/cuda/cuda-driver-api/group__CUDA__GRAPH.html).
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable

from . import driver

__all__ = ["Graph"]

_RELAXED = 2  # CU_STREAM_CAPTURE_MODE_RELAXED: other threads may do as they please


class Graph:
    """What `enqueue` enqueues on a stream, to be started again and again.

    Parameters
    ----------
    stream : int
        The stream's handle.
    enqueue : callable
        Nothing is run while it is recorded.  It may launch kernels that have been launched before,
        and nothing else: whatever must wait for the device can't be recorded.

    Raises
    ------
    RuntimeError
        If the driver refuses; the stream is then as before.
    """

    def __init__(self, stream: int, enqueue: Callable[[], None]):
        self._handle = ctypes.c_void_p()
        recorded = ctypes.c_void_p()
        driver.call("cuStreamBeginCapture_v2", ctypes.c_void_p(stream), _RELAXED)
        try:
            try:
                enqueue()
            finally:
                driver.call("cuStreamEndCapture", ctypes.c_void_p(stream), ctypes.byref(recorded))
            driver.call("cuGraphInstantiateWithFlags", ctypes.byref(self._handle), recorded,
                        ctypes.c_ulonglong(0))
        finally:
            if recorded:
                driver.call("cuGraphDestroy", recorded)

    def start(self, stream: int) -> None:
        """Enqueue the whole graph on a stream."""
        driver.call("cuGraphLaunch", self._handle, ctypes.c_void_p(stream))

    def __del__(self):
        if self._handle:
            driver.library().cuGraphExecDestroy(self._handle)
