/* The functions of vecmath.h, once for float and once for double; included by it alone.
 *
 * Exponentials reduce x = n ln 2 + r, |r| <= ln(2)/2 (Cody and Waite), and stay a pair (s, p) with
 * exp(x) = s (1 + p), s a power of two and p = expm1(r): what is made of it then costs a single
 * rounding, fma(s, p, s + c).  n is rounded by adding FM_MAGIC = 1.5 * 2^MANTISSA, so that the low
 * bits of the sum hold n, and shifting them into the exponent gives 2^n without a conversion.
 * Scales that leave the range of normal numbers are split: s carries a spare factor 2^+-SPLIT that
 * the last operation takes out again, which rounds denormal results once.
 */

#define FM_INF ((FM_R)__builtin_inff())
#define FM_NAN ((FM_R)__builtin_nanf(""))

FM_INLINE FM_U FM(bits)(FM_R x) {
    FM_U u;
    memcpy(&u, &x, sizeof u);
    return u;
}

FM_INLINE FM_R FM(from_bits)(FM_U u) {
    FM_R x;
    memcpy(&x, &u, sizeof x);
    return x;
}

FM_INLINE FM_R FM(abs)(FM_R x) { return FM(from_bits)(FM(bits)(x) & ~FM_SIGN_MASK); }

FM_INLINE FM_R FM(copysign)(FM_R x, FM_R s) {
    return FM(from_bits)((FM(bits)(x) & ~FM_SIGN_MASK) | (FM(bits)(s) & FM_SIGN_MASK));
}

/* y >= 0 with the sign of s */
FM_INLINE FM_R FM(with_sign)(FM_R y, FM_R s) {
    return FM(from_bits)(FM(bits)(y) | (FM(bits)(s) & FM_SIGN_MASK));
}

FM_INLINE FM_R FM(sqrt)(FM_R x) {
    return sizeof(FM_R) == sizeof(float) ? (FM_R)__builtin_sqrtf((float)x)
                                         : (FM_R)__builtin_sqrt((double)x);
}

/* min(x, high) and max(x, low) that keep NaN */
FM_INLINE FM_R FM(at_most)(FM_R x, FM_R high) { return high < x ? high : x; }
FM_INLINE FM_R FM(at_least)(FM_R x, FM_R low) { return low > x ? low : x; }

/* min(|x|, high) and, where x < 0, max(x, low) with low < 0; NaN and other x give any number.  As
 * integers these are one instruction each, and not one of the busy floating-point units. */
#if defined(__AVX512F__) || FM_MANTISSA == 23
FM_INLINE FM_R FM(magnitude_at_most)(FM_R x, FM_R high) {
    FM_U u = FM(bits)(x) & ~FM_SIGN_MASK, limit = FM(bits)(high);
    return FM(from_bits)(limit < u ? limit : u);
}
FM_INLINE FM_R FM(negative_at_least)(FM_R x, FM_R low) {
    FM_U u = FM(bits)(x), limit = FM(bits)(low);
    return FM(from_bits)(limit < u ? limit : u);
}
FM_INLINE FM_R FM(larger)(FM_R a, FM_R b) { /* of positive numbers, as is the next */
    FM_U u = FM(bits)(a), v = FM(bits)(b);
    return FM(from_bits)(u > v ? u : v);
}
FM_INLINE FM_R FM(smaller)(FM_R a, FM_R b) {
    FM_U u = FM(bits)(a), v = FM(bits)(b);
    return FM(from_bits)(u > v ? v : u);
}
#else
FM_INLINE FM_R FM(magnitude_at_most)(FM_R x, FM_R high) { return FM(at_most)(FM(abs)(x), high); }
FM_INLINE FM_R FM(negative_at_least)(FM_R x, FM_R low) { return FM(at_least)(x, low); }
FM_INLINE FM_R FM(larger)(FM_R a, FM_R b) { return a > b ? a : b; }
FM_INLINE FM_R FM(smaller)(FM_R a, FM_R b) { return a > b ? b : a; }
#endif

