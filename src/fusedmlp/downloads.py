"""Files from the network, kept in a folder: `fusedmlp.utils.get_file`.

A file is checked and put in its place whole or not at all; what comes out of an archive stays in
the folder that it is unpacked to.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tarfile
import tempfile
import urllib.parse
import urllib.request
import warnings
import zipfile
from pathlib import Path, PurePosixPath

from . import checks
from .messages import say

__all__ = ["get_file"]

_BLOCK = 1 << 16


def get_file(fname=None, origin: str | None = None, untar: bool = False,
             md5_hash: str | None = None, file_hash: str | None = None,
             cache_subdir: str = "datasets", hash_algorithm: str = "auto", extract: bool = False,
             archive_format="auto", cache_dir=None, force_download: bool = False) -> str:
    """The path of a file from the network, which is fetched where it is not there yet.

    Parameters
    ----------
    fname : str or Path, optional
        What it is called here; by default, as it is there.  Of an archive that is unpacked, the
        name of the folder.
    origin : str
        Its address.
    untar : bool
        The same as ``extract=True, archive_format="tar"``.
    md5_hash : str, optional
        The same as `file_hash` with ``hash_algorithm="md5"``.
    file_hash : str, optional
        Of what the file must be, in hexadecimal digits; a file that is there and differs is fetched
        again.
    cache_subdir : str
        Folder within `cache_dir`.
    hash_algorithm : {"auto", "sha256", "md5"}
        "auto" tells them by the number of digits.
    extract : bool
        Whether it is an archive to be unpacked.
    archive_format : {"auto", "tar", "zip"}, list of these, or None
        Of the archive.
    cache_dir : str or Path, optional
        By default that of Keras, ``KERAS_HOME`` or ``~/.keras``, so that both share files; or
        a folder for temporary files, where that can't be written to.
    force_download : bool
        Whether it is fetched even if it is there.

    Returns
    -------
    str
        Path of the file, or of the folder that it was unpacked to.

    Raises
    ------
    ValueError
        If there is no name, an argument is none of these, or the file is not the one that
        `file_hash` says.
    OSError
        If it can't be fetched or written.

    References
    ----------
    Keras 3, keras.utils.get_file.

    >>> with tempfile.TemporaryDirectory() as folder:
    ...     there = Path(folder, "numbers.txt")
    ...     _ = there.write_text("1 2 3")
    ...     path = get_file(origin=there.as_uri(), cache_dir=folder)         # doctest: +ELLIPSIS
    ...     os.path.relpath(path, folder).replace(os.sep, "/"), Path(path).read_text()
    Downloading data from file:...
    ('datasets/numbers.txt', '1 2 3')
    """
    if not isinstance(origin, str) or not origin:
        raise ValueError(
            f"Argument `origin` must be the address of a file. Received: {origin!r}"
        )
    checks.one_of(hash_algorithm, "hash_algorithm", ("auto", "sha256", "md5"))
    formats = _formats("tar" if untar else archive_format)
    extract = bool(extract or untar)
    if md5_hash is not None and file_hash is None:
        file_hash, hash_algorithm = md5_hash, "md5"
    if file_hash is not None and hash_algorithm == "auto":
        hash_algorithm = "sha256" if len(file_hash) == 64 else "md5"
    given = None if fname is None else os.fspath(fname)
    name = given or os.path.basename(urllib.parse.urlsplit(origin).path)
    if not name or os.path.basename(name) != name:
        raise ValueError(
            "Argument `fname` must be the name of a file, without folders (for which there are "
            f"`cache_dir` and `cache_subdir`). Received: {fname!r} with origin={origin!r}"
        )
    folder = _folder(cache_dir, cache_subdir)
    target, unpacked = folder / name, folder / name
    if extract:
        if given and "." in given:
            unpacked = folder / f"{given.partition('.')[0]}_extracted"
        else:
            target = folder / f"{name}_archive"
    there = target.exists() and not force_download
    if there and file_hash is not None and not _is_valid(target, file_hash, hash_algorithm):
        say(f"The file {target} is not the one of that {hash_algorithm} hash: it is fetched again")
        there = False
    if not there:
        _fetch(origin, target, file_hash, hash_algorithm)
    if not extract:
        return str(target)
    if not _unpack(target, unpacked, formats):
        warnings.warn(f"The file {str(target)!r} is no archive that could be unpacked",
                      stacklevel=2)
    return str(unpacked)


def _formats(formats):
    if formats == "auto":
        return ("tar", "zip")
    found = (formats,) if isinstance(formats, str) else tuple(formats or ())
    for one in found:
        checks.one_of(one, "archive_format", ("tar", "zip"))
    return found


def _folder(cache_dir, cache_subdir):
    base = Path(cache_dir or os.environ.get("KERAS_HOME") or Path("~", ".keras")).expanduser()
    if cache_dir is None:
        with contextlib.suppress(OSError):
            base.mkdir(parents=True, exist_ok=True)
        if not os.access(base, os.W_OK):
            base = Path(tempfile.gettempdir(), ".keras")
    folder = base / cache_subdir
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _is_valid(path, file_hash, algorithm):
    """Whether a file is the one that the hash is of."""
    hasher = hashlib.new(algorithm, usedforsecurity=False)
    with open(path, "rb") as file:
        while block := file.read(_BLOCK):
            hasher.update(block)
    return hasher.hexdigest() == file_hash.lower()


def _fetch(origin, target, file_hash, algorithm):
    """Fetch a file, and put it in its place once it is known to be the right one."""
    from .training.progbar import Progbar

    say(f"Downloading data from {origin}")
    handle, part = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(handle, "wb") as file, urllib.request.urlopen(origin) as source:
            length = source.headers.get("Content-Length")
            size = int(length) if length else None
            bar, done = Progbar(size, verbose=int(size is None or size > _BLOCK)), 0
            while block := source.read(_BLOCK):
                file.write(block)
                done += len(block)
                bar.update(done)
        if size is not None and done != size:
            raise OSError(f"The file {origin} was cut off after {done} of {size} bytes")
        if file_hash is not None and not _is_valid(part, file_hash, algorithm):
            raise ValueError(
                f"The file {origin} must have the {algorithm} hash that `file_hash` says. "
                f"Received: {file_hash!r}, which is another"
            )
        os.replace(part, target)
    finally:
        if os.path.exists(part):
            os.remove(part)


def _unpack(path, folder, formats):
    """Whether it was an archive of one of the formats, which is unpacked then."""
    for one in formats:
        if one == "tar" and tarfile.is_tarfile(path):
            with tarfile.open(path) as archive:
                members = [m for m in archive if m.isfile() or m.isdir()]
                _check_inside(path, [m.name for m in members])
                safely = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
                _whole(folder, archive.extractall, members=members, **safely)
            return True
        if one == "zip" and zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                _check_inside(path, archive.namelist())
                _whole(folder, archive.extractall)
            return True
    return False


def _check_inside(path, names):
    for name in names:
        place = PurePosixPath(name.replace("\\", "/"))
        if place.is_absolute() or ".." in place.parts or name[1:2] == ":":
            raise ValueError(
                f"An archive must hold files for its own folder alone. Received: {name!r} in "
                f"{str(path)!r}"
            )


def _whole(folder, extract, **how):
    """Unpack to a folder, of which nothing is left where that fails."""
    there = folder.exists()
    try:
        extract(folder, **how)
    except BaseException:
        if not there:
            shutil.rmtree(folder, ignore_errors=True)
        raise
