"""What the two estimators have in common: parameters, fits from validation to attributes, outputs.

Meaning and order of what happens are scikit-learn's (sklearn.neural_network, version 1.9); where it
stops, the parameters after `max_fun` go on.  The loops are in `stochastic` and `lbfgs`, the network
and its plans in `network`, what is minimised in `objective`.
"""

from __future__ import annotations

import copy
import warnings
from abc import ABC, abstractmethod
from contextlib import ExitStack, contextmanager
from numbers import Integral, Real
from typing import ClassVar

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, Options, StrOptions
from sklearn.utils.validation import _check_sample_weight, check_is_fitted

from .. import backend, losses, optimizers, spec
from ..callbacks import Callback
from ..optimizers import Optimizer
from ..training.objective import BoundOutput, in_python
from ..training.ports import Port
from . import inputs, lbfgs, stochastic
from .network import Network, Shape, Step
from .objective import LibraryObjective, ScikitObjective
from .threads import limit

__all__ = ["MultilayerPerceptron"]

ACTIVATIONS = {alias for row in spec.ACTIVATIONS.values() for alias in (row.name, *row.aliases)}
OPTIMIZERS = {  # those that a name is enough for
    name.lower() for name in optimizers.__all__
    if isinstance(cls := getattr(optimizers, name), type) and issubclass(cls, Optimizer)
    and name not in ("Optimizer", "MultiOptimizer")
}
_OURS = {"softmax": "softmax", "logistic": "sigmoid", "identity": "linear", "exp": "exponential"}


