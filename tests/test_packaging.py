"""What is shipped: metadata, the contents of wheel and source distribution, and import hygiene."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import fusedmlp

ROOT = Path(__file__).resolve().parent.parent
EXTRAS = {"all", "bench", "cublas", "cuda", "docs", "h5", "onnx", "plot", "progress", "scipy",
          "sklearn", "tensorboard", "test"}


def requirements(extra=None):
    """Names that an installation needs, for an extra or without any."""
    found = set()
    for line in importlib.metadata.requires("fusedmlp"):
        name, _, condition = line.partition(";")
        wanted = re.search(r"extra == ['\"]([\w-]+)['\"]", condition)
        if (wanted.group(1) if wanted else None) == extra:
            found.add(re.match(r"[\w.-]+", name).group().lower())
    return found


def python(code, cwd, **environment):
    """Run code in a new process, away from the sources; what it prints."""
    result = subprocess.run([sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True,
                            env={**os.environ, **environment}, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


# -- metadata --------------------------------------------------------------------------------------


def test_numpy_is_the_only_runtime_dependency():
    assert requirements() == {"numpy"}


def test_extras():
    metadata = importlib.metadata.metadata("fusedmlp")
    assert set(metadata.get_all("Provides-Extra")) == EXTRAS
    for extra in EXTRAS:
        assert requirements(extra), extra


def test_all_names_extras_that_exist():
    lines = [r for r in importlib.metadata.requires("fusedmlp") if r.startswith("fusedmlp[")]
    assert lines
    for line in lines:
        assert set(re.search(r"\[(.*?)\]", line).group(1).split(",")) <= EXTRAS


def test_version_and_python():
    metadata = importlib.metadata.metadata("fusedmlp")
    assert metadata["Version"] == fusedmlp.__version__
    assert metadata["Requires-Python"] == ">=3.10"
    assert metadata["License-Expression"] == "BSD-3-Clause"


def test_licence_is_there_in_full():
    text = (ROOT / "LICENSE").read_text("utf-8")
    assert "The fusedmlp developers" in text
    for part in ("Redistributions of source code", "Redistributions in binary form",
                 "Neither the name of", "EVEN IF ADVISED OF THE POSSIBILITY"):
        assert part in text


# -- imports ---------------------------------------------------------------------------------------


def test_kernels_are_no_top_level_package(tmp_path):
    code = ("import importlib.util, sys, fusedmlp.kernels, fusedmlp.kernels.reference;"
            "assert importlib.util.find_spec('kernels') is None;"
            "assert 'kernels' not in sys.modules;"
            "print(fusedmlp.kernels.__name__)")
    assert python(code, tmp_path) == "fusedmlp.kernels"


def test_import_needs_numpy_alone(tmp_path):
    """Nothing optional is imported with the package, nor by training and predicting."""
    heavy = ("sklearn", "scipy", "matplotlib", "tqdm", "onnx", "numba", "jax", "torch", "keras",
             "pandas", "h5py", "safetensors")
    code = f"""
