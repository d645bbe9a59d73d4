"""The updates of all optimizers in float64, as their papers and Keras's documentation write them.

Each function takes the parameter, its gradient, a dict that is its own memory, the count from 1,
the learning rate and the hyperparameters, and returns the new parameter.
"""

from __future__ import annotations

import numpy as np


def sgd(w, g, s, t, rate, momentum=0.0, nesterov=False):
    s["v"] = momentum * s.get("v", 0.0) - rate * g
    return w + (momentum * s["v"] - rate * g if nesterov else s["v"])


def moments(g, s, beta_1, beta_2):
    s["m"] = beta_1 * s.get("m", 0.0) + (1 - beta_1) * g
    s["v"] = beta_2 * s.get("v", 0.0) + (1 - beta_2) * g**2


def adam(w, g, s, t, rate, beta_1=0.9, beta_2=0.999, epsilon=1e-7, amsgrad=False):
    moments(g, s, beta_1, beta_2)
    v = s["v"]
    if amsgrad:
        v = s["most"] = np.maximum(s.get("most", 0.0), v)
    return w - rate * np.sqrt(1 - beta_2**t) / (1 - beta_1**t) * s["m"] / (np.sqrt(v) + epsilon)


def adamax(w, g, s, t, rate, beta_1=0.9, beta_2=0.999, epsilon=1e-7):
    moments(g, s, beta_1, beta_2)
    s["u"] = np.maximum(beta_2 * s.get("u", 0.0), np.abs(g))
    return w - rate / (1 - beta_1**t) * s["m"] / (s["u"] + epsilon)


def nadam(w, g, s, t, rate, beta_1=0.9, beta_2=0.999, epsilon=1e-7):
    moments(g, s, beta_1, beta_2)
    mu, following = (beta_1 * (1 - 0.5 * 0.96**k) for k in (t, t + 1))
    s["product"] = s.get("product", 1.0) * mu
    n = following * s["m"] / (1 - s["product"] * following) + (1 - mu) * g / (1 - s["product"])
    return w - rate * n / (np.sqrt(s["v"] / (1 - beta_2**t)) + epsilon)


def radam(w, g, s, t, rate, beta_1=0.9, beta_2=0.999, epsilon=1e-8):
    moments(g, s, beta_1, beta_2)
    corrected = s["m"] / (1 - beta_1**t)
    most = 2 / (1 - beta_2) - 1
    rho = most - 2 * t * beta_2**t / (1 - beta_2**t)
    if rho <= 5:
        return w - rate * corrected
    r = np.sqrt((rho - 4) * (rho - 2) * most / ((most - 4) * (most - 2) * rho))
    return w - rate * corrected * r * np.sqrt(1 - beta_2**t) / (np.sqrt(s["v"]) + epsilon)


def schedule_free(w, g, s, t, rate, beta_1=0.9, beta_2=0.999, epsilon=1e-8, warmup_steps=0):
    moments(g, s, 0.0, beta_2)
    if warmup_steps:
        rate *= min(t / warmup_steps, 1.0)
    x = (w - (1 - beta_1) * s["z"]) / beta_1
    s["z"] = s["z"] - rate * g / (np.sqrt(s["v"] / (1 - beta_2**t)) + epsilon)
    x = (1 - 1 / t) * x + s["z"] / t
    return (1 - beta_1) * s["z"] + beta_1 * x


def lamb(w, g, s, t, rate, beta_1=0.9, beta_2=0.999, epsilon=1e-7):
    moments(g, s, beta_1, beta_2)
    u = s["m"] / (1 - beta_1**t) / (np.sqrt(s["v"] / (1 - beta_2**t)) + epsilon)
    a, b = np.linalg.norm(w), np.linalg.norm(u)
    return w - rate * (a / b if a > 0 and b > 0 else 1.0) * u


def rmsprop(w, g, s, t, rate, rho=0.9, momentum=0.0, epsilon=1e-7, centered=False):
    s["v"] = rho * s.get("v", 0.0) + (1 - rho) * g**2
    s["a"] = rho * s.get("a", 0.0) + (1 - rho) * g
    d = rate * g / np.sqrt(s["v"] - (s["a"] ** 2 if centered else 0.0) + epsilon)
    s["d"] = momentum * s.get("d", 0.0) + d
    return w - s["d"]


def adagrad(w, g, s, t, rate, initial_accumulator_value=0.1, epsilon=1e-7):
    s["a"] = s.get("a", initial_accumulator_value) + g**2
    return w - rate * g / np.sqrt(s["a"] + epsilon)


def adadelta(w, g, s, t, rate, rho=0.95, epsilon=1e-7):
    s["a"] = rho * s.get("a", 0.0) + (1 - rho) * g**2
    d = np.sqrt((s.get("b", 0.0) + epsilon) / (s["a"] + epsilon)) * g
    s["b"] = rho * s.get("b", 0.0) + (1 - rho) * d**2
    return w - rate * d


