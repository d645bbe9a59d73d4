"""What all tests share: fixtures that run a test on every backend.

``FUSEDMLP_TEST_BACKENDS`` names the backends that must be there, separated by commas; a test of one
of them fails where it cannot be used.  Any other backend that cannot be used has no tests but
``test_contract.py::test_backend_is_there``, which is skipped with the reason.

``pytest -m gpu`` runs what computes on a GPU: the tests of every backend, for "cuda" alone, and its
own.  Without a GPU they are skipped with the reason; in Numba's simulator, which
``NUMBA_ENABLE_CUDASIM=1`` asks for, they are the same tests, ``-m "gpu and not large"`` those that
end in reasonable time.
"""

from __future__ import annotations

import functools
import inspect
import os
import signal

import pytest

from fusedmlp import backend as backends

ORACLE = backends.names[-1]


def demanded():
    """Names of the backends that must be there; the plain one always must."""
    text = os.environ.get("FUSEDMLP_TEST_BACKENDS", "")
    wanted = {name.strip() for name in text.split(",")} - {""} | {ORACLE}
    unknown = wanted - set(backends.names)
    if unknown:
        raise pytest.UsageError(
            f"FUSEDMLP_TEST_BACKENDS must name backends of {', '.join(backends.names)}. "
            f"Received: {', '.join(sorted(unknown))}"
        )
    return wanted


TESTED = [name for name in backends.names if name in demanded() or name not in backends.rejected()]
GPU = "cuda"


def pytest_generate_tests(metafunc):
    """Tests that take `backend` or `other` run for each of them, or with ``-m gpu`` for the GPU's.
    """
    names = [GPU] if metafunc.config.option.markexpr.startswith("gpu") else TESTED
    for fixture, known in (("backend", names), ("other", [n for n in names if n != ORACLE])):
        if fixture in metafunc.fixturenames:
            metafunc.parametrize(fixture, known, indirect=True)


def _there(name):
    """Skip the test of a backend that is not there, unless it must be."""
    reason = backends.rejected().get(name)
    if reason is not None and name not in demanded():
        pytest.skip(f"backend {name!r}: {reason}")
    return name


@pytest.fixture
def backend(request):
    """The kernels of each backend in turn, which is also the one in use for the whole library."""
    _there(request.param)
    before = backends.current()
    try:
        assert backends.choose(request.param) == request.param
        kernels = backends.kernels()
        assert kernels is backends.load(request.param)
        yield kernels
    finally:
        backends.choose(before)


@pytest.fixture
def other(request):
    """The kernels of each backend but the oracle."""
    return backends.load(_there(request.param))


@pytest.fixture
def cuda():
    """The kernels for GPUs, on a GPU or in the simulator."""
    return backends.load(_there(GPU))


@pytest.fixture(scope="session")
def oracle():
    """The kernels of the backend that the others are held to."""
    return backends.load(ORACLE)


@pytest.fixture
def use_threads(other):
    """A function that makes the calls of `other` run on n threads, also where one is faster."""
    if other.native is None:
        pytest.skip(f"backend {other.name!r} has no threads to set")
    before = other.native.get_threads()
    yield lambda n: other.native.set_threads(n, always=True)
    other.native.set_threads(before)


@functools.cache  # most functions make many items
def _mentions_keras(function):
    return "keras" in inspect.getsource(function)


def pytest_configure(config):
    """Interrupts are as in a terminal, also where whoever started the tests ignores them."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items):
    """Mark the tests that mention Keras, so that they can be run where it is installed, and those
    that compute on a GPU.
    """
    for item in items:
        named = getattr(getattr(item, "callspec", None), "params", {})
        if GPU in (named.get("backend"), named.get("other")) or GPU in item.fixturenames:
            item.add_marker("gpu")
        function = getattr(item, "function", None)
        if function is not None and ("keras" in item.fixturenames or _mentions_keras(function)):
            item.add_marker("keras")
