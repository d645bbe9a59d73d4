"""`fusedmlp.config`, the command line, the public names, and what an import may load."""

from __future__ import annotations

import ast
import importlib
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from test_backend import VARIABLES, output_of

import fusedmlp
from fusedmlp import __main__ as command_line
from fusedmlp import backend as backends
from fusedmlp import config

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def _settings_as_before():
    name, threads = config.backend(), config.threads()
    floatx, epsilon = config.floatx(), config.epsilon()
    yield
    config.set_backend(name)
    config.set_threads(threads)
    config.set_floatx(floatx)
    config.set_epsilon(epsilon)


# -- settings ------------------------------------------------------------------------------------


def test_set_backend(backend):
    config.set_backend("numpy")
    assert config.backend() == "numpy"
    config.set_backend(backend.name)
    assert config.backend() == backend.name
    with pytest.raises(ValueError, match=r"Unknown backend.*Received: 'torch'"):
        config.set_backend("torch")
    assert config.backend() == backend.name


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("n", [1, 2, 3])
def test_set_threads(n):
    config.set_threads(n)
    assert config.threads() == n


@pytest.mark.parametrize(("wrong", "error"), [
    (0, ValueError), (-1, ValueError), (257, ValueError), (1.0, TypeError), ("2", TypeError),
    (None, TypeError), (True, TypeError)])
def test_wrong_numbers_of_threads(wrong, error):
    before = config.threads()
    with pytest.raises(error, match=r"`n` must be an integer from 1 to 256\. Received: "):
        config.set_threads(wrong)
    assert config.threads() == before


@pytest.mark.parametrize("wrong", ["float16", "bfloat16", "double", None, 32, ["float32"]])
def test_wrong_floatx(wrong):
    with pytest.raises(ValueError, match=r"'float32', 'float64'\. Received: "):
        config.set_floatx(wrong)
    assert config.floatx() == "float32"


@pytest.mark.parametrize(("wrong", "error"), [
    (0.0, ValueError), (0.5, ValueError), (-1e-7, ValueError), (float("nan"), ValueError),
    ("a", TypeError), (None, TypeError)])
def test_wrong_epsilon(wrong, error):
    with pytest.raises(error, match=r"`value` must .*Received: "):
        config.set_epsilon(wrong)
    assert config.epsilon() == 1e-7


def test_epsilon():
    config.set_epsilon(1e-3)
    assert config.epsilon() == 1e-3


def test_instruction_set(backend):
    if backend.native is None:
        assert config.instruction_set() is None
    else:
        assert config.instruction_set() == backend.native.isa() in backend.native.available()


# -- info ----------------------------------------------------------------------------------------


def test_info(backend):
    details = config.info()
    assert json.loads(json.dumps(details)) == details
    assert details["version"] == fusedmlp.__version__
    assert details["backend"] == backend.name
    assert details["threads"] == config.threads()
    entries = {entry["name"]: entry for entry in details["backends"]}
    assert tuple(entries) == backends.names
    rejected = backends.rejected()
    for name, entry in entries.items():
        if name in rejected:
            assert (entry["status"], entry["reason"]) == ("rejected", rejected[name])
        else:
            assert entry["status"] == ("in use" if name == backend.name else "available")
            native = backends.load(name).native
            if native is not None:
                assert entry["instruction_set"] == native.isa()
                assert entry["instruction_sets"] == list(native.available())
                assert entry["compiler"] == native.build_info()["compiler"]
                assert entry["flags"] == native.build_info()["flags"]


def test_show_says_all_that_info_knows(backend):
    text = io.StringIO()
    config.show(text)
    shown = text.getvalue()
    assert re.search(rf"^  {backend.name} +in use$", shown, re.MULTILINE)
    for entry in config.info()["backends"]:
        for value in entry.values():
            assert (", ".join(value) if isinstance(value, list) else value) in shown
    assert f"threads: {config.threads()}" in shown