/* a b - ab, exactly, where ab is a b rounded */
FM_INLINE FM_R FM(product_error)(FM_R a, FM_R b, FM_R ab) {
#if FM_HAS_FMA
    return FM(fma)(a, b, -ab);
#else
    /* Dekker (1971), the halves cut off by masks */
    FM_R ah = FM(from_bits)(FM(bits)(a) & FM_HALF_MASK), al = a - ah;
    FM_R bh = FM(from_bits)(FM(bits)(b) & FM_HALF_MASK), bl = b - bh;
    return ((ah * bh - ab) + ah * bl + al * bh) + al * bl;
#endif
}

/* a b + c in one rounding, near enough, where c is small against a b */
FM_INLINE FM_R FM(product_plus)(FM_R a, FM_R b, FM_R c) {
#if FM_HAS_FMA
    return FM(fma)(a, b, c);
#else
    FM_R ab = a * b;
    return ab + (FM(product_error)(a, b, ab) + c);
#endif
}

typedef struct {
    FM_R s, p;
} FM(exp_pair);

/* exp(x + x_low) 2^shift = s (1 + p); x finite or NaN and 2^(n + shift) a normal number */
FM_INLINE FM(exp_pair) FM(exp_split)(FM_R x, FM_R x_low, int shift) {
    FM_R magic = FM_MAGIC + (FM_R)(FM_BIAS + shift);
    FM_R t = FM(fma)(x, FM_C(0x1.71547652b82fep+0), magic);
    FM_R n = t - magic;
    FM_R r = FM(fma)(n, -FM_LN2_HI, x);
    r = FM(fma)(n, -FM_LN2_LO, r) + x_low;
    FM(exp_pair) e;
    e.s = FM(from_bits)(FM(bits)(t) << FM_MANTISSA);
    e.p = FM(fma)(r * r, FM(poly_expm1)(r), r);
    return e;
}

#define FM_EXP_SPLIT(x, shift) FM(exp_split)(x, (FM_R)-0.0, shift)
#define FM_SPARE (1 / (FM_R)(UINT64_C(1) << (FM_SPLIT - 1)) / 2) /* 2^-SPLIT */

FM_INLINE FM_R FM(exp)(FM_R x) {
    x = FM(at_least)(FM(at_most)(x, FM_EXP_MAX), FM_EXP_MIN);
    FM_R magic = FM_MAGIC + (FM_R)(2 * FM_BIAS);
    FM_R t = FM(fma)(x, FM_C(0x1.71547652b82fep+0), magic);
    FM_R n = t - magic;
    FM_R r = FM(fma)(n, -FM_LN2_LO, FM(fma)(n, -FM_LN2_HI, x));
    FM_R p = FM(fma)(r * r, FM(poly_expm1)(r), r);
    /* 2^n in two factors with exponents n/2 rounded down and up */
    FM_U both = FM(bits)(t), down = both >> 1, up = both - down;
    FM_R s = FM(from_bits)(down << FM_MANTISSA);
    return FM(fma)(s, p, s) * FM(from_bits)(up << FM_MANTISSA);
}

/* exp(-a) where 0 <= a <= -EXP_MIN */
FM_INLINE FM_R FM(exp_minus)(FM_R a) {
    FM(exp_pair) e = FM_EXP_SPLIT(-a, FM_SPLIT);
    return FM(fma)(e.s, e.p, e.s) * FM_SPARE;
}

/* exp(x) for x <= 0 or NaN; other x give any number */
FM_INLINE FM_R FM(exp_nonpositive)(FM_R x) { return FM(exp_minus)(-FM(at_least)(x, FM_EXP_MIN)); }

/* exp(x) - 1 for x < 0; -0 gives 0, other x and NaN any number */
FM_INLINE FM_R FM(expm1_negative)(FM_R x) {
    FM(exp_pair) e = FM_EXP_SPLIT(FM(negative_at_least)(x, FM_EXPM1_MIN), 0);
    return FM(fma)(e.s, e.p, e.s - 1);
}

/* exp(x) - 1 for x <= 0 or NaN; -0 gives 0, other x any number */
FM_INLINE FM_R FM(expm1_nonpositive)(FM_R x) {
    FM(exp_pair) e = FM_EXP_SPLIT(FM(at_least)(x, FM_EXPM1_MIN), 0);
    return FM(fma)(e.s, e.p, e.s - 1);
}

