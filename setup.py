"""Builds the compiled backend; everything else is in pyproject.toml.

``kernels/cpu/isa_kernels.c`` is compiled once per instruction set with that set's flags and the
objects are linked into one module, which picks a set at run time.  Where there is no compiler, or
the compilation fails, the install succeeds and the NumPy backend runs.

Environment:

FUSEDMLP_REQUIRE_EXTENSIONS=1   a failed extension fails the install (CI and wheels)
FUSEDMLP_NO_EXTENSIONS=1        build none
"""

import os
import platform
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

HERE = Path(__file__).resolve().parent
CPU = Path("kernels/cpu")
MODULES = ("native", "dense", "activations", "losses", "metrics", "optimizers", "random",
           "products", "operations", "executor")
FLAGS = ["-O3", "-std=gnu11", "-fno-trapping-math", "-fno-math-errno", "-ffp-contract=off",
         "-fno-strict-aliasing", "-fvisibility=hidden", "-g0"]  # Python's own flags may have -g
# Best first: name, flags, the test of the processor.
SETS_X86 = (
    ("avx512",
     ["-mavx2", "-mfma", "-mf16c", "-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512dq",
      "-mprefer-vector-width=512"],
     '__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && '
     '__builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") && '
     '__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")'),
    ("avx2", ["-mavx2", "-mfma"],
     '__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")'),
    ("portable", [], "1"),
)
BFLOAT16 = {
    False: "static const fm_bfloat16 *fm_bfloat16_supported(void) { return 0; }\n",
    True: "extern const fm_bfloat16 fm_bfloat16_kernels;\n"
          "static const fm_bfloat16 *fm_bfloat16_supported(void)\n{\n"
          '    return __builtin_cpu_supports("avx512bf16") ? &fm_bfloat16_kernels : 0;\n}\n',
}
STRIP = ["-Wl,-s"] if sys.platform == "linux" else []
REQUIRED = os.environ.get("FUSEDMLP_REQUIRE_EXTENSIONS", "") not in ("", "0")
SKIPPED = os.environ.get("FUSEDMLP_NO_EXTENSIONS", "") not in ("", "0")


def instruction_sets():
    """The sets to compile for the processor family that this build is for."""
    target = os.environ.get("ARCHFLAGS", "") + platform.machine().lower()
    if "arm64" in target or "aarch64" in target:
        return SETS_X86[-1:]
    return SETS_X86 if target.endswith(("x86_64", "amd64")) else SETS_X86[-1:]


def tables():
    """C lists of the rows of spec.py, so that a new row needs no second place."""
    sys.path.insert(0, str(HERE / "src" / "fusedmlp"))
    try:
        import spec
    finally:
        sys.path.pop(0)
    lists = {"FM_ACTIVATIONS": spec.ELEMENTWISE, "FM_SCORES": spec.SCORES,
             "FM_TALLIES": spec.TALLIES}
    for kind in ("row", "distribution", "overlap", "pair"):
        lists[f"FM_{kind.upper()}_LOSSES"] = spec.losses_of(kind)
    lists["FM_ELEMENTWISE_LOSSES"] = [f"{name}, {int(spec.LOSSES[name].average)}"
                                      for name in spec.losses_of("elementwise")]
    lists["FM_OPTIMIZERS"] = [f"{name}, {len(spec.OPTIMIZERS[name].slots)}"
                              for name in spec.ELEMENTWISE_OPTIMIZERS]
    return "".join(
        f"#define {macro}(X) {' '.join(f'X({row})' for row in rows)}\n"
        for macro, rows in lists.items()
    )


