"""Every public name of Keras's modules is here with the same arguments, or listed with a reason.

``keras_api.json`` is a snapshot of Keras's names and arguments (``tools/make_keras_api.py`` writes
it), so that this needs no Keras.  `EXCLUDED` is what does not belong to networks of dense layers,
`PENDING` what is still to come, and `DIFFERENT` arguments that are missing or differ on purpose.
"""

from __future__ import annotations

import importlib
import inspect
import json
import sys
from pathlib import Path

import keras_peer
import pytest

SNAPSHOT = json.loads((Path(__file__).parent / "keras_api.json").read_text("utf-8"))
MODULES = SNAPSHOT["modules"]
NAMES = [(module, name) for module, names in MODULES.items() for name in names]

_IMAGES = "images"
_SEQUENCES = "sequences: convolution, pooling, recurrence, attention"
_BINDING = "binds another framework"
_RAGGED = "needs TensorFlow's data sets or reads folders of files"
_GLOBAL = "a switch of Keras's own machinery, which there is none of here"

EXCLUDED = {
    "activations": {},
    "callbacks": {
        "OrbaxCheckpoint": "binds the package orbax of JAX",
        "RemoteMonitor": "sends data to a service",
    },
    "config": {
        **dict.fromkeys(("image_data_format", "set_image_data_format"), _IMAGES),
        **dict.fromkeys((
            "disable_flash_attention", "enable_flash_attention", "is_flash_attention_enabled",
            "disable_traceback_filtering", "enable_traceback_filtering",
            "is_traceback_filtering_enabled", "is_nnx_enabled", "max_epochs",
            "max_steps_per_epoch", "set_max_epochs", "set_max_steps_per_epoch",
            "disable_interactive_logging", "enable_interactive_logging",
            "is_interactive_logging_enabled"), _GLOBAL),
        "enable_unsafe_deserialization": "nothing in a file is ever run, so nothing is unsafe",
    },
    "constraints": {},
    "initializers": dict.fromkeys(("STFT", "STFTInitializer", "stft"), "spectra of audio"),
    "layers": {
        **dict.fromkeys((
            "AugMix", "AutoContrast", "CenterCrop", "ContrastLimitedAdaptiveHistogramEqualization",
            "CutMix", "Equalization", "MaxNumBoundingBoxes", "MixUp", "RandAugment",
            "RandomBrightness", "RandomColorDegeneration", "RandomColorJitter", "RandomContrast",
            "RandomCrop", "RandomElasticTransform", "RandomErasing", "RandomFlip",
            "RandomGaussianBlur", "RandomGrayscale", "RandomHue", "RandomInvert",
            "RandomPerspective", "RandomPosterization", "RandomRotation", "RandomSaturation",
            "RandomSharpness", "RandomShear", "RandomTranslation", "RandomZoom", "Resizing",
            "Solarization", "Pipeline"), _IMAGES),
        **dict.fromkeys(("MelSpectrogram", "STFTSpectrogram"), "audio"),
        **dict.fromkeys((
            "AdditiveAttention", "Attention", "Bidirectional", "ConvLSTM1D", "ConvLSTM2D",
            "ConvLSTM3D", "EinsumDense", "GRU", "GRUCell", "GroupNormalization",
            "GroupQueryAttention", "LSTM", "LSTMCell", "Masking", "MultiHeadAttention", "RNN",
            "ReversibleEmbedding", "SimpleRNN", "SimpleRNNCell", "SpatialDropout1D",
            "SpatialDropout2D", "SpatialDropout3D", "StackedRNNCells", "TextVectorization",
            "TimeDistributed"), _SEQUENCES),
        **{name: _SEQUENCES for name in MODULES["layers"] if any(part in name for part in (
            "Conv", "Pool", "Cropping", "UpSampling", "ZeroPadding"))},
        **dict.fromkeys(("FlaxLayer", "JaxLayer", "TFSMLayer", "TorchModuleWrapper"), _BINDING),
        "InputSpec": "layers check the shapes of their inputs themselves",
        "Wrapper": "a layer of one's own holds others as attributes",
    },
    "losses": dict.fromkeys(("CTC", "ctc"), _SEQUENCES),
    "metrics": {},
    "models": {},
    "optimizers": {
        "LossScaleOptimizer": "for float16, which is widened here",
        "MultiOptimizer": "one optimizer updates the whole arena",
        "OptimizerMap": "one optimizer updates the whole arena",
    },
    "optimizers.schedules": {},
    "random": {},
    "regularizers": {},
    "saving": {"KerasFileEditor": "edits files of Keras"},
    "utils": {
        **dict.fromkeys(("array_to_img", "img_to_array", "load_img", "save_img"),
                        _IMAGES),
        **dict.fromkeys((
            "FeatureSpace", "audio_dataset_from_directory", "image_dataset_from_directory",
            "split_dataset", "text_dataset_from_directory", "timeseries_dataset_from_array"),
            _RAGGED),
        **dict.fromkeys(("disable_interactive_logging", "enable_interactive_logging",
                         "is_interactive_logging_enabled", "Config"), _GLOBAL),
        "get_file": "fetches files from the network",
        "get_source_inputs": "a model knows its inputs: `model.inputs`",
        "Progbar": "progress is shown by the callback ProgbarLogger",
    },
}

