/* Loops over parameters, gradients and the state of optimizers: one pass each.
 *
 * Elementwise loops take flat ranges.  The kernels of optimizers that look at a whole variable take
 * a part of it: rows from..to, columns from..to, or a flat range where they don't care.  A matrix
 * lies in panels of `panel` columns, its `pitch` padded columns in all; row-major is one panel.
 */
#include "optimizers.h"

/* -- elementwise optimizers -------------------------------------------------------------------- */

/* An update that is written for vectors, in place of the loop. */
#ifdef __AVX512DQ__
#include "adam_f64.h"
#ifndef FM_ROW_NUMBERS
#define FM_ROW_NUMBERS
#define NUMBER(row, count) FM_ROW_##row,
enum { FM_OPTIMIZERS(NUMBER) };
#undef NUMBER
#endif
#define BY_VECTORS(row)                                                                          \
    if (sizeof(R) == sizeof(double) && (int)FM_ROW_##row == (int)FM_ROW_adam                     \
        && c_[3] >= FM_ADAM_LEAST && c_[3] <= FM_ADAM_MOST) {                                    \
        fm_adam_f64(n, w_, g_, (void *)slots[0], (void *)slots[1], c_, decay_);                  \
        return;                                                                                  \
    }
#else
#define BY_VECTORS(row)
#endif

