/* What metrics add up: the scores and tallies of fusedmlp/spec.py, included like losses.h.
 *
 * A score is a number for each row; a tally adds to a state in float64, row by row in their order.
 * Labels are classes, or numbers t where classes is NULL.
 */

#define LABEL(i, j) (classes ? (R)classes[i] : t[(i) * ldt + (j)])
#define SCORE(row)                                                                               \
    static void A(score_##row)(long rows, long c, const void *p_, long ldp,                      \
                               const int64_t *classes, const void *t_, long ldt,                 \
                               const void *params, void *scores_)
#define TALLY(row)                                                                               \
    static void A(tally_##row)(long rows, long c, const void *p_, long ldp,                      \
                               const int64_t *classes, const void *t_, long ldt,                 \
                               const void *weight_, const double *options, double *state)
#define NUMBERS                                                                                  \
    const R *p = p_, *t = t_, *q = params;                                                       \
    R *scores = scores_;                                                                         \
    (void)p, (void)t, (void)q, (void)classes, (void)ldt;
#define ARRAYS                                                                                   \
    const R *p = p_, *t = t_, *weight = weight_;                                                 \
    (void)options, (void)classes, (void)t, (void)ldt;

SCORE(categorical_hits)
{
    NUMBERS
    for (long i = 0; i < rows; i++) {
        const long truth = classes ? classes[i] : A(argmax)(c, t + i * ldt);
        scores[i] = A(argmax)(c, p + i * ldp) == truth;
    }
}

/* q: threshold */
SCORE(binary_hits)
{
    NUMBERS
    for (long i = 0; i < rows; i++) {
        long count = 0;
        for (long j = 0; j < c; j++) {
            count += (p[i * ldp + j] > q[0] ? C(1) : C(0)) == LABEL(i, j);
        }
        scores[i] = (R)count / (R)c;
    }
}

SCORE(equal_hits)
{
    NUMBERS
    for (long i = 0; i < rows; i++) {
        long count = 0;
        for (long j = 0; j < c; j++) {
            count += p[i * ldp + j] == LABEL(i, j);
        }
        scores[i] = (R)count / (R)c;
    }
}

/* q: k, listed; a NaN at the label is the smallest */
SCORE(top_k_hits)
{
    NUMBERS
    for (long i = 0; i < rows; i++) {
        const R *x = p + i * ldp;
        long count = 0;
        if (q[1] != 0) {
            for (long j = 0; j < c && (R)j < q[0]; j++) {
                count += x[j] == LABEL(i, j);
            }
            scores[i] = count > 0;
            continue;
        }
        const long truth = classes ? classes[i] : A(argmax)(c, t + i * ldt);
        const R own = x[truth] != x[truth] ? -C(INFINITY) : x[truth];
        for (long j = 0; j < c; j++) {
            count += x[j] > own;
        }
        scores[i] = (R)count < q[0];
    }
}

/* Means, variances and covariance of a row of predictions and its labels, in double. */
INLINE void A(co_moments)(long c, const R *x, const int64_t *classes, const R *t, long ldt, long i,
                          double *apart, double *var_p, double *var_t, double *cov)
{
    double mean_p = 0, mean_t = 0, pp = 0, tt = 0, pt = 0;
    for (long j = 0; j < c; j++) {
        mean_p += x[j];
        mean_t += LABEL(i, j);
    }
    mean_p /= (double)c;
    mean_t /= (double)c;
    for (long j = 0; j < c; j++) {
        const double a = x[j] - mean_p, b = LABEL(i, j) - mean_t;
        pp += a * a;
        tt += b * b;
        pt += a * b;
    }
    *apart = mean_t - mean_p;
    *var_p = pp / (double)c;
    *var_t = tt / (double)c;
    *cov = pt / (double)c;
}

SCORE(pearson_correlation)
{
    NUMBERS
    double apart, var_p, var_t, cov;
    for (long i = 0; i < rows; i++) {
        A(co_moments)(c, p + i * ldp, classes, t, ldt, i, &apart, &var_p, &var_t, &cov);
        scores[i] = (R)(cov / fm_sqrt_f64(var_p * var_t));
    }
}

/* q: epsilon */
SCORE(concordance_correlation)
{
    NUMBERS
    double apart, var_p, var_t, cov;
    for (long i = 0; i < rows; i++) {
        A(co_moments)(c, p + i * ldp, classes, t, ldt, i, &apart, &var_p, &var_t, &cov);
        scores[i] = (R)(2 * cov / (var_p + var_t + apart * apart + q[0]));
    }
}

#define NAME_OF(row) A(score_##row),
static const fm_score A(scores)[] = {FM_SCORES(NAME_OF)};
#undef NAME_OF

