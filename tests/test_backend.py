"""`fusedmlp.backend`: the order, the choice, and why a backend was rejected."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
import sysconfig
import textwrap
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import ORACLE, TESTED

from fusedmlp import backend as backends
from fusedmlp import config, ops
from fusedmlp.kernels import KERNELS
from fusedmlp.plan import Builder

VARIABLES = ("FUSEDMLP_BACKEND", "FUSEDMLP_ISA", "FUSEDMLP_THREADS")
COMPILED = [name for name in TESTED if backends.load(name).native is not None]
compiled = pytest.mark.skipif(not COMPILED, reason="no compiled backend can be used here")


def run_python(code, cwd, **environment):
    """Run code in a fresh interpreter with only these of the package's variables set."""
    inherited = {key: value for key, value in os.environ.items() if key not in VARIABLES}
    return subprocess.run([sys.executable, "-W", "error", "-c", textwrap.dedent(code)], cwd=cwd,
                          env={**inherited, **environment}, capture_output=True, text=True,
                          check=False, timeout=120)


def output_of(code, cwd, **environment):
    done = run_python(code, cwd, **environment)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


# -- order and choice ----------------------------------------------------------------------------


def test_the_plain_backend_is_the_last_and_always_there():
    assert backends.names[-1] == ORACLE == "numpy"
    assert ORACLE not in backends.rejected()
    assert backends.load(ORACLE).native is None


def test_namespace_has_the_modules_of_the_contract(backend):
    for module, functions in KERNELS.items():
        for function in functions:
            assert callable(getattr(getattr(backend, module), function))
    assert backends.load(backend.name) is backend


@pytest.mark.parametrize("name", TESTED)
def test_the_chosen_backend_really_runs(name, monkeypatch):
    before = backends.current()
    calls = []
    for each in TESTED:
        module = backends.load(each).activations
        kernel = module.activation

        def counted(*arguments, each=each, kernel=kernel):
            calls.append(each)
            return kernel(*arguments)

        monkeypatch.setattr(backends.load(each), "activations",
                            SimpleNamespace(activation=counted))
    try:
        backends.choose(name)
        ops.activation([1.0], "relu")
    finally:
        backends.choose(before)
    assert calls == [name]


def test_auto_is_the_best_that_can_be_used():
    before = backends.current()
    try:
        usable = [name for name in backends.names
                  if name not in backends.rejected() and name != "cuda"]
        assert backends.choose("auto") == usable[0]
    finally:
        backends.choose(before)


@pytest.mark.parametrize("wrong", ["numpie", "", None, 3, ["numpy"]])
def test_unknown_names_leave_the_choice_as_it_was(wrong):
    before = backends.kernels()
    with pytest.raises(ValueError, match=r"'auto', 'cuda', 'cython', 'numpy'\. Received: "):
        backends.choose(wrong)
    with pytest.raises(ValueError, match=r"Unknown backend.*Received: "):
        backends.load(wrong)
    assert backends.kernels() is before


def test_key_changes_with_the_backend(backend):
    assert backends.key()[0] == backend.name
    assert len({backends.choose(name) and backends.key() for name in TESTED}) == len(TESTED)


@compiled
def test_key_changes_with_the_instruction_set():
    before = backends.current()
    native = backends.load(COMPILED[0]).native
    best = native.isa()
    try:
        backends.choose(COMPILED[0])
        keys = []
        for name in native.available():
            native.set_isa(name)
            assert backends.instruction_set() == name
            keys.append(backends.key())
        assert len(set(keys)) == len(keys)
    finally:
        native.set_isa(best)
        backends.choose(before)


