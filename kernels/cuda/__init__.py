"""Backend "cuda": the kernels of the contract on an NVIDIA GPU, compiled by Numba when first used.

Importing this package imports no Numba, which takes half a second and which nobody needs who asks
for another backend; `missing` says beforehand what keeps the modules beside it from running.

Where ``NUMBA_ENABLE_CUDASIM=1`` is set, Numba runs kernels in its simulator, thread after thread in
Python.  That is for tests: the results are those of the kernels, the speed is not.

A module of kernels has the functions of the contract (see `fusedmlp.kernels`), which take NumPy's
arrays, and for each a launcher, ``enqueue_<name>(stream, ...)``, with the same arguments behind a
stream, which takes arrays on the device and returns at once.  The executor calls launchers; a
function of the contract is `device.hosted` around its launcher.

Arrays on the device are `device.Array`: an address, rows, columns, pitch and dtype, made by
`device.matrix` and `device.vector` from a part of a flat device array of Numba's.  All of them
lie row by row: parameters and their gradients with the padding that their `pitch` says, everything
else without; a vector is a matrix of one row.  Panels, which the host's arenas are cut into, end
where arenas are copied (`panels`).  What changes from step to step, the learning rate and the
counts, is read from the device's memory, so that a step can be captured once and replayed:
launchers of optimizers and of random numbers take `rates`, a float64 array of the learning rate and
the number of steps before this one.

Kernels are made by factories of the floating-point type from scalar functions (`elementwise`,
`rules`, ...): a new activation is one row in `fusedmlp.spec` and one pair of functions here.
`device` is the only module that knows how they are compiled, and whether they run in the simulator.

Sums have a fixed order and use no atomic additions: a step gives the same bits each time, and an
element of a product the same bits for any number of rows.
"""

import importlib.util
import os
import sys

from . import cublaslt, driver

NAME = "cuda"

BLOCK = (256 * 2**20, 65_520, 10**13)
"""Bytes of activations, rows and flops that many rows are worked through in at a time."""

PAYS = 2**20
"""Parameters from which on "auto" trains here.

A first step compiles its kernels, which takes some seconds; a processor has to have more to do than
that in a usual training.  This is an estimate, no measurement.
"""

_matmul = {"precision": "float32", "library": "auto"}

__all__ = ["BLOCK", "NAME", "PAYS", "describe", "matmul", "missing", "pays", "resident",
           "set_matmul", "simulated"]


def simulated():
    """Whether kernels run in Numba's simulator, which needs no GPU.

    >>> simulated() in (True, False)
    True
    """
    text = os.environ.get("NUMBA_ENABLE_CUDASIM", "").strip()
    return text not in ("", "0")


def missing():
    """What keeps this backend from running here and what to install; empty where nothing does.

    >>> isinstance(missing(), str)
    True
    """
    found = []
    if importlib.util.find_spec("numba_cuda") is None:
        found.append("numba-cuda is not installed (pip install 'fusedmlp[cuda]')")
    if not simulated():
        problem = driver.problem()
        if problem:
            found.append(problem)
    return "; ".join(found)


def pays(plan):
    """Whether "auto" runs a plan here: one that trains or evaluates a large model.

    Predictions are left to the CPU, which answers for a single row in less time than a launch
    takes, and gives a row the same bits in any batch.

    >>> from fusedmlp.plan import Plan
    >>> pays(Plan((), (), 1, "float32", (), ()))
    False
    """
    return (bool(plan.totals) and plan.parameter_size >= PAYS and not simulated()
            and not missing())


def resident(array):
    """An array that lies on the device as data that stays there; None for any other.

    >>> missing() != "" or resident([1.0, 2.0]) is None
    True
    """
    from . import memory  # which imports Numba

    return memory.resident(array)


def matmul():
    """How products are computed: "precision" and "library", see `fusedmlp.config.set_matmul`.

    >>> sorted(matmul())
    ['library', 'precision']
    """
    return dict(_matmul)


def set_matmul(precision, library):
    """Change that for all products from now on."""
    _matmul.update(precision=precision, library=library)


def describe():
    """The device, where there is one, as `fusedmlp.config.info` shows it, and its products.

    >>> missing() != "" or "device" in describe()
    True
    """
    if simulated():
        return {"device": "none: Numba's simulator runs the kernels, which is for tests only "
                          "(NUMBA_ENABLE_CUDASIM)"}
    problem = cublaslt.missing()
    library = f"own tiles; {problem}" if problem else (
        f"own tiles or cuBLASLt {cublaslt.version()}, whichever is faster")
    wanted = ", ".join(f"{name} {value}" for name, value in _matmul.items())
    products = sys.modules.get(f"{__name__}.products")  # which imports Numba
    chosen = products.choices() if products else []
    auto = f"trains and evaluates models of {PAYS:,} parameters and more here"
    return {**driver.describe(), "auto": auto, "products": f"{library} ({wanted})",
            **{f"product {i + 1}": line for i, line in enumerate(chosen)}}
