"""The state of an optimizer: flat arrays that hold a part for each variable.

Most lie as the variables' own arena does, so that a kernel passes over parameter, gradient and
state side by side; others hold a number per row or column, or belong to some variables only.  This
module knows variables' shapes and where they lie, and no optimizer.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fusedmlp.kernels.layout import layout, read, write

from ..variable import aligned_zeros

__all__ = ["Place", "Slot", "State"]


class Place(NamedTuple):
    """Where a variable lies in an arena: its first element, padded columns, and its shape."""

    offset: int
    pitch: int
    shape: tuple

    @property
    def rows(self) -> int:
        return self.shape[0] if len(self.shape) == 2 else 1

    @property
    def size(self) -> int:
        """Elements with padding."""
        return self.rows * self.pitch


class Slot(NamedTuple):
    """A state array: what it is called, what it begins with, and which part a variable has.

    `kind` is "full", "row" or "column"; `members` are the numbers of the variables that have a
    part, None for all of them.
    """

    name: str
    initial: Any = 0.0
    kind: str = "full"
    members: tuple | None = None


def _padded(length, itemsize):
    return layout([(length,)], itemsize)[1]


class State:
    """The arrays of some slots for some variables.

    Parameters
    ----------
    slots : sequence of Slot
        `initial` is a number, or "param" for the variables' values.
    shapes : sequence of tuple of int
    dtype : {"float32", "float64"}

    Attributes
    ----------
    places : list of Place
        Of the variables, one after another in an arena.
    size : int
        Elements of that arena.
    arrays : tuple of ndarray
        In the order of `slots`, starting on cache lines.
    """

    def __init__(self, slots, shapes, dtype):
        self.slots, self.dtype = tuple(slots), dtype
        self.shapes = [tuple(shape) for shape in shapes]
        itemsize = np.dtype(dtype).itemsize
        places, self.size = layout(self.shapes, itemsize)
        self.places = [Place(*place, shape)
                       for place, shape in zip(places, self.shapes, strict=True)]
        self._parts = [self._divide(slot, itemsize) for slot in self.slots]
        self.arrays = tuple(
            aligned_zeros(self.size if slot.kind == "full" and slot.members is None else
                          sum(size for _, size in parts.values()), dtype)
            for slot, parts in zip(self.slots, self._parts, strict=True))
        for slot, array in zip(self.slots, self.arrays, strict=True):
            if slot.initial != "param" and slot.initial != 0.0:
                array[...] = slot.initial

    def _divide(self, slot, itemsize):
        """For each variable that has a part its offset and size."""
        if slot.kind == "full" and slot.members is None:
            return {k: (place.offset, place.size) for k, place in enumerate(self.places)}
        parts, at = {}, 0
        for k, place in enumerate(self.places):
            if slot.members is not None and k not in slot.members:
                continue
            size = place.size if slot.kind == "full" else _padded(
                place.rows if slot.kind == "row" else place.shape[-1], itemsize)
            parts[k] = (at, size)
            at += size
        return parts

    def offset(self, slot: int, variable: int) -> int:
        """Where in the array of a slot the part of a variable begins."""
        return self._parts[slot][variable][0]

    def parts(self, slot: int) -> list[int]:
        """Numbers of the variables that have a part of a slot."""
        return list(self._parts[slot])

    def read(self, slot: int, variable: int) -> np.ndarray:
        """A copy of a variable's part in its own shape, without padding."""
        place, flat = self.places[variable], self._part(slot, variable)
        if self.slots[slot].kind != "full":
            return flat[: self.shape(slot, variable)[0]].copy()
        return read(flat, place.rows, place.shape[-1]).reshape(place.shape).copy()

    def write(self, slot: int, variable: int, value: np.ndarray) -> None:
        """Overwrite a variable's part."""
        flat = self._part(slot, variable)
        if self.slots[slot].kind != "full":
            flat[: len(value)] = value
        else:
            write(flat, value)

    def shape(self, slot: int, variable: int) -> tuple[int, ...]:
        """Shape of a variable's part."""
        place, kind = self.places[variable], self.slots[slot].kind
        return place.shape if kind == "full" else (
            (place.rows,) if kind == "row" else place.shape[-1:])

    def _part(self, slot, variable):
        offset, size = self._parts[slot][variable]
        return self.arrays[slot][offset : offset + size]

    def begin_with(self, values) -> None:
        """Fill the slots that begin with the variables' values."""
        for number, slot in enumerate(self.slots):
            if slot.initial == "param":
                for k in self._parts[number]:
                    self.write(number, k, values[k])

    # Copies and pickles keep the arrays on cache lines.
    def __getstate__(self):
        return {**self.__dict__, "arrays": tuple(array.copy() for array in self.arrays)}

    def __setstate__(self, state):
        self.__dict__.update(state)
        arrays = tuple(aligned_zeros(array.size, array.dtype) for array in state["arrays"])
        for array, saved in zip(arrays, state["arrays"], strict=True):
            array[:] = saved
        self.arrays = arrays
