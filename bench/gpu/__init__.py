"""Benchmarks on an NVIDIA GPU: ``python -m bench gpu``.

`card` is the device with its limits and its clock, one module each are the subjects (`kernels`,
`products`, `training`, `prediction`) and the peers that no CPU has (`contenders`), `command` reads
arguments, and `results` writes ``RESULTS.md``.  Numba and the peers are imported once a GPU was
found, not before.
"""