def run_command(cwd, *arguments, **environment):
    inherited = {key: value for key, value in os.environ.items() if key not in VARIABLES}
    return subprocess.run([sys.executable, "-W", "error", "-m", "fusedmlp", *arguments], cwd=cwd,
                          env={**inherited, **environment}, capture_output=True, text=True,
                          check=False, timeout=120)


def test_info_command(tmp_path):
    done = run_command(tmp_path, "info", FUSEDMLP_BACKEND="numpy")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"fusedmlp {fusedmlp.__version__}\n")
    assert re.search(r"^  numpy +in use$", done.stdout, re.MULTILINE)
    assert "environment: FUSEDMLP_BACKEND=numpy" in done.stdout


def test_info_command_as_json(tmp_path):
    done = run_command(tmp_path, "info", "--json", FUSEDMLP_BACKEND="numpy")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["backend"] == "numpy"


@pytest.mark.parametrize(("variable", "value"), [
    ("FUSEDMLP_BACKEND", "numpie"), ("FUSEDMLP_ISA", "sse9"), ("FUSEDMLP_THREADS", "0")])
def test_info_command_reports_what_is_wrong(variable, value, tmp_path):
    done = run_command(tmp_path, "info", **{variable: value})
    assert done.returncode == 1
    assert re.search(rf"^problem: Environment variable {variable}.*'{value}'$", done.stdout,
                     re.MULTILINE)
    assert done.stderr == ""
    details = json.loads(run_command(tmp_path, "info", "--json", **{variable: value}).stdout)
    assert details["backend"] is None
    assert value in details["problem"]


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], []])
def test_help(arguments, tmp_path):
    done = run_command(tmp_path, *arguments)
    assert done.returncode == (0 if arguments else 2)
    assert "info" in done.stdout
    assert "bench" in done.stdout


def test_version(capsys):
    with pytest.raises(SystemExit) as ended:
        command_line.main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"fusedmlp {fusedmlp.__version__}\n"


def test_unknown_command(capsys):
    assert command_line.main(["inof"]) == 2
    assert "expected one of info, bench. Received: 'inof'" in capsys.readouterr().err


def test_bench_says_where_it_is(tmp_path):
    done = run_command(tmp_path, "bench")
    assert done.returncode == 1
    assert "root of a source checkout" in done.stderr
    (tmp_path / "bench.py").write_text("raise SystemExit('another bench')")
    assert "root of a source checkout" in run_command(tmp_path, "bench").stderr


@pytest.mark.skipif(not (ROOT / "bench" / "__main__.py").exists(), reason="no source checkout")
def test_bench_passes_its_arguments_on():
    done = run_command(ROOT, "bench", "--help")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage: python -m bench")


# -- public names --------------------------------------------------------------------------------


def test_every_public_name_is_there():
    for name in fusedmlp.__all__:
        assert getattr(fusedmlp, name) is not None
        assert name in dir(fusedmlp)
    assert fusedmlp.__all__ == sorted(fusedmlp.__all__, key=lambda n: (n.lower() == n, n))


def test_classes_are_those_of_their_modules():
    for name, module in fusedmlp._NAMES.items():
        found = importlib.import_module(f"fusedmlp.{module}")
        assert getattr(fusedmlp, name) is getattr(found, name)
    for name in fusedmlp._MODULES:
        assert getattr(fusedmlp, name) is importlib.import_module(f"fusedmlp.{name}")


