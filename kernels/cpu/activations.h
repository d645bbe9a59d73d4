/* Every elementwise activation of fusedmlp/spec.py and its derivative, one element at a time.
 *
 * Included once per precision by a template that defines R (float or double), A(name) (the name
 * with the precision's suffix), M(name) (a function of vecmath.h in that precision) and C(x) (a
 * literal of type R).  act_<row>(x, p) is the function, p its parameters in the row's order;
 * act_<row>_grad(x or y, p) the derivative, read from the input or the output as the row's `reads`
 * says; the caller multiplies it by dy.  Bodies are free of branches, so that loops vectorise, and
 * comparisons are written so that NaN in gives NaN out.
 */

#define UNUSED __attribute__((unused))
#define VALUE(row) FM_INLINE R A(act_##row)(R x, UNUSED const R *p)
#define SLOPE(row, reads) FM_INLINE R A(act_##row##_grad)(UNUSED R reads, UNUSED const R *p)

VALUE(linear) { return x; }
SLOPE(linear, y) { return C(1); }

/* -- steps: NaN stays NaN, the derivative is 0 everywhere ------------------------------------- */

VALUE(binary_step) { return x >= 0 ? C(1) : (x < 0 ? C(0) : x); }
SLOPE(binary_step, x) { return C(0); }

VALUE(unit_step) { return x > 0 ? C(1) : (x < 0 ? C(0) : x + C(0.5)); }
SLOPE(unit_step, x) { return C(0); }

VALUE(sign) { return x > 0 ? C(1) : (x < 0 ? C(-1) : x); }
SLOPE(sign, x) { return C(0); }

/* -- sigmoids --------------------------------------------------------------------------------- */

VALUE(piecewise_linear) { return M(at_least)(M(at_most)(x + C(0.5), C(1)), C(0)); }
SLOPE(piecewise_linear, x) { return M(abs)(x) < C(0.5) ? C(1) : C(0); }

VALUE(sigmoid) { return M(sigmoid)(x); }
SLOPE(sigmoid, y) { return y * (1 - y); }

VALUE(log_sigmoid) { return -M(softplus)(-x); }
SLOPE(log_sigmoid, y) { return -M(expm1_nonpositive)(y); }

VALUE(hard_sigmoid) { return M(at_least)(M(at_most)((x + 3) / 6, C(1)), C(0)); }
SLOPE(hard_sigmoid, x) { return M(abs)(x) < 3 ? C(1) / 6 : C(0); }

VALUE(sparse_sigmoid) { return M(at_least)(M(at_most)((x + 1) * C(0.5), C(1)), C(0)); }
SLOPE(sparse_sigmoid, x) { return M(abs)(x) < 1 ? C(0.5) : C(0); }

VALUE(tanh) { return M(tanh)(x); }
SLOPE(tanh, y) { return (1 - y) * (1 + y); }

VALUE(hard_tanh) { return M(at_least)(M(at_most)(x, C(1)), C(-1)); }
SLOPE(hard_tanh, x) { return M(abs)(x) < 1 ? C(1) : C(0); }

VALUE(arctan) { return M(atan)(x); }
SLOPE(arctan, x) { return M(atan_grad)(x); }

/* x / (1 + |x|); beyond SQUARE_MAX both grow alike and inf / inf is kept away */
VALUE(softsign)
{
    const R a = M(at_most)(M(abs)(x), C(0x1p+62));
    return M(with_sign)(a / (1 + a), x);
}
SLOPE(softsign, y)
{
    const R rest = 1 - M(abs)(y);
    return rest * rest;
}

/* -- rectifiers ------------------------------------------------------------------------------- */

VALUE(relu) { return M(at_least)(x, C(0)); }
SLOPE(relu, y) { return y > 0 ? C(1) : C(0); }

/* p: negative_slope, max_value, threshold; a slope of 0 is 0 at -inf too */
VALUE(clipped_relu)
{
    const R below = p[0] == 0 ? C(0) : p[0] * (x - p[2]);
    return M(at_most)(x < p[2] ? below : x, p[1]);
}
SLOPE(clipped_relu, x) { return x >= p[1] ? C(0) : (x > p[2] ? C(1) : p[0]); }

VALUE(relu6) { return M(at_least)(M(at_most)(x, C(6)), C(0)); }
SLOPE(relu6, y) { return y > 0 && y < 6 ? C(1) : C(0); }

