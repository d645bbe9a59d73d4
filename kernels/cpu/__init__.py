"""Backend "cython": compiled kernels, one C source for several instruction sets.

The matrix product, the loops and the threads are C (`isa_kernels.c`, `threads.c`), compiled once
per instruction set and linked into `native`; the Cython modules beside it are the kernels of the
contract.  Importing this package fails where the extensions were not built.
"""

from . import activations, dense, executor, losses, metrics, native, optimizers, random

NAME = "cython"

__all__ = [
    "NAME", "activations", "dense", "executor", "losses", "metrics", "native", "optimizers",
    "random",
]
