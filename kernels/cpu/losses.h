/* Every loss of fusedmlp/spec.py and its derivative with respect to the prediction.
 *
 * Included like activations.h, with the same macros; the loops around these functions are in
 * loss_loops.h.  q are the loss's parameters in the row's order.
 *
 * elementwise   VALUE and SLOPE: p the prediction, t the target of one element.
 * distribution  VALUE3 and SLOPES: m, s and t of one element; the derivatives by m and s.
 * row           a loss is computed in passes over its row, each of which may read what the passes
 *               before found, in s: PEAK gives the numbers whose largest becomes s[0], FIRST adds
 *               to a[0], which becomes s[1], SECOND to a[0..2], which become s[2..4]; ROW_VALUE is
 *               the loss from s, ROW_SLOPE the derivative by the element x.
 * overlap       of the sums i = sum t p, t and p: the value, and its derivatives by i and p.
 */

#define UNUSED __attribute__((unused))
#define VALUE(row) FM_INLINE R A(loss_##row)(R p, R t, UNUSED const R *q)
#define SLOPE(row) FM_INLINE R A(loss_##row##_grad)(R p, R t, UNUSED const R *q)
#define VALUE3(row) FM_INLINE R A(loss_##row)(R m, R s, R t, UNUSED const R *q)
#define SLOPES(row) \
    FM_INLINE void A(loss_##row##_grad)(R m, R s, R t, UNUSED const R *q, R *dm, R *ds)
#define PEAK(row) FM_INLINE R A(peak_##row)(UNUSED R x, UNUSED R t)
#define FIRST(row) FM_INLINE void A(first_##row)(UNUSED R x, UNUSED const R *s, UNUSED R *a)
#define SECOND(row) \
    FM_INLINE void A(second_##row)(R x, R t, UNUSED const R *s, UNUSED const R *q, R *a)
#define ROW_VALUE(row) FM_INLINE R A(loss_##row)(const R *s, UNUSED const R *q)
#define ROW_SLOPE(row) \
    FM_INLINE R A(loss_##row##_grad)(UNUSED R x, R t, const R *s, UNUSED const R *q)
#define OVERLAP(row) \
    FM_INLINE double A(loss_##row)(double i, double t, double p, const R *q, double *di, double *dp)

/* base^exponent of a base that is not negative; 0^0 is 1 */
FM_INLINE R A(power)(R base, R exponent)
{
    const R result = M(exp)(exponent * M(log)(base));
    return exponent == 0 ? C(1) : result;
}

/* -- elementwise ------------------------------------------------------------------------------ */

VALUE(mean_squared_error) { return (p - t) * (p - t); }
SLOPE(mean_squared_error) { return 2 * (p - t); }

VALUE(mean_absolute_error) { return M(abs)(p - t); }
SLOPE(mean_absolute_error)
{
    const R d = p - t;
    return d > 0 ? C(1) : (d < 0 ? C(-1) : d);
}

/* q: epsilon */
VALUE(mean_absolute_percentage_error)
{
    return 100 * M(abs)(p - t) / M(at_least)(M(abs)(t), q[0]);
}
SLOPE(mean_absolute_percentage_error)
{
    const R d = p - t;
    return 100 * (d > 0 ? C(1) : (d < 0 ? C(-1) : d)) / M(at_least)(M(abs)(t), q[0]);
}

/* q: epsilon */
VALUE(mean_squared_logarithmic_error)
{
    const R e = M(log1p)(M(at_least)(p, q[0])) - M(log1p)(M(at_least)(t, q[0]));
    return e * e;
}
SLOPE(mean_squared_logarithmic_error)
{
    const R e = M(log1p)(M(at_least)(p, q[0])) - M(log1p)(M(at_least)(t, q[0]));
    return p <= q[0] ? C(0) : 2 * e / (1 + p);
}

/* |e| + log(1 + exp(-2 |e|)) - log 2; where that cancels, log(1 + r^2 / (2 (1 + r))) with
 * r = exp(-|e|) - 1 */
VALUE(log_cosh)
{
    const R a = M(abs)(p - t);
    const R r = M(expm1_nonpositive)(-M(at_most)(a, C(1)));
    const R small = M(log1p)(r * r / (2 * (1 + r)));
    const R large = a + (M(log1p_unit)(M(exp_nonpositive)(-2 * a)) - C(0.6931471805599453));
    return a < 1 ? small : large;
}
SLOPE(log_cosh) { return M(tanh)(p - t); }

/* q: delta */
VALUE(huber)
{
    const R a = M(abs)(p - t);
    const R inside = C(0.5) * a * a, outside = q[0] * (a - C(0.5) * q[0]);
    return a <= q[0] ? inside : outside;
}
SLOPE(huber) { return M(at_least)(M(at_most)(p - t, q[0]), -q[0]); }

/* q: quantile */
VALUE(quantile)
{
    const R e = t - p;
    return e < 0 ? (q[0] - 1) * e : q[0] * e;
}
SLOPE(quantile)
{
    const R e = t - p;
    return e > 0 ? -q[0] : (e < 0 ? 1 - q[0] : e);
}

/* q: epsilon */
VALUE(poisson) { return p - t * M(log)(p + q[0]); }
SLOPE(poisson) { return 1 - t / (p + q[0]); }

/* q: epsilon */
VALUE(kl_divergence)
{
    const R truth = M(at_least)(M(at_most)(t, C(1)), q[0]);
    return truth * M(log)(truth / M(at_least)(M(at_most)(p, C(1)), q[0]));
}
SLOPE(kl_divergence)
{
    const R slope = -M(at_least)(M(at_most)(t, C(1)), q[0]) / p;
    return p < q[0] || p > 1 ? C(0) : slope;
}

VALUE(hinge) { return M(at_least)(1 - t * p, C(0)); }
SLOPE(hinge)
{
    const R margin = 1 - t * p;
    return margin > 0 ? -t : (margin <= 0 ? C(0) : margin);
}

VALUE(squared_hinge)
{
    const R margin = M(at_least)(1 - t * p, C(0));
    return margin * margin;
}
SLOPE(squared_hinge) { return -2 * t * M(at_least)(1 - t * p, C(0)); }

/* an undecided prediction counts as wrong, or training from zeros would never start */
VALUE(perceptron) { return M(at_least)(-t * p, C(0)); }
SLOPE(perceptron)
{
    const R product = t * p;
    return product <= 0 ? -t : (product > 0 ? C(0) : product);
}

/* q: epsilon */
VALUE(binary_crossentropy)
{
    const R inside = M(at_least)(M(at_most)(p, 1 - q[0]), q[0]);
    return -(t * M(log)(inside) + (1 - t) * M(log1p)(-inside));
}
SLOPE(binary_crossentropy)
{
    const R slope = (p - t) / (p * (1 - p));
    return p < q[0] || p > 1 - q[0] ? C(0) : slope;
}

/* p is the logit z: max(z, 0) - z t is |z| times the target's distance from the side z is on,
 * which is 0, not inf - inf, where an infinite logit is right. */
VALUE(sigmoid_cross_entropy)
{
    const R a = M(abs)(p);
    const R distance = p > 0 ? 1 - t : t;
    return (distance == 0 ? C(0) : a * distance) + M(log1p_unit)(M(exp_nonpositive)(-a));
}
SLOPE(sigmoid_cross_entropy) { return M(sigmoid)(p) - t; }

/* p is the logarithm of the mean; nothing is counted where nothing is expected, also at -inf */
VALUE(log_poisson) { return M(exp)(p) - (t == 0 ? C(0) : t * p); }
SLOPE(log_poisson) { return M(exp)(p) - t; }

/* q: apply_class_balancing, alpha, gamma; what the cross-entropy is weighted by */
FM_INLINE R A(balance)(R t, const R *q)
{
    return q[0] != 0 ? t * q[1] + (1 - t) * (1 - q[1]) : C(1);
}

/* q: apply_class_balancing, alpha, gamma, epsilon */
VALUE(binary_focal_crossentropy)
{
    const R far = t * (1 - p) + (1 - t) * p;
    return A(balance)(t, q) * A(power)(far, q[2]) * A(loss_binary_crossentropy)(p, t, q + 3);
}
SLOPE(binary_focal_crossentropy)
{
    const R far = t * (1 - p) + (1 - t) * p;
    const R bend = q[2] == 0 ? C(0) : q[2] * A(power)(far, q[2] - 1) * (1 - 2 * t);
    return A(balance)(t, q) * (A(power)(far, q[2]) * A(loss_binary_crossentropy_grad)(p, t, q + 3) +
                               bend * A(loss_binary_crossentropy)(p, t, q + 3));
}

/* q: apply_class_balancing, alpha, gamma */
VALUE(sigmoid_focal_cross_entropy)
{
    const R far = t * M(sigmoid)(-p) + (1 - t) * M(sigmoid)(p);
    const R value = A(power)(far, q[2]) * A(loss_sigmoid_cross_entropy)(p, t, q);
    return A(balance)(t, q) * (far == 0 && q[2] > 0 ? C(0) : value);
}
SLOPE(sigmoid_focal_cross_entropy)
{
    const R y = M(sigmoid)(p), rest = M(sigmoid)(-p);
    const R far = t * rest + (1 - t) * y, value = A(loss_sigmoid_cross_entropy)(p, t, q);
    const R ratio = far == 0 ? C(0) : y * rest / far; /* far^gamma is 0 with it */
    const R bend = value == 0 ? C(0) : q[2] * ratio * (1 - 2 * t) * value;
    return A(balance)(t, q) * A(power)(far, q[2]) * ((y - t) + bend);
}

/* -- distribution ----------------------------------------------------------------------------- */

/* q: full, epsilon */
VALUE3(gaussian_negative_log_likelihood)
{
    const R log_variance = M(at_least)(s, M(log)(q[1])), e = t - m;
    return C(0.5) * (e * e * M(exp)(-log_variance) + log_variance +
                     (q[0] != 0 ? C(1.8378770664093453) : C(0)));
}
SLOPES(gaussian_negative_log_likelihood)
{
    const R log_variance = M(at_least)(s, M(log)(q[1])), e = t - m;
    const R precision = M(exp)(-log_variance);
    *dm = -e * precision;
    *ds = C(0.5) * (1 - e * e * precision);
}

/* -- rows ------------------------------------------------------------------------------------- */

/* s[1] = sum p; q[.] epsilon: the share x / s[1], clipped, and whether it was inside */
FM_INLINE R A(clipped_share)(R x, const R *s, R epsilon)
{
    const R share = x / s[1];
    return share < epsilon ? epsilon : (share > 1 - epsilon ? 1 - epsilon : share);
}
FM_INLINE int A(share_inside)(R x, const R *s, R epsilon)
{
    const R share = x / s[1];
    return share >= epsilon && share <= 1 - epsilon;
}

/* q: epsilon */
PEAK(categorical_crossentropy) { return 0; }
FIRST(categorical_crossentropy) { a[0] += x; }
SECOND(categorical_crossentropy)
{
    const R term = -t * M(log)(A(clipped_share)(x, s, q[0]));
    a[0] += t == 0 ? C(0) : term;
    a[1] += A(share_inside)(x, s, q[0]) ? t : C(0);
}
ROW_VALUE(categorical_crossentropy) { return s[2]; }
ROW_SLOPE(categorical_crossentropy)
{
    const R h = t / A(clipped_share)(x, s, q[0]);
    return (s[3] - (A(share_inside)(x, s, q[0]) ? h : C(0))) / s[1];
}

/* q: alpha, gamma, epsilon */
FM_INLINE R A(focal_slope)(R x, R t, const R *s, const R *q)
{
    const R share = A(clipped_share)(x, s, q[2]), rest = 1 - share;
    const R focus = A(power)(rest, q[1]);
    const R h = q[0] * t * (q[1] * focus / rest * M(log)(share) - focus / share);
    return A(share_inside)(x, s, q[2]) ? h : C(0);
}
PEAK(categorical_focal_crossentropy) { return 0; }
FIRST(categorical_focal_crossentropy) { a[0] += x; }
SECOND(categorical_focal_crossentropy)
{
    const R share = A(clipped_share)(x, s, q[2]);
    const R term = -q[0] * t * A(power)(1 - share, q[1]) * M(log)(share);
    a[0] += t == 0 ? C(0) : term;
    a[1] += A(focal_slope)(x, t, s, q) * share;
}
ROW_VALUE(categorical_focal_crossentropy) { return s[2]; }
ROW_SLOPE(categorical_focal_crossentropy)
{
    return (A(focal_slope)(x, t, s, q) - s[3]) / s[1];
}

/* s[0] the largest logit, s[1] = sum exp(z - s[0]); q: alpha, gamma */
FM_INLINE R A(focal_logit_slope)(R x, R t, const R *s, const R *q)
{
    const R log_y = (x - s[0]) - M(log)(s[1]), y = M(exp)(log_y);
    const R rest = M(at_least)(1 - y, C(0));
    const R bend = q[1] * (y == 0 ? C(0) : y * log_y) / rest;
    return q[0] * t * A(power)(rest, q[1]) * ((rest == 0 ? C(0) : bend) - 1);
}
PEAK(softmax_focal_cross_entropy) { return x; }
FIRST(softmax_focal_cross_entropy) { a[0] += M(exp)(x - s[0]); }
SECOND(softmax_focal_cross_entropy)
{
    const R log_y = (x - s[0]) - M(log)(s[1]);
    const R rest = M(at_least)(1 - M(exp)(log_y), C(0));
    const R term = -q[0] * t * A(power)(rest, q[1]) * log_y;
    a[0] += t == 0 ? C(0) : term;
    a[1] += A(focal_logit_slope)(x, t, s, q);
}
ROW_VALUE(softmax_focal_cross_entropy) { return s[2]; }
ROW_SLOPE(softmax_focal_cross_entropy)
{
    const R y = M(exp)((x - s[0]) - M(log)(s[1]));
    return A(focal_logit_slope)(x, t, s, q) - y * s[3];
}

/* q: q */
PEAK(categorical_generalized_cross_entropy) { return 0; }
FIRST(categorical_generalized_cross_entropy) { }
SECOND(categorical_generalized_cross_entropy) { a[0] += x * t; }
ROW_VALUE(categorical_generalized_cross_entropy) { return (1 - A(power)(s[2], q[0])) / q[0]; }
ROW_SLOPE(categorical_generalized_cross_entropy)
{
    const R slope = -A(power)(s[2], q[0] - 1) * t;
    return t == 0 ? C(0) : slope;
}

/* q: q */
PEAK(softmax_generalized_cross_entropy) { return x; }
FIRST(softmax_generalized_cross_entropy) { a[0] += M(exp)(x - s[0]); }
SECOND(softmax_generalized_cross_entropy) { a[0] += M(exp)(x - s[0]) / s[1] * t; }
ROW_VALUE(softmax_generalized_cross_entropy) { return (1 - A(power)(s[2], q[0])) / q[0]; }
ROW_SLOPE(softmax_generalized_cross_entropy)
{
    const R y = M(exp)(x - s[0]) / s[1], share = y * t / s[2];
    return A(power)(s[2], q[0]) * (y - (y * t == 0 ? C(0) : share));
}

/* s[2] = sum p^2, s[3] = sum t^2, s[4] = sum t p; q: epsilon */
PEAK(cosine_similarity) { return 0; }
FIRST(cosine_similarity) { }
SECOND(cosine_similarity)
{
    a[0] += x * x;
    a[1] += t * t;
    a[2] += x * t;
}
ROW_VALUE(cosine_similarity)
{
    return -s[4] / (M(at_least)(M(sqrt)(s[2]), q[0]) * M(at_least)(M(sqrt)(s[3]), q[0]));
}
ROW_SLOPE(cosine_similarity)
{
    const R size = M(sqrt)(s[2]), by_p = M(at_least)(size, q[0]);
    const R by_t = M(at_least)(M(sqrt)(s[3]), q[0]);
    const R turn = x / by_p * (s[4] / (by_p * by_t));
    return ((size > q[0] ? turn : C(0)) - t / by_t) / by_p;
}

/* s[0] = max (1 - t) p, s[2] = sum t p, s[3] the number of the largest */
PEAK(categorical_hinge) { return (1 - t) * x; }
FIRST(categorical_hinge) { }
SECOND(categorical_hinge)
{
    a[0] += t * x;
    a[1] += (1 - t) * x == s[0] ? C(1) : C(0);
}
ROW_VALUE(categorical_hinge) { return M(at_least)(s[0] - s[2] + 1, C(0)); }
ROW_SLOPE(categorical_hinge)
{
    const R margin = s[0] - s[2] + 1;
    const R slope = ((1 - t) * x == s[0] ? (1 - t) / s[3] : C(0)) - t;
    return margin > 0 ? slope : (margin <= 0 ? C(0) : margin);
}

/* -- overlap ---------------------------------------------------------------------------------- */

/* q: epsilon */
OVERLAP(dice)
{
    const double d = t + p + q[0];
    *di = -2 / d;
    *dp = 2 * i / (d * d);
    return 1 - 2 * i / d;
}

/* q: alpha, beta, epsilon */
OVERLAP(tversky)
{
    const double alpha = q[0], beta = q[1], d = i + alpha * (t - i) + beta * (p - i) + q[2];
    *di = -(d - i * (1 - alpha - beta)) / (d * d);
    *dp = beta * i / (d * d);
    return 1 - i / d;
}

/* -- pairs ------------------------------------------------------------------------------------ */

/* Loss of one row from its products with all n rows, and its derivatives by them, which take the
 * products' place; q: gamma, margin, remove_diagonal. */
FM_INLINE R A(loss_circle)(long n, long own, const int64_t *group, R *products, const R *q)
{
    const R gamma = q[0], margin = q[1];
    R largest[2] = {-C(INFINITY), -C(INFINITY)}, sum[2] = {0, 0};
    long count[2] = {0, 0};
#define DISTANCE(j) M(at_least)(1 - products[j], C(0))
#define FAR(j) (group[j] != group[own])
#define COUNTS(j) ((j) != own || q[2] == 0 || FAR(j))
#define TERM(d, far) ((far) ? gamma * M(at_least)(1 + margin - (d), C(0)) * (1 - margin - (d)) \
                            : -gamma * (margin + (d)) * (margin - (d)))
    for (long j = 0; j < n; j++) {
        const int far = FAR(j);
        const R d = DISTANCE(j), term = TERM(d, far);
        if (COUNTS(j)) {
            largest[far] = term > largest[far] || term != term ? term : largest[far];
            count[far]++;
        }
    }
    if (!count[0] || !count[1]) {
        for (long j = 0; j < n; j++) {
            products[j] = 0;
        }
        return 0;
    }
    for (long j = 0; j < n; j++) {
        const int far = FAR(j);
        const R d = DISTANCE(j), e = M(exp)(TERM(d, far) - largest[far]);
        sum[far] += COUNTS(j) ? e : C(0);
    }
    const R both = largest[0] + M(log)(sum[0]) + (largest[1] + M(log)(sum[1]));
    const R slope = M(sigmoid)(both);
    for (long j = 0; j < n; j++) {
        const int far = FAR(j);
        const R d = DISTANCE(j), share = M(exp)(TERM(d, far) - largest[far]) / sum[far];
        const R bend = far ? (d > 1 + margin ? C(0) : 2 * gamma * (1 - d)) : -2 * gamma * d;
        const R by_product = products[j] < 1 ? bend : C(0) * bend;
        products[j] = COUNTS(j) ? slope * share * by_product : C(0);
    }
#undef DISTANCE
#undef FAR
#undef COUNTS
#undef TERM
    return M(softplus)(both);
}

#undef UNUSED
#undef VALUE
#undef SLOPE
#undef VALUE3
#undef SLOPES
#undef PEAK
#undef FIRST
#undef SECOND
#undef ROW_VALUE
#undef ROW_SLOPE
#undef OVERLAP
