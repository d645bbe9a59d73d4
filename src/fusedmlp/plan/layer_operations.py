"""The operations that single layers stand for: products, activations, noise, norms, features."""

from __future__ import annotations

import math

from .. import spec
from .buffers import Buffers


class LayerOperations(Buffers):
    """The part of a builder that the usual layers call."""

    # -- products and activations ------------------------------------------------------------------

    def dense(self, x, kernel, bias=None, name="dense", precision=None):
        """``x @ kernel + bias``; an elementwise activation that follows is fused into it.

        With `precision` "bfloat16" the factors of the product, and of the two in its gradient, are
        rounded to that; sums and everything else stay float32.
        """
        root = self.last_axis(x)
        y = self._like(x, root, name, self.columns(kernel))
        inputs = (root, kernel) if bias is None else (root, kernel, bias)
        extra = {} if precision is None else {"precision": precision}
        self._emit("dense", inputs, (y,), activation="linear", params=(), **extra)
        return y

    def activation(self, x, name, params=()):
        """The activation of the row `name`; no op for ``linear``."""
        row = spec.ACTIVATIONS[name]
        if row.name == "linear":
            return x
        columns, root = None, self._views.get(x, x)
        if row.kind != "elementwise":
            root = self.last_axis(x)
            columns = self.columns(root)
            if row.kind == "halves":
                columns //= 2
            elif row.kind == "pieces":
                columns //= int(params[0])
        y = self._like(x, root, f"{self.buffers[root].name}.{name}", columns)
        self._emit("activation", (root,), (y,), activation=name, params=tuple(params))
        return y

    def prelu(self, x, alpha, name="prelu"):
        """``x if x >= 0 else alpha x``; `alpha` has a slope per column, or per element."""
        root = self.formed(x, self.columns(alpha))
        y = self._like(x, root, name)
        self._emit("prelu", (root, alpha), (y,))
        return y

    # -- what is drawn at random in training -----------------------------------------------------

    def dropout(self, x, rate, seed=None, name="dropout"):
        """Dropout in training; the input itself otherwise or where the rate is 0."""
        return self._drawn("dropout", x, rate, seed, name, rate=float(rate))

    def alpha_dropout(self, x, rate, seed=None, name="alpha_dropout"):
        """The same for self-normalizing networks: what is dropped becomes selu's lower limit."""
        return self._drawn("alpha_dropout", x, rate, seed, name, rate=float(rate))

    def gaussian_dropout(self, x, stddev, seed=None, name="gaussian_dropout"):
        """Factors drawn from a normal distribution around 1, in training."""
        return self._drawn("gaussian_dropout", x, stddev, seed, name, stddev=float(stddev))

    def gaussian_noise(self, x, stddev, seed=None, name="gaussian_noise"):
        """Summands drawn from a normal distribution around 0, in training."""
        return self._drawn("gaussian_noise", x, stddev, seed, name, stddev=float(stddev))

    def _drawn(self, op, x, amount, seed, name, **attributes):
        stream = self._streams
        self._streams += 1
        if not self.training or amount == 0.0:
            return x
        root = self._views.get(x, x)
        outputs = [self._like(x, root, name)]
        if op != "gaussian_noise":
            outputs.append(self._like(x, root, f"{name}.mask", role="mask"))
        self._emit(op, (root,), outputs, stream=stream, seed=seed, **attributes)
        return outputs[0]

    # -- normalization ---------------------------------------------------------------------------

    def batch_norm(self, x, mean, variance, gamma=None, beta=None, *, momentum, epsilon,
                   batch=None, mask=None, name="batch_norm"):
        """Standardize the columns: by the batch in training, else by what training has seen.

        Parameters
        ----------
        mean, variance : int
            Parameters that hold the moving statistics; training by the batch moves them.
        gamma, beta : int, optional
            Parameters: factor and summand of each column.
        momentum, epsilon : float
        batch : bool, optional
            Whether the batch's own statistics are used; by default in training.
        mask : int, optional
            Buffer of a mask of the steps that the batch's statistics are of.
        """
        root = self.last_axis(x)
        y, x = self._like(x, root, name), root
        given = {"scale": gamma is not None, "center": beta is not None}
        more = [i for i in (gamma, beta) if i is not None]
        pair = [self._new(f"{name}.{part}", self.columns(x), "statistics", rows=1)
                for part in ("mean", "inv")]
        if self.training if batch is None else batch:
            self.mixes_rows = True
            weights = () if mask is None else (self.row_weights(
                self.size(mask), mask=self.packed(mask), over="kept", phase="forward",
                name=f"{name}.weights"),)
            self._emit("batch_statistics", (x, mean, variance, *weights), pair,
                       momentum=float(momentum), epsilon=float(epsilon))
            self._emit("standardize", (x, *pair, *more), (y,), **given)
        else:
            self._emit("fold_statistics", (mean, variance, *more), pair, epsilon=float(epsilon),
                       **given)
            self._emit("scale_shift", (x, *pair), (y,))
        return y

    def row_norm(self, x, kind, epsilon, gamma=None, beta=None, name="row_norm"):
        """Normalize along the last axis; `kind` is "layer", "rms" or "unit".

        `gamma` and `beta` are parameters with a factor and a summand for each column.
        """
        root = self.last_axis(x)
        outputs, x = [self._like(x, root, name)], root
        if self.training:
            parts = ("inv", "mean") if kind == "layer" else ("inv",)
            outputs += [self._new(f"{name}.{part}", 1, "row", repeat=self.buffers[x].repeat)
                        for part in parts]
        more = [i for i in (gamma, beta) if i is not None]
        self._emit("row_norm", (x, *more), outputs, kind=kind, epsilon=float(epsilon),
                   scale=gamma is not None, center=beta is not None)
        return outputs[0]

    def spectral_norm(self, kernel, u, iterations, epsilon):
        """Divide a kernel by its largest singular value at the beginning of each training step.

        Parameters
        ----------
        kernel, u : int
            Parameters; u, one row, keeps the estimate of the singular vector.
        iterations : int
            Power iterations a step.
        epsilon : float
            Norms below it count as it.
        """
        if self.training:
            self._emit("spectral_norm", (kernel, u), (), "prepare", iterations=int(iterations),
                       epsilon=float(epsilon))

    # -- tables and shapes -----------------------------------------------------------------------

    def embedding(self, indices, table, name="embedding"):
        """The rows of a table that the elements of `indices` name: one more axis."""
        shape = (*self.shape(indices), self.columns(table))
        indices = self.packed(indices)
        y = self._new(name, math.prod(shape))
        self._shapes[y] = shape
        self._emit("embedding", (indices, table), (y,))
        return y

    def take_columns(self, x, index, shape, name="take"):
        """Elements of each sample in the order of `index`, as samples of `shape`."""
        x = self.packed(x)
        y = self._new(name, len(index))
        self._shapes[y] = tuple(shape)
        self._emit("take_columns", (x,), (y,), index=tuple(index))
        return y

    # -- features ------------------------------------------------------------------------------

    def column_affine(self, x, before=0.0, scale=1.0, after=0.0, name="column_affine"):
        """``(x - before) * scale + after`` with constants, one for all columns or one for each."""
        x, shape = self.packed(x), self.shape(x)
        columns = self.columns(x)
        wide = {key: _per_column(values, columns) for key, values in
                (("before", before), ("scale", scale), ("after", after))}
        y = self._new(name, columns)
        self._emit("column_affine", (x,), (y,), **wide)
        return self.view(y, shape) if len(shape) > 1 else y

    def feature_norm(self, x, mean, variance, least=1e-7, invert=False, name="feature_norm"):
        """``(x - mean) / max(sqrt(variance), least)``, or its inverse.

        `mean` and `variance` are parameters with one number, or one for each column.
        """
        x = self.packed(x)
        y = self._new(name, self.columns(x))
        self._emit("feature_norm", (x, mean, variance), (y,), least=float(least),
                   invert=bool(invert), center=True)
        return y

    def digitize(self, x, boundaries, name="digitize"):
        """How many of the ascending `boundaries` are not above x."""
        x, shape = self.packed(x), self.shape(x)
        y = self._new(name, self.columns(x))
        self._emit("digitize", (x,), (y,), boundaries=tuple(map(float, boundaries)))
        return self.view(y, shape) if len(shape) > 1 else y

    def encode(self, x, depth, kind, name="encode"):
        """Whole numbers as vectors of `depth`: each ("one_hot") or rows ("multi_hot", "count")."""
        x = self.packed(x)
        y = self._new(name, depth * (self.columns(x) if kind == "one_hot" else 1))
        self._emit("encode", (x,), (y,), depth=int(depth), kind=kind)
        return y


def _per_column(values, columns):
    """A number for each column from one for all or one for each.

    >>> _per_column(2.0, 3), _per_column([1, 2], 2)
    ((2.0, 2.0, 2.0), (1.0, 2.0))
    """
    found = tuple(map(float, values)) if hasattr(values, "__len__") else (float(values),)
    return found * columns if len(found) == 1 else found
