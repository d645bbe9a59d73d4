"""Structured data as one vector: features by name, each made numbers of in its own way.

A `FeatureSpace` is made of the other preprocessing layers.  It works on dicts of arrays and on data
frames, and gives a functional model its inputs.
"""

from __future__ import annotations

import builtins
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np

from ... import checks, config, frames, spec
from ...training.batches import Batches, is_batches, unpack_batch
from ..input import Input
from ..layer import Layer
from ..merging import Concatenate
from ..naming import auto_name
from ..shapes import Identity
from ..tensor import KerasTensor
from .base import values
from .categories import CategoryEncoding, Discretization
from .hashing import HashedCrossing, Hashing
from .lookup import IndexLookup, IntegerLookup, StringLookup
from .scaling import Normalization, Rescaling

__all__ = ["Cross", "Feature", "FeatureSpace"]


class Feature:
    """How one feature becomes numbers; `FeatureSpace.feature` and its like make one.

    Parameters
    ----------
    dtype : str
        Of the data: "float32", "int32", "string" and the like.
    preprocessor : Layer or dict
        A preprocessing layer, or its config.
    output_mode : {"int", "one_hot", "float"}

    Raises
    ------
    ValueError, TypeError
        If `output_mode` is none of these, or the preprocessor is no layer.

    >>> Feature("float32", Rescaling(2.0), "float").output_mode
    'float'
    """

    def __init__(self, dtype: str, preprocessor: Layer | dict, output_mode: str):
        checks.one_of(output_mode, "output_mode", ("int", "one_hot", "float"))
        if isinstance(preprocessor, Mapping):
            from .. import deserialize

            preprocessor = deserialize(preprocessor)
        if not isinstance(preprocessor, Layer):
            raise TypeError(
                "Argument `preprocessor` must be a layer. "
                f"Received: {preprocessor!r} of type {type(preprocessor).__name__}"
            )
        self.dtype, self.preprocessor, self.output_mode = str(dtype), preprocessor, output_mode

    def get_config(self) -> dict[str, Any]:
        """Arguments that make an equal one."""
        from .. import serialize

        return {"dtype": self.dtype, "preprocessor": serialize(self.preprocessor),
                "output_mode": self.output_mode}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Feature:
        """One from what `get_config` returned."""
        return cls(**config)


class Cross:
    """Features that are taken together; `FeatureSpace.cross` makes one.

    Parameters
    ----------
    feature_names : sequence of str
    crossing_dim : int
        Number of buckets.
    output_mode : {"one_hot", "int"}

    Raises
    ------
    ValueError, TypeError
        If an argument is none of these.

    >>> Cross(("kind", "city"), 32).name
    'kind_X_city'
    """

    def __init__(self, feature_names: Sequence[str], crossing_dim: int,
                 output_mode: str = "one_hot"):
        checks.one_of(output_mode, "output_mode", ("int", "one_hot"))
        names = () if isinstance(feature_names, str) else tuple(feature_names)
        if len(names) < 2 or not all(isinstance(name, str) for name in names):
            raise ValueError(
                "Argument `feature_names` must hold two names or more. "
                f"Received: {feature_names!r}"
            )
        self.feature_names, self.output_mode = names, output_mode
        self.crossing_dim = checks.integer(crossing_dim, "crossing_dim", 1)

    @property
    def name(self) -> str:
        """The names of the features with "_X_" between them."""
        return "_X_".join(self.feature_names)

    def get_config(self) -> dict[str, Any]:
        """Arguments that make an equal one."""
        return {"feature_names": list(self.feature_names), "crossing_dim": self.crossing_dim,
                "output_mode": self.output_mode}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Cross:
        """One from what `get_config` returned."""
        return cls(**config)


