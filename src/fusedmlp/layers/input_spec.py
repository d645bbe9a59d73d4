"""What a layer says about the inputs that it can take, and the check of that."""

from __future__ import annotations

from typing import Any

from .. import checks, tree

__all__ = ["InputSpec", "check"]


class InputSpec:
    """What an input of a layer must be like: its rank, shape and dtype.

    A layer has it, or one for each of its inputs, as its attribute `input_spec`; what doesn't fit
    is an error when the layer is called, before anything is computed.

    Parameters
    ----------
    dtype : str, optional
    shape : tuple of int or None, optional
        With the rows; None stands for any length.
    ndim, max_ndim, min_ndim : int, optional
        Number of axes, with that of the rows.
    axes : dict of int to int, optional
        Lengths of single axes.
    allow_last_axis_squeeze : bool
        Whether a last axis of length 1 may be missing, or be there besides.
    name : str, optional
        The key of the input, where inputs are a dict.
    optional : bool
        Whether the input may be None.

    Raises
    ------
    TypeError, ValueError
        If `axes` is no dict of integers or names an axis that is not there.

    References
    ----------
    Keras 3, keras.layers.InputSpec.

    Examples
    --------
    >>> import fusedmlp as fm
    >>> class Pairs(fm.layers.Layer):
    ...     def __init__(self):
    ...         super().__init__(name="pairs")
    ...         self.input_spec = InputSpec(shape=(None, 2))
    ...     def call(self, x):
    ...         return 2 * x
    >>> Pairs()([[1.0, 2.0]])
    array([[2., 4.]], dtype=float32)
    >>> Pairs()([[1.0, 2.0, 3.0]])
    Traceback (most recent call last):
    ...
    ValueError: Input 0 of layer 'pairs' must have the shape (None, 2). Received: shape (1, 3)
    """

    def __init__(self, dtype=None, shape=None, ndim: int | None = None,
                 max_ndim: int | None = None, min_ndim: int | None = None, axes=None,
                 allow_last_axis_squeeze: bool = False, name: str | None = None,
                 optional: bool = False):
        from ..utils import standardize_dtype

        self.dtype = None if dtype is None else standardize_dtype(dtype)
        self.shape = None
        if shape is not None:
            self.shape = tuple(None if n is None else checks.integer(n, "shape", 0)
                               for n in shape)
            ndim = len(self.shape)
        self.ndim, self.max_ndim, self.min_ndim = (
            None if n is None else checks.integer(n, label, 0)
            for n, label in ((ndim, "ndim"), (max_ndim, "max_ndim"), (min_ndim, "min_ndim")))
        self.name, self.optional = name, bool(optional)
        self.allow_last_axis_squeeze = bool(allow_last_axis_squeeze)
        try:
            self.axes = {int(axis): length for axis, length in dict(axes or {}).items()}
        except (TypeError, ValueError):
            raise TypeError(
                f"Argument `axes` must be a dict whose keys are integers. Received: {axes!r}"
            ) from None
        most = self.max_ndim if self.ndim is None else self.ndim
        if self.axes and most is not None and max(self.axes) >= most:
            raise ValueError(
                f"Argument `axes` must name axes below {most}. Received: {axes!r}"
            )

    def get_config(self) -> dict[str, Any]:
        """Keyword arguments that make an equal one."""
        return {key: getattr(self, key) for key in
                ("dtype", "shape", "ndim", "max_ndim", "min_ndim", "axes", "optional")}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> InputSpec:
        """One from what `get_config` returned."""
        return cls(**config)

    def __repr__(self):
        parts = [f"{key}={getattr(self, key)}" for key in
                 ("dtype", "shape", "ndim", "max_ndim", "min_ndim", "axes") if getattr(self, key)]
        return f"InputSpec({', '.join(parts)})"

    def problem(self, shape: tuple, dtype: str) -> str | None:
        """What an input should be instead of what it is; None where it fits."""
        rank = len(shape)
        for wrong, text in (
            (self.ndim not in (None, rank) and not self.allow_last_axis_squeeze,
             f"have {self.ndim} axes"),
            (self.max_ndim is not None and rank > self.max_ndim,
             f"have at most {self.max_ndim} axes"),
            (self.min_ndim is not None and rank < self.min_ndim,
             f"have at least {self.min_ndim} axes"),
        ):
            if wrong:
                return text
        if self.dtype not in (None, dtype):
            return f"be of dtype {self.dtype}"
        for axis, length in self.axes.items():
            if not -rank <= axis < rank or (
                    length is not None and shape[axis] not in (length, None)):
                return f"have length {length} along axis {axis}"
        if self.shape is not None:
            wanted = self.shape
            if self.allow_last_axis_squeeze:
                wanted, shape = (s[:-1] if s and s[-1] == 1 else s for s in (wanted, shape))
            if len(wanted) != len(shape) or any(
                    a != b for a, b in zip(wanted, shape, strict=True) if None not in (a, b)):
                return f"have the shape {self.shape}"
        return None


def check(spec, inputs, name: str, floats: str) -> None:
    """ValueError where `inputs` are not what the `input_spec` of the layer `name` says.

    Parameters
    ----------
    spec : InputSpec, or structure of these and None
    inputs : array or symbolic tensor, or structure of these
    name : str
    floats : str
        The dtype to which arrays of floats are converted.
    """
    specs = tree.leaves(spec)
    names = [one.name if one is not None else None for one in specs]
    if isinstance(inputs, dict) and all(names):
        absent = [key for key in names if key not in inputs]
        if absent:
            raise ValueError(
                f"Layer {name!r} takes a dict with the keys {', '.join(map(repr, names))}. "
                f"Received: keys {', '.join(map(repr, inputs))}, without {absent[0]!r}"
            )
        found = [inputs[key] for key in names]
    else:
        found = tree.leaves(inputs)
    if len(found) != len(specs):
        wanted = f", a dict with the keys {', '.join(map(repr, names))}" if all(names) else ""
        raise ValueError(
            f"Layer {name!r} takes {len(specs)} input(s){wanted}. Received: {len(found)}"
        )
    for number, (one, x) in enumerate(zip(specs, found, strict=True)):
        if one is None or (x is None and one.optional):
            continue
        which = f"{number} ({one.name!r})" if one.name else f"{number}"
        if not hasattr(x, "shape"):
            raise ValueError(
                f"Input {which} of layer {name!r} must be an array or a symbolic tensor. "
                f"Received: {x!r} of type {type(x).__name__}"
            )
        converted = getattr(x.dtype, "kind", "") == "f"
        shape, dtype = tuple(x.shape), floats if converted else str(x.dtype)
        wanted = one.problem(shape, dtype)
        if wanted is not None:
            received = f"dtype {dtype}" if "dtype" in wanted else f"shape {shape}"
            raise ValueError(
                f"Input {which} of layer {name!r} must {wanted}. Received: {received}"
            )
