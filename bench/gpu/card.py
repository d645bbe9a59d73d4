"""The GPU under the benchmark: what it is, its limits measured in this run, and its own clock.

A contender is a `Replay`: a CUDA graph of several launches, started as a whole, so that no time is
spent on handing launches out.  It is timed with events on its own stream; contenders take turns.
"""

from __future__ import annotations

import datetime
import platform
import statistics

import numpy as np

__all__ = ["Card", "Replay", "alternate"]

_COPY_BYTES = 1 << 28
_LAUNCHES = 10
_TURN = 0.01  # seconds
_UNITS = {(7, 5): 64, (8, 0): 64}
"""Float32 multiply-adds of a processor in a cycle, by compute capability; 128 of the later ones
(CUDA C++ Programming Guide, table of arithmetic throughput)."""

_TILE = 1 << 20  # random numbers that are drawn; larger arrays repeat them


class Replay:
    """Several units of work that are started together.

    Parameters
    ----------
    start : callable
        Enqueues them; nothing waits.
    stream : int
        The handle of the stream that they are enqueued on.
    """

    def __init__(self, start, stream):
        self.start, self.stream = start, stream

    def __call__(self):
        self.start()

    def seconds(self, count):
        """Of `count` starts, between two events on the stream."""
        from fusedmlp.kernels.cuda.device import cuda

        stream = cuda.external_stream(self.stream)
        begin, end = cuda.event(timing=True), cuda.event(timing=True)
        begin.record(stream)
        for _ in range(count):
            self.start()
        end.record(stream)
        end.synchronize()
        return cuda.event_elapsed_time(begin, end) / 1e3


def alternate(contenders, turns, between=None):
    """Seconds of one start of each `Replay`, turn by turn: as `bench.timing.alternate`."""
    counts = {}
    for name, replay in contenders.items():
        replay.seconds(1)
        once = min(replay.seconds(1) for _ in range(3))
        counts[name] = max(1, int(_TURN / max(once, 1e-7)))
    times = {name: [] for name in contenders}
    names = list(contenders)
    for turn in range(turns):
        if between is not None:
            between()
        shift = turn % len(names)
        for name in names[shift:] + names[:shift]:
            contenders[name].seconds(1)  # warm
            times[name].append(contenders[name].seconds(counts[name]) / counts[name])
    return times


class Card:
    """The device that is in use.

    Attributes
    ----------
    gbytes : float
        Bytes read and written per second by a copy from the device to itself, in 1e9.
    gflops : float
        Multiply-adds of float32 that all its units can do at the highest clock, in 1e9 operations.
    round_trips : list
        Empty: two cores of the processor have no part in this.
    """

    LAUNCHES = _LAUNCHES

    def __init__(self):
        from fusedmlp import config
        from fusedmlp.kernels.cuda import describe, memory

        config.set_backend("cuda")
        self.facts, self.stream = describe(), memory.stream()
        self.round_trips, self.gflops = [], self._peak() / 1e9
        self.random = np.random.default_rng()
        self.gbytes = self._copy() / 1e9

    def sample(self):
        """What is measured once per round: nothing."""

    # -- arrays ----------------------------------------------------------------------------------

    def numbers(self, *shape):
        """Fresh random float32 on the processor; large arrays repeat a million of them."""
        size = int(np.prod(shape))
        drawn = self.random.standard_normal(min(size, _TILE), np.float32)
        return np.resize(drawn, shape)

    def send(self, values):
        """A copy on the device: a flat device array, and what launchers take for it."""
        from fusedmlp.kernels.cuda import device

        values = np.ascontiguousarray(values)
        held = device.cuda.to_device(values.reshape(-1))
        if values.ndim == 2:
            return held, device.matrix(held, *values.shape)
        return held, device.vector(held, values.size)

    # -- launches --------------------------------------------------------------------------------

    def wait(self):
        """Until all that was enqueued is done."""
        from fusedmlp.kernels.cuda import memory

        memory.synchronize(self.stream)

    def replay(self, enqueue):
        """`LAUNCHES` times what ``enqueue()`` puts on `stream`, as one graph."""
        from fusedmlp.kernels.cuda.graph import Graph

        handle = int(self.stream.handle)
        enqueue()  # compiles, loads, chooses
        self.wait()
        graph = Graph(handle, lambda: [enqueue() for _ in range(_LAUNCHES)])
        return Replay(lambda: graph.start(handle), handle)

    @staticmethod
    def _peak():
        from fusedmlp.kernels.cuda.device import cuda

        device = cuda.get_current_device()
        units = _UNITS.get(device.compute_capability, 128)
        return 2.0 * units * device.MULTIPROCESSOR_COUNT * 1e3 * device.CLOCK_RATE

    def _copy(self):
        from fusedmlp.kernels.cuda import device

        values = self.numbers(_COPY_BYTES // 4)
        source, target = device.cuda.to_device(values), device.cuda.device_array_like(values)
        replay = self.replay(lambda: target.copy_to_device(source, stream=self.stream))
        found = alternate({"copy": replay}, 5)["copy"]
        return 2 * _COPY_BYTES * _LAUNCHES / statistics.median(found)

    # -- the report ------------------------------------------------------------------------------

    def describe(self):
        """Facts for the report, as plain data."""
        return {
            "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            "device": self.facts["device"], "driver": self.facts["driver"],
            "products": self.facts["products"], "python": platform.python_version(),
            "copy_gbytes_per_s": round(self.gbytes, 1), "peak_gflops": round(self.gflops, 1),
        }

    def __str__(self):
        return (f"{self.facts['device']}, {self.facts['driver']}; a copy from the device to itself "
                f"moves {self.gbytes:,.0f} GB/s, float32 peaks at {self.gflops:,.0f} GFLOP/s")


