"""Every backend keeps the contract: the same functions, the same arguments, every row."""

from __future__ import annotations

import inspect
import subprocess
import sys

import loss_truth
import numpy as np
import pytest
from conftest import demanded

import fusedmlp.kernels
from fusedmlp import backend as backends
from fusedmlp import plan, spec
from fusedmlp.kernels import KERNELS

FUNCTIONS = [(module, name) for module, names in KERNELS.items() for name in names]


@pytest.mark.parametrize("name", backends.names)
def test_backend_is_there(name):
    reason = backends.rejected().get(name)
    if reason is not None:
        assert name not in demanded(), reason
        pytest.skip(f"backend {name!r}: {reason}")
    assert backends.load(name).name == name


@pytest.mark.parametrize(("module", "name"),
                         [pair for pair in FUNCTIONS if pair[1] != "Executor"])
def test_arguments(backend, module, name):
    function = getattr(getattr(backend, module), name)
    assert tuple(inspect.signature(function).parameters) == KERNELS[module][name]


def test_executor_arguments(backend):
    """A compiled class shows no signature, so it is called by keyword."""
    builder = plan.Builder(2)
    y = builder.activation(builder.input(3), "relu")
    values = (builder.finish([y]), np.zeros(0, np.float32), (), 0)
    named = dict(zip(KERNELS["executor"]["Executor"], values, strict=True))
    for executor in (backend.executor.Executor(*values), backend.executor.Executor(**named)):
        out = np.full((5, 3), np.nan, np.float32)
        executor.forward(np.full((5, 3), -1.0, np.float32), out)
        np.testing.assert_array_equal(out, np.zeros((5, 3)))


def test_modules_lie_in_one_folder_of_their_own(backend):
    folders = {getattr(backend, module).__name__.rpartition(".")[0] for module in KERNELS}
    assert len(folders) == 1
    folder = sys.modules[folders.pop()]
    assert folder.__name__.rpartition(".")[0] == fusedmlp.kernels.__name__
    assert backend.name == folder.NAME


def test_backends_share_no_function(oracle, other):
    for module, name in FUNCTIONS:
        assert getattr(getattr(other, module), name) is not getattr(getattr(oracle, module), name)
        assert getattr(other, module).__name__ != getattr(oracle, module).__name__


@pytest.mark.parametrize("row", [r for r in spec.ACTIVATIONS.values() if r.kind != "slope"],
                         ids=lambda row: row.name)
def test_every_activation(backend, row):
    params = resolved_params(row)
    shape = {"halves": (2, 6), "pieces": (2, 3 * int((params or (1,))[0]))}.get(row.kind, (2, 3))
    x, y = np.full(shape, 0.25), np.full((2, 3), np.nan)
    backend.activations.activation(row.name, x, params, y)
    assert np.isfinite(y).all()
    dx = np.full(shape, np.nan)
    backend.activations.activation_grad(row.name, np.ones((2, 3)), x if row.reads == "x" else y,
                                        params, dx)
    assert np.isfinite(dx).all()


@pytest.mark.parametrize("row", loss_truth.ROWS, ids=lambda row: row.name)
def test_every_loss(backend, row):
    p, labels = loss_truth.data(row, 4, 6, "float64")
    losses, d = np.full(4, np.nan), np.full(p.shape, np.nan)
    loss_truth.call(backend, row, p, labels, losses, d)
    assert np.isfinite(losses).all()
    assert (d != 0.0).any()


@pytest.mark.parametrize("name", spec.SCORES)
def test_every_score(backend, name):
    p, scores = np.array([[0.25, 0.75], [0.5, 0.1]]), np.full(2, np.nan)
    backend.metrics.score(name, p, p.copy(), tuple(v for _, v in spec.SCORES[name].params), scores)
    assert np.isfinite(scores).all()


def test_kinds_of_losses_and_optimizers_are_kernels():
    kinds = {f"{row.kind}_loss" for row in spec.LOSSES.values()} | {"softmax_cross_entropy"}
    assert kinds == set(KERNELS["losses"])
    assert {f"{name}_update" for name in spec.OPTIMIZERS} == set(KERNELS["optimizers"])


def test_optimizer_arguments_are_those_of_the_row():
    for name, row in spec.OPTIMIZERS.items():
        expected = ["param", "grad", *row.slots, "learning_rate", *(key for key, _ in row.params)]
        found = [key for key in KERNELS["optimizers"][f"{name}_update"] if key != "step"]
        assert found == expected


def test_kernels_is_no_top_level_package(tmp_path):
    """`kernels/` is mapped to fusedmlp.kernels; nobody may meet it under its bare name."""
    code = (
        "import sys, fusedmlp.kernels.reference\n"
        "assert not [m for m in sys.modules if m.partition('.')[0] == 'kernels'], sys.modules\n"
        "try:\n"
        "    import kernels\n"
        "except ModuleNotFoundError:\n"
        "    pass\n"
        "else:\n"
        "    raise SystemExit(f'kernels is importable from {kernels.__path__}')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True,
                          text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_named_backend_is_the_one_in_use(backend):
    kernels = backends.kernels()
    assert kernels is backend
    for module in KERNELS:
        assert getattr(kernels, module) is sys.modules[getattr(backend, module).__name__]


def resolved_params(row):
    """Default parameters in kernel order; those of a row that others resolve to are its own."""
    resolved, params = spec.resolve_activation(row.name)
    return params if resolved is row else tuple(v for _, v in row.params)
