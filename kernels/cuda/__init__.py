"""Backend "cuda": the kernels of the contract on an NVIDIA GPU, compiled by Numba when first used.

Importing this package imports no Numba, which takes half a second and which nobody needs who asks
for another backend; `missing` says beforehand what keeps the modules beside it from running.

Where ``NUMBA_ENABLE_CUDASIM=1`` is set, Numba runs kernels in its simulator, thread after thread in
Python.  That is for tests: the results are those of the kernels, the speed is not.
"""

import importlib.util
import os

from . import driver

NAME = "cuda"

__all__ = ["NAME", "describe", "missing", "simulated"]


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


def describe():
    """The device, where there is one, as `fusedmlp.config.info` shows it.

    >>> missing() != "" or "device" in describe()
    True
    """
    if simulated():
        return {"device": "none: Numba's simulator runs the kernels, which is for tests only "
                          "(NUMBA_ENABLE_CUDASIM)"}
    return driver.describe()
