"""The file format: one zip archive of JSON texts and named arrays, written whole or not at all.

Members: ``metadata.json`` says whose format it is; other ``.json`` members are plain data; ``.npz``
members are NumPy's own archives of arrays.  Nothing is ever pickled, and nothing in a file is run.
The same content gives the same bytes.  This module knows nothing of models.
"""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .._version import __version__
from .files import as_path, check_target, kind, read_bytes, write_bytes

__all__ = ["read", "unpack", "write"]

FORMAT, FORMAT_VERSION = "fusedmlp", 1
_METADATA = "metadata.json"
_DATE = (1980, 1, 1, 0, 0, 0)  # the earliest that zip has


# -- writing -------------------------------------------------------------------------------------


def write(filepath: str | Path, members: Mapping[str, Any], overwrite: bool = True) -> None:
    """Write an archive.

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
    check_target(filepath, overwrite)
    content = _packed({
        _METADATA: {"format": FORMAT, "format_version": FORMAT_VERSION, "version": __version__},
        **members,
    })
    write_bytes(filepath, content, overwrite)


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
            np.lib.format.write_array(member, np.asarray(array, order="C"), allow_pickle=False)
            _add(archive, f"{name}.npy", member.getvalue())
    return target.getvalue()


def _text(data):
    return json.dumps(data, indent=1, allow_nan=False).encode()


def _add(archive, name, content):
    # Not compressed: weights hardly get smaller, and reading them stays a matter of copying.
    info = zipfile.ZipInfo(name, date_time=_DATE)
    info.external_attr = 0o644 << 16
    archive.writestr(info, content)


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
    return unpack(read_bytes(filepath), filepath, wanted)


def unpack(content: bytes, filepath: str | Path, wanted: tuple[str, ...]) -> dict[str, Any]:
    """The same, of the content of a file that has been read; the path is for messages."""
    path = as_path(filepath)
    if kind(content) != "zip":
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
