/* Every elementwise optimizer of fusedmlp/spec.py: what a step computes once, and one element.
 *
 * coefficients_<row>(rate, t, p, tiny, c) fills c from the learning rate, the count t of the update
 * from 1 and the hyperparameters p in the row's order; `tiny` is the smallest normal number, which
 * an epsilon of 0 counts as, so that 0/0 is 0 where a gradient always was 0.
 * UPDATE(row) returns the new parameter from the decayed old one w, the gradient g and the slots s,
 * which it replaces; no branches, so that loops vectorise, and NaN in gives NaN out.
 *
 * Included like activations.h, with the same macros.
 */
#ifndef FM_OPTIMIZERS_ONCE
#define FM_OPTIMIZERS_ONCE

enum { FM_COEFFICIENTS = 8 };

#define COEFFICIENTS(row)                                                                        \
    static void coefficients_##row(UNUSED double rate, UNUSED double t, UNUSED const double *p,  \
                                   UNUSED double tiny, UNUSED double *c)
#define UNUSED __attribute__((unused))

/* 1 - beta^t; the bits depend on beta and t alone */
FM_INLINE double fm_corrected(double beta, double t)
{
    return beta > 0 ? -expm1(t * log(beta)) : 1;
}

FM_INLINE double fm_positive(double epsilon, double tiny)
{
    return epsilon > tiny ? epsilon : tiny;
}

COEFFICIENTS(sgd) { c[0] = rate; }

COEFFICIENTS(momentum)
{
    c[0] = rate;
    c[1] = p[0];
    c[2] = p[1];
}

COEFFICIENTS(adam)
{
    c[0] = rate * sqrt(fm_corrected(p[1], t)) / fm_corrected(p[0], t);
    c[1] = 1 - p[0];
    c[2] = 1 - p[1];
    c[3] = fm_positive(p[2], tiny);
}

COEFFICIENTS(amsgrad) { coefficients_adam(rate, t, p, tiny, c); }

COEFFICIENTS(rmsprop)
{
    c[0] = rate;
    c[1] = p[0];
    c[2] = 1 - p[0];
    c[3] = fm_positive(p[1], tiny);
}

COEFFICIENTS(rmsprop_momentum)
{
    c[0] = rate;
    c[1] = p[0];
    c[2] = 1 - p[0];
    c[3] = fm_positive(p[2], tiny);
    c[4] = p[1];
}

COEFFICIENTS(rmsprop_centered) { coefficients_rmsprop(rate, t, p, tiny, c); }
COEFFICIENTS(rmsprop_centered_momentum) { coefficients_rmsprop_momentum(rate, t, p, tiny, c); }

COEFFICIENTS(adagrad)
{
    c[0] = rate;
    c[1] = fm_positive(p[0], tiny);
}

COEFFICIENTS(adadelta) { coefficients_rmsprop(rate, t, p, tiny, c); }

COEFFICIENTS(adamax)
{
    c[0] = rate / fm_corrected(p[0], t);
    c[1] = 1 - p[0];
    c[2] = p[1];
    c[3] = fm_positive(p[2], tiny);
}

/* mu_1 ... mu_t with mu_i = beta (1 - 0.96^i / 2); from i = 1000 on the factors are beta alone */
static double fm_nadam_product(double beta, double t)
{
    double product = t < 1000 ? 1 : 0x1.e3bb0d665e2b9p-21, power = 1;
    for (int i = 1; t < 1000 && i <= t; i++) {
        power *= 0.96;
        product *= 1 - 0.5 * power;
    }
    return beta > 0 ? product * exp(t * log(beta)) : 0;
}

COEFFICIENTS(nadam)
{
    const double now = p[0] * (1 - 0.5 * pow(0.96, t)), next = p[0] * (1 - 0.5 * pow(0.96, t + 1));
    const double product = fm_nadam_product(p[0], t);
    c[0] = rate * next / (1 - product * next);
    c[1] = rate * (1 - now) / (1 - product);
    c[2] = 1 - p[0];
    c[3] = 1 - p[1];
    c[4] = fm_corrected(p[1], t);
    c[5] = fm_positive(p[2], tiny);
}

COEFFICIENTS(ftrl)
{
    c[0] = rate;
    c[1] = -p[0];
    c[2] = p[1];
    c[3] = 2 * p[2] + (rate > 0 ? p[4] / rate : 0);
    c[4] = 2 * p[3];
}

COEFFICIENTS(lion)
{
    c[0] = rate;
    c[1] = p[0];
    c[2] = 1 - p[0];
    c[3] = p[1];
    c[4] = 1 - p[1];
}

/* Before the rectification can be had the root is replaced by 1. */
COEFFICIENTS(radam)
{
    const double corrected = fm_corrected(p[1], t), most = 2 / (1 - p[1]) - 1;
    const double rho = most - 2 * t * (1 - corrected) / corrected;
    c[0] = rate / fm_corrected(p[0], t);
    c[1] = 1 - p[0];
    c[2] = p[1];
    c[3] = 1 - p[1];
    c[4] = rho > 5;
    c[5] = 1;
    if (rho > 5) {
        c[0] *= sqrt((rho - 4) * (rho - 2) * most / ((most - 4) * (most - 2) * rho) * corrected);
        c[5] = fm_positive(p[2], tiny);
    }
}

COEFFICIENTS(rprop)
{
    for (int k = 0; k < 4; k++) {
        c[k] = p[k];
    }
}

COEFFICIENTS(schedule_free_adamw)
{
    c[0] = p[3] > 0 && t < p[3] ? rate * (t / p[3]) : rate;
    c[1] = fm_corrected(p[1], t);
    c[2] = 1 - p[1];
    c[3] = fm_positive(p[2], tiny);
    c[4] = 1 - p[0];
    c[5] = 1 - 1 / t;
    c[6] = p[0] / t;
}

