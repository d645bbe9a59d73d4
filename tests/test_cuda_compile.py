"""Every CUDA kernel, compiled without a GPU: to PTX, and to machine code where ptxas is there.

Nothing runs here.  What is looked at is what the compilers say: that every kernel compiles for the
types it is launched with, that those which training spends its time in keep their numbers in
registers, and that float32 is not widened behind one's back.
"""

from __future__ import annotations

import importlib.metadata
import re
import shutil
import subprocess
from types import SimpleNamespace

import numpy as np
import pytest

from fusedmlp import spec
from fusedmlp.kernels import cuda as backend

pytest.importorskip("numba_cuda", reason="numba-cuda is not installed")
if backend.simulated():
    pytest.skip("Numba's simulator compiles nothing", allow_module_level=True)

import numba.cuda.codegen
import numba.cuda.cudadrv.devices
import numba.cuda.dispatcher
from numba import cuda

from fusedmlp.kernels.cuda import (
    activations,
    arithmetic,
    dense,
    device,
    elementwise,
    features,
    loss_rules,
    losses,
    masks,
    metrics,
    normalization,
    observing,
    optimizers,
    panels,
    parameters,
    persistent,
    random,
    rules,
    sparse,
    steps,
    whole_updates,
)

MODULES = (activations, arithmetic, dense, elementwise, features, losses, loss_rules, masks,
           metrics, normalization, observing, optimizers, panels, parameters, persistent, random,
           rules, sparse, steps, whole_updates)
BOTH = (False, True)
TILES = {R: dense._TILES[np.dtype(R).name] for R in (np.float32, np.float64)}


def table():
    """Each factory of kernels with what it is called with besides the type."""
    for name in spec.ELEMENTWISE:
        yield activations._forward, (name,)
        yield activations._backward, (name,)
    for factory in activations._ROWS.values():
        yield from ((factory, (wide,)) for wide in BOTH)
    for factory in (activations._glu, activations._maxout, activations._prelu, losses._pair,
                    random._draw, whole_updates._lamb_kernels, whole_updates._adafactor_kernels,
                    whole_updates._muon_kernels, arithmetic._columns, arithmetic._table,
                    normalization._columns, features._elementwise, features._picked,
                    parameters._gradients, parameters._constraints, parameters._spectral,
                    parameters._orthogonal, observing._parameter, panels._kernels,
                    sparse._products, masks._pool, masks._weights):
        yield factory, ()
    yield from ((arithmetic._map, (name,)) for name in arithmetic.functions(np.float32))
    yield from ((arithmetic._sums, (wide,)) for wide in BOTH)
    yield from ((normalization._rows, (wide,)) for wide in BOTH)
    yield from ((masks._mask, (wide,)) for wide in BOTH)
    yield from ((steps._convert, (name,)) for name in steps._SOURCES)
    yield from ((parameters._activity, (wide,)) for wide in BOTH)
    yield from ((observing._columns, (name,)) for name in ("linear", "relu", "gelu"))
    yield from ((losses._softmax_cross_entropy, (wide,)) for wide in BOTH)
    yield from ((losses._row, (name, False)) for name in loss_rules.rows())
    yield from ((losses._elementwise, (name, False)) for name in loss_rules.elementwise())
    yield from ((losses._distribution, (name, False)) for name in loss_rules.distribution())
    yield from ((losses._overlap, (name,)) for name in loss_rules.overlap())
    yield from ((metrics._score, (name, False)) for name in spec.SCORES)
    yield from ((metrics._tally, (name,)) for name in spec.TALLIES)
    yield from ((optimizers._update, (name,)) for name in spec.ELEMENTWISE_OPTIMIZERS)
    for factory in (steps._gather, steps._put, steps._reduce, steps._rescale, steps._penalty,
                    steps._penalty_grad):
        yield factory, ()
    for shared in BOTH:
        yield persistent.compiled, (("linear", "relu"), "adam", shared)


CASES = list(table())
OTHERS = [case for case in CASES if case[0].__module__.rpartition(".")[2] in (
    "features", "masks", "observing", "panels", "parameters", "sparse", "steps")]
BARE = (steps._begin, parameters._total, sparse._gather, observing._summary(),
        observing._finish())  # of one type alone
IDS = ["-".join([factory.__module__.rpartition(".")[2] + factory.__name__, *map(str, rest)])
       for factory, rest in CASES]
