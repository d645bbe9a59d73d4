"""Parameters row by row on the device, and in panels outside of it.

The arenas of the host cut wide parameters into panels, which is for the caches of a processor's
cores (see `fusedmlp.kernels.layout`).  On the device they are matrices with a pitch, as cuBLASLt
and wide accesses want them.  They lie in the same place either way, and so does what has a number
for each of their elements: gradients and the state of optimizers.
"""

from __future__ import annotations

import numpy as np

from fusedmlp.kernels.layout import PANEL
from fusedmlp.spec import OPTIMIZERS

from .device import BLOCK, by_dtype, cuda, kernel, launch, scalar, vector

__all__ = ["cuts", "pack", "unpack"]


def cuts(plan, slots):
    """What of the arenas is cut into panels: offset, rows and pitch of each such part.

    Parameters
    ----------
    plan : fusedmlp.plan.Plan
    slots : int
        Number of the optimizer's state arrays.

    Returns
    -------
    parameters, gradients : list of (int, int, int)
    slots : list of such lists
    """
    width = PANEL // np.dtype(plan.dtype).itemsize
    wide = {role: {b.offset: (b.rows, b.pitch) for b in plan.buffers
                   if b.role == role and b.rows > 1 and b.pitch > width}
            for role in ("parameter", "parameter_gradient")}
    parameters, gradients = wide["parameter"], wide["parameter_gradient"]
    states = [{} for _ in range(slots)]
    for op in plan.ops:
        known = op.attributes.get("parameters", ()) if op.phase == "update" else ()
        pairs = {at: at for at in known if at in parameters}  # by the place of the parameter
        found = [(gradients, pairs)]
        if "slot" in op.attributes:
            found.append((states[op.attributes["slot"]], pairs))
        if op.op == "update":
            row = OPTIMIZERS[op.attributes["optimizer"]]
            found += [(states[number], dict(zip(known, places, strict=True)))
                      for name, (number, places) in zip(row.slots, op.attributes["slots"],
                                                        strict=True) if name not in row.factored]
        for place, of in found:
            place.update({to: parameters[at] for at, to in of.items() if at in parameters})
    parameters, gradients, *states = [
        [(at, *shape) for at, shape in found.items()] for found in (parameters, gradients, *states)]
    return parameters, gradients, states


def unpack(stream, source, target, parts):
    """Copy these parts of an arena in panels into one without; both are flat device arrays."""
    _enqueue(0, stream, source, target, parts)


def pack(stream, source, target, parts):
    """Copy these parts of an arena without panels into one that has them."""
    _enqueue(1, stream, source, target, parts)


def _enqueue(which, stream, source, target, parts):
    width = PANEL // source.dtype.itemsize
    for offset, rows, pitch in parts:
        size = rows * pitch
        _kernels(source.dtype)[which](
            stream, launch(size), vector(source, size, offset).data,
            vector(target, size, offset).data, rows, pitch, width)


@by_dtype
def _kernels(R):
    @scalar
    def place(e, rows, pitch, width):
        i, j = e // pitch, e % pitch
        before = j // width * width  # columns of the panels before this one
        return before * rows + i * min(width, pitch - before) + j - before

    @kernel("R* R* i i i", R)
    def unpack(panels, matrix, rows, pitch, width):
        e = cuda.blockIdx.x * BLOCK + cuda.threadIdx.x
        while e < rows * pitch:
            matrix[e] = panels[place(e, rows, pitch, width)]
            e += cuda.gridDim.x * BLOCK

    @kernel("R* R* i i i", R)
    def pack(matrix, panels, rows, pitch, width):
        e = cuda.blockIdx.x * BLOCK + cuda.threadIdx.x
        while e < rows * pitch:
            panels[place(e, rows, pitch, width)] = matrix[e]
            e += cuda.gridDim.x * BLOCK

    return unpack, pack
