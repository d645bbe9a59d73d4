/* Normalization of columns by the batch and of rows by themselves: included by template.h.
 *
 * Columns are worked on STRIP at a time, in strips that begin at multiples of STRIP whatever the
 * share of a thread, each column over all rows in order.
 */
#ifndef FM_NORMALIZATION_ONCE
#define FM_NORMALIZATION_ONCE
enum { STRIP = FM_STRIP };
/* Rows shorter than that are not scaled up to length 1, as in Keras. */
#define UNIT_EPSILON 1e-12
#endif

/* A loop over the columns of a strip: a whole one has a constant trip count. */
#define STRIP_LOOP(width, body)                                                                  \
    if ((width) == STRIP) {                                                                      \
        INDEPENDENT for (int v = 0; v < STRIP; v++) { body; }                                    \
    } else {                                                                                     \
        for (int v = 0; v < (width); v++) { body; }                                              \
    }

/* mean and inv = 1 / sqrt(variance + epsilon) of the columns from..to; the moving ones follow.
 * Rows count by their weights, whose mean is 1 (NULL: 1 each). */
static void A(batch_statistics)(long rows, long from, long to, const void *x_, long ldx,
                                const void *w_, double momentum_, double epsilon_,
                                void *moving_mean_, void *moving_variance_, void *mean_, void *inv_)
{
    const R *w = w_;
    const R momentum = (R)momentum_, rest = (R)(1 - momentum_), epsilon = (R)epsilon_;
    R *moving_mean = moving_mean_, *moving_variance = moving_variance_;
    R *mean = mean_, *inv = inv_;
    for (long j = from; j < to; j += STRIP) {
        const long width = to - j < STRIP ? to - j : STRIP;
        const R *x = (const R *)x_ + j;
        R sum[STRIP] = {0}, centre[STRIP] = {0};
        for (long i = 0; i < rows && !w; i++) {
            STRIP_LOOP(width, sum[v] += x[i * ldx + v])
        }
        for (long i = 0; i < rows && w; i++) {
            if (w[i] != 0) { STRIP_LOOP(width, sum[v] += w[i] * x[i * ldx + v]) }
        }
        for (int v = 0; v < STRIP; v++) {
            centre[v] = sum[v] / (R)rows;
            sum[v] = 0;
        }
        for (long i = 0; i < rows && !w; i++) {
            STRIP_LOOP(width, const R d = x[i * ldx + v] - centre[v]; sum[v] += d * d)
        }
        for (long i = 0; i < rows && w; i++) {
            if (w[i] != 0) {
                STRIP_LOOP(width, const R d = x[i * ldx + v] - centre[v]; sum[v] += w[i] * (d * d))
            }
        }
        for (int v = 0; v < width; v++) {
            const R variance = sum[v] / (R)rows;
            mean[j + v] = centre[v];
            inv[j + v] = 1 / M(sqrt)(variance + epsilon);
            moving_mean[j + v] = moving_mean[j + v] * momentum + centre[v] * rest;
            moving_variance[j + v] = moving_variance[j + v] * momentum + variance * rest;
        }
    }
}

/* dgamma = sum dy xhat, dbeta = sum dy of the columns from..to, xhat = (x - mean) inv. */
static void A(batch_norm_sums)(long rows, long from, long to, const void *dy_, long lddy,
                               const void *x_, long ldx, const void *mean_, const void *inv_,
                               void *dgamma_, void *dbeta_)
{
    R *dgamma = dgamma_, *dbeta = dbeta_;
    for (long j = from; j < to; j += STRIP) {
        const long width = to - j < STRIP ? to - j : STRIP;
        const R *x = (const R *)x_ + j, *dy = (const R *)dy_ + j;
        const R *mean = (const R *)mean_ + j, *inv = (const R *)inv_ + j;
        R along[STRIP] = {0}, sum[STRIP] = {0};
        for (long i = 0; i < rows; i++) {
            STRIP_LOOP(width, const R d = dy[i * lddy + v]; sum[v] += d;
                       along[v] += d * ((x[i * ldx + v] - mean[v]) * inv[v]))
        }
        memcpy(dgamma + j, along, width * sizeof(R));
        memcpy(dbeta + j, sum, width * sizeof(R));
    }
}

