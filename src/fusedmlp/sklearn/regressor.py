"""The regressor."""

from __future__ import annotations

import numpy as np
from sklearn.base import RegressorMixin, _fit_context
from sklearn.metrics import r2_score
from sklearn.utils import column_or_1d
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_array

from .. import losses
from .base import MultilayerPerceptron
from .documentation import documented
from .inputs import features_and_targets

__all__ = ["MLPRegressor"]


@documented
class MLPRegressor(RegressorMixin, MultilayerPerceptron):
    """Multilayer perceptron regressor: scikit-learn's, faster and with more to choose from.

    It minimises half the squared error, or half the Poisson deviance, with L2 penalty.  Arguments
    up to `max_fun`, their defaults, the attributes, the random numbers, warnings and errors are
    those of `sklearn.neural_network.MLPRegressor`, so that with the same `random_state` the loss
    curve is the same to rounding.

    Parameters
    ----------
    loss : {{"squared_error", "poisson"}}, str or fusedmlp.losses.Loss, default="squared_error"
        "poisson" has an exponential output and takes targets of at least 0.  Any loss of
        `fusedmlp.losses` may stand in its place, or a function of targets and predictions, both of
        shape (rows, columns), that returns one number per row.  With "gaussian_nll" the network
        predicts variances, too (see `predict`).
    {scikit}
    {beyond}

    Attributes
    ----------
    {attributes}

    Notes
    -----
    {notes}

    References
    ----------
    {references}

    Examples
    --------
    >>> from fusedmlp.sklearn import MLPRegressor
    >>> from sklearn.datasets import make_regression
    >>> from sklearn.model_selection import train_test_split
    >>> X, y = make_regression(n_samples=200, n_features=20, random_state=1)
    >>> X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=1)
    >>> regr = MLPRegressor(random_state=1, max_iter=2000, tol=0.1).fit(X_train, y_train)
    >>> regr.predict(X_test[:2]).round()
    array([  29., -291.])
    >>> round(regr.score(X_test, y_test), 2)
    0.98
    """

    _scikit_losses = ("squared_error", "poisson")

    def __init__(self, loss="squared_error", hidden_layer_sizes=(100,), activation="relu", *,
                 solver="adam", alpha=0.0001, batch_size="auto", learning_rate="constant",
                 learning_rate_init=0.001, power_t=0.5, max_iter=200, shuffle=True,
                 random_state=None, tol=1e-4, verbose=False, warm_start=False, momentum=0.9,
                 nesterovs_momentum=True, early_stopping=False, validation_fraction=0.1,
                 beta_1=0.9, beta_2=0.999, epsilon=1e-8, n_iter_no_change=10, max_fun=15000,
                 output_activation=None, dropout=0.0, normalization=None,
                 categorical_features="from_dtype", callbacks=None, progress_bar=False,
                 compat="exact", dtype=None, device="auto", n_jobs=None):
        self._store(locals())

    # -- targets -------------------------------------------------------------------------------

    def _validate_input(self, X, y, incremental, reset):
        X, y = features_and_targets(self, X, y, reset, multi_output=True, y_numeric=True)
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        if y.ndim == 1:
            y = y.reshape(-1, 1)
        self.n_outputs_ = y.shape[1]
        return X, y

    def _encode_validation(self, y):
        y = check_array(y, ensure_2d=False, dtype="numeric", input_name="y_val", estimator=self)
        return y.reshape(len(y), -1)

    def _default_output(self):
        return "exp" if self.loss == "poisson" else "identity"

    def _labels(self, y):
        return self._objective(y.shape).prepared(y)

    def _columns(self):
        """As many as targets, or two for each where the loss is that of a distribution."""
        if self.loss in self._scikit_losses:
            return self.n_outputs_
        shape = (1, self.n_outputs_)
        return self.n_outputs_ * (1 + (losses.resolve(self.loss, shape, shape).labels == "halves"))

    def _score_outputs(self, outputs, y, sample_weight):
        return r2_score(y, outputs[:, : self.n_outputs_], sample_weight=sample_weight)

    # -- fit and predict -----------------------------------------------------------------------

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y, sample_weight=None, *, X_val=None, y_val=None, sample_weight_val=None):
        """Fit the model to data matrix X and target(s) y.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        sample_weight : array-like of shape (n_samples,), default=None
        X_val, y_val, sample_weight_val : default=None
            A validation set.  It is scored after every epoch (`validation_scores_`), and early
            stopping uses it in place of a share of X.

        Returns
        -------
        MLPRegressor
            The estimator itself.

        Raises
        ------
        ValueError, TypeError
            If parameters or data are not as they must be; the messages are scikit-learn's.
        """
        return self._fit(X, y, sample_weight, (X_val, y_val, sample_weight_val))

    @available_if(lambda estimator: estimator._check_solver())
    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y, sample_weight=None, *, X_val=None, y_val=None,
                    sample_weight_val=None):
        """Update the model with a single iteration over the given data.

        Parameters
        ----------
        X, y, sample_weight, X_val, y_val, sample_weight_val
            As in `fit`.  With ``early_stopping=True`` and no validation set, the share
            `validation_fraction` of the different rows of X is held out, chosen by their features
            so that they are held out again when they come again, and joins a validation set of at
            most 1000 rows.  (After `fit`, which trains on rows that would be held out, a validation
            set must be given.)  When the score has not improved for `n_iter_no_change` calls,
            `early_stopped_` is True and the best weights are back.

        Returns
        -------
        MLPRegressor
            The estimator itself.
        """
        return self._fit(X, y, sample_weight, (X_val, y_val, sample_weight_val), True)

    def predict(self, X, return_std=False):
        """Predict targets.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features)
        return_std : bool, default=False
            Whether to return standard deviations, too, which a network has that was fitted with
            ``loss="gaussian_nll"``.

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_outputs)
            Of the dtype in which the network computes.
        std : ndarray like y
            Where asked for.

        Raises
        ------
        ValueError
            If standard deviations are asked for and the network has none.

        >>> import numpy as np
        >>> from fusedmlp.sklearn import MLPRegressor
        >>> rng = np.random.default_rng(0)
        >>> X = rng.uniform(-1, 1, (2000, 1))
        >>> y = X[:, 0] + rng.normal(0, np.where(X[:, 0] > 0, 0.5, 0.1))
        >>> model = MLPRegressor("gaussian_nll", learning_rate_init=0.01, random_state=0).fit(X, y)
        >>> model.predict([[-0.5], [0.5]], return_std=True)[1].round(1)
        array([0.2, 0.5])
        """
        outputs = self._outputs(X)
        mean, log_variance = np.split(outputs, [self.n_outputs_], axis=1)
        if mean.shape[1] == 1:
            mean, log_variance = mean.ravel(), log_variance.ravel()
        if not return_std:
            return mean
        if not log_variance.size:
            raise ValueError(
                "Argument `return_std` needs a network that predicts variances: expected "
                f"loss='gaussian_nll'. Received: loss={self.loss!r}"
            )
        return mean, np.exp(log_variance / 2)
