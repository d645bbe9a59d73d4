"""Settings of the whole process: backend, threads, default dtype, epsilon; and what is in use.

Environment variables are read at the first use: ``FUSEDMLP_BACKEND`` (``auto`` or a backend's
name), ``FUSEDMLP_THREADS`` (a number), ``FUSEDMLP_ISA`` (a cap on the instruction set of the
compiled kernels), ``FUSEDMLP_MATMUL_PRECISION`` and ``FUSEDMLP_MATMUL_LIBRARY`` (see `set_matmul`),
``FUSEDMLP_MAX_EPOCHS`` and ``FUSEDMLP_MAX_STEPS_PER_EPOCH`` (see `set_max_epochs`).  What is set
here later takes their place.  This module knows no arrays.

>>> floatx()
'float32'
"""

from __future__ import annotations

import operator
import os
from typing import Any

from . import backend as _backend
from ._version import __version__

__all__ = [
    "backend",
    "disable_interactive_logging",
    "dtype_policy",
    "enable_interactive_logging",
    "epsilon",
    "floatx",
    "info",
    "instruction_set",
    "is_interactive_logging_enabled",
    "matmul",
    "max_epochs",
    "max_steps_per_epoch",
    "set_backend",
    "set_dtype_policy",
    "set_epsilon",
    "set_floatx",
    "set_matmul",
    "set_max_epochs",
    "set_max_steps_per_epoch",
    "set_threads",
    "show",
    "threads",
]

_FLOATX = ("float32", "float64")
_VARIABLES = ("FUSEDMLP_BACKEND", "FUSEDMLP_ISA", "FUSEDMLP_THREADS", "FUSEDMLP_MATMUL_PRECISION",
              "FUSEDMLP_MATMUL_LIBRARY", "FUSEDMLP_MAX_EPOCHS", "FUSEDMLP_MAX_STEPS_PER_EPOCH")

_floatx = "float32"
_epsilon = 1e-7
_interactive = True
_limits: dict[str, int] = {}  # on training, where there are any
_limits_read = False  # whether environment variables have been


# -- backend and threads -------------------------------------------------------------------------


def backend() -> str:
    """Name of the backend that computes: "cython", "numpy" or "cuda".

    Raises
    ------
    ValueError, RuntimeError
        If ``FUSEDMLP_BACKEND`` names a backend that is unknown or cannot be used here.

    Examples
    --------
    >>> import fusedmlp
    >>> fusedmlp.config.backend() in ("cython", "numpy", "cuda")
    True
    """
    return _backend.current()


def set_backend(name: str) -> None:
    """Compute with another backend from the next call on; models that exist switch too.

    Parameters
    ----------
    name : {"auto", "cython", "numpy", "cuda"}
        "auto" takes the best on the CPU that can be used here.  Where ``fusedmlp[cuda]`` is
        installed and there is a GPU, large models (2**20 parameters and more) are trained and
        evaluated on that, and all others, and every prediction, stay on the CPU.  "cuda" computes
        everything on the GPU.  See also `fusedmlp.device`.

    Raises
    ------
    ValueError
        If there is no such backend.
    RuntimeError
        If it cannot be used here; the message says why and what to do.  Nothing is changed.

    Examples
    --------
    >>> import fusedmlp
    >>> before = fusedmlp.config.backend()
    >>> fusedmlp.config.set_backend("numpy")
    >>> fusedmlp.config.backend()
    'numpy'
    >>> fusedmlp.config.set_backend(before)
    """
    _backend.choose(name)


def threads() -> int:
    """Most threads that one call may use.

    At first ``FUSEDMLP_THREADS``, or what the machine gives this process.  The "numpy" backend
    starts no threads itself and keeps the number for the others; the library behind NumPy's matrix
    product has threads and settings of its own (``OPENBLAS_NUM_THREADS`` and its like).

    Examples
    --------
    >>> import fusedmlp
    >>> fusedmlp.config.threads() >= 1
    True
    """
    return _backend.threads()


