"""Builds the compiled backend; everything else is in pyproject.toml.

``kernels/cpu/isa_kernels.c`` is compiled once per instruction set with that set's flags and the
objects are linked into one module, which picks a set at run time.  Where there is no compiler, or
the compilation fails, the install succeeds and the NumPy backend runs.

Environment:

FUSEDMLP_REQUIRE_EXTENSIONS=1   a failed extension fails the install (CI and wheels)
FUSEDMLP_NO_EXTENSIONS=1        build none

What is compiled stays in ``build/``, and the next build in the same tree takes it from there where
nothing that it was made from has changed (``Kept``): that costs a second where compiling costs a
minute.
"""

import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

HERE = Path(__file__).resolve().parent
CPU = Path("kernels/cpu")
# What takes longest comes first, so that no processor waits for it at the end.
MODULES = ("executor", "operations", "optimizers", "activations", "losses", "native", "dense",
           "random", "metrics", "products")
FLAGS = ["-O3", "-std=gnu11", "-fno-trapping-math", "-fno-math-errno", "-ffp-contract=off",
         "-fno-strict-aliasing", "-fvisibility=hidden", "-g0"]  # Python's own flags may have -g
MODULE_FLAGS = [*(flag for flag in FLAGS if flag != "-O3"), "-O2", "-pthread"]
MACROS = [("NPY_NO_DEPRECATED_API", "NPY_2_0_API_VERSION")]
DIRECTIVES = ("boundscheck=False", "wraparound=False", "cdivision=True", "initializedcheck=False",
              "embedsignature=True")
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
LINKING = ["-pthread", *(["-Wl,-s"] if sys.platform == "linux" else [])]
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


class Kept:
    """Files of earlier builds, each with a record of what it was made from.

    The record holds contents and settings, never times: a new clone, and the environment that pip
    makes for each build, have newer files that are the same.
    """

    def __init__(self, folder, settings):
        self.folder = folder
        self.settings = [*settings, *self.contents([HERE / "setup.py"])]

    @staticmethod
    def contents(paths):
        return [f"{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()}" for path in paths]

    def file(self, path, make, sources, settings=()):
        """`path`, after make() has written it, unless it is there and was made from the same."""
        record = path.with_name(f"{path.name}.made-from")
        made_from = [*self.settings, *settings, *self.contents(sources)]

        def text():
            return "\n".join([*made_from, *self.contents([path])])

        if not (path.is_file() and record.is_file() and record.read_text("utf-8") == text()):
            record.unlink(missing_ok=True)
            path.parent.mkdir(parents=True, exist_ok=True)
            make()
            record.write_text(text(), "utf-8")
        return path


def included(sources, folders):
    """Those C files and all that they include from the folders."""
    found, waiting = [], list(sources)
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.append(path)
            names = re.findall(r'#\s*include "([^"]+)"', path.read_text("utf-8"))
            waiting += [folder / name for name in names for folder in folders
                        if (folder / name).is_file()]
    return sorted(found)