class BuildKernels(build_ext):
    """Compiles the kernels once per instruction set before the modules that use them."""

    def build_extensions(self):
        generated = Path(self.build_temp).resolve() / "generated"
        generated.mkdir(parents=True, exist_ok=True)
        (generated / "_tables.h").write_text(tables())
        native = next(e for e in self.extensions if e.name.endswith(".native"))
        for extension in self.extensions:
            extension.include_dirs += [str(generated), str(CPU)]
        try:
            native.extra_objects += self.compile_sets(generated)
        except Exception as error:
            if REQUIRED:
                raise
            print(f"warning: no compiled backend, the NumPy backend will run: {error}")
            self.extensions = []
            return
        self.parallel = self.parallel or os.cpu_count()
        super().build_extensions()

    def compile_sets(self, generated):
        """Objects of all instruction sets that the compiler knows; all files compile at a time."""

        def compiled(sources, folder, flags, macros=()):
            return self.compiler.compile(
                [str(CPU / name) for name in sources], output_dir=str(folder),
                include_dirs=[str(generated), str(CPU)], macros=list(macros),
                extra_postargs=["-fPIC", *FLAGS, *flags],
            )

        temp, sets = Path(self.build_temp), instruction_sets()
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            running = {
                name: [pool.submit(compiled, [source], temp / name, flags, [("FM_ISA", name)])
                       for source in ("isa_kernels.c", "isa_losses.c")]
                for name, flags, _ in sets
            }
            if "avx512" in running:
                running["bfloat16"] = [pool.submit(
                    compiled, ["bfloat16.c"], temp, [*SETS_X86[0][1], "-mavx512bf16"])]
            objects = compiled(["shuffle.c", "threads.c"], temp, ["-pthread"])
        built = set()
        for name, files in running.items():
            try:
                found = [path for file in files for path in file.result()]
            except Exception as error:
                if REQUIRED or name == "portable":
                    raise
                print(f"warning: no kernels for {name}: {error}")
                continue
            if name != "bfloat16" or "avx512" in built:
                objects += found
                built.add(name)
        tests = [(name, supported) for name, _, supported in sets if name in built]
        (generated / "_instruction_sets.h").write_text(self.sets_header(tests, "bfloat16" in built))
        return objects

    def sets_header(self, built, bfloat16):
        compiler = " ".join(getattr(self.compiler, "compiler", ["unknown"])[:1])
        try:
            version = subprocess.run([compiler, "--version"], capture_output=True, text=True,
                                     check=True).stdout.splitlines()[0]
        except (OSError, subprocess.CalledProcessError, IndexError):
            version = compiler
        externs = "".join(f"extern const fm_tables fm_tables_{name};\n" for name, _ in built)
        pointers = ", ".join(f"&fm_tables_{name}" for name, _ in built)
        cases = "".join(f"    case {i}: return {test};\n" for i, (_, test) in enumerate(built))
        return (
            f'#include "native.h"\n{externs}'
            f"static const fm_tables *const fm_sets[] = {{{pointers}}};\n"
            f"static const int fm_set_count = {len(built)};\n"
            "static const fm_tables *fm_set_tables(int number) { return fm_sets[number]; }\n"
            "static int fm_set_supported(int number)\n{\n    switch (number) {\n"
            f"{cases}    default: return 0;\n    }}\n}}\n"
            f"{BFLOAT16[bfloat16]}"
            f'static const char *const FM_COMPILER = "{version}";\n'
            f'static const char *const FM_FLAGS = "{" ".join(FLAGS)}";\n'
        )


def declarations(folder):
    """Copies of the .pxd files under the package's name, where Cython looks for them.

    The sources lie in kernels/, which becomes fusedmlp.kernels only when it is installed.
    """
    package = folder / "fusedmlp" / "kernels" / "cpu"
    package.mkdir(parents=True, exist_ok=True)
    for parent in (package, package.parent, package.parent.parent):
        (parent / "__init__.py").touch()
    for path in (HERE / CPU).glob("*.pxd"):
        shutil.copy2(path, package / path.name)
    return str(folder)


def extensions():
    if SKIPPED:
        return []
    try:
        import numpy
        from Cython.Build import cythonize
    except ImportError:
        if REQUIRED:
            raise
        return []
    build = HERE / "build" if os.access(HERE, os.W_OK) else Path(tempfile.mkdtemp())
    flags = [f for f in FLAGS if f != "-O3"] + ["-O2", "-fno-strict-aliasing", "-pthread"]
    try:
        found = cythonize(
            [
                Extension(
                    f"fusedmlp.kernels.cpu.{name}",
                    [str(CPU / f"{name}.pyx")],
                    include_dirs=[numpy.get_include()],
                    define_macros=[("NPY_NO_DEPRECATED_API", "NPY_2_0_API_VERSION")],
                    extra_compile_args=flags,
                    extra_link_args=["-pthread", *STRIP],
                    depends=[str(p) for p in (HERE / CPU).glob("*.h")],
                )
                for name in MODULES
            ],
            include_path=[declarations(build / "declarations")],
            build_dir=str(build / "cython"),
            compiler_directives={
                "language_level": 3,
                "boundscheck": False,
                "wraparound": False,
                "cdivision": True,
                "initializedcheck": False,
                    "embedsignature": True,
            },
        )
    except Exception as error:
        if REQUIRED:
            raise
        print(f"warning: no compiled backend, the NumPy backend will run: {error}")
        return []
    for extension in found:
        extension.optional = not REQUIRED  # cythonize() drops it
    return found


setup(ext_modules=extensions(), cmdclass={"build_ext": BuildKernels})
