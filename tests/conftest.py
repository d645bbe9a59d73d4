"""What all tests share: fixtures that run a test on every backend.

``FUSEDMLP_TEST_BACKENDS`` names the backends that must be there, separated by commas; a test of one
of them fails where it cannot be used.  Any other backend that cannot be used has no tests but
``test_contract.py::test_backend_is_there``, which is skipped with the reason.
"""

from __future__ import annotations

import inspect
import os

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


@pytest.fixture(params=TESTED)
def backend(request):
    """The kernels of each backend in turn, which is also the one in use for the whole library."""
    before = backends.current()
    try:
        assert backends.choose(request.param) == request.param
        kernels = backends.kernels()
        assert kernels is backends.load(request.param)
        yield kernels
    finally:
        backends.choose(before)


@pytest.fixture(params=[name for name in TESTED if name != ORACLE])
def other(request):
    """The kernels of each backend but the oracle."""
    return backends.load(request.param)


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


def pytest_collection_modifyitems(items):
    """Mark the tests that mention Keras, so that they can be run where it is installed."""
    for item in items:
        function = getattr(item, "function", None)
        if function is not None and ("keras" in item.fixturenames
                                     or "keras" in inspect.getsource(function)):
            item.add_marker("keras")