# What is not here yet, or has just come: its arguments are not looked at either.  Names leave this
# list as they come; at the end it is empty.
PENDING: dict[str, tuple[str, ...]] = {
    "callbacks": (
        "SwapEMAWeights",
    ),
    "config": (
        "dtype_policy", "set_dtype_policy",
    ),
    "constraints": (
        "Constraint", "MaxNorm", "MinMaxNorm", "NonNeg", "UnitNorm", "deserialize", "get",
        "max_norm", "min_max_norm", "non_neg", "serialize", "unit_norm",
    ),
    "layers": (
        "ActivityRegularization", "AlphaDropout", "BatchNormalization", "ELU", "Embedding",
        "Flatten", "GaussianDropout", "GaussianNoise", "Identity", "Lambda", "LayerNormalization",
        "LeakyReLU", "PReLU", "Permute", "RMSNormalization", "ReLU", "RepeatVector", "Reshape",
        "Softmax", "SpectralNormalization", "UnitNormalization",
    ),
    "losses": (
        "BinaryFocalCrossentropy", "CategoricalFocalCrossentropy",
        "CategoricalGeneralizedCrossEntropy", "CategoricalHinge", "Circle", "CosineSimilarity",
        "Dice", "Hinge", "Huber", "KLDivergence", "LogCosh", "MeanAbsolutePercentageError",
        "MeanSquaredLogarithmicError", "Poisson", "SquaredHinge", "Tversky",
        "binary_focal_crossentropy", "categorical_focal_crossentropy",
        "categorical_generalized_cross_entropy", "categorical_hinge", "circle", "cosine_similarity",
        "dice", "hinge", "huber", "kl_divergence", "log_cosh", "mean_absolute_percentage_error",
        "mean_squared_logarithmic_error", "poisson", "squared_hinge", "tversky",
    ),
    "metrics": (
        "AUC", "BinaryIoU", "CategoricalHinge", "ConcordanceCorrelation", "CosineSimilarity",
        "F1Score", "FBetaScore", "FalseNegatives", "FalsePositives", "Hinge", "IoU", "KLDivergence",
        "LogCoshError", "MeanAbsolutePercentageError", "MeanIoU", "MeanSquaredLogarithmicError",
        "OneHotIoU", "OneHotMeanIoU", "PearsonCorrelation", "Poisson", "Precision",
        "PrecisionAtRecall", "R2Score", "Recall", "RecallAtPrecision", "SensitivityAtSpecificity",
        "SparseTopKCategoricalAccuracy", "SpecificityAtSensitivity", "SquaredHinge", "Sum",
        "TopKCategoricalAccuracy", "TrueNegatives", "TruePositives", "binary_focal_crossentropy",
        "categorical_focal_crossentropy", "categorical_hinge", "concordance_correlation", "hinge",
        "huber", "kl_divergence", "log_cosh", "mean_absolute_percentage_error",
        "mean_squared_logarithmic_error", "pearson_correlation", "poisson",
        "sparse_top_k_categorical_accuracy", "squared_hinge", "top_k_categorical_accuracy",
    ),
    "models": (
        "clone_model", "model_from_json", "save_model",
    ),
    "optimizers": (
        "Adadelta", "Adafactor", "Adagrad", "Adamax", "Ftrl", "Lamb", "Lion", "Muon", "Nadam",
        "RMSprop", "ScheduleFreeAdamW",
    ),
    "optimizers.schedules": (
        "CosineDecay", "CosineDecayRestarts", "ExponentialDecay", "InverseTimeDecay",
        "LearningRateSchedule", "PiecewiseConstantDecay", "PolynomialDecay", "deserialize",
        "serialize",
    ),
    "regularizers": (
        "L1", "L1L2", "L2", "OrthogonalRegularizer", "Regularizer", "deserialize", "get", "l1",
        "l1_l2", "l2", "orthogonal_regularizer", "serialize",
    ),
}