/* p: negative_slope */
VALUE(leaky_relu) { return x >= 0 ? x : p[0] * x; }
SLOPE(leaky_relu, x) { return x > 0 ? C(1) : p[0]; }

/* p: alpha */
VALUE(elu) { return x < 0 ? p[0] * M(expm1_negative)(x) : x; }
SLOPE(elu, x) { return x > 0 ? C(1) : p[0] * M(exp_nonpositive)(x); }

#define SELU_SCALE C(1.0507009873554804934193349852946)
#define SELU_SCALE_ALPHA C(1.7580993408473768599402175208123)
VALUE(selu)
{
    return x < 0 ? SELU_SCALE_ALPHA * M(expm1_negative)(x) : SELU_SCALE * x;
}
SLOPE(selu, y) { return y > 0 ? SELU_SCALE : y + SELU_SCALE_ALPHA; }
#undef SELU_SCALE
#undef SELU_SCALE_ALPHA

/* p: alpha */
VALUE(celu) { return x < 0 ? p[0] * M(expm1_negative)(x / p[0]) : x; }
SLOPE(celu, x) { return x > 0 ? C(1) : M(exp_nonpositive)(x / p[0]); }

VALUE(gelu) { return M(gelu)(x); }
SLOPE(gelu, x) { return M(gelu_grad)(x); }

VALUE(gelu_tanh) { return M(gelu_tanh)(x); }
SLOPE(gelu_tanh, x) { return M(gelu_tanh_grad)(x); }

VALUE(silu) { return M(silu)(x); }
SLOPE(silu, x) { return M(silu_grad)(x); }

VALUE(hard_silu)
{
    const R inside = x * (x + 3) / 6;
    return x >= 3 ? x : (x <= -3 ? C(0) : inside);
}
SLOPE(hard_silu, x) { return x >= 3 ? C(1) : (x <= -3 ? C(0) : x / 3 + C(0.5)); }

VALUE(mish) { return M(mish)(x); }
SLOPE(mish, x) { return M(mish_grad)(x); }

VALUE(softplus) { return M(softplus)(x); }
SLOPE(softplus, y) { return -M(expm1_nonpositive)(-y); }

VALUE(sparse_plus)
{
    const R inside = (x + 1) * (x + 1) * C(0.25);
    return x >= 1 ? x : (x <= -1 ? C(0) : inside);
}
SLOPE(sparse_plus, x) { return x >= 1 ? C(1) : (x <= -1 ? C(0) : (x + 1) * C(0.5)); }

/* p: b.  With r = sqrt(x^2 + b), (x + r) / 2 cancels where x lies far below 0 and is
 * b / (2 (r - x)) there; where it doesn't cancel it has one rounding less. */
VALUE(squareplus)
{
    const R a = M(abs)(x), root = M(root_of_sum)(x, p[0]);
    const R half = C(0.5) * a + C(0.5) * root;
    const R below = 3 * root > 5 * a ? C(0.5) * (root - a) : C(0.25) * p[0] / half;
    return x < 0 ? below : half;
}
/* squareplus(x) / r; 1/2 where b = x = 0 */
SLOPE(squareplus, x)
{
    const R limited = M(at_most)(x, C(0x1p+100));
    const R root = M(root_of_sum)(limited, p[0]);
    const R slope = A(act_squareplus)(limited, p) / root;
    return root == 0 ? C(0.5) : slope;
}

VALUE(exponential) { return M(exp)(x); }
SLOPE(exponential, y) { return y; }

/* -- thresholds ------------------------------------------------------------------------------- */

/* p: threshold, default_value */
VALUE(threshold) { return x <= p[0] ? p[1] : x; }
SLOPE(threshold, x) { return x > p[0] ? C(1) : C(0); }

/* p: threshold */
VALUE(hard_shrink) { return M(abs)(x) <= p[0] ? C(0) : x; }
SLOPE(hard_shrink, x) { return M(abs)(x) > p[0] ? C(1) : C(0); }

/* p: threshold */
VALUE(soft_shrink)
{
    const R over = M(with_sign)(M(abs)(x) - p[0], x);
    return M(abs)(x) <= p[0] ? C(0) : over;
}
SLOPE(soft_shrink, x) { return M(abs)(x) > p[0] ? C(1) : C(0); }

VALUE(tanh_shrink) { return M(tanh_shrink)(x); }
SLOPE(tanh_shrink, x)
{
    const R t = M(tanh)(x);
    return t * t;
}

#undef UNUSED
#undef VALUE
#undef SLOPE