import sys
sys.modules.update(dict.fromkeys({heavy!r}))  # an import of one of them is an ImportError now
import numpy as np, fusedmlp as fm
model = fm.Sequential([fm.Input((3,)), fm.layers.Dense(2, activation="softmax")])
model.compile("adam", "sparse_categorical_crossentropy")
model.fit(np.ones((8, 3), "float32"), np.ones(8, "int64"), verbose=0)
print(model.predict(np.ones((1, 3), "float32"), verbose=0).shape)
"""
    assert python(code, tmp_path, FUSEDMLP_BACKEND="numpy") == "(1, 2)"


def test_import_loads_nothing_before_it_is_used(tmp_path):
    code = ("import sys, fusedmlp\n"
            "print(sorted(name for name in sys.modules if name.partition('.')[0] in "
            "('fusedmlp', 'numpy')))")
    assert python(code, tmp_path) == "['fusedmlp', 'fusedmlp._version']"


def test_compiled_modules_are_small():
    """Several instruction sets and no debugging information: a few megabytes."""
    if "cython" in fusedmlp.backend.rejected():
        pytest.skip("the compiled backend cannot be used here")
    folder = Path(fusedmlp.backend.load("cython").native.__file__).parent
    sizes = {path.name: path.stat().st_size for path in folder.glob("*.so")}
    assert sum(sizes.values()) < 6_000_000, sizes


# -- what the build keeps --------------------------------------------------------------------------


@pytest.fixture
def setup(monkeypatch):
    """The module setup.py, which is not run."""
    setuptools = pytest.importorskip("setuptools", minversion="77")
    if not (ROOT / "setup.py").is_file():
        pytest.skip("the tests lie outside the source tree")
    monkeypatch.setattr(setuptools, "setup", lambda **arguments: None)
    monkeypatch.chdir(ROOT)
    spec = importlib.util.spec_from_file_location("setup_of_fusedmlp", ROOT / "setup.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_kept_file_is_made_again_only_if_what_it_was_made_from_changes(setup, tmp_path):
    source, target, made = tmp_path / "dense.c", tmp_path / "kept" / "dense.o", []
    source.write_text("first")

    def file(settings=("gcc 12",), flags=("-O3",)):
        def make():
            target.write_text(f"object of {source.read_text()}")
            made.append(target)

        before = len(made)
        assert setup.Kept(tmp_path / "kept", settings).file(target, make, [source], flags) == target
        return len(made) > before

    assert file()
    assert not file()
    os.utime(source, (2e9, 2e9))  # newer than what was made from it, and the same
    assert not file()
    assert file(settings=("gcc 13",))
    assert file(flags=("-O2",))
    assert not file(flags=("-O2",))
    source.write_text("second")
    assert file()
    assert target.read_text() == "object of second"
    target.write_text("half an obj")
    assert file()
    assert not file()


def test_a_kept_file_that_could_not_be_made_is_tried_again(setup, tmp_path):
    source, target = tmp_path / "dense.c", tmp_path / "dense.o"
    source.write_text("first")
    kept = setup.Kept(tmp_path, [])

    def fails():
        target.write_text("half")
        raise OSError("no space left")

    for _ in range(2):
        with pytest.raises(OSError, match="no space"):
            kept.file(target, fails, [source])
    kept.file(target, lambda: target.write_text("whole"), [source])
    assert target.read_text() == "whole"


def test_what_a_c_file_is_made_from(setup, tmp_path):
    (tmp_path / "_tables.h").write_text("")
    folder = Path("kernels/cpu")
    found = {path.name for path in setup.included([folder / "isa_kernels.c"], [folder, tmp_path])}
    assert {"isa_kernels.c", "_tables.h", "native.h", "product.h", "turn.h", "philox.h"} <= found
    assert not found & {"losses.h", "threads.c"}
    # setup.py looks for includes in these two folders: there are no others, and no computed names.
    everything = [*folder.glob("*.h"), *folder.glob("*.c")]
    texts = [path.read_text("utf-8") for path in everything]
    names = {name for text in texts for name in re.findall(r'#\s*include\s+([^<\s]\S*)', text)}
    assert names <= {f'"{path.name}"' for path in everything} | {'"_tables.h"'}


# -- distributions ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """A copy of the sources: a build leaves files, and must not find older ones."""
    if not (ROOT / "pyproject.toml").is_file():
        pytest.skip("the tests lie outside the source tree")
    target = tmp_path_factory.mktemp("packaging") / "source"
    leftovers = shutil.ignore_patterns(
        ".git", "build", "dist", "venv", ".venv", "*.so", "*.pyd", "*.egg-info", "__pycache__",
        ".*_cache", ".benchmarks",
    )
    shutil.copytree(ROOT, target, ignore=leftovers)
    return target


def build(sources, kind, target):
    """Build a "wheel" or "sdist" without compiling; its path."""
    pytest.importorskip("setuptools", minversion="77")
    target.mkdir()
    code = f"from setuptools import build_meta; print(build_meta.build_{kind}({str(target)!r}))"
    name = python(code, sources, FUSEDMLP_NO_EXTENSIONS="1").splitlines()[-1]
    return target / name


def source_files(sources, folder, *suffixes):
    return {path.relative_to(sources).as_posix() for path in (sources / folder).rglob("*")
            if path.suffix in suffixes}


@pytest.fixture(scope="module")
def wheel(sources, tmp_path_factory):
    path = build(sources, "wheel", tmp_path_factory.mktemp("wheel") / "dist")
    return set(zipfile.ZipFile(path).namelist())


@pytest.fixture(scope="module")
def sdist(sources, tmp_path_factory):
    path = build(sources, "sdist", tmp_path_factory.mktemp("sdist") / "dist")
    with tarfile.open(path) as tar:
        return {name.partition("/")[2] for name in tar.getnames()}


def test_wheel_has_the_package_and_nothing_else(wheel):
    tops = {name.split("/")[0] for name in wheel}
    assert tops == {"fusedmlp", f"fusedmlp-{fusedmlp.__version__}.dist-info"}
    assert not [name for name in wheel if name.endswith((".pyc", ".so", ".pyd"))]


def test_wheel_has_every_module(wheel, sources):
    ours = {name.removeprefix("src/") for name in source_files(sources, "src", ".py", ".typed")}
    kernels = source_files(sources, "kernels", ".py")
    assert ours | {f"fusedmlp/{name}" for name in kernels} <= wheel
    assert "fusedmlp/py.typed" in wheel


def test_wheel_has_data_sets_and_declarations(wheel, sources):
    data = source_files(sources, "src/fusedmlp/datasets", ".npz", ".gz", ".md")
    assert data
    assert {name.removeprefix("src/") for name in data} <= wheel
    declarations = source_files(sources, "kernels/cpu", ".pxd", ".h")
    assert declarations
    assert {f"fusedmlp/{name}" for name in declarations} <= wheel


def test_sdist_has_what_a_build_needs(sdist, sources):
    needed = source_files(sources, "kernels", ".py", ".pyx", ".pxd", ".h", ".c")
    needed |= source_files(sources, "src/fusedmlp", ".py", ".typed", ".npz", ".gz", ".md")
    needed |= source_files(sources, "tests", ".py")
    assert {Path(name).suffix for name in needed} >= {".pyx", ".pxd", ".h", ".c"}
    needed |= {"pyproject.toml", "setup.py", "README.md", "LICENSE", "CHANGELOG.md", ".ci/run"}
    assert needed <= sdist, sorted(needed - sdist)


def test_sdist_has_no_build_products(sdist):
    assert not [name for name in sdist if name.endswith((".so", ".pyd", ".pyc", ".o"))
                or name.startswith("build/")]
