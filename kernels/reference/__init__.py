"""The backend "numpy": every kernel in plain NumPy, formula beside code.

It needs nothing but NumPy, so it is always there, and it is the oracle that the other backends are
held to: where speed and plainness pull apart, it stays plain.  float32 is computed in float64 and
rounded once, except where no rounding can happen.

It keeps the contract of `fusedmlp.kernels`, and knows nothing of the package but `fusedmlp.spec`.
"""

from . import activations, dense, executor, losses, metrics, optimizers, random

NAME = "numpy"

__all__ = ["NAME", "activations", "dense", "executor", "losses", "metrics", "optimizers", "random"]
