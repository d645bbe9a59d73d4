"""The machine under the benchmark: its name, its versions, and its limits measured in this run.

Limits are printed beside results so that a number can be judged without a second machine: products
per second, bytes copied per second, and the time in which a cache line travels from one core to
another and back.  The last one changes within seconds on virtual machines, and two-thread times
change with it.
"""

from __future__ import annotations

import ctypes
import datetime
import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

__all__ = ["Machine"]

_COPY_FLOATS = 4_000_000


def _processor():
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _cores():
    """Processors that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def _on_every_core(cores, work):
    """Call ``work(number)`` in one bound thread per core at the same time; the results."""
    results = [None] * len(cores)
    barrier = threading.Barrier(len(cores))

    def run(number):
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, {cores[number]})  # of this thread only
        barrier.wait()
        results[number] = work(number)

    threads = [threading.Thread(target=run, args=(i,)) for i in range(len(cores))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def _compile():
    """The library of limits.c, or None without a C compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder, "limits.so")
        source = Path(__file__).with_name("limits.c")
        command = [compiler, "-O3", "-march=native", "-ffp-contract=fast", "-funroll-loops",
                   "-shared", "-fPIC", str(source), "-o", str(target)]
        if subprocess.run(command, capture_output=True).returncode:
            return None
        library = ctypes.CDLL(str(target))  # stays mapped after the file is gone
    library.multiply_add_rate.restype = ctypes.c_double
    library.multiply_add_rate.argtypes = (ctypes.c_int64, ctypes.c_void_p)
    library.round_trip.restype = ctypes.c_double
    library.round_trip.argtypes = (ctypes.c_void_p, ctypes.c_int64, ctypes.c_int)
    return library


def _busy():
    """Processor seconds that the whole system has spent, and those of this process and children."""
    own = os.times()
    own = own.user + own.system + own.children_user + own.children_system
    try:
        fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
    except OSError:
        return None
    user, nice, system, _idle, _wait, interrupts, soft, steal = map(int, fields)
    ticks = user + nice + system + interrupts + soft + steal
    return ticks / os.sysconf("SC_CLK_TCK"), own


class Machine:
    """Measures what the machine can do, as often as asked.

    Attributes
    ----------
    gflops : float
        Best float32 multiply-add rate of all cores together, in 1e9 operations per second; without
        a C compiler that of NumPy's matrix product, as `gflops_of` says.
    gbytes : float
        Bytes read and written per second by a copy of 4 million float32, all cores, in 1e9.
    round_trips : list of float
        Nanoseconds, one per call of `sample`; empty on one core or without a C compiler.
    """

    def __init__(self):
        self.cores = _cores()
        self._library = _compile()
        self.round_trips = []
        self._start = time.perf_counter(), _busy()
        self.gbytes = 0.0
        self.gflops = 0.0
        self.gflops_of = "multiply-adds in registers" if self._library else "NumPy's matrix product"
        self.measure()

    def measure(self):
        """Measure the limits again and keep the best."""
        self.gflops = max(self.gflops, self._multiply_add() / 1e9)
        self.gbytes = max(self.gbytes, self._copy() / 1e9)
        self.sample()

    def sample(self):
        """Measure one round trip of a cache line between the first two cores, if that is possible.

        Returns
        -------
        float or None
            Nanoseconds.
        """
        if self._library is None or len(self.cores) < 2:
            return None
        line = np.zeros(16, np.int64)  # more than a cache line of its own on either side
        address = line[8:].ctypes.data
        results = _on_every_core(
            self.cores[:2], lambda player: self._library.round_trip(address, 2000, player)
        )
        self.round_trips.append(1e9 * max(results))
        return self.round_trips[-1]

    def others(self):
        """Share of the machine that other processes have used since the start; None if unknown."""
        started, before = self._start
        now = _busy()
        if before is None or now is None:
            return None
        spent = (now[0] - before[0]) - (now[1] - before[1])
        elapsed = max(time.perf_counter() - started, 1e-9)
        return max(0.0, spent / (elapsed * (os.cpu_count() or 1)))

    def _multiply_add(self):
        if self._library is None:
            a = np.random.default_rng(0).standard_normal((1536, 1536)).astype(np.float32)
            seconds = []
            for _ in range(5):
                start = time.perf_counter()
                a @ a
                seconds.append(time.perf_counter() - start)
            return 2 * len(a) ** 3 / min(seconds)

        def rate(_):
            seed = np.linspace(0.1, 0.9, 12, dtype=np.float32)  # fixed points below 2: no overflow
            return max(
                self._library.multiply_add_rate(2_000_000, seed.ctypes.data) for _ in range(5)
            )

        return sum(_on_every_core(self.cores, rate))

    def _copy(self):
        source = np.random.default_rng(0).standard_normal(_COPY_FLOATS).astype(np.float32)
        target = np.empty_like(source)
        parts = np.linspace(0, _COPY_FLOATS, len(self.cores) + 1).astype(int)
        repeats = 40

        def copy(number):
            part = slice(parts[number], parts[number + 1])
            np.copyto(target[part], source[part])
            start = time.perf_counter()
            for _ in range(repeats):
                np.copyto(target[part], source[part])
            return time.perf_counter() - start

        slowest = min(max(_on_every_core(self.cores, copy)) for _ in range(3))
        return repeats * 2 * source.nbytes / slowest

    def describe(self):
        """Facts for the report, as plain data."""
        return {
            "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            "processor": _processor(),
            "cores": len(self.cores),
            "system": f"{platform.system()} {platform.release()}",
            "python": sys.version.split()[0],
            "peak_gflops": round(self.gflops, 1),
            "peak_gflops_of": self.gflops_of,
            "copy_gbytes_per_s": round(self.gbytes, 1),
            "share_of_other_processes": self.others(),
            "cache_line_round_trip_ns": [round(ns, 1) for ns in self.round_trips],
        }

    def __str__(self):
        text = (f"{_processor()}, {len(self.cores)} cores; limits in this run: "
                f"{self.gflops:.0f} GFLOP/s ({self.gflops_of}), {self.gbytes:.0f} GB/s (copy)")
        if self.round_trips:
            low, high = min(self.round_trips), max(self.round_trips)
            text += f"; cache line between two cores and back: {low:.0f} to {high:.0f} ns"
        return text


def version(distribution):
    """Version of an installed distribution, or "?" where it has none."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "?"