# Arguments that no name here has, wherever Keras has them.
NOWHERE = {
    "lora_rank": "adapters of large networks", "lora_alpha": "adapters of large networks",
    "quantization_config": "computation in integers",
    "loss_scale_factor": "for float16", "zipped": "a model is one file",
}

# (module, name): names of arguments that are missing or differ, with the reason.
DIFFERENT: dict[tuple[str, str], dict[str, str]] = {
    ("config", "set_backend"): {
        "backend": "the name of a backend of this package, called `name`",
    },
    ("layers", "Dense"): {
        "kernel_regularizer": "still to come",
        "bias_regularizer": "still to come",
        "activity_regularizer": "still to come",
        "kernel_constraint": "still to come",
        "bias_constraint": "still to come",
    },
    ("layers", "Dropout"): {
        "noise_shape": "still to come",
    },
    ("layers", "Input"): {
        "ragged": "every sample has the same shape",
    },
    ("layers", "InputLayer"): {
        "ragged": "stands at the end: every sample has the same shape",
        "batch_shape": "the order follows `ragged`",
        "input_tensor": "the order follows `ragged`",
        "optional": "the order follows `ragged`",
        "name": "the order follows `ragged`",
    },
    ("losses", "deserialize"): {
        "name": "`config` is the name or the dict",
    },
    ("optimizers", "Adam"): {
        "amsgrad": "still to come",
        "clipnorm": "still to come",
        "clipvalue": "still to come",
        "global_clipnorm": "still to come",
        "use_ema": "still to come",
        "ema_momentum": "still to come",
        "ema_overwrite_frequency": "still to come",
        "gradient_accumulation_steps": "still to come",
    },
    ("optimizers", "AdamW"): {
        "amsgrad": "still to come",
        "clipnorm": "still to come",
        "clipvalue": "still to come",
        "global_clipnorm": "still to come",
        "use_ema": "still to come",
        "ema_momentum": "still to come",
        "ema_overwrite_frequency": "still to come",
        "gradient_accumulation_steps": "still to come",
    },
    ("optimizers", "Optimizer"): {
        "clipnorm": "still to come",
        "clipvalue": "still to come",
        "global_clipnorm": "still to come",
        "use_ema": "still to come",
        "ema_momentum": "still to come",
        "ema_overwrite_frequency": "still to come",
        "gradient_accumulation_steps": "still to come",
    },
    ("optimizers", "SGD"): {
        "clipnorm": "still to come",
        "clipvalue": "still to come",
        "global_clipnorm": "still to come",
        "use_ema": "still to come",
        "ema_momentum": "still to come",
        "ema_overwrite_frequency": "still to come",
        "gradient_accumulation_steps": "still to come",
    },
    ("saving", "save_model"): {
        "zipped": "a model is one file",
    },
    ("saving", "save_weights"): {
        "max_shard_size": "weights are one file",
    },
}