def test_type_checkers_see_the_same_names():
    tree = ast.parse(Path(fusedmlp.__file__).read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    modules = {alias.name for node in block.body for alias in node.names if node.module is None}
    names = {alias.name: node.module for node in block.body for alias in node.names if node.module}
    assert modules == set(fusedmlp._MODULES)
    assert names == fusedmlp._NAMES
    assert {*modules, *names, "__version__", "version"} == set(fusedmlp.__all__)


def test_names_that_do_not_exist():
    with pytest.raises(AttributeError, match="'fusedmlp' has no attribute 'Sequental'"):
        fusedmlp.Sequental  # noqa: B018
    with pytest.raises(ImportError):
        exec("from fusedmlp import Sequental")


@pytest.mark.parametrize(("module", "wrong", "right"), [
    ("fusedmlp", "Sequental", "Sequential"),
    ("fusedmlp", "layer", "layers"),
    ("fusedmlp.layers", "Dens", "Dense"),
    ("fusedmlp.callbacks", "EarlyStoping", "EarlyStopping"),
    ("fusedmlp.models", "load_modell", "load_model"),
    ("fusedmlp.models", "Sequental", "Sequential"),
])
def test_near_names_are_told(module, wrong, right):
    found = importlib.import_module(module)
    wanted = f"module '{module}' has no attribute '{wrong}'.*nearest: .*'{right}'"
    with pytest.raises(AttributeError, match=wanted):
        getattr(found, wrong)
    assert not hasattr(found, wrong)
    assert getattr(found, wrong, None) is None
    with pytest.raises(AttributeError, match=r"has no attribute '__wrapped__'$"):
        found.__wrapped__  # noqa: B018


def test_an_unknown_name_is_the_first_thing_asked_for(tmp_path):
    assert output_of("""
        import fusedmlp
        print(hasattr(fusedmlp, "Sequental"), "fusedmlp.spec" in __import__("sys").modules)
        from fusedmlp import plan, spec
        print(plan.__name__, spec.__name__)
    """, tmp_path).split() == ["False", "True", "fusedmlp.plan", "fusedmlp.spec"]


def test_a_keras_script_finds_its_names(tmp_path):
    output_of("""
        import fusedmlp as keras
        from fusedmlp import layers
        from fusedmlp.optimizers import Adam
        assert layers is keras.layers and Adam is keras.optimizers.Adam
        namespace = {}
        exec("from fusedmlp import *", namespace)
        assert set(keras.__all__) <= set(namespace)
    """, tmp_path)


# -- what an import loads --------------------------------------------------------------------------

HEAVY = ("numba", "cuda", "sklearn", "scipy", "matplotlib", "tqdm", "onnx", "onnxruntime", "pandas",
         "torch", "jax", "tensorflow", "keras")
LOADED = f"""
    import sys
    import fusedmlp
    {{}}
    print(*sorted({{{{name.partition(".")[0] for name in sys.modules}}}} & {{{{*{HEAVY!r}}}}}))
"""


def test_import_loads_next_to_nothing(tmp_path):
    loaded = output_of("""
        import sys
        import importlib
        from typing import TYPE_CHECKING, Any
        before = set(sys.modules)
        import fusedmlp
        print(*sorted(set(sys.modules) - before - {"__future__"}))
    """, tmp_path).split()
    allowed = {"fusedmlp", "fusedmlp._version"}
    assert {name for name in loaded if not name.startswith("__editable__")} == allowed


@pytest.mark.parametrize("statement", [
    "fusedmlp.ops.activation([1.0], 'relu')",
    "from fusedmlp import *",
    "fusedmlp.config.info()",
])
def test_use_loads_no_optional_library(statement, tmp_path):
    assert output_of(LOADED.format(statement), tmp_path) == ""


def test_use_of_one_backend_loads_no_compiled_module_of_another(tmp_path):
    loaded = output_of("""
        import sys
        import fusedmlp
        fusedmlp.ops.activation([1.0], "relu")
        print(*(name for name in sys.modules if name.startswith("fusedmlp.kernels.")))
    """, tmp_path, FUSEDMLP_BACKEND="numpy").split()
    assert loaded
    shared = ("fusedmlp.kernels.reference", "fusedmlp.kernels.layout")
    assert not [name for name in loaded if not name.startswith(shared)]
