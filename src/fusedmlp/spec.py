"""The tables: every activation, loss and optimizer as one row of plain data.

A row says what a function is called, which parameters it takes and with which defaults, what its
derivative reads, where it is tested and how precise it is.  Everything else (the ops, the layers,
the compiled loops, the tests, the benchmarks, the documentation) reads the rows.

This module knows no array and imports nothing but the standard library, because the build reads it
before the package exists.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from math import inf

__all__ = [
    "ACTIVATIONS",
    "ELEMENTWISE",
    "LOSSES",
    "OPTIMIZERS",
    "Activation",
    "Loss",
    "Optimizer",
    "activation",
    "loss",
    "nearest",
    "optimizer",
    "resolve_activation",
]


@dataclass(frozen=True)
class Activation:
    """One activation function.

    Attributes
    ----------
    name : str
        The name under which every backend knows it.
    formula, derivative : str
        Plain-text formulas; the derivative is written in terms of what `reads` names.
    reads : {"x", "y"}
        Whether the derivative is computed from the input or from the output.
    kind : {"elementwise", "row", "halves", "pieces", "slope"}
        ``elementwise``: each output element from one input element.  ``row``: each output row from
        one input row of the same width.  ``halves``: two halves of the last axis give one.
        ``pieces``: groups of the last axis give one element each.  ``slope``: elementwise with a
        learned slope per column.
    params : tuple of (str, float)
        Parameter names with their defaults, in the order in which the kernels take them.
    minimum : tuple of (str, float)
        Lowest accepted value of a parameter, where there is one.
    variants : tuple of (dict, str)
        Other rows that take over for some parameter values; the first whose dict matches wins.
    aliases : tuple of str
    range : str
        Interval of the values that it takes, in interval notation.
    domain : (float, float)
        Interval from which tests and scans draw; extreme values are tested besides.
    ulp : (float, float)
        Stated bound of the compiled kernel's error in units in the last place, float32 and
        float64, with any instruction set: ``|got - exact| <= ulp * spacing(max(|exact|, floor))``
        on `domain`.  `bench.ulp` measures it.
    floor : float
        Magnitude below which a unit is that of `floor` (functions that subtract nearly equal
        numbers there, or whose products underflow).
    kinks : tuple of float
        Points where the derivative jumps; finite differences keep away from them.
    gain : float
        Factor for initialisers, after `torch.nn.init.calculate_gain` and its sources.
    keras : bool
        Whether Keras 3 has the function under this name.
    source : str
        Where the formula comes from.
    """

    name: str
    formula: str
    derivative: str
    reads: str = "x"
    kind: str = "elementwise"
    params: tuple = ()
    minimum: tuple = ()
    variants: tuple = ()
    aliases: tuple = ()
    range: str = "(-inf, inf)"
    domain: tuple = (-20.0, 20.0)
    ulp: tuple = (2.5, 4.0)
    floor: float = 0.0
    kinks: tuple = ()
    gain: float = 1.0
    keras: bool = True
    source: str = "Keras 3, keras.activations"


_A = Activation

ACTIVATIONS = {
    row.name: row
    for row in (
        _A("linear", "x", "1", "y", aliases=("identity",), ulp=(0, 0)),
        _A("binary_step", "1 if x >= 0 else 0", "0", kinks=(0.0,), range="{0, 1}", ulp=(0, 0),
           keras=False, source="McCulloch and Pitts (1943)"),
        _A("unit_step", "0 if x < 0, 1/2 if x = 0, 1 if x > 0", "0", kinks=(0.0,),
           aliases=("heaviside",), range="{0, 1/2, 1}", ulp=(0, 0), keras=False,
           source="Heaviside step with the half-maximum convention"),
        _A("sign", "-1 if x < 0, 0 if x = 0, 1 if x > 0", "0", kinks=(0.0,), aliases=("signum",),
           range="{-1, 0, 1}", ulp=(0, 0), keras=False, source="Rosenblatt (1958)"),
        _A("piecewise_linear", "0 if x <= -1/2, x + 1/2 between, 1 if x >= 1/2",
           "1 if -1/2 < x < 1/2 else 0", kinks=(-0.5, 0.5), range="[0, 1]", domain=(-2.0, 2.0),
           keras=False, source="course material on neural networks", ulp=(0.5, 0.5)),
        _A("sigmoid", "1 / (1 + exp(-x))", "y (1 - y)", "y", aliases=("logistic",),
           range="(0, 1)", ulp=(2.1, 2.1)),
        _A("log_sigmoid", "-log(1 + exp(-x))", "1 - exp(y)", "y", aliases=("logsigmoid",),
           range="(-inf, 0)", ulp=(1.9, 2.0)),
        _A("hard_sigmoid", "min(max(x/6 + 1/2, 0), 1)", "1/6 if -3 < x < 3 else 0",
           kinks=(-3.0, 3.0), range="[0, 1]", domain=(-5.0, 5.0), ulp=(1.1, 1.1)),
        _A("sparse_sigmoid", "0 if x <= -1, (x + 1)/2 between, 1 if x >= 1",
           "1/2 if -1 < x < 1 else 0", kinks=(-1.0, 1.0), range="[0, 1]", domain=(-3.0, 3.0),
           ulp=(0.5, 0.5)),
        _A("tanh", "(exp(x) - exp(-x)) / (exp(x) + exp(-x))", "1 - y^2", "y", range="(-1, 1)",
           gain=5 / 3, ulp=(2.5, 2.6)),
        _A("hard_tanh", "min(max(x, -1), 1)", "1 if -1 < x < 1 else 0", kinks=(-1.0, 1.0),
           range="[-1, 1]", domain=(-3.0, 3.0), ulp=(0, 0)),
        _A("arctan", "arctan(x)", "1 / (1 + x^2)", aliases=("atan",), range="(-pi/2, pi/2)",
           keras=False, source="inverse tangent", ulp=(1.4, 1.4)),
        _A("relu", "max(x, 0)", "1 if y > 0 else 0", "y", kinks=(0.0,), range="[0, inf)",
           params=(("negative_slope", 0.0), ("max_value", inf), ("threshold", 0.0)),
           minimum=(("negative_slope", 0.0), ("max_value", 0.0)),
           variants=(({"negative_slope": 0.0, "max_value": inf, "threshold": 0.0}, "relu"),
                     ({}, "clipped_relu")),
           ulp=(0, 0), gain=2**0.5),
        _A("clipped_relu",
           "max_value if x >= max_value, x if x >= threshold, "
           "else negative_slope (x - threshold)",
           "0 if x >= max_value, 1 if x > threshold, else negative_slope", kinks=(0.0,),
           params=(("negative_slope", 0.0), ("max_value", inf), ("threshold", 0.0)),
           minimum=(("negative_slope", 0.0), ("max_value", 0.0)), gain=2**0.5, keras=False,
           source="Keras 3, keras.activations.relu with arguments", ulp=(1.5, 1.5)),
        _A("relu6", "min(max(x, 0), 6)", "1 if 0 < y < 6 else 0", "y", kinks=(0.0, 6.0),
           range="[0, 6]", ulp=(0, 0), gain=2**0.5),
        _A("leaky_relu", "x if x >= 0 else negative_slope x", "1 if x > 0 else negative_slope",
           params=(("negative_slope", 0.2),), kinks=(0.0,), gain=(2 / 1.04) ** 0.5, ulp=(0.5, 0.5)),
        _A("prelu", "x if x >= 0 else alpha x, alpha learned", "1 if x > 0 else alpha",
           kind="slope", kinks=(0.0,), gain=2**0.5, keras=False,
           source="He et al. (2015), arXiv:1502.01852; keras.layers.PReLU", ulp=(0.5, 0.5)),
        _A("elu", "x if x > 0 else alpha (exp(x) - 1)", "1 if x > 0 else alpha exp(x)",
           params=(("alpha", 1.0),), range="(-alpha, inf)", ulp=(2.0, 2.1)),
        _A("selu", "scale (x if x > 0 else alpha (exp(x) - 1))",
           "scale if y > 0 else y + scale alpha", "y", range="(-1.7581, inf)", gain=0.75,
           source="Klambauer et al. (2017), arXiv:1706.02515", ulp=(2.1, 2.1)),
        _A("celu", "x if x > 0 else alpha (exp(x/alpha) - 1)", "1 if x > 0 else exp(x/alpha)",
           params=(("alpha", 1.0),), minimum=(("alpha", 1e-6),), range="(-alpha, inf)",
           ulp=(2.5, 2.5)),
        _A("gelu", "x/2 (1 + erf(x / sqrt 2))", "Phi(x) + x phi(x)",
           params=(("approximate", False),),
           variants=(({"approximate": True}, "gelu_tanh"), ({}, "gelu")),
           range="[-0.17, inf)", source="Hendrycks and Gimpel (2016), arXiv:1606.08415",
           ulp=(2.5, 2.5)),
        _A("gelu_tanh", "x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))",
           "(1 + t)/2 + x/2 (1 - t^2) sqrt(2/pi) (1 + 0.134145 x^2)", range="[-0.17, inf)",
           keras=False, source="Hendrycks and Gimpel (2016), arXiv:1606.08415", ulp=(2.1, 2.1)),
        _A("silu", "x sigmoid(x)", "s (1 + x (1 - s)), s = sigmoid(x)", aliases=("swish",),
           range="[-0.28, inf)", ulp=(2.1, 2.1)),
        _A("hard_silu", "x min(max(x/6 + 1/2, 0), 1)",
           "0 if x <= -3, 1 if x >= 3, else x/3 + 1/2", aliases=("hard_swish",),
           kinks=(-3.0, 3.0), range="[-0.375, inf)", domain=(-5.0, 5.0), ulp=(2.0, 2.0)),
        _A("mish", "x tanh(log(1 + exp(x)))", "t + x (1 - t^2) sigmoid(x), t = tanh(softplus x)",
           range="[-0.31, inf)", source="Misra (2019), arXiv:1908.08681", ulp=(2.4, 2.4)),
        _A("softplus", "log(1 + exp(x))", "1 - exp(-y)", "y", range="(0, inf)", ulp=(1.9, 2.0)),
        _A("sparse_plus", "0 if x <= -1, (x + 1)^2 / 4 between, x if x >= 1",
           "0 if x <= -1, (x + 1)/2 between, 1 if x >= 1", range="[0, inf)", domain=(-3.0, 3.0),
           ulp=(2.0, 2.0)),
        _A("softsign", "x / (1 + |x|)", "(1 - |y|)^2", "y", range="(-1, 1)", ulp=(1.6, 1.6)),
        _A("squareplus", "(x + sqrt(x^2 + b)) / 2", "(1 + x / sqrt(x^2 + b)) / 2",
           params=(("b", 4.0),), minimum=(("b", 0.0),), range="(0, inf)",
           source="Barron (2021), arXiv:2112.11687", ulp=(2.5, 2.5)),
        _A("exponential", "exp(x)", "y", "y", aliases=("exp",), range="(0, inf)", ulp=(1.1, 1.1)),
        _A("threshold", "x if x > threshold else default_value", "1 if x > threshold else 0",
           params=(("threshold", 0.0), ("default_value", 0.0)), kinks=(0.0,), ulp=(0, 0)),
        _A("hard_shrink", "x if |x| > threshold else 0", "1 if |x| > threshold else 0",
           params=(("threshold", 0.5),), minimum=(("threshold", 0.0),), kinks=(-0.5, 0.5),
           ulp=(0, 0), domain=(-3.0, 3.0)),
        _A("soft_shrink", "x - threshold if x > threshold, x + threshold if x < -threshold, else 0",
           "1 if |x| > threshold else 0", params=(("threshold", 0.5),),
           minimum=(("threshold", 0.0),), kinks=(-0.5, 0.5), domain=(-3.0, 3.0), ulp=(0.5, 0.5)),
        _A("tanh_shrink", "x - tanh(x)", "tanh(x)^2", ulp=(2.4, 2.8), floor=1e-35),
        _A("softmax", "exp(x_i) / sum_k exp(x_k)", "y_i (dy_i - sum_k dy_k y_k)", "y", "row",
           range="(0, 1)", ulp=(8.0, 8.0), floor=1e-3),
        _A("log_softmax", "x_i - log sum_k exp(x_k)", "dy_i - exp(y_i) sum_k dy_k", "y", "row",
           range="(-inf, 0)", ulp=(3.0, 3.0), floor=1.0),
        _A("sparsemax", "max(x_i - tau, 0) with tau so that the row sums to 1",
           "dy_i - mean of dy over the support, on the support; else 0", "y", "row",
           range="[0, 1]", ulp=(2.0, 2.0), floor=1.0,
           source="Martins and Astudillo (2016), arXiv:1602.02068"),
        _A("glu", "a sigmoid(b), the last axis split in halves a, b",
           "sigmoid(b) to a, a sigmoid(b) (1 - sigmoid(b)) to b", "x", "halves",
           source="Dauphin et al. (2017), arXiv:1612.08083", ulp=(3.0, 3.0)),
        _A("maxout", "max over groups of `pieces` neighbours of the last axis",
           "1 to the first largest of each group, else 0", "x", "pieces",
           params=(("pieces", 2),), minimum=(("pieces", 1),), ulp=(0, 0), keras=False,
           source="Goodfellow et al. (2013), arXiv:1302.4389"),
    )
}

ELEMENTWISE = tuple(row.name for row in ACTIVATIONS.values() if row.kind == "elementwise")
"""Names of the elementwise rows; the position in this tuple is the number a compiled loop knows."""


@dataclass(frozen=True)
class Loss:
    """One loss function, as the kernels know it.

    Attributes
    ----------
    name : str
    formula, derivative : str
        The loss of one element (``elementwise``) or one row (``row``) and its derivative with
        respect to the prediction ``p`` (``z`` where it reads logits); ``t`` is the target.
    kind : {"elementwise", "row"}
        ``elementwise`` losses take the mean over the last axis; ``row`` losses sum over it.
    params : tuple of (str, float)
        In the order in which the kernels take them.
    logits_of : str
        Activation whose input this loss reads, if it reads logits.
    domain, target : (float, float)
        Intervals from which tests draw predictions and targets; targets in training must lie in
        `target` where it is (0, 1).
    kinks : tuple of float
        Values of ``p - t`` where the derivative jumps.
    """

    name: str
    formula: str
    derivative: str
    kind: str = "elementwise"
    params: tuple = ()
    logits_of: str = ""
    aliases: tuple = ()
    domain: tuple = (-4.0, 4.0)
    target: tuple = (-4.0, 4.0)
    kinks: tuple = ()
    source: str = "Keras 3, keras.losses"


_L = Loss

LOSSES = {
    row.name: row
    for row in (
        _L("mean_squared_error", "(p - t)^2", "2 (p - t)", aliases=("mse",)),
        _L("mean_absolute_error", "|p - t|", "sign(p - t)", aliases=("mae",), kinks=(0.0,)),
        _L("binary_crossentropy", "-t log q - (1 - t) log(1 - q), q = clip(p, eps, 1 - eps)",
           "(q - t) / (q (1 - q)) where p = q, else 0", params=(("epsilon", 1e-7),),
           aliases=("bce",), domain=(0.01, 0.99), target=(0.0, 1.0)),
        _L("sigmoid_cross_entropy", "max(z, 0) - z t + log(1 + exp(-|z|))", "sigmoid(z) - t",
           logits_of="sigmoid", target=(0.0, 1.0)),
        _L("log_poisson", "exp(z) - t z", "exp(z) - t", logits_of="exponential",
           target=(0.0, 4.0), source="negative log-likelihood of Poisson counts with log link, "
           "without the terms of t alone; sklearn.neural_network, loss 'poisson'"),
        _L("categorical_crossentropy",
           "-sum_k t_k log q_k, q = clip(p / sum p, eps, 1 - eps)",
           "sum_k(h_k p_k) / s^2 - h_i / s, s = sum p, h = t/q where q is unclipped, else 0", "row",
           params=(("epsilon", 1e-7),), aliases=("cce",), domain=(0.01, 0.99), target=(0.0, 1.0)),
        _L("softmax_cross_entropy", "sum_k t_k (log sum_j exp z_j - z_k)",
           "softmax(z) sum_k t_k - t", "row",
           logits_of="softmax", target=(0.0, 1.0)),
    )
}


@dataclass(frozen=True)
class Optimizer:
    """One optimizer, as the kernels know it.

    Attributes
    ----------
    name : str
    slots : tuple of str
        Names of its state arrays, each as long as the parameters.
    params : tuple of (str, float)
        Hyperparameters besides the learning rate, in the order in which the kernel takes them.
    equations : tuple of str
        The update of one element; ``g`` gradient, ``w`` parameter, ``t`` the count from 1.
    """

    name: str
    slots: tuple
    params: tuple
    equations: tuple
    aliases: tuple = ()
    source: str = ""


OPTIMIZERS = {
    row.name: row
    for row in (
        Optimizer(
            "sgd", (), (("weight_decay", 0.0),),
            ("w <- w - learning_rate weight_decay w", "w <- w - learning_rate g"),
            source="Robbins and Monro (1951); keras.optimizers.SGD",
        ),
        Optimizer(
            "momentum", ("velocity",),
            (("momentum", 0.9), ("nesterov", 0.0), ("weight_decay", 0.0)),
            ("w <- w - learning_rate weight_decay w",
             "v <- momentum v - learning_rate g",
             "w <- w + (momentum v - learning_rate g if nesterov else v)"),
            source="Sutskever et al. (2013); keras.optimizers.SGD with momentum",
        ),
        Optimizer(
            "adam", ("m", "v"),
            (("beta_1", 0.9), ("beta_2", 0.999), ("epsilon", 1e-7), ("weight_decay", 0.0)),
            ("w <- w - learning_rate weight_decay w",
             "m <- m + (1 - beta_1) (g - m)",
             "v <- v + (1 - beta_2) (g^2 - v)",
             "w <- w - learning_rate sqrt(1 - beta_2^t) / (1 - beta_1^t) m / (sqrt(v) + epsilon)"),
            aliases=("adamw",),
            source="Kingma and Ba (2015), arXiv:1412.6980, the form before section 2.1 whose "
            "epsilon is 'epsilon hat'; Loshchilov and Hutter (2019), arXiv:1711.05101; "
            "keras.optimizers.Adam, AdamW",
        ),
    )
}


def nearest(name, known, kind):
    """The text of an error for an unknown name, with the nearest known ones.

    >>> nearest("rleu", ACTIVATIONS, "activation")
    "Unknown activation: expected one of the known names (nearest: 'relu', 'relu6', 'prelu'). \
Received: 'rleu'"
    """
    close = difflib.get_close_matches(str(name).lower(), list(known), n=3, cutoff=0.4)
    hint = f" (nearest: {', '.join(map(repr, close))})" if close else f": {', '.join(known)}"
    return f"Unknown {kind}: expected one of the known names{hint}. Received: {name!r}"


def _by_alias(table):
    return {alias: row for row in table.values() for alias in (row.name, *row.aliases)}


_NAMES = {
    "activation": _by_alias(ACTIVATIONS),
    "loss": _by_alias(LOSSES),
    "optimizer": _by_alias(OPTIMIZERS),
}


def _find(kind, name):
    row = _NAMES[kind].get(name if isinstance(name, str) else None)
    if row is None:
        raise ValueError(nearest(name, _NAMES[kind], kind))
    return row


def activation(name):
    """The row of the activation `name` (or alias).

    Raises
    ------
    ValueError
        If there is none; the message names the nearest known ones.

    >>> activation("swish").name
    'silu'
    """
    return _find("activation", name)


def loss(name):
    """The row of the loss `name` (or alias); ValueError if there is none.

    >>> loss("mse").formula
    '(p - t)^2'
    """
    return _find("loss", name)


def optimizer(name):
    """The row of the optimizer `name` (or alias); ValueError if there is none.

    >>> optimizer("adamw").slots
    ('m', 'v')
    """
    return _find("optimizer", name)


def resolve_activation(name, params=None):
    """Turn a name and keyword parameters into the kernel row and its values in kernel order.

    Parameters
    ----------
    name : str
    params : mapping, optional
        Values by name; ``None`` stands for "no limit" where a parameter is a maximum.

    Returns
    -------
    row : Activation
    values : tuple of float

    Raises
    ------
    ValueError, TypeError
        If the name or a parameter is unknown or a value lies below its minimum.

    >>> row, values = resolve_activation("relu", {"max_value": 6})
    >>> row.name, values
    ('clipped_relu', (0.0, 6.0, 0.0))
    >>> resolve_activation("gelu", {"approximate": True})[0].name
    'gelu_tanh'
    """
    row = activation(name)
    given = dict(params or {})
    values = dict(row.params)
    for key, value in given.items():
        if key not in values:
            raise TypeError(
                f"Activation {row.name!r} has no parameter {key!r}: expected "
                f"{', '.join(values) or 'none'}. Received: {key}={value!r}"
            )
        if value is None and values[key] == inf:
            value = inf
        try:
            values[key] = value if isinstance(value, bool) else float(value)
        except (TypeError, ValueError):
            raise TypeError(
                f"Argument `{key}` of activation {row.name!r} must be a number. "
                f"Received: {value!r}"
            ) from None
        if values[key] != values[key]:
            raise ValueError(
                f"Argument `{key}` of activation {row.name!r} must be a number. Received: nan"
            )
    for key, low in row.minimum:
        if not values[key] >= low:
            raise ValueError(
                f"Argument `{key}` of activation {row.name!r} must be at least {low}. "
                f"Received: {values[key]!r}"
            )
    for match, target in row.variants:
        if all(values[key] == value for key, value in match.items()):
            other = ACTIVATIONS[target]
            passed = () if match or other.name == row.name else tuple(values.values())
            return other, passed
    return row, tuple(float(value) for value in values.values())