/* k ln 2 + log(1 + f) for f in [sqrt(1/2) - 1, sqrt(2) - 1] */
FM_INLINE FM_R FM(log_sum)(FM_R k, FM_R f) {
    FM_R g = FM(fma)(f, FM(poly_log1p)(f), FM_C(-0.5));
    return FM(fma)(k, FM_C(0x1.62e42fefa39efp-1), FM(fma)(f * f, g, f));
}

/* the exponent that brings u into [sqrt(1/2), sqrt(2)), plus the bias */
#define FM_LOG_OFFSET (((FM_U)FM_BIAS << FM_MANTISSA) - FM(bits)(FM_C(0x1.6a09e667f3bcdp-1)))

/* a small count as a number */
FM_INLINE FM_R FM(from_count)(FM_U count, FM_R minus) {
    FM_R two_m = (FM_R)(UINT64_C(1) << FM_MANTISSA);
    return FM(from_bits)(count | FM(bits)(two_m)) - (two_m + minus);
}

FM_INLINE FM_R FM(log)(FM_R x) {
    FM_R small = x < FM_MIN_NORMAL ? (FM_R)FM_SPLIT : (FM_R)0;
    FM_U i = FM(bits)(x < FM_MIN_NORMAL ? x / FM_SPARE : x) + FM_LOG_OFFSET;
    FM_R k = FM(from_count)(i >> FM_MANTISSA, (FM_R)FM_BIAS) - small;
    FM_R m = FM(from_bits)((i & (((FM_U)1 << FM_MANTISSA) - 1)) +
                           FM(bits)(FM_C(0x1.6a09e667f3bcdp-1)));
    FM_R y = FM(log_sum)(k, m - 1);
    y = x < FM_INF ? y : x;
    y = x == 0 ? -FM_INF : y;
    return x < 0 ? FM_NAN : y;
}

FM_INLINE FM_R FM(log1p)(FM_R x) {
    /* 1 + x = 2^k (1 + f), f = 2^-k x + (2^-k - 1); from 2^60 on the 1 counts for nothing */
    FM_R one = x > FM_C(0x1p+60) ? (FM_R)0 : (FM_R)1;
    FM_R v = x > FM_C(0x1p+60) ? x * FM_C(0x1p-64) : x;
    FM_R shifted = x > FM_C(0x1p+60) ? (FM_R)64 : (FM_R)0;
    FM_U e = (FM(bits)(one + v) + FM_LOG_OFFSET) >> FM_MANTISSA;
    FM_R s = FM(from_bits)(((FM_U)(2 * FM_BIAS) - e) << FM_MANTISSA);
    FM_R f = FM(fma)(v, s, FM(fma)(one, s, (FM_R)-1));
    FM_R y = FM(log_sum)(FM(from_count)(e, (FM_R)FM_BIAS) + shifted, f);
    y = x < FM_INF ? y : x;
    y = x == -1 ? -FM_INF : y;
    y = x < -1 ? FM_NAN : y;
    return x == 0 ? x : y;
}

/* log(1 + z) for z in [0, 1] or NaN */
FM_INLINE FM_R FM(log1p_unit)(FM_R z) {
    const FM_R sqrt_2_less_1 = FM_C(0x1.a827999fcef32p-2), ln2 = FM_C(0x1.62e42fefa39efp-1);
    const FM_R ln2_rest = (FM_R)(0x1.62e42fefa39efp-1 - (double)ln2 + 0x1.abc9e3b39803fp-56);
    FM_R s = z > sqrt_2_less_1 ? FM_C(0.5) : (FM_R)1;
    FM_R high = z > sqrt_2_less_1 ? ln2 : (FM_R)0, low = z > sqrt_2_less_1 ? ln2_rest : (FM_R)0;
    FM_R f = FM(fma)(z, s, s - 1);
    FM_R g = FM(fma)(f, FM(poly_log1p)(f), FM_C(-0.5));
    return high + (f + FM(fma)(f * f, g, low));
}