#undef COEFFICIENTS
#undef UNUSED
#endif

#define UNUSED __attribute__((unused))
#define UPDATE(row) FM_INLINE R A(step_##row)(R w, R g, UNUSED R *s, const R *c)
#define SIGN(x) ((x) > 0 ? C(1) : ((x) < 0 ? C(-1) : (x)))

UPDATE(sgd) { return w - c[0] * g; }

UPDATE(momentum)
{
    const R step = c[0] * g;
    s[0] = c[1] * s[0] - step;
    return w + (c[2] != 0 ? c[1] * s[0] - step : s[0]);
}

UPDATE(adam)
{
    s[0] = s[0] + c[1] * (g - s[0]);
    s[1] = s[1] + c[2] * (g * g - s[1]);
    return w - c[0] * s[0] / (M(sqrt)(s[1]) + c[3]);
}

UPDATE(amsgrad)
{
    s[0] = s[0] + c[1] * (g - s[0]);
    s[1] = s[1] + c[2] * (g * g - s[1]);
    s[2] = M(at_least)(s[1], s[2]);
    return w - c[0] * s[0] / (M(sqrt)(s[2]) + c[3]);
}

UPDATE(rmsprop)
{
    s[0] = c[1] * s[0] + c[2] * (g * g);
    return w - c[0] * g / M(sqrt)(s[0] + c[3]);
}

UPDATE(rmsprop_momentum)
{
    s[0] = c[1] * s[0] + c[2] * (g * g);
    s[1] = c[4] * s[1] + c[0] * g / M(sqrt)(s[0] + c[3]);
    return w - s[1];
}

UPDATE(rmsprop_centered)
{
    s[0] = c[1] * s[0] + c[2] * (g * g);
    s[1] = c[1] * s[1] + c[2] * g;
    return w - c[0] * g / M(sqrt)(M(at_least)(s[0] - s[1] * s[1], C(0)) + c[3]);
}

UPDATE(rmsprop_centered_momentum)
{
    s[0] = c[1] * s[0] + c[2] * (g * g);
    s[1] = c[1] * s[1] + c[2] * g;
    s[2] = c[4] * s[2] + c[0] * g / M(sqrt)(M(at_least)(s[0] - s[1] * s[1], C(0)) + c[3]);
    return w - s[2];
}

UPDATE(adagrad)
{
    s[0] = s[0] + g * g;
    return w - c[0] * g / M(sqrt)(s[0] + c[1]);
}

UPDATE(adadelta)
{
    s[0] = c[1] * s[0] + c[2] * (g * g);
    const R delta = M(sqrt)(s[1] + c[3]) * g / M(sqrt)(s[0] + c[3]);
    s[1] = c[1] * s[1] + c[2] * (delta * delta);
    return w - c[0] * delta;
}

UPDATE(adamax)
{
    s[0] = s[0] + c[1] * (g - s[0]);
    s[1] = M(at_least)(M(abs)(g), c[2] * s[1]);
    return w - c[0] * s[0] / (s[1] + c[3]);
}

UPDATE(nadam)
{
    s[0] = s[0] + c[2] * (g - s[0]);
    s[1] = s[1] + c[3] * (g * g - s[1]);
    return w - (c[0] * s[0] + c[1] * g) / (M(sqrt)(s[1] / c[4]) + c[5]);
}

/* x^q for x >= 0; q is the same for all elements */
FM_INLINE R A(nonnegative_power)(R x, R q)
{
    return q == C(0.5) ? M(sqrt)(x) : (q == 0 ? x - x + 1 : M(exp)(q * M(log)(x)));
}

UPDATE(ftrl)
{
    const R a = s[0] + g * g, after = A(nonnegative_power)(a, c[1]);
    const R before = A(nonnegative_power)(s[0], c[1]);
    const R z = s[1] + (g + c[4] * w - (after - before) / c[0] * w);
    const R excess = M(at_least)(M(at_most)(z, c[2]), -c[2]) - z;
    const R found = excess == 0 ? C(0) : excess / (after / c[0] + c[3]);
    s[0] = c[0] > 0 ? a : s[0];
    s[1] = c[0] > 0 ? z : s[1];
    return c[0] > 0 ? found : w;
}

UPDATE(lion)
{
    const R direction = c[1] * s[0] + c[2] * g;
    s[0] = c[3] * s[0] + c[4] * g;
    return w - c[0] * SIGN(direction);
}

UPDATE(radam)
{
    s[0] = s[0] + c[1] * (g - s[0]);
    s[1] = c[2] * s[1] + c[3] * (g * g);
    return w - c[0] * s[0] / (c[4] != 0 ? M(sqrt)(s[1]) + c[5] : c[5]);
}

UPDATE(rprop)
{
    const R agree = SIGN(g) * SIGN(s[0]), factor = agree > 0 ? c[1] : (agree < 0 ? c[0] : C(1));
    s[1] = M(at_least)(M(at_most)(s[1] * factor, c[3]), c[2]);
    s[0] = agree < 0 ? C(0) : g;
    return w - s[1] * SIGN(s[0]);
}

UPDATE(schedule_free_adamw)
{
    const R average = c[5] * (w - c[4] * s[0]);
    s[1] = s[1] + c[2] * (g * g - s[1]);
    s[0] = s[0] - c[0] * g / (M(sqrt)(s[1] / c[1]) + c[3]);
    return c[4] * s[0] + (average + c[6] * s[0]);
}

#undef UNUSED
#undef UPDATE
#undef SIGN