/* y = (x - mean) inv gamma + beta; gamma and beta may be NULL. */
static void A(standardize)(long rows, long c, const void *x_, long ldx, const void *mean_,
                           const void *inv_, const void *gamma_, const void *beta_, void *y_,
                           long ldy)
{
    const R *mean = mean_, *inv = inv_, *gamma = gamma_, *beta = beta_;
    for (long j = 0; j < c; j += STRIP) {
        const long width = c - j < STRIP ? c - j : STRIP;
        R slope[STRIP], centre[STRIP], shift[STRIP];
        for (int v = 0; v < width; v++) {
            slope[v] = gamma ? inv[j + v] * gamma[j + v] : inv[j + v];
            centre[v] = mean[j + v];
            shift[v] = beta ? beta[j + v] : 0;
        }
        const R *x = (const R *)x_ + j;
        R *y = (R *)y_ + j;
        for (long i = 0; i < rows; i++) {
            STRIP_LOOP(width, y[i * ldy + v] = (x[i * ldx + v] - centre[v]) * slope[v] + shift[v])
        }
    }
}

/* dx = inv gamma (dy - w (dbeta + xhat dgamma) / n), of `rows` out of n rows; dx may be dy, and w is
 * what `batch_statistics` weighed the rows by. */
static void A(batch_norm_dx)(long rows, long c, long n, const void *dy_, long lddy,
                             const void *x_, long ldx, const void *w_, const void *mean_,
                             const void *inv_, const void *dgamma_, const void *dbeta_,
                             const void *gamma_, void *dx_, long lddx)
{
    const R *w = w_;
    const R *mean = mean_, *inv = inv_, *dgamma = dgamma_, *dbeta = dbeta_, *gamma = gamma_;
    for (long j = 0; j < c; j += STRIP) {
        const long width = c - j < STRIP ? c - j : STRIP;
        R slope[STRIP], centre[STRIP], along[STRIP], shift[STRIP];
        for (int v = 0; v < width; v++) {
            slope[v] = gamma ? inv[j + v] * gamma[j + v] : inv[j + v];
            centre[v] = mean[j + v];
            along[v] = inv[j + v] * (dgamma[j + v] / (R)n);
            shift[v] = dbeta[j + v] / (R)n;
        }
        const R *x = (const R *)x_ + j, *dy = (const R *)dy_ + j;
        R *dx = (R *)dx_ + j;
        for (long i = 0; i < rows && !w; i++) {
            STRIP_LOOP(width, dx[i * lddx + v] = slope[v] * ((dy[i * lddy + v] - shift[v])
                                                  - (x[i * ldx + v] - centre[v]) * along[v]))
        }
        for (long i = 0; i < rows && w; i++) {
            if (w[i] != 0) {
                STRIP_LOOP(width, dx[i * lddx + v] = slope[v] * (dy[i * lddy + v] - w[i]
                               * (shift[v] + (x[i * ldx + v] - centre[v]) * along[v])))
            } else {
                STRIP_LOOP(width, dx[i * lddx + v] = slope[v] * dy[i * lddy + v])
            }
        }
    }
}

/* a and b with a x + b = (x - mean) / sqrt(variance + epsilon) gamma + beta. */
static void A(fold_statistics)(long from, long to, const void *mean_, const void *variance_,
                               const void *gamma_, const void *beta_, double epsilon_, void *a_,
                               void *b_)
{
    const R *mean = mean_, *variance = variance_, *gamma = gamma_, *beta = beta_;
    const R epsilon = (R)epsilon_;
    R *a = a_, *b = b_;
    for (long j = from; j < to; j++) {
        const R inv = 1 / M(sqrt)(variance[j] + epsilon);
        a[j] = gamma ? inv * gamma[j] : inv;
        b[j] = (beta ? beta[j] : 0) - mean[j] * a[j];
    }
}

/* y = a x + b, b may be NULL; y may be x. */
static void A(scale_shift)(long rows, long c, const void *x_, long ldx, const void *a_,
                           const void *b_, void *y_, long ldy)
{
    const R *a = a_, *b = b_;
    for (long i = 0; i < rows; i++) {
        const R *x = (const R *)x_ + i * ldx;
        R *y = (R *)y_ + i * ldy;
        if (b) {
            INDEPENDENT for (long j = 0; j < c; j++) { y[j] = x[j] * a[j] + b[j]; }
        } else {
            INDEPENDENT for (long j = 0; j < c; j++) { y[j] = x[j] * a[j]; }
        }
    }
}