FM_INLINE FM_R FM(softplus)(FM_R x) {
    FM_R z = FM(exp_minus)(FM(magnitude_at_most)(x, -FM_EXP_MIN));
    return FM(at_least)(x, (FM_R)0) + FM(log1p_unit)(z);
}

/* exp(-x - x_low) as a pair, and 1 + exp(-x) from it, both times 2^-SPLIT so that they cannot
 * overflow */
FM_INLINE FM(exp_pair) FM(decay)(FM_R x, FM_R x_low) {
    return FM(exp_split)(-x, -x_low, -FM_SPLIT);
}

FM_INLINE FM_R FM(decay_plus_one)(FM(exp_pair) e) {
    /* s + 1 isn't exact where they are far apart: the smaller one goes into the product's sum */
    return FM(larger)(e.s, FM_SPARE) + FM(fma)(e.s, e.p, FM(smaller)(e.s, FM_SPARE));
}

FM_INLINE FM_R FM(sigmoid)(FM_R x) {
    x = FM(at_least)(FM(at_most)(x, FM_SIGMOID_MAX), FM_SIGMOID_MIN);
    return FM_SPARE / FM(decay_plus_one)(FM(decay)(x, (FM_R)0));
}

/* x sigmoid(x) */
FM_INLINE FM_R FM(silu)(FM_R x) {
    FM_R c = FM(negative_at_least)(x, FM_SIGMOID_MIN);
    FM_R y = c / FM(decay_plus_one)(FM(decay)(c, (FM_R)0)) * FM_SPARE;
    return x <= FM_SIGMOID_MAX ? y : x;
}

/* s (1 + x (1 - s)), s = sigmoid(x) */
FM_INLINE FM_R FM(silu_grad)(FM_R x) {
    FM_R c = FM(at_least)(FM(at_most)(x, FM_SIGMOID_MAX), FM_SIGMOID_MIN);
    FM(exp_pair) e = FM(decay)(c, (FM_R)0);
    FM_R d = FM(decay_plus_one)(e), s = FM_SPARE / d, rest = FM(fma)(e.s, e.p, e.s) / d;
    return FM(fma)(s * c, rest, s);
}

/* (s, p) with exp(-2a) = s (1 + p) for 0 <= a <= TANH_MAX or NaN.  n is small here, and where its
 * product with ln 2 isn't rounded, a single constant will do: tanh forgives the error of exp(-2a)
 * as that falls. */
FM_INLINE FM(exp_pair) FM(tanh_pair)(FM_R a) {
    const FM_R magic = FM_MAGIC + (FM_R)FM_BIAS;
    FM_R t = FM(fma)(a, FM_C(-2 * 0x1.71547652b82fep+0), magic), n = t - magic;
#if FM_HAS_FMA
    FM_R r = FM(fma)(n, -FM_C(0x1.62e42fefa39efp-1), -(a + a));
#else
    FM_R r = FM(fma)(n, -FM_LN2_LO, FM(fma)(n, -FM_LN2_HI, -(a + a)));
#endif
    FM(exp_pair) e;
    e.s = FM(from_bits)(FM(bits)(t) << FM_MANTISSA);
    e.p = FM(fma)(r * r, FM(poly_expm1)(r), r);
    return e;
}

/* m / (2 - m), m = 1 - exp(-2|x|) */
FM_INLINE FM_R FM(tanh)(FM_R x) {
    FM(exp_pair) e = FM(tanh_pair)(FM(at_most)(FM(abs)(x), FM_TANH_MAX));
    FM_R m = FM(fma)(-e.s, e.p, 1 - e.s);
    return FM(with_sign)(m / (2 - m), x);
}

/* x - tanh(x); 1 - tanh(x) = 2 e / (1 + e), e = exp(-2x) */
FM_INLINE FM_R FM(tanh_shrink)(FM_R x) {
    FM_R a = FM(abs)(x), z = a * a, q = FM(poly_tanh_shrink)(z), w = a * q;
    FM_R low = FM(fma)(w, FM(product_error)(a, a, z), z * FM(product_error)(a, q, w));
    FM_R near = FM(product_plus)(w, z, low);
    FM(exp_pair) e = FM(tanh_pair)(FM(magnitude_at_most)(x, FM_TANH_MAX));
    FM_R decay = FM(fma)(e.s, e.p, e.s);
    FM_R far = (a - 1) + (decay + decay) / (1 + decay);
    return FM(with_sign)(a < 1 ? near : far, x);
}