class MultilayerPerceptron(BaseEstimator, ABC):
    """Base class of `MLPClassifier` and `MLPRegressor`."""

    _parameter_constraints: ClassVar[dict] = {
        "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
        "activation": [StrOptions(ACTIVATIONS), "array-like", callable, dict],
        "solver": [StrOptions({"lbfgs", *OPTIMIZERS}), Optimizer],
        "alpha": [Interval(Real, 0, None, closed="left")],
        "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "learning_rate": [StrOptions({"constant", "invscaling", "adaptive"}), callable],
        "learning_rate_init": [Interval(Real, 0, None, closed="neither")],
        "power_t": [Interval(Real, 0, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "loss": [str, losses.Loss, callable],
        "shuffle": ["boolean"],
        "random_state": ["random_state"],
        "tol": [Interval(Real, 0, None, closed="left")],
        "verbose": ["verbose"],
        "warm_start": ["boolean", StrOptions({"state"})],
        "momentum": [Interval(Real, 0, 1, closed="both")],
        "nesterovs_momentum": ["boolean"],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="left")],
        "beta_1": [Interval(Real, 0, 1, closed="left")],
        "beta_2": [Interval(Real, 0, 1, closed="left")],
        "epsilon": [Interval(Real, 0, None, closed="neither")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left"), Options(Real, {np.inf})],
        "max_fun": [Interval(Integral, 1, None, closed="left")],
        "output_activation": [None, StrOptions(ACTIVATIONS), callable, dict],
        "dropout": [Interval(Real, 0, 1, closed="left"), "array-like"],
        "normalization": [None, StrOptions({"batch", "layer"}), "array-like"],
        "categorical_features": [None, StrOptions({"from_dtype"}), "array-like"],
        "callbacks": [None, list, tuple, Callback],
        "progress_bar": ["boolean"],
        "compat": [StrOptions({"exact", "fast"})],
        "dtype": [None, StrOptions({"float32", "float64"}), type],
        "device": [StrOptions({"auto", "cpu", "cuda"})],
        "n_jobs": [None, Integral],
    }

    _scikit_losses: tuple = ()  # what a subclass calls losses of scikit-learn

    _held = None  # the validation set of `partial_fit`
    _order = _split_state = None  # what warm_start="state" keeps of the random numbers

    def _store(self, arguments):
        """Keep what a constructor was called with."""
        for name, value in arguments.items():
            if name not in ("self", "__class__"):
                setattr(self, name, value)

    @classmethod
    def _get_param_names(cls):
        """As scikit-learn finds them, once for each class: the look at the signature takes long."""
        if "_parameter_names" not in vars(cls):
            cls._parameter_names = super()._get_param_names()
        return list(cls._parameter_names)

    # -- what the subclasses say ---------------------------------------------------------------

    @abstractmethod
    def _validate_input(self, X, y, incremental, reset):
        """X as the network takes it, and y as the subclass goes on with it; sets `n_outputs_`."""

    @abstractmethod
    def _default_output(self):
        """scikit-learn's name of the output activation that goes with loss and targets."""

    @abstractmethod
    def _labels(self, y):
        """Targets as the plan takes them, from those of `_validate_input`."""

    @abstractmethod
    def _encode_validation(self, y):
        """Targets of a user's validation set, as `_validate_input` makes them."""

    @abstractmethod
    def _score_outputs(self, outputs, y, sample_weight):
        """The score of outputs against targets of `_validate_input`."""

    def _weighted(self, y, sample_weight, incremental):
        """Sample weights with whatever else weighs rows; `y` as it was given."""
        return sample_weight

    # -- the network ---------------------------------------------------------------------------

    def _hidden_sizes(self):
        sizes = self.hidden_layer_sizes
        sizes = list(sizes) if hasattr(sizes, "__iter__") else [sizes]
        if np.any(np.array(sizes) <= 0):
            raise ValueError(f"hidden_layer_sizes must be > 0, got {sizes}.")
        return [int(size) for size in sizes]

    def _shape(self, columns, dtype):
        """The network that the parameters ask for."""
        sizes = self._hidden_sizes()
        activations = _each(self.activation, "activation", len(sizes), (list, tuple))
        rates = _each(self.dropout, "dropout", len(sizes), (list, tuple, np.ndarray))
        norms = _each(self.normalization, "normalization", len(sizes), (list, tuple))
        hidden = []
        for size, activation, rate, norm in zip(sizes, activations, rates, norms, strict=True):
            if not 0 <= rate < 1:
                raise ValueError(
                    "Parameter 'dropout' must hold rates of at least 0 and below 1. "
                    f"Received: {self.dropout!r}"
                )
            if norm not in (None, "batch", "layer"):
                raise ValueError(
                    "Parameter 'normalization' must hold 'batch', 'layer' or None. "
                    f"Received: {self.normalization!r}"
                )
            hidden.append(Step(size, _canonical(activation), float(rate), norm))
        if self.solver == "lbfgs" and any(s.dropout or s.normalization == "batch" for s in hidden):
            raise ValueError(
                "solver='lbfgs' needs the same function at every call: expected dropout=0 and no "
                "batch normalization, or another solver. Received: "
                f"dropout={self.dropout!r}, normalization={self.normalization!r}"
            )
        output = self.output_activation
        output = _OURS[self._default_output()] if output is None else _canonical(output)
        return Shape(columns, tuple(hidden), self._columns(), output, np.dtype(dtype).name)

    def _columns(self):
        """Columns of the network's output."""
        return self.n_outputs_

    def _prepare_network(self, columns, dtype, first_pass):
        """The network for these parameters, with the weights that there are."""
        shape = self._shape(columns, dtype)
        if first_pass or not hasattr(self, "_network"):
            self._network = Network(shape)
        elif self._network.shape != shape:
            network = self._network.like(shape)
            self._check_sizes([kernel.shape for _, kernel in network.kernels])
            self._network = network
            if hasattr(self, "_optimizer"):
                self._optimizer = copy.deepcopy(self._optimizer)
        if first_pass:
            self._initialize()
        else:
            self._network.load(self.coefs_, self.intercepts_)
            if self._is_stochastic() and not hasattr(self, "loss_curve_"):  # lbfgs went before
                self._begin_record()

    def _check_sizes(self, wanted):
        """ValueError where the weights that there are do not fit into kernels of these shapes."""
        there = [coef.shape for coef in self.coefs_]
        if there != wanted:
            raise ValueError(
                "A fit that goes on from the last one, by warm_start or partial_fit, needs layers "
                f"of the same sizes: expected kernels of shapes {there}. Received: "
                f"hidden_layer_sizes={self.hidden_layer_sizes!r}, of shapes {wanted}"
            )

    def _initialize(self):
        """First values of all weights, and of the attributes that training counts with."""
        self.n_iter_ = 0
        self.t_ = 0
        self.n_layers_ = len(self._network.widths)
        default = self._default_output()
        self.out_activation_ = default if self.output_activation is None \
            else _name(self.output_activation)
        self.coefs_, self.intercepts_ = [], []
        for number, (_, kernel) in enumerate(self._network.kernels):
            coef, intercept = self._first_weights(kernel.shape, number)
            self.coefs_.append(coef.astype(kernel.dtype, copy=False))
            self.intercepts_.append(intercept.astype(kernel.dtype, copy=False))
        self._network.load(self.coefs_, self.intercepts_)
        drawn = any(step.dropout for step in self._network.shape.hidden)
        if drawn or self.compat == "fast":
            self._network.set_seed(int(self._random_state.randint(2**31)))
        if self._is_stochastic():
            self._begin_record()

    def _first_weights(self, shape, number):
        """Uniform after Glorot and Bengio (2010), with scikit-learn's factor for the sigmoid."""
        activation = _each(self.activation, "activation", self.n_layers_ - 2, (list, tuple))
        activation = activation[min(number, len(activation) - 1)] if activation else "identity"
        factor = 2.0 if _canonical(activation) == "sigmoid" else 6.0
        bound = np.sqrt(factor / sum(shape))
        return (self._random_state.uniform(-bound, bound, shape),
                self._random_state.uniform(-bound, bound, shape[1]))

    def _begin_record(self):
        """What the stochastic solvers note down, empty."""
        self.loss_curve_ = []
        self._no_improvement_count = 0
        self._held = self._order = self._split_state = None
        self.validation_scores_ = self.best_validation_score_ = self.best_loss_ = None
        if self.early_stopping:
            self.validation_scores_ = []
            self.best_validation_score_ = -np.inf
            self._best = (*self._network.weights(), self._network.others())
        else:
            self.best_loss_ = np.inf

    def _objective(self, targets_shape):
        """What training minimises; the same object as before where nothing has changed."""
        key = (self.loss, self.alpha, targets_shape[1:])
        known = self._network.objective
        if known is None or known.key != key:
            known = self._network.objective = self._new_objective(targets_shape)
            known.key = key
        return known

    def _new_objective(self, targets_shape):
        kernels = self._network.kernels
        if self.loss in self._scikit_losses:
            if self.loss == "poisson" and self._network.shape.output_activation != "exponential":
                raise ValueError(
                    "loss='poisson' needs the exponential as output activation; use a loss of "
                    "fusedmlp.losses, or leave output_activation=None. "
                    f"Received: output_activation={self.output_activation!r}"
                )
            return ScikitObjective(self.loss, self.n_outputs_, self._takes_classes(), self.alpha,
                                   kernels)
        columns = self._network.shape.outputs
        shape = (targets_shape[0], columns)
        found = losses.resolve(self.loss, targets_shape, shape)
        if in_python(found):  # gets targets in the shape of predictions
            targets_shape = shape
        output = BoundOutput(Port("output", (None, columns)), targets_shape, found, 1.0, [])
        return LibraryObjective(output, self.n_outputs_, self.alpha, kernels)

    def _takes_classes(self):
        """Whether labels are class numbers."""
        return False

    def _is_stochastic(self):
        return not (isinstance(self.solver, str) and self.solver == "lbfgs")

    def _check_solver(self):
        if not self._is_stochastic():
            raise AttributeError(
                "partial_fit is only available for stochastic optimizers. "
                f"{self.solver} is not stochastic."
            )
        return True

    @contextmanager
    def _on_device(self):
        """Within the block the device computes; ValueError where it can't be used."""
        if self.device == "auto":
            yield
            return
        with ExitStack() as stack:
            try:
                stack.enter_context(backend.device(self.device))
            except RuntimeError as error:
                raise ValueError(
                    f"Parameter 'device' of this estimator can't be {self.device!r} here: {error} "
                    "Expected 'auto' or 'cpu', or a working CUDA backend (see python -m fusedmlp "
                    f"info). Received: {self.device!r}"
                ) from error
            yield

    # -- fit -----------------------------------------------------------------------------------

    def _fit(self, X, y, sample_weight=None, validation=(None, None, None), incremental=False):
        with self._on_device(), limit(self.n_jobs):
            return self._fit_limited(X, y, sample_weight, validation, incremental)

    def _fit_limited(self, X, y, sample_weight, validation, incremental):
        self._hidden_sizes()
        first_pass = not hasattr(self, "coefs_") or (not self.warm_start and not incremental)
        given = y
        X, y = self._validate_input(X, y, incremental, reset=first_pass)
        if sample_weight is not None:
            sample_weight = _check_sample_weight(sample_weight, X)
        sample_weight = self._weighted(given, sample_weight, incremental)
        resumed = self.warm_start == "state" and not incremental and hasattr(self, "_random_state")
        if not resumed:
            self._random_state = check_random_state(self.random_state)
        validation = self._validate_validation(*validation)
        if incremental and self.early_stopping and validation is None:
            self._check_holding_out(first_pass)
        self._prepare_network(X.shape[1], X.dtype, first_pass)
        if self._is_stochastic():
            stochastic.fit(self, X, y, sample_weight, validation, incremental, resumed)
        else:
            lbfgs.fit(self, X, y, sample_weight)
        if not all(np.isfinite(w).all() for w in (*self.coefs_, *self.intercepts_)):
            raise ValueError(
                "Solver produced non-finite parameter weights. The input data may contain large "
                "values and need to be preprocessed."
            )
        trained = self.t_ or not self._is_stochastic()
        if trained and not np.isfinite(self.loss_):
            warnings.warn(
                f"The loss is {self.loss_}, though the weights are finite: predictions lie where "
                f"loss={self.loss!r} is not defined; another output activation may help.",
                ConvergenceWarning, stacklevel=5,
            )
        return self

    def _check_holding_out(self, first_pass):
        """ValueError where `partial_fit` can't hold rows out that no training has seen."""
        if not self.validation_fraction:
            raise ValueError(
                "partial_fit with early_stopping=True needs a validation set: expected X_val and "
                "y_val, or a 'validation_fraction' above 0. Received: validation_fraction=0"
            )
        if not first_pass and self._held is None:
            raise ValueError(
                "partial_fit does not support early_stopping=True after training that held no rows "
                "out for it: what it held out now may have been trained on. Pass X_val and y_val, "
                "or begin with partial_fit"
            )

    def _validate_validation(self, X, y, sample_weight):
        """The user's validation set as (X, y, sample_weight), or None."""
        if X is None and y is None:
            if sample_weight is not None:
                raise ValueError("sample_weight_val is given, so X_val and y_val must be, too")
            return None
        if X is None or y is None:
            raise ValueError("X_val and y_val must be given together")
        X = self._features(X, reset=False)
        y = self._encode_validation(y)
        if len(y) != X.shape[0]:
            raise ValueError(
                "X_val and y_val must have the same number of rows. "
                f"Received: {X.shape[0]} and {len(y)}"
            )
        if sample_weight is not None:
            sample_weight = _check_sample_weight(sample_weight, X)
        return X, y, sample_weight

    def _make_optimizer(self):
        """A new optimizer for the solver."""
        rate = self.learning_rate_init if isinstance(self.learning_rate, str) \
            else self.learning_rate
        if isinstance(self.solver, Optimizer):
            return optimizers.deserialize(optimizers.serialize(self.solver))
        if self.solver == "sgd":
            return optimizers.SGD(rate, momentum=self.momentum, nesterov=self.nesterovs_momentum)
        if self.solver == "adam":
            return optimizers.Adam(rate, beta_1=self.beta_1, beta_2=self.beta_2,
                                   epsilon=self.epsilon)
        found = optimizers.get(self.solver)
        found.learning_rate = rate
        return found

    # -- outputs -------------------------------------------------------------------------------

    def _features(self, X, reset):
        """X as the network takes it: dense or CSR, of its dtype."""
        return inputs.features(self, X, reset)

    def _outputs(self, X):
        """What the network gives for X, shape (rows, outputs)."""
        check_is_fitted(self)
        X = self._features(X, reset=False)
        with self._on_device(), limit(self.n_jobs):
            return self._network.predict(X, self.coefs_, self.intercepts_)

    def __sklearn_is_fitted__(self):
        return hasattr(self, "coefs_")

    @property
    def model_(self):
        """The network as a `fusedmlp.Sequential`, a copy with the weights as they are now."""
        check_is_fitted(self)
        network = copy.deepcopy(self._network)
        network.load(self.coefs_, self.intercepts_)
        return network.model

    def to_onnx(self, path=None, **options):
        """The network as ONNX: from features, with categories encoded, to `predict_proba`.

        Of two classes there is one column, that of the second.  For a regressor it is `predict`.

        Parameters
        ----------
        path : str or Path, optional
            A file to write.
        **options
            As `fusedmlp.saving.to_onnx` takes them, with `path` those of
            `fusedmlp.saving.export_onnx`.

        Returns
        -------
        onnx.ModelProto or None
            None where a file is written.

        Raises
        ------
        ImportError
            If onnx is missing.
        """
        from .. import saving  # with what it needs, not before

        if path is None:
            return saving.to_onnx(self.model_, **options)
        return saving.export_onnx(self.model_, path, **options)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


def _each(value, name, count, many):
    """A value per hidden layer from one for all, or from as many."""
    if not isinstance(value, many):
        return [value] * count
    if len(value) != count:
        raise ValueError(
            f"Parameter {name!r} must hold one value per hidden layer, {count}. Received: {value!r}"
        )
    return list(value)


def _canonical(activation):
    """The table's name of an activation for a name or alias; anything else as it is."""
    return spec.activation(activation).name if isinstance(activation, str) else activation


def _name(activation):
    return activation if isinstance(activation, str) else getattr(
        activation, "__name__", type(activation).__name__)
