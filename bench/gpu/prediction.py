"""Prediction of a million rows that lie on the GPU, against what its limits allow."""

from __future__ import annotations

from functools import partial

import numpy as np

from .. import oracle, timing, workloads
from ..cases import Case, distance
from . import contenders

TITLE = "Prediction of rows on the GPU"
UNIT = "ms"
HEADLINE = ()
TARGET = "at the roofline: `of limit` is the time of the arithmetic or of the bytes over ours"
ALTERNATE = timing.alternate

_ROWS = {"mnist, 1 M": ("mnist", 1_000_000), "tabular, 1 M": ("tabular", 1_000_000),
         "tiny, 1 M": ("tiny", 1_000_000), "mnist, 1024": ("mnist", 1024)}
_TOLERANCE = 2e-5
_CHECKED = 500

NAMES = tuple(_ROWS)
QUICK = ("mnist, 1024",)


def roofline(work, rows, card):
    """Operations and bytes of the call, and which of them takes longer: ("flops" or "bytes")."""
    flops = float(rows) * work.row_flops
    nbytes = 4.0 * rows * (work.widths[0] + work.widths[-1])
    slower = "flops" if flops / card.gflops > nbytes / card.gbytes else "bytes"
    return flops, nbytes, slower


def _contender(adapter, work, x):
    layers = workloads.weights(work)
    call, there = adapter.predictor(work, layers), adapter.there(x)
    result = adapter.here(call(there))
    worst = np.nan if np.isnan(result).any() else 0.0
    for begin in (0, len(x) // 2, max(0, len(x) - _CHECKED)):
        part = slice(begin, begin + _CHECKED)
        worst = max(worst, distance(result[part], oracle.predict(work, layers, x[part])))
    return partial(call, there), worst


def cases(names, card, quick=False):
    """Build and verify one case after the other."""
    adapters, missing = contenders.load()
    for name in names:
        network, rows = _ROWS[name]
        work = workloads.TRAIN[network]
        flops, nbytes, slower = roofline(work, rows, card)
        case = Case(name, _TOLERANCE, f"{'-'.join(map(str, work.widths))}, {rows:,} rows, "
                    f"bound by {'arithmetic' if slower == 'flops' else 'bytes'}",
                    **{slower: flops if slower == "flops" else nbytes})
        x = card.numbers(rows, work.widths[0])
        for adapter in adapters:
            if hasattr(adapter, "there"):
                case.add(adapter, _contender, work, x, name=adapter.NAME)
        case.absent.update(missing)
        yield case
