"""The safetensors format: named arrays behind a header of JSON, and nothing that could be run.

A file is the length of the header (8 bytes, little-endian), the header, and the arrays one after
another; the header gives dtype, shape and place of each (https://github.com/huggingface/safetensors,
"Format").  It is small enough to be read and written here, so no library is needed for it.  This
module knows nothing of models.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping

import numpy as np

__all__ = ["DamagedError", "dumps", "loads"]

_DTYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2",
    "I8": "|i1", "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "|u1", "BOOL": "|b1",
}
_NAMES = {code: name for name, code in _DTYPES.items()}
_HEADER_LIMIT = 100_000_000  # bytes, the limit of the reference implementation


class DamagedError(Exception):
    """Content that is no such file."""


def dumps(arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str] | None = None) -> bytes:
    """The bytes of a file that holds `arrays`, in their order.

    Parameters
    ----------
    arrays : mapping of str to ndarray
        Of numbers or booleans.
    metadata : mapping of str to str, optional
        Free texts.

    >>> loads(dumps({"a": np.arange(3.0)}, {"by": "me"}))
    ({'a': array([0., 1., 2.])}, {'by': 'me'})
    """
    header, parts, place = {}, [], 0
    if metadata:
        header["__metadata__"] = dict(metadata)
    for name, array in arrays.items():
        array = np.asarray(array, order="C")
        array = array.astype(array.dtype.newbyteorder("<"), copy=False)
        part = array.tobytes()
        header[name] = {"dtype": _NAMES[array.dtype.str], "shape": list(array.shape),
                        "data_offsets": [place, place + len(part)]}
        parts.append(part)
        place += len(part)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # so that the arrays are aligned
    return b"".join([len(text).to_bytes(8, "little"), text, *parts])


def loads(content: bytes) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Arrays and free texts of a file.

    Returns
    -------
    arrays : dict of str to ndarray
        In the order of their places in the file; bfloat16 is widened to float32.
    metadata : dict of str to str

    Raises
    ------
    DamagedError
        If the content is no such file, or damaged.
    """
    length = int.from_bytes(content[:8], "little")
    if len(content) < 8 or length > min(len(content) - 8, _HEADER_LIMIT):
        raise DamagedError("the header is longer than the file")
    try:
        header = json.loads(content[8 : 8 + length])
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DamagedError(f"the header is no JSON: {error}") from None
    if not isinstance(header, dict):
        raise DamagedError("the header is no JSON object")
    metadata = header.pop("__metadata__", {})
    data = memoryview(content)[8 + length :]
    placed = [_placed(name, entry) for name, entry in header.items()]
    placed.sort(key=lambda item: item[1:3])
    arrays, end = {}, 0
    for name, start, stop, dtype, shape in placed:
        if start != end or stop > len(data):
            raise DamagedError(f"{name!r} does not lie where the one before ends, or is cut off")
        end = stop
        arrays[name] = _array(name, data[start:stop], dtype, shape)
    if end != len(data):
        raise DamagedError("there are bytes behind the last array")
    return arrays, metadata


def _placed(name, entry):
    """Name, place, dtype and shape of one entry of the header."""
    try:
        (start, stop), dtype, shape = entry["data_offsets"], entry["dtype"], tuple(entry["shape"])
        whole = all(type(n) is int and n >= 0 for n in (start, stop, *shape))
    except (KeyError, TypeError, ValueError):
        whole = False
    if not whole or start > stop:
        raise DamagedError(f"the entry of {name!r} is none: {entry!r}")
    return name, start, stop, dtype, shape


def _array(name, part, dtype, shape):
    widened = dtype == "BF16"
    code = "<u2" if widened else _DTYPES.get(dtype)
    if code is None:
        raise DamagedError(f"{name!r} has the dtype {dtype!r}, which is not known here")
    if math.prod(shape) * np.dtype(code).itemsize != len(part):
        raise DamagedError(f"{name!r} of shape {shape} and dtype {dtype} has {len(part)} bytes")
    array = np.frombuffer(part, code)
    if widened:  # the upper half of a float32
        array = (array.astype("<u4") << 16).view("<f4")
    return array.reshape(shape).astype(array.dtype.newbyteorder("="))