/* Each row by itself; gamma, beta, inv and mean may be NULL. */
static void A(row_norm)(long rows, long c, const void *x_, long ldx, int kind, double epsilon_,
                        const void *gamma_, const void *beta_, void *y_, long ldy, void *inv_,
                        void *mean_)
{
    const R *gamma = gamma_, *beta = beta_, epsilon = (R)epsilon_;
    R *invs = inv_, *means = mean_;
    for (long i = 0; i < rows; i++) {
        const R *x = (const R *)x_ + i * ldx;
        R *y = (R *)y_ + i * ldy, mean = 0, squares, inv;
        if (kind == FM_LAYER_NORM) {
            ROW_SUM(mean, c, x[j]);
            mean = mean / (R)c;
        }
        ROW_SUM(squares, c, (x[j] - mean) * (x[j] - mean));
        if (kind == FM_UNIT_NORM) {
            inv = 1 / M(sqrt)(squares);
            inv = inv > (R)(1 / UNIT_EPSILON) ? (R)(1 / UNIT_EPSILON) : inv;
        } else {
            inv = 1 / M(sqrt)(squares / (R)c + epsilon);
        }
        if (gamma && beta) {
            INDEPENDENT for (long j = 0; j < c; j++)
            {
                y[j] = (x[j] - mean) * inv * gamma[j] + beta[j];
            }
        } else {
            for (long j = 0; j < c; j++) {
                const R xhat = (x[j] - mean) * inv, scaled = gamma ? xhat * gamma[j] : xhat;
                y[j] = beta ? scaled + beta[j] : scaled;
            }
        }
        if (invs) {
            invs[i] = inv;
        }
        if (means) {
            means[i] = mean;
        }
    }
}

/* dx = inv (g - [mean g] - xhat [mean, or sum, of g xhat]), g = dy gamma. */
static void A(row_norm_grad)(long rows, long c, const void *dy_, long lddy, const void *x_,
                             long ldx, const void *inv_, const void *mean_, const void *gamma_,
                             int kind, void *dx_, long lddx)
{
    const R *gamma = gamma_, *invs = inv_, *means = mean_;
    for (long i = 0; i < rows; i++) {
        const R *x = (const R *)x_ + i * ldx, *dy = (const R *)dy_ + i * lddy;
        const R inv = invs[i], mean = means ? means[i] : 0;
        R *dx = (R *)dx_ + i * lddx, centre = 0, along;
        if (gamma) {
            INDEPENDENT for (long j = 0; j < c; j++) { dx[j] = dy[j] * gamma[j]; }
        } else {
            memcpy(dx, dy, c * sizeof(R));
        }
        if (kind == FM_LAYER_NORM) {
            ROW_SUM(centre, c, dx[j]);
            centre = centre / (R)c;
        }
        ROW_SUM(along, c, dx[j] * ((x[j] - mean) * inv));
        if (kind != FM_UNIT_NORM) {
            along = along / (R)c;
        } else if (inv >= (R)(1 / UNIT_EPSILON)) {
            along = 0;
        }
        INDEPENDENT for (long j = 0; j < c; j++)
        {
            dx[j] = inv * ((dx[j] - centre) - ((x[j] - mean) * inv) * along);
        }
    }
}

/* dgamma = sum over the rows of dy xhat. */
static void A(gamma_grad)(long rows, long c, const void *dy_, long lddy, const void *x_, long ldx,
                          const void *inv_, const void *mean_, void *dgamma_)
{
    const R *invs = inv_, *means = mean_;
    R *dgamma = dgamma_;
    for (long j = 0; j < c; j += STRIP) {
        const long width = c - j < STRIP ? c - j : STRIP;
        const R *x = (const R *)x_ + j, *dy = (const R *)dy_ + j;
        R sum[STRIP] = {0};
        for (long i = 0; i < rows; i++) {
            const R inv = invs[i], mean = means ? means[i] : 0;
            STRIP_LOOP(width, sum[v] += dy[i * lddy + v] * ((x[i * ldx + v] - mean) * inv))
        }
        memcpy(dgamma + j, sum, width * sizeof(R));
    }
}

#undef STRIP_LOOP
