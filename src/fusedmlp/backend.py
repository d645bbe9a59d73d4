"""The backends in order, the choice between them, and why the others were rejected.

A backend is a folder of `fusedmlp.kernels` that exports the contract of `kernels.KERNELS`.  This
module imports one on first use, checks that it is whole, and hands it to `fusedmlp.ops` and to the
models.  It is the only place that knows backends by name; it knows neither arrays nor networks.

The choice is made at the first use, not at import: what ``FUSEDMLP_BACKEND`` names, else the first
backend of the list that loads.  Models keep executors, which belong to the backend that made them;
they store each one under `key()`, which differs whenever the backend or its instruction set does,
so that a change takes effect with the next ``fit`` or ``predict``.

"auto" computes on the CPU, but for the plans that a GPU backend says pay there, in its `pays`: a
large model is trained there, a small one never has to wait for it.

``FUSEDMLP_ISA`` caps the instruction set and ``FUSEDMLP_THREADS`` the threads of the compiled
backend, which reads both when it is imported; their values are checked here before that.

>>> names[-1]
'numpy'
>>> load("numpy").activations.__name__
'fusedmlp.kernels.reference.activations'
"""

from __future__ import annotations

import importlib
import inspect
import os
import warnings
from contextlib import contextmanager
from types import SimpleNamespace
from typing import NamedTuple

from .kernels import KERNELS, QUICK

__all__ = [
    "INSTRUCTION_SETS",
    "MAX_THREADS",
    "Block",
    "choose",
    "current",
    "device",
    "executor",
    "instruction_set",
    "kernels",
    "key",
    "load",
    "matmul",
    "names",
    "rejected",
    "resident",
    "set_matmul",
    "set_threads",
    "threads",
]

_FAMILIES = {"cpu": False, "gpu": True, "cuda": True}  # of devices, and whether that is a GPU


# Names of `keras.backend`, and the modules that they are in here.
_KERAS = {
    "backend": "config", "clear_session": "utils", "epsilon": "config", "floatx": "config",
    "is_keras_tensor": "utils", "set_epsilon": "config", "set_floatx": "config",
}