#define LOOP(row, count)                                                                         \
    static void A(update_##row)(long n, void *w_, const void *g_, char *const *slots,            \
                                const double *c_, double decay_)                                 \
    {                                                                                            \
        BY_VECTORS(row)                                                                          \
        const R *g = g_, decay = (R)decay_;                                                      \
        R *w = w_, c[FM_COEFFICIENTS], *s0 = count > 0 ? (R *)slots[0] : w;                      \
        R *s1 = count > 1 ? (R *)slots[1] : w, *s2 = count > 2 ? (R *)slots[2] : w;              \
        for (int k = 0; k < FM_COEFFICIENTS; k++) { c[k] = (R)c_[k]; }                           \
        INDEPENDENT for (long i = 0; i < n; i++)                                                 \
        {                                                                                        \
            R s[3] = {0};                                                                        \
            if (count > 0) { s[0] = s0[i]; }                                                     \
            if (count > 1) { s[1] = s1[i]; }                                                     \
            if (count > 2) { s[2] = s2[i]; }                                                     \
            w[i] = A(step_##row)(w[i] - decay * w[i], g[i], s, c);                               \
            if (count > 0) { s0[i] = s[0]; }                                                     \
            if (count > 1) { s1[i] = s[1]; }                                                     \
            if (count > 2) { s2[i] = s[2]; }                                                     \
        }                                                                                        \
    }
FM_OPTIMIZERS(LOOP)
#define NAME_OF(row, count) A(update_##row),
static const fm_update A(updates)[] = {FM_OPTIMIZERS(NAME_OF)};
#undef NAME_OF
#undef LOOP
#undef BY_VECTORS

#ifndef FM_UPDATES_ONCE
#define FM_UPDATES_ONCE
#define NAME_OF(row, count) coefficients_##row,
static const fm_coefficients fm_coefficient_functions[] = {FM_OPTIMIZERS(NAME_OF)};
#undef NAME_OF
#define FM_UPDATE_KERNELS(t)                                                                     \
    .update = updates##t, .coefficients = fm_coefficient_functions, .squares = squares##t,       \
    .clip = clip##t, .collect = collect##t, .average = average##t,                         \
    .lamb_moments = lamb_moments##t, .lamb_apply = lamb_apply##t,                                \
    .adafactor_rows = adafactor_rows##t, .adafactor_columns = adafactor_columns##t,              \
    .adafactor_apply = adafactor_apply##t, .muon_trace = muon_trace##t,                          \
    .muon_apply = muon_apply##t, .combine = combine##t
#endif

/* -- gradients before, parameters after ------------------------------------------------------- */

/* result += sum of expression, or of its square, for i from..to, in double and in the fixed order of
 * LANES interleaved parts */
#define SUM_OF(result, squared, from, to, expression)                                            \
    do {                                                                                         \
        double part[LANES] = {0}, whole = 0;                                                     \
        long i0 = (from);                                                                        \
        for (; i0 + LANES <= (to); i0 += LANES) {                                                \
            INDEPENDENT for (int lane = 0; lane < LANES; lane++)                                 \
            {                                                                                    \
                const long i = i0 + lane;                                                        \
                const double term = (double)(expression);                                        \
                part[lane] += squared ? term * term : term;                                      \
            }                                                                                    \
        }                                                                                        \
        for (int lane = 0; i0 + lane < (to); lane++) {                                           \
            const long i = i0 + lane;                                                            \
            const double term = (double)(expression);                                            \
            part[lane] += squared ? term * term : term;                                          \
        }                                                                                        \
        for (int lane = 0; lane < LANES; lane++) {                                               \
            whole += part[lane];                                                                 \
        }                                                                                        \
        (result) += whole;                                                                       \
    } while (0)

static double A(squares)(long n, const void *x_)
{
    const R *x = x_;
    double sum = 0;
    SUM_OF(sum, 1, 0, n, x[i]);
    return sum;
}

/* The sum of squares of a - b. */
static double A(distance)(long n, const void *a_, const void *b_)
{
    const R *a = a_, *b = b_;
    double sum = 0;
    SUM_OF(sum, 1, 0, n, (double)a[i] - b[i]);
    return sum;
}

/* g <- clip(factor g, -limit, limit) */
static void A(clip)(long n, void *g_, double factor_, double limit_)
{
    const R factor = (R)factor_, limit = (R)limit_;
    R *g = g_;
    INDEPENDENT for (long i = 0; i < n; i++)
    {
        g[i] = M(at_least)(M(at_most)(g[i] * factor, limit), -limit);
    }
}

/* total <- total + g or, with a divisor, g <- (g + total) / divisor and total <- 0 */
static void A(collect)(long n, void *g_, void *total_, double divisor_)
{
    const R divisor = (R)divisor_;
    R *g = g_, *total = total_;
    INDEPENDENT for (long i = 0; i < n; i++)
    {
        const R sum = g[i] + total[i];
        g[i] = divisor != 0 ? sum / divisor : g[i];
        total[i] = divisor != 0 ? 0 : sum;
    }
}

/* average <- keep average + (1 - keep) w, and w <- average where it is to be overwritten */
static void A(average)(long n, void *w_, void *average_, double keep_, int overwrite)
{
    const R keep = (R)keep_, other = (R)(1 - keep_);
    R *w = w_, *average = average_;
    INDEPENDENT for (long i = 0; i < n; i++)
    {
        average[i] = keep * average[i] + other * w[i];
        w[i] = overwrite ? average[i] : w[i];
    }
}

/* -- Lamb: c holds the rate, 1 - beta_1, 1 - beta_2, 1 - beta_1^t, 1 - beta_2^t, epsilon --------- */

#define LAMB_DIRECTION(i) (m[i] / corrected_1 / (M(sqrt)(v[i] / corrected_2) + epsilon))

/* decay and moments; adds to sums the squares of w and of the direction */
static void A(lamb_moments)(long n, void *w_, const void *g_, void *m_, void *v_, const double *c,
                            double decay_, double *sums)
{
    const R keep_1 = (R)c[1], keep_2 = (R)c[2], corrected_1 = (R)c[3], corrected_2 = (R)c[4];
    const R epsilon = (R)c[5], decay = (R)decay_, *g = g_;
    R *w = w_, *m = m_, *v = v_;
    INDEPENDENT for (long i = 0; i < n; i++)
    {
        m[i] = m[i] + keep_1 * (g[i] - m[i]);
        v[i] = v[i] + keep_2 * (g[i] * g[i] - v[i]);
        w[i] = w[i] - decay * w[i];
    }
    SUM_OF(sums[0], 1, 0, n, w[i]);
    SUM_OF(sums[1], 1, 0, n, LAMB_DIRECTION(i));
}

static void A(lamb_apply)(long n, void *w_, const void *m_, const void *v_, const double *c,
                          double rate_)
{
    const R corrected_1 = (R)c[3], corrected_2 = (R)c[4], epsilon = (R)c[5], rate = (R)rate_;
    const R *m = m_, *v = v_;
    R *w = w_;
    INDEPENDENT for (long i = 0; i < n; i++) { w[i] = w[i] - rate * LAMB_DIRECTION(i); }
}
#undef LAMB_DIRECTION

/* -- matrices in panels ------------------------------------------------------------------------ */

/* For each panel: its first column j0, its columns (w/o padding) and the distance of its rows. */
#define EACH_PANEL(q)                                                                            \
    for (long j0 = 0, width, ld; j0 < (q)->columns; j0 += (q)->panel)                            \
        if ((width = (q)->columns - j0 < (q)->panel ? (q)->columns - j0 : (q)->panel,            \
             ld = (q)->pitch - j0 < (q)->panel ? (q)->pitch - j0 : (q)->panel,                   \
             width > 0 && ld > 0))
#define PANEL_ROW(x, q, i) ((x) + j0 * (q)->rows + (i) * ld)

/* Adafactor: c holds b, epsilon_1.  Rows from..to of w decay and give their squares to *squares;
 * row[i] <- b row[i] + (1 - b) mean of g^2 + epsilon_1. */
static void A(adafactor_rows)(const fm_matrix *q, long from, long to, void *w_, const void *g_,
                              void *row_, const double *c, double decay_, double *squares)
{
    const R b = (R)c[0], other = (R)(1 - c[0]), epsilon = (R)c[1], decay = (R)decay_;
    R *row = row_;
    for (long r = from; r < to; r++) {
        double sum = 0;
        EACH_PANEL(q)
        {
            const R *g = PANEL_ROW((const R *)g_, q, r);
            R *w = PANEL_ROW((R *)w_, q, r);
            INDEPENDENT for (long j = 0; j < width; j++) { w[j] = w[j] - decay * w[j]; }
            SUM_OF(*squares, 1, 0, width, w[i]);
            SUM_OF(sum, 0, 0, width, g[i] * g[i] + epsilon);
        }
        row[r] = b * row[r] + other * (R)(sum / (double)q->columns);
    }
}

/* column[j] <- b column[j] + (1 - b) mean of g^2 + epsilon_1, for columns from..to */
static void A(adafactor_columns)(const fm_matrix *q, long from, long to, const void *g_,
                                 void *column_, const double *c)
{
    const R b = (R)c[0], other = (R)(1 - c[0]), epsilon = (R)c[1];
    R *column = column_;
    for (long j0 = from, width; j0 < to; j0 += width) {
        const long first = j0 / q->panel * q->panel, next = first + q->panel;
        const long ld = q->pitch - first < q->panel ? q->pitch - first : q->panel;
        width = (to < next ? to : next) - j0 < LANES ? (to < next ? to : next) - j0 : LANES;
        const R *g = (const R *)g_ + first * q->rows + (j0 - first);
        double sum[LANES] = {0};
        for (long r = 0; r < q->rows; r++, g += ld) {
            for (long v = 0; v < width; v++) {
                sum[v] += (double)(g[v] * g[v] + epsilon);
            }
        }
        for (long v = 0; v < width; v++) {
            column[j0 + v] = b * column[j0 + v] + other * (R)(sum[v] / (double)q->rows);
        }
    }
}

/* u = g / sqrt(row / mean column); adds its squares of the rows from..to to *squares or, with a
 * rate, w <- w - rate u. */
static void A(adafactor_apply)(const fm_matrix *q, long from, long to, void *w_, const void *g_,
                               const void *row_, const void *column_, double mean_, double rate_,
                               double *squares)
{
    const R *row = row_, mean = (R)mean_, rate = (R)rate_;
    for (long r = from; r < to; r++) {
        const R share = q->rows > 1 ? row[r] / mean : C(1);
        EACH_PANEL(q)
        {
            const R *g = PANEL_ROW((const R *)g_, q, r), *column = (const R *)column_ + j0;
            R *w = PANEL_ROW((R *)w_, q, r);
            if (squares) {
                SUM_OF(*squares, 1, 0, width, g[i] / M(sqrt)(share * column[i]));
            } else {
                INDEPENDENT for (long j = 0; j < width; j++)
                {
                    w[j] = w[j] - rate * (g[j] / M(sqrt)(share * column[j]));
                }
            }
        }
    }
}

/* Muon: m <- momentum m + g; x = g + momentum m or m, row-major with `ld` elements from row to row,
 * transposed where `across`.  Rows from..to; returns the sum of squares of x. */
static double A(muon_trace)(const fm_matrix *q, long from, long to, const void *g_, void *m_,
                            double momentum_, int nesterov, int across, void *x_, long ld_x)
{
    const R momentum = (R)momentum_;
    R *x = x_;
    double squares = 0;
    for (long r = from; r < to; r++) {
        EACH_PANEL(q)
        {
            const R *g = PANEL_ROW((const R *)g_, q, r);
            R *m = PANEL_ROW((R *)m_, q, r);
            INDEPENDENT for (long j = 0; j < width; j++) { m[j] = momentum * m[j] + g[j]; }
            for (long j = 0; j < width; j++) {
                const R value = nesterov ? g[j] + momentum * m[j] : m[j];
                x[across ? (j0 + j) * ld_x + r : r * ld_x + j0 + j] = value;
                squares += (double)value * (double)value;
            }
        }
    }
    return squares;
}

/* w <- w - decay w - rate x, x as above; rows from..to */
static void A(muon_apply)(const fm_matrix *q, long from, long to, void *w_, const void *x_,
                          int across, long ld_x, double rate_, double decay_)
{
    const R rate = (R)rate_, decay = (R)decay_, *x = x_;
    for (long r = from; r < to; r++) {
        EACH_PANEL(q)
        {
            R *w = PANEL_ROW((R *)w_, q, r);
            for (long j = 0; j < width; j++) {
                const R step = rate * x[across ? (j0 + j) * ld_x + r : r * ld_x + j0 + j];
                w[j] = (w[j] - decay * w[j]) - step;
            }
        }
    }
}

/* y <- a x + b y, flat */
static void A(combine)(long n, double a_, const void *x_, double b_, void *y_)
{
    const R a = (R)a_, b = (R)b_, *x = x_;
    R *y = y_;
    INDEPENDENT for (long i = 0; i < n; i++) { y[i] = a * x[i] + b * y[i]; }
}

#undef EACH_PANEL
#undef PANEL_ROW
#undef SUM_OF
