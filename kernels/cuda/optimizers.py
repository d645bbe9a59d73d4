"""Updates of parameters in place; the equations are those of `fusedmlp.spec.OPTIMIZERS`.

An elementwise optimizer is two functions in `rules`: one computes, in float64, what is the same for
all elements from the learning rate, the count and the hyperparameters; the other moves one element
with these factors.  The first thread of a block calls the one, all threads the other, so that one
launch updates a whole arena, and what differs from step to step, the learning rate and the count,
is read from the device's memory.
"""

from __future__ import annotations

from inspect import Parameter, Signature

import numpy as np

from fusedmlp.kernels import KERNELS
from fusedmlp.spec import OPTIMIZERS

from . import quads, rules
from .device import BLOCK, NULL, by_dtype, cuda, hosted, kernel, vector
from .quads import load, store
from .whole_updates import enqueue_whole_update, scratch

__all__ = ["enqueue_update", "enqueue_whole_update", "scratch",
           *(f"{name}_update" for name in OPTIMIZERS)]

_SLOTS = 3
_PARAMS = 6  # the most hyperparameters that a row has, weight decay apart


def enqueue_update(stream, name, param, grad, slots, rates, scale, every, params):
    """The update of an elementwise row, of one flat part of the arena.

    Parameters
    ----------
    stream : Numba stream
    name : str
        One of `fusedmlp.spec.ELEMENTWISE_OPTIMIZERS`.
    param, grad : device.Array
        Vectors.
    slots : sequence of device.Array
        As long as `param`, one for each of the row's slots.
    rates : device.Array
        float64 (2,): the learning rate, and the number of steps before this one.
    scale : float
        Factor of the learning rate.
    every : int
        Steps between two updates; a step that isn't the last of so many does nothing.
    params : sequence of float
        The row's hyperparameters, the weight decay last.
    """
    *params, decay = map(float, params)
    params += [0.0] * (_PARAMS - len(params))
    pointers = [slot.data for slot in slots] + [NULL] * (_SLOTS - len(slots))
    _update(param.dtype, name)(stream, quads.blocks(param.size), param.data, grad.data, *pointers,
                               rates.data, param.size, quads.count(param.size, param, grad, *slots),
                               every, float(scale), decay, *params)


@by_dtype
def _update(R, name):
    factors, element = rules.factors()[name], rules.elements(R)[name]
    count = len(OPTIMIZERS[name].slots)
    zero = R(0)
    zeros = zero, zero, zero, zero
    tiny = np.float64(np.finfo(R).tiny)  # stands in for an epsilon of 0, so that 0/0 is 0

    @kernel("R* R* R* R* R* d* i i i d d d d d d d d", R, name=f"{name}_update")
    def update(w, g, s0, s1, s2, rates, n, whole, every, scale, decay, p0, p1, p2, p3, p4, p5):
        factor = cuda.shared.array(8, R)
        t = cuda.threadIdx.x
        steps = int(rates[1]) + 1
        if steps % every != 0:
            return
        if t == 0:
            rate = rates[0] * scale
            c1, c2, c3, c4, c5, c6, c7 = factors(rate, np.float64(steps // every), p0, p1, p2, p3,
                                                 p4, p5, tiny)
            factor[0] = R(rate * decay)
            factor[1], factor[2], factor[3], factor[4] = R(c1), R(c2), R(c3), R(c4)
            factor[5], factor[6], factor[7] = R(c5), R(c6), R(c7)
        cuda.syncthreads()
        shrink, f1, f2, f3 = factor[0], factor[1], factor[2], factor[3]
        f4, f5, f6, f7 = factor[4], factor[5], factor[6], factor[7]
        q = cuda.blockIdx.x * BLOCK + t
        while q < whole:
            w0, w1, w2, w3 = load(w, 4 * q)
            g0, g1, g2, g3 = load(g, 4 * q)
            a0, a1, a2, a3 = load(s0, 4 * q) if count > 0 else zeros
            b0, b1, b2, b3 = load(s1, 4 * q) if count > 1 else zeros
            c0, c1, c2, c3 = load(s2, 4 * q) if count > 2 else zeros
            w0, a0, b0, c0 = element(w0 - shrink * w0, g0, a0, b0, c0, f1, f2, f3, f4, f5, f6, f7)
            w1, a1, b1, c1 = element(w1 - shrink * w1, g1, a1, b1, c1, f1, f2, f3, f4, f5, f6, f7)
            w2, a2, b2, c2 = element(w2 - shrink * w2, g2, a2, b2, c2, f1, f2, f3, f4, f5, f6, f7)
            w3, a3, b3, c3 = element(w3 - shrink * w3, g3, a3, b3, c3, f1, f2, f3, f4, f5, f6, f7)
            store(w, 4 * q, w0, w1, w2, w3)
            if count > 0:
                store(s0, 4 * q, a0, a1, a2, a3)
            if count > 1:
                store(s1, 4 * q, b0, b1, b2, b3)
            if count > 2:
                store(s2, 4 * q, c0, c1, c2, c3)
            q += cuda.gridDim.x * BLOCK
        i = 4 * whole + cuda.blockIdx.x * BLOCK + t
        while i < n:
            a = s0[i] if count > 0 else zero
            b = s1[i] if count > 1 else zero
            c = s2[i] if count > 2 else zero
            x = w[i]
            x, a, b, c = element(x - shrink * x, g[i], a, b, c, f1, f2, f3, f4, f5, f6, f7)
            w[i] = x
            if count > 0:
                s0[i] = a
            if count > 1:
                s1[i] = b
            if count > 2:
                s2[i] = c
            i += cuda.gridDim.x * BLOCK

    return update


# -- the functions of the contract ---------------------------------------------------------------


def _launcher(row):
    """The launcher of one row with the contract's arguments, the rates being numbers."""
    names = KERNELS["optimizers"][f"{row.name}_update"]

    def enqueue(stream, *values):
        given = dict(zip(names, values, strict=True))
        held = cuda.to_device(np.array([given["learning_rate"], given.get("step", 1) - 1.0]),
                              stream=stream)
        arguments = [row.name, given["param"], given["grad"], [given[slot] for slot in row.slots],
                     vector(held, 2), 1.0, 1, [given[name] for name, _ in row.params]]
        if row.kind == "elementwise":
            enqueue_update(stream, *arguments)
            return held  # which the launch reads
        length, dtype = scratch(row.name, *given["param"].shape, given["param"].dtype)
        work = cuda.to_device(np.zeros(length, dtype), stream=stream)
        enqueue_whole_update(stream, *arguments, vector(work, length))
        return held, work

    enqueue.__name__ = f"enqueue_{row.name}_update"
    enqueue.__doc__ = "; ".join(row.equations) + "."
    enqueue.__signature__ = Signature(
        [Parameter(name, Parameter.POSITIONAL_OR_KEYWORD) for name in ("stream", *names)])
    return hosted(enqueue, "param", *row.slots)


for _name in OPTIMIZERS:
    globals()[f"{_name}_update"] = _launcher(OPTIMIZERS[_name])