/* Whether element j is among the k largest of its row; of equal ones the first count as larger. */
INLINE int A(among_largest)(long c, const R *x, long j, long k)
{
    long before = 0;
    for (long v = 0; v < c; v++) {
        before += x[v] > x[j] || (x[v] == x[j] && v < j);
    }
    return before < k;
}

TALLY(thresholds)
{
    ARRAYS
    const int even = options[0] != 0, by_column = options[4] != 0, from_logits = options[5] != 0;
    const long class_id = (long)options[2], top_k = (long)options[3], count = (long)options[7];
    const double *limits = options + 8, *factors = options[6] != 0 ? limits + count : NULL;
    const long first = class_id < 0 ? 0 : class_id, stop = class_id < 0 ? c : class_id + 1;
    const long labels = by_column ? c : 1;
    for (long i = 0; i < rows; i++) {
        const R *own = p + i * ldp;
        const double w = weight ? weight[i] : 1;
        for (long j = first; j < stop; j++) {
            R x = from_logits ? M(sigmoid)(own[j]) : own[j];
            long place = 0;
            if (top_k >= 0 && !A(among_largest)(c, own, j, top_k)) {
                x = C(-1e10);
            }
            if (even) {
                const R scaled = M(at_least)(M(at_most)(x, C(1)), C(0)) * (R)(count - 1);
                place = scaled == scaled ? (long)scaled : 0;
                place += scaled > (R)place;
                place = options[1] != 0 && place < 1 ? 1 : place;
            } else {
                long above = count; /* the first `place` thresholds lie below x */
                while (place < above) {
                    const long middle = (place + above) / 2;
                    if (x > (R)limits[middle]) {
                        place = middle + 1;
                    } else {
                        above = middle;
                    }
                }
            }
            const long at = (place * labels + (by_column ? j - first : 0)) * 2;
            state[at + (LABEL(i, j) != 0)] += factors ? w * factors[j] : w;
        }
    }
}

TALLY(overlaps)
{
    ARRAYS
    const R limit = (R)options[0];
    const int largest = options[0] != options[0];
    for (long i = 0; i < rows; i++) {
        const R *x = p + i * ldp, most = largest ? A(row_max)(c, x) : 0;
        const double w = weight ? weight[i] : 1;
        for (long j = 0; j < c; j++) {
            const int decided = largest ? x[j] >= most && M(abs)(x[j]) > C(1e-9) : x[j] > limit;
            const double truth = w * LABEL(i, j);
            state[j] += decided ? truth : 0;
            state[c + j] += decided ? w : 0;
            state[2 * c + j] += truth;
        }
    }
}

TALLY(moments)
{
    ARRAYS
    for (long i = 0; i < rows; i++) {
        const double w = weight ? weight[i] : 1;
        for (long j = 0; j < c; j++) {
            const double truth = LABEL(i, j), e = truth - p[i * ldp + j];
            state[j] += w;
            state[c + j] += w * truth;
            state[2 * c + j] += w * (truth * truth);
            state[3 * c + j] += w * (e * e);
            state[4 * c + j] += 1;
        }
    }
}

TALLY(confusion)
{
    ARRAYS
    const double number = options[0], ignored = options[1], threshold = options[4];
    const long k = (long)number;
    for (long i = 0; i < rows; i++) {
        const R *x = p + i * ldp;
        const int largest_label = options[2] != 0, largest_prediction = options[3] != 0;
        const double w = weight ? weight[i] : 1, whole = options[5] != 0 ? (double)(int64_t)w : w;
        for (long j = 0; j < (largest_label && largest_prediction ? 1 : c); j++) {
            double truth, found;
            if (largest_label) {
                truth = (double)A(argmax)(c, t + i * ldt);
            } else {
                truth = (double)LABEL(i, j);
            }
            if (largest_prediction) {
                found = (double)A(argmax)(c, x);
            } else {
                found = threshold == threshold ? (double)(x[j] >= (R)threshold) : (double)x[j];
            }
            /* cut to integers: -1 < x < 1 is class 0; false for NaN */
            if (truth > -1 && truth < number && found > -1 && found < number) {
                const long row = (long)truth, column = (long)found;
                state[row * k + column] += (double)row == ignored ? 0 : whole;
            }
            if (largest_prediction && classes) {
                break; /* one class and one place of the largest a row */
            }
        }
    }
}

#define NAME_OF(row) A(tally_##row),
static const fm_tally A(tallies)[] = {FM_TALLIES(NAME_OF)};
#undef NAME_OF
#undef LABEL
#undef SCORE
#undef TALLY
#undef NUMBERS
#undef ARRAYS