class BuildKernels(build_ext):
    """Compiles the kernels once per instruction set before the modules that use them."""

    def build_extensions(self):
        root = HERE / "build" if os.access(HERE, os.W_OK) else Path(tempfile.mkdtemp())
        folder = root / f"kept.{sysconfig.get_config_var('SOABI') or sys.implementation.cache_tag}"
        self.generated = folder / "generated"
        self.generated.mkdir(parents=True, exist_ok=True)
        try:
            self.kept = Kept(folder, self.settings())
            self.declarations = declarations(folder / "declarations")
            self.objects = self.compile_sets()
        except Exception as error:
            if REQUIRED:
                raise
            print(f"warning: no compiled backend, the NumPy backend will run: {error}")
            self.extensions = []
            return
        self.parallel = self.parallel or os.cpu_count()
        self.force = True  # build_extension() knows what has changed
        super().build_extensions()

    def settings(self):
        """All that a compilation depends on besides its sources and its own flags."""
        import Cython
        import numpy

        self.numpy = numpy.get_include()
        program = [word for word in getattr(self.compiler, "compiler", ["unknown"])
                   if not word.startswith("-")]
        try:
            self.compiler_version = subprocess.run(
                [*program, "--version"], capture_output=True, text=True, check=True).stdout.strip()
        except (OSError, subprocess.CalledProcessError):
            self.compiler_version = " ".join(program)
        commands = [f"{name}: {getattr(self.compiler, name, None)}"
                    for name in sorted(self.compiler.executables)]
        read = [f"{name}={os.environ.get(name, '')}" for name in
                ("CPATH", "C_INCLUDE_PATH", "LIBRARY_PATH", "MACOSX_DEPLOYMENT_TARGET")]
        return [f"Python {sys.version}", f"platform {self.plat_name}", f"debug {self.debug}",
                f"Cython {Cython.__version__}", f"NumPy {numpy.__version__}",
                f"macros {self.compiler.macros}", *commands, *read, self.compiler_version]

    def compile_sets(self):
        """Objects of all instruction sets that the compiler knows; all files compile at a time."""
        folders = [CPU, self.generated]
        (self.generated / "_tables.h").write_text(tables())

        def compiled(name, folder, flags, macros=()):
            source, folder = CPU / name, self.kept.folder / folder
            flags = ["-fPIC", *FLAGS, *flags]
            path, = self.compiler.object_filenames([str(source)], output_dir=str(folder))
            return str(self.kept.file(
                Path(path),
                lambda: self.compiler.compile(
                    [str(source)], output_dir=str(folder), macros=list(macros),
                    include_dirs=[str(self.generated), str(CPU)], extra_postargs=flags),
                included([source], folders), [f"{flags} {list(macros)}"],
            ))

        sets = instruction_sets()
        files = [("isa_kernels.c", name, flags, [("FM_ISA", name)]) for name, flags, _ in sets]
        files += [("isa_losses.c", *rest) for _, *rest in files]
        if sets is SETS_X86:
            files.append(("bfloat16.c", "bfloat16", [*SETS_X86[0][1], "-mavx512bf16"]))
        # Before all others: where there is no compiler, they need not be tried.
        objects = [compiled(name, "plain", ["-pthread"]) for name in ("shuffle.c", "threads.c")]
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            running = [(file[1], pool.submit(compiled, *file)) for file in files]
            written = [pool.submit(self.write_c, module) for module in MODULES]
        for future in written:
            future.result()
        failed = {name: future.exception() for name, future in running if future.exception()}
        for name, error in failed.items():
            if REQUIRED or name == "portable":
                raise error
            print(f"warning: no kernels for {name}: {error}")
        if "avx512" in failed:
            failed["bfloat16"] = failed["avx512"]
        objects += [future.result() for name, future in running if name not in failed]
        tests = [(name, supported) for name, _, supported in sets if name not in failed]
        bfloat16 = sets is SETS_X86 and "bfloat16" not in failed
        (self.generated / "_instruction_sets.h").write_text(self.sets_header(tests, bfloat16))
        return objects

    def write_c(self, module):
        """The C that Cython makes of a module."""
        source, path = CPU / f"{module}.pyx", self.kept.folder / "cython" / f"{module}.c"
        options = [f"--module-name=fusedmlp.kernels.cpu.{module}", "-3",
                   *(word for directive in DIRECTIVES for word in ("-X", directive))]
        return self.kept.file(
            path,
            lambda: subprocess.run([sys.executable, "-m", "cython", *options, "-I",
                                    self.declarations, "-o", str(path), str(source)], check=True),
            [source, *sorted(CPU.glob("*.pxd"))], options,
        )

    def build_extension(self, extension):
        module = extension.name.rpartition(".")[2]
        written = self.write_c(module)
        extension.sources = [str(written)]
        extension.include_dirs = [str(self.generated), str(CPU), self.numpy]
        extension.extra_objects = self.objects if module == "native" else []
        target = Path(self.get_ext_fullpath(extension.name))
        kept = self.kept.folder / target.name

        def compiled():
            super(BuildKernels, self).build_extension(extension)
            shutil.copy2(target, kept)

        made_from = included([written], [CPU, self.generated])
        self.kept.file(kept, compiled, [*made_from, *map(Path, extension.extra_objects)],
                       [f"{MODULE_FLAGS} {MACROS} {LINKING}"])
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(kept, target)

    def sets_header(self, built, bfloat16):
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
            f'static const char *const FM_COMPILER = "{self.compiler_version.splitlines()[0]}";\n'
            f'static const char *const FM_FLAGS = "{" ".join(FLAGS)}";\n'
        )


def declarations(folder):
    """Copies of the .pxd files under the package's name, where Cython looks for them.

    The sources lie in kernels/, which becomes fusedmlp.kernels only when it is installed.
    """
    shutil.rmtree(folder, ignore_errors=True)
    package = folder / "fusedmlp" / "kernels" / "cpu"
    package.mkdir(parents=True)
    for parent in (package, package.parent, package.parent.parent):
        (parent / "__init__.py").touch()
    for path in CPU.glob("*.pxd"):
        shutil.copy2(path, package / path.name)
    return str(folder)


def extensions():
    if SKIPPED:
        return []
    return [
        Extension(f"fusedmlp.kernels.cpu.{name}", [str(CPU / f"{name}.pyx")], define_macros=MACROS,
                  extra_compile_args=MODULE_FLAGS, extra_link_args=LINKING, optional=not REQUIRED)
        for name in MODULES
    ]


setup(ext_modules=extensions(), cmdclass={"build_ext": BuildKernels})
