"""L-BFGS: steps of quasi-Newton, each from loss and gradient of all data."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .. import checks
from .base import Optimizer
from .state import Slot

__all__ = ["LBFGS"]

_SUFFICIENT_DECREASE, _CURVATURE = 1e-4, 0.9  # Nocedal and Wright, section 3.1


class LBFGS(Optimizer):
    """Limited-memory BFGS with a line search, for small networks and data that fit in memory.

    An epoch of `fit` is one iteration: from the last `history` steps s and changes y of the
    gradient, a direction p = -H g by the two-loop recursion, and along it a step that satisfies
    the strong Wolfe conditions.  It takes several evaluations of loss and gradient of all data,
    which is one batch; the logs of the epoch are those of the point that it ends at.  Training
    stops when no element of the gradient is larger than `tolerance`, or no step lowers the loss.
    Steps and changes are state like any other: they are saved, and training resumes exactly.

    The line search is SciPy's (the extra ``scipy``).

    Parameters
    ----------
    history : int
        Steps remembered.
    max_line_search : int
        Most steps tried in an epoch.
    tolerance : float
        Not negative.
    name : str, optional

    Raises
    ------
    ValueError, TypeError
        If an argument is no number or out of range.

    References
    ----------
    Liu and Nocedal (1989), On the limited memory BFGS method for large scale optimization,
    Mathematical Programming 45; Nocedal and Wright (2006), Numerical Optimization, algorithms 7.4
    and 7.5.

    >>> import numpy as np
    >>> import fusedmlp as fm
    >>> x = np.linspace(-1, 1, 20)[:, None]
    >>> model = fm.Sequential([fm.Input((1,)), fm.layers.Dense(1)])
    >>> model.compile(fm.optimizers.LBFGS(), "mse")
    >>> history = model.fit(x, 2 * x + 1, epochs=20, verbose=0)
    >>> bool(history.history["loss"][-1] < 1e-10)
    True
    """

    whole_data = True

    def __init__(self, history: int = 10, max_line_search: int = 20, tolerance: float = 1e-7,
                 name: str | None = None):
        super().__init__(0.0, name=name)
        self.history = checks.integer(history, "history", 1)
        self.max_line_search = checks.integer(max_line_search, "max_line_search", 1)
        self.tolerance = checks.number(tolerance, "tolerance", low=0.0)

    @property
    def row(self):
        return "sgd"  # at rate 0: nothing in a plan updates

    def fingerprint(self):
        return ("lbfgs", self.history)

    def lower(self, builder, variables):
        """Add nothing to a plan, which then computes gradients and leaves parameters alone.

        Raises
        ------
        ValueError
            If a variable has a constraint, which a line search would not keep.
        """
        held = [v.path for v in variables if getattr(v, "constraint", None) is not None]
        if held:
            raise ValueError(
                "LBFGS takes no constraints, because a line search would leave them: use a "
                "regularizer, or another optimizer. "
                f"Received: constraints of {', '.join(map(repr, held))}"
            )

    def _slots(self, variables):
        for kind in ("step", "change"):
            for number in range(self.history):
                yield Slot(f"{kind}_{number}")

    def apply(self, grads, trainable_variables=None):
        """Refused: a gradient without the loss is not enough.

        Raises
        ------
        NotImplementedError
        """
        raise NotImplementedError(
            "LBFGS needs losses as well as gradients: use `model.fit`, not `apply`")

    def iterate(self, evaluate: Callable, x: np.ndarray) -> tuple[np.ndarray, bool]:
        """One iteration.

        Parameters
        ----------
        evaluate : callable
            From a point, like `x`, to loss and gradient (a float and a float64 array).
        x : ndarray, shape (n,)
            Where the iteration begins, of the dtype of the state.

        Returns
        -------
        x : ndarray
            Where it ends.
        done : bool
            Whether there is nothing more to gain.

        Raises
        ------
        ImportError
            If SciPy is not installed.
        """
        search = _line_search()
        loss, gradient = evaluate(x)
        if not np.isfinite(loss) or np.abs(gradient).max(initial=0.0) <= self.tolerance:
            return x, True
        direction = -self._inverse_hessian(gradient)
        start, dtype = x.astype(np.float64), x.dtype

        def along(point):
            return evaluate(point.astype(dtype))

        found = search(lambda p: along(p)[0], lambda p: along(p)[1], start, direction, gradient,
                       loss, maxiter=self.max_line_search, c1=_SUFFICIENT_DECREASE, c2=_CURVATURE)
        if found[0] is None:
            return x, True
        end = (start + found[0] * direction).astype(dtype)
        step = end.astype(np.float64) - start
        change = evaluate(end)[1] - gradient
        if not step.any():
            return x, True
        place = self.steps % self.history
        useful = step @ change > 1e-10 * (change @ change)
        for name, value in (("step", step), ("change", change)):
            slot = self.slots[self.slot_names.index(f"{name}_{place}")]
            slot[...] = value if useful else 0.0
        self.steps += 1
        return end, False

    def _inverse_hessian(self, gradient):
        """H g by the two-loop recursion, H of the pairs from the oldest to the newest."""
        count = min(self.steps, self.history)
        numbers = [(self.steps - 1 - i) % self.history for i in range(count)]
        pairs = [(self.slots[k].astype(np.float64),
                  self.slots[self.history + k].astype(np.float64)) for k in numbers]
        pairs = [(s, y, 1.0 / (s @ y)) for s, y in pairs if s @ y > 0.0]
        if not pairs:
            return gradient * min(1.0, 1.0 / np.abs(gradient).sum())
        q, shares = gradient.copy(), []
        for s, y, rho in pairs:
            shares.append(rho * (s @ q))
            q -= shares[-1] * y
        s, y, rho = pairs[0]
        q *= 1.0 / (rho * (y @ y))
        for (s, y, rho), share in zip(reversed(pairs), reversed(shares), strict=True):
            q += (share - rho * (y @ q)) * s
        return q

    def get_config(self):
        return {"name": self.name, "history": self.history,
                "max_line_search": self.max_line_search, "tolerance": self.tolerance}


def _line_search():
    try:
        from scipy.optimize import line_search
    except ImportError:
        raise ImportError(
            "LBFGS needs SciPy for its line search: pip install 'fusedmlp[scipy]'") from None

    def quiet(*args, **kwargs):
        import warnings

        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*line search.*")
            return line_search(*args, **kwargs)

    return quiet