FM_INLINE FM_R FM(atan)(FM_R x) {
    FM_R a = FM(abs)(x);
    /* arctan(a) = pi/2 + arctan(-1/a) */
    FM_R t = a > 1 ? -1 / a : a;
    FM_R high = a > 1 ? FM_C(0x1.921fb54442d18p+0) : (FM_R)0;
    FM_R low = a > 1 ? (FM_R)(0x1.921fb54442d18p+0 - (double)FM_C(0x1.921fb54442d18p+0) +
                              0x1.1a62633145c07p-54)
                     : (FM_R)0;
    FM_R z = t * t;
    return FM(with_sign)(high + (t + FM(fma)(t * z, FM(poly_atan)(z), low)), x);
}

/* The normal tail at 0 <= t: Phi(-t) = exp(-t^2/2) m / (t + SHIFT) / 2.  The square is taken with
 * its rounding error, which the exponential would otherwise multiply by t^2. */
typedef struct {
    FM_R t, inverse, m;
    FM(exp_pair) e; /* 2^SPLIT exp(-t^2/2) */
} FM(normal_tail);

FM_INLINE FM(normal_tail) FM(normal_parts)(FM_R x) {
    FM(normal_tail) r;
    FM_R t = FM(at_most)(FM(abs)(x), FM_NORMAL_MAX);
    FM_R square = t * t;
    FM_R low = FM(product_error)(t, t, square);
    r.t = t;
    r.inverse = 1 / (t + FM_NORMAL_SHIFT);
    r.m = FM(poly_normal_tail)((t - FM_NORMAL_SHIFT) * r.inverse);
    r.e = FM(exp_split)(FM_C(-0.5) * square, FM_C(-0.5) * low, FM_SPLIT);
    return r;
}

/* x Phi(x) = max(x, 0) - t Phi(-t), t = |x|.  With w = SCALE / (t + SHIFT),
 *     t Phi(-t) = t w / 2 exp(-t^2/2 + l(w)),
 * and l is small.  The tail keeps its relative precision because all roundings but the last are
 * either in the exponent, where they weigh little, or known exactly and put right there: that of
 * t^2, of t w, and of w itself, in which the whole has the logarithmic slope SLOPE (linear in w, to
 * first order, divided by -SCALE). */
FM_INLINE FM_R FM(gelu)(FM_R x) {
    const FM_R magic = FM_MAGIC + (FM_R)(FM_BIAS + FM_SPLIT), slope[] = {FM_GELU_SLOPE};
    FM_R t = FM(magnitude_at_most)(x, FM_NORMAL_MAX);
    FM_R half = FM_C(0.5) * t, square = t * half;
    FM_R square_low = FM(product_error)(t, half, square);
    FM_R d = t + FM_GELU_SHIFT, w = FM_GELU_SCALE / d;
    /* w (t + SHIFT) - SCALE */
    FM_R miss = FM(fma)(t - (d - FM_GELU_SHIFT), w, FM(product_error)(d, w, FM_GELU_SCALE));
    FM_R y = t * w, y_low = FM(product_error)(t, w, y);
    const FM_R ratio = 2 * FM_GELU_SHIFT / FM_GELU_SCALE;
#if FM_HAS_FMA
    FM_R u = FM(fma)(-ratio, w, FM_GELU_CENTRE), rest = -square_low;
#else
    /* one more rounding, put right with the slope of l */
    FM_R v = ratio * w, u = FM_GELU_CENTRE - v;
    FM_R u_low = ((FM_GELU_CENTRE - u) - v) - FM(product_error)(ratio, w, v);
    FM_R rest = FM_C(-0.65) * u_low - square_low;
#endif
    FM_R l = FM(poly_log_normal_tail)(u);
    FM_R k = FM(fma)(l - square, FM_C(0x1.71547652b82fep+0), magic), n = k - magic;
    FM_R low = FM(fma)(miss, FM(fma)(w, slope[1], slope[0]), rest);
    FM_R r = FM(fma)(n, -FM_LN2_HI, -square) + l + FM(fma)(n, -FM_LN2_LO, low);
    FM_R p = FM(fma)(r * r, FM(poly_expm1)(r), r);
    FM_R s = FM(from_bits)(FM(bits)(k) << FM_MANTISSA);
    FM_R g = (y + FM(fma)(y, p, y_low)) * s * (FM_SPARE / 2);
    return x < 0 ? -g : x - g;
}