PRODUCTS = [(getattr(dense, name), R, tile, activation, precision)
            for name, activation in (("_forward", "relu"), ("_forward", "gelu"), ("_dx", "relu"),
                                     ("_dw", "linear"))
            for R, tiles in TILES.items()
            for tile in (tiles if activation != "gelu" else tiles[:1])
            for precision in (None, "bfloat16")
            if precision is None or (tile is TILES[np.float32][0] and activation != "gelu")]
HOT = [  # what training of ordinary networks spends its time in, besides products
    (activations._forward, ("relu",)), (activations._forward, ("tanh",)),
    (activations._forward, ("silu",)), (activations._backward, ("relu",)),
    (activations._backward, ("tanh",)), (activations._backward, ("silu",)),
    (activations._softmax, (False,)), (losses._softmax_cross_entropy, (False,)),
    (losses._softmax_cross_entropy, (True,)), (losses._elementwise, ("mean_squared_error", False)),
    (arithmetic._map, ("add",)), (optimizers._update, ("sgd",)),
    (optimizers._update, ("momentum",)), (optimizers._update, ("adam",)), (random._draw, ()),
    (steps._gather, ()),
]
HOT_IDS = [IDS[CASES.index(case)] for case in HOT]
NARROW = {"noise"}  # beside the one that is hot
NOT_WIDENED = ("activation_relu", "activation_tanh", "activation_grad_silu", "softmax",
               "softmax_grad")  # the others have rates, sums or numbers in float64


@pytest.fixture(autouse=True)
def capability(monkeypatch):
    """The compute capability that functions called by kernels are compiled for."""
    found = SimpleNamespace(compute_capability=(9, 0))
    monkeypatch.setattr(numba.cuda.dispatcher, "get_current_device", lambda: found)
    return found


def kernels(made):
    """All kernels in what a factory returned."""
    if isinstance(made, device.Kernel):
        yield made
    elif isinstance(made, tuple):
        for one in made:
            yield from kernels(one)


def ptx_of(kernel, capability):
    text, _ = cuda.compile(kernel.function, kernel.types, device=False, output="ptx", abi="numba",
                           cc=capability, launch_bounds=kernel.launch_bounds)
    assert f".target sm_{capability[0]}{capability[1]}" in text
    assert ".visible .entry" in text
    return text


def assembler():
    """The path of ptxas, of the toolkit or of the wheel nvidia-cuda-nvcc."""
    try:
        found = [file for file in importlib.metadata.files("nvidia-cuda-nvcc") or ()
                 if file.name in ("ptxas", "ptxas.exe")]
    except importlib.metadata.PackageNotFoundError:
        found = []
    return str(found[0].locate()) if found else shutil.which("ptxas")


def spilled(text, capability, folder):
    """Bytes that a kernel keeps in local memory, once it is machine code."""
    ptxas = assembler()
    if ptxas is None:
        pytest.skip("ptxas is not installed (pip install nvidia-cuda-nvcc)")
    source, target = folder / "kernel.ptx", folder / "kernel.cubin"
    source.write_text(text)
    done = subprocess.run(
        [ptxas, "-v", f"-arch=sm_{capability[0]}{capability[1]}", str(source), "-o", str(target)],
        capture_output=True, text=True, check=False)
    report = done.stdout + done.stderr
    assert done.returncode == 0, report
    assert target.read_bytes()[:4] == b"\x7fELF"
    found = re.findall(r"(\d+) bytes spill stores, (\d+) bytes spill loads", report)
    assert found, report
    return sum(int(number) for pair in found for number in pair)


def assert_wide(name, text, R):
    """It reads and writes 16 bytes at a time."""
    kind = "v4.f32" if R is np.float32 else "v2.f64"
    for access in (r"ld\.global(\.nc)?", r"st\.global"):
        assert re.search(rf"\b{access}\.{kind}", text), name


@pytest.mark.parametrize(("factory", "rest"), CASES, ids=IDS)
def test_every_kernel_compiles(factory, rest, capability, tmp_path):
    """In float32, whose constants are the ones that go wrong; hot ones stay in registers."""
    found = list(kernels(factory(np.float32, *rest)))
    assert found
    for kernel in found:
        text = ptx_of(kernel, (9, 0))
        # all of a persistent kernel is hot, and a thread has 128 registers
        if (factory, rest) in HOT or factory is persistent.compiled:
            assert spilled(text, (9, 0), tmp_path) == 0
        if (factory, rest) in HOT and kernel.name not in NARROW:
            assert_wide(kernel.name, text, np.float32)
        if kernel.name in NOT_WIDENED:
            assert ".f64" not in text


