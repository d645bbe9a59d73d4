/* Every elementwise loss of fusedmlp/spec.py and its derivative with respect to the prediction.
 *
 * Included like activations.h, with the same macros.  loss_<row>(p, t, q) is the loss of one
 * element, p the prediction, t the target, q the loss's parameters in the row's order;
 * loss_<row>_grad its derivative by p.
 */

#define UNUSED __attribute__((unused))
#define VALUE(row) FM_INLINE R A(loss_##row)(R p, R t, UNUSED const R *q)
#define SLOPE(row) FM_INLINE R A(loss_##row##_grad)(R p, R t, UNUSED const R *q)

VALUE(mean_squared_error) { return (p - t) * (p - t); }
SLOPE(mean_squared_error) { return 2 * (p - t); }

VALUE(mean_absolute_error) { return M(abs)(p - t); }
SLOPE(mean_absolute_error)
{
    const R d = p - t;
    return d > 0 ? C(1) : (d < 0 ? C(-1) : d);
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

#undef UNUSED
#undef VALUE
#undef SLOPE
