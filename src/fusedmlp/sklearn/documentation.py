"""The parts of the docstrings that both estimators share, written once.

This module knows no estimator; `documented` fills the placeholders of a class's docstring.
"""

from __future__ import annotations

__all__ = ["documented"]

_SCIKIT = """\
hidden_layer_sizes : array-like of shape (n_layers - 2,), default=(100,)
    Neurons of each hidden layer.
activation : str, callable, dict or list of these, default="relu"
    "identity", "logistic", "tanh", "relu", or any other activation of `fusedmlp.spec`, such as
    "gelu" or "silu"; a list gives one for each hidden layer.
solver : {"adam", "sgd", "lbfgs"}, str or Optimizer, default="adam"
    Any optimizer of `fusedmlp.optimizers` may stand in its place: a name, which is given
    `learning_rate_init`, or an object, of which a copy is used.
alpha : float, default=0.0001
    Strength of the L2 penalty, divided by the number of rows of a batch.
batch_size : int or "auto", default="auto"
    "auto" is ``min(200, n_samples)``.
learning_rate : {"constant", "invscaling", "adaptive"} or schedule, default="constant"
    The three change the rate of "sgd" alone: "invscaling" divides it by ``t_ ** power_t``,
    "adaptive" by 5 when two epochs in a row fail to improve by `tol`.  A schedule of
    `fusedmlp.optimizers.schedules` gives the rate of every step.
learning_rate_init : float, default=0.001
power_t : float, default=0.5
max_iter : int, default=200
    Most epochs, or iterations of "lbfgs".
shuffle : bool, default=True
random_state : int, RandomState instance, default=None
tol : float, default=1e-4
    Training stops when loss or score have not improved by so much for `n_iter_no_change`
    epochs.
verbose : bool, default=False
warm_start : bool or "state", default=False
    Whether a fit goes on from the weights of the last one; with "state" also from the state of
    the optimizer and of the random numbers, so that two fits of five epochs are one of ten.
momentum : float, default=0.9
nesterovs_momentum : bool, default=True
    Both for "sgd".
early_stopping : bool, default=False
    Whether the score on a validation set decides when to stop.
validation_fraction : float, default=0.1
    Share of the rows that is set aside as validation set, where none is given.
beta_1, beta_2, epsilon : float, default=0.9, 0.999, 1e-8
    For "adam".
n_iter_no_change : int, default=10
max_fun : int, default=15000
    Most calls of the loss in "lbfgs"."""

_BEYOND = """\
output_activation : str, callable or dict, default=None
    In place of the one that goes with the loss.
dropout : float or list of float, default=0.0
    Share of the outputs of each hidden layer that training drops.
normalization : {"batch", "layer"}, list of these and None, or None, default=None
    What stands between each hidden layer and its activation.
categorical_features : "from_dtype", array-like or None, default="from_dtype"
    Columns that hold categories, which become one column each: those of a pandas or polars
    frame whose dtype is categorical or text, or the names, numbers or mask given.
callbacks : Callback or list of Callback, default=None
    See `fusedmlp.callbacks`.
progress_bar : bool, default=False
    Whether to draw a bar of the epochs (needs tqdm).
compat : {"exact", "fast"}, default="exact"
    "exact" draws every order of the rows as scikit-learn does, "fast" from the library's own
    generator, in a tenth of the time.
dtype : {"float32", "float64"}, default=None
    What to compute in; None stands for the dtype of X, float64 where it is neither.
device : {"auto", "cpu", "cuda"}, default="auto"
    What to compute on in `fit` and predictions: "cuda" is the GPU, and an error where it can't be
    used; "auto" the backend in use, see `fusedmlp.config.set_backend`.
n_jobs : int, default=None
    Threads; results do not depend on it.  None takes what the process may, and a fair share
    within a worker of joblib."""

_ATTRIBUTES = """\
loss_, best_loss_ : float
    Last and least loss; `best_loss_` is None with early stopping.
loss_curve_ : list of float
    Loss of each epoch.
validation_scores_ : list of float or None
    Score on the validation set after each epoch.
best_validation_score_ : float or None
early_stopped_ : bool
    Whether the last fit ended before `max_iter` because nothing improved any more.
t_ : int
    Rows seen in training.
coefs_, intercepts_ : list of ndarray
    Kernels (inputs, outputs) and biases of the dense layers.  They are the truth: what is
    written into them counts in predictions and in training that goes on.
n_features_in_ : int
feature_names_in_ : ndarray of str
n_iter_ : int
    Epochs of the last fit.
n_layers_, n_outputs_ : int
out_activation_ : str
encoder_ : ColumnTransformer
    What encodes categories, where there are any.
model_ : Sequential
    A copy of the network."""

_NOTES = """\
The number of threads and the size of a batch of predictions never change a bit of the results.
The loss is computed from logits, so it is not cut off at the logarithm of the smallest number
as scikit-learn's is; gradients are the same.  A KeyboardInterrupt ends training with a warning
and usable weights."""

_REFERENCES = """\
scikit-learn, sklearn.neural_network.
Glorot and Bengio (2010), Understanding the difficulty of training deep feedforward neural
networks, AISTATS.
Kingma and Ba (2015), arXiv:1412.6980."""


def documented(cls):
    """Fill the placeholders of a class's docstring, keeping its indentation.

    >>> class Example:
    ...     '''Something.
    ...
    ...     {notes}
    ...     '''
    >>> print(documented(Example).__doc__.splitlines()[2])
        The number of threads and the size of a batch of predictions never change a bit of the \
results.
    """
    parts = {"scikit": _SCIKIT, "beyond": _BEYOND, "attributes": _ATTRIBUTES, "notes": _NOTES,
             "references": _REFERENCES}
    if cls.__doc__ is not None:  # as it is with python -OO
        indented = {name: text.replace("\n", "\n    ") for name, text in parts.items()}
        cls.__doc__ = cls.__doc__.format(**indented)
    return cls
