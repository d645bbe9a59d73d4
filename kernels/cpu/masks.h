/* Masks of steps, what they keep, and pooling over steps, in one precision: included by template.h.
 *
 * A sample has t steps of c elements.  Step k of sample i of an array x begins at x + i * xi + k * xk;
 * masks (n, t) hold 0 for what is left out, and m + i * mi + k * mk likewise.
 */

/* 1 where an element of a step is not `value` */
static void A(step_mask)(long n, long t, long c, double value_, const void *x_, long xi, long xk,
                         void *m_, long mi, long mk)
{
    const R value = (R)value_;
    for (long i = 0; i < n; i++) {
        for (long k = 0; k < t; k++) {
            const R *x = (const R *)x_ + i * xi + k * xk;
            int other = 0;
            for (long j = 0; j < c; j++) { other |= x[j] != value; }
            ((R *)m_)[i * mi + k * mk] = other;
        }
    }
}

/* y = x in steps that the mask keeps, else 0 */
static void A(keep_steps)(long n, long t, long c, const void *x_, long xi, long xk, const void *m_,
                          long mi, long mk, void *y_, long yi, long yk)
{
    for (long i = 0; i < n; i++) {
        for (long k = 0; k < t; k++) {
            const R *x = (const R *)x_ + i * xi + k * xk;
            R *y = (R *)y_ + i * yi + k * yk;
            if (((const R *)m_)[i * mi + k * mk] != 0) {
                memcpy(y, x, c * sizeof(R));
            } else {
                memset(y, 0, c * sizeof(R));
            }
        }
    }
}

/* Steps of sample i that count: all without a mask. */
static inline R A(steps_kept)(long t, const R *m, long mk)
{
    if (!m) { return (R)t; }
    long kept = 0;
    for (long k = 0; k < t; k++) { kept += m[k * mk] != 0; }
    return (R)kept;
}

/* The mean of the steps that count, 0 / 0 where there are none; with `largest` the largest of all. */
static void A(pool)(long n, long t, long c, int largest, const void *x_, long xi, long xk,
                    const void *m_, long mi, long mk, void *y_, long yi)
{
    for (long i = 0; i < n; i++) {
        const R *first = (const R *)x_ + i * xi, *m = m_ ? (const R *)m_ + i * mi : NULL;
        R *y = (R *)y_ + i * yi;
        if (largest) {
            memcpy(y, first, c * sizeof(R));
            for (long k = 1; k < t; k++) {
                const R *x = first + k * xk;
                INDEPENDENT for (long j = 0; j < c; j++)
                {
                    y[j] = y[j] > x[j] || y[j] != y[j] ? y[j] : x[j];
                }
            }
            continue;
        }
        const R kept = A(steps_kept)(t, m, mk);
        memset(y, 0, c * sizeof(R));
        for (long k = 0; k < t; k++) {
            const R *x = first + k * xk;
            if (!m || m[k * mk] != 0) { INDEPENDENT for (long j = 0; j < c; j++) { y[j] += x[j]; } }
        }
        INDEPENDENT for (long j = 0; j < c; j++) { y[j] /= kept; }
    }
}

/* dx = dy / kept in the steps that count; */
static void A(mean_pool_grad)(long n, long t, long c, const void *dy_, long dyi, const void *m_,
                              long mi, long mk, void *dx_, long dxi, long dxk)
{
    for (long i = 0; i < n; i++) {
        const R *dy = (const R *)dy_ + i * dyi, *m = m_ ? (const R *)m_ + i * mi : NULL;
        const R kept = A(steps_kept)(t, m, mk);
        for (long k = 0; k < t; k++) {
            R *dx = (R *)dx_ + i * dxi + k * dxk;
            if (!m || m[k * mk] != 0) {
                INDEPENDENT for (long j = 0; j < c; j++) { dx[j] = dy[j] / kept; }
            } else {
                memset(dx, 0, c * sizeof(R));
            }
        }
    }
}

/* of the largest, equal parts of dy to the steps that are. */
static void A(max_pool_grad)(long n, long t, long c, const void *dy_, long dyi, const void *x_,
                             long xi, long xk, const void *y_, long yi, void *dx_, long dxi,
                             long dxk)
{
    for (long i = 0; i < n; i++) {
        const R *dy = (const R *)dy_ + i * dyi, *y = (const R *)y_ + i * yi;
        const R *x = (const R *)x_ + i * xi;
        R *dx = (R *)dx_ + i * dxi;
        for (long j = 0; j < c; j++) {
            long equal = 0;
            for (long k = 0; k < t; k++) { equal += x[k * xk + j] == y[j]; }
            const R part = equal ? dy[j] / (R)equal : dy[j];
            for (long k = 0; k < t; k++) { dx[k * dxk + j] = x[k * xk + j] == y[j] ? part : C(0); }
        }
    }
}

/* Weights of the n t rows of a loss: those of samples or steps (`per`, 1 or t of a sample; NULL: 1)
 * times the mask; a row of the class `ignore` counts as masked.  `over` says what the mean of n t
 * rows becomes: 0 itself, 1 that over the rows that the mask keeps, 2 that over their weights. */
static void A(row_weights)(long n, long t, int over, const void *w_, long per, const void *m_,
                           long mi, long mk, const int64_t *classes, const int64_t *ignore,
                           void *out_)
{
    const R *w = w_, *m = m_;
    R *out = out_;
    double kept = 0, sum = 0;
    for (long i = 0; i < n; i++) {
        for (long k = 0; k < t; k++) {
            const long row = i * t + k;
            const int there = (!m || m[i * mi + k * mk] != 0) && !(ignore && classes[row] == *ignore);
            const R weight = w ? w[per == 1 ? i : row] : C(1);
            out[row] = there ? weight : C(0);
            kept += there;
            sum += (double)out[row];
        }
    }
    const double divisor = over == 1 ? kept : sum;
    if (over == 0) { return; }
    const double factor = divisor != 0 ? (double)(n * t) / divisor : 0;
    INDEPENDENT for (long row = 0; row < n * t; row++) { out[row] = (R)(out[row] * factor); }
}

#ifndef FM_MASKS
#define FM_MASKS(t)                                                                              \
    {                                                                                            \
        .step_mask = step_mask##t, .keep_steps = keep_steps##t, .pool = pool##t,                 \
        .mean_pool_grad = mean_pool_grad##t, .max_pool_grad = max_pool_grad##t,                  \
        .row_weights = row_weights##t                                                            \
    }
#endif