/* Phi(x) + x phi(x) */
FM_INLINE FM_R FM(gelu_grad)(FM_R x) {
    FM(normal_tail) r = FM(normal_parts)(x);
    FM_R g = FM(fma)(-r.t, FM_C(0x1.9884533d43651p-1), r.inverse * r.m);
    g = FM(fma)(g, r.e.p, g) * r.e.s * (FM_SPARE / 2);
    return x < 0 ? g : 1 - g;
}

/* 2 sqrt(2/pi) (x + 0.044715 x^3) in two parts: its error is multiplied by itself in the tail */
FM_INLINE FM_R FM(gelu_tanh_argument)(FM_R x, FM_R *low) {
    const FM_R a = FM_C(0x1.9884533d43651p+0), b = FM_C(0x1.2444f2a4d8b4bp-4);
    const FM_R a_low = (FM_R)(0x1.9884533d43651p+0 - (double)a - 0x1.cbc0d30ebfd15p-54);
    const FM_R b_low = (FM_R)(0x1.2444f2a4d8b4bp-4 - (double)b - 0x1.6c843a29d1c7p-61);
    FM_R square = x * x;
    FM_R cubic = b * square;
    FM_R cubic_low = FM(product_error)(b, square, cubic) +
                     FM(fma)(b, FM(product_error)(x, x, square), b_low * square);
    FM_R sum = a + cubic;
    FM_R part = sum - a;
    FM_R sum_low = ((a - (sum - part)) + (cubic - part)) + (cubic_low + a_low);
    FM_R y = x * sum;
    *low = FM(fma)(x, sum_low, FM(product_error)(x, sum, y));
    return y;
}

FM_INLINE FM_R FM(gelu_tanh)(FM_R x) {
    FM_R c = FM(negative_at_least)(x, FM_GELU_TANH_MIN);
    FM_R low, v = FM(gelu_tanh_argument)(c, &low);
    FM_R y = c / FM(decay_plus_one)(FM(decay)(v, low)) * FM_SPARE;
    return x <= FM_GELU_TANH_MAX ? y : x;
}

FM_INLINE FM_R FM(gelu_tanh_grad)(FM_R x) {
    FM_R c = FM(at_least)(FM(at_most)(x, FM_GELU_TANH_MAX), FM_GELU_TANH_MIN);
    FM_R low, v = FM(gelu_tanh_argument)(c, &low);
    FM(exp_pair) e = FM(decay)(v, low);
    FM_R d = FM(decay_plus_one)(e), s = FM_SPARE / d, rest = FM(fma)(e.s, e.p, e.s) / d;
    FM_R slope = FM(fma)(c * c, FM_C(3 * 0x1.2444f2a4d8b4bp-4), FM_C(0x1.9884533d43651p+0));
    return FM(fma)(s * c, rest * slope, s);
}

/* x tanh(softplus(x)).  With z = exp(-|x|) and s from -0.1 to 1/2,
 *     x >= 0: x (1/2 + s),   s = (1/2 + z - z^2) / (1 + 2 z + 2 z^2);
 *     x < 0:  x z (1/2 + s), s = (1 - z^2/2) / (2 + 2 z + z^2). */