def set_threads(n: int) -> None:
    """Let one call use at most `n` threads, on every backend; see `threads`.

    The results do not depend on it: a compiled kernel gives the same bits for any number.

    Parameters
    ----------
    n : int
        From 1 to 256; it may be more than there are processors.

    Raises
    ------
    TypeError, ValueError
        If `n` is no integer, or out of that range.

    Examples
    --------
    >>> import fusedmlp
    >>> before = fusedmlp.config.threads()
    >>> fusedmlp.config.set_threads(1)
    >>> fusedmlp.config.threads()
    1
    >>> fusedmlp.config.set_threads(before)
    """
    wanted = f"Argument `n` must be an integer from 1 to {_backend.MAX_THREADS}"
    try:
        if isinstance(n, bool):
            raise TypeError
        count = operator.index(n)
    except TypeError:
        raise TypeError(f"{wanted}. Received: {n!r} of type {type(n).__name__}") from None
    if not 1 <= count <= _backend.MAX_THREADS:
        raise ValueError(f"{wanted}. Received: {n!r}")
    _backend.set_threads(count)


def instruction_set() -> str | None:
    """The instruction set that the kernels in use were compiled for; None on "numpy".

    It is the widest that the processor has, or the cap of ``FUSEDMLP_ISA``: ``avx512``, ``avx2``
    or ``portable``.

    Examples
    --------
    >>> import fusedmlp
    >>> fusedmlp.config.instruction_set() in ("avx512", "avx2", "portable", None)
    True
    """
    return _backend.instruction_set()


# -- products on a GPU -----------------------------------------------------------------------------


def matmul() -> dict[str, str]:
    """How products on a GPU are computed: the "precision" and the "library" of `set_matmul`.

    Examples
    --------
    >>> import fusedmlp
    >>> fusedmlp.config.matmul()
    {'precision': 'float32', 'library': 'auto'}
    """
    return _backend.matmul()


def set_matmul(precision: str | None = None, library: str | None = None) -> None:
    """Say how products on a GPU are computed from the next call on; the CPU does not heed it.

    Parameters
    ----------
    precision : {"float32", "tensorfloat32", "bfloat16"}, optional
        What cuBLASLt may round the factors of float32 products to, for the sake of the GPU's matrix
        units; sums are float32 always.  At first ``FUSEDMLP_MATMUL_PRECISION``, or "float32": none.
    library : {"auto", "tiles", "cublaslt"}, optional
        Who computes large products.  "auto" times the kernels of this library ("tiles") and those
        of cuBLASLt, where ``fusedmlp[cublas]`` is installed, and takes the fastest, which may
        change the last bits from one process to another.  With "tiles" a row gives the same bits in
        any batch and any process; "cublaslt" takes what cuBLASLt proposes without timing it.  At
        first ``FUSEDMLP_MATMUL_LIBRARY``, or "auto".

    Raises
    ------
    ValueError
        If one of them is none of these.

    Examples
    --------
    >>> import fusedmlp
    >>> fusedmlp.config.set_matmul(precision="tensorfloat32")
    >>> fusedmlp.config.matmul()
    {'precision': 'tensorfloat32', 'library': 'auto'}
    >>> fusedmlp.config.set_matmul(precision="float32")
    """
    given = {"precision": precision, "library": library}
    _backend.set_matmul(**{name: value for name, value in given.items() if value is not None})


# -- numbers -------------------------------------------------------------------------------------


def floatx() -> str:
    """The dtype of layers and data that name none: "float32" at first.

    Examples
    --------
    >>> import fusedmlp
    >>> fusedmlp.config.floatx()
    'float32'
    """
    return _floatx


def set_floatx(value: str) -> None:
    """Set the dtype of layers and data that name none.

    Parameters
    ----------
    value : {"float32", "float64"}

    Raises
    ------
    ValueError
        If it is another.

    Examples
    --------
    >>> import fusedmlp
    >>> fusedmlp.config.set_floatx("float64")
    >>> fusedmlp.ops.activation([-1, 2], "relu").dtype.name
    'float64'
    >>> fusedmlp.config.set_floatx("float32")
    """
    global _floatx
    if not isinstance(value, str) or value not in _FLOATX:
        raise ValueError(
            f"Argument `value` must be one of {', '.join(map(repr, _FLOATX))}. Received: {value!r}"
        )
    _floatx = value


def dtype_policy():
    """The `fusedmlp.dtype_policies.DTypePolicy` of layers that name none.

    >>> import fusedmlp
    >>> fusedmlp.config.dtype_policy().name
    'float32'
    """
    from . import dtype_policies

    return dtype_policies.dtype_policy()


