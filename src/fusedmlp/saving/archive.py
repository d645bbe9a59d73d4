"""The file format: one zip archive of JSON texts and named arrays, written whole or not at all.

Members: ``metadata.json`` says whose format it is; other ``.json`` members are plain data; ``.npz``
members are NumPy's own archives of arrays.  Nothing is ever pickled, and nothing in a file is run.
The same content gives the same bytes.  This module knows nothing of models.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import secrets
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .._version import __version__

__all__ = ["as_path", "read", "write"]

FORMAT, FORMAT_VERSION = "fusedmlp", 1
_METADATA = "metadata.json"
_HDF5 = b"\x89HDF\r\n\x1a\n"
_ZIP = b"PK"
_DATE = (1980, 1, 1, 0, 0, 0)  # the earliest that zip has


# -- writing -------------------------------------------------------------------------------------


def write(filepath: str | Path, members: Mapping[str, Any], overwrite: bool = True) -> None:
    """Write an archive.

    The content goes to a new file beside the target, is brought to the disk, and then takes the
    target's name in one step: whoever reads sees the old file or the new one, never half of one,
    even after a crash.

    Parameters
    ----------
    filepath : str or Path
    members : mapping
        By name: a dict of arrays where the name ends in ".npz", else data for JSON.
    overwrite : bool
        Whether a file that exists may be replaced.

    Raises
    ------
    ValueError
        If the file exists and may not be replaced, or is a folder.
    TypeError
        If `filepath` is no path.
    OSError
        If the folder doesn't exist or can't be written to.
    """
    path = as_path(filepath)
    if path.is_dir():
        raise ValueError(
            f"Argument `filepath` must be a file. Received: the folder {str(path)!r}"
        )
    if path.exists() and not overwrite:
        raise ValueError(
            "Argument `filepath` must be a new file where `overwrite` is False. "
            f"Received: {str(path)!r}, which exists"
        )
    if not path.parent.is_dir():
        raise FileNotFoundError(
            f"Argument `filepath` must lie in a folder that exists. Received: {str(path)!r}"
        )
    content = _packed({
        _METADATA: {"format": FORMAT, "format_version": FORMAT_VERSION, "version": __version__},
        **members,
    })
    path = Path(os.path.realpath(path))  # replace what a link points to, not the link
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with open(draft, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    except BaseException:
        with contextlib.suppress(OSError):
            draft.unlink()
        raise
    _sync_folder(path.parent)


def as_path(filepath: str | Path) -> Path:
    """`filepath` as a Path; TypeError if it is none."""
    try:
        return Path(filepath)
    except TypeError:
        raise TypeError(
            f"Argument `filepath` must be a path. Received: {filepath!r} "
            f"of type {type(filepath).__name__}"
        ) from None


def _packed(members):
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name, data in members.items():
            packed = _packed_arrays(data) if name.endswith(".npz") else _text(data)
            _add(archive, name, packed)
    return target.getvalue()


def _packed_arrays(arrays):
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name, array in arrays.items():
            member = io.BytesIO()
            np.lib.format.write_array(member, np.ascontiguousarray(array), allow_pickle=False)
            _add(archive, f"{name}.npy", member.getvalue())
    return target.getvalue()


def _text(data):
    return json.dumps(data, indent=1, allow_nan=False).encode()


def _add(archive, name, content):
    # Not compressed: weights hardly get smaller, and reading them stays a matter of copying.
    info = zipfile.ZipInfo(name, date_time=_DATE)
    info.external_attr = 0o644 << 16
    archive.writestr(info, content)


def _sync_folder(folder):
    """Bring the new name itself to the disk, where the system can."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


# -- reading -------------------------------------------------------------------------------------


def read(filepath: str | Path, wanted: tuple[str, ...]) -> dict[str, Any]:
    """Read members of an archive that `write` wrote.

    Parameters
    ----------
    filepath : str or Path
    wanted : tuple of str
        Names of members.

    Returns
    -------
    dict
        Their content by name, as it was given to `write`; without those that aren't there.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is another kind of file, or was written by a later version of this package, or is
        damaged.
    TypeError
        If `filepath` is no path.
    """
    path = as_path(filepath)
    if not path.is_file():
        raise FileNotFoundError(f"Argument `filepath` must be a file. Received: {str(path)!r}")
    content = path.read_bytes()
    if content.startswith(_HDF5):
        raise ValueError(
            f"{_expected(path)} an HDF5 file such as Keras writes. To bring weights over, read "
            "them in Keras with `get_weights()` and pass them to `set_weights()` here"
        )
    if not content.startswith(_ZIP):
        raise ValueError(f"{_expected(path)} another kind of file, or one cut off at its start")
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            _check_metadata(path, archive)
            there = set(archive.namelist())
            return {name: _unpacked(archive, name) for name in wanted if name in there}
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, KeyError,
            UnicodeDecodeError, json.JSONDecodeError, _DamagedError) as error:
        raise ValueError(
            f"The file is damaged: {error}. Received: filepath={str(path)!r}"
        ) from None


class _DamagedError(Exception):
    """Content that no version of `write` writes."""


def _expected(path):
    return f"Argument `filepath` must be a file that fusedmlp saved. Received: {str(path)!r},"


def _check_metadata(path, archive):
    names = archive.namelist()
    if _METADATA not in names:
        raise ValueError(f"{_expected(path)} a zip archive without {_METADATA}, or "
                         "one that was cut off")
    metadata = json.loads(archive.read(_METADATA))
    if not isinstance(metadata, dict):
        raise _DamagedError(f"{_METADATA} holds no dict")
    if metadata.get("format") != FORMAT:
        if "keras_version" in metadata:
            raise ValueError(
                f"{_expected(path)} a file of Keras {metadata['keras_version']}. To bring its "
                "weights over, build the same network here, read them in Keras with "
                "`get_weights()` and pass them to `set_weights()` here"
            )
        raise ValueError(f"{_expected(path)} an archive of another format")
    version = metadata.get("format_version")
    if not isinstance(version, int):
        raise _DamagedError(f"{_METADATA} holds no format_version")
    if version > FORMAT_VERSION:
        raise ValueError(
            f"Argument `filepath` must be a file of format {FORMAT_VERSION} or earlier. "
            f"Received: {str(path)!r} of format {version}, which fusedmlp "
            f"{metadata.get('version')} wrote; this is version {__version__}"
        )


def _unpacked(archive, name):
    content = archive.read(name)
    if not name.endswith(".npz"):
        return json.loads(content)
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            return {key: arrays[key] for key in arrays.files}
    except (ValueError, SyntaxError) as error:  # pickles, or fewer numbers than the header says
        raise _DamagedError(f"{name}: {error}") from None