FM_INLINE FM_R FM(mish)(FM_R x) {
    FM_R a = FM(magnitude_at_most)(x, -FM_SIGMOID_MIN);
    FM(exp_pair) e = FM_EXP_SPLIT(-a, FM_SPLIT);
    FM_R z = FM(fma)(e.s, e.p, e.s) * FM_SPARE;
    FM_R one = x < 0 ? (FM_R)2 : (FM_R)1;
    FM_R s = FM(fma)(-z, x < 0 ? FM_C(0.5) * z : z, x < 0 ? (FM_R)1 : z + FM_C(0.5)) /
             FM(fma)(x < 0 ? z : z + z, one + z, one);
    FM_R head = a * e.s, product = FM(fma)(head, e.p, head);
    FM_R rest = FM(fma)(head, e.p, head - product);
    FM_R below = (FM_C(-0.5) * product - FM(fma)(product, s, rest)) * FM_SPARE;
    FM_R above = FM(fma)(x, s, FM_C(0.5) * x);
    return x < 0 ? below : (x <= FM_SIGMOID_MAX ? above : x);
}

/* t + x (1 - t^2) sigmoid(x), t = tanh(softplus(x)) */
FM_INLINE FM_R FM(mish_grad)(FM_R x) {
    FM_R c = FM(at_least)(FM(at_most)(x, FM_SIGMOID_MAX), FM_SIGMOID_MIN);
    FM_R z = FM(exp_nonpositive)(-FM(abs)(c)), zz = z * z;
    FM_R d = 1 / (FM(fma)((FM_R)2, z, zz) + (x < 0 ? (FM_R)2 : 1 + zz));
    FM_R t = (x < 0 ? FM(fma)((FM_R)2, z, zz) : FM(fma)((FM_R)2, z, (FM_R)1)) * d;
    FM_R rest = (x < 0 ? (FM_R)2 : 2 * zz) * d;
    FM_R s = (x < 0 ? z : (FM_R)1) / (1 + z);
    return FM(fma)(c * rest, (1 + t) * s, t);
}

/* sqrt(x^2 + b), b >= 0, without overflow and never below |x| */
FM_INLINE FM_R FM(root_of_sum)(FM_R x, FM_R b) {
    FM_R a = FM(abs)(x);
    FM_R down = a > FM_SQUARE_MAX ? FM_SQUARE_DOWN : (FM_R)1;
    FM_R up = a > FM_SQUARE_MAX ? FM_SQUARE_UP : (FM_R)1;
    FM_R v = a * down;
    return FM(at_least)(FM(sqrt)(FM(fma)(v, v, b * down * down)) * up, a);
}

/* 1 / (1 + x^2) without overflow */
FM_INLINE FM_R FM(atan_grad)(FM_R x) {
    FM_R a = FM(abs)(x);
    FM_R down = a > FM_SQUARE_MAX ? FM_SQUARE_DOWN : (FM_R)1;
    FM_R one = a > FM_SQUARE_MAX ? (FM_R)0 : (FM_R)1;
    FM_R v = a * down;
    return 1 / FM(fma)(v, v, one) * down * down;
}

#undef FM_INF
#undef FM_NAN
#undef FM_SPARE
#undef FM_LOG_OFFSET
#undef FM_EXP_SPLIT
#undef FM_R
#undef FM_U
#undef FM
#undef FM_C
#undef FM_MANTISSA
#undef FM_BIAS
#undef FM_HALF_MASK
#undef FM_SIGN_MASK
#undef FM_MAGIC
#undef FM_LN2_HI
#undef FM_LN2_LO
#undef FM_SPLIT
#undef FM_EXP_MIN
#undef FM_EXP_MAX
#undef FM_SIGMOID_MIN
#undef FM_SIGMOID_MAX
#undef FM_TANH_MAX
#undef FM_EXPM1_MIN
#undef FM_ERF_MAX
#undef FM_NORMAL_MAX
#undef FM_NORMAL_SHIFT
#undef FM_GELU_SHIFT
#undef FM_GELU_SCALE
#undef FM_GELU_CENTRE
#undef FM_GELU_SLOPE
#undef FM_GELU_TANH_MIN
#undef FM_GELU_TANH_MAX
#undef FM_SQUARE_MAX
#undef FM_SQUARE_DOWN
#undef FM_SQUARE_UP
#undef FM_MIN_NORMAL
