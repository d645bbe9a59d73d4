"""What it costs to have a library: seconds of ``import`` in a new process, and installed size."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

from .cases import Case

TITLE = "Import in a new process, less the bare interpreter"
UNIT = "ms"
NAMES = ("import",)
QUICK = NAMES
HEADLINE = ()
MOST_TURNS = 5

_BARE = "bare Python"
_LIBRARIES = {  # module: distribution
    "fusedmlp": "fusedmlp", "numpy": "numpy", "sklearn.neural_network": "scikit-learn",
    "onnxruntime": "onnxruntime", "thinc.api": "thinc", "jax": "jax", "torch": "torch",
    "keras": "keras", "tensorflow": "tensorflow",
}


def _size(distribution):
    """Megabytes of a distribution's files; None for one that is installed in editable mode."""
    installed = importlib.metadata.distribution(distribution)
    origin = json.loads(installed.read_text("direct_url.json") or "{}")
    if origin.get("dir_info", {}).get("editable"):
        return None
    paths = (Path(installed.locate_file(file)) for file in installed.files or ())
    return sum(path.stat().st_size for path in paths if path.is_file()) / 1e6


def _process(code):
    command = [sys.executable, "-c", code]
    # Installed packages have their bytecode; one that is edited must be allowed to keep its own.
    settings = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    return lambda: subprocess.run(command, check=True, capture_output=True, env=settings)


def cases(names, adapters):
    """One case; the library is imported in other processes, so adapters don't matter."""
    for name in names:
        case = Case(name, 0.0)
        case.contenders[_BARE] = _process("pass")
        for module, distribution in _LIBRARIES.items():
            if importlib.util.find_spec(module.split(".")[0]) is None:
                case.absent[distribution] = "not installed"
                continue
            case.contenders[distribution] = _process(f"import {module}")
        case.contenders["fusedmlp, a model"] = _process("import fusedmlp; fusedmlp.Sequential()")
        case.ours = ["fusedmlp", "fusedmlp, a model"]
        yield case


def finish(row):
    """Take the interpreter's own start off, and add sizes."""
    bare = row["seconds"].pop(_BARE)
    row["seconds"] = {name: value - bare for name, value in row["seconds"].items()}
    row["ratio"] = {}  # NumPy is part of what is imported: a ratio says nothing
    row["bare_seconds"] = bare
    row["installed_mb"] = {
        name: _size(name) for name in row["seconds"] if name in _LIBRARIES.values()
    }
