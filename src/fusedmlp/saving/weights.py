"""Weights in files: which format a file has, and which array belongs to which variable.

Formats know files, this module knows models: it asks a format for arrays, finds the variable of
each, and changes the model only once all of them fit.
"""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np

from ..models import Model
from ..models.model import all_layers
from . import archive, hdf5, matching, safetensors, torch_files
from .files import check_target, kind, read_bytes, write_bytes

__all__ = ["WEIGHTS", "arrays_of", "check_built", "check_model", "load_weights",
           "save_torch_weights", "save_weights", "warn_of_own"]

WEIGHTS = "weights.npz"
_WRITER = "fusedmlp"  # such files keep the order of the layers
_HDF5_SUFFIXES = (".h5", ".hdf5")
_NOT_WRITTEN = {
    ".onnx": "fusedmlp.saving.export_onnx",
    ".pt": "torch.save of fusedmlp.saving.torch_state_dict(model)",
    ".pth": "torch.save of fusedmlp.saving.torch_state_dict(model)",
}


# -- models --------------------------------------------------------------------------------------


def check_model(model: Model) -> None:
    """TypeError if `model` is no model."""
    if not isinstance(model, Model):
        raise TypeError(
            f"Argument `model` must be a model. Received: {model!r} of type {type(model).__name__}"
        )


def check_built(model: Model) -> None:
    """TypeError if `model` is no model, ValueError if it is not built."""
    check_model(model)
    if not model.built:
        raise ValueError(
            f"Argument `model` must be built, by an Input or `build(input_shape)`. "
            f"Received: {model!r}"
        )


def warn_of_own(model: Model) -> None:
    """Warn of layers that would write their files themselves: what they have beside variables is
    not saved."""
    names = ("save_own_variables", "load_own_variables", "save_assets", "load_assets")
    found = sorted({f"{type(layer).__name__}.{name}" for layer in all_layers(model)
                    for name in names if hasattr(layer, name)})
    if found:
        warnings.warn(
            f"{', '.join(found)} of one's own are not called: files hold the variables of layers, "
            "and nothing else that they have", stacklevel=3)


def arrays_of(model: Model) -> dict[str, np.ndarray]:
    """The weights by place and path; the place keeps equal paths apart."""
    return {f"{i}/{v.path}": v.numpy() for i, v in enumerate(model.variables)}


# -- writing -------------------------------------------------------------------------------------


def save_weights(model: Model, filepath: str | Path, overwrite: bool = True) -> None:
    """Write a model's weights, and nothing else, to a file for `load_weights`.

    Parameters
    ----------
    model : Model
        Built.
    filepath : str or Path
        The suffix decides the format: ``.safetensors`` (arrays called ``layer/variable``),
        ``.h5`` (usually ``.weights.h5``: Keras reads it, too; needs the extra ``h5``, and without
        it the file becomes an archive of this package, with a warning), and with any other suffix
        an archive of this package.
    overwrite : bool
        Whether a file that exists may be replaced.  It is replaced as a whole or not at all.

    Raises
    ------
    ValueError
        If the model is not built, the file exists and may not be replaced, or its suffix is that
        of a format that is written by another function.
    TypeError
        If `model` is no model.
    OSError
        If the file can't be written.

    Examples
    --------
    >>> import os, tempfile
    >>> import fusedmlp as fm
    >>> one, two = (fm.Sequential([fm.Input((4,)), fm.layers.Dense(3)]) for _ in range(2))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "model.weights.safetensors")
    ...     fm.saving.save_weights(one, path)
    ...     fm.saving.load_weights(two, path)
    >>> bool((one.get_weights()[0] == two.get_weights()[0]).all())
    True
    """
    check_built(model)
    warn_of_own(model)
    path = check_target(filepath, overwrite)
    suffix = path.suffix.lower()
    if suffix in _NOT_WRITTEN:
        raise ValueError(
            f"Argument `filepath` must have the suffix of a format of weights: '.safetensors', "
            f"'.h5' or one of your own; for {suffix!r} there is {_NOT_WRITTEN[suffix]}. "
            f"Received: {str(filepath)!r}"
        )
    if suffix == ".safetensors":
        metadata = {"format": "np", "written_by": _WRITER}
        write_bytes(path, safetensors.dumps(_by_path(model), metadata), overwrite)
    elif suffix in _HDF5_SUFFIXES and hdf5.available():
        write_bytes(path, hdf5.dumps(model), overwrite)
    else:
        if suffix in _HDF5_SUFFIXES:
            warnings.warn(
                f"{path.name} is written as an archive of fusedmlp, which `load_weights` reads but "
                "Keras does not: for HDF5, pip install 'fusedmlp[h5]'", stacklevel=3,
            )
        archive.write(path, {WEIGHTS: arrays_of(model)}, overwrite)


def _by_path(model):
    """The weights by path; where several have the same, all carry their place."""
    variables = model.variables
    named = {v.path: v.numpy() for v in variables}
    return named if len(named) == len(variables) else arrays_of(model)


# -- reading -------------------------------------------------------------------------------------