class FeatureSpace(Layer):
    """What turns rows with named features into vectors, learned from data where it must be.

    Adapted to data, it is called on data of the same form; or `get_inputs` and
    `get_encoded_features` are where a functional model begins, which then takes the raw data.

    Parameters
    ----------
    features : dict of str to str or Feature
        What each feature is: the name of one of the methods below, which then gets its defaults, or
        what the method returns.
    output_mode : {"concat", "dict"}
        One vector, of the features in the order of their names and the crosses in that of theirs;
        or a dict with what each of them became.
    crosses : list of tuple of str, or of Cross, optional
        Features whose combinations are features, too.
    crossing_dim, hashing_dim : int
        Buckets of crosses and of hashed features that don't say it themselves.
    num_discretization_bins : int
        Intervals of features called "float_discretized".
    name : str, optional

    Attributes
    ----------
    preprocessors, crossers, one_hot_encoders : dict of str to Layer
        By feature or cross.

    Raises
    ------
    ValueError, TypeError
        If an argument is none of these, a name is unknown, or a feature does not become the numbers
        that are asked for.

    References
    ----------
    Keras 3, keras.utils.FeatureSpace.

    Examples
    --------
    >>> import fusedmlp as fm
    >>> data = {"age": [20.0, 30.0, 40.0], "kind": ["a", "b", "a"]}
    >>> space = fm.utils.FeatureSpace({
    ...     "age": "float_normalized",
    ...     "kind": fm.utils.FeatureSpace.string_categorical(num_oov_indices=0)})
    >>> space.adapt(data)
    >>> space(data)
    array([[-1.2247449,  1.       ,  0.       ],
           [ 0.       ,  0.       ,  1.       ],
           [ 1.2247449,  1.       ,  0.       ]], dtype=float32)
    >>> hidden = fm.layers.Dense(8, activation="relu")(space.get_encoded_features())
    >>> model = fm.Model(space.get_inputs(), fm.layers.Dense(1)(hidden))
    >>> model.predict(data, verbose=0).shape
    (3, 1)
    """

    # -- kinds of features ---------------------------------------------------------------------

    @classmethod
    def feature(cls, dtype: str, preprocessor: Layer, output_mode: str) -> Feature:
        """A feature with a preprocessing layer of one's own choice; see `Feature`.

        >>> FeatureSpace.feature("float32", Rescaling(2.0), "float").dtype
        'float32'
        """
        return Feature(dtype, preprocessor, output_mode)

    @classmethod
    def cross(cls, feature_names, crossing_dim: int, output_mode: str = "one_hot") -> Cross:
        """Features that are taken together; see `Cross`.

        >>> FeatureSpace.cross(("a", "b"), crossing_dim=32).name
        'a_X_b'
        """
        return Cross(feature_names, crossing_dim, output_mode)

    @classmethod
    def float(cls, name: str | None = None) -> Feature:
        """Numbers as they are.

        >>> FeatureSpace.float().output_mode
        'float'
        """
        return Feature(config.floatx(), Identity(name=_named("float", name)), "float")

    @classmethod
    def float_rescaled(cls, scale=1.0, offset=0.0, name: str | None = None) -> Feature:
        """Numbers times `scale` plus `offset`.

        >>> FeatureSpace.float_rescaled(1 / 255).preprocessor.offset
        0.0
        """
        return Feature(config.floatx(), Rescaling(
            scale, offset, name=_named("float_rescaled", name)), "float")

    @classmethod
    def float_normalized(cls, name: str | None = None) -> Feature:
        """Numbers shifted and scaled to mean 0 and variance 1.

        >>> FeatureSpace.float_normalized().preprocessor.axis
        (-1,)
        """
        return Feature(config.floatx(), Normalization(
            name=_named("float_normalized", name)), "float")

    @classmethod
    def float_discretized(cls, num_bins: int | None, bin_boundaries=None,
                          output_mode: str = "one_hot", name: str | None = None) -> Feature:
        """The interval in which a number lies: one of `num_bins`, or (with None) of those between
        `bin_boundaries`.

        >>> FeatureSpace.float_discretized(None, [0.0, 1.0]).preprocessor([[0.5]])
        array([[1]], dtype=int32)
        """
        return Feature(config.floatx(), Discretization(
            bin_boundaries, num_bins, name=_named("float_discretized", name)), output_mode)

    @classmethod
    def integer_categorical(cls, max_tokens: int | None = None, num_oov_indices: int = 1,
                            output_mode: str = "one_hot", name: str | None = None) -> Feature:
        """Integers by a vocabulary.

        >>> FeatureSpace.integer_categorical(max_tokens=10).dtype
        'int32'
        """
        return Feature("int32", IntegerLookup(
            max_tokens, num_oov_indices, name=_named("integer_categorical", name)), output_mode)

    @classmethod
    def string_categorical(cls, max_tokens: int | None = None, num_oov_indices: int = 1,
                           output_mode: str = "one_hot", name: str | None = None) -> Feature:
        """Words by a vocabulary.

        >>> FeatureSpace.string_categorical(max_tokens=10).dtype
        'string'
        """
        return Feature("string", StringLookup(
            max_tokens, num_oov_indices, name=_named("string_categorical", name)), output_mode)

    @classmethod
    def string_hashed(cls, num_bins: int, output_mode: str = "one_hot",
                      name: str | None = None) -> Feature:
        """Words by a hash.

        >>> FeatureSpace.string_hashed(32).dtype
        'string'
        """
        return Feature("string", Hashing(num_bins, name=_named("string_hashed", name)),
                       output_mode)

    @classmethod
    def integer_hashed(cls, num_bins: int, output_mode: str = "one_hot",
                       name: str | None = None) -> Feature:
        """Integers by a hash.

        >>> FeatureSpace.integer_hashed(32).dtype
        'int32'
        """
        return Feature("int32", Hashing(num_bins, name=_named("integer_hashed", name)),
                       output_mode)

    def __init__(self, features: Mapping[str, Any], output_mode: str = "concat", crosses=None,
                 crossing_dim: int = 32, hashing_dim: int = 32,
                 num_discretization_bins: int = 32, name: str | None = None):
        super().__init__(name=name)
        checks.one_of(output_mode, "output_mode", ("concat", "dict"))
        if not isinstance(features, Mapping) or not features:
            raise ValueError(
                "Argument `features` must be a dict of at least one feature. "
                f"Received: {features!r}"
            )
        self.output_mode, self.crossing_dim = output_mode, crossing_dim
        self.hashing_dim, self.num_discretization_bins = hashing_dim, num_discretization_bins
        self.features = {key: self._feature(key, given) for key, given in features.items()}
        self.crosses = [self._cross(given) for given in crosses or ()]
        self.crosses_by_name = {cross.name: cross for cross in self.crosses}
        self.preprocessors = {key: f.preprocessor for key, f in self.features.items()}
        self.crossers = {cross.name: HashedCrossing(cross.crossing_dim, name=cross.name)
                         for cross in self.crosses}
        self.one_hot_encoders: dict[str, CategoryEncoding] = {}
        self.concat = None
        self._specs = {**{key: self.features[key] for key in sorted(self.features)},
                       **{key: self.crosses_by_name[key] for key in sorted(self.crosses_by_name)}}
        self._check_outputs()
        self._is_adapted = False
        self._make_inputs()

    def _make_inputs(self):
        self.inputs = {key: Input((1,), dtype=feature.dtype, name=key)
                       for key, feature in self.features.items()}
        self.encoded_features = None

    def _feature(self, name, given):
        if isinstance(given, Feature):
            return given
        if isinstance(given, Mapping):
            return Feature.from_config(given)
        defaults = {"float_discretized": self.num_discretization_bins,
                    "integer_hashed": self.hashing_dim, "string_hashed": self.hashing_dim}
        if given not in _KINDS:
            raise ValueError(spec.nearest(given, _KINDS, "feature type") if isinstance(given, str)
                             else f"A feature must be one of {', '.join(map(repr, _KINDS))} or a "
                             f"`Feature`. Received: {given!r} for {name!r}")
        more = (defaults[given],) if given in defaults else ()
        return getattr(self, given)(*more, name=name)

    def _cross(self, given):
        if isinstance(given, Mapping):
            given = Cross.from_config(given)
        cross = given if isinstance(given, Cross) else Cross(given, self.crossing_dim)
        unknown = [name for name in cross.feature_names if name not in self.features]
        if unknown:
            raise ValueError(
                "Argument `crosses` must hold names of features. "
                f"{spec.nearest(unknown[0], list(self.features), 'feature')}"
            )
        for name in cross.feature_names:
            feature = self.features[name]
            if not (_gives_integers(feature.preprocessor) or _is_raw(feature)):
                raise ValueError(
                    "Argument `crosses` must hold features that become whole numbers. "
                    f"Received: {name!r}, which {type(feature.preprocessor).__name__} makes "
                    "fractions of"
                )
        return cross

    def _check_outputs(self):
        """ValueError where a feature does not become the numbers that are asked for."""
        for key, given in self._specs.items():
            layer = self.preprocessors.get(key, self.crossers.get(key))
            if given.output_mode == "one_hot":
                if not _gives_integers(layer) or _count(layer) is None:
                    raise ValueError(
                        f"The preprocessor of feature {key!r} must give integers of a known range "
                        "with output_mode='one_hot' (else there is 'float' or 'int'). "
                        f"Received: {type(layer).__name__}"
                    )
            elif self.output_mode == "concat" and (
                    given.output_mode == "int" or _gives_integers(layer)):
                raise ValueError(
                    f"Feature {key!r} must be encoded to become part of a vector: expected "
                    "output_mode='one_hot' or 'float', or output_mode='dict' of the FeatureSpace. "
                    f"Received: output_mode={given.output_mode!r}"
                )

    # -- data ----------------------------------------------------------------------------------

    def _columns(self, data, argument):
        """Arrays of shape (rows, 1) by feature, and whether the data is a single row."""
        frame = frames.is_foreign(data) and hasattr(data, "columns")
        if not (isinstance(data, Mapping) or frame):
            raise ValueError(
                f"Argument `{argument}` must be a dict of arrays by feature, or a data frame. "
                f"Received: {type(data).__name__}"
            )
        known = list(data) if isinstance(data, Mapping) else list(
            getattr(data, "column_names", data.columns))
        found, single = {}, True
        for key, feature in self.features.items():
            if key not in known:
                raise ValueError(
                    f"Argument `{argument}` must have {key!r} among its keys. "
                    f"Received: keys {', '.join(map(repr, known))}"
                )
            label = f"{argument}[{key!r}]"
            array = values(data[key], label)
            if array.ndim > 2 or (array.ndim == 2 and array.shape[1] != 1):
                raise ValueError(
                    f"Argument `{label}` must have the shape (rows,) or (rows, 1). "
                    f"Received: shape {array.shape}"
                )
            if feature.dtype != "string" and array.dtype == object:
                raise TypeError(f"Argument `{label}` must hold numbers. Received: words")
            single = single and not array.ndim
            found[key] = array.reshape(-1, 1)
        if len({len(array) for array in found.values()}) > 1:
            raise ValueError(
                f"Argument `{argument}` must have as many rows of each feature. Received: "
                + ", ".join(f"{len(array)} of {key!r}" for key, array in found.items())
            )
        return found, single

    def _adaptable(self):
        """Names of the features whose preprocessors learn from data."""
        return [key for key, layer in self.preprocessors.items()
                if getattr(layer, "_adaptable", hasattr(layer, "adapt"))]

    def adapt(self, dataset) -> None:
        """Let the preprocessors learn from data, in place of what they knew.

        Parameters
        ----------
        dataset : dict of array_like, data frame, or batches of these
            Features by name; other keys are not looked at.  Of batches ``(x, y)`` it is the first
            part.

        Raises
        ------
        ValueError, TypeError
            If a feature is missing, the data is empty or a feature is of another kind.
        """
        learners = {key: self.preprocessors[key] for key in self._adaptable()}
        streaming = {key for key, layer in learners.items() if hasattr(layer, "update_state")}
        kept: dict[str, list] = {key: [] for key in learners if key not in streaming}
        for key in streaming:
            learners[key].reset_state()
        rows = 0
        for batch in _batches(dataset):
            columns, _ = self._columns(batch, "dataset")
            count = len(next(iter(columns.values())))
            rows += count
            for key, layer in learners.items() if count else ():
                if key in streaming:
                    layer.update_state(columns[key])
                else:
                    kept[key].append(columns[key])
        if not rows:
            raise ValueError("Argument `dataset` must hold at least one row. Received: none")
        for key, layer in learners.items():
            if key in streaming:
                layer.finalize_state()
            else:
                layer.adapt(np.concatenate(kept[key]))
        self._is_adapted = True
        self._make_inputs()
        self._finish()

    def _finish(self):
        """Make the encoders, whose lengths are known now."""
        if not self._is_adapted and self._adaptable():
            raise ValueError(
                f"FeatureSpace {self.name!r} must be adapted to data before it is used: call "
                "`adapt(dataset)`"
            )
        if self.encoded_features is not None:
            return
        for key, given in self._specs.items():
            if given.output_mode == "one_hot":
                layer = self.preprocessors.get(key, self.crossers.get(key))
                self.one_hot_encoders[key] = CategoryEncoding(_count(layer))
        if self.output_mode == "concat":
            self.concat = Concatenate()
        self._is_adapted = self.built = True
        self.encoded_features = self._encoded(self.inputs)

    def get_inputs(self) -> dict[str, KerasTensor]:
        """Symbolic inputs by feature, for a functional model.

        Raises
        ------
        ValueError
            Before the space is adapted.
        """
        self._finish()
        return self.inputs

    def get_encoded_features(self):
        """What the inputs become: a symbolic tensor, or a dict of these.

        Raises
        ------
        ValueError
            Before the space is adapted.
        """
        self._finish()
        return self.encoded_features

    def _encoded(self, data):
        """Features by name, symbolic or arrays of shape (rows, 1), as vectors."""
        found = {key: layer(data[key]) for key, layer in self.preprocessors.items()}
        found.update({cross.name: self.crossers[cross.name](
            [found[key] for key in cross.feature_names]) for cross in self.crosses})
        encoded = {key: self.one_hot_encoders[key](found[key])
                   if key in self.one_hot_encoders else found[key] for key in self._specs}
        if self.output_mode == "dict":
            return encoded
        parts = list(encoded.values())
        if isinstance(parts[0], KerasTensor):
            return parts[0] if len(parts) == 1 else self.concat(parts)
        return np.concatenate(parts, -1, dtype=config.floatx())

    def __call__(self, data):
        """The vectors of data.

        Parameters
        ----------
        data : dict of array_like or data frame
            Features by name, of shape (rows,) or (rows, 1), or single values; other keys are not
            looked at.  A dict of symbolic tensors gives such.

        Returns
        -------
        ndarray of shape (rows, columns), or dict of such
            Without the axis of rows for single values.

        Raises
        ------
        ValueError, TypeError
            Before the space is adapted; if it is no dict, a feature is missing or of another kind.
        """
        self._finish()
        if isinstance(data, Mapping) and all(isinstance(data.get(key), KerasTensor)
                                             for key in self.features):
            return self._encoded(data)
        columns, single = self._columns(data, "data")
        result = self._encoded(columns)
        if not single:
            return result
        return {key: value[0] for key, value in result.items()} if isinstance(
            result, dict) else result[0]

    # -- files ---------------------------------------------------------------------------------

    def save(self, filepath, overwrite: bool = True) -> None:
        """Write it to a file, from which `fusedmlp.models.load_model` makes an equal one.

        Parameters
        ----------
        filepath : str or Path
        overwrite : bool
            Whether a file that exists may be replaced.

        Raises
        ------
        ValueError, OSError
            As `fusedmlp.saving.save_model`.
        """
        from ...saving import save_model

        save_model(self, filepath, overwrite)

    def get_config(self) -> dict[str, Any]:
        """Arguments that make an equal one, vocabularies and boundaries included."""
        return {"name": self.name,
                "features": {key: f.get_config() for key, f in self.features.items()},
                "output_mode": self.output_mode,
                "crosses": [cross.get_config() for cross in self.crosses],
                "crossing_dim": self.crossing_dim, "hashing_dim": self.hashing_dim,
                "num_discretization_bins": self.num_discretization_bins,
                "adapted": self._is_adapted}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> FeatureSpace:
        """One from what `get_config` returned; means and variances are weights."""
        config = dict(config)
        adapted = config.pop("adapted", False)
        space = cls(**config)
        if adapted:
            for layer in space.preprocessors.values():
                if not layer.built and isinstance(layer, Normalization):
                    layer.build((None, 1))
            space._is_adapted = True
            space._finish()
        return space

    def __getstate__(self):
        return {**super().__getstate__(), "inputs": None, "encoded_features": None}

    def __setstate__(self, state):
        self.__dict__.update(state)
        self._make_inputs()
        if self._is_adapted:
            self._finish()