def ftrl(w, g, s, t, rate, learning_rate_power=-0.5, initial_accumulator_value=0.1,
         l1_regularization_strength=0.0, l2_regularization_strength=0.0,
         l2_shrinkage_regularization_strength=0.0, beta=0.0):
    p, l1 = -learning_rate_power, l1_regularization_strength
    before = s.get("n", initial_accumulator_value)
    s["n"] = before + g**2
    sigma = (s["n"] ** p - before**p) / rate
    s["z"] = s.get("z", 0.0) + g + 2 * l2_shrinkage_regularization_strength * w - sigma * w
    denominator = (s["n"] ** p + beta) / rate + 2 * l2_regularization_strength
    return np.where(np.abs(s["z"]) <= l1, 0.0, (np.sign(s["z"]) * l1 - s["z"]) / denominator)


def lion(w, g, s, t, rate, beta_1=0.9, beta_2=0.99):
    m = s.get("m", 0.0)
    s["m"] = beta_2 * m + (1 - beta_2) * g
    return w - rate * np.sign(beta_1 * m + (1 - beta_1) * g)


def rprop(w, g, s, t, rate, etas=(0.5, 1.2), step_sizes=(1e-6, 50.0)):
    s.setdefault("first", rate)
    agree = np.sign(g) * np.sign(s.get("g", 0.0 * g))
    factor = np.choose((agree + 1).astype(int), [etas[0], 1.0, etas[1]])
    s["size"] = np.clip(s.get("size", s["first"]) * factor, *step_sizes)
    s["g"] = np.where(agree < 0, 0.0, g)
    return w - s["size"] * np.sign(s["g"])


def adafactor(w, g, s, t, rate, beta_2_decay=-0.8, epsilon_1=1e-30, epsilon_2=1e-3,
              clip_threshold=1.0):
    b, h = 1 - float(t) ** beta_2_decay, g**2 + epsilon_1
    if w.ndim == 2:
        s["r"] = b * s.get("r", 0.0) + (1 - b) * h.mean(1)
        s["c"] = b * s.get("c", 0.0) + (1 - b) * h.mean(0)
        v = np.outer(s["r"], s["c"]) / s["r"].mean()
    else:
        v = s["c"] = b * s.get("c", 0.0) + (1 - b) * h
    u = g / np.sqrt(v)
    alpha = max(epsilon_2, np.sqrt(np.mean(w**2))) * min(rate, 1 / np.sqrt(t))
    return w - alpha * u / max(1.0, np.sqrt(np.mean(u**2)) / clip_threshold)


def muon(w, g, s, t, rate, adam_beta_1=0.9, adam_beta_2=0.999, epsilon=1e-7, muon_a=3.4445,
         muon_b=-4.775, muon_c=2.0315, adam_lr_ratio=1.0, momentum=0.95, ns_steps=5,
         nesterov=True, rms_rate=0.2):
    if w.ndim == 1:
        return adam(w, g, s, t, rate * adam_lr_ratio, adam_beta_1, adam_beta_2, epsilon)
    s["m"] = momentum * s.get("m", 0.0) + g
    x = g + momentum * s["m"] if nesterov else s["m"]
    # an odd polynomial of a matrix is the polynomial of its singular values
    left, values, right = np.linalg.svd(x, full_matrices=False)
    values /= np.linalg.norm(values) + 1e-7
    for _ in range(ns_steps):
        values = muon_a * values + muon_b * values**3 + muon_c * values**5
    scale = 1.0 if rms_rate is None else rms_rate * np.sqrt(max(w.shape))
    return w - rate * scale * (left * values) @ right


TRUTH = {
    "SGD": sgd, "Adam": adam, "AdamW": adam, "RMSprop": rmsprop, "Adagrad": adagrad,
    "Adadelta": adadelta, "Adamax": adamax, "Nadam": nadam, "Ftrl": ftrl, "Lion": lion,
    "Lamb": lamb, "Adafactor": adafactor, "Muon": muon, "ScheduleFreeAdamW": schedule_free,
    "RAdam": radam, "Rprop": rprop,
}
COMMON = ("learning_rate", "weight_decay", "adam_weight_decay")


def trajectory(name, arguments, defaults, weights, gradients, *, rates=None):
    """Parameters after a number of steps.

    Parameters
    ----------
    name : str
        Of the class.
    arguments : dict
        What the optimizer is made with.
    defaults : dict
        Defaults of its learning rate and weight decays.
    weights : list of ndarray
    gradients : list of list of ndarray
        By step, then by variable.
    rates : sequence of float, optional
        By step, in place of the learning rate.
    """
    given = {**defaults, **arguments}
    own = {key: value for key, value in arguments.items() if key not in COMMON}
    results = []
    for k, w in enumerate(weights):
        w = w.astype(np.float64)
        memory = {"z": w} if name == "ScheduleFreeAdamW" else {}
        for t, step in enumerate(gradients, 1):
            rate = given["learning_rate"] if rates is None else rates[t - 1]
            decay = given.get("weight_decay")
            if name == "Muon" and w.ndim == 1:
                decay = given.get("adam_weight_decay")
            w = w - rate * (decay or 0.0) * w
            w = TRUTH[name](w, step[k].astype(np.float64), memory, t, rate, **own)
        results.append(w)
    return results
