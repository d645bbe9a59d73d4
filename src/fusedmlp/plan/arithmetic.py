"""Operations that combine, cut and join buffers, and steps in Python."""

from __future__ import annotations

from .buffers import Buffers


class Arithmetic(Buffers):
    """The part of a builder for merges, formulas of one's own and what no operation expresses."""

    def combine(self, function, a, b, name=None):
        """One buffer from two, element by element; a single column stands for all of the other's.

        Parameters
        ----------
        function : {"add", "subtract", "multiply", "divide", "maximum", "minimum"}
        a, b : int
        """
        shape = self.shape(a if self.size(a) >= self.size(b) else b)
        if self.shape(a) == self.shape(b):
            a = self._views.get(a, a)
            b = self.formed(b, self.columns(a))
        else:
            columns = max(self.size(a), self.size(b))
            a, b = (self.broadcast(self.packed(x), columns) for x in (a, b))
        y = self._like(a, a, name or function)
        if len(shape) > 1:
            self._shapes[y] = shape
        self._emit(function, (a, b), (y,))
        return y

    def broadcast(self, x, columns, factor=1.0):
        """`factor` times the only column of x, in each of `columns`; x itself if it has so many."""
        if self.columns(x) == columns and factor == 1.0:
            return x
        if self.columns(x) != 1:
            raise ValueError(
                f"Only a single column can stand for {columns} columns. "
                f"Received: {self.buffers[x].name!r} with {self.columns(x)} columns"
            )
        y = self._new(f"{self.buffers[x].name}.broadcast", columns)
        self._emit("broadcast", (x,), (y,), factor=float(factor))
        return y

    def affine(self, x, factor=1.0, shift=0.0, name="affine"):
        """``factor * x + shift``."""
        y = self._like(x, self._views.get(x, x), name)
        self._emit("affine", (x,), (y,), factor=float(factor), shift=float(shift))
        return y

    def power(self, x, exponent, name="power"):
        """``x ** exponent`` for a constant exponent."""
        y = self._like(x, self._views.get(x, x), name)
        self._emit("power", (x,), (y,), exponent=float(exponent))
        return y

    def log(self, x, name="log"):
        """The natural logarithm."""
        y = self._like(x, self._views.get(x, x), name)
        self._emit("log", (x,), (y,))
        return y

    def zeros(self, x, columns, name="zeros"):
        """0 in `columns` columns, with a row for each sample of `x` or, better, of the data."""
        data = [i for i in self.inputs if self.buffers[i].role == "input"]
        one = self.slice(data[0] if data else x, 0, 1, name=name)
        y = self._new(name, 1)
        self._emit("digitize", (one,), (y,), boundaries=())
        return self.broadcast(y, columns)

    def row_sum(self, x, factor=1.0, name="row_sum"):
        """`factor` times the sum over the columns, one column."""
        x = self.packed(x)
        y = self._new(name, 1)
        self._emit("row_sum", (x,), (y,), factor=float(factor))
        return y

    def row_dot(self, a, b, name="row_dot"):
        """The scalar product of each row of a with that of b, one column."""
        a, b = self.packed(a), self.packed(b)
        y = self._new(name, 1)
        self._emit("row_dot", (a, b), (y,))
        return y

    def scale_rows(self, x, s, name="scale_rows"):
        """Each row of x times its number in s (one column)."""
        x = self.packed(x)
        y = self._new(name, self.columns(x))
        self._emit("scale_rows", (x, s), (y,))
        return y

    def concatenate(self, parts, groups=1, name="concatenate"):
        """Buffers side by side, within each of `groups` equal groups of their columns."""
        parts = tuple(map(self.packed, parts))
        if len(parts) == 1:
            return parts[0]
        y = self._new(name, sum(map(self.columns, parts)))
        self._emit("concatenate", parts, (y,), groups=groups)
        return y

    def repeat(self, parameter, name="repeat"):
        """The only row of a parameter in each row.

        Added to a product that nothing else reads, it becomes the product's bias.
        """
        y = self._new(name, self.columns(parameter))
        self._emit("repeat", (parameter,), (y,))
        return y

    def slice(self, x, start, columns, groups=1, name="slice"):
        """`columns` of x from `start` on, of each of `groups` equal groups of its columns."""
        x = self.packed(x)
        y = self._new(name, columns * groups)
        self._emit("slice", (x,), (y,), start=start, groups=groups)
        return y

    def python(self, function, inputs, columns, *, name, gradient=None, parameters=(),
               phase="forward", roles=None, repeat=1):
        """A step in Python: ``function(inputs, outputs)`` with tuples of arrays.

        Parameters
        ----------
        function : callable
            Fills the arrays `outputs`, (rows, columns), from `inputs`, which are read-only.
        inputs : sequence of int
            Buffers.
        columns : sequence of int
            Of each output.
        name : str
            Of the layer, loss or metric, for messages.
        gradient : callable, optional
            ``gradient(dys, inputs, outputs, dxs, dparameters)`` fills the arrays `dxs`, and
            `dparameters` for the trainable ones among `parameters`, from the gradients of the
            outputs (None for one that nothing depends on).  None in dxs: nobody needs it.
        parameters : sequence of int
            Parameters that the function reads by itself.
        roles : sequence of str, optional
            Of the outputs, "activation" by default; "row" for one number per row.
        repeat : int
            Rows of the outputs for each row of the batch.

        Returns
        -------
        list of int
            Buffers of the outputs.
        """
        roles = roles or ["activation"] * len(columns)
        outputs = [self._new(name, count, role, repeat=repeat) for count, role in
                   zip(columns, roles, strict=False)]
        if not inputs and not outputs:  # it is there for what it does, once for each batch
            parameters = (*parameters, *self.inputs[:1])
        self._emit("python", (*inputs, *parameters), outputs, phase, function=function,
                   gradient=gradient, name=name, reads=len(inputs))
        return outputs

    def at_end(self, key, function, name, parameter=None):
        """A step in Python behind all others: ``function((), outputs)``.

        Parameters
        ----------
        key : hashable
            A later step of the same key takes its place.
        parameter : int, optional
            Which the function overwrites, the only one of `outputs`, as a matrix.
        """
        self._last[key] = (function, name, () if parameter is None else (parameter,))

    def finish_steps(self):
        """Emit what `at_end` was asked."""
        for function, name, outputs in self._last.values():
            self._emit("python", self.inputs[:1], outputs, "end", function=function, gradient=None,
                       name=name, reads=0)
