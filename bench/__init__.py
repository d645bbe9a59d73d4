"""Benchmarks: fusedmlp and its peers on the same work, verified first, then timed alternately.

Run ``python -m bench --help`` from the root of the repository.  Nothing here is installed, and
nothing of the library depends on it; the library that is measured is the installed one.
"""