def set_dtype_policy(policy) -> None:
    """Set the policy of layers that name none; see `fusedmlp.dtype_policies.set_dtype_policy`.

    >>> import fusedmlp
    >>> fusedmlp.config.set_dtype_policy("mixed_bfloat16")
    >>> fusedmlp.config.set_dtype_policy(None)
    """
    from . import dtype_policies

    dtype_policies.set_dtype_policy(policy)


def epsilon() -> float:
    """How far losses on probabilities keep from 0 and 1 before they take a logarithm.

    Examples
    --------
    >>> import fusedmlp
    >>> fusedmlp.config.epsilon()
    1e-07
    """
    return _epsilon


def set_epsilon(value: float) -> None:
    """Set `epsilon`.

    Parameters
    ----------
    value : float
        Above 0 and below 0.5.

    Raises
    ------
    TypeError, ValueError
        If it is no number, or outside of that range.

    Examples
    --------
    >>> import fusedmlp
    >>> fusedmlp.config.set_epsilon(1e-5)
    >>> fusedmlp.config.epsilon()
    1e-05
    >>> fusedmlp.config.set_epsilon(1e-7)
    """
    global _epsilon
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise TypeError(f"Argument `value` must be a number. Received: {value!r}") from None
    if not 0.0 < number < 0.5:
        raise ValueError(
            f"Argument `value` must lie above 0 and below 0.5. Received: {value!r}"
        )
    _epsilon = number


# -- training ------------------------------------------------------------------------------------


def enable_interactive_logging() -> None:
    """Let what is said to people, as the progress of `fit`, go to standard output: the default.

    >>> import fusedmlp
    >>> fusedmlp.config.enable_interactive_logging()
    >>> fusedmlp.config.is_interactive_logging_enabled()
    True
    """
    global _interactive
    _interactive = True


def disable_interactive_logging() -> None:
    """Let it go to the logger "fusedmlp" of the standard library's `logging` instead.

    >>> import fusedmlp
    >>> fusedmlp.config.disable_interactive_logging()
    >>> fusedmlp.config.is_interactive_logging_enabled()
    False
    >>> fusedmlp.config.enable_interactive_logging()
    """
    global _interactive
    _interactive = False


def is_interactive_logging_enabled() -> bool:
    """Whether what is said to people goes to standard output.

    >>> import fusedmlp
    >>> fusedmlp.config.is_interactive_logging_enabled()
    True
    """
    return _interactive


def max_epochs() -> int | None:
    """Most epochs of a `fit`; None where there is no limit.  At first ``FUSEDMLP_MAX_EPOCHS``.

    >>> import fusedmlp
    >>> fusedmlp.config.max_epochs()
    """
    return _limit("max_epochs")


def set_max_epochs(max_epochs: int | None) -> None:
    """Let no `fit` make more epochs, whatever it is asked for, as when a script is only tried out.

    Parameters
    ----------
    max_epochs : int or None

    Raises
    ------
    TypeError, ValueError
        If it is no positive integer and not None.

    >>> import fusedmlp
    >>> fusedmlp.config.set_max_epochs(2)
    >>> fusedmlp.config.max_epochs()
    2
    >>> fusedmlp.config.set_max_epochs(None)
    """
    _set_limit("max_epochs", max_epochs)


def max_steps_per_epoch() -> int | None:
    """Most steps of an epoch, an evaluation or a prediction; None where there is no limit.

    At first ``FUSEDMLP_MAX_STEPS_PER_EPOCH``.

    >>> import fusedmlp
    >>> fusedmlp.config.max_steps_per_epoch()
    """
    return _limit("max_steps_per_epoch")


def set_max_steps_per_epoch(max_steps_per_epoch: int | None) -> None:
    """Let `fit`, `evaluate` and `predict` make no more steps in one pass.

    Parameters
    ----------
    max_steps_per_epoch : int or None

    Raises
    ------
    TypeError, ValueError
        If it is no positive integer and not None.

    >>> import fusedmlp
    >>> fusedmlp.config.set_max_steps_per_epoch(10)
    >>> fusedmlp.config.max_steps_per_epoch()
    10
    >>> fusedmlp.config.set_max_steps_per_epoch(None)
    """
    _set_limit("max_steps_per_epoch", max_steps_per_epoch)


