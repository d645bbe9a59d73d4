"""How parameters lie in the flat arena that executors and optimizers work on.

A parameter of up to PANEL bytes of columns is stored row by row.  A wider one is cut into panels of
PANEL bytes of columns, one behind the other, each row by row: a product walks down one panel after
the other, and two processors that work on different panels never touch, nor prefetch, a cache line
of the other.  The last panel may be narrower: whole cache lines that hold the rest of the columns.
The columns that fill up the last line are padding: they are 0 and stay so.

Plans, variables and executors share this; it knows arrays and nothing else.
"""

import numpy as np

__all__ = ["LINE", "PANEL", "layout", "padded", "panels", "read", "write"]

LINE = 64  # bytes
PANEL = 128  # bytes; two of the widest vector registers


def padded(columns, itemsize):
    """Columns up to the end of the last cache line.

    >>> padded(10, 4), padded(100, 4), padded(3, 8)
    (16, 112, 8)
    """
    per_line = LINE // itemsize
    return max(1, -(-columns // per_line)) * per_line


def layout(shapes, itemsize):
    """Offsets and padded columns, in elements, of parameters that lie one after another.

    Parameters
    ----------
    shapes : list of tuple of int
        One- or two-dimensional shapes.
    itemsize : int
        Bytes of an element.

    Returns
    -------
    places : list of (offset, pitch)
        `pitch` is the number of padded columns; a parameter takes its rows times that.
    size : int
        Elements of the whole arena.

    >>> layout([(4, 3), (3,)], 4)
    ([(0, 16), (64, 16)], 80)
    """
    places, offset = [], 0
    for shape in shapes:
        step = padded(shape[-1], itemsize)
        places.append((offset, step))
        offset += (shape[0] if len(shape) == 2 else 1) * step
    return places, offset


def panels(flat, rows):
    """Views (rows, columns) of the panels of one parameter, padding included.

    Parameters
    ----------
    flat : ndarray
        The parameter's part of an arena, one-dimensional.
    rows : int

    >>> [panel.shape for panel in panels(np.zeros(2 * 112, "float32"), 2)]
    [(2, 32), (2, 32), (2, 32), (2, 16)]
    """
    columns = flat.size // rows if rows else 0
    width = PANEL // flat.itemsize
    if columns <= width:
        return [flat.reshape(rows, columns)]
    return [flat[rows * at : rows * min(at + width, columns)].reshape(rows, -1)
            for at in range(0, columns, width)]


def read(flat, rows, columns):
    """The parameter as a matrix (rows, columns): a view of a single panel or row, else a copy.

    A copy can't be written to, so that nobody changes one and believes to have changed the
    parameter.

    >>> flat = np.zeros(2 * 48, "float32")
    >>> write(flat, np.arange(80.0).reshape(2, 40))
    >>> read(flat, 2, 40)[1, :3].tolist(), flat[32:34].tolist()
    ([40.0, 41.0, 42.0], [40.0, 41.0])
    """
    parts = panels(flat, rows)
    if len(parts) == 1:
        return parts[0][:, :columns]
    if rows == 1:
        return flat.reshape(1, -1)[:, :columns]
    matrix = np.concatenate(parts, axis=1)[:, :columns]
    matrix.flags.writeable = False
    return matrix


def write(flat, matrix):
    """Store `matrix` (rows, columns), or a single row (columns,); padding is left alone."""
    matrix = np.atleast_2d(matrix)
    at, columns = 0, matrix.shape[1]
    for panel in panels(flat, matrix.shape[0]):
        width = min(panel.shape[1], columns - at)
        panel[:, :width] = matrix[:, at : at + width]
        at += width