def __getattr__(name):
    if name in _KERAS:
        return getattr(importlib.import_module(f"fusedmlp.{_KERAS[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


class _Row(NamedTuple):
    name: str
    module: str
    automatic: bool  # whether "auto" may pick it for all; a GPU gets the plans that pay there
    compiled: bool  # whether it consists of extension modules, with settings in `native`
    remedy: str
    gpu: bool = False  # whether it computes on a GPU, where some kernels may be lacking


_BACKENDS = {
    row.name: row
    for row in (
        _Row("cuda", "fusedmlp.kernels.cuda", False, False,
             "Use FUSEDMLP_BACKEND=auto or another backend.", gpu=True),
        _Row("cython", "fusedmlp.kernels.cpu", True, True,
             "Install a C compiler and reinstall fusedmlp from source "
             "(pip install --force-reinstall --no-binary fusedmlp fusedmlp), "
             "or use FUSEDMLP_BACKEND=numpy."),
        _Row("numpy", "fusedmlp.kernels.reference", True, False, "Reinstall fusedmlp."),
    )
}

names = tuple(_BACKENDS)
"""Names of all backends, best first; the plain one, which is always there, is the last."""

INSTRUCTION_SETS = ("avx512", "avx2", "portable")
"""Names that ``FUSEDMLP_ISA`` may take, widest first."""

_MATMUL = {
    "precision": ("float32", "tensorfloat32", "bfloat16"),
    "library": ("auto", "tiles", "cublaslt"),
}
"""What products on a GPU may be told, the first being what they do unless told."""

MAX_THREADS = 256
"""The largest number of threads that may be asked for."""


class Block(NamedTuple):
    """In what portions a backend works best through many rows that don't depend on each other.

    Attributes
    ----------
    bytes : int
        Of activations, two layers of them.
    rows : int
        From which on nothing is gained.
    flops : int
        Of a call that takes no longer than people wait for Ctrl-C.

    >>> Block(512 * 1024, 504, 10**9).rows
    504
    """

    bytes: int
    rows: int
    flops: int


_MATMUL_VARIABLES = {"precision": "FUSEDMLP_MATMUL_PRECISION", "library": "FUSEDMLP_MATMUL_LIBRARY"}
_BLOCK = Block(512 * 1024, 504, 10**9)  # what a core's second cache holds, and a core computes

_loaded = {}  # name -> namespace
_active = None  # the namespace in use, once it has been chosen
_automatic = False  # whether that was left to us
_threads = None  # what set_threads was last told
_matmul = {}  # what set_matmul was last told


# -- loading -------------------------------------------------------------------------------------


def load(name):
    """The kernels of one backend, whether or not it is the one in use.

    Parameters
    ----------
    name : str
        One of `names`.

    Returns
    -------
    types.SimpleNamespace
        With an attribute for each module of `fusedmlp.kernels.KERNELS`, ``name``, ``native``: the
        module that sets threads and instruction set, or None where the backend has no such
        settings, every name of `fusedmlp.kernels.QUICK`, which is a function that returns None
        where the backend has no such door, ``resident``, see the function of that name, ``block``,
        a `Block`, and ``describe``, a function without arguments that says in a dict what else a
        person may want to know.

    Raises
    ------
    ValueError
        If there is no such backend, or an environment variable has an unknown value.
    RuntimeError
        If it cannot be used here; the message says why and what to do.

    Examples
    --------
    >>> load("numpy").name
    'numpy'
    >>> load("numpie")
    Traceback (most recent call last):
    ...
    ValueError: Unknown backend: expected one of 'cuda', 'cython', 'numpy'. Received: 'numpie'
    """
    try:
        return _loaded[name]
    except (KeyError, TypeError):
        row = _row(name)
    _check_environment()
    try:
        namespace = _import(row)
    except Exception as error:
        raise RuntimeError(
            f"The {name!r} backend cannot be used: {_reason(row, error)}. {row.remedy}"
        ) from error
    if namespace.native is not None and _threads is not None:
        namespace.native.set_threads(_threads)
    if namespace.set_matmul is not None:
        namespace.set_matmul(**matmul())
    _loaded[name] = namespace
    return namespace


def rejected():
    """Why each backend that cannot be used here was rejected.

    Every backend that is not loaded yet is tried, so the first call may take a while.

    Returns
    -------
    dict of str to str
        Backend name to reason; a backend that can be used is not in it.

    Examples
    --------
    >>> "numpy" in rejected()
    False
    """
    reasons = {}
    _check_environment()
    for row in _BACKENDS.values():
        if row.name not in _loaded:
            try:
                _import(row)
            except Exception as error:  # whatever keeps a module from loading is a reason
                reasons[row.name] = _reason(row, error)
    return reasons


def _row(name, extra=()):
    row = _BACKENDS.get(name) if isinstance(name, str) else None
    if row is None:
        known = ", ".join(map(repr, (*extra, *names)))
        raise ValueError(f"Unknown backend: expected one of {known}. Received: {name!r}")
    return row


def _import(row):
    package = importlib.import_module(row.module)
    reason = getattr(package, "missing", str)()  # asked before anything slow is imported
    if reason:
        raise ImportError(reason)
    modules = {module: importlib.import_module(f"{row.module}.{module}") for module in KERNELS}
    absent = [(module, function) for module, functions in KERNELS.items()
              for function in functions if not hasattr(modules[module], function)]
    if absent and not row.gpu:
        raise ImportError(f"{row.module} has no {', '.join(map('.'.join, absent))}")
    for module, function in absent:
        setattr(modules[module], function, _absent(row.name, function, KERNELS[module][function]))
    native = importlib.import_module(f"{row.module}.native") if row.compiled else None
    quick = {function: getattr(modules[module], function, _no_door)
             for module, functions in QUICK.items() for function in functions}
    return SimpleNamespace(name=row.name, native=native, **modules, **quick,
                           describe=getattr(package, "describe", dict),
                           resident=getattr(package, "resident", _no_door),
                           set_matmul=getattr(package, "set_matmul", None),
                           block=Block(*getattr(package, "BLOCK", _BLOCK)))


def _absent(backend, function, arguments):
    """Stands for a kernel that a backend lacks: never is anything computed elsewhere instead."""
    def refuse(*given, **named):
        raise RuntimeError(
            f"The {backend!r} backend has no kernel {function!r}. Compute on the CPU: "
            "with fusedmlp.device('cpu'), or fusedmlp.config.set_backend('auto')"
        )

    refuse.__name__ = refuse.__qualname__ = function
    refuse.__signature__ = inspect.Signature(
        [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in arguments])
    return refuse


def _no_door(*arguments):
    """Stands for a quick door, or another function, that a backend lacks."""
    return None


def _reason(row, error):
    """One clause that says why the backend of `row` did not load."""
    if not isinstance(error, ImportError):
        return f"{row.module} fails on import with {type(error).__name__}: {error}"
    name = error.name or ""
    if isinstance(error, ModuleNotFoundError) and name == row.module:
        return f"{row.module} is not part of this installation"
    # An extension module that exists but does not load carries its own path.
    absent = not error.path or error.path.endswith((".py", ".pyc"))
    if row.compiled and absent and name.startswith(row.module):
        return "its extension modules were not built (no C compiler at install time?)"
    return str(error)


# -- environment ---------------------------------------------------------------------------------


def _variable(name):
    return os.environ.get(name, "").strip().lower()


def _check_environment():
    """Raise ValueError for values of FUSEDMLP_ISA and FUSEDMLP_THREADS that mean nothing."""
    cap = _variable("FUSEDMLP_ISA")
    if cap and cap not in INSTRUCTION_SETS:
        raise ValueError(
            f"Environment variable FUSEDMLP_ISA must be one of {', '.join(INSTRUCTION_SETS)}. "
            f"Received: {cap!r}"
        )
    _threads_of_environment()
    for name, known in _MATMUL.items():
        variable = _MATMUL_VARIABLES[name]
        if _variable(variable) not in ("", *known):
            raise ValueError(f"Environment variable {variable} must be one of {', '.join(known)}. "
                             f"Received: {_variable(variable)!r}")


def _threads_of_environment():
    text = _variable("FUSEDMLP_THREADS")
    if not text:
        return None
    if not text.isdecimal() or not 1 <= int(text) <= MAX_THREADS:
        raise ValueError(
            f"Environment variable FUSEDMLP_THREADS must be an integer from 1 to {MAX_THREADS}. "
            f"Received: {text!r}"
        )
    return int(text)


# -- choice --------------------------------------------------------------------------------------


def choose(name):
    """Use the backend `name` from now on.

    Parameters
    ----------
    name : str
        One of `names`, or "auto" for the best on the CPU that loads, and a GPU, where there is
        one, for the training of large models.

    Returns
    -------
    str
        Name of the backend that is now in use.

    Raises
    ------
    ValueError
        If there is no such backend.
    RuntimeError
        If it cannot be used here.  The choice is then as before.

    Examples
    --------
    >>> before = current()
    >>> choose("numpy")
    'numpy'
    >>> choose(before) == before
    True
    """
    global _active, _automatic
    _active, _automatic = _select(name), name == "auto"
    return _active.name


def _select(name):
    if name != "auto":
        return load(_row(name, extra=("auto",)).name)
    candidates = [row for row in _BACKENDS.values() if row.automatic]
    for row in candidates[:-1]:
        try:
            return load(row.name)
        except RuntimeError:
            continue
    return load(candidates[-1].name)


@contextmanager
def device(device_name):
    """Within the block, compute on a device; then again with the backend that was in use before.

    The choice is one of the whole process, as that of `choose` is.  On a GPU `fit`, `evaluate`
    and `predict` take arrays of other libraries that lie there (PyTorch, CuPy, JAX, Numba) without
    a copy; classes and weights are copied, since they are checked.

    Parameters
    ----------
    device_name : str
        "cpu", "gpu" or "cuda", which is the same; ":0" may follow.  "cpu" leaves a backend that
        computes on the CPU as it is, and else takes the best of them; large models are trained
        there, too.

    Raises
    ------
    ValueError
        If it is another, or has another number.
    RuntimeError
        If there is no such device, or something is missing; the message says what to do.

    Examples
    --------
    >>> with device("cpu"):
    ...     current() in ("cython", "numpy")
    True
    >>> with device("tpu"):
    ...     pass
    Traceback (most recent call last):
    ...
    ValueError: Argument `device_name` must be one of 'cpu', 'gpu', 'cuda'. Received: 'tpu'
    """
    global _active, _automatic
    wanted = _family(device_name)
    before = kernels(), _automatic
    if _BACKENDS[before[0].name].gpu != wanted:
        choose(next(row.name for row in _BACKENDS.values() if row.gpu) if wanted else "auto")
    _automatic = False
    try:
        yield
    finally:
        _active, _automatic = before


def _family(name):
    """Whether the device of that name is a GPU."""
    family, _, number = name.lower().partition(":") if isinstance(name, str) else ("", "", "")
    if family not in _FAMILIES:
        raise ValueError(
            f"Argument `device_name` must be one of {', '.join(map(repr, _FAMILIES))}. "
            f"Received: {name!r}"
        )
    if ":" in name and number != "0":
        raise ValueError(
            "Argument `device_name` must not have another number than 0: of several GPUs, "
            f"CUDA_VISIBLE_DEVICES chooses the one to be used. Received: {name!r}"
        )
    return _FAMILIES[family]


def kernels():
    """The namespace of the backend in use (see `load`), chosen now if it has not been yet.

    Raises
    ------
    ValueError, RuntimeError
        If ``FUSEDMLP_BACKEND`` names a backend that does not exist or cannot be used.

    Examples
    --------
    >>> kernels().name == current()
    True
    """
    global _active, _automatic
    if _active is None:
        wanted = _variable("FUSEDMLP_BACKEND") or "auto"
        try:
            _active, _automatic = _select(wanted), wanted == "auto"
        except (ValueError, RuntimeError) as error:
            if wanted == "auto":
                raise
            raise type(error)(f"Environment variable FUSEDMLP_BACKEND={wanted}: {error}") from error
    return _active


def current():
    """Name of the backend in use.

    Examples
    --------
    >>> current() in names
    True
    """
    return kernels().name


def key():
    """What executors and buffers depend on: the backend, and its instruction set or settings.

    Whoever keeps something that a backend made keeps it under this key.

    Returns
    -------
    tuple of (str, str or None or tuple)
        And "auto" where the choice was left to us, with the settings of products on a GPU.

    Examples
    --------
    >>> key()[0] == current()
    True
    """
    active = _active or kernels()
    if active.native is None:
        found = active.name, None if active.set_matmul is None else tuple(matmul().values())
    else:
        found = active.name, active.native.isa()
    return (*found, "auto", *matmul().values()) if _automatic else found


def resident(array):
    """An array that lies in the memory that the backend in use computes in, to be used there.

    Parameters
    ----------
    array : object
        Arrays of other libraries on a GPU say so by ``__cuda_array_interface__`` or DLPack.

    Returns
    -------
    object or None
        Has ``shape``, ``dtype``, ``ndim``, ``size``, ``reshape``, ``astype``, slices of rows, and
        ``host()``, a copy as an array of NumPy's; executors take it as data.  None for any other
        array, and where the backend computes with NumPy's memory.

    Raises
    ------
    ValueError
        If its elements don't lie one after another.

    Examples
    --------
    >>> resident([1.0, 2.0]) is None
    True
    """
    return kernels().resident(array)


def executor(plan, parameters, slots=(), seed=0):
    """An executor of the backend in use for `plan`; see `fusedmlp.kernels` for what it can do.

    Where the backend was chosen by "auto", it is that of a GPU for plans that pay there.

    Parameters
    ----------
    plan : fusedmlp.plan.Plan
    parameters : ndarray
        The flat parameter arena, updated in place.
    slots : tuple of ndarray
        The optimizer's flat state arrays, updated in place.
    seed : int
        Key of the random numbers that the plan draws.

    Examples
    --------
    >>> import numpy as np
    >>> from fusedmlp.plan import Builder
    >>> builder = Builder(batch_size=2, dtype="float64")
    >>> y = builder.activation(builder.input(3), "relu")
    >>> out = np.empty((1, 3))
    >>> executor(builder.finish([y]), np.zeros(8)).forward(np.array([[-1.0, 0.0, 2.0]]), out)
    >>> out
    array([[0., 0., 2.]])
    """
    if plan is not None and plan.totals == ("",):  # a prediction that draws random numbers
        return _Steps(plan, parameters, slots, seed)
    return _executor(plan, parameters, slots, seed)


class _Steps:
    """An executor of a prediction whose blocks are steps: they draw other random numbers."""

    def __init__(self, plan, *arguments):
        self._executor, self.plan = _executor(plan, *arguments), plan

    def forward(self, x, out):
        """Predictions of all rows of x, with other random numbers each time."""
        import numpy as np

        from .random import next_seed

        several = isinstance(x, tuple)
        x, out = (x, out) if several else ((x,), (out,))
        rows, size = len(x[0]), self.plan.batch_size
        order, first = np.arange(rows), next_seed() & 0x3FFFFFFF
        for step in range(-(-rows // size)):
            self._executor.run(x, order, size, step, step + 1, np.zeros(step + 1), first + step,
                               np.inf)
            for array, index in zip(out, self.plan.outputs, strict=True):
                part = array[step * size : (step + 1) * size]
                part[...] = self._executor.buffer(index).reshape(part.shape)

    def __getattr__(self, name):
        return getattr(self._executor, name)


def _executor(plan, parameters, slots, seed):
    active = kernels()
    for row in _BACKENDS.values() if _automatic else ():
        if row.gpu and getattr(importlib.import_module(row.module), "pays", _no_door)(plan):
            try:
                return load(row.name).executor.Executor(plan, parameters, slots, seed)
            except Exception as error:  # no room, no driver for this process, ...
                warnings.warn(f"A model is computed on the CPU, because the {row.name!r} backend "
                              f"can't: {type(error).__name__}: {error}", RuntimeWarning,
                              stacklevel=2)
    return active.executor.Executor(plan, parameters, slots, seed)


# -- settings of the compiled backends -----------------------------------------------------------


def instruction_set():
    """The instruction set that the backend in use computes with, or None where it has no choice.

    Examples
    --------
    >>> instruction_set() in (*INSTRUCTION_SETS, None)
    True
    """
    native = kernels().native
    return None if native is None else native.isa()


def threads():
    """Most threads that a call of the backend in use may take.

    Examples
    --------
    >>> 1 <= threads() <= MAX_THREADS
    True
    """
    native = kernels().native
    if native is not None:
        return native.get_threads()
    return _threads or _threads_of_environment() or min(_usable_processors(), MAX_THREADS)


def set_threads(n):
    """Let calls take at most `n` threads, in this backend and in those loaded later.

    The caller has checked that `n` is an integer from 1 to `MAX_THREADS`.

    Examples
    --------
    >>> before = threads()
    >>> set_threads(1)
    >>> threads()
    1
    >>> set_threads(before)
    """
    global _threads
    for namespace in _loaded.values():
        if namespace.native is not None:
            namespace.native.set_threads(n)
    _threads = n


def matmul():
    """How products on a GPU are computed: "precision" and "library", each one of `_MATMUL`.

    Examples
    --------
    >>> sorted(matmul())
    ['library', 'precision']
    """
    return {name: _matmul.get(name) or _variable(_MATMUL_VARIABLES[name]) or known[0]
            for name, known in _MATMUL.items()}


def set_matmul(**settings):
    """Change what `matmul` says.

    Raises
    ------
    ValueError
        If a value is not one of `_MATMUL`.

    Examples
    --------
    >>> before = matmul()
    >>> set_matmul(precision="tensorfloat32")
    >>> matmul()["precision"]
    'tensorfloat32'
    >>> set_matmul(**before)
    """
    for name, value in settings.items():
        if value not in _MATMUL[name]:
            raise ValueError(f"Argument `{name}` must be one of "
                             f"{', '.join(map(repr, _MATMUL[name]))}. Received: {value!r}")
    _matmul.update(settings)
    for namespace in _loaded.values():
        if namespace.set_matmul is not None:
            namespace.set_matmul(**matmul())


def _usable_processors():
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