def _limit(name):
    global _limits_read
    if not _limits_read:
        _limits_read = True
        for known in ("max_epochs", "max_steps_per_epoch"):
            text = os.environ.get(f"FUSEDMLP_{known.upper()}")
            if text:
                _set_limit(known, int(text) if text.isdecimal() else text)
    return _limits.get(name)


def _set_limit(name, value):
    from .checks import integer

    _limit(name)
    if value is None:
        _limits.pop(name, None)
    else:
        _limits[name] = integer(value, name, 1)


# -- what is in use ------------------------------------------------------------------------------


def info() -> dict[str, Any]:
    """Versions, backends and settings, as plain data; what ``python -m fusedmlp info`` prints.

    Returns
    -------
    dict
        With "version", "python", "numpy", "platform", "processors", "backend" (None where the one
        that was asked for cannot be used; "problem" then says why), "backends" (a list, best
        first, of dicts with "name", "status" and, as they apply, "reason", "instruction_set",
        "instruction_sets" and what is known of the build), "threads", "floatx" and "environment".

    Examples
    --------
    >>> import fusedmlp
    >>> [entry["name"] for entry in fusedmlp.config.info()["backends"]]
    ['cuda', 'cython', 'numpy']
    """
    import platform

    import numpy

    result = {
        "version": __version__,
        "python": f"{platform.python_version()} ({platform.python_implementation()})",
        "numpy": numpy.__version__,
        "platform": platform.platform(),
        "processors": os.cpu_count(),
        "backend": None,
        "backends": [],
        "threads": None,
        "floatx": _floatx,
        "environment": {name: os.environ[name] for name in _VARIABLES if os.environ.get(name)},
    }
    try:
        result["backend"] = _backend.current()
        result["threads"] = _backend.threads()
    except (ValueError, RuntimeError) as error:
        result["problem"] = str(error)
    try:
        result["backends"] = _entries(result["backend"])
    except ValueError as error:  # an environment variable that means nothing
        result["problem"] = str(error)
    return result


def _entries(in_use):
    entries, reasons = [], _backend.rejected()
    for name in _backend.names:
        if name in reasons:
            entries.append({"name": name, "status": "rejected", "reason": reasons[name]})
            continue
        entry = {"name": name, "status": "in use" if name == in_use else "available"}
        namespace = _backend.load(name)
        entry.update(namespace.describe())
        native = namespace.native
        if native is not None:
            entry["instruction_set"] = native.isa()
            entry["instruction_sets"] = list(native.available())
            entry.update(native.build_info())
        entries.append(entry)
    return entries


def show(file=None) -> None:
    """Print `info` for people.

    Parameters
    ----------
    file : text file, optional
        Where to; standard output by default.

    Examples
    --------
    >>> import fusedmlp
    >>> fusedmlp.config.show()                                              # doctest: +ELLIPSIS
    fusedmlp ...
    """
    details = info()
    lines = [
        f"fusedmlp {details['version']}",
        f"Python {details['python']}, NumPy {details['numpy']}",
        f"{details['platform']}, {details['processors']} processors",
    ]
    if details["backends"]:
        lines.append("backends, best first:")
    width = max(map(len, _backend.names))
    shown = ("name", "status", "reason", "instruction_set", "instruction_sets")
    for entry in details["backends"]:
        status = entry["status"] + (f": {entry['reason']}" if "reason" in entry else "")
        lines.append(f"  {entry['name']:{width}}  {status}")
        if "instruction_set" in entry:
            others = ", ".join(entry["instruction_sets"])
            lines.append(f"  {'':{width}}  instruction set: {entry['instruction_set']} "
                         f"(available: {others})")
        lines += [f"  {'':{width}}  {key}: {value}"
                  for key, value in entry.items() if key not in shown]
    if details["threads"] is not None:
        lines.append(f"threads: {details['threads']}")
    lines.append(f"floatx: {details['floatx']}")
    lines += [f"environment: {name}={value}" for name, value in details["environment"].items()]
    if "problem" in details:
        lines.append(f"problem: {details['problem']}")
    print("\n".join(lines), file=file)
