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
    "ELEMENTWISE_OPTIMIZERS",
    "LOGITS_ROWS",
    "LOSSES",
    "OPTIMIZERS",
    "SCORES",
    "TALLIES",
    "Activation",
    "Loss",
    "Optimizer",
    "Score",
    "Tally",
    "activation",
    "limits",
    "loss",
    "losses_of",
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
        The loss of one element (``elementwise``, ``distribution``), of one row (``row``) or of what
        is added up (``overlap``, ``pair``), and its derivative with respect to the prediction
        ``p`` (``z`` where it reads logits); ``t`` is the target.
    kind : {"elementwise", "row", "distribution", "overlap", "pair"}
        ``elementwise``: from one prediction and one target each.  ``row``: from sums over a row.
        ``distribution``: the front half of the columns of a prediction holds locations m, the back
        half logarithms of variances s, and the loss goes element by element through both.
        ``overlap``: from the sums I = sum t p, T = sum t and P = sum p over the rows, the columns
        or both.  ``pair``: a row's loss depends on all other rows of the batch.
    params : tuple of (str, float)
        In the order in which the kernels take them.
    limits : tuple of (str, float, float)
        Least and greatest accepted values of parameters, where there are some.
    labels : {"dense", "classes", "signs", "halves", "groups"}
        What targets are: as many columns as the prediction; classes (or as many columns); the same
        with 0 and 1 turned into -1 and 1; half as many columns; any integers.
    average : bool
        Whether an elementwise loss is the mean over the last axis; otherwise it is the sum.
    logits_of, instead_of : str
        Activation whose input this loss reads, if it reads logits, and the row for its output,
        in whose place a plan takes this one.
    domain, target : (float, float)
        Intervals from which tests draw predictions and targets.
    accepts : (float, float) or None
        Where targets in training must lie.
    kinks : tuple of float
        Values of ``p - t`` where the derivative jumps, or of ``t p`` where `labels` is "signs".
    """

    name: str
    formula: str
    derivative: str
    kind: str = "elementwise"
    params: tuple = ()
    limits: tuple = ()
    labels: str = "dense"
    average: bool = True
    logits_of: str = ""
    instead_of: str = ""
    aliases: tuple = ()
    domain: tuple = (-4.0, 4.0)
    target: tuple = (-4.0, 4.0)
    accepts: tuple | None = None
    kinks: tuple = ()
    source: str = "Keras 3, keras.losses"


_L = Loss
_EPSILON = ("epsilon", 1e-7)
_PROBABILITIES = {"domain": (0.01, 0.99), "target": (0.0, 1.0), "accepts": (0.0, 1.0)}
_LOGITS = {"target": (0.0, 1.0), "accepts": (0.0, 1.0)}
_SIGNS = {"labels": "signs", "target": (-1.0, 1.0)}
_FOCAL = (("alpha", 0.25), ("gamma", 2.0))
_BALANCED = (("apply_class_balancing", 0.0), *_FOCAL)
_GAMMA = (("gamma", 0.0, inf),)

LOSSES = {
    row.name: row
    for row in (
        _L("mean_squared_error", "(p - t)^2", "2 (p - t)", aliases=("mse",)),
        _L("mean_absolute_error", "|p - t|", "sign(p - t)", aliases=("mae",), kinks=(0.0,)),
        _L("mean_absolute_percentage_error", "100 |p - t| / max(|t|, epsilon)",
           "100 sign(p - t) / max(|t|, epsilon)", params=(_EPSILON,), aliases=("mape",),
           target=(0.25, 4.0), kinks=(0.0,)),
        _L("mean_squared_logarithmic_error",
           "(a - b)^2, a = log(1 + max(p, epsilon)), b = log(1 + max(t, epsilon))",
           "2 (a - b) / (1 + p) where p > epsilon, else 0", params=(_EPSILON,), aliases=("msle",),
           domain=(0.01, 4.0), target=(0.0, 4.0)),
        _L("log_cosh", "log cosh(p - t)", "tanh(p - t)", aliases=("logcosh",)),
        _L("huber", "(p - t)^2 / 2 where |p - t| <= delta, else delta |p - t| - delta^2 / 2",
           "max(min(p - t, delta), -delta)", params=(("delta", 1.0),), aliases=("huber_loss",),
           limits=(("delta", 0.0, inf),), source="Huber (1964); keras.losses.Huber"),
        _L("quantile", "max(quantile (t - p), (quantile - 1) (t - p))",
           "-quantile where p < t, 1 - quantile where p > t", params=(("quantile", 0.5),),
           limits=(("quantile", 0.0, 1.0),), aliases=("pinball",), kinks=(0.0,),
           source="Koenker and Bassett (1978)"),
        _L("poisson", "p - t log(p + epsilon)", "1 - t / (p + epsilon)", params=(_EPSILON,),
           domain=(0.05, 4.0), target=(0.0, 4.0)),
        _L("kl_divergence", "sum_k T_k log(T_k / q_k), T and q are t and p within epsilon and 1",
           "-T / q where epsilon <= p <= 1, else 0", params=(_EPSILON,), average=False,
           aliases=("kld", "kullback_leibler_divergence"), **_PROBABILITIES),
        _L("hinge", "max(1 - t p, 0)", "-t where t p < 1, else 0", kinks=(1.0,), **_SIGNS),
        _L("squared_hinge", "max(1 - t p, 0)^2", "-2 t max(1 - t p, 0)", **_SIGNS),
        _L("perceptron", "max(-t p, 0)", "-t where t p <= 0, else 0", kinks=(0.0,),
           source="Rosenblatt (1958)", **_SIGNS),
        _L("binary_crossentropy", "-t log q - (1 - t) log(1 - q), q = clip(p, eps, 1 - eps)",
           "(q - t) / (q (1 - q)) where p = q, else 0", params=(_EPSILON,),
           aliases=("bce",), **_PROBABILITIES),
        _L("sigmoid_cross_entropy", "max(z, 0) - z t + log(1 + exp(-|z|))", "sigmoid(z) - t",
           logits_of="sigmoid", instead_of="binary_crossentropy", **_LOGITS),
        _L("log_poisson", "exp(z) - t z", "exp(z) - t", logits_of="exponential",
           target=(0.0, 4.0), source="negative log-likelihood of Poisson counts with log link, "
           "without the terms of t alone; sklearn.neural_network, loss 'poisson'"),
        _L("binary_focal_crossentropy",
           "w f^gamma B, f = t (1 - p) + (1 - t) p, B the binary cross-entropy, w = t alpha + "
           "(1 - t) (1 - alpha) where apply_class_balancing, else 1",
           "w (f^gamma B' + gamma f^(gamma - 1) (1 - 2 t) B)", params=(*_BALANCED, _EPSILON),
           limits=_GAMMA, source="Lin et al. (2017), arXiv:1708.02002; keras.losses",
           **_PROBABILITIES),
        _L("sigmoid_focal_cross_entropy",
           "w f^gamma B with p = sigmoid(z), see binary_focal_crossentropy",
           "w f^gamma (p - t + gamma p (1 - p) / f (1 - 2 t) B)", params=_BALANCED,
           limits=_GAMMA, logits_of="sigmoid", instead_of="binary_focal_crossentropy",
           source="Lin et al. (2017), arXiv:1708.02002", **_LOGITS),
        _L("gaussian_negative_log_likelihood",
           "((t - m)^2 / v + log v + full log 2 pi) / 2, v = max(exp(s), epsilon)",
           "(m - t) / v to m, (1 - (t - m)^2 / v) / 2 to s", "distribution",
           params=(("full", 0.0), ("epsilon", 1e-6)), aliases=("gaussian_nll",), labels="halves",
           source="Nix and Weigend (1994); torch.nn.GaussianNLLLoss, whose floor of the variance "
           "passes the gradient on as this does"),
        _L("categorical_crossentropy",
           "-sum_k t_k log q_k, q = clip(p / sum p, eps, 1 - eps)",
           "sum_k(h_k p_k) / s^2 - h_i / s, s = sum p, h = t/q where q is unclipped, else 0", "row",
           params=(_EPSILON,), aliases=("cce",), labels="classes", **_PROBABILITIES),
        _L("softmax_cross_entropy", "sum_k t_k (log sum_j exp z_j - z_k)",
           "softmax(z) sum_k t_k - t", "row", labels="classes",
           logits_of="softmax", instead_of="categorical_crossentropy", **_LOGITS),
        _L("categorical_focal_crossentropy",
           "-alpha sum_k t_k (1 - q_k)^gamma log q_k, q = clip(p / sum p, eps, 1 - eps)",
           "(h_i - sum_k h_k q_k) / sum p, h = alpha t (gamma (1 - q)^(gamma - 1) log q - "
           "(1 - q)^gamma / q) where q is unclipped, else 0", "row",
           params=(*_FOCAL, _EPSILON), limits=_GAMMA,
           source="Lin et al. (2017), arXiv:1708.02002; keras.losses", **_PROBABILITIES),
        _L("softmax_focal_cross_entropy",
           "-alpha sum_k t_k (1 - y_k)^gamma log y_k, y = softmax(z)",
           "h_i - y_i sum_k h_k, h = alpha t (gamma y (1 - y)^(gamma - 1) log y - (1 - y)^gamma)",
           "row", params=_FOCAL, limits=_GAMMA, logits_of="softmax",
           instead_of="categorical_focal_crossentropy",
           source="Lin et al. (2017), arXiv:1708.02002", **_LOGITS),
        _L("categorical_generalized_cross_entropy", "(1 - r^q) / q, r = sum_k t_k p_k",
           "-r^(q - 1) t", "row", params=(("q", 0.5),), limits=(("q", 0.0, 1.0),),
           labels="classes",
           source="Zhang and Sabuncu (2018), arXiv:1805.07836; keras.losses", **_PROBABILITIES),
        _L("softmax_generalized_cross_entropy",
           "(1 - r^q) / q, r = sum_k t_k y_k, y = softmax(z)", "r^q y_i (1 - t_i / r)", "row",
           params=(("q", 0.5),), limits=(("q", 0.0, 1.0),), labels="classes", logits_of="softmax",
           instead_of="categorical_generalized_cross_entropy",
           source="Zhang and Sabuncu (2018), arXiv:1805.07836", **_LOGITS),
        _L("cosine_similarity",
           "-sum_k t_k p_k / (n(t) n(p)), n(x) = max(sqrt(sum x^2), epsilon)",
           "(-t_i / n(t) + p_i / n(p) c) / n(p), c the cosine where n(p) > epsilon, else 0", "row",
           params=(_EPSILON,)),
        _L("categorical_hinge",
           "max(max_k((1 - t_k) p_k) - sum_k t_k p_k + 1, 0)",
           "(1 - t_i) / m to each of the m largest, -t_i to all, where the loss is above 0", "row",
           target=(0.0, 1.0)),
        _L("dice", "1 - 2 I / (T + P + epsilon)",
           "-2 t / D + 2 I / D^2, D = T + P + epsilon", "overlap", params=(_EPSILON,),
           source="Milletari et al. (2016), arXiv:1606.04797; keras.losses", **_PROBABILITIES),
        _L("tversky", "1 - I / D, D = I + alpha (T - I) + beta (P - I) + epsilon",
           "-t (D - I (1 - alpha - beta)) / D^2 + beta I / D^2", "overlap",
           params=(("alpha", 0.5), ("beta", 0.5), _EPSILON),
           source="Salehi et al. (2017), arXiv:1706.05721; keras.losses", **_PROBABILITIES),
        _L("circle",
           "log(1 + sum_P exp(-gamma (margin + d) (margin - d)) sum_N exp(gamma max(1 + margin - "
           "d, 0) (1 - margin - d))), d = max(1 - <p_i, p_j>, 0), P the rows with the label of row "
           "i, N the others; 0 where one of them is empty",
           "sigmoid(log of the product) times the softmax weights of each sum, times "
           "-2 gamma d for P, 2 gamma (1 - d) for N, through both rows of each pair", "pair",
           params=(("gamma", 80.0), ("margin", 0.4), ("remove_diagonal", 1.0)), labels="groups",
           domain=(-0.7, 0.7), source="Sun et al. (2020), arXiv:2002.10857; keras.losses"),
    )
}

LOGITS_ROWS = {row.instead_of: row.name for row in LOSSES.values() if row.instead_of}
"""The row that reads logits, by the row that reads their activation."""


def losses_of(kind):
    """Names of the losses of one kind; the position is the number a compiled loop knows.

    >>> losses_of("overlap")
    ('dice', 'tversky')
    """
    return tuple(row.name for row in LOSSES.values()
                 if row.kind == kind and row.name != "softmax_cross_entropy")


@dataclass(frozen=True)
class Score:
    """A number for each row of predictions and labels that a metric takes the mean of.

    Attributes
    ----------
    name, formula : str
    params : tuple of (str, float)
        In the order in which the kernels take them.
    """

    name: str
    formula: str
    params: tuple = ()


SCORES = {
    row.name: row
    for row in (
        Score("categorical_hits", "1 where the first largest prediction is at the label (or at the "
              "first largest label), else 0; a NaN counts as the largest"),
        Score("binary_hits", "the share of columns in which p > threshold equals the label",
              (("threshold", 0.5),)),
        Score("equal_hits", "the share of columns in which the prediction equals the label"),
        Score("top_k_hits", "1 where fewer than k predictions are larger than that at the label "
              "(or at the first largest label); where `listed`, 1 where one of the first k "
              "predictions is the label", (("k", 5.0), ("listed", 0.0))),
        Score("pearson_correlation", "mean of the products of t and p, each less its mean and "
              "divided by its standard deviation"),
        Score("concordance_correlation", "2 cov(t, p) / (var t + var p + (mean t - mean p)^2 + "
              "epsilon)", (("epsilon", 1e-7),)),
    )
}


@dataclass(frozen=True)
class Tally:
    """What a metric adds up over rows besides one sum: a small array of float64, its state.

    Attributes
    ----------
    name : str
    state : str
        What the elements of the state are, in C order; w is the weight of a row (1 without).
    options : tuple of str
        What the options array holds, in its order.
    """

    name: str
    state: str
    options: tuple = ()


TALLIES = {
    row.name: row
    for row in (
        Tally("thresholds",
              "(thresholds + 1, labels, 2): sums of w over the elements of which so many "
              "thresholds lie below the prediction, and whose label is zero, or not; labels is the "
              "number of columns where `by_column`, else 1",
              ("even", "open", "class_id", "top_k", "by_column", "from_logits", "weighted",
               "count", "*thresholds", "*label_weights")),
        Tally("overlaps",
              "(3, columns): sums of w d t, w d and w t, where d is p > threshold, or, where that "
              "is NaN, whether p is the largest of its row and |p| > 1e-9", ("threshold",)),
        Tally("moments", "(5, columns): sums of w, w t, w t^2, w (t - p)^2, and 1"),
        Tally("confusion",
              "(classes, classes): sums of w by label and prediction; elements of which one lies "
              "outside or whose label is `ignored` (NaN: none) don't count",
              ("classes", "ignored", "largest_label", "largest_prediction", "threshold", "whole")),
    )
}
"""Options of "thresholds": `even` says that they divide 0 to 1 evenly, so that a prediction's place
is computed, and `open` that the first lies below 0; `class_id` and `top_k` are -1 where there is
none; `weighted` says that a weight for each column follows the thresholds.  Of "confusion":
`largest_label` and `largest_prediction` say that a row's class is the place of its largest element,
otherwise every element is a class (cut to an integer), or, where `threshold` is a number, whether
the prediction is at least that; `whole` cuts weights to integers."""


@dataclass(frozen=True)
class Optimizer:
    """One optimizer, as the kernels know it.

    Attributes
    ----------
    name : str
    slots : tuple of str
        Names of its state arrays.
    params : tuple of (str, float)
        Hyperparameters besides the learning rate, in the order in which the kernel takes them; the
        last is always `weight_decay`, which shrinks parameters by ``learning_rate weight_decay``
        times themselves before the update (Loshchilov and Hutter, 2019, arXiv:1711.05101).
    equations : tuple of str
        The update of one element; ``g`` gradient, ``w`` parameter, ``t`` the count from 1.
    counts : bool
        Whether the update depends on the count, which the kernel then takes.
    kind : {"elementwise", "variable"}
        ``elementwise``: each element on its own, arrays are flat.  ``variable``: an element's
        update depends on the whole variable, which is (rows, columns) or (columns,).
    initial : tuple of (str, str)
        What a slot begins with where that is not 0: the name of a hyperparameter of the optimizer's
        class, or "param" for a copy of the parameters.
    factored : tuple of str
        Slots that hold one number per row ("row") or per column ("column") of a variable; the
        others are laid out as the parameters.
    scale_free : bool
        Whether gradients of another scale give the same steps, but for `epsilon`.
    """

    name: str
    slots: tuple
    params: tuple
    equations: tuple
    aliases: tuple = ()
    counts: bool = False
    kind: str = "elementwise"
    initial: tuple = ()
    factored: tuple = ()
    scale_free: bool = False
    source: str = ""


_O = Optimizer
_MOMENTS = (("beta_1", 0.9), ("beta_2", 0.999))
_DECAY = ("weight_decay", 0.0)
_M, _V = "m <- m + (1 - beta_1) (g - m)", "v <- v + (1 - beta_2) (g^2 - v)"
_SHRINK = "w <- w - learning_rate weight_decay w"
_STEP = "w <- w - learning_rate sqrt(1 - beta_2^t) / (1 - beta_1^t) m / (sqrt({}) + epsilon)"
_V_RHO = "v <- rho v + (1 - rho) g^2"
_RMSPROP = "Tieleman and Hinton (2012), lecture 6.5 of Neural Networks for Machine Learning"

OPTIMIZERS = {
    row.name: row
    for row in (
        _O("sgd", (), (_DECAY,),
           (_SHRINK, "w <- w - learning_rate g"),
           source="Robbins and Monro (1951); keras.optimizers.SGD"),
        _O("momentum", ("velocity",), (("momentum", 0.9), ("nesterov", 0.0), _DECAY),
           (_SHRINK, "v <- momentum v - learning_rate g",
            "w <- w + (momentum v - learning_rate g if nesterov else v)"),
           source="Sutskever et al. (2013); keras.optimizers.SGD with momentum"),
        _O("adam", ("m", "v"), (*_MOMENTS, ("epsilon", 1e-7), _DECAY),
           (_SHRINK, _M, _V, _STEP.format("v")),
           aliases=("adamw",), counts=True, scale_free=True,
           source="Kingma and Ba (2015), arXiv:1412.6980, the form before section 2.1 whose "
           "epsilon is 'epsilon hat'; Loshchilov and Hutter (2019), arXiv:1711.05101; "
           "keras.optimizers.Adam, AdamW"),
        _O("amsgrad", ("m", "v", "v_hat"), (*_MOMENTS, ("epsilon", 1e-7), _DECAY),
           (_SHRINK, _M, _V, "v_hat <- max(v_hat, v)", _STEP.format("v_hat")),
           counts=True, scale_free=True,
           source="Reddi et al. (2018), arXiv:1904.09237; keras.optimizers.Adam with amsgrad"),
        _O("rmsprop", ("velocity",), (("rho", 0.9), ("epsilon", 1e-7), _DECAY),
           (_SHRINK, _V_RHO, "w <- w - learning_rate g / sqrt(v + epsilon)"),
           scale_free=True, source=f"{_RMSPROP}; keras.optimizers.RMSprop"),
        _O("rmsprop_momentum", ("velocity", "trace"),
           (("rho", 0.9), ("momentum", 0.9), ("epsilon", 1e-7), _DECAY),
           (_SHRINK, _V_RHO, "trace <- momentum trace + learning_rate g / sqrt(v + epsilon)",
            "w <- w - trace"),
           scale_free=True, source=f"{_RMSPROP}; keras.optimizers.RMSprop with momentum"),
        _O("rmsprop_centered", ("velocity", "average_gradient"),
           (("rho", 0.9), ("epsilon", 1e-7), _DECAY),
           (_SHRINK, _V_RHO, "a <- rho a + (1 - rho) g",
            "w <- w - learning_rate g / sqrt(max(v - a^2, 0) + epsilon)"),
           scale_free=True,
           source="Graves (2013), arXiv:1308.0850; keras.optimizers.RMSprop with centered; the "
           "variance that rounding makes negative counts as 0 here"),
        _O("rmsprop_centered_momentum", ("velocity", "average_gradient", "trace"),
           (("rho", 0.9), ("momentum", 0.9), ("epsilon", 1e-7), _DECAY),
           (_SHRINK, _V_RHO, "a <- rho a + (1 - rho) g",
            "trace <- momentum trace + learning_rate g / sqrt(max(v - a^2, 0) + epsilon)",
            "w <- w - trace"),
           scale_free=True,
           source="Graves (2013), arXiv:1308.0850; keras.optimizers.RMSprop with both"),
        _O("adagrad", ("accumulator",), (("epsilon", 1e-7), _DECAY),
           (_SHRINK, "a <- a + g^2", "w <- w - learning_rate g / sqrt(a + epsilon)"),
           initial=(("accumulator", "initial_accumulator_value"),),
           source="Duchi et al. (2011); keras.optimizers.Adagrad"),
        _O("adadelta", ("accumulated_grad", "accumulated_delta"),
           (("rho", 0.95), ("epsilon", 1e-7), _DECAY),
           (_SHRINK, "a <- rho a + (1 - rho) g^2", "d = sqrt(b + epsilon) / sqrt(a + epsilon) g",
            "b <- rho b + (1 - rho) d^2", "w <- w - learning_rate d"),
           source="Zeiler (2012), arXiv:1212.5701; keras.optimizers.Adadelta"),
        _O("adamax", ("m", "u"), (*_MOMENTS, ("epsilon", 1e-7), _DECAY),
           (_SHRINK, _M, "u <- max(beta_2 u, |g|)",
            "w <- w - learning_rate / (1 - beta_1^t) m / (u + epsilon)"),
           counts=True, scale_free=True,
           source="Kingma and Ba (2015), arXiv:1412.6980, section 7.1; keras.optimizers.Adamax"),
        _O("nadam", ("m", "v"), (*_MOMENTS, ("epsilon", 1e-7), _DECAY),
           (_SHRINK, _M, _V, "mu_t = beta_1 (1 - 0.96^t / 2), M_t = mu_1 ... mu_t",
            "n = mu_(t+1) / (1 - M_(t+1)) m + (1 - mu_t) / (1 - M_t) g",
            "w <- w - learning_rate n / (sqrt(v / (1 - beta_2^t)) + epsilon)"),
           counts=True, scale_free=True,
           source="Dozat (2015), Incorporating Nesterov momentum into Adam; "
           "keras.optimizers.Nadam"),
        _O("ftrl", ("accumulator", "linear"),
           (("learning_rate_power", -0.5), ("l1_regularization_strength", 0.0),
            ("l2_regularization_strength", 0.0), ("l2_shrinkage_regularization_strength", 0.0),
            ("beta", 0.0), _DECAY),
           (_SHRINK, "a' = a + g^2, p = -learning_rate_power",
            "z <- z + g + 2 l2_shrinkage w - (a'^p - a^p) / learning_rate w",
            "w <- (clip(z, -l1, l1) - z) / (a'^p / learning_rate + 2 l2 + beta / learning_rate)",
            "w <- 0 where |z| <= l1; a <- a'; a learning_rate of 0 changes nothing"),
           initial=(("accumulator", "initial_accumulator_value"),),
           source="McMahan et al. (2013), Ad click prediction: a view from the trenches; "
           "keras.optimizers.Ftrl"),
        _O("lion", ("m",), (("beta_1", 0.9), ("beta_2", 0.99), _DECAY),
           (_SHRINK, "w <- w - learning_rate sign(beta_1 m + (1 - beta_1) g)",
            "m <- beta_2 m + (1 - beta_2) g"),
           scale_free=True,
           source="Chen et al. (2023), arXiv:2302.06675; keras.optimizers.Lion"),
        _O("radam", ("m", "v"), (*_MOMENTS, ("epsilon", 1e-8), _DECAY),
           (_SHRINK, _M, "v <- beta_2 v + (1 - beta_2) g^2",
            "rho_inf = 2 / (1 - beta_2) - 1, rho = rho_inf - 2 t beta_2^t / (1 - beta_2^t)",
            "r = sqrt((rho - 4) (rho - 2) rho_inf / ((rho_inf - 4) (rho_inf - 2) rho))",
            "w <- w - learning_rate / (1 - beta_1^t) m (r sqrt(1 - beta_2^t) / (sqrt(v) + epsilon) "
            "if rho > 5 else 1)"),
           counts=True, source="Liu et al. (2020), arXiv:1908.03265; torch.optim.RAdam"),
        _O("rprop", ("previous", "step_size"),
           (("eta_minus", 0.5), ("eta_plus", 1.2), ("min_step", 1e-6), ("max_step", 50.0), _DECAY),
           (_SHRINK, "f = eta_plus if g p > 0, eta_minus if g p < 0, else 1",
            "s <- min(max(f s, min_step), max_step)", "g <- 0 if g p < 0",
            "w <- w - s sign(g), p <- g"),
           initial=(("step_size", "learning_rate"),), scale_free=True,
           source="Riedmiller and Braun (1993), A direct adaptive method for faster "
           "backpropagation learning; torch.optim.Rprop"),
        _O("schedule_free_adamw", ("z", "v"),
           (*_MOMENTS, ("epsilon", 1e-8), ("warmup_steps", 0.0), _DECAY),
           (_SHRINK, _V, "r = learning_rate min(t / warmup_steps, 1)",
            "z' = z - r g / (sqrt(v / (1 - beta_2^t)) + epsilon)",
            "x = (w - (1 - beta_1) z) / beta_1 (1 - 1/t) + z' / t",
            "w <- (1 - beta_1) z' + beta_1 x, z <- z'"),
           counts=True, initial=(("z", "param"),), scale_free=True,
           source="Defazio et al. (2024), arXiv:2405.15682; keras.optimizers.ScheduleFreeAdamW"),
        _O("lamb", ("m", "v"), (*_MOMENTS, ("epsilon", 1e-7), _DECAY),
           (_SHRINK, _M, _V,
            "u = m / (1 - beta_1^t) / (sqrt(v / (1 - beta_2^t)) + epsilon)",
            "w <- w - learning_rate ||w|| / ||u|| u (norms over the variable; where one is 0 their "
            "ratio counts as 1)"),
           counts=True, kind="variable", scale_free=True,
           source="You et al. (2020), arXiv:1904.00962; keras.optimizers.Lamb"),
        _O("adafactor", ("row", "column"),
           (("beta_2_decay", -0.8), ("epsilon_1", 1e-30), ("epsilon_2", 1e-3),
            ("clip_threshold", 1.0), _DECAY),
           (_SHRINK, "b = 1 - t^beta_2_decay, h = g^2 + epsilon_1",
            "r_i <- b r_i + (1 - b) mean_j h_ij, c_j <- b c_j + (1 - b) mean_i h_ij",
            "u_ij = g_ij / sqrt(r_i c_j / mean r)   (vectors: c alone, u = g / sqrt c)",
            "rms(x) = sqrt(mean x^2), rho = min(learning_rate, 1 / sqrt t)",
            "w <- w - max(epsilon_2, rms(w)) rho u / max(1, rms(u) / clip_threshold)"),
           counts=True, kind="variable", factored=("row", "column"), scale_free=True,
           source="Shazeer and Stern (2018), arXiv:1804.04235; keras.optimizers.Adafactor"),
        _O("muon", ("trace",),
           (("momentum", 0.95), ("nesterov", 1.0), ("muon_a", 3.4445), ("muon_b", -4.775),
            ("muon_c", 2.0315), ("ns_steps", 5.0), ("rms_rate", 0.2), _DECAY),
           (_SHRINK, "m <- momentum m + g", "x = g + momentum m if nesterov else m",
            "x <- x / (||x|| + 1e-7), transposed where it has more rows than columns",
            "ns_steps times: s = x x^T, x <- muon_a x + (muon_b s + muon_c s^2) x",
            "w <- w - learning_rate rms_rate sqrt(max(rows, columns)) x, transposed back "
            "(without the factors behind learning_rate where rms_rate is 0)"),
           kind="variable", scale_free=True,
           source="Jordan (2024), Muon: an optimizer for hidden layers in neural networks; "
           "Liu et al. (2025), arXiv:2502.16982; keras.optimizers.Muon"),
    )
}

ELEMENTWISE_OPTIMIZERS = tuple(
    row.name for row in OPTIMIZERS.values() if row.kind == "elementwise")
"""Names of the elementwise rows; the position in this tuple is the number a compiled loop knows."""


_BELOW_1 = {"low": 0.0, "below": 1.0}
_UNIT = {"low": 0.0, "high": 1.0}
_LIMITS = {
    "beta_1": _BELOW_1, "beta_2": _BELOW_1, "rho": _UNIT, "momentum": _UNIT, "nesterov": _UNIT,
    "adam_beta_1": _BELOW_1, "adam_beta_2": _BELOW_1,
    "learning_rate_power": {"high": 0.0}, "beta_2_decay": {"high": 0.0},
    "clip_threshold": {"low": 1e-30}, "eta_minus": _BELOW_1, "eta_plus": {"low": 1.0},
    "muon_a": {}, "muon_b": {}, "muon_c": {},
}


def limits(hyperparameter):
    """Limits of an optimizer's hyperparameter, as `fusedmlp.checks.number` takes them.

    >>> limits("beta_1"), limits("epsilon")
    ({'low': 0.0, 'below': 1.0}, {'low': 0.0})
    """
    return _LIMITS.get(hyperparameter, {"low": 0.0})


def nearest(name, known, kind):
    """The text of an error for an unknown name, with the nearest known ones.

    >>> nearest("rleu", ACTIVATIONS, "activation")
    "Unknown activation: expected one of the known names (nearest: 'relu', 'relu6', 'prelu'). \
Received: 'rleu'"
    """
    spellings = {}  # of one name, in lower and upper case
    for one in known:
        spellings.setdefault(one.lower(), []).append(one)
    close = difflib.get_close_matches(str(name).lower(), list(spellings), n=3, cutoff=0.4)
    close = ", ".join(
        repr(max(spellings[one], key=lambda as_known: sum(
            a == b for a, b in zip(as_known, str(name), strict=False))))
        for one in close)
    hint = f" (nearest: {close})" if close else f": {', '.join(known)}"
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
