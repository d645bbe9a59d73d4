"""The classifier."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from sklearn.base import ClassifierMixin, _fit_context
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils import column_or_1d
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import (
    _check_partial_fit_first_call,
    type_of_target,
    unique_labels,
)
from sklearn.utils.validation import check_is_fitted

from .. import spec
from .base import MultilayerPerceptron
from .documentation import documented
from .inputs import features_and_targets

__all__ = ["MLPClassifier"]


def _gives_probabilities(estimator):
    """Whether outputs lie between 0 and 1; AttributeError tells of the activation otherwise."""
    activation = estimator.output_activation
    if activation is None:
        return True
    if isinstance(activation, str) and spec.activation(activation).range.strip("[]()") == "0, 1":
        return True
    raise AttributeError(
        f"probabilities need an output activation with values from 0 to 1; {activation!r} is none"
    )


def _binarizer(y):
    """A `LabelBinarizer` that knows the classes of `y`.

    `LabelBinarizer.fit` looks at `y` half a dozen times; of classes that are integers, and not so
    many that it would warn of them, one look says all.
    """
    binarizer = LabelBinarizer()
    if y.ndim == 1 and y.dtype.kind in "iu":
        classes = np.unique(y)
        if 2 * len(classes) <= len(y):
            binarizer.classes_, binarizer.sparse_input_ = classes, False
            binarizer.y_type_ = "multiclass" if len(classes) > 2 else "binary"
            return binarizer
    return binarizer.fit(y)


@documented
class MLPClassifier(ClassifierMixin, MultilayerPerceptron):
    """Multilayer perceptron classifier: scikit-learn's, faster and with more to choose from.

    It minimises the log-loss with L2 penalty.  Arguments up to `max_fun`, their defaults, the
    attributes, the random numbers, warnings and errors are those of
    `sklearn.neural_network.MLPClassifier`, so that with the same `random_state` the loss curve is
    the same to rounding.

    Parameters
    ----------
    {scikit}
    loss : str or fusedmlp.losses.Loss, default="log_loss"
        Any loss of `fusedmlp.losses` in its place, or a function of targets (classes as columns
        of 0 and 1) and predictions, both of shape (rows, columns), that returns one number per row.
    class_weight : dict, list of dict or "balanced", default=None
        Factors of the loss by class, as `sklearn.utils.class_weight.compute_sample_weight` takes
        them; they multiply `sample_weight`.
    {beyond}

    Attributes
    ----------
    classes_ : ndarray or list of ndarray of shape (n_classes,)
        Class labels for each output.
    {attributes}

    Notes
    -----
    {notes}

    References
    ----------
    {references}

    Examples
    --------
    >>> from fusedmlp.sklearn import MLPClassifier
    >>> from sklearn.datasets import make_classification
    >>> from sklearn.model_selection import train_test_split
    >>> X, y = make_classification(n_samples=100, random_state=1)
    >>> X_train, X_test, y_train, y_test = train_test_split(X, y, stratify=y, random_state=1)
    >>> clf = MLPClassifier(random_state=1, max_iter=300).fit(X_train, y_train)
    >>> clf.predict_proba(X_test[:1]).round(3)
    array([[0.038, 0.962]])
    >>> clf.predict(X_test[:5, :])
    array([1, 0, 1, 0, 1])
    >>> clf.score(X_test, y_test) > 0.8
    True
    """

    _parameter_constraints: ClassVar[dict] = {
        **MultilayerPerceptron._parameter_constraints,
        "class_weight": [None, dict, list, str],
    }

    _scikit_losses = ("log_loss",)

    def __init__(self, hidden_layer_sizes=(100,), activation="relu", *, solver="adam",
                 alpha=0.0001, batch_size="auto", learning_rate="constant",
                 learning_rate_init=0.001, power_t=0.5, max_iter=200, shuffle=True,
                 random_state=None, tol=1e-4, verbose=False, warm_start=False, momentum=0.9,
                 nesterovs_momentum=True, early_stopping=False, validation_fraction=0.1,
                 beta_1=0.9, beta_2=0.999, epsilon=1e-8, n_iter_no_change=10, max_fun=15000,
                 loss="log_loss", class_weight=None, output_activation=None, dropout=0.0,
                 normalization=None, categorical_features="from_dtype", callbacks=None,
                 progress_bar=False, compat="exact", dtype=None, device="auto", n_jobs=None):
        self._store(locals())

    # -- targets -------------------------------------------------------------------------------

    def _validate_input(self, X, y, incremental, reset):
        X, y = features_and_targets(self, X, y, reset, multi_output=True)
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        # Classes are learned in the first fit and in every one that starts anew; after
        # `partial_fit` with `classes` they are known.
        if not hasattr(self, "classes_") or (not self.warm_start and not incremental):
            self._label_binarizer = _binarizer(y)
            self.classes_ = self._label_binarizer.classes_
        else:
            self._check_known(unique_labels(y), all_of_them=bool(self.warm_start))
        self.n_outputs_ = len(self.classes_)
        if self._label_binarizer.y_type_ == "binary":
            self.n_outputs_ = 1
        return X, self._encoded(y)

    def _check_known(self, classes, all_of_them):
        if all_of_them and set(classes) != set(self.classes_):
            raise ValueError(
                "warm_start can only be used where `y` has the same classes as in the previous "
                f"call to fit. Previously got {self.classes_}, `y` has {classes}"
            )
        if len(np.setdiff1d(classes, self.classes_, assume_unique=True)):
            raise ValueError(
                "`y` has classes not in `self.classes_`. "
                f"`self.classes_` has {self.classes_}. 'y' has {classes}."
            )

    def _encoded(self, y):
        """Class numbers (rows,) or, of two classes or several labels, booleans (rows, outputs)."""
        if self._is_multiclass():
            return np.searchsorted(self.classes_, y).astype(np.int64, copy=False)
        return self._label_binarizer.transform(y).astype(bool)

    def _encode_validation(self, y):
        y = np.asarray(y)
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        self._check_known(unique_labels(y), all_of_them=False)
        return self._encoded(y)

    def _is_multiclass(self):
        return self._label_binarizer.y_type_ == "multiclass"

    def _takes_classes(self):
        return self._is_multiclass()

    def _default_output(self):
        return "softmax" if self._is_multiclass() else "logistic"

    def _labels(self, y):
        objective = self._objective(y.shape)
        if y.ndim == 1 and objective.kinds != ("classes",):
            y = np.eye(self.n_outputs_, dtype=bool)[y]
        return objective.prepared(y)

    def _weighted(self, y, sample_weight, incremental):
        if self.class_weight is None:
            return sample_weight
        if incremental and isinstance(self.class_weight, str):
            raise ValueError(
                f"class_weight={self.class_weight!r} is not supported for partial_fit, which does "
                "not see all of the data. Compute the weights with "
                "compute_class_weight('balanced', classes=classes, y=y) and pass them as a dict."
            )
        by_class = compute_sample_weight(self.class_weight, np.asarray(y))
        return by_class if sample_weight is None else by_class * sample_weight

    # -- fit and predict -----------------------------------------------------------------------

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y, sample_weight=None, *, X_val=None, y_val=None, sample_weight_val=None):
        """Fit the model to data matrix X and target(s) y.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Class labels, or an indicator matrix for several labels.
        sample_weight : array-like of shape (n_samples,), default=None
        X_val, y_val, sample_weight_val : default=None
            A validation set.  It is scored after every epoch (`validation_scores_`), and early
            stopping uses it in place of a share of X.

        Returns
        -------
        MLPClassifier
            The estimator itself.

        Raises
        ------
        ValueError, TypeError
            If parameters or data are not as they must be; the messages are scikit-learn's.
        """
        return self._fit(X, y, sample_weight, (X_val, y_val, sample_weight_val))

    @available_if(lambda estimator: estimator._check_solver())
    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y, sample_weight=None, classes=None, *, X_val=None, y_val=None,
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
        classes : array of shape (n_classes,), default=None
            Classes across all calls, needed in the first one.

        Returns
        -------
        MLPClassifier
            The estimator itself.
        """
        if _check_partial_fit_first_call(self, classes):
            several = type_of_target(y).startswith("multilabel")
            self._label_binarizer = LabelBinarizer().fit(y if several else classes)
        return self._fit(X, y, sample_weight, (X_val, y_val, sample_weight_val), True)

    def _decided(self, outputs):
        """Booleans or class numbers from outputs."""
        if self._is_multiclass():
            return outputs.argmax(axis=1)
        try:
            _gives_probabilities(self)
        except AttributeError:
            return outputs > 0.0
        return outputs > 0.5

    def _score_outputs(self, outputs, y, sample_weight):
        decided = self._decided(outputs)
        right = decided == y
        return np.average(right if y.ndim == 1 else right.all(axis=1), weights=sample_weight)

    def predict(self, X):
        """Predict classes.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_outputs)
        """
        check_is_fitted(self)
        decided = self._decided(self._outputs(X))
        if self._is_multiclass():
            return self.classes_[decided]
        return self._label_binarizer.inverse_transform(decided.astype(np.float64))

    @available_if(_gives_probabilities)
    def predict_proba(self, X):
        """Probability estimates.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            Columns in the order of `classes_`.
        """
        check_is_fitted(self)
        outputs = self._outputs(X)
        if self.n_outputs_ == 1:
            return np.hstack([1 - outputs, outputs])
        return outputs

    @available_if(_gives_probabilities)
    def predict_log_proba(self, X):
        """The logarithm of `predict_proba`.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
        """
        probabilities = self.predict_proba(X)
        return np.log(probabilities, out=probabilities)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags
