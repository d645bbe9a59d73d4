"""Updates of parameters in place; the equations are those of `fusedmlp.spec.OPTIMIZERS`."""

import math

import numpy as np

__all__ = [
    "adadelta_update",
    "adafactor_update",
    "adagrad_update",
    "adam_update",
    "adamax_update",
    "amsgrad_update",
    "clip",
    "ftrl_update",
    "lamb_update",
    "lion_update",
    "momentum_update",
    "muon_update",
    "nadam_update",
    "radam_update",
    "rmsprop_centered_momentum_update",
    "rmsprop_centered_update",
    "rmsprop_momentum_update",
    "rmsprop_update",
    "rprop_update",
    "schedule_free_adamw_update",
    "sgd_update",
]


def sgd_update(param, grad, learning_rate, weight_decay):
    """w <- w - learning_rate g."""
    with np.errstate(all="ignore"):
        _decay(param, learning_rate, weight_decay)
        param -= learning_rate * grad


def momentum_update(param, grad, velocity, learning_rate, momentum, nesterov, weight_decay):
    """v <- momentum v - learning_rate g;  w <- w + (momentum v - learning_rate g or v)."""
    with np.errstate(all="ignore"):
        _decay(param, learning_rate, weight_decay)
        step = learning_rate * grad
        velocity *= momentum
        velocity -= step
        param += momentum * velocity - step if nesterov else velocity


# -- the family of Adam --------------------------------------------------------------------------


def adam_update(param, grad, m, v, step, learning_rate, beta_1, beta_2, epsilon, weight_decay):
    """m <- m + (1 - beta_1) (g - m);  v <- v + (1 - beta_2) (g^2 - v);

    w <- w - learning_rate sqrt(1 - beta_2^t) / (1 - beta_1^t) m / (sqrt(v) + epsilon).
    """
    with np.errstate(all="ignore"):
        _decay(param, learning_rate, weight_decay)
        _moments(grad, m, v, beta_1, beta_2)
        alpha = learning_rate * math.sqrt(1.0 - beta_2**step) / (1.0 - beta_1**step)
        param -= alpha * m / (np.sqrt(v) + _positive(epsilon, param))


def amsgrad_update(param, grad, m, v, v_hat, step, learning_rate, beta_1, beta_2, epsilon,
                   weight_decay):
    """Adam with the largest v so far, v_hat, in its place."""
    with np.errstate(all="ignore"):
        _decay(param, learning_rate, weight_decay)
        _moments(grad, m, v, beta_1, beta_2)
        np.maximum(v_hat, v, out=v_hat)
        alpha = learning_rate * math.sqrt(1.0 - beta_2**step) / (1.0 - beta_1**step)
        param -= alpha * m / (np.sqrt(v_hat) + _positive(epsilon, param))


def adamax_update(param, grad, m, u, step, learning_rate, beta_1, beta_2, epsilon, weight_decay):
    """u <- max(beta_2 u, |g|);  w <- w - learning_rate / (1 - beta_1^t) m / (u + epsilon)."""
    with np.errstate(all="ignore"):
        _decay(param, learning_rate, weight_decay)
        m += (1.0 - beta_1) * (grad - m)
        np.maximum(beta_2 * u, np.abs(grad), out=u)
        param -= learning_rate / (1.0 - beta_1**step) * m / (u + _positive(epsilon, param))


def nadam_update(param, grad, m, v, step, learning_rate, beta_1, beta_2, epsilon, weight_decay):
    """mu_t = beta_1 (1 - 0.96^t / 2), M_t = mu_1 ... mu_t;

    n = mu_(t+1) / (1 - M_(t+1)) m + (1 - mu_t) / (1 - M_t) g;
    w <- w - learning_rate n / (sqrt(v / (1 - beta_2^t)) + epsilon).
    """
    with np.errstate(all="ignore"):
        _decay(param, learning_rate, weight_decay)
        _moments(grad, m, v, beta_1, beta_2)
        mu, following = (beta_1 * (1.0 - 0.5 * 0.96**t) for t in (step, step + 1))
        # the factors are 1 from t = 1000 on
        product = beta_1**step * math.prod(
            1.0 - 0.5 * 0.96**t for t in range(1, min(step, 1000) + 1))
        n = (following / (1.0 - product * following)) * m + ((1.0 - mu) / (1.0 - product)) * grad
        root = np.sqrt(v / (1.0 - beta_2**step)) + _positive(epsilon, param)
        param -= learning_rate * n / root


def radam_update(param, grad, m, v, step, learning_rate, beta_1, beta_2, epsilon, weight_decay):
    """Adam once its second moment is known well enough, momentum before."""
    with np.errstate(all="ignore"):
        _decay(param, learning_rate, weight_decay)
        m += (1.0 - beta_1) * (grad - m)
        v *= beta_2
        v += (1.0 - beta_2) * grad * grad
        rate = learning_rate / (1.0 - beta_1**step)
        most = 2.0 / (1.0 - beta_2) - 1.0
        rho = most - 2.0 * step * beta_2**step / (1.0 - beta_2**step)
        if rho > 5.0:
            r = math.sqrt((rho - 4.0) * (rho - 2.0) * most / ((most - 4.0) * (most - 2.0) * rho))
            rate *= r * math.sqrt(1.0 - beta_2**step)
            param -= rate * m / (np.sqrt(v) + _positive(epsilon, param))
        else:
            param -= rate * m


def schedule_free_adamw_update(param, grad, z, v, step, learning_rate, beta_1, beta_2, epsilon,
                               warmup_steps, weight_decay):
    """z' = z - r g / (sqrt(v / (1 - beta_2^t)) + epsilon), r the rate after the warmup;

    w <- (1 - beta_1) z' + (1 - 1/t) (w - (1 - beta_1) z) + beta_1 / t z', in which beta_1 x has
    taken the place of x, so that nothing is divided by beta_1.
    """
    with np.errstate(all="ignore"):
        _decay(param, learning_rate, weight_decay)
        v += (1.0 - beta_2) * (grad * grad - v)
        if warmup_steps > 0.0:
            learning_rate *= min(step / warmup_steps, 1.0)
        root = np.sqrt(v / (1.0 - beta_2**step)) + _positive(epsilon, param)
        average = (1.0 - 1.0 / step) * (param - (1.0 - beta_1) * z)
        z -= learning_rate * grad / root
        param[...] = (1.0 - beta_1) * z + (average + (beta_1 / step) * z)


def lamb_update(param, grad, m, v, step, learning_rate, beta_1, beta_2, epsilon, weight_decay):
    """u = m / (1 - beta_1^t) / (sqrt(v / (1 - beta_2^t)) + epsilon);

    w <- w - learning_rate ||w|| / ||u|| u, the ratio 1 where one of the norms is 0.
    """
    with np.errstate(all="ignore"):
        _decay(param, learning_rate, weight_decay)
        _moments(grad, m, v, beta_1, beta_2)
        root = np.sqrt(v / (1.0 - beta_2**step)) + _positive(epsilon, param)
        u = m / (1.0 - beta_1**step) / root
        w_norm, u_norm = math.sqrt(_squares(param)), math.sqrt(_squares(u))
        ratio = w_norm / u_norm if w_norm != 0.0 and u_norm != 0.0 else 1.0
        param -= (ratio * learning_rate) * u


# -- adaptive rates without a first moment -------------------------------------------------------


def rmsprop_update(param, grad, velocity, learning_rate, rho, epsilon, weight_decay):
    """v <- rho v + (1 - rho) g^2;  w <- w - learning_rate g / sqrt(v + epsilon)."""
    with np.errstate(all="ignore"):
        _decay(param, learning_rate, weight_decay)
        _running(velocity, grad * grad, rho)
        param -= learning_rate * grad / np.sqrt(velocity + _positive(epsilon, param))


def rmsprop_momentum_update(param, grad, velocity, trace, learning_rate, rho, momentum, epsilon,
                            weight_decay):
    """trace <- momentum trace + learning_rate g / sqrt(v + epsilon);  w <- w - trace."""
    with np.errstate(all="ignore"):
        _decay(param, learning_rate, weight_decay)
        _running(velocity, grad * grad, rho)
        trace *= momentum
        trace += learning_rate * grad / np.sqrt(velocity + _positive(epsilon, param))
        param -= trace


def rmsprop_centered_update(param, grad, velocity, average_gradient, learning_rate, rho, epsilon,
                            weight_decay):
    """a <- rho a + (1 - rho) g;  w <- w - learning_rate g / sqrt(max(v - a^2, 0) + epsilon)."""
    with np.errstate(all="ignore"):
        _decay(param, learning_rate, weight_decay)
        _running(velocity, grad * grad, rho)
        _running(average_gradient, grad, rho)
        variance = np.maximum(velocity - average_gradient * average_gradient, 0.0)
        param -= learning_rate * grad / np.sqrt(variance + _positive(epsilon, param))


def rmsprop_centered_momentum_update(param, grad, velocity, average_gradient, trace, learning_rate,
                                     rho, momentum, epsilon, weight_decay):
    """Both of the above."""
    with np.errstate(all="ignore"):
        _decay(param, learning_rate, weight_decay)
        _running(velocity, grad * grad, rho)
        _running(average_gradient, grad, rho)
        variance = np.maximum(velocity - average_gradient * average_gradient, 0.0)
        trace *= momentum
        trace += learning_rate * grad / np.sqrt(variance + _positive(epsilon, param))
        param -= trace


def adagrad_update(param, grad, accumulator, learning_rate, epsilon, weight_decay):
    """a <- a + g^2;  w <- w - learning_rate g / sqrt(a + epsilon)."""
    with np.errstate(all="ignore"):
        _decay(param, learning_rate, weight_decay)
        accumulator += grad * grad
        param -= learning_rate * grad / np.sqrt(accumulator + _positive(epsilon, param))


def adadelta_update(param, grad, accumulated_grad, accumulated_delta, learning_rate, rho, epsilon,
                    weight_decay):
    """d = sqrt(b + epsilon) / sqrt(a + epsilon) g;  w <- w - learning_rate d."""
    with np.errstate(all="ignore"):
        _decay(param, learning_rate, weight_decay)
        epsilon = _positive(epsilon, param)
        _running(accumulated_grad, grad * grad, rho)
        delta = np.sqrt(accumulated_delta + epsilon) * grad / np.sqrt(accumulated_grad + epsilon)
        _running(accumulated_delta, delta * delta, rho)
        param -= learning_rate * delta


def ftrl_update(param, grad, accumulator, linear, learning_rate, learning_rate_power,
                l1_regularization_strength, l2_regularization_strength,
                l2_shrinkage_regularization_strength, beta, weight_decay):
    """z <- z + g + 2 l2_shrinkage w - (a'^p - a^p) / learning_rate w, p = -learning_rate_power;

    w <- (clip(z, -l1, l1) - z) / (a'^p / learning_rate + 2 l2 + beta / learning_rate).
    """
    if learning_rate == 0.0:
        return
    l1, power = l1_regularization_strength, -learning_rate_power
    with np.errstate(all="ignore"):
        _decay(param, learning_rate, weight_decay)
        before = accumulator**power
        accumulator += grad * grad
        after = accumulator**power
        linear += (grad + (2.0 * l2_shrinkage_regularization_strength) * param
                   - (after - before) / learning_rate * param)
        quadratic = after / learning_rate + (2.0 * l2_regularization_strength
                                             + beta / learning_rate)
        excess = np.clip(linear, -l1, l1) - linear
        param[...] = np.where(excess == 0.0, 0.0, excess / quadratic)


def adafactor_update(param, grad, row, column, step, learning_rate, beta_2_decay, epsilon_1,
                     epsilon_2, clip_threshold, weight_decay):
    """b = 1 - t^beta_2_decay, h = g^2 + epsilon_1;  r_i <- b r_i + (1 - b) mean_j h_ij, c likewise;

    u_ij = g_ij / sqrt(r_i / mean(r) c_j);  w <- w - alpha u / max(1, rms(u) / clip_threshold),
    alpha = max(epsilon_2, rms(w)) min(learning_rate, 1 / sqrt t).  A vector is one row.
    """
    if param.size == 0:
        return
    with np.errstate(all="ignore"):
        _decay(param, learning_rate, weight_decay)
        h = grad * grad + _positive(epsilon_1, param)
        b = 1.0 - float(step) ** beta_2_decay
        if param.ndim == 2:
            _running(row, h.mean(axis=1), b)
            _running(column, h.mean(axis=0), b)
            u = grad / np.sqrt((row / row.mean())[:, None] * column)
        else:
            _running(row, h.mean(), b)
            _running(column, h, b)
            u = grad / np.sqrt(column)
        rms_w, rms_u = (math.sqrt(_squares(x) / max(x.size, 1)) for x in (param, u))
        alpha = max(rms_w, epsilon_2) * min(learning_rate, 1.0 / math.sqrt(step))
        param -= alpha / max(rms_u / clip_threshold, 1.0) * u


# -- signs ---------------------------------------------------------------------------------------


def lion_update(param, grad, m, learning_rate, beta_1, beta_2, weight_decay):
    """w <- w - learning_rate sign(beta_1 m + (1 - beta_1) g);  m <- beta_2 m + (1 - beta_2) g."""
    with np.errstate(all="ignore"):
        _decay(param, learning_rate, weight_decay)
        param -= learning_rate * np.sign(beta_1 * m + (1.0 - beta_1) * grad)
        _running(m, grad, beta_2)


def rprop_update(param, grad, previous, step_size, learning_rate, eta_minus, eta_plus, min_step,
                 max_step, weight_decay):
    """s <- clip(s times eta_plus, eta_minus or 1 as g and the previous g agree, differ or are 0);

    w <- w - s sign(g), with g taken as 0 where the signs differ.
    """
    with np.errstate(all="ignore"):
        _decay(param, learning_rate, weight_decay)
        agree = np.sign(grad) * np.sign(previous)
        step_size *= np.where(agree > 0, eta_plus, np.where(agree < 0, eta_minus, 1.0)).astype(
            param.dtype)
        np.clip(step_size, min_step, max_step, out=step_size)
        previous[...] = np.where(agree < 0, 0.0, grad)
        param -= step_size * np.sign(previous)


# -- matrices ------------------------------------------------------------------------------------


def muon_update(param, grad, trace, learning_rate, momentum, nesterov, muon_a, muon_b, muon_c,
                ns_steps, rms_rate, weight_decay):
    """m <- momentum m + g;  w <- w - learning_rate scale orthogonal(g + momentum m or m).

    `orthogonal` takes ns_steps steps of Newton and Schulz, which pull all singular values to about
    1: x <- a x + (b s + c s^2) x with s = x x^T.
    """
    with np.errstate(all="ignore"):
        _decay(param, learning_rate, weight_decay)
        trace *= momentum
        trace += grad
        x = (grad + momentum * trace if nesterov else trace).astype(np.float64)
        tall = x.shape[0] > x.shape[1]
        if tall:
            x = x.T
        x = x / (math.sqrt(_squares(x)) + 1e-7)
        for _ in range(int(ns_steps)):
            s = x @ x.T
            x = muon_a * x + (muon_b * s + muon_c * (s @ s)) @ x
        if tall:
            x = x.T
        if rms_rate:
            learning_rate *= rms_rate * math.sqrt(max(x.shape, default=0))
        param -= (learning_rate * x).astype(param.dtype)


# -- gradients -----------------------------------------------------------------------------------


def clip(gradients, kind, limit):
    """Keep each element ("value") or the norm ("norm", "global_norm") of flat gradients in place.

    g <- g limit / max(||g||, limit); a global norm that is not finite makes all of them NaN.
    """
    with np.errstate(all="ignore"):
        if kind == "value":
            for gradient in gradients:
                np.clip(gradient, -limit, limit, out=gradient)
            return
        norms = [math.sqrt(_squares(gradient)) for gradient in gradients]
        if kind == "global_norm":
            norm = math.sqrt(sum(n * n for n in norms))
            norms = [norm if math.isfinite(norm) else math.nan] * len(norms)
        for gradient, norm in zip(gradients, norms, strict=True):
            if not norm <= limit:
                gradient *= limit / norm


# -- what they share -----------------------------------------------------------------------------


def _decay(param, learning_rate, weight_decay):
    """w <- w - learning_rate weight_decay w, before the step (Loshchilov and Hutter, 2019)."""
    if weight_decay:
        param -= (learning_rate * weight_decay) * param


def _moments(grad, m, v, beta_1, beta_2):
    """Running means of g and g^2."""
    m += (1.0 - beta_1) * (grad - m)
    v += (1.0 - beta_2) * (grad * grad - v)


def _running(mean, value, keep):
    """mean <- keep mean + (1 - keep) value."""
    mean *= keep
    mean += (1.0 - keep) * value


def _positive(epsilon, param):
    """An epsilon of 0 as the smallest normal number, so that 0/0 is 0."""
    return max(epsilon, float(np.finfo(param.dtype).tiny))


def _squares(x):
    """The sum of squares, added up in float64."""
    return float(np.square(x, dtype=np.float64).sum())
