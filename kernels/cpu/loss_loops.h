/* The loops around the functions of losses.h: included by loss_template.h.
 *
 * Rows of few columns go GROUP at a time, with loops over rows; wide ones one after another.
 */

/* -- elementwise ------------------------------------------------------------------------------ */

#define ELEMENTWISE_LOSS(row, average)                                                           \
    static void A(mean_few_##row)(long n, long c, const R *p, long ldp, const R *t, long ldt,    \
                                  R main, R even, const R *all, R *sum, R *d, long ldd,          \
                                  const R *q)                                                    \
    {                                                                                            \
        R x[FEW][GROUP], u[FEW][GROUP];                                                          \
        if (n < GROUP) {                                                                         \
            memset(x, 0, sizeof x);                                                              \
            memset(u, 0, sizeof u);                                                              \
        }                                                                                        \
        A(turn)(n, c, p, ldp, x[0], GROUP);                                                      \
        A(turn)(n, c, t, ldt, u[0], GROUP);                                                      \
        for (long j = 0; j < c; j++) {                                                           \
            INDEPENDENT for (int i = 0; i < GROUP; i++)                                          \
            {                                                                                    \
                const R target = u[j][i] * main + even, value = x[j][i];                         \
                sum[i] += A(loss_##row)(value, target, q);                                       \
                x[j][i] = all[i] * A(loss_##row##_grad)(value, target, q);                       \
            }                                                                                    \
        }                                                                                        \
        if (d) {                                                                                 \
            A(turn)(c, n, x[0], GROUP, d, ldd);                                                  \
        }                                                                                        \
    }                                                                                            \
    static void A(mean_##row)(long rows, long c, const void *p_, long ldp, const void *t_,       \
                              long ldt, const void *weight_, double smoothing, double scale,     \
                              void *losses_, void *d_, long ldd, const void *params)             \
    {                                                                                            \
        const R *weight = weight_, main = 1 - (R)smoothing, even = (R)smoothing / 2;             \
        const R *p = p_, *t = t_, number = average ? (R)c : 1;                                   \
        R *losses = losses_, *d = d_, q[MAX_PARAMS];                                             \
        memcpy(q, params, sizeof q);                                                             \
        for (long i0 = 0; c <= FEW && i0 < rows; i0 += GROUP) {                                  \
            const long n = rows - i0 < GROUP ? rows - i0 : GROUP;                                \
            R factor[GROUP] = {0}, all[GROUP] = {0}, sum[GROUP] = {0};                           \
            for (long i = 0; i < n; i++) {                                                       \
                factor[i] = weight ? weight[i0 + i] : 1;                                         \
                all[i] = factor[i] * (R)scale / number;                                          \
            }                                                                                    \
            A(mean_few_##row)(n, c, p + i0 * ldp, ldp, t + i0 * ldt, ldt, main, even, all, sum,  \
                              d ? d + i0 * ldd : NULL, ldd, q);                                  \
            for (long i = 0; i < n; i++) {                                                       \
                losses[i0 + i] = factor[i] * (sum[i] / number);                                  \
            }                                                                                    \
        }                                                                                        \
        for (long i = 0; c > FEW && i < rows; i++, p += ldp, t += ldt) {                         \
            const R factor = weight ? weight[i] : 1, all = factor * (R)scale / number;           \
            R sum;                                                                               \
            ROW_SUM(sum, c, A(loss_##row)(p[j], t[j] * main + even, q));                         \
            losses[i] = factor * (sum / number);                                                 \
            const long stop = d ? c : 0;                                                         \
            INDEPENDENT for (long j = 0; j < stop; j++)                                          \
            {                                                                                    \
                d[i * ldd + j] = all * A(loss_##row##_grad)(p[j], t[j] * main + even, q);        \
            }                                                                                    \
        }                                                                                        \
    }
FM_ELEMENTWISE_LOSSES(ELEMENTWISE_LOSS)
#define NAME_OF(row, average) A(mean_##row),
static const fm_elementwise_loss A(elementwise_losses)[] = {FM_ELEMENTWISE_LOSSES(NAME_OF)};
#undef NAME_OF
#undef ELEMENTWISE_LOSS

/* -- distribution: m and s of a row side by side, c of each ------------------------------------ */

#define DISTRIBUTION_LOSS(row)                                                                   \
    static void A(mean_##row)(long rows, long c, const void *p_, long ldp, const void *t_,       \
                              long ldt, const void *weight_, double scale, void *losses_,        \
                              void *d_, long ldd, const void *params)                            \
    {                                                                                            \
        const R *weight = weight_, *p = p_, *t = t_;                                             \
        R *losses = losses_, *d = d_, q[MAX_PARAMS];                                             \
        memcpy(q, params, sizeof q);                                                             \
        for (long i0 = 0; i0 < rows; i0 += GROUP) {                                              \
            const long n = rows - i0 < GROUP ? rows - i0 : GROUP;                                \
            R m[GROUP] = {0}, s[GROUP] = {0}, u[GROUP] = {0}, sum[GROUP] = {0};                  \
            R factor[GROUP] = {0}, all[GROUP] = {0};                                             \
            for (long i = 0; i < n; i++) {                                                       \
                factor[i] = weight ? weight[i0 + i] : 1;                                         \
                all[i] = factor[i] * (R)scale / (R)c;                                            \
            }                                                                                    \
            for (long j = 0; j < c; j++) {                                                       \
                for (long i = 0; i < n; i++) {                                                   \
                    m[i] = p[(i0 + i) * ldp + j];                                                \
                    s[i] = p[(i0 + i) * ldp + c + j];                                            \
                    u[i] = t[(i0 + i) * ldt + j];                                                \
                }                                                                                \
                INDEPENDENT for (int i = 0; i < GROUP; i++)                                      \
                {                                                                                \
                    R dm, ds;                                                                    \
                    sum[i] += A(loss_##row)(m[i], s[i], u[i], q);                                \
                    A(loss_##row##_grad)(m[i], s[i], u[i], q, &dm, &ds);                         \
                    m[i] = all[i] * dm;                                                          \
                    s[i] = all[i] * ds;                                                          \
                }                                                                                \
                for (long i = 0; d && i < n; i++) {                                              \
                    d[(i0 + i) * ldd + j] = m[i];                                                \
                    d[(i0 + i) * ldd + c + j] = s[i];                                            \
                }                                                                                \
            }                                                                                    \
            for (long i = 0; i < n; i++) {                                                       \
                losses[i0 + i] = factor[i] * (sum[i] / (R)c);                                    \
            }                                                                                    \
        }                                                                                        \
    }
FM_DISTRIBUTION_LOSSES(DISTRIBUTION_LOSS)
#define NAME_OF(row) A(mean_##row),
static const fm_distribution_loss A(distribution_losses)[] = {FM_DISTRIBUTION_LOSSES(NAME_OF)};
#undef NAME_OF
#undef DISTRIBUTION_LOSS

/* -- rows ------------------------------------------------------------------------------------- */

/* A block of a wide row: LANES elements from j0, their targets, and how many there are. */
INLINE long A(load_block)(long j0, long c, const R *p, const R *t, long label, R main, R even,
                          R *x, R *u)
{
    const long n = c - j0 < LANES ? c - j0 : LANES;
    for (long v = n; v < LANES; v++) {
        x[v] = u[v] = 0;
    }
    for (long v = 0; v < n; v++) {
        x[v] = p[j0 + v];
        u[v] = (t ? t[j0 + v] : (j0 + v == label ? C(1) : C(0))) * main + even;
    }
    return n;
}

#define ROW_LOSS(row)                                                                            \
    static void A(few_##row)(long n, long c, R (*x)[GROUP], R (*u)[GROUP], R *loss, const R *q)  \
    {                                                                                            \
        R s[5][GROUP];                                                                           \
        for (int i = 0; i < GROUP; i++) {                                                        \
            s[0][i] = -C(INFINITY);                                                              \
            s[1][i] = s[2][i] = s[3][i] = s[4][i] = 0;                                           \
        }                                                                                        \
        for (long j = 0; j < c; j++) {                                                           \
            INDEPENDENT for (int i = 0; i < GROUP; i++)                                          \
            {                                                                                    \
                const R value = A(peak_##row)(x[j][i], u[j][i]);                                 \
                s[0][i] = LARGER(value, s[0][i]);                                                \
            }                                                                                    \
        }                                                                                        \
        for (long j = 0; j < c; j++) {                                                           \
            INDEPENDENT for (int i = 0; i < GROUP; i++)                                          \
            {                                                                                    \
                A(first_##row)(x[j][i], (const R[]){s[0][i]}, &s[1][i]);                         \
            }                                                                                    \
        }                                                                                        \
        for (long j = 0; j < c; j++) {                                                           \
            INDEPENDENT for (int i = 0; i < GROUP; i++)                                          \
            {                                                                                    \
                const R before[2] = {s[0][i], s[1][i]};                                          \
                R sums[3] = {s[2][i], s[3][i], s[4][i]};                                         \
                A(second_##row)(x[j][i], u[j][i], before, q, sums);                              \
                s[2][i] = sums[0];                                                               \
                s[3][i] = sums[1];                                                               \
                s[4][i] = sums[2];                                                               \
            }                                                                                    \
        }                                                                                        \
        INDEPENDENT for (int i = 0; i < GROUP; i++)                                              \
        {                                                                                        \
            const R all[5] = {s[0][i], s[1][i], s[2][i], s[3][i], s[4][i]};                      \
            loss[i] = A(loss_##row)(all, q);                                                     \
        }                                                                                        \
        for (long j = 0; n && j < c; j++) {                                                      \
            INDEPENDENT for (int i = 0; i < GROUP; i++)                                          \
            {                                                                                    \
                const R all[5] = {s[0][i], s[1][i], s[2][i], s[3][i], s[4][i]};                  \
                x[j][i] = A(loss_##row##_grad)(x[j][i], u[j][i], all, q);                        \
            }                                                                                    \
        }                                                                                        \
    }                                                                                            \
    static void A(wide_##row)(long c, const R *p, const R *t, long label, R main, R even,        \
                              R factor, R *loss, R *d, const R *q)                               \
    {                                                                                            \
        R x[LANES], u[LANES], s[5], part[4][LANES] = {{0}}, peak[LANES];                         \
        for (int v = 0; v < LANES; v++) {                                                        \
            peak[v] = -C(INFINITY);                                                              \
        }                                                                                        \
        for (long j0 = 0; j0 < c; j0 += LANES) {                                                 \
            const long n = A(load_block)(j0, c, p, t, label, main, even, x, u);                  \
            INDEPENDENT for (int v = 0; v < LANES; v++)                                          \
            {                                                                                    \
                const R value = v < n ? A(peak_##row)(x[v], u[v]) : -C(INFINITY);                \
                peak[v] = LARGER(value, peak[v]);                                                \
            }                                                                                    \
        }                                                                                        \
        s[0] = A(fold)(peak, 1);                                                                 \
        for (long j0 = 0; j0 < c; j0 += LANES) {                                                 \
            const long n = A(load_block)(j0, c, p, t, label, main, even, x, u);                  \
            INDEPENDENT for (int v = 0; v < LANES; v++)                                          \
            {                                                                                    \
                R a = 0;                                                                         \
                A(first_##row)(x[v], s, &a);                                                     \
                part[0][v] += v < n ? a : 0;                                                     \
            }                                                                                    \
        }                                                                                        \
        s[1] = A(fold)(part[0], 0);                                                              \
        for (long j0 = 0; j0 < c; j0 += LANES) {                                                 \
            const long n = A(load_block)(j0, c, p, t, label, main, even, x, u);                  \
            INDEPENDENT for (int v = 0; v < LANES; v++)                                          \
            {                                                                                    \
                R a[3] = {0};                                                                    \
                A(second_##row)(x[v], u[v], s, q, a);                                            \
                part[1][v] += v < n ? a[0] : 0;                                                  \
                part[2][v] += v < n ? a[1] : 0;                                                  \
                part[3][v] += v < n ? a[2] : 0;                                                  \
            }                                                                                    \
        }                                                                                        \
        s[2] = A(fold)(part[1], 0);                                                              \
        s[3] = A(fold)(part[2], 0);                                                              \
        s[4] = A(fold)(part[3], 0);                                                              \
        *loss = A(loss_##row)(s, q);                                                             \
        for (long j0 = 0; d && j0 < c; j0 += LANES) {                                            \
            const long n = A(load_block)(j0, c, p, t, label, main, even, x, u);                  \
            INDEPENDENT for (int v = 0; v < LANES; v++)                                          \
            {                                                                                    \
                x[v] = factor * A(loss_##row##_grad)(x[v], u[v], s, q);                          \
            }                                                                                    \
            memcpy(d + j0, x, n * sizeof(R));                                                    \
        }                                                                                        \
    }                                                                                            \
    static void A(rows_##row)(long rows, long c, const void *p_, long ldp,                       \
                              const int64_t *classes, const void *t_, long ldt,                  \
                              const void *weight_, double smoothing, const int64_t *ignore,      \
                              double scale, void *losses_, void *d_, long ldd,                   \
                              const void *params)                                                \
    {                                                                                            \
        A(each_row)(rows, c, p_, ldp, classes, t_, ldt, weight_, smoothing, ignore, scale,       \
                    losses_, d_, ldd, params, A(few_##row), A(wide_##row));                      \
    }

typedef void (*A(few_rows))(long n, long c, R (*x)[GROUP], R (*u)[GROUP], R *loss, const R *q);
typedef void (*A(wide_row))(long c, const R *p, const R *t, long label, R main, R even, R factor,
                            R *loss, R *d, const R *q);

/* Calls `few` for groups of rows, transposed, or `wide` for one row after another. */
static void A(each_row)(long rows, long c, const R *p, long ldp, const int64_t *classes,
                        const R *t, long ldt, const R *weight, double smoothing,
                        const int64_t *ignore, double scale, R *losses, R *d, long ldd,
                        const void *params, A(few_rows) few, A(wide_row) wide)
{
    const R main = 1 - (R)smoothing, even = (R)smoothing / (R)c;
    R q[MAX_PARAMS];
    memcpy(q, params, sizeof q);
    for (long i0 = 0; c <= FEW && i0 < rows; i0 += GROUP) {
        R x[FEW][GROUP], u[FEW][GROUP], loss[GROUP];
        const long n = rows - i0 < GROUP ? rows - i0 : GROUP;
        if (n < GROUP) {
            memset(x, 0, sizeof x);
            memset(u, 0, sizeof u);
        }
        A(turn)(n, c, p + i0 * ldp, ldp, x[0], GROUP);
        if (t) {
            A(turn)(n, c, t + i0 * ldt, ldt, u[0], GROUP);
        }
        for (long i = 0; !t && i < n; i++) {
            for (long j = 0; j < c; j++) {
                u[j][i] = classes[i0 + i] == j ? 1 : 0;
            }
        }
        for (long j = 0; j < c; j++) {
            INDEPENDENT for (int i = 0; i < GROUP; i++) { u[j][i] = u[j][i] * main + even; }
        }
        few(d ? n : 0, c, x, u, loss, q);
        for (long i = i0; i < i0 + n; i++) {
            const int skip = classes && ignore && classes[i] == *ignore;
            const R factor = weight ? weight[i] : 1;
            losses[i] = skip ? 0 : factor * loss[i - i0];
            for (long j = 0; d && j < c; j++) {
                d[i * ldd + j] = skip ? 0 : factor * (R)scale * x[j][i - i0];
            }
        }
    }
    for (long i = 0; c > FEW && i < rows; i++) {
        const R factor = weight ? weight[i] : 1;
        if (classes && ignore && classes[i] == *ignore) {
            losses[i] = 0;
            if (d) {
                memset(d + i * ldd, 0, c * sizeof(R));
            }
            continue;
        }
        wide(c, p + i * ldp, t ? t + i * ldt : NULL, classes ? classes[i] : 0, main, even,
             factor * (R)scale, losses + i, d ? d + i * ldd : NULL, q);
        losses[i] = factor * losses[i];
    }
}

FM_ROW_LOSSES(ROW_LOSS)
#define NAME_OF(row) A(rows_##row),
static const fm_row_loss A(row_losses)[] = {FM_ROW_LOSSES(NAME_OF)};
#undef NAME_OF
#undef ROW_LOSS

/* -- overlap ---------------------------------------------------------------------------------- */

/* sums (3, c) of t p, t and p down the rows, and behind them that of the weights */
static void A(overlap_sums)(long rows, long c, const void *p_, long ldp, const void *t_, long ldt,
                            const void *weight_, double *sums)
{
    const R *p = p_, *t = t_, *weight = weight_;
    double *both = sums, *truth = sums + c, *found = sums + 2 * c, mass = 0;
    memset(sums, 0, 3 * c * sizeof(double));
    for (long i = 0; i < rows; i++, p += ldp, t += ldt) {
        INDEPENDENT for (long j = 0; j < c; j++)
        {
            both[j] += (double)t[j] * p[j];
            truth[j] += t[j];
            found[j] += p[j];
        }
        mass += weight ? weight[i] : 1;
    }
    sums[3 * c] = mass;
}

#define OVERLAP_LOSS(row)                                                                        \
    static void A(all_##row)(long rows, long c, int axis, const void *p_, long ldp,              \
                             const void *t_, long ldt, const void *weight_, double scale,        \
                             const double *sums, void *losses_, void *d_, long ldd,              \
                             const void *params)                                                 \
    {                                                                                            \
        const R *weight = weight_, *p = p_, *t = t_;                                             \
        R *losses = losses_, *d = d_, q[MAX_PARAMS];                                             \
        double value = 0, all[3] = {0}, by_i = 0, by_p = 0;                                      \
        memcpy(q, params, sizeof q);                                                             \
        for (long j = 0; axis == FM_ALL && j < c; j++) {                                         \
            all[0] += sums[j];                                                                   \
            all[1] += sums[c + j];                                                               \
            all[2] += sums[2 * c + j];                                                           \
        }                                                                                        \
        const double share = axis == FM_COLUMNS ? 1.0 / (double)c : 1.0;                         \
        const double mass = axis == FM_ROWS ? 1.0 : sums[3 * c];                                 \
        for (long j = 0; axis != FM_ROWS && axis != FM_ALL && j < c; j++) {                      \
            const double own = A(loss_##row)(sums[j], sums[c + j], sums[2 * c + j], q, &by_i,    \
                                             &by_p);                                             \
            value += share * own;                                                                \
            for (long i = 0; d && i < rows; i++) {                                               \
                d[i * ldd + j] = (R)(scale * mass * share * (by_i * t[i * ldt + j] + by_p));     \
            }                                                                                    \
        }                                                                                        \
        if (axis == FM_ALL) {                                                                    \
            value = A(loss_##row)(all[0], all[1], all[2], q, &by_i, &by_p);                      \
        }                                                                                        \
        for (long i = 0; i < rows; i++, p += ldp, t += ldt) {                                    \
            const double factor = weight ? weight[i] : 1;                                        \
            if (axis == FM_ROWS) {                                                               \
                all[0] = all[1] = all[2] = 0;                                                    \
                for (long j = 0; j < c; j++) {                                                   \
                    all[0] += (double)t[j] * p[j];                                               \
                    all[1] += t[j];                                                              \
                    all[2] += p[j];                                                              \
                }                                                                                \
                value = A(loss_##row)(all[0], all[1], all[2], q, &by_i, &by_p);                  \
            }                                                                                    \
            losses[i] = (R)(factor * value);                                                     \
            if (axis == FM_ROWS || axis == FM_ALL) {                                             \
                const double rate = scale * (axis == FM_ROWS ? factor : mass);                   \
                const long stop = d ? c : 0;                                                     \
                INDEPENDENT for (long j = 0; j < stop; j++)                                      \
                {                                                                                \
                    d[i * ldd + j] = (R)(rate * (by_i * t[j] + by_p));                           \
                }                                                                                \
            }                                                                                    \
        }                                                                                        \
    }
FM_OVERLAP_LOSSES(OVERLAP_LOSS)
#define NAME_OF(row) A(all_##row),
static const fm_overlap_loss A(overlap_losses)[] = {FM_OVERLAP_LOSSES(NAME_OF)};
#undef NAME_OF
#undef OVERLAP_LOSS

/* -- pairs ------------------------------------------------------------------------------------ */

/* For the rows from..to of n: the unweighted losses, and in g their derivatives by the products. */
#define PAIR_LOSS(row)                                                                           \
    static void A(pairs_##row)(long from, long to, long n, long c, const void *p_, long ldp,     \
                               const int64_t *group, void *losses_, void *g_, long ldg,          \
                               const void *params)                                               \
    {                                                                                            \
        const R *p = p_;                                                                         \
        R *losses = losses_, q[MAX_PARAMS];                                                      \
        memcpy(q, params, sizeof q);                                                             \
        for (long i = from; i < to; i++) {                                                       \
            const R *own = p + i * ldp;                                                          \
            R *g = (R *)g_ + i * ldg;                                                            \
            for (long k = 0; k < n; k++) {                                                       \
                const R *other = p + k * ldp;                                                    \
                ROW_SUM(g[k], c, own[j] * other[j]);                                             \
            }                                                                                    \
            losses[i] = A(loss_##row)(n, i, group, g, q);                                        \
        }                                                                                        \
    }
FM_PAIR_LOSSES(PAIR_LOSS)
#define NAME_OF(row) A(pairs_##row),
static const fm_pair_loss A(pair_losses)[] = {FM_PAIR_LOSSES(NAME_OF)};
#undef NAME_OF
#undef PAIR_LOSS

/* For the rows from..to: losses w r l, and d_i = scale r sum_j (w_i g_ij + w_j g_ji) p_j, where r is
 * n / k for k losses above 0, or 1. */
static void A(pair_grad)(long from, long to, long n, long c, const void *p_, long ldp,
                         const void *weight_, int rescaled, double scale, const void *unweighted,
                         const void *g_, long ldg, void *losses_, void *d_, long ldd)
{
    const R *p = p_, *weight = weight_, *values = unweighted, *g = g_;
    R *losses = losses_;
    long kept = 0;
    for (long i = 0; i < n; i++) {
        kept += values[i] > 0;
    }
    const R share = rescaled ? (R)n / (R)(kept ? kept : 1) : 1, rate = (R)scale * share;
    for (long i = from; i < to; i++) {
        const R own = weight ? weight[i] : 1;
        losses[i] = own * share * values[i];
        if (d_) {
            R *d = (R *)d_ + i * ldd;
            memset(d, 0, c * sizeof(R));
            for (long k = 0; k < n; k++) {
                const R other = weight ? weight[k] : 1, *x = p + k * ldp;
                const R both = rate * (own * g[i * ldg + k] + other * g[k * ldg + i]);
                INDEPENDENT for (long j = 0; j < c; j++) { d[j] += both * x[j]; }
            }
        }
    }
}