def test_executor_is_that_of_the_backend_in_use(backend):
    builder = Builder(batch_size=2, dtype="float64")
    x = builder.input(3)
    y = builder.dense(x, builder.parameter("kernel", (3, 1), 0, 8))
    plan = builder.finish([y], parameter_size=24, trainable_size=24)
    arena = np.zeros(24 + 8)
    arena = arena[-arena.ctypes.data % 64 // 8:][:24]
    arena[0:24:8] = [1.0, 10.0, 100.0]
    executor = backends.executor(plan, arena)
    assert isinstance(executor, backend.executor.Executor)
    out = np.empty((4, 1))
    executor.forward(np.arange(12.0).reshape(4, 3), out)
    np.testing.assert_allclose(out[:, 0], np.arange(12.0).reshape(4, 3) @ [1.0, 10.0, 100.0])


# -- products on a GPU -----------------------------------------------------------------------------


@pytest.fixture
def products(monkeypatch):
    """The settings of products, which nobody has made yet."""
    monkeypatch.setattr(backends, "_matmul", {})
    yield monkeypatch
    monkeypatch.undo()
    backends.set_matmul()


def test_settings_of_products_reach_the_backend_and_its_key(products, made):
    package = made({**whole(), "__init__.py": """
told = []
def set_matmul(**settings):
    told.append(settings)
"""}, automatic=False)
    products.setenv("FUSEDMLP_MATMUL_PRECISION", "bfloat16")
    backends.choose("made")
    told = sys.modules[package].told
    assert told == [{"precision": "bfloat16", "library": "auto"}]
    assert backends.key() == ("made", ("bfloat16", "auto"))
    assert backends.instruction_set() is None
    config.set_matmul(precision="tensorfloat32", library="tiles")
    assert told[1:] == [{"precision": "tensorfloat32", "library": "tiles"}]
    assert backends.key() == ("made", ("tensorfloat32", "tiles"))
    assert config.matmul() == told[1]


def test_unknown_settings_of_products_change_nothing(products):
    for name, wanted in (("precision", "'float32', 'tensorfloat32', 'bfloat16'"),
                         ("library", "'auto', 'tiles', 'cublaslt'")):
        with pytest.raises(ValueError, match=f"`{name}` must be one of {wanted}. Received: 'tf'"):
            config.set_matmul(**{name: "tf"})
        variable = f"FUSEDMLP_MATMUL_{name.upper()}"
        products.setenv(variable, "tf")
        with pytest.raises(ValueError, match=rf"{variable} must be one of .* Received: 'tf'"):
            backends.rejected()
        products.delenv(variable)
    assert config.matmul() == {"precision": "float32", "library": "auto"}


# -- devices -------------------------------------------------------------------------------------


@pytest.fixture
def pretend(monkeypatch):
    """A function that makes the "cuda" backend believe in an environment, and forget what it saw.
    """
    from fusedmlp.kernels.cuda import driver

    def make(*, installed=True, simulated=False, library=None):
        monkeypatch.setenv("NUMBA_ENABLE_CUDASIM", str(int(simulated)))
        monkeypatch.setattr(backends.importlib.util, "find_spec",
                            lambda name: SimpleNamespace() if installed else None)
        monkeypatch.setattr(driver, "_library", None)
        monkeypatch.setattr(driver.ctypes, "CDLL", Driver(library).load)
        monkeypatch.setattr(backends, "_loaded",
                            {k: v for k, v in backends._loaded.items() if k != "cuda"})
        return backends.importlib.import_module("fusedmlp.kernels.cuda")

    return make


class Driver:
    """A CUDA driver of which nothing is there but what a program may ask before it computes."""

    def __init__(self, answers):
        self.answers = answers

    def load(self, name):
        if self.answers is None:
            raise OSError(f"{name}: cannot open shared object file: No such file or directory")
        return self

    def cuInit(self, flags):
        return self.answers.get("init", 0)

    def cuGetErrorName(self, code, name):
        name._obj.value = b"CUDA_ERROR_NO_DEVICE"
        return 0

    def cuDeviceGetCount(self, count):
        count._obj.value = self.answers.get("count", 1)
        return 0

    def cuDriverGetVersion(self, version):
        version._obj.value = self.answers.get("version", 13000)
        return 0

    def cuDeviceGetAttribute(self, value, attribute, device):
        value._obj.value = self.answers.get("capability", (9, 0))[attribute - 75]
        return 0

    def cuDeviceGetName(self, name, size, device):
        name.value = b"NVIDIA H100 80GB HBM3"
        return 0

    def cuDeviceTotalMem_v2(self, size, device):
        size._obj.value = 79 * 2**30
        return 0


@pytest.mark.parametrize(("library", "reason"), [
    (None, r"no NVIDIA driver was found \(install"),
    ({"init": 100}, r"no usable GPU: cuInit answers 100 \(CUDA_ERROR_NO_DEVICE\); nvidia-smi"),
    ({"count": 0}, r"shows no GPU \(CUDA_VISIBLE_DEVICES"),
    ({"version": 12080}, r"serves CUDA 12\.8, older than 13\.0 \(install driver 580"),
    ({"capability": (7, 0)}, r"has compute capability 7\.0, less than 7\.5"),
])
def test_what_keeps_a_gpu_from_being_used_has_its_remedy(pretend, library, reason):
    pretend(library=library)
    before = backends.kernels()
    with pytest.raises(RuntimeError, match=rf"'cuda' backend cannot be used: .*{reason}"):
        backends.choose("cuda")
    with pytest.raises(RuntimeError, match=reason), backends.device("gpu"):
        pytest.fail("no GPU, but the block runs")
    assert backends.kernels() is before
    assert backends.choose("auto") != "cuda"
    assert backends.choose(before.name) == before.name


def test_all_that_is_missing_is_said_at_once(pretend):
    found = pretend(installed=False).missing()
    assert "no NVIDIA driver" in found
    assert "pip install 'fusedmlp[cuda]'" in found
    assert pretend(library={}).missing() == ""
    found = pretend(installed=False, simulated=True).missing()
    assert "driver" not in found
    assert "fusedmlp[cuda]" in found
    assert pretend(simulated=True).missing() == ""


def test_a_device_describes_itself(pretend, monkeypatch):
    package = pretend(library={})
    monkeypatch.setattr(package.cublaslt, "missing", lambda: "nvidia-cublas is not installed")
    monkeypatch.setattr(package, "_matmul", {"precision": "float32", "library": "auto"})
    found = package.describe()
    assert [found["device"], found["driver"], found["products"]] == [
        "NVIDIA H100 80GB HBM3, compute capability 9.0, 79 GiB", "CUDA 13.0",
        "own tiles; nvidia-cublas is not installed (precision float32, library auto)"]
    assert "for tests only" in pretend(simulated=True).describe()["device"]


@pytest.mark.parametrize("name", ["cpu", "CPU", "cpu:0"])
def test_device_cpu_keeps_a_backend_of_the_processor(backend, name):
    gpu = backends._BACKENDS[backend.name].gpu
    with backends.device(name):
        assert not backends._BACKENDS[backends.current()].gpu
        assert (backends.kernels() is backend) is not gpu
    assert backends.kernels() is backend


@pytest.mark.parametrize("name", ["gpu", "cuda", "GPU:0"])
def test_device_gpu_lasts_for_its_block(made, name):
    made(whole(), automatic=False)
    backends._BACKENDS["made"] = backends._BACKENDS["made"]._replace(gpu=True)
    before = backends.current()
    with backends.device(name):
        assert backends.current() == "made"
        with backends.device("cpu"):
            assert backends.current() in ("cython", "numpy")
        assert backends.current() == "made"
        with pytest.raises(ZeroDivisionError), backends.device("cpu"):
            raise ZeroDivisionError
        assert backends.current() == "made"
    assert backends.current() == before


def test_auto_leaves_to_a_gpu_what_pays_there(made):
    """A plan at a time; what its executor can't do is done on the CPU, and told."""
    made({**whole(executor="""
def Executor(plan, parameters, slots, seed):
    if plan.batch_size == 3:
        raise MemoryError("no room")
    return "there"
"""), "__init__.py": "def pays(plan): return plan.batch_size > 1"}, automatic=False)
    backends._BACKENDS["made"] = backends._BACKENDS["made"]._replace(gpu=True)

    def executor(rows):
        builder = Builder(batch_size=rows, dtype="float64")
        return backends.executor(builder.finish([builder.input(1)]), np.zeros(0))

    here = backends.load(backends.choose("auto")).executor.Executor
    assert isinstance(executor(1), here)
    assert executor(2) == "there"
    with pytest.warns(RuntimeWarning, match=r"on the CPU, because the 'made' .* Memory.*: no room"):
        assert isinstance(executor(3), here)
    keys = {backends.key()}
    with backends.device("cpu"):
        assert isinstance(executor(2), here)
        keys.add(backends.key())
    with backends.device("gpu"):
        assert executor(1) == "there"
        keys.add(backends.key())
    assert executor(2) == "there"
    assert len(keys) == 3
    backends.choose(backends.current())
    assert isinstance(executor(2), here)


def test_a_kernel_that_a_gpu_lacks_says_so_when_it_is_called(made):
    made(whole(random="NAME = 'made'"), automatic=False)
    backends._BACKENDS["made"] = backends._BACKENDS["made"]._replace(gpu=True)
    with backends.device("gpu"):
        kernel = backends.kernels().random.dropout_mask
        assert tuple(inspect.signature(kernel).parameters) == KERNELS["random"]["dropout_mask"]
        with pytest.raises(RuntimeError, match=r"has no kernel 'dropout_mask'"):
            kernel(0.5, 1, 0, 0, np.empty((2, 2)))


@pytest.mark.parametrize(("wrong", "message"), [
    ("tpu", "'cpu', 'gpu', 'cuda'"), (0, "'cpu', 'gpu', 'cuda'"), (None, "'cpu', 'gpu', 'cuda'"),
    ("", "'cpu', 'gpu', 'cuda'"), ("gpu:1", "CUDA_VISIBLE_DEVICES"), ("cpu:", "another number")])
def test_unknown_devices(wrong, message):
    before = backends.kernels()
    with (pytest.raises(ValueError, match=rf"Argument `device_name` must .*{message}.* Received: "),
          backends.device(wrong)):
        pytest.fail("the block runs")
    assert backends.kernels() is before


# -- rejections ----------------------------------------------------------------------------------

PARTS = {
    module: "\n".join(f"def {name}(*arguments): return {name!r}" for name in functions)
    for module, functions in KERNELS.items()
}


@pytest.fixture
def made(tmp_path, monkeypatch):
    """A function that puts a backend "made", consisting of the given files, in front of the list.
    """
    def make(files, compiled=False, automatic=True):
        package = f"made_backend_{make.count}"
        make.count += 1
        folder = tmp_path / package
        folder.mkdir()
        for name, text in {"__init__.py": "", **files}.items():
            (folder / name).write_text(text)
        row = backends._Row("made", package, automatic, compiled, "Do this.")
        rows = {"made": row, **backends._BACKENDS}
        monkeypatch.setattr(backends, "_BACKENDS", rows)
        monkeypatch.setattr(backends, "names", tuple(rows))
        return package

    make.count = 0
    before = backends.current()
    monkeypatch.setattr(backends, "_loaded", dict(backends._loaded))
    monkeypatch.syspath_prepend(tmp_path)
    yield make
    for name in [name for name in sys.modules if name.startswith("made_backend_")]:
        del sys.modules[name]
    monkeypatch.undo()
    backends.choose(before)


def whole(**changes):
    return {f"{name}.py": text for name, text in {**PARTS, **changes}.items() if text is not None}


EXTENSION = sysconfig.get_config_var("EXT_SUFFIX")

BROKEN = {
    "a module is missing": (whole(losses=None), False, r"No module named '.*\.losses'"),
    "a kernel is missing": (whole(losses="x = 1"), False, r"has no losses\.softmax_cross_entropy"),
    "extensions not built": (whole(dense=None), True,
                             r"its extension modules were not built \(no C compiler"),
    "package imports what was not built": (
        {**whole(dense=None), "__init__.py": "from . import dense"}, True,
        r"its extension modules were not built"),
    "an extension does not load": (
        {**whole(dense=None, native=""), f"dense{EXTENSION}": "no machine code"}, True,
        r"dense.*"),
    "its import fails": (whole(random="raise OSError('no such device')"), False,
                         r"fails on import with OSError: no such device"),
    "a library is missing": (whole(dense="import no_such_library"), False,
                             r"No module named 'no_such_library'"),
    "settings are missing": (whole(), True, r"extension modules were not built"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_backend_says_why_and_the_next_one_runs(made, case):
    files, is_compiled, reason = BROKEN[case]
    made(files, is_compiled)
    before = backends.kernels()
    with pytest.raises(RuntimeError, match=rf"'made' backend cannot be used: .*{reason}.*Do this"):
        backends.choose("made")
    assert backends.kernels() is before
    assert set(backends.rejected()) >= {"made"}
    expected = next(name for name in backends.names[1:] if name in TESTED)
    assert backends.choose("auto") == expected


def test_what_is_not_installed_is_called_so(made):
    made({})
    backends._BACKENDS["made"] = backends._BACKENDS["made"]._replace(module="made_backend_none")
    assert backends.rejected()["made"] == "made_backend_none is not part of this installation"


def test_a_whole_backend_in_front_is_what_auto_takes(made):
    package = made(whole())
    assert "made" not in backends.rejected()
    assert backends.choose("auto") == "made"
    assert backends.kernels().dense.__name__ == f"{package}.dense"
    assert backends.key()[:3] == ("made", None, "auto")
    assert backends.choose("made") == "made"
    assert backends.executor(None, None) == "Executor"
    assert backends.key() == ("made", None)


def test_auto_passes_over_what_must_be_asked_for(made):
    made(whole(), automatic=False)
    assert backends.choose("auto") != "made"
    assert backends.choose("made") == "made"


SETTINGS = """
now = {"threads": 3, "isa": "wide"}
def get_threads(): return now["threads"]
def set_threads(n): now["threads"] = n
def isa(): return now["isa"]
"""


def test_threads_reach_a_backend_that_is_loaded_later(made, monkeypatch):
    made(whole(native=SETTINGS), compiled=True)
    monkeypatch.setattr(backends, "_threads", None)
    before = backends.threads()
    backends.set_threads(5)
    try:
        backends.choose("made")
        assert backends.threads() == backends.kernels().native.now["threads"] == 5
        backends.set_threads(2)
        assert backends.threads() == 2
        assert backends.key() == ("made", "wide")
    finally:
        backends.set_threads(before)


# -- environment ---------------------------------------------------------------------------------

WHICH = """
    import sys
    import fusedmlp
    fusedmlp.ops.activation([1.0], "relu")
    print(fusedmlp.config.backend(), *sorted({
        name.split(".")[2] for name in sys.modules
        if name.startswith("fusedmlp.kernels.") and name.count(".") == 3}))
"""
FOLDERS = {name: row.module.rpartition(".")[2] for name, row in backends._BACKENDS.items()}


@pytest.mark.parametrize("name", TESTED)
def test_the_forced_backend_runs_alone(name, tmp_path):
    assert output_of(WHICH, tmp_path, FUSEDMLP_BACKEND=name) == f"{name} {FOLDERS[name]}"


@pytest.mark.parametrize("value", [None, "", "auto", " AUTO "])
def test_without_a_name_the_best_runs(value, tmp_path):
    environment = {} if value is None else {"FUSEDMLP_BACKEND": value}
    best = next(name for name in TESTED if backends._BACKENDS[name].automatic)
    assert output_of(WHICH, tmp_path, **environment).split()[0] == best


def failure(tmp_path, **environment):
    done = run_python("""
        import fusedmlp
        print("imported")
        fusedmlp.ops.activation([1.0], "relu")
    """, tmp_path, **environment)
    assert done.stdout == "imported\n"  # the error comes at the first use
    assert done.returncode == 1
    return done.stderr.strip().splitlines()[-1]


def test_a_name_that_cannot_be_used_is_an_error_with_the_remedy(tmp_path):
    unusable = [name for name in backends.names if name in backends.rejected()]
    for name in unusable:
        message = failure(tmp_path, FUSEDMLP_BACKEND=name)
        assert message.startswith(f"RuntimeError: Environment variable FUSEDMLP_BACKEND={name}: ")
        assert backends.rejected()[name] in message
        assert message.endswith(backends._BACKENDS[name].remedy)


@pytest.mark.parametrize(("variable", "value", "message"), [
    ("FUSEDMLP_BACKEND", "numpie",
     "expected one of 'auto', 'cuda', 'cython', 'numpy'. Received: 'numpie'"),
    ("FUSEDMLP_ISA", "sse9", "must be one of avx512, avx2, portable. Received: 'sse9'"),
    ("FUSEDMLP_THREADS", "two", "must be an integer from 1 to 256. Received: 'two'"),
    ("FUSEDMLP_THREADS", "0", "must be an integer from 1 to 256. Received: '0'"),
    ("FUSEDMLP_THREADS", "257", "must be an integer from 1 to 256. Received: '257'"),
    ("FUSEDMLP_THREADS", "1.5", "must be an integer from 1 to 256. Received: '1.5'"),
])
def test_values_that_mean_nothing_name_the_known_ones(variable, value, message, tmp_path):
    found = failure(tmp_path, **{variable: value})
    assert found.startswith(f"ValueError: Environment variable {variable}")
    assert found.endswith(message)


@pytest.mark.parametrize("name", TESTED)
def test_number_of_threads_from_the_environment(name, tmp_path):
    code = "import fusedmlp; print(fusedmlp.config.threads())"
    assert output_of(code, tmp_path, FUSEDMLP_BACKEND=name, FUSEDMLP_THREADS="3") == "3"
    assert int(output_of(code, tmp_path, FUSEDMLP_BACKEND=name)) >= 1


INSTRUCTION_SETS = """
    import numpy as np
    import fusedmlp
    x = np.linspace(-4, 4, 1001, dtype="float32").reshape(7, 143)
    y = fusedmlp.ops.dense(x, x.T.copy(), None, "tanh")
    print(fusedmlp.config.instruction_set(), fusedmlp.backend.kernels().native.isa())
    print(y.tobytes().hex())
"""


@compiled
def test_the_capped_instruction_set_runs(tmp_path):
    name = COMPILED[0]
    x = np.linspace(-4, 4, 1001, dtype="float32").reshape(7, 143)
    expected = np.tanh(x.astype("float64") @ x.T)
    available = backends.load(name).native.available()
    for cap in available:
        first, data = output_of(INSTRUCTION_SETS, tmp_path, FUSEDMLP_BACKEND=name,
                                FUSEDMLP_ISA=cap).splitlines()
        assert first == f"{cap} {cap}"
        y = np.frombuffer(bytes.fromhex(data), "float32").reshape(7, 7)
        np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4)
    uncapped = output_of(INSTRUCTION_SETS, tmp_path, FUSEDMLP_BACKEND=name).split()[0]
    assert uncapped == available[0]