@pytest.mark.parametrize(("factory", "rest"), OTHERS, ids=[IDS[CASES.index(case)]
                                                           for case in OTHERS])
def test_what_only_the_executor_launches_compiles_for_sm_80(factory, rest, capability):
    """In float64; the kernels of the contract are those of the simulator's tests in both types."""
    capability.compute_capability = (8, 0)
    for kernel in kernels(factory(np.float64, *rest)):
        ptx_of(kernel, (8, 0))


@pytest.mark.parametrize("kernel", BARE, ids=lambda kernel: kernel.name)
def test_kernels_of_one_type_compile(kernel, capability):
    for capability.compute_capability in ((9, 0), (8, 0)):
        ptx_of(kernel, capability.compute_capability)


@pytest.mark.parametrize(("R", "of"), [(np.float32, (8, 0)), (np.float64, (9, 0))],
                         ids=["float32-sm_80", "float64-sm_90"])
@pytest.mark.parametrize(("factory", "rest"), HOT, ids=HOT_IDS)
def test_hot_kernels_stay_in_registers(factory, rest, R, of, capability, tmp_path):
    """And read and write 16 bytes at a time."""
    capability.compute_capability = of
    for kernel in kernels(factory(R, *rest)):
        text = ptx_of(kernel, of)
        assert spilled(text, of, tmp_path) == 0
        if kernel.name not in NARROW:
            assert_wide(kernel.name, text, R)


@pytest.mark.parametrize(("factory", "R", "tile", "activation", "precision"), PRODUCTS)
def test_products_stay_in_registers(factory, R, tile, activation, precision, tmp_path):
    kernel = factory(R, tile, activation, precision)
    text = ptx_of(kernel, (9, 0))
    # the sums of a thread's piece of the tile, all multiply-adds, and none in local memory
    kind = "f32" if R is np.float32 else "f64"
    assert len(re.findall(rf"fma\.rn\.{kind}", text)) >= tile.thread_rows * tile.thread_columns
    assert not re.search(r"(ld|st)\.local", text)
    assert spilled(text, (9, 0), tmp_path) == 0
    if R is np.float32 and activation != "gelu":  # whose tails are computed in float64
        assert ".f64" not in text


def test_a_launch_reaches_the_driver(monkeypatch):
    """What a first launch does on a GPU, up to the call of the driver: machine code, arguments."""
    launched, context = [], SimpleNamespace(
        device=SimpleNamespace(compute_capability=(9, 0), id=0))
    monkeypatch.setattr(numba.cuda.cudadrv.devices, "get_context", lambda *number: context)
    library = numba.cuda.codegen.CUDACodeLibrary
    monkeypatch.setattr(library, "get_cufunc", lambda self: SimpleNamespace(
        kernel=bytes(self.get_cubin().code[:4]), handle=7))
    monkeypatch.setattr(numba.cuda.dispatcher._Kernel, "bind", lambda self: None)
    monkeypatch.setattr(numba.cuda.dispatcher, "launch",
                        lambda stream, config, kernel, *rest: launched.append(
                            (config.grid[0], config.block[0], config.shmem_size, kernel, rest)))
    x, order, out = (device.Array(place, rows, 8, 8, np.dtype(dtype)) for place, rows, dtype in (
        (4096, 9, "float32"), (8192, 1, "int64"), (16384, 4, "float32")))
    clock = device.Array(32768, 1, 3, 3, np.dtype("int64"))
    steps.gather(0, x, order, clock, 4, 4, out)  # few blocks, of which Numba warns
    (blocks, threads, shared, code, rest), = launched
    assert (blocks, threads, shared, code) == (1, device.BLOCK, 0, b"\x7fELF")
    plain = [value if isinstance(value, int) else value.value for value in rest]
    assert plain == [4096, 8, 2, 2, 8192, 32768, 4, 4, 16384]
    assert device.launching.CUDA_LOW_OCCUPANCY_WARNINGS  # of others' launches it still does


def test_table_has_every_factory():
    """A new family of kernels can't be left out above."""
    for factory, rest in CASES:
        factory(np.float32, *rest)
    for factory, R, *rest in PRODUCTS:
        factory(R, *rest)
    names = {module.__name__ for module in MODULES}
    for factory in device.factories:
        if factory.__module__ in names:
            assert any(key[0] == "float32" for key in factory.made), factory.__name__
