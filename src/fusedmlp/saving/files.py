"""Files as such: paths that are checked, content that is written whole or not at all.

This module knows nothing of what is in a file but its first bytes, which say what kind it is.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

__all__ = ["as_path", "kind", "optional", "read_bytes", "write_bytes"]


def as_path(filepath: str | Path) -> Path:
    """`filepath` as a Path; TypeError if it is none."""
    try:
        return Path(filepath)
    except TypeError:
        raise TypeError(
            f"Argument `filepath` must be a path. Received: {filepath!r} "
            f"of type {type(filepath).__name__}"
        ) from None


def check_target(filepath: str | Path, overwrite: bool = True) -> Path:
    """The path of a file that may be written.

    Raises
    ------
    ValueError
        If the file exists and may not be replaced, or is a folder.
    TypeError
        If `filepath` is no path.
    FileNotFoundError
        If the folder doesn't exist.
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
    return path


def write_bytes(filepath: str | Path, content: bytes, overwrite: bool = True) -> None:
    """Write a file.

    The content goes to a new file beside the target, is brought to the disk, and then takes the
    target's name in one step: whoever reads sees the old file or the new one, never half of one,
    even after a crash.

    Parameters
    ----------
    filepath : str or Path
    content : bytes
    overwrite : bool
        Whether a file that exists may be replaced.

    Raises
    ------
    ValueError, TypeError
        See `check_target`.
    OSError
        If the folder doesn't exist or can't be written to.
    """
    path = check_target(filepath, overwrite)
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


def _sync_folder(folder):
    """Bring the new name itself to the disk, where the system can."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def read_bytes(filepath: str | Path) -> bytes:
    """The content of a file.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    TypeError
        If `filepath` is no path.
    """
    path = as_path(filepath)
    if not path.is_file():
        raise FileNotFoundError(f"Argument `filepath` must be a file. Received: {str(path)!r}")
    return path.read_bytes()


def kind(content: bytes) -> str:
    """What the first bytes say: "zip", "hdf5", "safetensors" or "unknown".

    A safetensors file begins with the length of its header, which is JSON.

    >>> kind(b"PK and so on"), kind(b"hello")
    ('zip', 'unknown')
    """
    if content.startswith(b"PK"):
        return "zip"
    if content.startswith(b"\x89HDF\r\n\x1a\n"):
        return "hdf5"
    if content[8:9] == b"{" and int.from_bytes(content[:8], "little") <= len(content) - 8:
        return "safetensors"
    return "unknown"


def optional(name: str, what: str, extra: str):
    """Import a library that is no requirement; ImportError that says how to get it.

    Parameters
    ----------
    name : str
    what : str
        What can't be done without it.
    extra : str
        The extra of this package that installs it.
    """
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError:
        raise ImportError(
            f"{what} needs the package {name!r}: pip install 'fusedmlp[{extra}]'"
        ) from None
