"""The validation set of a stream: which rows of `partial_fit` are held out, and which are kept.

The data of `partial_fit` comes in pieces, and often comes again.  Whether a row is held out must
therefore depend on the row alone, or the next pass trains on what the last one scored: a hash of
its features decides.  Kept are the rows with the smallest hashes (a bottom-k sketch), which are a
uniform sample of the different rows so far, whatever the order that they came in.

Sources: Cohen and Kaplan (2007), Summarizing data using bottom-k sketches, PODC; Carter and Wegman
(1979), Universal classes of hash functions, Journal of Computer and System Sciences 18 (the sum of
products with random multipliers).
"""

from __future__ import annotations

import numpy as np
import scipy.sparse

__all__ = ["HeldOut", "row_hashes"]


def row_hashes(X, seed: int) -> np.ndarray:
    """A number from 0 to 1 for each row, which depends on the row's elements alone.

    Parameters
    ----------
    X : ndarray or CSR matrix, shape (rows, columns)
        Of float32 or float64.
    seed : int
        Rows are hashed differently for another one.

    Returns
    -------
    ndarray of float64, shape (rows,)

    >>> X = np.array([[1.0, 0.0], [2.0, 3.0], [1.0, -0.0]])
    >>> a, b, c = row_hashes(X, seed=0)
    >>> bool(a == c), bool(a == b)
    (True, False)
    >>> bool((row_hashes(scipy.sparse.csr_array(X), seed=0) == [a, b, c]).all())
    True
    """
    factors = np.random.PCG64(seed).random_raw(X.shape[1]) | np.uint64(1)
    if scipy.sparse.issparse(X):
        words = scipy.sparse.csr_array((_words(X.data), X.indices, X.indptr), shape=X.shape)
    else:
        words = _words(X)
    return ((words @ factors) >> np.uint64(11)) * 2.0**-53


def _words(values):
    """The bits of floats, those of 0 being 0, with what is in the upper half in the lower, too."""
    values = np.ascontiguousarray(values) + 0.0  # of -0, too
    bits = values.view(f"u{values.itemsize}").astype(np.uint64)
    return bits ^ (bits >> np.uint64(32))


class HeldOut:
    """Rows that are scored and not trained on.

    Parameters
    ----------
    share : float
        Of the different rows, as long as there are fewer than `most`.
    seed : int
    most : int
        Rows kept; more would make every call pay for scores of little more precision.

    Attributes
    ----------
    hashes : ndarray of float64, shape (kept,)
        Of the rows kept.
    rows : tuple or None
        Of the rows kept: X, y, sample weights; None before there are any.
    """

    def __init__(self, share: float, seed: int, most: int = 1000):
        self.share, self.seed, self.most = share, seed, most
        self.hashes = np.empty(0)
        self.rows: tuple | None = None

    def take(self, X, y, sample_weight) -> tuple[np.ndarray, bool]:
        """Keep what is to be held out of these rows.

        Once `most` rows are kept, only smaller hashes than theirs are held out.  The bound only
        falls, so that no row that was trained on is ever kept; one that is kept no longer may be
        trained on.

        Parameters
        ----------
        X : ndarray or CSR matrix, shape (rows, columns)
        y : ndarray, shape (rows, ...)
        sample_weight : ndarray, shape (rows,), or None

        Returns
        -------
        trained : ndarray of bool, shape (rows,)
            Which rows may be trained on.
        changed : bool
            Whether other rows are kept than before.
        """
        hashes = row_hashes(X, self.seed)
        held = hashes < self.share
        if len(self.hashes) == self.most:
            held &= hashes <= self.hashes.max()
        new = np.flatnonzero(held & ~np.isin(hashes, self.hashes))
        new = new[np.unique(hashes[new], return_index=True)[1]]
        if not len(new):
            return ~held, False
        weights = np.ones(len(new)) if sample_weight is None else sample_weight[new]
        found = (X[new], y[new], weights)
        if self.rows is not None:
            found = tuple(_stacked(a, b) for a, b in zip(self.rows, found, strict=True))
        all_hashes = np.concatenate([self.hashes, hashes[new]])
        kept = np.argsort(all_hashes)[: self.most]
        self.hashes, self.rows = all_hashes[kept], tuple(part[kept] for part in found)
        return ~held, True


def _stacked(a, b):
    if scipy.sparse.issparse(a) or scipy.sparse.issparse(b):
        return scipy.sparse.vstack([a, b], format="csr")
    return np.concatenate([a, b])