def item(module, name):
    """The object of that name here, or None."""
    try:
        return getattr(importlib.import_module(f"fusedmlp.{module}"), name)
    except (ImportError, AttributeError):
        return None


def excused(module, name):
    return name in EXCLUDED[module] or name in PENDING.get(module, ())


@pytest.mark.parametrize("module", MODULES)
def test_every_name_is_here_or_excused(module):
    missing = [name for name in MODULES[module]
               if item(module, name) is None and not excused(module, name)]
    assert not missing, f"fusedmlp.{module} has no {', '.join(missing)}"


def test_excuses_are_for_names_of_keras():
    for module, names in [*EXCLUDED.items(), *PENDING.items()]:
        assert set(names) <= set(MODULES[module]), set(names) - set(MODULES[module])
    assert all(reason for names in EXCLUDED.values() for reason in names.values())
    assert set(DIFFERENT) <= set(NAMES)


def written(default):
    if inspect.isclass(default) or inspect.isfunction(default):
        return default.__name__
    return repr(default)


def differences(module, name):
    """What of an argument differs, by its name: "missing", its place or its default."""
    expected = MODULES[module][name]
    parameters = inspect.signature(item(module, name)).parameters.values()
    ours = {p.name: p for p in parameters if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)}
    keywords = any(p.kind is p.VAR_KEYWORD for p in parameters)
    found = {}
    order = [a for a, *_ in expected if a in ours]
    places = {a: i for i, a in enumerate(a for a in ours if a in order)}
    for argument, *default in expected:
        if argument in NOWHERE:
            continue
        if argument not in ours:
            if not (keywords and argument in ("name", "dtype", "trainable", "kwargs")):
                found[argument] = "missing"
            continue
        if places[argument] != order.index(argument):
            found[argument] = "place"
        given = ours[argument].default
        if default and given is inspect.Parameter.empty:
            found[argument] = f"no default, but {default[0]} in Keras"
        elif default and not same(written(given), default[0]):
            found[argument] = f"default {written(given)}, but {default[0]} in Keras"
    return found


def same(ours, theirs):
    """Whether two defaults say the same: 0 and 0.0, () and [], names and functions."""
    if ours == theirs:
        return True
    try:
        return float(ours) == float(theirs)
    except ValueError:
        return False


CALLABLE = [(m, n) for m, n in NAMES if MODULES[m][n] is not None and n not in EXCLUDED[m]]


@pytest.mark.parametrize(("module", "name"), CALLABLE,
                         ids=[".".join(key) for key in CALLABLE])
def test_arguments_are_those_of_keras(module, name):
    if item(module, name) is None or name in PENDING.get(module, ()):
        assert excused(module, name)
        pytest.skip("still to come")
    excuses = DIFFERENT.get((module, name), {})
    found = {a: how for a, how in differences(module, name).items() if a not in excuses}
    assert not found, f"fusedmlp.{module}.{name}: {found}"


def test_snapshot_is_that_of_keras():
    keras = keras_peer.load()
    if keras.__version__ != SNAPSHOT["version"]:
        pytest.skip(f"Keras is {keras.__version__}, the snapshot {SNAPSHOT['version']}")
    sys.path.insert(0, str(Path(__file__).parent.parent / "tools"))
    try:
        import make_keras_api
    finally:
        sys.path.pop(0)
    found = make_keras_api.snapshot()["modules"]
    assert {m: sorted(n) for m, n in found.items()} == {m: sorted(n) for m, n in MODULES.items()}
    for module, name in NAMES:
        assert found[module][name] == MODULES[module][name], (module, name)