def load_weights(model: Model, filepath: str | Path, skip_mismatch: bool = False,
                 by_name: bool = False) -> None:
    """Overwrite a model's weights with those of a file.

    Parameters
    ----------
    model : Model
        Built, with variables of the same number, order and shapes as the one that was saved;
        names don't matter.
    filepath : str or Path
        What is in it decides the format, not its suffix:

        - written by `save_weights`, `save_model` or their methods;
        - safetensors of any origin, the arrays called as the model's variables
          (``layer/variable``), or by PyTorch;
        - of Keras: ``.keras``, ``.weights.h5`` and the older ``.h5`` (need the extra ``h5``);
        - of PyTorch: a state dict in a ``.pt`` file, see `load_torch_weights`.
    skip_mismatch : bool
        Leave layers alone whose weights are not in the file or have other shapes there, with a
        warning, in place of the error.
    by_name : bool
        Whether layers are found by their names instead of their order, and those that the file
        does not have are left alone.  For formats with names of layers: those written here and
        Keras's older ``.h5``.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is no file of these kinds, or is damaged, or does not fit: then the message names the
        weights that don't.  The model is then as before.
    TypeError
        If `model` is no model.
    ImportError
        If it is an HDF5 file and h5py is missing.

    Examples
    --------
    >>> import os, tempfile
    >>> import fusedmlp as fm
    >>> first, second = (fm.Sequential([fm.Input((4,)), fm.layers.Dense(3)]) for _ in range(2))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "dense.weights.npz")
    ...     save_weights(first, path)
    ...     load_weights(second, path)
    >>> bool((first.get_weights()[0] == second.get_weights()[0]).all())
    True
    """
    check_built(model)
    content = read_bytes(filepath)
    try:
        matches = _matches(model, content, filepath, by_name)
    except (zipfile.BadZipFile, safetensors.DamagedError, hdf5.DamagedError,
            torch_files.DamagedError) as error:
        raise ValueError(
            f"The file is damaged: {error}. Received: filepath={str(filepath)!r}"
        ) from None
    matching.assign(model, matches, filepath, skip_mismatch)


def _matches(model, content, filepath, named):
    """What of a file belongs to which variable."""
    what = kind(content)
    if what == "hdf5":
        return hdf5.match(model, content, named)
    if what == "safetensors":
        arrays, metadata = safetensors.loads(content)
        return _match_safetensors(model, arrays, metadata.get("written_by") == _WRITER, named)
    if what == "zip":
        with zipfile.ZipFile(BytesIO(content)) as file:
            names = file.namelist()
            if hdf5.MEMBER in names:
                return hdf5.match(model, file.read(hdf5.MEMBER), named)
            if torch_files.is_pickle(names):
                return torch_files.match(model, torch_files.loads(file))
    members = archive.unpack(content, filepath, (WEIGHTS,))
    if WEIGHTS not in members:
        raise ValueError(
            f"The file is damaged: it has no {WEIGHTS}. Received: filepath={str(filepath)!r}"
        )
    arrays = [(name.partition("/")[2], array) for name, array in members[WEIGHTS].items()]
    if named:
        return matching.by_name(model.variables, dict(arrays))
    return matching.by_order(model.variables, arrays)


def _match_safetensors(model, arrays, own, named):
    variables = model.variables
    if named:
        return matching.by_name(variables, arrays)
    if not own and torch_files.looks_like(arrays):
        return torch_files.match(model, arrays)
    if not own and {v.path for v in variables} == arrays.keys():
        return matching.by_name(variables, arrays)
    return matching.by_order(variables, arrays.items())


def save_torch_weights(model: Model, filepath: str | Path, names: Sequence[str] | None = None,
                       overwrite: bool = True) -> None:
    """Write a model's weights to a safetensors file under PyTorch's names and in its shapes.

    Parameters
    ----------
    model : Model
        See `torch_state_dict`.
    filepath : str or Path
        With the suffix ``.safetensors``; `safetensors.torch.load_file` reads it.
    names : sequence of str, optional
        See `torch_state_dict`.
    overwrite : bool
        Whether a file that exists may be replaced.

    Raises
    ------
    ValueError
        If the suffix is another, the file exists and may not be replaced, or `torch_state_dict`
        raises it.

    Examples
    --------
    >>> import os, tempfile
    >>> import fusedmlp as fm
    >>> one, two = (fm.Sequential([fm.Input((4,)), fm.layers.Dense(3)]) for _ in range(2))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "linear.safetensors")
    ...     save_torch_weights(one, path)
    ...     fm.saving.load_torch_weights(two, path)
    >>> bool((one.get_weights()[0] == two.get_weights()[0]).all())
    True
    """
    check_built(model)
    path = check_target(filepath, overwrite)
    if path.suffix.lower() != ".safetensors":
        raise ValueError(
            "Argument `filepath` must have the suffix '.safetensors'; for '.pt' pass "
            f"`torch_state_dict(model)` to torch.save. Received: {str(filepath)!r}"
        )
    state = torch_files.torch_state_dict(model, names)
    write_bytes(path, safetensors.dumps(state, {"format": "pt"}), overwrite)
