"""One measured comparison: contenders that were verified, and what their work amounts to."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from . import timing
from .peers import Unsupported

__all__ = ["Case", "distance", "measure", "streamed"]


@dataclass
class Case:
    """Contenders of one workload.

    Attributes
    ----------
    name : str
    tolerance : float
        Largest accepted error of a contender.
    note : str
        What the workload is, for the report.
    units : int
        Units (steps, calls) in one call of a contender.
    flops, bytes : float
        Operations and bytes of one unit, 0 where that says nothing: bytes that lie in a core's own
        cache are no matter of the machine's bandwidth.
    ours : list of str
        Which contenders are this library.
    contenders : dict of str to callable
    errors : dict of str to float
        Of every contender that was verified, also of those that failed.
    absent : dict of str to str
        Who does not take part, and why.
    """

    name: str
    tolerance: float
    note: str = ""
    units: int = 1
    flops: float = 0.0
    bytes: float = 0.0
    ours: list = field(default_factory=list)
    contenders: dict = field(default_factory=dict)
    errors: dict = field(default_factory=dict)
    absent: dict = field(default_factory=dict)

    def add(self, adapter, function, *args, name=None):
        """Let an adapter take part if it can and if its result is right.

        Parameters
        ----------
        adapter : module
        function : callable
            ``function(adapter, *args) -> (contender, error)``.
        name : str, optional
            By default that of the library, without what follows a comma.
        """
        name = name or adapter.NAME.split(",")[0]
        try:
            contender, error = function(adapter, *args)
        except Unsupported as reason:
            self.absent[name] = str(reason)
            return
        self.errors[name] = float(error)
        if not error <= self.tolerance:  # also where it is NaN
            self.absent[name] = f"WRONG: error {error:.2g}, accepted {self.tolerance:.2g}"
            return
        self.contenders[name] = contender
        if adapter.NAME == "fusedmlp":
            self.ours.append(name)


def streamed(nbytes):
    """Bytes that pass through memory or the shared cache; 0 where they fit into a core's own."""
    return nbytes if nbytes >= 4_000_000 else 0


def distance(result, expected):
    """Largest absolute difference relative to the largest expected magnitude; NaN if any is."""
    result = np.asarray(result, np.float64)
    if result.shape != expected.shape:
        return np.inf
    return np.max(np.abs(result - expected)) / max(np.max(np.abs(expected)), 1e-30)


def measure(case, turns, machine, alternate=timing.alternate):
    """Time a case, with a clock such as that of `timing`; plain data for the report.

    Returns
    -------
    dict
        With "seconds" (median per unit) and "turns" by contender, "ratio" (fastest peer to ours)
        by contender of ours, and rates of ours against the machine's limits.
    """
    trips = len(machine.round_trips)
    times = alternate(case.contenders, turns, machine.sample) if case.contenders else {}
    per_unit = {name: [t / case.units for t in values] for name, values in times.items()}
    seconds = {name: timing.median(values) for name, values in per_unit.items()}
    peers = {name: value for name, value in seconds.items() if name not in case.ours}
    fastest = min(peers, key=peers.get) if peers else None
    row = {
        "workload": case.name,
        "note": case.note,
        "seconds": seconds,
        "turns": per_unit,
        "errors": case.errors,
        "tolerance": case.tolerance,
        "absent": case.absent,
        "ours": case.ours,
        "fastest_peer": fastest,
        "ratio": {name: seconds[fastest] / seconds[name] for name in case.ours} if peers else {},
        "round_trip_ns": [round(ns, 1) for ns in machine.round_trips[trips:]],
    }
    best = min((seconds[name] for name in case.ours), default=None)
    if best and case.flops:
        row["gflops"] = case.flops / best / 1e9
        row["of_peak_gflops"] = row["gflops"] / machine.gflops
    if best and case.bytes:
        row["gbytes_per_s"] = case.bytes / best / 1e9
        row["of_copy_gbytes"] = row["gbytes_per_s"] / machine.gbytes
    return row