_KINDS = ("float", "float_rescaled", "float_normalized", "float_discretized",
          "integer_categorical", "string_categorical", "integer_hashed", "string_hashed")


def _named(kind, name):
    return f"{name or auto_name(kind)}_preprocessor"


def _batches(dataset):
    """The dicts of features of data that may come in batches."""
    if isinstance(dataset, (list, tuple)) and dataset and all(
            isinstance(batch, Mapping) for batch in dataset):
        return dataset
    if is_batches(dataset):
        return (unpack_batch(batch)[0] for batch in islice(Batches(dataset), None))
    return (dataset,)


def _gives_integers(layer) -> builtins.bool:
    if isinstance(layer, (IndexLookup, Discretization, Hashing, HashedCrossing)):
        return layer.output_mode == "int"
    return getattr(layer, "_output_mode", None) == "int"


def _is_raw(feature) -> builtins.bool:
    """Whether words or integers are left as they are."""
    return isinstance(feature.preprocessor, Identity) and not feature.dtype.startswith("float")


def _count(layer):
    """How many integers a layer can give; None if that is not known."""
    if isinstance(layer, IndexLookup):
        return layer.vocabulary_size()
    if isinstance(layer, Discretization) and layer.num_bins is None:
        return len(layer.bin_boundaries) + 1
    return getattr(layer, "num_bins", None)
